from __future__ import annotations

import pytest

from zmqfl.errors import UserError
from zmqfl.transport.endpoint import MAX_IPC_PATH, Endpoint, check_open, is_loopback


@pytest.mark.parametrize(
    ("url", "expected", "text"),
    [
        ("tcp://10.1.2.3:8102", Endpoint("tcp", "10.1.2.3", 8102), "tcp://10.1.2.3:8102"),
        ("tcp://hub.example.org:8102", Endpoint("tcp", "hub.example.org", 8102), "tcp://hub.example.org:8102"),
        ("tcp://does-not-resolve.invalid:1", Endpoint("tcp", "does-not-resolve.invalid", 1), None),
        ("tcp://*:8102", Endpoint("tcp", "*", 8102), "tcp://*:8102"),
        ("tcp://127.0.0.1:*", Endpoint("tcp", "127.0.0.1"), "tcp://127.0.0.1:*"),
        ("tcp://127.0.0.1:0", Endpoint("tcp", "127.0.0.1"), "tcp://127.0.0.1:*"),
        ("tcp://[::1]:8102", Endpoint("tcp", "::1", 8102), "tcp://[::1]:8102"),
        ("tcp://[::]:*", Endpoint("tcp", "::"), "tcp://[::]:*"),
        ("ipc:///run/fl/hub.sock", Endpoint("ipc", path="/run/fl/hub.sock"), "ipc:///run/fl/hub.sock"),
    ],
)
def test_parse_and_back(url: str, expected: Endpoint, text: str | None) -> None:
    assert Endpoint.parse(url) == expected
    assert str(expected) == (text or url)
    assert Endpoint.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is no address"),
        ("hub:8102", "is no address"),
        ("udp://hub:8102", "is no address"),
        ("inproc://x", "is no address"),
        ("tcp://hub", "is no address"),
        ("tcp://hub:", "is no address"),
        ("tcp://:8102", "is no address"),
        ("tcp://hub:8102/", "is no address"),
        ("tcp://hub:8102\n", "is no address"),
        ("tcp://::1:8102", "is no address"),
        ("tcp://hub:65536", "there is no port 65536"),
        ("tcp://[::g]:1", "is no address"),
        ("tcp://[1::2::3]:1", "'1::2::3' is no IPv6 address"),
        ("tcp://[127.0.0.1]:1", "'127.0.0.1' is no IPv6 address"),
        ("ipc://relative", "is no address"),
        ("ipc:///folder/", "is no address"),
        ("ipc://@name", "abstract"),
        ("ipc:///" + "x" * MAX_IPC_PATH, "the path has 108 bytes"),
        ("ipc:///" + "ü" * 54, "the path has 109 bytes"),
    ],
)
def test_bad_addresses_name_field_and_remedy(url: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        Endpoint.parse(url, "sites.hub.listen")
    assert caught.value.field == "sites.hub.listen"
    assert caught.value.remedy


def test_the_longest_ipc_path_is_accepted() -> None:
    assert len(Endpoint.parse("ipc:///" + "x" * (MAX_IPC_PATH - 1)).path) == MAX_IPC_PATH


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.9.9.9:1", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:1", True),
        ("ipc:///run/fl/hub.sock", True),
        ("tcp://*:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://[::]:1", False),
        ("tcp://10.0.0.1:1", False),
        ("tcp://hub:1", False),
    ],
)
def test_without_keys_only_loopback_may_be_open(url: str, loopback: bool) -> None:
    endpoint = Endpoint.parse(url)
    assert endpoint.is_loopback == loopback
    check_open(endpoint, secured=True)
    check_open(endpoint, secured=False, trusted_network=True)
    if loopback:
        check_open(endpoint, secured=False)
    else:
        with pytest.raises(UserError, match="trusted_network: true") as caught:
            check_open(endpoint, secured=False, field="security.mode")
        assert caught.value.field == "security.mode"


def test_loopback_addresses() -> None:
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("::ffff:10.0.0.1")
    assert not is_loopback("localhost")
    assert not is_loopback("")
