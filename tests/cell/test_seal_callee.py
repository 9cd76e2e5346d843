"""The table of the module. Whole handshakes are in `test_sealing`."""

from __future__ import annotations

import msgpack
import pytest

from tests.cell.sealed import Clock, sealing_keys
from zmqfl.cell import seal_callee as module
from zmqfl.cell.seal_callee import GRACE, LIFE, SealCallee, prologue, session_id
from zmqfl.cell.seal_trust import Trust
from zmqfl.errors import AuthenticationError, DecodeError, InvalidSession
from zmqfl.wire.noise import Cipher, Handshake
from zmqfl.wire.seal import WINDOW, Belonging, Wrap, make_wrap

SITE, SERVER = sealing_keys("site-1", bytes(32), serial=1), sealing_keys("server", bytes(31) + b"1", serial=2)
K, R, DIGEST = b"k" * 32, b"r" * 32, bytes(32)


class Caller:
    """site-1, start 10, and the callee that it talks to."""

    def __init__(self) -> None:
        self.clock = Clock()
        trust = Trust("server", SERVER, lambda name: None, lambda: self.clock.wall)
        self.is_known: object = None
        """What it said of the session that was asked about."""
        self.callee = SealCallee("server", 20, trust, lambda: self.clock.now)

    def hello(self, number: object = 1, to: int = 20, seed: int = 1, old: object = 0) -> tuple[int, Cipher]:
        """A session: its id and cipher."""
        names = prologue("site-1", 10, "server", to)
        handshake = Handshake(
            initiator=True, static=SITE.secret, peer=SERVER.card.seal, prologue=names, ephemeral=bytes([seed]) * 32
        )
        message = handshake.write(msgpack.packb([number, old]))
        answer = self.callee.accept("site-1", 10, SITE.signed, to, message, bytes([seed + 100]) * 32)
        self.is_known = msgpack.unpackb(handshake.read(answer))
        return session_id(handshake), Cipher(handshake.split()[0])

    def wrap(self, session: tuple[int, Cipher], counter: int) -> Wrap:
        return make_wrap(session[1], counter, Belonging("server", 20, session[0], 1, DIGEST), K, R)

    def open(self, wrap: Wrap) -> tuple[bytes, bytes]:
        return self.callee.open("site-1", 10, wrap, 1, DIGEST)


@pytest.fixture
def caller() -> Caller:
    return Caller()


def test_wraps_open_in_any_order_and_once(caller: Caller) -> None:
    session = caller.hello()
    for counter in (0, 5, 3, 4):
        assert caller.open(caller.wrap(session, counter)) == (K, R)
        with pytest.raises(AuthenticationError, match="it came before"):
            caller.open(caller.wrap(session, counter))
    assert caller.callee.counters["replays"] == 4


def test_a_hello_tells_whether_a_session_is_known(caller: Caller) -> None:
    first, _ = caller.hello()
    assert caller.is_known is False
    for number, old, is_known in ((2, first, True), (3, first + 1, False)):
        caller.hello(number, seed=number, old=old)
        assert caller.is_known is is_known
    with pytest.raises(DecodeError):
        caller.hello(9, old="x")


def test_a_counter_that_is_too_old_is_refused(caller: Caller) -> None:
    session = caller.hello()
    caller.open(caller.wrap(session, WINDOW + 1))
    with pytest.raises(AuthenticationError, match="4096 others overtook it"):
        caller.open(caller.wrap(session, 1))
    assert caller.open(caller.wrap(session, 2)) == (K, R)


def test_what_does_not_open_uses_no_counter_up(caller: Caller) -> None:
    session = caller.hello()
    wrap = caller.wrap(session, 0)
    with pytest.raises(AuthenticationError, match="not sealed by who"):
        caller.callee.open("site-1", 10, wrap, 2, DIGEST)
    assert caller.open(wrap) == (K, R)
    assert caller.callee.counters["forged"] == 1


@pytest.mark.parametrize("number", [0, -1, "1", None, 1.5], ids=repr)
def test_a_hello_without_a_number(caller: Caller, number: object) -> None:
    with pytest.raises(DecodeError, match="a handshake without a number"):
        caller.hello(number)


def test_hellos_rise(caller: Caller) -> None:
    caller.hello(5)
    for number in (5, 4):
        with pytest.raises(AuthenticationError, match="it came before"):
            caller.hello(number, seed=2)
    caller.hello(6, seed=3)
    with pytest.raises(InvalidSession, match="server has restarted"):
        caller.hello(7, to=19)


def test_sessions_end_by_time_by_card_and_by_number(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = caller.hello(1)
    caller.clock.now += LIFE + GRACE - 1
    assert caller.open(caller.wrap(first, 0)) == (K, R)
    caller.clock.now += 1
    with pytest.raises(InvalidSession):
        caller.open(caller.wrap(first, 1))
    second = caller.hello(2, seed=2)
    caller.callee.end(lambda card: card.fqcn == "site-2")
    assert caller.open(caller.wrap(second, 0)) == (K, R)
    caller.callee.end(lambda card: card.fqcn == "site-1")
    assert caller.callee.open_sessions == 0
    monkeypatch.setattr(module, "MOST_PER_CALLER", 2)
    sessions = [caller.hello(number, seed=number) for number in range(3, 6)]
    assert caller.callee.open_sessions == 2
    with pytest.raises(InvalidSession):
        caller.open(caller.wrap(sessions[0], 0))
    assert caller.open(caller.wrap(sessions[1], 0)) == (K, R)
    monkeypatch.setattr(module, "MOST_SESSIONS", 0)
    caller.hello(6, seed=6)
    assert caller.callee.open_sessions == 0
