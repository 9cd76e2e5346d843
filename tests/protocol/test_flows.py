"""Which messages travel as flows, whose turn it is, and what becomes of them. The cell is site-1, instance 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from zmqfl.config import KIB, MIB, CellConfig
from zmqfl.protocol import flows as module
from zmqfl.protocol.commands import Command, FlowEnded, FlowFate, FlowMoved, GiveBack, Post
from zmqfl.protocol.flows import SHORT, Flows
from zmqfl.protocol.pace import FIRST_WINDOW, SILENCE, SMALLEST
from zmqfl.wire.messages import (
    Fire,
    FlowState,
    Probe,
    Reply,
    Request,
    Return,
    ReturnReason,
    RoutedMessage,
    Segment,
    Segmented,
)

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, segment=1 * MIB, bulk_heartbeat_timeout=60.0)
ME = ("site-1", 1000, 7)
AT = 100.0
BODY = bytes(MIB + 1)
DELIVERED, LOST = FlowFate.DELIVERED, FlowFate.LOST
TEXT = "server cannot reach it: why"


def request(id: int = 5, to_instance: int = 0) -> Request:
    return Request(*ME, id, to_instance, 2, 1, [], 1000, "c", "t", 0, [len(BODY)])


def reply(id: int = 5, to_instance: int = 99) -> Reply:
    return Reply(*ME, id, to_instance, "ok", "", 0, [len(BODY)])


def fresh(config: CellConfig = CONFIG) -> Flows:
    return Flows(config, lambda: ME)


def begin(flows: Flows, *targets: str, message: RoutedMessage | None = None, body: bytes = BODY) -> RoutedMessage:
    message = message or request()
    flows.open(Post(message, targets or ("b",), (body,)), AT)
    return message


def turns(
    flows: Flows, is_free: Callable[[str], bool] = lambda name: True, now: float = AT
) -> list[tuple[int, int, str]]:
    """(flow, offset, targets) of all that may go."""
    found = []
    while (post := flows.next_segment(is_free, now)) is not None:
        assert isinstance(post.message, Segment)
        found.append((post.message.id, post.message.offset // SMALLEST, "".join(post.targets)))
    return found


def told(
    flows: Flows, received: int, state: FlowState = FlowState.OPEN, *, id: int = 1, name: str = "b", now: float = AT
) -> list[Command]:
    return flows.receive_segmented(Segmented(name, 1, 9, id, 7, received, state, "why"), now)


def back(
    flows: Flows, reason: ReturnReason, offset: int = 0, *, id: int = 1, targets: tuple[str, ...] = ("b",)
) -> list[Command]:
    return flows.receive_return(Return("server", 5, 3, id, 7, Segment.KIND, offset, reason, "why", [*targets]), AT)


# ------------------------------------------------------------------------------------------------------- which messages


@pytest.mark.parametrize(
    ("size", "rate", "flow"),
    [
        (SHORT, 0, False),
        (SHORT + 1, 0, True),
        (SHORT + 1, SHORT, True),
        (SHORT, SHORT, False),
        (1 * MIB, 2 * MIB, False),
        (1 * MIB, 2 * MIB - 10, True),
        (1 * MIB + 1, 1 << 40, True),
    ],
)
def test_a_flow_is_what_is_longer_than_a_segment_or_takes_half_a_second(size: int, rate: int, flow: bool) -> None:
    flows = fresh()
    if rate:
        flows._pace("b").acknowledged(rate, rate, AT - 1, AT)
    assert flows.carries(Post(request(), ("b",), (bytes(size),)), AT) is flow


def test_one_slow_target_is_enough() -> None:
    flows = fresh()
    for name, rate in (("b", 100 * MIB), ("c", 1 * MIB)):
        flows._pace(name).acknowledged(rate, rate, AT - 1, AT)
    assert not flows.carries(Post(reply(), ("b",), (bytes(MIB),)), AT)
    assert flows.carries(Post(reply(), ("b", "c"), (bytes(MIB),)), AT)


def test_no_message_is_longer_than_a_segment_and_only_some_kinds_are_cut() -> None:
    flows = fresh(CellConfig(segment=64 * KIB))
    for message in (request(), reply(), Fire(*ME, 5, "c", "t", 0, [])):
        assert flows.carries(Post(message, ("b",), (bytes(64 * KIB), b"x")), AT)
        assert not flows.carries(Post(message, ("b",), (bytes(64 * KIB),)), AT)
    assert not flows.carries(Post(Probe(*ME, 1, []), ("b",), (bytes(2 * MIB),)), AT)


# ------------------------------------------------------------------------------------------------------------- turns


def test_flows_take_turns() -> None:
    flows = fresh()
    begin(flows, "b")
    begin(flows, "c", message=request(6))
    assert turns(flows) == [(1, 0, "b"), (2, 0, "c"), (1, 1, "b"), (2, 1, "c")]
    assert flows.sending == 2


def test_a_flow_waits_for_no_others_target() -> None:
    flows = fresh()
    begin(flows, "b")
    begin(flows, "c", message=request(6))
    assert turns(flows, lambda name: name == "c") == [(2, 0, "c"), (2, 1, "c")]
    told(flows, SMALLEST, id=2, name="c")
    assert turns(flows, lambda name: name == "c") == [(2, 2, "c"), (2, 3, "c")]


def test_all_flows_to_one_target_share_its_window() -> None:
    flows = fresh()
    for id in (5, 6, 7):
        begin(flows, "b", message=request(id))
    begin(flows, "c", message=request(8))
    assert turns(flows) == [(1, 0, "b"), (2, 0, "b"), (3, 0, "b"), (4, 0, "c"), (4, 1, "c")]
    for id in (1, 2):
        told(flows, 0, FlowState.REFUSED, id=id)
    assert turns(flows) == [(3, 1, "b")]


def test_all_flows_share_the_budget_but_a_segment_each_may_go() -> None:
    flows = fresh(replace(CONFIG, send_budget=4 * SMALLEST, segment=SMALLEST))
    for name in "bcd":
        flows._pace(name).window = 8 * MIB
    begin(flows, "b", "c", "d")
    assert turns(flows) == [(1, 0, "bcd")]
    told(flows, 0, FlowState.REFUSED)
    assert turns(flows) == [(1, 1, "cd")]


def test_to_whom_it_is_under_way_it_is_not_sent_again() -> None:
    flows = fresh()
    begin(flows, "b")
    begin(flows, "b")
    assert flows.sending == 1
    begin(flows, "b", "c")
    assert turns(flows) == [(1, 0, "b"), (2, 0, "c"), (1, 1, "b"), (2, 1, "c")]
    begin(flows, "b", message=reply())
    begin(flows, "b", message=reply(to_instance=98))
    assert flows.sending == 4
    assert flows.is_open(Request.KIND, 5, "b")
    assert not flows.is_open(Request.KIND, 5, "d")


def test_paces_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PACES", 2)
    flows = fresh()
    for name in ("b", "c", "d"):
        flows._pace(name).window = MIB
    assert [flows._pace(name).window for name in ("d", "b")] == [MIB, FIRST_WINDOW]


# -------------------------------------------------------------------------------------------------- what becomes of it


def test_it_moves_and_is_delivered() -> None:
    flows = fresh()
    message = begin(flows)
    turns(flows)
    assert told(flows, SMALLEST) == [FlowMoved(message, "b")]
    assert told(flows, SMALLEST) == []
    assert told(flows, len(BODY), FlowState.COMPLETE) == [
        FlowMoved(message, "b"), FlowEnded(message, "b", DELIVERED, "why"),
    ]  # fmt: skip
    assert told(flows, len(BODY), FlowState.COMPLETE) == []
    assert (flows.sending, flows.is_open(Request.KIND, 5, "b"), dict(flows._to)) == (0, False, {})
    assert flows.counters == {"flows_delivered": 1}


def test_each_target_ends_for_itself() -> None:
    flows = fresh()
    message = begin(flows, "b", "c")
    turns(flows)
    assert told(flows, 0, FlowState.TOO_BIG) == [FlowEnded(message, "b", FlowFate.TOO_BIG, "why")]
    assert (flows.sending, flows.is_open(Request.KIND, 5, "c")) == (1, True)
    assert told(flows, 0, FlowState.REFUSED, name="c") == [FlowEnded(message, "c", FlowFate.REFUSED, "why")]
    assert flows.sending == 0


def test_who_was_not_asked_is_not_heard() -> None:
    flows = fresh()
    begin(flows)
    assert told(flows, 10, name="x") == []
    assert told(flows, 10, id=2) == []
    assert back(flows, ReturnReason.UNREACHABLE, targets=("x",)) == []
    assert back(flows, ReturnReason.UNREACHABLE, id=2) == []


@pytest.mark.parametrize("reason", [ReturnReason.SUSPECTED, ReturnReason.BUSY])
def test_it_comes_back_for_a_while__held_for_a_beat(reason: ReturnReason) -> None:
    flows = fresh()
    begin(flows)
    turns(flows)
    told(flows, SMALLEST)
    assert back(flows, reason, SMALLEST) == []
    assert turns(flows) == []
    assert flows.deadline is not None
    assert flows.deadline <= AT + 1
    assert flows.handle_timeout(AT + 1) == []
    assert turns(flows, now=AT + 1)[0] == (1, 1, "b")
    assert flows.counters == {"flows_held": 1}


@pytest.mark.parametrize("reason", [ReturnReason.UNREACHABLE, ReturnReason.NOT_UNDERSTOOD])
def test_it_comes_back_for_good__lost_and_a_request_that_cannot_have_run_comes_back(reason: ReturnReason) -> None:
    flows = fresh()
    message = begin(flows)
    turns(flows)
    returned = Return("server", 5, 3, 5, 7, Request.KIND, 2, reason, "why", ["b"])
    assert back(flows, reason) == [FlowEnded(message, "b", LOST, TEXT), GiveBack(returned)]
    assert flows.sending == 0


def test_it_comes_back_for_good_when_it_may_be_whole_or_is_no_request__lost() -> None:
    flows = fresh()
    flows._pace("b").window = 8 * MIB
    message = begin(flows)
    turns(flows)
    assert back(flows, ReturnReason.UNREACHABLE, SMALLEST) == [FlowEnded(message, "b", LOST, TEXT)]
    message = begin(flows, message=reply())
    turns(flows)
    assert back(flows, ReturnReason.UNREACHABLE, id=2) == [FlowEnded(message, "b", LOST, TEXT)]


def test_the_link_is_up__on_where_it_leads() -> None:
    flows = fresh()
    begin(flows, "b", "c")
    turns(flows)
    back(flows, ReturnReason.SUSPECTED, targets=("b", "c"))
    assert flows.link_up(lambda name: name == "b", AT) == []
    assert turns(flows) == [(1, 0, "b"), (1, 1, "b")]


def test_the_link_is_up_and_it_may_have_run__lost() -> None:
    flows = fresh()
    flows._pace("b").window = 8 * MIB
    message = begin(flows)
    turns(flows)
    assert flows.link_up(lambda name: True, AT) == [FlowEnded(message, "b", LOST, "the link broke")]


def test_the_peer_is_gone__lost() -> None:
    flows = fresh()
    message = begin(flows, "b", "c")
    assert flows.peer_gone(lambda name: name == "b", "gone") == [FlowEnded(message, "b", LOST, "gone")]
    assert turns(flows)[0] == (1, 0, "c")


def test_nobody_waits_for_it__stopped() -> None:
    flows = fresh()
    message = begin(flows, "b", "c")
    answer = begin(flows, message=reply())
    assert flows.stop(Request.KIND, 5, ("b", "x")) == [FlowEnded(message, "b", LOST, "nobody waits for it")]
    assert flows.sending == 2
    flows.stop(Request.KIND, 5, ("c",))
    assert turns(flows) == [(2, 0, "b"), (2, 1, "b")]
    assert flows.peer_gone(lambda name: True, "") == [FlowEnded(answer, "b", LOST, "")]


def test_no_progress__lost() -> None:
    flows = fresh()
    message = begin(flows)
    now, ended = AT, list[Command]()
    while now < AT + SILENCE * 60:
        turns(flows, now=now)
        deadline = flows.deadline
        assert deadline is not None
        now = deadline
        ended = flows.handle_timeout(now)
        assert ended == [] or now == AT + SILENCE * 60
    assert ended == [FlowEnded(message, "b", LOST, "b takes nothing")]
    assert (flows.handle_timeout(now), flows.sending, flows.deadline) == ([], 0, None)
