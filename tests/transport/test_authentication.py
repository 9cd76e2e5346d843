from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from zmqfl.errors import LocalProtocolError
from zmqfl.transport.authentication import (
    ADDRESS,
    CURVE,
    LOOPBACK,
    MAX_ANSWERED,
    SAME_USER,
    TRUSTED,
    CurvePolicy,
    LoopbackPolicy,
    Policy,
    SameUserPolicy,
    TrustedPolicy,
    ZapAnswerer,
    ZapRequest,
    domain_of,
    enforce,
)
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import Keys
from zmqfl.transport.monitor import DEALER_EVENTS, Monitor
from zmqfl.transport.sockets import Context, Socket

SERVER = Keys("server", *zmq.curve_keypair())
SITE = Keys("site-1", *zmq.curve_keypair(), parent_public=SERVER.public)
STRANGER = Keys("site-1", *zmq.curve_keypair(), parent_public=SERVER.public)
WITHIN = 10


@pytest.fixture
def answerer(context: Context) -> Iterator[ZapAnswerer]:
    answerer = ZapAnswerer(context)
    yield answerer
    answerer.close()


def listen(context: Context, url: str, domain: str = CURVE, keys: Keys | None = SERVER) -> tuple[Socket, str]:
    router = context.socket(zmq.ROUTER)
    enforce(router, domain, keys)
    router.bind(url)
    return router, router.get_string(zmq.LAST_ENDPOINT)


def dial(context: Context, url: str, keys: Keys | None = None) -> tuple[Socket, Monitor]:
    dealer = context.socket(zmq.DEALER)
    if keys is not None:
        assert keys.parent_public is not None
        dealer.curve_serverkey = keys.parent_public
        dealer.curve_publickey, dealer.curve_secretkey = keys.public, keys.secret
    monitor = Monitor(dealer, DEALER_EVENTS)
    dealer.connect(url)
    return dealer, monitor


def handshake(answerer: ZapAnswerer, monitor: Monitor) -> zmq.Event:
    """Answer until the dealer knows whether it is let in."""
    poller = zmq.Poller()
    poller.register(answerer.socket, zmq.POLLIN)
    poller.register(monitor.socket, zmq.POLLIN)
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        poller.poll(100)
        answerer.handle()
        for event in monitor.drain():
            if event.event in (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_HANDSHAKE_FAILED_AUTH):
                return event.event
    raise AssertionError("no end of the handshake")


def knock(context: Context, answerer: ZapAnswerer, url: str, keys: Keys | None = None) -> bool:
    """Whether somebody with these keys is let in."""
    dealer, monitor = dial(context, url, keys)
    event = handshake(answerer, monitor)
    monitor.close()
    dealer.close()
    return event == zmq.EVENT_HANDSHAKE_SUCCEEDED


def test_an_allowed_key_is_let_in_and_its_messages_carry_its_name(context: Context, answerer: ZapAnswerer) -> None:
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    router, url = listen(context, "tcp://127.0.0.1:*")
    dealer, monitor = dial(context, url, SITE)
    assert handshake(answerer, monitor) == zmq.EVENT_HANDSHAKE_SUCCEEDED
    dealer.send_multipart([b"one", b"two"])
    assert router.poll(WITHIN * 1000)
    frames = router.recv_multipart(copy=False)
    assert [frame.get("User-Id") for frame in frames] == ["site-1"] * 3
    assert (answerer.accepted, answerer.refused) == ({CURVE: 1}, {})
    assert repr(answerer) == "<ZapAnswerer accepted/refused: curve 1/0>"
    monitor.close()


def test_a_random_key_is_refused(context: Context, answerer: ZapAnswerer) -> None:
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    _, url = listen(context, "tcp://127.0.0.1:*")
    assert not knock(context, answerer, url, STRANGER)
    assert (answerer.accepted, answerer.refused) == ({}, {CURVE: 1})


def test_a_domain_without_a_policy_lets_nobody_in(context: Context, answerer: ZapAnswerer) -> None:
    answerer.add_domain("other", CurvePolicy({"site-1": SITE.public}))
    _, url = listen(context, "tcp://127.0.0.1:*")
    assert not knock(context, answerer, url, SITE)
    assert answerer.refused == {CURVE: 1}


@pytest.mark.parametrize("enforced", [True, False])
def test_without_an_answerer_only_enforcing_keeps_strangers_out(context: Context, enforced: bool) -> None:
    """The trap of libzmq that `enforce` is for."""
    router = context.socket(zmq.ROUTER)
    enforce(router, CURVE, SERVER)
    if not enforced:
        router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 0)
    router.bind("tcp://127.0.0.1:*")
    dealer, monitor = dial(context, router.get_string(zmq.LAST_ENDPOINT), STRANGER)
    events: list[zmq.Event] = []
    ends = {zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL}
    while not ends & set(events):
        assert monitor.socket.poll(WITHIN * 1000)
        events += [event.event for event in monitor.drain()]
    assert (zmq.EVENT_HANDSHAKE_SUCCEEDED in events) is not enforced
    monitor.close()
    dealer.close()


def test_a_revoked_key_cannot_connect_again(context: Context, answerer: ZapAnswerer) -> None:
    policy = CurvePolicy({"site-1": SITE.public})
    answerer.add_domain(CURVE, policy)
    _, url = listen(context, "tcp://127.0.0.1:*")
    assert knock(context, answerer, url, SITE)
    policy.replace({})
    assert not knock(context, answerer, url, SITE)
    policy.replace({"site-1": SITE.public})
    assert knock(context, answerer, url, SITE)


def test_the_wrong_server_is_not_spoken_to(context: Context, answerer: ZapAnswerer) -> None:
    """The parent's key is pinned: an impostor never gets as far as asking who we are."""
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    _, url = listen(context, "tcp://127.0.0.1:*", keys=STRANGER)
    dealer, monitor = dial(context, url, SITE)
    events: list[zmq.Event] = []
    while zmq.EVENT_DISCONNECTED not in events and zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL not in events:
        assert monitor.socket.poll(WITHIN * 1000)
        events += [event.event for event in monitor.drain()]
    assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in events
    assert answerer.handle() == 0
    monitor.close()
    dealer.close()


def test_same_user_over_ipc(
    context: Context, answerer: ZapAnswerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word is used, so another user is played by changing who we are."""
    answerer.add_domain(SAME_USER, SameUserPolicy())
    router, url = listen(context, f"ipc://{tmp_path}/s", SAME_USER, None)
    dealer, monitor = dial(context, url)
    assert handshake(answerer, monitor) == zmq.EVENT_HANDSHAKE_SUCCEEDED
    dealer.send(b"hello")
    assert router.poll(WITHIN * 1000)
    assert [frame.get("User-Id") for frame in router.recv_multipart(copy=False)] == ["", ""]
    monitor.close()
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert not knock(context, answerer, url)


def test_loopback_over_tcp(context: Context, answerer: ZapAnswerer) -> None:
    answerer.add_domain(LOOPBACK, LoopbackPolicy())
    answerer.add_domain(TRUSTED, TrustedPolicy())
    for domain in (LOOPBACK, TRUSTED):
        _, url = listen(context, "tcp://127.0.0.1:*", domain, None)
        assert knock(context, answerer, url)


RAW = z85.decode(SITE.public)
ME, YOU = f"localhost:{os.getuid()}:0:1", f"localhost:{os.getuid() + 1}:{os.getuid()}:{os.getuid()}"


@pytest.mark.parametrize(
    ("policy", "address", "mechanism", "credentials", "user"),
    [
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "CURVE", (RAW,), "site-1"),
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "CURVE", (RAW[::-1],), None),
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "CURVE", (RAW, RAW), None),
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "CURVE", (RAW[:31],), None),
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "CURVE", (), None),
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "NULL", (), None),
        (CurvePolicy({"site-1": SITE.public}), "10.0.0.1", "PLAIN", (RAW,), None),
        (SameUserPolicy(), ME, "NULL", (), ""),
        (SameUserPolicy(), ME, "PLAIN", (b"a", b"b"), None),
        (SameUserPolicy(), YOU, "NULL", (), None),
        (SameUserPolicy(), "127.0.0.1", "NULL", (), None),
        (SameUserPolicy(), "localhost", "NULL", (), None),
        (SameUserPolicy(), "localhost:", "NULL", (), None),
        (SameUserPolicy(), "", "NULL", (), None),
        (LoopbackPolicy(), "127.0.0.1", "NULL", (), ""),
        (LoopbackPolicy(), "::1", "NULL", (), ""),
        (LoopbackPolicy(), "::ffff:127.0.0.1", "NULL", (), ""),
        (LoopbackPolicy(), "::ffff:10.0.0.1", "NULL", (), None),
        (LoopbackPolicy(), "10.0.0.1", "NULL", (), None),
        (LoopbackPolicy(), "", "NULL", (), None),
        (LoopbackPolicy(), "127.0.0.1", "GSSAPI", (b"x",), None),
        (TrustedPolicy(), "10.0.0.1", "NULL", (), ""),
        (TrustedPolicy(), "10.0.0.1", "PLAIN", (b"a", b"b"), None),
    ],
)
def test_policies(
    policy: Policy, address: str, mechanism: str, credentials: tuple[bytes, ...], user: str | None
) -> None:
    assert policy.user_of(ZapRequest("d", address, mechanism, credentials)) == user


def asker(context: Context) -> Socket:
    """In libzmq's place: asks the answerer directly."""
    dealer = context.socket(zmq.DEALER)
    dealer.connect(ADDRESS)
    return dealer


def test_answers_follow_rfc_27(context: Context, answerer: ZapAnswerer) -> None:
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    dealer = asker(context)
    dealer.send_multipart([b"", b"1.0", b"7", b"curve", b"10.0.0.1", b"", b"CURVE", RAW])
    dealer.send_multipart([b"", b"1.0", b"8", b"curve", b"10.0.0.1", b"", b"CURVE", b"\xff" * 32])
    assert answerer.handle() == 2
    assert dealer.recv_multipart() == [b"", b"1.0", b"7", b"200", b"OK", b"site-1", b""]
    assert dealer.recv_multipart() == [b"", b"1.0", b"8", b"400", b"refused", b"", b""]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"x"],
        [b"", b"1.0"],
        [b"", b"1.0", b"7", b"curve", b"10.0.0.1", b""],
        [b"", b"2.0", b"7", b"curve", b"10.0.0.1", b"", b"CURVE", RAW],
        [b"x", b"1.0", b"7", b"curve", b"10.0.0.1", b"", b"CURVE", RAW],
    ],
)
def test_malformed_questions_are_counted_and_not_answered(
    context: Context, answerer: ZapAnswerer, frames: list[bytes]
) -> None:
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    dealer = asker(context)
    dealer.send_multipart(frames)
    assert answerer.handle() == 1
    assert answerer.malformed == 1
    assert not dealer.poll(0)


def test_bytes_that_are_no_text_are_refused(context: Context, answerer: ZapAnswerer) -> None:
    dealer = asker(context)
    dealer.send_multipart([b"", b"1.0", b"7", b"\xff", b"\xff", b"\xff", b"\xff", b"\xff"])
    assert answerer.handle() == 1
    assert dealer.recv_multipart()[3] == b"400"


def test_one_pass_is_bounded(context: Context, answerer: ZapAnswerer) -> None:
    dealer = asker(context)
    for _ in range(MAX_ANSWERED + 1):
        dealer.send_multipart([b"", b"1.0", b"7", b"d", b"a", b"", b"NULL"])
    assert [answerer.handle() for _ in range(3)] == [MAX_ANSWERED, 1, 0]


def test_self_test_passes_where_a_random_key_is_refused(context: Context, answerer: ZapAnswerer) -> None:
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    answerer.self_test()
    assert answerer.refused == {CURVE: 1}


def test_self_test_finds_a_policy_that_lets_anybody_in(context: Context, answerer: ZapAnswerer) -> None:
    class Anybody:
        def user_of(self, request: ZapRequest) -> str | None:
            return "anybody"

    answerer.add_domain(CURVE, Anybody())
    with pytest.raises(LocalProtocolError, match="lets in a random key"):
        answerer.self_test()


def test_self_test_finds_that_nobody_answers(
    context: Context, answerer: ZapAnswerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmqfl.transport.authentication.SELF_TEST", 0.05)
    monkeypatch.setattr(answerer, "handle", lambda: 0)
    with pytest.raises(LocalProtocolError, match=r"within 0\.05 s"):
        answerer.self_test()


def test_the_domain_is_the_strictest_that_fits() -> None:
    ipc, tcp = Endpoint.parse("ipc:///run/s"), Endpoint.parse("tcp://10.0.0.1:1")
    assert domain_of(ipc, SERVER) == domain_of(tcp, SERVER, True) == CURVE
    assert domain_of(ipc, None) == domain_of(ipc, None, True) == SAME_USER
    assert domain_of(tcp, None) == LOOPBACK
    assert domain_of(tcp, None, True) == TRUSTED
