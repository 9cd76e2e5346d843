"""The table of `zmqfl.protocol.link`, a test per row. Heartbeat 1 s, dead after 5 s."""

from __future__ import annotations

import pytest

from zmqfl.protocol.commands import Command, PeerState, Send
from zmqfl.protocol.link import Link
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import Beat, Lane, Packet

CONTROL, BULK = ("in", 1, Lane.CONTROL), ("in", 1, Lane.BULK)
UP, SUSPECTED, STALLED, GONE = PeerState.UP, PeerState.SUSPECTED, PeerState.STALLED, PeerState.GONE


def link(now: float = 100.0) -> Link:
    link = Link("site-1", 7, 1000, 42, heartbeat=1.0, dead_after=5.0, heard=now)
    link.bind(7, 1000, 42, CONTROL, now)
    return link


def stalled() -> Link:
    peer = link()
    assert peer.check(103.1) is STALLED
    return peer


def suspected() -> Link:
    peer = link()
    assert peer.break_off(101.0)
    return peer


def beat(number: int, echo: int = 0, held: int = 0, vouches: int = 0) -> list[Command]:
    return [Send(CONTROL, Packet(Beat.KIND, encode_header(Beat(number, echo, held, vouches)), session=42))]


def test_bound__up() -> None:
    peer = link()
    assert (peer.state, peer.control, peer.bulk, peer.session) == (UP, CONTROL, None, 42)
    assert peer.connected


def test_up__no_message_for_3_beats__stalled() -> None:
    peer = link()
    assert peer.check(103.0) is None
    assert peer.check(103.1) is STALLED
    assert peer.check(103.2) is None  # said once
    assert (peer.state, peer.connected) == (STALLED, True)


def test_up__a_message_in_time__up() -> None:
    peer = link()
    assert not peer.hear(102.9)
    assert peer.check(105.8) is None
    assert peer.check(105.95) is STALLED


def test_stalled__any_message__up() -> None:
    peer = stalled()
    assert peer.hear(104.0)
    assert (peer.state, peer.since) == (UP, 104.0)


@pytest.mark.parametrize("peer", [link, stalled])
def test_up_or_stalled__connection_broken__suspected(peer: object) -> None:
    broken = peer()  # type: ignore[operator]
    assert broken.break_off(104.0)
    assert not broken.break_off(104.1)  # no news
    assert (broken.state, broken.connected, broken.bulk) == (SUSPECTED, False, None)
    assert broken.lane(Lane.CONTROL) is None
    assert broken.lane(Lane.BULK) is None


def test_suspected__bound_again__up() -> None:
    peer = suspected()
    peer.bind(7, 1000, 43, BULK, 103.0)
    assert (peer.state, peer.session, peer.control) == (UP, 43, BULK)


def test_suspected__dead_after_over__gone() -> None:
    peer = suspected()
    assert peer.check(105.9) is None
    assert peer.check(106.0) is GONE
    assert peer.state is SUSPECTED  # whoever asked ends it


def test_any__ended__gone() -> None:
    peer = link()
    peer.end(101.0)
    assert (peer.state, peer.connected) == (GONE, False)
    assert not peer.break_off(102.0)
    assert not peer.hear(102.0)
    assert peer.check(200.0) is None


def test_a_new_session_numbers_from_1_and_forgets_what_it_saw() -> None:
    peer = link()
    assert [peer.next_number(Lane.CONTROL), peer.next_number(Lane.CONTROL), peer.next_number(Lane.BULK)] == [1, 2, 1]
    assert peer.seen[Lane.CONTROL].admit(1)
    peer.bind(7, 1000, 43, CONTROL, 101.0)
    assert peer.next_number(Lane.CONTROL) == 1
    assert peer.seen[Lane.CONTROL].admit(1)


def test_a_repeated_welcome_of_the_same_session_goes_on_counting() -> None:
    peer = link()
    peer.bulk = BULK
    peer.next_number(Lane.CONTROL)
    assert peer.seen[Lane.CONTROL].admit(1)
    peer.bind(7, 1000, 42, CONTROL, 101.0)
    assert peer.next_number(Lane.CONTROL) == 2
    assert not peer.seen[Lane.CONTROL].admit(1)
    assert peer.bulk is None  # it must attach again


def test_lanes() -> None:
    peer = link()
    assert peer.lane(Lane.CONTROL) == (Lane.CONTROL, CONTROL)
    assert peer.lane(Lane.BULK) == (Lane.CONTROL, CONTROL)  # until the bulk connection is attached
    peer.bulk = BULK
    assert peer.lane(Lane.BULK) == (Lane.BULK, BULK)


def test_a_peer_has_left_when_it_has_said_bye_on_each_lane() -> None:
    peer = link()
    assert peer.lanes == [(Lane.CONTROL, CONTROL)]
    assert peer.leave(Lane.CONTROL)
    peer = link()
    peer.bulk = BULK
    assert peer.lanes == [(Lane.CONTROL, CONTROL), (Lane.BULK, BULK)]
    assert not peer.leave(Lane.BULK)
    assert not peer.has_left
    assert peer.leave(Lane.CONTROL)
    peer.bind(7, 1000, 43, CONTROL, 101.0)
    assert not peer.has_left


def test_a_beat_each_heartbeat() -> None:
    peer = link()
    assert peer.beat(100.0) == beat(1)
    assert peer.beat(100.9) == []
    assert peer.beat(101.0) == beat(2)
    peer.hasten(101.5)
    assert peer.beat(101.5, vouches=True) == beat(3, vouches=1)
    peer.break_off(101.6)
    assert peer.beat(103.0) == []


def test_a_beat_echoes_the_last_one_heard_and_measures_the_round_trip() -> None:
    peer = link()
    peer.receive_beat(Beat(9), 100.0)
    assert peer.beat(100.25) == beat(1, echo=9, held=250)
    peer.receive_beat(Beat(10, echo=1, held=100), 100.5)
    assert peer.rtt == pytest.approx(0.15)
    peer.receive_beat(Beat(11, echo=77, held=0), 100.6)  # of somebody else's
    peer.receive_beat(Beat(12, echo=1, held=10_000), 100.7)  # says that it was held longer than it was away
    assert peer.rtt == 0.0


def test_a_touch_is_not_echoed() -> None:
    peer = link()
    peer.receive_beat(Beat(0), 100.1)
    assert peer.beat(100.2) == beat(1)


def test_deadlines() -> None:
    peer = link()
    assert peer.deadline == 100.0  # a beat
    peer.beat(100.0)
    assert peer.deadline == 101.0
    peer.beat(102.9)
    assert peer.deadline == pytest.approx(103.001)  # the stall comes before the next beat
    assert peer.check(103.1) is STALLED
    assert peer.deadline == 103.9  # a beat
    peer.break_off(104.0)
    assert peer.deadline == 109.0  # dead_after
    peer.end(105.0)
    assert peer.deadline is None
