"""The table of `zmqfl.protocol.acceptor`, a test per row. The cell is the root, its child site-1."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from zmqfl.config import CellConfig
from zmqfl.protocol import acceptor as module
from zmqfl.protocol.acceptor import Acceptor, is_greeting
from zmqfl.protocol.commands import Command, Hangup, Level, Note, PeerChanged, PeerState, Send
from zmqfl.protocol.fence import CLOCK_ERROR, FenceTable
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    MAX_GREETING,
    Attach,
    Attached,
    Beat,
    Bye,
    ByeAck,
    ByeReason,
    Conn,
    Hello,
    Kind,
    Lane,
    LinkMessage,
    Packet,
    Reset,
    Welcome,
)

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0)
WALL = 1_000_000
WELCOME = Welcome("server", 1, 500, 0, 1, "server", 1 << 20)
A: Conn = ("in", "a")
B: Conn = ("in", "b")
C: Conn = ("in", "c")
BULK: Conn = ("in", "bulk")
UP, SUSPECTED, STALLED, GONE = PeerState.UP, PeerState.SUSPECTED, PeerState.STALLED, PeerState.GONE


def fresh(fqcn: str = "server", is_root: bool = True) -> Acceptor:
    """Sessions are 1, 2, 3, ..."""
    numbers = count(1)
    return Acceptor(fqcn, is_root, CONFIG, FenceTable(), lambda: next(numbers))


def send(conn: Conn, message: LinkMessage, session: int = 0, lane: Lane = Lane.CONTROL) -> Send:
    return Send(conn, Packet(message.KIND, encode_header(message), lane=lane, session=session))


def welcome(conn: Conn, token: int, session: int, succeeds: int = 0) -> Send:
    return send(conn, replace(WELCOME, token=token, succeeds=succeeds), session)


def bye(conn: Conn, reason: ByeReason, text: str, session: int = 0) -> Send:
    return send(conn, Bye(reason, text), session)


def changed(state: PeerState, reason: str = "", instance: int = 7, replaced: bool = False) -> PeerChanged:
    return PeerChanged("site-1", state, instance, reason, replaced)


def greet(
    acceptor: Acceptor,
    conn: Conn = A,
    instance: int = 7,
    token: int = 0,
    name: str = "site-1",
    user: str | None = None,
    wall_ms: int = WALL,
) -> list[Command]:
    hello = Hello(name, instance, token)
    return acceptor.greet(conn, user, Packet(Kind.HELLO, b""), hello, WELCOME, 100.0, wall_ms)


def confirm(acceptor: Acceptor, conn: Conn = A, session: int = 1, now: float = 100.0) -> list[Command]:
    return acceptor.confirm(conn, Packet(Kind.BEAT, b"", session=session), now)


def attach(acceptor: Acceptor, session: int = 1, conn: Conn = BULK, user: str | None = None) -> list[Command]:
    packet = Packet(Kind.ATTACH, b"", lane=Lane.BULK, session=session)
    return acceptor.greet(conn, user, packet, Attach(), WELCOME, 100.0, WALL)


def bound(acceptor: Acceptor | None = None, user: str | None = None) -> Acceptor:
    """site-1, instance 7, token WALL + 1, session 1, on connection A."""
    acceptor = acceptor or fresh()
    assert greet(acceptor, user=user) == [welcome(A, WALL + 1, 1)]
    assert confirm(acceptor) == [changed(UP)]
    return acceptor


def attached(acceptor: Acceptor | None = None, user: str | None = None) -> Acceptor:
    acceptor = bound(acceptor, user)
    assert attach(acceptor, user=user) == [send(BULK, Attached(), 1, Lane.BULK)]
    return acceptor


def test_unbound__hello_acceptable__candidate() -> None:
    acceptor = fresh()
    assert greet(acceptor) == [welcome(A, WALL + 1, 1)]
    assert acceptor.children == {}
    assert acceptor.deadline is None


def test_candidate__the_same_hello_again__candidate() -> None:
    acceptor = fresh()
    assert greet(acceptor) == greet(acceptor) == [welcome(A, WALL + 1, 1)]


def test_candidate__anything_with_that_session__control() -> None:
    acceptor = fresh()
    greet(acceptor)
    assert confirm(acceptor, session=2) == []
    assert confirm(acceptor, conn=B) == []
    assert confirm(acceptor) == [changed(UP)]
    link = acceptor.children["site-1"]
    assert (link.instance, link.token, link.session, link.control) == (7, WALL + 1, 1, A)
    assert acceptor.deadline == 100.0
    assert confirm(acceptor) == []


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "token": ({"token": WALL + CLOCK_ERROR}, "its fence token is out of range"),
    "name": ({"name": "site 1"}, "its name is not valid: invalid char ' '"),
    "blank": ({"name": "site-1 "}, "its name is not valid: blank"),
    "empty": ({"name": ""}, "its name is not valid: empty"),
    "place": ({"name": "relay-a.site-1"}, "it does not belong below 'server'"),
    "itself": ({"name": "server"}, "it does not belong below 'server'"),
    "key of another": ({"user": "site-2"}, "its key is that of 'site-2'"),
    "key below": ({"user": "site-1.job"}, "its key is that of 'site-1.job'"),
    "key not allowed": ({"user": "site-9"}, "the key of 'site-9' is not allowed"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_unbound__hello_not_acceptable__unbound(case: str) -> None:
    arguments, problem = REFUSALS[case]
    acceptor = fresh()
    acceptor.allowed = frozenset({"site-1", "site-2", "site-1.job"})
    note, refusal = greet(acceptor, **arguments)
    name = arguments.get("name", "site-1")
    assert note == Note(Level.WARNING, f"server: refused a HELLO of {name!r}: {problem}")
    assert refusal == bye(A, ByeReason.REFUSED, problem)
    assert acceptor.counters == {"hello_refused": 1}
    assert confirm(acceptor) == []


@pytest.mark.parametrize(("least", "most"), [(2, 9), (0, 0)])
def test_unbound__hello_of_another_version__unbound(least: int, most: int) -> None:
    hello = Hello("site-1", 7, 0, least, most)
    commands = fresh().greet(A, None, Packet(Kind.HELLO, b""), hello, WELCOME, 100.0, WALL)
    problem = f"it speaks protocol versions {least} to {most}, this cell 1"
    assert commands[1] == bye(A, ByeReason.REFUSED, problem)


def test_a_range_of_versions_that_includes_ours_is_good() -> None:
    hello = Hello("site-1", 7, 0, 0, 5)
    commands = fresh().greet(A, None, Packet(Kind.HELLO, b""), hello, WELCOME, 100.0, WALL)
    assert commands == [welcome(A, WALL + 1, 1)]


def test_a_relay_accepts_its_own_children_only() -> None:
    acceptor = fresh("relay-a", is_root=False)
    assert greet(acceptor, name="relay-a.site-1") == [welcome(A, WALL + 1, 1)]
    assert greet(acceptor, B, name="site-1")[1:] == [
        bye(B, ByeReason.REFUSED, "it does not belong below 'relay-a'"),
    ]


def test_the_key_of_an_ancestor_is_good() -> None:
    acceptor = fresh("site-1", is_root=False)
    acceptor.allowed = frozenset({"site-1"})
    assert greet(acceptor, name="site-1.job", user="site-1") == [welcome(A, WALL + 1, 1)]


def test_unbound__hello_of_an_older_start__unbound() -> None:
    acceptor = bound()
    greet(acceptor, B, instance=8)
    confirm(acceptor, B, session=2)
    text = "a newer start of site-1 is bound"
    assert greet(acceptor, C, instance=7, token=WALL + 1) == [bye(C, ByeReason.REPLACED, text)]
    assert greet(acceptor, C, instance=7) == [bye(C, ByeReason.REPLACED, text)]  # its WELCOME was lost
    assert acceptor.counters == {"hello_replaced": 2}


def test_candidate__a_newer_start_of_the_name__control() -> None:
    acceptor = attached()
    assert greet(acceptor, B, instance=8) == [welcome(B, WALL + 2, 2, succeeds=1)]
    assert acceptor.children["site-1"].instance == 7  # the HELLO alone replaces nobody
    assert confirm(acceptor, B, session=2) == [
        bye(A, ByeReason.REPLACED, "replaced by a newer start", 1),
        Hangup(A),
        Hangup(BULK),
        changed(GONE, "replaced by a newer start", replaced=True),
        changed(UP, instance=8),
    ]
    assert set(acceptor.bindings) == {B}


def test_candidate__meanwhile_a_newer_start_is_bound__unbound() -> None:
    acceptor = fresh()
    greet(acceptor, A, instance=7)
    greet(acceptor, B, instance=8, wall_ms=WALL + 5)
    assert confirm(acceptor, B, session=2) == [changed(UP, instance=8)]
    assert confirm(acceptor) == [bye(A, ByeReason.REPLACED, "a newer start of site-1 is bound", 1)]


def test_two_starts_at_once_are_offered_one_token__the_second_gets_a_new_one() -> None:
    acceptor = fresh()
    assert greet(acceptor, A, instance=7) == [welcome(A, WALL + 1, 1)]
    assert greet(acceptor, B, instance=8) == [welcome(B, WALL + 1, 2)]
    assert confirm(acceptor) == [changed(UP)]
    assert confirm(acceptor, B, session=2) == [send(B, Reset(), 2)]
    assert greet(acceptor, B, instance=8, token=WALL + 1) == [welcome(B, WALL + 2, 3, succeeds=1)]
    assert confirm(acceptor, B, session=3)[-1] == changed(UP, instance=8)
    assert greet(acceptor, C, instance=7, token=WALL + 1) == [
        bye(C, ByeReason.REPLACED, "a newer start of site-1 is bound")
    ]


def test_a_token_is_above_the_clock_and_above_all_that_were_heard() -> None:
    acceptor = fresh()
    acceptor._fences.admit("site-1", WALL + 500)
    assert greet(acceptor) == [welcome(A, WALL + 501, 1)]
    assert greet(acceptor, B, instance=8, token=WALL + 900) == [welcome(B, WALL + 900, 2)]  # we have restarted


def test_unbound__attach_session_and_key_known__bulk() -> None:
    acceptor = attached(user="site-1")
    assert acceptor.children["site-1"].bulk == BULK
    assert acceptor.bindings[BULK] == (acceptor.children["site-1"], Lane.BULK)
    assert attach(acceptor, user="site-1") == [send(BULK, Attached(), 1, Lane.BULK)]  # ours was lost


def test_unbound__attach_before_the_control_lane_says_anything__both_bound() -> None:
    acceptor = fresh()
    greet(acceptor)
    assert attach(acceptor) == [changed(UP), send(BULK, Attached(), 1, Lane.BULK)]
    assert set(acceptor.bindings) == {A, BULK}


def test_bulk__attach_from_another_connection__bulk() -> None:
    acceptor = attached()
    other: Conn = ("in", "bulk-2")
    assert attach(acceptor, conn=other) == [send(other, Attached(), 1, Lane.BULK)]
    assert set(acceptor.bindings) == {A, other}


@pytest.mark.parametrize(
    ("session", "conn", "user"), [(99, BULK, "site-1"), (1, BULK, "site-2"), (1, BULK, None), (1, A, "site-1")]
)
def test_unbound__attach_with_a_foreign_session_key_or_connection__reset(
    session: int, conn: Conn, user: str | None
) -> None:
    acceptor = bound(user="site-1")
    assert attach(acceptor, session, conn, user) == [send(conn, Reset(), session, Lane.BULK)]
    assert acceptor.children["site-1"].bulk is None
    assert acceptor.counters == {"attach_refused": 1}


def test_a_connection_that_is_bound_cannot_attach_to_another_link() -> None:
    acceptor = bound()
    greet(acceptor, B, name="site-2")
    confirm(acceptor, B, session=2)
    assert attach(acceptor, session=2, conn=A) == [send(A, Reset(), 2, Lane.BULK)]
    assert acceptor.bindings[A] == (acceptor.children["site-1"], Lane.CONTROL)


def test_an_attach_to_a_suspected_link_is_reset() -> None:
    acceptor = bound()
    acceptor.disconnected(A, 101.0)
    assert attach(acceptor) == [send(BULK, Reset(), 1, Lane.BULK)]


def test_unbound__anything_else__one_reset_per_connection_and_heartbeat() -> None:
    acceptor = fresh()
    packet = Packet(Kind.REQUEST, b"", lane=Lane.BULK, session=9)
    assert acceptor.reset(A, packet, 100.0) == [send(A, Reset(), 9, Lane.BULK)]
    assert acceptor.reset(A, packet, 100.9) == []
    assert acceptor.reset(B, packet, 100.9) == [send(B, Reset(), 9, Lane.BULK)]
    assert acceptor.reset(A, packet, 101.0) == [send(A, Reset(), 9, Lane.BULK)]
    assert acceptor.counters == {"unbound": 4}
    acceptor.disconnected(A, 101.0)
    assert acceptor.reset(A, packet, 101.0) == [send(A, Reset(), 9, Lane.BULK)]


def test_a_connection_that_was_bound_since_gets_another_reset() -> None:
    acceptor = fresh()
    acceptor.reset(A, Packet(Kind.BEAT, b"", session=9), 100.0)  # a message of the old session came first
    bound(acceptor)
    greet(acceptor, B, instance=7, token=WALL + 1)  # what is left of a dead connection of the same start
    confirm(acceptor, B, session=2)
    assert acceptor.reset(A, Packet(Kind.BEAT, b"", session=1), 100.0) == [send(A, Reset(), 1)]


def test_resets_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RESETS", 2)
    acceptor = fresh()
    packet = Packet(Kind.BEAT, b"", session=9)
    assert [len(acceptor.reset(conn, packet, 100.0)) for conn in (A, B, C, C, A)] == [1, 1, 1, 0, 1]


def test_candidates_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CANDIDATES", 2)
    acceptor = fresh()
    for conn, name in ((A, "site-1"), (B, "site-2"), (C, "site-3")):
        greet(acceptor, conn, name=name)
    assert confirm(acceptor, A, session=1) == []  # it will say HELLO again
    assert confirm(acceptor, B, session=2) == [PeerChanged("site-2", UP, 7)]


def test_starts_are_remembered_up_to_a_number() -> None:
    acceptor = fresh()
    for i in range(module.MOST_STARTS + 1):
        greet(acceptor, ("in", i), instance=100 + i)
        confirm(acceptor, ("in", i), session=i + 1)
    assert acceptor._starts["site-1"].keys() == {101 + i for i in range(module.MOST_STARTS)}


def test_control__the_same_hello_again__the_same_welcome() -> None:
    acceptor = bound()
    assert greet(acceptor) == [welcome(A, WALL + 1, 1)]
    assert acceptor.children["site-1"].control == A


def test_control__hello_under_another_name__refused() -> None:
    acceptor = bound()
    assert greet(acceptor, name="site-2")[1:] == [bye(A, ByeReason.REFUSED, "its connection is bound to another name")]
    assert set(acceptor.children) == {"site-1"}


def test_control__lost__suspected() -> None:
    acceptor = attached()
    assert acceptor.disconnected(A, 101.0) == [changed(SUSPECTED, "connection lost")]
    assert acceptor.bindings == {}
    assert acceptor.disconnected(A, 101.0) == []
    assert acceptor.handle_timeout(105.9) == []
    assert acceptor.deadline == 106.0
    assert acceptor.handle_timeout(106.0) == [changed(GONE, "no connection for 5 s")]
    assert not acceptor.children
    assert not acceptor.deadline


def test_bulk__lost__the_link_stays() -> None:
    acceptor = attached()
    assert acceptor.disconnected(BULK, 101.0) == []
    assert acceptor.children["site-1"].lane(Lane.BULK) == (Lane.CONTROL, A)


@pytest.mark.parametrize("lost", [BULK, A])
def test_control__bye_and_the_other_lane_lost__the_child_is_gone(lost: Conn) -> None:
    acceptor = attached()
    link = acceptor.children["site-1"]
    assert not link.leave(Lane.CONTROL)  # what it sent on the bulk lane may be under way
    ack = Send(A, Packet(ByeAck.KIND, encode_header(ByeAck()), session=1))
    commands = acceptor.disconnected(lost, 101.0)
    assert (commands[0], commands[-1]) == (ack, changed(GONE, "it has stopped"))
    assert (acceptor.children, acceptor.bindings) == ({}, {})


def test_candidate__lost__unbound() -> None:
    acceptor = fresh()
    greet(acceptor)
    assert acceptor.disconnected(A, 101.0) == []
    assert confirm(acceptor) == []


def test_suspected__bound_again__control() -> None:
    acceptor = attached()
    acceptor.disconnected(A, 101.0)
    assert greet(acceptor, B, token=WALL + 1) == [welcome(B, WALL + 1, 2)]
    assert confirm(acceptor, B, session=2, now=102.0) == [changed(UP)]
    assert set(acceptor.bindings) == {B}


def test_any__replaced_by_a_newer_session__unbound() -> None:
    acceptor = attached()
    greet(acceptor, B, token=WALL + 1)
    assert confirm(acceptor, B, session=2) == [Hangup(A), Hangup(BULK), changed(UP)]
    assert set(acceptor.bindings) == {B}
    assert acceptor.disconnected(A, 101.0) == []  # the parent hears of the break when the child is long back
    assert acceptor.children["site-1"].state is UP


def test_the_child_is_gone() -> None:
    acceptor = attached()
    assert acceptor.end("site-1", "its process has ended", 101.0) == [
        Hangup(A),
        Hangup(BULK),
        changed(GONE, "its process has ended"),
    ]
    assert (acceptor.children, acceptor.bindings) == ({}, {})
    assert acceptor.end("site-1", "again", 101.0) == []


def test_the_process_of_the_child_has_ended_and_will_start_again() -> None:
    acceptor = attached()
    assert acceptor.exited("site-1", 101.0) == [
        Hangup(A),
        Hangup(BULK),
        changed(GONE, "its process has ended", replaced=True),
    ]
    assert acceptor.children["site-1"].state is SUSPECTED  # what is behind it waits for dead_after
    assert acceptor.handle_timeout(106.0) == [changed(GONE, "no connection for 5 s")]
    assert acceptor.exited("site-1", 107.0) == []


def test_beats_and_stalls() -> None:
    acceptor = bound()
    assert acceptor.handle_timeout(100.0) == [send(A, Beat(1, vouches=1), 1)]
    assert acceptor.deadline == 101.0
    for now in (101.0, 102.0, 103.0):
        assert len(acceptor.handle_timeout(now)) == 1
    assert acceptor.handle_timeout(103.1) == [changed(STALLED, "silent")]
    assert acceptor.handle_timeout(104.0) == [send(A, Beat(5, vouches=1), 1)]


def test_a_key_that_is_not_allowed_any_more_ends_its_links_at_once() -> None:
    acceptor = attached(user="site-1")
    greet(acceptor, B, name="site-2", user="site-2")
    confirm(acceptor, B, session=2)
    text = "its key is not allowed any more"
    assert acceptor.set_allowed(frozenset({"site-2"}), 101.0) == [
        bye(A, ByeReason.REFUSED, text, 1),
        Hangup(A),
        Hangup(BULK),
        changed(GONE, text),
    ]
    assert set(acceptor.children) == {"site-2"}
    assert acceptor.set_allowed(None, 102.0) == []


def test_a_key_that_is_not_allowed_any_more_ends_its_candidates() -> None:
    acceptor = fresh()
    greet(acceptor, user="site-1")
    acceptor.set_allowed(frozenset(), 100.0)
    assert confirm(acceptor) == []


def test_a_suspected_child_whose_key_is_not_allowed_any_more_gets_no_bye() -> None:
    acceptor = bound(user="site-1")
    acceptor.disconnected(A, 101.0)
    assert acceptor.set_allowed(frozenset(), 102.0) == [changed(GONE, "its key is not allowed any more")]


@pytest.mark.parametrize(
    ("user", "origin", "may"),
    [
        ("site-1", "site-1", True),
        ("site-1", "site-1.job", True),
        ("site-1", "site-2", False),
        ("site-1.job", "site-1", False),
        (None, "site-1.job", True),
        (None, "server", False),
    ],
)
def test_who_may_speak(user: str | None, origin: str, may: bool) -> None:
    acceptor = bound()
    acceptor.allowed = frozenset({"site-1", "site-1.job"})
    assert acceptor.may_speak(A, user, origin) is may


def test_the_welcome_again_goes_to_all_that_are_connected() -> None:
    acceptor = attached()
    greet(acceptor, B, name="site-2")
    confirm(acceptor, B, session=2)
    greet(acceptor, C, name="site-3")
    confirm(acceptor, C, session=3)
    acceptor.disconnected(C, 101.0)
    other: Conn = ("in", "d")
    greet(acceptor, other, name="site-4")  # has its WELCOME, and may be bound by it
    assert acceptor.welcome_again(WELCOME) == [
        welcome(A, WALL + 1, 1),
        welcome(B, WALL + 1, 2),
        welcome(other, WALL + 1, 4),
    ]


def test_the_root_vouches_for_its_children_and_others_when_they_hold_their_own_name() -> None:
    acceptor = fresh("site-1", is_root=False)
    greet(acceptor, name="site-1.job")
    confirm(acceptor)
    assert acceptor.handle_timeout(100.0) == [send(A, Beat(1), 1)]
    acceptor.vouch(100.2)
    assert acceptor.deadline == 100.2
    assert acceptor.handle_timeout(100.2) == [send(A, Beat(2, vouches=1), 1)]
    assert fresh().vouches


def test_a_child_that_brings_a_token_shows_that_this_cell_has_restarted() -> None:
    acceptor = bound()
    assert not acceptor.succeeds
    greet(acceptor, B, token=WALL + 1)
    confirm(acceptor, B, session=2)
    assert not acceptor.succeeds  # that token is ours
    greet(acceptor, C, name="site-2", token=WALL - 5)
    assert not acceptor.succeeds
    confirm(acceptor, C, session=3)
    assert acceptor.succeeds


def test_who_has_left() -> None:
    acceptor = bound()
    assert not acceptor.has_left("site-1")
    acceptor.end("site-1", "it has stopped", 101.0)
    assert acceptor.has_left("site-1")
    assert not acceptor.has_left("site-2")


@pytest.mark.parametrize(
    ("packet", "good"),
    [
        (Packet(Kind.HELLO, b"x" * MAX_GREETING), True),
        (Packet(Kind.HELLO, b"x" * (MAX_GREETING + 1)), False),
        (Packet(Kind.ATTACH, b"x"), True),
        (Packet(Kind.ATTACH, b"x", (b"",)), False),
        (Packet(Kind.BEAT, b"x"), False),
        (Packet(Kind.REQUEST, b"x"), False),
        (Packet(99, b"x"), False),
    ],
)
def test_greetings_are_small(packet: Packet, good: bool) -> None:
    assert is_greeting(packet) is good
