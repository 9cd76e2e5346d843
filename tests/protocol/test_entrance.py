"""What comes from a connection, in the order of the docstring of `zmqfl.protocol.entrance`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.protocol.cells import (
    AT,
    CONFIG,
    GONE,
    PARENT,
    PARENT_SESSION,
    STALLED,
    TOKEN,
    UP,
    WALL,
    A,
    B,
    Peer,
    bind,
    calls,
    hello,
    node,
    packet,
    relay,
    request,
    root,
    sent,
    told,
)
from zmqfl.errors import DecodeError
from zmqfl.protocol.commands import (
    Exit,
    Hangup,
    Invoke,
    PeerChanged,
    PeerState,
    Send,
)
from zmqfl.protocol.fence import CLOCK_ERROR, MAX_TOKEN
from zmqfl.wire.messages import (
    MAX_GREETING,
    Attach,
    Attached,
    Beat,
    Bye,
    ByeAck,
    ByeReason,
    Conn,
    Feature,
    Fire,
    Hello,
    Kind,
    Lane,
    Message,
    Packet,
    Request,
    Reset,
    Return,
    ReturnReason,
    Welcome,
)

# -------------------------------------------------------------------------------------------- 1 the connection is bound


@pytest.mark.parametrize(
    "message", [Beat(1), Bye(1), request(), Welcome("x", 1, 1, 1, 1, "", 1), Fire("x", 1, 2, 3, "", "", 0, [])]
)
def test_a_stranger_gets_a_reset_per_connection(message: Message) -> None:
    cell = node()
    strange = packet(message, "server", session=9, sequence=1)
    assert sent(cell.receive(A, strange, AT)) == [(A, Reset())]
    assert cell.receive(A, strange, AT) == []
    assert sent(cell.receive(B, strange, AT)) == [(B, Reset())]
    assert cell.acceptor.counters == {"unbound": 3}


def test_a_hello_of_more_than_4_kib_is_no_greeting() -> None:
    cell = node()
    long = packet(Hello("x" * MAX_GREETING, 7, 0))
    assert sent(cell.receive(A, long, AT)) == [(A, Reset())]
    assert cell.receive(B, replace(hello(), bodies=(b"",)), AT) != []
    assert cell.acceptor._candidates == {}


def test_a_malformed_hello_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        node().receive(A, Packet(Kind.HELLO, b"\x91\x01"), AT)


def test_a_handshake() -> None:
    cell = node()
    welcome = Welcome("server", 1, TOKEN, TOKEN, 1, "server", CONFIG.segment, Feature.RELAY_CACHE)
    assert sent(cell.receive(A, hello(), AT)) == [(A, welcome)]
    assert told(cell, A, Beat(1), session=1) == [PeerChanged("site-1", UP, 7)]
    attach = packet(Attach(), session=1, lane=Lane.BULK)
    assert sent(cell.receive(B, attach, AT)) == [(B, Attached())]


def test_a_cell_that_stops_answers_no_hello() -> None:
    cell = node()
    cell.drain()
    assert cell.receive(A, hello(), AT) == []


def test_the_message_that_binds_counts() -> None:
    cell = node()
    cell.receive(A, hello(), AT)
    news, invoke = cell.receive(A, packet(request(), "server", session=1, sequence=1, hops=16), AT)
    assert news == PeerChanged("site-1", UP, 7)
    assert isinstance(invoke, Invoke)


def test_the_message_that_binds_is_malformed__the_binding_is_still_news() -> None:
    cell = node()
    cell.receive(A, hello(), AT)
    bad = Packet(Kind.BEAT, b"\xc1", session=1)
    assert cell.receive(A, bad, AT) == [PeerChanged("site-1", UP, 7)]
    assert cell.counters == {"malformed": 1}
    with pytest.raises(DecodeError):
        cell.receive(A, bad, AT)


def test_the_message_that_ends_a_stall_is_malformed__the_stall_goes_on() -> None:
    cell, peer = root()
    cell.handle_timeout(AT + 3.1)
    link = cell.neighbours.link_of("site-1")
    assert link is not None
    assert link.state is STALLED
    with pytest.raises(DecodeError):
        cell.receive(A, Packet(Kind.BEAT, b"\xc1", session=peer.session), AT + 4)
    assert told(cell, A, Beat(1), peer.session, AT + 4) == [PeerChanged("site-1", UP, 7)]


def test_two_starts_at_once__the_loser_of_the_race_for_a_token_comes_again() -> None:
    cell = node()
    cell.receive(A, hello(instance=7), AT)
    cell.receive(B, hello(instance=8), AT)
    told(cell, A, Beat(1), session=1)
    assert sent(told(cell, B, Beat(1), session=2)) == [(B, Reset())]
    cell.receive(B, hello(instance=8, token=TOKEN), AT)
    assert sent(told(cell, B, Beat(1), session=3)) == [
        (A, Bye(ByeReason.REPLACED, "replaced by a newer start")),
    ]


@pytest.mark.parametrize("token", [WALL + CLOCK_ERROR, MAX_TOKEN - 1, MAX_TOKEN, (1 << 64) - 1])
def test_a_hello_with_an_absurd_token_is_refused_and_changes_nothing(token: int) -> None:
    cell = node()
    refused = Bye(ByeReason.REFUSED, "its fence token is out of range")
    assert sent(cell.receive(A, hello(token=token), AT)) == [(A, refused)]
    assert cell.fence == TOKEN
    assert cell.fences.highest("site-1") == 0


def test_a_hello_alone_does_not_move_the_roots_own_token() -> None:
    cell = node()
    cell.receive(A, hello(token=WALL + 1_000_000), AT)
    assert cell.fence == TOKEN


def test_a_root_whose_clock_was_set_back_outdoes_its_former_start() -> None:
    cell = node()
    cell.receive(A, hello(token=WALL + 3_600_000), AT)
    told(cell, A, Beat(1), session=1)
    assert cell.fence == WALL + 3_600_001
    cell.receive(B, hello("site-2", token=WALL + 60_000), AT)
    told(cell, B, Beat(1), session=2)
    assert cell.fence == WALL + 3_600_001


def test_a_bound_connection_that_greets_under_another_name_is_refused() -> None:
    cell, peer = root()
    refused = Bye(ByeReason.REFUSED, "its connection is bound to another name")
    assert sent(cell.receive(A, hello("site-2"), AT)) == [(A, refused)]
    assert calls(peer.sends(request(), "server"))


@pytest.mark.parametrize(
    ("conn", "session", "user"), [(B, 99, "site-1"), (B, 1, "site-2"), (B, 1, None), (A, 1, "site-1")]
)
def test_an_attach_with_a_foreign_session_key_or_connection_is_reset(
    conn: Conn, session: int, user: str | None
) -> None:
    cell = node()
    bind(cell, user="site-1")
    attach = packet(Attach(), session=session, lane=Lane.BULK)
    assert sent(cell.receive(conn, attach, AT, user)) == [(conn, Reset())]


# -------------------------------------------------------------------------------------------- 2 its session, its number


def test_a_wrong_session_is_dropped() -> None:
    cell, peer = root()
    peer.session = 99
    assert peer.sends(request(), "server") == []
    assert told(cell, A, Bye(1), session=98) == []
    assert cell.counters == {"wrong_session": 2}


def test_a_number_that_was_seen_is_dropped() -> None:
    cell, peer = root()
    assert calls(peer.sends(request(), "server", sequence=5))
    assert peer.sends(request(id=2), "server", sequence=5) == []
    assert calls(peer.sends(request(id=3), "server", sequence=5, lane=Lane.BULK))  # lanes count for themselves
    assert cell.counters == {"repeated": 1}


def test_a_leap_of_the_numbers_costs_nothing() -> None:
    cell, peer = root()
    assert calls(peer.sends(request(), "server", sequence=(1 << 48) - 1))
    assert peer.sends(request(id=2), "server", sequence=1) == []
    assert cell.counters == {"repeated": 1}


def test_what_comes_from_above_before_a_welcome_is_dropped() -> None:
    cell = node("site-1", has_parent=True)
    cell.connected(Lane.CONTROL, AT)
    assert Peer(cell, PARENT, 0).sends(request("server"), "site-1") == []
    assert cell.counters == {"unbound": 1}


# ------------------------------------------------------------------------------------------------- 3 between neighbours


def test_beats_are_echoed_and_end_a_stall() -> None:
    cell, peer = root()
    assert cell.handle_timeout(AT + 3.1)[0] == PeerChanged("site-1", STALLED, 7, "silent")
    assert told(cell, A, Beat(4), peer.session, AT + 3.2) == [PeerChanged("site-1", UP, 7)]
    assert sent(cell.handle_timeout(AT + 4.2)) == [(A, Beat(2, 4, 1000, 1))]


def test_beats_of_the_parent_end_a_stall() -> None:
    cell, _, _ = relay()
    assert PeerChanged("server", STALLED, 90, "silent") in cell.handle_timeout(AT + 3.1)
    assert told(cell, PARENT, Beat(4), PARENT_SESSION, AT + 3.2)[0] == PeerChanged("server", UP, 90)


def test_a_child_says_bye() -> None:
    cell, peer = root()
    assert told(cell, A, Bye(ByeReason.LEAVING, "done for today"), peer.session) == [
        Send(A, packet(ByeAck(), session=peer.session)),
        Hangup(A),
        PeerChanged("site-1", GONE, 7, "done for today"),
    ]
    assert told(cell, A, Bye(ByeReason.LEAVING), peer.session)  # a RESET: it is unbound


def test_a_child_says_bye_on_both_lanes() -> None:
    cell, peer = root()
    cell.receive(B, packet(Attach(), session=peer.session, lane=Lane.BULK), AT)
    assert told(cell, A, Bye(ByeReason.LEAVING), peer.session) == []
    assert calls(peer.sends(request(), "server", conn=B, lane=Lane.BULK))  # it was sent before
    gone = told(cell, B, Bye(ByeReason.LEAVING), peer.session)
    assert gone[-1] == PeerChanged("site-1", GONE, 7, "it has stopped")


def test_link_messages_that_a_child_has_no_business_to_send_mean_nothing() -> None:
    cell, peer = root()
    for message in (Welcome("x", 1, 1, 1, 1, "", 1), Attached(), Reset()):
        assert told(cell, A, message, peer.session) == []
    with pytest.raises(DecodeError, match="unknown kind 9"):
        cell.receive(A, Packet(9, b"\x90", session=peer.session), AT)


def test_the_parent_says_bye() -> None:
    cell, _, _ = relay()
    commands = told(cell, PARENT, Bye(ByeReason.LEAVING, "upgrade"), PARENT_SESSION)
    assert sent(commands) == [(PARENT, ByeAck())]
    assert PeerChanged("server", GONE, 90, "upgrade") in commands
    assert not cell.neighbours.is_bound


def test_a_cell_that_was_replaced_exits() -> None:
    cell, _, _ = relay()
    commands = told(cell, PARENT, Bye(ByeReason.REPLACED, "..."), PARENT_SESSION)
    assert commands[-1] == Exit(75, "a newer start of relay-a holds the name")


def test_the_parents_token_may_go_back_but_only_with_a_welcome_that_counts() -> None:
    cell, parent, _ = relay()
    assert parent.sends(request("server", fence=400), "relay-a") == []
    told(cell, PARENT, Welcome("server", 91, 300, 700, 1, "server", 1), session=77)  # a leftover
    assert parent.sends(request("server", fence=400), "relay-a") == []
    assert cell.counters == {"stale_fence": 2}
    cell.disconnected(PARENT, AT)
    cell.connected(Lane.CONTROL, AT)
    told(cell, PARENT, Welcome("server", 91, 300, 700, 1, "server", 1), session=2000)
    again = Peer(cell, PARENT, 2000)
    assert calls(again.sends(request("server", fence=300), "relay-a"))


def test_the_name_of_the_root_goes_down_as_soon_as_it_is_known() -> None:
    cell, child = node("relay-a", has_parent=True), None
    child = bind(cell, name="relay-a.site-1")
    cell.connected(Lane.CONTROL, AT)
    first = told(cell, PARENT, Welcome("server", 90, 500, 700, 1, "server", 1), PARENT_SESSION)
    assert sent(first)[0] == (A, Welcome("relay-a", 1, 700, TOKEN, 1, "server", CONFIG.segment, Feature.RELAY_CACHE))
    assert told(cell, A, Beat(1), child.session) == []


def test_a_cell_vouches_for_its_children_when_its_parent_vouches_for_it() -> None:
    cell, _, _ = relay()
    cell.handle_timeout(AT)
    assert told(cell, PARENT, Beat(1), PARENT_SESSION, AT + 0.1) == []
    (ready,) = told(cell, PARENT, Beat(2, vouches=1), PARENT_SESSION, AT + 0.2)
    assert ready == PeerChanged("server", PeerState.UP, 90, "this start holds the name")
    assert cell.deadline == AT + 0.2
    assert sent(cell.handle_timeout(AT + 0.2)) == [(A, Beat(2, vouches=1))]


def test_a_parent_that_learns_the_name_of_the_root_later_tells_it_on() -> None:
    cell = node("relay-a.relay-b", has_parent=True)
    bind(cell, name="relay-a.relay-b.site-1")
    cell.connected(Lane.CONTROL, AT)
    told(cell, PARENT, Welcome("relay-a", 90, 0, 700, 1, "", 1), PARENT_SESSION)
    assert cell.neighbours.root == ""
    again = told(cell, PARENT, Welcome("relay-a", 90, 600, 700, 1, "server", 1), PARENT_SESSION)
    assert [(conn, message.root) for conn, message in sent(again) if isinstance(message, Welcome)] == [(A, "server")]
    assert cell.neighbours.root == "server"


# --------------------------------------------------------------------------------------- 4 its origin may come this way


OWN, BELOW, ABOVE, ROOT, SIBLING, STRANGER = (
    "relay-a.site-1", "relay-a.site-1.job", "relay-a", "server", "relay-a.site-2", "site-9"
)  # fmt: skip


@pytest.mark.parametrize(
    ("way", "user", "good"),
    [
        # a child, on a link without keys and with its own key
        ("child", None, [OWN, BELOW]),
        ("child", OWN, [OWN, BELOW]),
        # the key of its relay may bring it and what is below it, not the relay itself
        ("child", ABOVE, [OWN, BELOW]),
        # a key below it, or another's, brings at most its own
        ("child", BELOW, [BELOW]),
        ("child", SIBLING, []),
        # from above: all but this cell and what is below it
        ("parent", None, [ROOT, STRANGER]),
    ],
)
def test_who_may_send_as_whom(way: str, user: str | None, good: list[str]) -> None:
    cell, parent, child = relay()
    peer = parent if way == "parent" else child
    peer.user = user
    tokens = {OWN: cell.acceptor.children[OWN].token, ABOVE: cell.fence}
    for origin in (OWN, BELOW, ABOVE, ROOT, SIBLING, STRANGER):
        commands = peer.sends(request(origin, fence=tokens.get(origin, 10_000)), "relay-a")
        assert len(calls(commands)) == (origin in good), origin
    assert cell.counters == {"origin_refused": 6 - len(good)}


@pytest.mark.parametrize("origin", ["", "a..b", " site-1", "x" * 300])
def test_an_origin_that_is_no_name_is_refused(origin: str) -> None:
    cell, parent, _ = relay()
    parent.sends(request(origin), "relay-a")
    assert cell.counters["origin_refused"] == (origin != " site-1")


def test_a_key_that_is_not_allowed_any_more_is_cut_off_at_once() -> None:
    cell = node()
    cell.set_allowed(["site-1", "site-2"], AT)
    one, two = bind(cell, A, "site-1", user="site-1"), bind(cell, B, "site-2", user="site-2")
    assert calls(one.sends(request(), "server"))
    commands = cell.set_allowed(["site-2"], AT)
    assert sent(commands) == [(A, Bye(ByeReason.REFUSED, "its key is not allowed any more"))]
    assert calls(one.sends(request(id=2), "server")) == []
    assert calls(two.sends(request("site-2"), "server"))


# ----------------------------------------------------------------------------------------- 5 its fence token is current


def test_a_stale_fence_is_refused() -> None:
    cell, parent, _ = relay()
    assert calls(parent.sends(request("site-4", fence=50), "relay-a"))
    assert calls(parent.sends(request("site-4", fence=60, instance=8), "relay-a"))
    assert parent.sends(request("site-4", fence=50, id=2), "relay-a") == []
    assert parent.sends(request("site-4", fence=MAX_TOKEN), "relay-a") == []
    assert cell.counters == {"stale_fence": 2}


@pytest.mark.parametrize("fence", [0, TOKEN - 1, TOKEN + 1, MAX_TOKEN - 1])
def test_a_child_has_the_token_that_it_was_issued_and_no_other(fence: int) -> None:
    cell, child = root()
    assert child.sends(request(fence=fence), "server") == []
    assert cell.counters == {"stale_fence": 1}
    assert calls(child.sends(request(), "server"))  # and so it cannot lock out the starts that come after it


# --------------------------------------------------------------------------------------------------------- 7 for others


def test_a_message_for_others_and_for_this_cell() -> None:
    cell, _, child = relay()
    token = cell.acceptor.children[OWN].token
    commands = child.sends(request(OWN, token), "server", "relay-a", "site-4")
    assert len(calls(commands)) == 1
    [send] = [command for command in commands if isinstance(command, Send)]
    assert (send.conn, send.packet.targets, send.packet.hops) == (PARENT, ("server", "site-4"), 15)
    assert (send.packet.session, send.packet.route) == (PARENT_SESSION, (OWN, "relay-a"))


@pytest.mark.parametrize("more", [{"hops": 1}, {"route": (OWN, "relay-a", "server")}])
def test_hops_exhausted_or_in_circles_comes_back(more: dict[str, Any]) -> None:
    cell, _, child = relay()
    token = cell.acceptor.children[OWN].token
    [(conn, back)] = sent(child.sends(request(OWN, token), "site-4", **more))
    assert conn == A
    assert isinstance(back, Return)
    assert (back.reason, back.text, back.targets) == (
        ReturnReason.UNREACHABLE,
        "the message goes in circles",
        ["site-4"],
    )
    assert cell.transit.counters["loops"] == 1


def test_what_the_send_budget_cannot_take_comes_back_busy() -> None:
    cell, _, child = relay()
    token = cell.acceptor.children[OWN].token
    [send] = child.sends(request(OWN, token), "site-4")
    assert isinstance(send, Send)
    [(conn, back)] = sent(cell.undeliverable(send.packet, AT))
    assert (conn, type(back)) == (A, Return)
    assert isinstance(back, Return)
    assert (back.reason, back.text) == (ReturnReason.BUSY, "the send budget of relay-a is full")
    assert cell.undeliverable(packet(Beat(1)), AT) == []
    assert cell.counters["budget_full"] == 2


def test_our_own_request_that_the_send_budget_cannot_take_is_tried_again() -> None:
    cell, child = root()
    [send] = cell.request(cell.next_id(), ["site-1"], "c", "t", 0, {}, (), 10.0, AT)
    assert isinstance(send, Send)
    assert cell.undeliverable(send.packet, AT) == []
    again = sent(cell.handle_timeout(AT + 1))
    assert [message.attempt for _, message in again if isinstance(message, Request)] == [2]
    assert child.cell is cell
