"""A whole cell: what a message goes through, in the order of the docstring of `zmqfl.protocol.node`."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.commands import (
    Call,
    Command,
    Exit,
    Finish,
    FlowEnded,
    FlowFate,
    Hangup,
    Invoke,
    Note,
    Outcome,
    PeerChanged,
    PeerState,
    PushEnded,
    Redial,
    Revoke,
    Send,
)
from zmqfl.protocol.fence import CLOCK_ERROR, MAX_TOKEN
from zmqfl.protocol.node import Node
from zmqfl.protocol.push_sender import PushSender
from zmqfl.protocol.uplink import up
from zmqfl.wire.codec import decode_header, encode_header
from zmqfl.wire.messages import (
    MAX_GREETING,
    Attach,
    Attached,
    Beat,
    Bye,
    ByeAck,
    ByeReason,
    Cancel,
    Conn,
    Fate,
    Fire,
    Flag,
    FlowState,
    Hello,
    Kind,
    Lane,
    LinkMessage,
    Message,
    Packet,
    Probe,
    Probed,
    Reply,
    Request,
    Reset,
    Return,
    ReturnReason,
    RoutedMessage,
    Segment,
    Segmented,
    Welcome,
)

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, send_budget=10_000)
AT = 100.0
WALL = 1_000_000
UP, SUSPECTED, STALLED, GONE = PeerState.UP, PeerState.SUSPECTED, PeerState.STALLED, PeerState.GONE
A: Conn = ("in", "a")
B: Conn = ("in", "b")
C: Conn = ("in", "c")
PARENT = up(Lane.CONTROL)
PARENT_SESSION = 1000
TOKEN = WALL + 1
"""What the root gives to its first child."""


def node(fqcn: str = "server", **more: Any) -> Node:
    numbers = count(1)
    return Node(
        fqcn,
        more.get("instance", 1),
        has_parent=more.get("has_parent", False),
        config=more.get("config", CONFIG),
        sessions=lambda: next(numbers),
        wall_ms=WALL,
        now=AT,
    )


def packet(message: Message, *targets: str, session: int = 0, sequence: int = 0, **more: Any) -> Packet:
    return Packet(message.KIND, encode_header(message), targets=targets, session=session, sequence=sequence, **more)


def hello(name: str = "site-1", instance: int = 7, token: int = 0) -> Packet:
    return packet(Hello(name, instance, token))


def told(cell: Node, conn: Conn, message: LinkMessage, session: int, now: float = AT) -> list[Command]:
    return cell.receive(conn, packet(message, session=session), now)


class Peer:
    """A neighbour of the cell under test: it sends with the right session and numbers."""

    def __init__(self, cell: Node, conn: Conn, session: int, user: str | None = None) -> None:
        self.cell, self.conn, self.session, self.user = cell, conn, session, user
        self.numbers = count(1)

    def sends(self, message: RoutedMessage, *targets: str, now: float = AT, **more: Any) -> list[Command]:
        number, bodies, conn = next(self.numbers), more.pop("bodies", ()), more.pop("conn", self.conn)
        default: dict[str, Any] = {"hops": 16, "route": (message.origin,), "session": self.session, "sequence": number}
        return self.cell.receive(conn, packet(message, *targets, bodies=bodies, **(default | more)), now, self.user)


def bind(cell: Node, conn: Conn = A, name: str = "site-1", instance: int = 7, user: str | None = None) -> Peer:
    """A child says HELLO and a first beat."""
    send = cell.receive(conn, hello(name, instance), AT, user)[-1]
    assert isinstance(send, Send)
    session = send.packet.session
    assert PeerChanged(name, UP, instance) in cell.receive(conn, packet(Beat(0), session=session), AT, user)
    return Peer(cell, conn, session, user)


def root(**more: Any) -> tuple[Node, Peer]:
    cell = node(**more)
    return cell, bind(cell)


def relay(name: str = "relay-a") -> tuple[Node, Peer, Peer]:
    """relay-a below the server, with a child; both links are up."""
    cell = node(name, has_parent=True)
    cell.connected(Lane.CONTROL, AT)
    told(cell, PARENT, Welcome("server", 90, 500, 700, 1, "server", 1 << 20), PARENT_SESSION)
    return cell, Peer(cell, PARENT, PARENT_SESSION), bind(cell, name=f"{name}.site-1")


def request(origin: str = "site-1", fence: int = TOKEN, id: int = 1, instance: int = 7, **more: Any) -> Request:
    lengths = more.get("lengths", [])
    return Request(origin, fence, instance, id, 0, 1, 1, [], 10_000, "c", "t", 0, lengths)


def sent(commands: list[Command]) -> list[tuple[Conn, Message]]:
    """What goes where."""
    return [(c.conn, decode_header(c.packet.kind, c.packet.header)) for c in commands if isinstance(c, Send)]


def calls(commands: list[Command]) -> list[Call]:
    return [command.call for command in commands if isinstance(command, Invoke)]


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
    welcome = Welcome("server", 1, TOKEN, TOKEN, 1, "server", CONFIG.segment)
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


def test_stop_says_bye_to_all_and_waits_for_their_answers() -> None:
    cell, _, child = relay()
    bye = Bye(ByeReason.LEAVING, "relay-a has stopped")
    assert sent(cell.stop(AT)) == [(PARENT, bye), (A, bye)]
    assert not cell.is_quiet
    assert PeerChanged("server", GONE, 90, "this cell has stopped") in told(cell, PARENT, ByeAck(), PARENT_SESSION)
    assert PeerChanged("relay-a.site-1", GONE, 7, "this cell has stopped") in told(cell, A, ByeAck(), child.session)
    assert cell.is_quiet


def test_stop_gives_a_reason() -> None:
    cell, _ = root()
    assert sent(cell.stop(AT, "upgrade")) == [(A, Bye(ByeReason.LEAVING, "upgrade"))]


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
    assert sent(first)[0] == (A, Welcome("relay-a", 1, 700, TOKEN, 1, "server", CONFIG.segment))
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


# ------------------------------------------------------------------------------------------------------ 6 for this cell


def test_a_request_and_its_reply() -> None:
    cell, child = root()
    [call] = calls(child.sends(request(lengths=[2]), "server", bodies=(b"hi",)))
    assert (call.origin, call.bodies) == ("site-1", (b"hi",))
    [(conn, message)] = sent(cell.reply(call, Outcome(CellReturnCode.OK, bodies=(b"yes",)), AT))
    assert conn == A
    assert message == Reply("server", TOKEN, 1, 1, 7, "ok", "", 0, [3])


def test_lengths_that_lie_are_a_decode_error() -> None:
    _, child = root()
    with pytest.raises(DecodeError, match="lengths"):
        child.sends(request(lengths=[3]), "server", bodies=(b"hi",))


def test_a_call_that_no_worker_can_take_was_not_executed() -> None:
    cell, child = root()
    [call] = calls(child.sends(request(), "server"))
    [(_, message)] = sent(cell.refuse(call, AT))
    assert isinstance(message, Reply)
    assert (message.code, message.error) == ("service_unavailable", "server has no free worker")


def test_fires_probes_and_cancels() -> None:
    _, child = root()
    [call] = calls(child.sends(request(), "server"))
    assert len(calls(child.sends(Fire("site-1", TOKEN, 7, 2, "c", "t", 0, []), "server"))) == 1
    [(_, probed)] = sent(child.sends(Probe("site-1", TOKEN, 7, 0, [1, 5]), "server", now=AT + 1))
    assert probed == Probed("server", TOKEN, 1, 0, 7, 1000, [[1, Fate.QUEUED, 0], [5, Fate.NEVER, 0]])
    assert child.sends(Cancel("site-1", TOKEN, 7, 1), "server") == [Revoke(call)]


def asked(cell: Node, target: str = "site-1") -> int:
    id = cell.next_id()
    cell.request(id, [target], "c", "t", 0, {}, (), 10.0, AT)
    return id


def test_replies_probed_and_returns_are_for_this_instance() -> None:
    cell, child = root()
    id = asked(cell)
    reply = Reply("site-1", TOKEN, 7, id, 99, "ok", "", 0, [])
    probed = Probed("site-1", TOKEN, 7, 0, 99, 10, [[id, Fate.FORGOTTEN, 0]])
    back = Return("site-1", TOKEN, 7, id, 99, Kind.REQUEST, 1, ReturnReason.UNREACHABLE, "", ["site-1"])
    for message in (reply, probed, back):
        assert child.sends(message, "server") == []
    assert cell.counters == {"other_instance": 3}
    assert child.sends(replace(reply, to_instance=1), "server") == [Finish(id, "site-1", Outcome(CellReturnCode.OK))]


def test_a_probed_for_this_instance() -> None:
    cell, child = root()
    id = asked(cell)
    probed = Probed("site-1", TOKEN, 7, 0, 1, 10, [[id, Fate.FORGOTTEN, 0]])
    [finish] = child.sends(probed, "server")
    assert isinstance(finish, Finish)
    assert finish.outcome.error.startswith("outcome unknown")


@pytest.mark.parametrize(("origin", "believed"), [("relay-a", True), ("site-1", False), ("relay-b", False)])
def test_only_a_cell_on_the_way_can_return_a_message(origin: str, believed: bool) -> None:
    cell = node()
    peers = {
        "relay-a": bind(cell, A, "relay-a"),
        "site-1": bind(cell, B, "site-1"),
        "relay-b": bind(cell, C, "relay-b"),
    }
    id = asked(cell, "relay-a.site-3")
    token = cell.acceptor.children[origin].token
    names = ["relay-a.site-3"]
    back = Return(origin, token, 7, id, 1, Kind.REQUEST, 1, ReturnReason.UNREACHABLE, "no", names)
    commands = peers[origin].sends(back, "server")
    text = "relay-a cannot forward: no"
    ended = [Finish(id, names[0], Outcome(CellReturnCode.COMM_ERROR, text))]
    assert commands == (ended if believed else [])
    assert cell.counters == ({} if believed else {"forged_return": 1})


@pytest.mark.parametrize("flags", [0, Flag.MUST_UNDERSTAND])
def test_an_unknown_kind_comes_back_only_if_it_must_be_understood(flags: int) -> None:
    cell, child = root()
    header = encode_header(Cancel("site-1", TOKEN, 7, 55))  # origin, fence, instance, id
    future = Packet(99, header, targets=("server",), flags=flags, hops=16, session=child.session, sequence=1)
    back = Return(
        "server",
        TOKEN,
        1,
        55,
        7,
        99,
        0,
        ReturnReason.NOT_UNDERSTOOD,
        "server does not know message kind 99",
        ["server"],
    )
    assert sent(cell.receive(A, future, AT)) == ([(A, back)] if flags else [])
    assert cell.counters == {"unknown_kind": 1}


# --------------------------------------------------------------------------------------------------------- 7 for others


def test_a_message_for_others_and_for_this_cell() -> None:
    cell, _, child = relay()
    token = cell.acceptor.children[OWN].token
    commands = child.sends(request(OWN, token), "server", "relay-a", "site-4")
    assert len(calls(commands)) == 1
    [send] = [command for command in commands if isinstance(command, Send)]
    assert (send.conn, send.packet.targets, send.packet.hops) == (PARENT, ("server", "site-4"), 15)
    assert (send.packet.session, send.packet.sequence, send.packet.route) == (PARENT_SESSION, 1, (OWN, "relay-a"))


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


# ---------------------------------------------------------------------------------------------------------------- verbs


def test_ids_rise() -> None:
    cell = node()
    assert [cell.next_id(), cell.next_id()] == [1, 2]


def test_a_request_to_itself() -> None:
    cell = node()
    [call] = calls(cell.request(1, ["server"], "c", "t", 0, {}, (b"x",), 10.0, AT))
    good = Outcome(CellReturnCode.OK, bodies=(b"y",))
    assert cell.reply(call, good, AT) == [Finish(1, "server", good)]


def test_a_request_without_a_route_ends_at_once() -> None:
    unreachable = Outcome(CellReturnCode.TARGET_UNREACHABLE, "server has no route to site-9")
    assert node().request(1, ["site-9"], "c", "t", 0, {}, (), 10.0, AT) == [Finish(1, "site-9", unreachable)]


def test_a_request_of_a_cell_that_dials_for_the_first_time_waits() -> None:
    cell = node("site-1", has_parent=True)
    assert cell.request(1, ["server"], "c", "t", 0, {}, (), 60.0, AT) == []
    cell.connected(Lane.CONTROL, AT + 1)
    commands = told(cell, PARENT, Welcome("server", 90, 500, 700, 1, "server", 1), PARENT_SESSION, AT + 2)
    [(conn, message)] = sent(commands)
    assert conn == PARENT
    assert isinstance(message, Request)
    assert (message.fence, message.attempt) == (700, 2)


def test_cancel_is_told_to_the_callee() -> None:
    cell, _ = root()
    id = asked(cell)
    assert sent(cell.cancel(id, AT)) == [(A, Cancel("server", TOKEN, 1, id))]
    assert cell.cancel(id, AT) == []


def test_a_fire_says_what_could_not_leave() -> None:
    cell, _ = root()
    bind(cell, B, "site-2")
    cell.disconnected(B, AT)
    commands, errors = cell.fire(1, ["site-1", "site-9", "site-2", "site-1"], "c", "t", 0, {}, (b"x",), AT)
    assert sent(commands) == [(A, Fire("server", TOKEN, 1, 1, "c", "t", 0, [1]))]
    assert errors == {"site-1": "", "site-9": "server has no route to site-9", "site-2": "the link to site-2 is broken"}
    assert cell.fire(2, ["site-9"], "c", "t", 0, {}, (), AT) == ([], {"site-9": "server has no route to site-9"})


def test_a_touch_goes_to_each_connection_of_each_child() -> None:
    cell, child = root()
    cell.receive(B, packet(Attach(), session=child.session, lane=Lane.BULK), AT)
    touches = [c for c in cell.touch() if isinstance(c, Send)]
    assert [(c.conn, c.packet.lane, c.packet.session) for c in touches] == [
        (A, Lane.CONTROL, child.session),
        (B, Lane.BULK, child.session),
    ]
    assert {decode_header(c.packet.kind, c.packet.header) for c in touches} == {Beat(0)}


def test_a_child_that_exited_is_gone() -> None:
    cell, _ = root()
    id = asked(cell)
    unknown = Outcome(CellReturnCode.COMM_ERROR, "outcome unknown: site-1 is gone: its process has ended")
    assert cell.child_exited("site-1", AT) == [
        Hangup(A),
        PeerChanged("site-1", GONE, 7, "its process has ended"),
        Finish(id, "site-1", unknown),
    ]


def test_a_child_that_exited_and_will_start_again_is_gone_but_not_what_is_behind_it() -> None:
    cell = node()
    bind(cell, A, "relay-a")
    itself, _ = asked(cell, "relay-a"), asked(cell, "relay-a.site-1")
    unknown = Outcome(CellReturnCode.COMM_ERROR, "outcome unknown: relay-a is gone: its process has ended")
    assert cell.child_exited("relay-a", AT, restarts=True) == [
        Hangup(A),
        PeerChanged("relay-a", GONE, 7, "its process has ended", replaced=True),
        Finish(itself, "relay-a", unknown),
    ]
    assert cell.requester.open == 1


def test_a_key_that_the_parent_refuses_is_tried_again() -> None:
    cell = node("site-1", has_parent=True)
    [note] = cell.refused(Lane.CONTROL, AT)
    assert isinstance(note, Note)
    assert cell.deadline == pytest.approx(AT + 0.1)
    assert cell.handle_timeout(AT + 0.1) == [Redial(Lane.CONTROL)]


# ---------------------------------------------------------------------------------------------------- neighbours change


def test_what_is_behind_a_suspected_child_waits_and_behind_a_gone_one_ends() -> None:
    cell = node()
    bind(cell, A, "relay-a")
    below, other = asked(cell, "relay-a.site-1"), asked(cell, "relay-a")
    assert cell.disconnected(A, AT) == [PeerChanged("relay-a", SUSPECTED, 7, "connection lost")]
    text = "outcome unknown: relay-a is gone: no connection for 5 s"
    gone = cell.handle_timeout(AT + 5)
    unknown = Outcome(CellReturnCode.COMM_ERROR, text)
    assert [c for c in gone if isinstance(c, Finish)] == [
        Finish(below, "relay-a.site-1", unknown),
        Finish(other, "relay-a", unknown),
    ]


def test_what_is_behind_a_replaced_child_is_probed() -> None:
    cell = node()
    bind(cell, A, "relay-a")
    below, itself = asked(cell, "relay-a.site-1"), asked(cell, "relay-a")
    cell.receive(B, hello("relay-a", 8), AT)
    commands = told(cell, B, Beat(1), session=2)
    text = "outcome unknown: relay-a is gone: replaced by a newer start"
    assert [c for c in commands if isinstance(c, Finish)] == [
        Finish(itself, "relay-a", Outcome(CellReturnCode.COMM_ERROR, text))
    ]
    assert [message.ids for _, message in sent(commands) if isinstance(message, Probe)] == [[below]]


def test_when_the_parent_is_gone_only_what_is_below_still_has_a_way() -> None:
    cell, _, _ = relay()
    ids = [asked(cell, name) for name in ("server", "site-4", OWN)]
    cell.disconnected(PARENT, AT)
    finished = [c for c in cell.handle_timeout(AT + 5) if isinstance(c, Finish)]
    assert [(c.id, c.target) for c in finished] == [(ids[0], "server"), (ids[1], "site-4")]


def test_deadline_is_the_earliest_of_all_machines() -> None:
    cell = node("site-1", has_parent=True)
    assert not cell.deadline
    cell.connected(Lane.CONTROL, AT)
    assert cell.deadline == AT + 1  # HELLO again
    cell.request(1, ["site-1"], "c", "t", 0, {}, (), 0.3, AT)
    assert cell.deadline == pytest.approx(AT + 0.3)  # the handler's time
    assert not node().deadline


def test_a_node_shows_its_state() -> None:
    cell, child = root()
    asked(cell)
    child.sends(request(), "server")
    assert repr(cell) == "<Node server [site-1 up | 1 open, 1 running]>"
    assert repr(node()) == "<Node server [no links | 0 open, 0 running]>"


# -------------------------------------------------------------------------------------------------------------- flows

SHORT = replace(CONFIG, segment=1000, control_limit=100)
LONG = bytes(range(250)) * 10
"""Three segments."""


def segments(commands: list[Command]) -> list[Segment]:
    return [message for _, message in sent(commands) if isinstance(message, Segment)]


def pump(cell: Node, *blocked: Conn) -> list[Segment]:
    """All that may go."""
    found: list[Segment] = []
    while commands := cell.next_bulk(blocked, AT):
        found += segments(commands)
    return found


def acked(flow: Segment, received: int, state: FlowState = FlowState.OPEN) -> Segmented:
    return Segmented("site-1", TOKEN, 7, flow.id, flow.instance, received, state)


def test_a_long_request_goes_when_the_lane_has_room_and_ends_like_a_short_one() -> None:
    cell, child = root(config=SHORT)
    assert cell.request(1, ["site-1"], "c", "t", 0, {}, (LONG,), 10.0, AT) == []
    assert pump(cell, A) == []
    flow = pump(cell)
    assert [(segment.offset, segment.total, segment.kind) for segment in flow] == [
        (0, 2500, Kind.REQUEST), (1000, 2500, Kind.REQUEST), (2000, 2500, Kind.REQUEST),
    ]  # fmt: skip
    [ended] = child.sends(acked(flow[0], 2500, FlowState.COMPLETE), "server")
    assert isinstance(ended, FlowEnded)
    assert (ended.target, ended.fate) == ("site-1", FlowFate.DELIVERED)
    reply = Reply("site-1", TOKEN, 7, 1, 1, "ok", "", 0, [])
    assert child.sends(reply, "server") == [Finish(1, "site-1", Outcome(CellReturnCode.OK))]


def come(child: Peer, carried: Request | Reply, *, id: int = 3) -> list[Command]:
    """LONG, in three segments."""
    commands: list[Command] = []
    for offset in (0, 1000, 2000):
        part = LONG[offset : offset + 1000]
        header = b"" if offset else encode_header(carried)
        segment = Segment("site-1", TOKEN, 7, id, offset, 2500, carried.KIND, 0, header, [len(part)])
        commands += child.sends(segment, "server", bodies=(part,))
    return commands


def test_a_long_request_comes_and_runs_when_it_is_whole() -> None:
    cell, child = root(config=SHORT)
    commands = come(child, request(lengths=[2500]))
    [call] = calls(commands)
    assert call.bodies == (LONG,)
    assert [(ack.received, ack.state) for _, ack in sent(commands) if isinstance(ack, Segmented)] == [
        (1000, FlowState.OPEN), (2000, FlowState.OPEN), (2500, FlowState.COMPLETE),
    ]  # fmt: skip
    assert cell.assembly.assembling == 0


def test_a_long_reply_goes_and_comes() -> None:
    cell, child = root(config=SHORT)
    [call] = calls(child.sends(request(), "server"))
    assert cell.reply(call, Outcome(CellReturnCode.OK, bodies=(LONG,)), AT) == []
    assert [segment.kind for segment in pump(cell)] == [Kind.REPLY] * 3
    id = asked(cell)
    [finish] = [c for c in come(child, Reply("site-1", TOKEN, 7, id, 1, "ok", "", 0, [2500])) if isinstance(c, Finish)]
    assert finish.outcome.bodies == (LONG,)


def test_a_long_reply_to_another_start_or_to_nobody_is_refused() -> None:
    cell, child = root(config=SHORT)
    id = asked(cell)
    for number, carried in enumerate(
        (Reply("site-1", TOKEN, 7, id, 99, "ok", "", 0, [2500]), Reply("site-1", TOKEN, 7, 77, 1, "ok", "", 0, [2500]))
    ):
        [(_, ack), *_] = sent(come(child, carried, id=number))
        assert isinstance(ack, Segmented)
        assert ack.state == FlowState.REFUSED
    assert cell.assembly.open == 0


def test_a_long_request_to_itself_and_another_is_handed_over_here() -> None:
    cell, _ = root(config=SHORT)
    [call] = calls(cell.request(1, ["server", "site-1"], "c", "t", 0, {}, (LONG,), 10.0, AT))
    assert call.bodies == (LONG,)
    assert len(pump(cell)) == 3


@pytest.mark.parametrize("target", ["site-9", "site-1"])
def test_a_long_request_without_a_route_ends_like_a_short_one(target: str) -> None:
    cell = node(config=SHORT)
    assert cell.request(1, [target], "c", "t", 0, {}, (LONG,), 10.0, AT) == []
    unreachable = Outcome(CellReturnCode.TARGET_UNREACHABLE, f"server has no route to {target}")
    assert [c for c in cell.next_bulk((), AT) if isinstance(c, Finish)] == [Finish(1, target, unreachable)]
    assert cell.next_bulk((), AT) == []


def test_a_long_request_whose_target_leaves_ends() -> None:
    cell, child = root(config=SHORT)
    cell.request(1, ["site-1"], "c", "t", 0, {}, (LONG,), 10.0, AT)
    pump(cell)
    commands = cell.child_exited("site-1", AT)
    assert [c.outcome.code for c in commands if isinstance(c, Finish)] == [CellReturnCode.COMM_ERROR]
    assert cell.flows.sending == 0
    assert child.cell is cell


def test_a_cancel_stops_the_flow_at_both_ends() -> None:
    cell, child = root(config=SHORT)
    cell.request(1, ["site-1"], "c", "t", 0, {}, (LONG,), 10.0, AT)
    commands = cell.cancel(1, AT)
    assert [type(command) for command in commands] == [FlowEnded, Send]
    assert (cell.flows.sending, pump(cell)) == (0, [])
    segment = Segment("site-1", TOKEN, 7, 3, 0, 2500, Kind.REQUEST, 0, encode_header(request(lengths=[2500])), [1000])
    child.sends(segment, "server", bodies=(LONG[:1000],))
    assert cell.assembly.open == 1
    child.sends(Cancel("site-1", TOKEN, 7, 1), "server")
    assert (cell.assembly.open, cell.assembly.assembling) == (0, 0)


def test_a_segment_that_the_send_budget_cannot_take_goes_on_from_there_after_a_beat() -> None:
    cell, _ = root(config=SHORT)
    cell.request(1, ["site-1"], "c", "t", 0, {}, (LONG,), 10.0, AT)
    commands = [command for _ in range(3) for command in cell.next_bulk((), AT)]
    second = commands[1]
    assert isinstance(second, Send)
    assert cell.undeliverable(second.packet, AT) == []
    assert pump(cell) == []
    cell.handle_timeout(AT + 1)
    assert [segment.offset for segment in pump(cell)] == [1000, 2000]


# -- the requests of its own machines ----------------------------------------------------------------------------------


def pushing(cell: Node, *targets: str) -> tuple[PushSender, list[Command]]:
    push = PushSender(
        cell.next_id(), targets, "c", "t", (0, ()), window=1, looks_ahead=False, judges=True, chunk_timeout=10.0
    )
    return push, cell.transfer(lambda transfers: transfers.push(push, AT), AT)


def test_a_machine_hears_of_all_targets_that_are_lost_together__and_no_user_does() -> None:
    cell = node()
    bind(cell, name="relay-a")
    pushing(cell, "relay-a.site-1", "relay-a.site-2")
    commands = cell.child_exited("relay-a", AT)
    [ended] = [command for command in commands if isinstance(command, PushEnded)]
    assert (ended.code, ended.culprit) == (CellReturnCode.COMM_ERROR, "relay-a.site-1")
    assert not [command for command in commands if isinstance(command, Finish)]
    assert (len(cell.asks), cell.transfers.pushes, cell.requester.open) == (0, {}, 0)


def test_a_machine_hears_of_all_targets_when_the_send_budget_is_full() -> None:
    cell, _ = root(config=replace(CONFIG, send_budget=1000, segment=1000, control_limit=100))
    cell.request(cell.next_id(), ["site-1"], "c", "t", 0, {}, (bytes(1000),), 10.0, AT)
    push = PushSender(
        cell.next_id(), ("site-1", "site-2"), "c", "t", (0, (b"x",)),
        window=1, looks_ahead=False, judges=True, chunk_timeout=10.0,
    )  # fmt: skip
    commands = cell.transfer(lambda transfers: transfers.push(push, AT), AT)
    assert not [command for command in commands if isinstance(command, Finish)]
    assert push.codes["site-1"].code is CellReturnCode.SERVICE_UNAVAILABLE
    cell.child_exited("site-1", AT)
    assert len(cell.asks) == 0
