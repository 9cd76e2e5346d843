"""Addresses: which are good, what they mean."""

from __future__ import annotations

import pytest

from zmqfl.topology.endpoint import MAX_IPC_PATH, Endpoint, is_loopback, parse, parse_advertised

GOOD = {
    "tcp://127.0.0.1:8102": Endpoint("tcp", "127.0.0.1", 8102),
    "tcp://*:65535": Endpoint("tcp", "*", 65535),
    "tcp://localhost:*": Endpoint("tcp", "localhost", 0),
    "tcp://[::1]:8102": Endpoint("tcp", "::1", 8102),
    "ipc:///run/fl/hub.sock": Endpoint("ipc", path="/run/fl/hub.sock"),
    "auto": Endpoint("auto"),
}


@pytest.mark.parametrize("text", GOOD)
def test_good_addresses_are_written_as_they_are_read(text: str) -> None:
    assert parse(text) == GOOD[text]
    assert str(parse(text)) == text


def test_port_0_is_any_free_port_too() -> None:
    assert str(parse("tcp://127.0.0.1:0")) == "tcp://127.0.0.1:*"


NOT_AN_ADDRESS = "is not an address; write tcp://IP:PORT, ipc:///PATH or auto"
BAD = {
    "": f"'' {NOT_AN_ADDRESS}",
    "8102": f"'8102' {NOT_AN_ADDRESS}",
    "tcp://127.0.0.1": f"'tcp://127.0.0.1' {NOT_AN_ADDRESS}",
    "tcp://:8102": f"'tcp://:8102' {NOT_AN_ADDRESS}",
    "tcp://::1:8102": f"'tcp://::1:8102' {NOT_AN_ADDRESS}",
    "http://x:80": f"'http://x:80' {NOT_AN_ADDRESS}",
    "inproc://x": f"'inproc://x' {NOT_AN_ADDRESS}",
    "tcp://h:8102\n": f"'tcp://h:8102\\n' {NOT_AN_ADDRESS}",
    "tcp://h:70000": "there is no port 70000; give one from 1 to 65535, or *",
    "tcp://[1::2::3]:1": "'1::2::3' is no IPv6 address; mend it",
    "ipc://hub.sock": "the ipc path 'hub.sock' is not absolute; begin it with /, or write `auto`",
    f"ipc:///{'x' * MAX_IPC_PATH}": "the ipc path has 108 bytes, more than 107; shorten it, or write `auto`",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert str(caught.value) == BAD[text]


@pytest.mark.parametrize("text", ["auto", "ipc:///x", "tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://h:*"])
def test_what_nobody_can_dial_is_not_advertised(text: str) -> None:
    with pytest.raises(ValueError, match="nobody can dial"):
        parse_advertised(text)


def test_a_name_can_be_advertised() -> None:
    assert parse_advertised("tcp://fl.example.org:443") == Endpoint("tcp", "fl.example.org", 443)


def test_kinds() -> None:
    kinds = {text: (e.is_tcp, e.is_late, e.is_wildcard, e.is_loopback) for text, e in GOOD.items()}
    assert kinds == {
        "tcp://127.0.0.1:8102": (True, False, False, True),
        "tcp://*:65535": (True, False, True, False),
        "tcp://localhost:*": (True, True, False, True),
        "tcp://[::1]:8102": (True, False, False, True),
        "ipc:///run/fl/hub.sock": (False, False, False, True),
        "auto": (False, False, False, True),
    }


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.9.9.9", "::1", "localhost")] == [True] * 3
    assert [is_loopback(host) for host in ("10.0.0.1", "127.example.org", "0.0.0.0", "localhost.example.org")] == [
        False
    ] * 4


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1", True),
        ("tcp://127.0.0.1:1", "tcp://0.0.0.0:1", True),
        ("tcp://*:1", "tcp://127.0.0.1:1", True),
        ("tcp://127.0.0.1:1", "tcp://127.0.0.2:1", False),
        ("tcp://*:1", "tcp://*:2", False),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", False),
        ("ipc:///a", "ipc:///a", True),
        ("ipc:///a", "ipc:///b", False),
        ("ipc:///a", "auto", False),
        ("auto", "auto", True),
    ],
)
def test_two_on_one_machine(one: str, other: str, clash: bool) -> None:
    assert parse(one).clashes(parse(other)) is clash
