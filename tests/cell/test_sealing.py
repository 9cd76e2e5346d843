"""Sessions are made once, with who is meant, and end when they must."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from zmq.utils import z85

from tests.cell.sealed import Heard, Wire, sealing_keys
from zmqfl.cell import sealing as module
from zmqfl.cell.seal_callee import LIFE, MOST_PER_CALLER
from zmqfl.cell.sealing import Sealing, Session
from zmqfl.errors import AuthenticationError, CellReturnCode, ClosedError, InvalidSession, KeyFileError, RequestFailed
from zmqfl.protocol.commands import Outcome
from zmqfl.wire.card import Revocations
from zmqfl.wire.seal import Wrap

DIGEST, K, R = bytes(32), b"k" * 32, b"r" * 32


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def site(wire: Wire) -> Sealing:
    wire.start("server", 20)
    return wire.start("site-1", 10)


def session(cell: Sealing, target: str = "server", is_long: bool = False) -> Session:
    """The session with one target."""
    heard = Heard()
    cell.sessions([target], is_long, 5.0, heard)
    return heard.found[target]


def failure(cell: Sealing, target: str = "server") -> RequestFailed:
    heard = Heard()
    cell.sessions([target], False, 5.0, heard)
    return heard.failed[target]


def wrap(cell: Sealing, used: Session, id: int = 1) -> Wrap:
    return cell.wraps({used.target: used}, id, DIGEST, K, {used.target: R})[used.target]


def opened(wire: Wire, made: Wrap, at: str = "server", origin: str = "site-1", instance: int = 10, id: int = 1) -> Any:
    return wire.cells[at].callee.open(origin, instance, made, id, DIGEST)


def test_a_session_is_made_once_and_its_wraps_open(wire: Wire, site: Sealing) -> None:
    first = session(site)
    assert wire.topics() == ["card", "hello"]
    assert session(site) is first
    assert wire.topics() == []
    assert [opened(wire, wrap(site, first, id), id=id) for id in (1, 2, 3)] == [(K, R)] * 3
    assert repr(site) == "<Sealing site-1, card 1, 1 sessions out, 0 in>"
    assert repr(wire.cells["server"]) == "<Sealing server, card 1, 0 sessions out, 1 in>"


def test_a_new_one_is_made_where_it_is_wanted(wire: Wire, site: Sealing) -> None:
    first, heard = session(site), Heard()
    site.sessions(["server"], False, 5.0, heard, is_new=True)
    assert heard.found["server"] is session(site)
    assert heard.found["server"] is not first
    assert opened(wire, wrap(site, first)) == (K, R)
    assert wire.topics() == ["card", "hello", "hello"]


def test_long_messages_have_a_session_of_their_own(wire: Wire, site: Sealing) -> None:
    short, long = session(site), session(site, is_long=True)
    assert wire.topics() == ["card", "hello", "hello"]
    assert short.id != long.id
    assert opened(wire, wrap(site, short)) == opened(wire, wrap(site, long)) == (K, R)


def test_several_targets_some_of_which_fail(wire: Wire, site: Sealing) -> None:
    wire.start("site-2", 30)
    heard = Heard()
    site.sessions(["server", "nobody", "site-2", "server"], False, 5.0, heard)
    ((found, failed),) = heard.told
    assert sorted(found) == ["server", "site-2"]
    assert failed["nobody"].code is CellReturnCode.TARGET_UNREACHABLE
    assert failed["nobody"].reason == "no sealed session with nobody: no way to nobody"


def test_verbs_that_want_the_same_session_wait_for_one_handshake(wire: Wire, site: Sealing) -> None:
    wire.held, both = [], (Heard(), Heard())
    for heard in both:
        site.sessions(["server"], False, 5.0, heard)
    assert not both[0].told
    while wire.held:
        wire.held.pop(0)()
    assert both[0].found["server"] is both[1].found["server"]
    assert wire.topics() == ["card", "hello"]


def test_who_has_time_does_not_fail_by_anothers_time_out(wire: Wire, site: Sealing) -> None:
    wire.held, short, long = [], Heard(), Heard()
    wire.touch = lambda target, topic, headers: Outcome(CellReturnCode.TIMEOUT, "no reply within 1 s")
    site.sessions(["server"], False, 1.0, short)
    site.sessions(["server"], False, 9.0, long)
    wire.clock.now += 1.0
    wire.touch = lambda target, topic, headers: headers
    wire.held.pop(0)()
    assert short.failed["server"].code is CellReturnCode.TIMEOUT
    assert not long.told
    while wire.held:
        wire.held.pop(0)()
    assert list(long.found) == ["server"]


# -------------------------------------------------------------------------------------------------------- restarts, age


def test_cell_N09_a_wrap_opens_once_and_not_after_a_restart(wire: Wire, site: Sealing) -> None:
    made = wrap(site, session(site))
    assert opened(wire, made) == (K, R)
    with pytest.raises(AuthenticationError, match="it came before"):
        opened(wire, made)
    wire.start("server", 21)
    with pytest.raises(InvalidSession, match="server does not know this sealed session"):
        opened(wire, made)


def test_cell_N09_a_handshake_is_answered_once(wire: Wire, site: Sealing) -> None:
    session(site)
    (hello,) = [headers for _, topic, headers in wire.sent if topic == "hello"]
    answers: list[Outcome] = []
    wire.deliver(wire.nodes["site-1"], "server", "zmqfl.seal", "hello", hello, answers.append)
    assert answers[0].code is CellReturnCode.AUTHENTICATION_ERROR
    assert "came before" in answers[0].error
    assert wire.cells["server"].callee.counters["replays"] == 1


def test_a_restarted_callee_gets_a_new_session_with_its_new_card(wire: Wire, site: Sealing) -> None:
    old = session(site)
    wire.start("server", 21)
    site.drop(old)
    wire.topics()
    new = session(site)
    assert wire.topics() == ["hello", "card", "hello"]
    assert (old.instance, new.instance) == (20, 21)
    assert opened(wire, wrap(site, new)) == (K, R)


def test_a_restarted_caller_is_another_one(wire: Wire, site: Sealing) -> None:
    made = wrap(site, session(site))
    again = wire.start("site-1", 11)
    session(again)
    assert opened(wire, made) == (K, R)
    with pytest.raises(InvalidSession):
        opened(wire, wrap(again, session(again)), instance=10)


def test_sessions_are_renewed_by_time_and_by_number(wire: Wire, site: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    first = session(site)
    late = wrap(site, first)
    wire.clock.now += LIFE
    second = session(site)
    assert second is not first
    assert opened(wire, late) == (K, R)
    wire.clock.now += LIFE
    with pytest.raises(InvalidSession):
        opened(wire, wrap(site, first))
    monkeypatch.setattr(module, "MOST_MESSAGES", 3)
    third = session(site)
    for id in range(3):
        wrap(site, third, id)
    assert session(site) is not third


def test_a_callee_that_has_forgotten_says_so_also_to_fires(wire: Wire, site: Sealing) -> None:
    old = session(site)
    wire.cells["server"].forget_at("site-1", old.id + 1)
    assert session(site) is old
    wire.cells["server"].forget_at("site-1", old.id)
    assert session(site) is not old


def test_the_oldest_sessions_go(wire: Wire, site: Sealing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SESSIONS", 2)
    wire.start("site-2", 30)
    wire.start("site-3", 40)
    first = session(site)
    for name in ("site-2", "site-3"):
        session(site, name)
    assert session(site) is not first


def test_a_caller_that_makes_sessions_all_the_time_ends_only_its_own(wire: Wire, site: Sealing) -> None:
    other = wire.start("site-2", 30)
    kept = wrap(other, session(other))
    made = []
    for _ in range(MOST_PER_CALLER + 1):
        made.append(session(site))
        site.drop(made[-1])
    assert wire.cells["server"].callee.open_sessions == MOST_PER_CALLER + 1
    with pytest.raises(InvalidSession):
        opened(wire, wrap(site, made[0]))
    assert opened(wire, wrap(site, made[-1])) == (K, R)
    assert opened(wire, kept, origin="site-2", instance=30) == (K, R)


# ---------------------------------------------------------------------------------------------------------------- cards


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"not_after": 1_999_999_999}, "card 1 of server has expired: it was valid until 2033-05-18"),
        ({"card_name": "site-2"}, "the card is that of site-2, not of server"),
        ({"authority": bytes([8]) * 32}, "this card is not signed by the key of this federation"),
        ({"signed": b"nonsense"}, "is no card"),
    ],
)
def test_cell_N10_a_callee_with_a_bad_card_is_not_believed(wire: Wire, changes: dict[str, Any], text: str) -> None:
    site = wire.start("site-1", 10)
    wire.start("server", 20)
    wire.start("server", 20, sealing_keys("server", z85.decode(wire.curve["server"]), **changes))
    error = failure(site)
    assert error.code is CellReturnCode.AUTHENTICATION_ERROR
    assert text in error.reason


def test_cell_N10_a_caller_with_a_bad_card_is_not_believed(wire: Wire) -> None:
    wire.start("server", 20)
    wire.start("site-1", 10)
    keys = sealing_keys("site-1", z85.decode(wire.curve["site-1"]), authority=bytes([8]) * 32)
    error = failure(wire.start("site-1", 10, keys))
    assert error.code is CellReturnCode.AUTHENTICATION_ERROR
    assert "not signed by the key of this federation" in error.reason


def test_cell_N10_a_good_card_of_another_cell_is_of_no_use(wire: Wire, site: Sealing) -> None:
    wire.start("site-2", 30)
    stolen = wire.cells["site-2"]._trust.keys
    thief = wire.start("server", 20, replace(stolen, secret=b"x" * 32))
    assert "the card is that of site-2" in failure(site).reason
    assert thief.callee.open_sessions == 0


def test_cell_N10_a_card_without_its_secret_is_of_no_use(wire: Wire, site: Sealing) -> None:
    honest = wire.cells["server"]._trust.keys
    wire.start("server", 20, replace(honest, secret=b"x" * 32))
    assert failure(site).code is CellReturnCode.AUTHENTICATION_ERROR


def test_cell_N10_a_card_with_another_curve_key_than_the_known_one(wire: Wire, site: Sealing) -> None:
    wire.start("server", 20, sealing_keys("server", bytes(32)))
    assert "another CURVE key than the one that is known here" in failure(site).reason


def test_our_own_card_must_be_valid(wire: Wire) -> None:
    wire.start("server", 20)
    wire.start("site-1", 10)
    site = wire.start("site-1", 10, sealing_keys("site-1", z85.decode(wire.curve["site-1"]), not_after=1_000))
    with pytest.raises(RequestFailed, match=r"needs a valid card.*has expired.*run `zmqfl provision` again"):
        session(site)


def test_a_revoked_card_ends_its_sessions_at_both_ends(wire: Wire, site: Sealing) -> None:
    used = session(site)
    server, keys = wire.cells["server"], wire.cells["server"]._trust.keys
    server.reload(replace(keys, revocations=Revocations(2, frozenset({1}))))
    with pytest.raises(InvalidSession):
        opened(wire, wrap(site, used))
    site.drop(used)
    assert "card 1 of site-1 is revoked (list 2)" in failure(site).reason
    wire.start("server", 21)
    good = session(site)
    site.reload(replace(site._trust.keys, revocations=Revocations(3, frozenset({1}))))
    assert site.callee.open_sessions == 0
    with pytest.raises(RequestFailed, match="card 1 of site-1 is revoked"):
        session(site)
    assert good.target == "server"


def test_an_older_list_is_refused(site: Sealing) -> None:
    keys = site._trust.keys
    site.reload(replace(keys, revocations=Revocations(5)))
    with pytest.raises(KeyFileError, match="is list 4, and list 5 is in use already; copy the newest one"):
        site.reload(replace(keys, revocations=Revocations(4)))


def test_a_reload_of_the_same_keys_keeps_sessions_and_of_others_ends_them(wire: Wire, site: Sealing) -> None:
    used = session(site)
    site.reload(site._trust.keys)
    assert session(site) is used
    site.reload(replace(site._trust.keys, refused=frozenset({"server"})))
    assert "its keys are revoked here" in failure(site).reason
    site.reload(replace(site._trust.keys, refused=frozenset()))
    again = session(site)
    site.reload(replace(site._trust.keys, refused=frozenset({wire.curve["server"].decode()})))
    assert "its keys are revoked here" in failure(site).reason
    assert again is not used


def test_a_name_that_is_refused(wire: Wire, site: Sealing) -> None:
    session(site)
    site.refuse("server")
    assert "its keys are revoked here" in failure(site).reason
    site.reload(site._trust.keys)
    session(site)


def test_a_card_that_expires_ends_its_session(wire: Wire) -> None:
    site = wire.start("site-1", 10)
    wire.start("server", 20)
    end = int(wire.clock.wall) + 10
    wire.start("server", 20, sealing_keys("server", z85.decode(wire.curve["server"]), not_after=end))
    session(site)
    wire.clock.wall += 11
    assert "has expired" in failure(site).reason


# ------------------------------------------------------------------------------------------------ whatever comes, close


@pytest.mark.parametrize(
    ("topic", "answer"),
    [
        ("card", {}), ("card", {"card": "x", "instance": 1}), ("card", {"card": b"x", "instance": -1}),
        ("hello", {}), ("hello", {"m": "x"}), ("hello", {"m": b"x"}), ("hello", {"m": bytes(48)}),
    ],
)  # fmt: skip
def test_a_false_answer_is_an_error(wire: Wire, site: Sealing, topic: str, answer: dict[str, Any]) -> None:
    good = Outcome(CellReturnCode.OK, headers=answer)
    wire.touch = lambda target, asked, headers: good if asked == topic else headers
    assert failure(site).code is CellReturnCode.AUTHENTICATION_ERROR


@pytest.mark.parametrize(
    ("topic", "headers", "code"),
    [
        ("hello", {}, "invalid_request"), ("hello", {"card": b"", "to": 20, "m": b""}, "authentication_error"),
        ("hello", {"card": b"", "to": 19, "m": b""}, "invalid_session"), ("frob", {}, "invalid_request"),
        ("forget", {"s": 1}, "ok"), ("forget", {"s": "1"}, "invalid_request"),
    ],
)  # fmt: skip
def test_a_false_question_gets_an_error(wire: Wire, site: Sealing, topic: str, headers: Any, code: str) -> None:
    answers: list[Outcome] = []
    wire.deliver(wire.nodes["site-1"], "server", "zmqfl.seal", topic, headers, answers.append)
    assert str(answers[0].code) == code


def test_a_changed_handshake_is_refused_wherever_it_was_changed(wire: Wire, site: Sealing) -> None:
    def flip(place: int, target: str, topic: str, headers: dict[str, Any]) -> dict[str, Any]:
        if topic != "hello":
            return headers
        message = bytearray(headers["m"])
        message[place] ^= 1
        return {**headers, "m": bytes(message)}

    for place in (0, 20, 33, 48):
        wire.touch = partial(flip, place)
        assert failure(site).code is CellReturnCode.AUTHENTICATION_ERROR
    assert wire.cells["server"].callee.open_sessions == 0


def test_close_fails_who_waits_and_refuses_who_comes(wire: Wire, site: Sealing) -> None:
    wire.held, heard = [], Heard()
    site.sessions(["server", "site-2"], False, 5.0, heard)
    site.close()
    assert sorted(heard.failed) == ["server", "site-2"]
    assert {error.reason for error in heard.failed.values()} == {"cell site-1 was closed"}
    for answer in wire.held:
        answer()
    assert len(heard.told) == 1
    with pytest.raises(ClosedError):
        session(site)
