"""What machines ask of each other, and of whom: `zmqfl.protocol.interpreter`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocol.cells import (
    AT,
    CONFIG,
    PARENT,
    SUSPECTED,
    TOKEN,
    A,
    B,
    Peer,
    asked,
    bind,
    calls,
    hello,
    node,
    relay,
    request,
    root,
    sent,
    told,
)
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import (
    Command,
    Finish,
    FlowEnded,
    FlowFate,
    Outcome,
    PeerChanged,
    PushEnded,
    Send,
)
from zmqfl.protocol.node import Node
from zmqfl.protocol.push_sender import PushSender
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    Beat,
    Cancel,
    Conn,
    FlowState,
    Kind,
    Probe,
    Reply,
    Request,
    Segment,
    Segmented,
)

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
    ids = [asked(cell, name) for name in ("server", "site-4", "relay-a.site-1")]
    cell.disconnected(PARENT, AT)
    finished = [c for c in cell.handle_timeout(AT + 5) if isinstance(c, Finish)]
    assert [(c.id, c.target) for c in finished] == [(ids[0], "server"), (ids[1], "site-4")]


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
