"""The table of `zmqfl.protocol.uplink`, a test per row. The cell is relay-a.site-1, its parent relay-a."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from zmqfl.config import CellConfig
from zmqfl.protocol.commands import Command, Exit, Level, Note, PeerChanged, PeerState, Redial, Send
from zmqfl.protocol.uplink import Uplink, UplinkState, up
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    Attach,
    Attached,
    Beat,
    Bye,
    ByeAck,
    ByeReason,
    Hello,
    Lane,
    LinkMessage,
    Packet,
    Reset,
    Welcome,
)

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, reconnect_min=0.1, reconnect_max=8.0)
CONTROL, BULK = up(Lane.CONTROL), up(Lane.BULK)
WELCOME = Welcome("relay-a", 70, 700, 1000, 1, "server", 1 << 20)
SESSION = 42
IDLE, GREETING, BOUND, STOPPED = UplinkState
UP, SUSPECTED, STALLED, GONE = PeerState.UP, PeerState.SUSPECTED, PeerState.STALLED, PeerState.GONE


def send(message: LinkMessage, session: int = 0) -> Send:
    lane = Lane.BULK if isinstance(message, Attach) else Lane.CONTROL
    return Send(up(lane), Packet(message.KIND, encode_header(message), lane=lane, session=session))


def hello(token: int = 0) -> Send:
    return send(Hello("relay-a.site-1", 7, token))


def changed(state: PeerState, reason: str = "", instance: int = 70, replaced: bool = False) -> PeerChanged:
    return PeerChanged("relay-a", state, instance, reason, replaced)


def told(uplink: Uplink, message: LinkMessage, session: int = SESSION, now: float = 100.0) -> list[Command]:
    """What it does about a message from the parent."""
    return uplink.receive(Packet(message.KIND, b"", session=session), message, now)


def idle() -> Uplink:
    return Uplink("relay-a.site-1", 7, CONFIG)


def greeting() -> Uplink:
    uplink = idle()
    assert uplink.connected(Lane.CONTROL, 100.0) == [hello()]
    return uplink


def bound() -> Uplink:
    uplink = greeting()
    assert told(uplink, WELCOME) == [changed(UP)]
    return uplink


def attached() -> Uplink:
    uplink = bound()
    assert uplink.connected(Lane.BULK, 100.0) == [send(Attach(), SESSION)]
    assert told(uplink, Attached()) == [changed(UP, "bulk lane attached")]
    return uplink


def stopped() -> Uplink:
    uplink = bound()
    told(uplink, Bye(ByeReason.REPLACED))
    return uplink


def test_idle__control_lane_connected__greeting() -> None:
    uplink = idle()
    assert not uplink.deadline
    assert uplink.connected(Lane.CONTROL, 100.0) == [hello()]
    assert (uplink.state, uplink.deadline) == (GREETING, 101.0)


def test_idle__bulk_lane_connected__idle() -> None:
    uplink = idle()
    assert uplink.connected(Lane.BULK, 100.0) == []
    assert uplink.state is IDLE


def test_greeting__welcome__bound() -> None:
    uplink = greeting()
    assert told(uplink, WELCOME) == [changed(UP)]
    assert (uplink.state, uplink.token, uplink.root) == (BOUND, 1000, "server")
    assert uplink.link is not None
    assert (uplink.link.fqcn, uplink.link.instance, uplink.link.token, uplink.link.session) == ("relay-a", 70, 700, 42)
    assert uplink.handle_timeout(100.0) == [send(Beat(1), SESSION)]


def test_greeting__welcome_of_a_start_that_succeeds_another__bound() -> None:
    uplink = greeting()
    told(uplink, replace(WELCOME, succeeds=1))
    assert uplink.succeeds


def test_greeting__welcome_when_the_bulk_lane_is_connected__bound() -> None:
    uplink = greeting()
    uplink.connected(Lane.BULK, 100.0)
    assert told(uplink, WELCOME) == [changed(UP), send(Attach(), SESSION)]


def test_greeting__no_welcome_in_time__greeting() -> None:
    uplink = greeting()
    times = [100.0]
    while len(times) < 7:
        assert uplink.deadline is not None
        times.append(uplink.deadline)
        assert uplink.handle_timeout(uplink.deadline - 0.01) == []
        assert uplink.handle_timeout(uplink.deadline) == [hello()]
    assert [b - a for a, b in pairwise(times)] == [1, 2, 4, 8, 8, 8]
    assert uplink.state is GREETING


def test_greeting__control_lane_lost__idle() -> None:
    uplink = greeting()
    assert uplink.disconnected(Lane.CONTROL, 101.0) == []
    assert (uplink.state, uplink.deadline) == (IDLE, None)


def test_bound__bulk_lane_connected__bound() -> None:
    uplink = bound()
    assert uplink.connected(Lane.BULK, 100.5) == [send(Attach(), SESSION)]
    uplink.handle_timeout(101.0)  # a beat
    assert uplink.handle_timeout(101.5) == [send(Attach(), SESSION)]  # again, until ATTACHED


def test_bound__attached__bound() -> None:
    uplink = attached()
    assert uplink.link is not None
    assert uplink.link.bulk == BULK
    sent = [command for now in (101, 102, 103, 104) for command in uplink.handle_timeout(now)]
    assert send(Attach(), SESSION) not in sent


def test_bound__beat_that_vouches__the_name_is_ours() -> None:
    uplink = bound()
    told(uplink, Beat(1), now=100.5)
    told(uplink, Beat(1, vouches=1), session=41, now=100.5)
    assert uplink.held_since is None
    told(uplink, Beat(2, vouches=1), now=101.0)
    told(uplink, Beat(3, vouches=1), now=102.0)
    assert uplink.held_since == 101.0


@pytest.mark.parametrize(("succeeds", "since"), [(0, 101.0), (1, 103.0)])
def test_bound__beat_of_a_restarted_parent__the_name_is_still_ours_unless_it_was_anothers(
    succeeds: int, since: float
) -> None:
    uplink = bound()
    told(uplink, Beat(1, vouches=1), now=101.0)
    uplink.disconnected(Lane.CONTROL, 102.0)
    uplink.connected(Lane.CONTROL, 102.0)
    told(uplink, replace(WELCOME, instance=71, succeeds=succeeds), session=43)
    told(uplink, Beat(1, vouches=1), session=43, now=103.0)
    assert uplink.held_since == since


def test_bound__bulk_lane_lost__bound() -> None:
    uplink = attached()
    assert uplink.disconnected(Lane.BULK, 101.0) == []
    assert uplink.state is BOUND
    assert uplink.link is not None
    assert uplink.link.lane(Lane.BULK) == (Lane.CONTROL, CONTROL)
    assert uplink.connected(Lane.BULK, 102.0) == [send(Attach(), SESSION)]


def test_bound__reset_of_our_session__greeting() -> None:
    uplink = attached()
    reason = "the parent does not know our session"
    assert told(uplink, Reset(), now=101.0) == [changed(SUSPECTED, reason), hello(1000)]
    assert uplink.state is GREETING


def test_bound__control_lane_lost__idle() -> None:
    uplink = attached()
    assert uplink.disconnected(Lane.CONTROL, 101.0) == [changed(SUSPECTED, "connection lost")]
    assert (uplink.state, uplink.deadline) == (IDLE, 106.0)


def test_idle_again__connected_and_welcomed_by_the_same_instance__bound() -> None:
    uplink = attached()
    uplink.disconnected(Lane.CONTROL, 101.0)
    assert uplink.connected(Lane.CONTROL, 102.0) == [hello(1000)]
    assert told(uplink, WELCOME, session=43, now=102.0) == [changed(UP), send(Attach(), 43)]


def test_idle_again__welcomed_by_another_instance__bound() -> None:
    uplink = attached()
    uplink.disconnected(Lane.CONTROL, 101.0)
    uplink.connected(Lane.CONTROL, 102.0)
    assert told(uplink, replace(WELCOME, instance=71), session=43, now=102.0) == [
        changed(GONE, "it has restarted", replaced=True),
        changed(UP, instance=71),
        send(Attach(), 43),
    ]


def test_idle_again__not_within_dead_after__the_link_is_gone() -> None:
    uplink = attached()
    uplink.disconnected(Lane.CONTROL, 101.0)
    assert uplink.handle_timeout(105.9) == []
    assert uplink.handle_timeout(106.0) == [changed(GONE, "no connection for 5 s")]
    assert uplink.link is None
    assert uplink.connected(Lane.CONTROL, 200.0) == [hello(1000)]


def test_bound__silence__stalled_and_up_again() -> None:
    uplink = bound()
    for now in (100.0, 101.0, 102.0, 103.0):
        uplink.handle_timeout(now)
    assert uplink.handle_timeout(103.1) == [changed(STALLED, "silent")]
    assert uplink.state is BOUND


def test_bound__the_welcome_again__bound() -> None:
    uplink = bound()
    assert told(uplink, replace(WELCOME, root="hub")) == []
    assert uplink.root == "hub"  # the parent has learned it
    assert told(uplink, replace(WELCOME, root="other"), session=41) == []
    assert told(uplink, replace(WELCOME, root="")) == []  # overtaken
    assert uplink.root == "hub"


def test_greeting__the_welcome_of_the_same_session_again__numbers_go_on() -> None:
    uplink = attached()
    assert uplink.link is not None
    assert uplink.link.next_number(Lane.CONTROL) == 1
    told(uplink, Reset(), now=101.0)  # a message overtook the ATTACH on a new bulk connection
    assert told(uplink, WELCOME, now=101.1) == [changed(UP), send(Attach(), SESSION)]
    assert uplink.link.next_number(Lane.CONTROL) == 2


@pytest.mark.parametrize("start", [greeting, bound])
def test_any__bye_leaving__greeting(start: object) -> None:
    uplink = start()  # type: ignore[operator]
    was_bound = uplink.link is not None
    ack = send(ByeAck(), SESSION if was_bound else 0)
    gone = [changed(GONE, "server is upgraded")] if was_bound else []
    bye = Bye(ByeReason.LEAVING, "server is upgraded")
    assert told(uplink, bye, session=SESSION if was_bound else 0) == [ack, *gone]
    assert (uplink.state, uplink.link) == (GREETING, None)
    assert uplink.deadline is not None
    assert uplink.handle_timeout(uplink.deadline) == [hello(uplink.token)]


def test_bound__bye_leaving_without_a_reason__greeting() -> None:
    assert told(bound(), Bye(ByeReason.LEAVING)) == [send(ByeAck(), SESSION), changed(GONE, "the parent has stopped")]


def test_any__bye_refused__greeting() -> None:
    uplink = greeting()
    note = Note(Level.WARNING, "relay-a.site-1: the parent refused us: its key is that of 'site-2'")
    bye = Bye(ByeReason.REFUSED, "its key is that of 'site-2'")
    assert told(uplink, bye, session=0) == [note]
    assert uplink.refusal == "its key is that of 'site-2'"
    assert uplink.deadline == 108.0
    assert uplink.handle_timeout(108.0) == [hello()]
    assert told(uplink, bye, session=0, now=108.1) == []  # said once
    told(uplink, WELCOME, now=109.0)
    assert uplink.refusal == ""


def test_bound__bye_refused__greeting() -> None:
    uplink = bound()
    commands = told(uplink, Bye(ByeReason.REFUSED, "its key is not allowed any more"))
    assert commands[1:] == [changed(GONE, "refused: its key is not allowed any more")]
    assert (uplink.state, uplink.link) == (GREETING, None)


@pytest.mark.parametrize("start", [greeting, bound])
def test_any__bye_replaced__stopped(start: object) -> None:
    uplink = start()  # type: ignore[operator]
    was_bound = uplink.link is not None
    why = "a newer start of relay-a.site-1 holds the name"
    gone = [changed(GONE, why)] if was_bound else []
    assert told(uplink, Bye(ByeReason.REPLACED), session=0) == [*gone, Exit(75, why)]
    assert (uplink.state, uplink.deadline) == (STOPPED, None)


def leaving(uplink: Uplink, lane: Lane) -> list[Command]:
    packet = Packet(Bye.KIND, b"", lane=lane, session=SESSION)
    return uplink.receive(packet, Bye(ByeReason.LEAVING, "upgrade"), 100.0)


@pytest.mark.parametrize("lanes", [(Lane.CONTROL, Lane.BULK), (Lane.BULK, Lane.CONTROL)])
def test_bound__bye_leaving_on_both_lanes__greeting(lanes: tuple[Lane, Lane]) -> None:
    uplink = attached()
    assert leaving(uplink, lanes[0]) == []  # what was sent before on the other lane may be under way
    assert leaving(uplink, lanes[1]) == [send(ByeAck(), SESSION), changed(GONE, "upgrade")]


def test_bound__bye_leaving_and_the_bulk_lane_lost__greeting() -> None:
    uplink = attached()
    leaving(uplink, Lane.CONTROL)
    gone = changed(GONE, "the parent has stopped")
    assert uplink.disconnected(Lane.BULK, 101.0) == [send(ByeAck(), SESSION), gone]
    assert uplink.state is GREETING


def test_bound__bye_leaving_and_the_control_lane_lost__idle() -> None:
    uplink = attached()
    leaving(uplink, Lane.CONTROL)
    assert uplink.disconnected(Lane.CONTROL, 101.0) == [changed(GONE, "the parent has stopped")]
    assert (uplink.state, uplink.link) == (IDLE, None)


def test_bound__bye_of_a_link_that_is_no_more__bound() -> None:
    uplink = bound()
    assert told(uplink, Bye(ByeReason.LEAVING), session=41) == []
    assert uplink.state is BOUND


def test_any__bye_ack__stopped() -> None:
    uplink = bound()
    assert told(uplink, ByeAck(), session=41) == []
    assert told(uplink, ByeAck()) == [changed(GONE, "this cell has stopped")]
    assert (uplink.state, uplink.deadline) == (STOPPED, None)


def test_stopped__anything__stopped() -> None:
    uplink = stopped()
    for message in (WELCOME, Attached(), Reset(), Bye(ByeReason.LEAVING), Bye(ByeReason.REFUSED), ByeAck(), Beat(1)):
        for session in (0, SESSION):
            assert told(uplink, message, session) == []
    assert uplink.connected(Lane.CONTROL, 101.0) == []
    assert uplink.connected(Lane.BULK, 101.0) == []
    assert uplink.disconnected(Lane.CONTROL, 102.0) == []
    assert (uplink.state, uplink.deadline) == (STOPPED, None)


def test_any__key_refused__dialled_again() -> None:
    uplink = idle()
    text = "relay-a.site-1: the parent refused our key; is it in the parent's allow list?"
    assert uplink.refused(Lane.CONTROL, 100.0) == [Note(Level.WARNING, text)]
    assert uplink.refused(Lane.BULK, 100.0) == []  # said once
    assert uplink.handle_timeout(100.1) == [Redial(Lane.CONTROL), Redial(Lane.BULK)]
    assert uplink.deadline is None
    uplink.refused(Lane.CONTROL, 100.2)
    assert uplink.deadline == pytest.approx(100.4)  # twice as long
    assert uplink.connected(Lane.CONTROL, 100.3) == [hello()]
    assert uplink.handle_timeout(100.5) == []


def test_a_cell_of_another_name_at_the_parents_address_is_refused() -> None:
    uplink = greeting()
    problem = "the cell at the parent's address is 'relay-b', but 'relay-a.site-1' belongs below 'relay-a'"
    note = Note(Level.WARNING, f"relay-a.site-1: the parent refused us: {problem}")
    assert told(uplink, replace(WELCOME, fqcn="relay-b")) == [note]
    assert (uplink.state, uplink.link, uplink.refusal) == (GREETING, None, problem)
    assert told(uplink, WELCOME) == [changed(UP)]


def test_another_version_of_the_protocol_is_refused() -> None:
    uplink = greeting()
    told(uplink, replace(WELCOME, version=2))
    assert uplink.refusal == "the parent speaks protocol version 2, this cell 1 to 1"
    assert uplink.link is None


def test_messages_of_other_sessions_and_kinds_change_nothing() -> None:
    uplink = bound()
    for message in (Attached(), Reset()):
        assert told(uplink, message, session=41) == []
    assert told(uplink, Beat(1)) == []
    assert told(uplink, Hello("x", 1, 1)) == []
    assert uplink.state is BOUND


def test_before_any_link_nothing_is_attached_or_reset() -> None:
    uplink = greeting()
    for message in (Attached(), Reset(), ByeAck()):
        assert told(uplink, message, session=0) == []
    assert uplink.disconnected(Lane.BULK, 101.0) == []
    assert uplink.state is GREETING


def test_an_attach_that_is_due_while_the_bulk_lane_is_lost_waits_for_it() -> None:
    uplink = bound()
    uplink.connected(Lane.BULK, 100.0)
    uplink.disconnected(Lane.BULK, 100.5)
    uplink.handle_timeout(100.0)
    assert send(Attach(), SESSION) not in uplink.handle_timeout(101.0)


def test_a_hello_that_is_due_while_the_control_lane_is_lost_waits_for_it() -> None:
    uplink = greeting()
    uplink.disconnected(Lane.CONTROL, 100.0)
    told(uplink, Bye(ByeReason.REFUSED, "a leftover"), session=0)
    assert uplink.handle_timeout(108.0) == []


def test_what_the_parent_can_do_is_what_it_has_said_last() -> None:
    uplink = greeting()
    assert uplink.features == 0
    told(uplink, replace(WELCOME, features=1))
    assert uplink.features == 1
    told(uplink, replace(WELCOME, features=3))  # it repeats itself
    assert uplink.features == 3
    told(uplink, replace(WELCOME, features=7), session=99)  # a leftover
    assert uplink.features == 3
