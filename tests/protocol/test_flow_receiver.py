"""The table of `zmqfl.protocol.flow_receiver`, a test per row. The cell is b, instance 9; the origin is site-1, 7."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zmqfl.config import MIB, CellConfig
from zmqfl.errors import DecodeError
from zmqfl.protocol import flow_receiver as module
from zmqfl.protocol.commands import Command, Deliver, FlowMoved, Post
from zmqfl.protocol.flow_receiver import STEP, FlowReceiver
from zmqfl.protocol.pace import SILENCE
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    MAX_BODIES,
    NO_DEADLINE,
    Buffer,
    Cancel,
    Fire,
    FlowState,
    Lane,
    Packet,
    Probe,
    Reply,
    Request,
    RoutedMessage,
    Segment,
    Segmented,
)

CONFIG = CellConfig(payload_limit=1000, assembly_budget=1500, bulk_heartbeat_timeout=20.0)
ME = ("b", 500, 9)
ORIGIN = ("site-1", 1000, 7)
AT = 100.0
BODY = bytes(range(100))
REQUEST = Request(*ORIGIN, 5, 0, 1, 1, [], 1000, "c", "t", 0, [60, 0, 40])
REPLY = Reply(*ORIGIN, 5, 9, "ok", "", 0, [100])
FIRE = Fire(*ORIGIN, 5, "c", "t", 0, [100])
OPEN, GAP, COMPLETE, REFUSED = FlowState.OPEN, FlowState.GAP, FlowState.COMPLETE, FlowState.REFUSED


def fresh(config: CellConfig = CONFIG) -> FlowReceiver:
    return FlowReceiver(config, lambda: ME, lambda reply: True)


def come(
    receiver: FlowReceiver,
    offset: int,
    end: int,
    message: RoutedMessage = REQUEST,
    *,
    id: int = 3,
    now: float = AT,
    bodies: tuple[Buffer, ...] | None = None,
    remaining: int = 4000,
    **more: Any,
) -> list[Command]:
    """The segment [offset, end) of BODY."""
    parts = (BODY[offset:end],) if bodies is None else bodies
    header = b"" if offset else more.pop("header", encode_header(message))
    total = more.pop("total", 100)
    holders = more.pop("holders", {})
    origin = (message.origin, message.fence, message.instance)
    segment = Segment(*origin, id, offset, total, message.KIND, 64, header, [len(part) for part in parts], holders)
    return receiver.receive(segment, remaining, parts, now)


def ack(received: int, state: FlowState = OPEN, text: str = "", id: int = 3, instance: int = 7) -> Post:
    return Post(Segmented(*ME, id, instance, received, state, text), ("site-1",), remaining=NO_DEADLINE)


def moved(message: RoutedMessage = REQUEST) -> FlowMoved:
    return FlowMoved(message, "site-1")


def delivered(message: RoutedMessage = REQUEST, *bodies: bytes) -> Deliver:
    packet = Packet(message.KIND, encode_header(message), bodies, ("b",), 64, Lane.BULK, remaining=4000)
    return Deliver(packet)


def half(message: RoutedMessage = REQUEST, receiver: FlowReceiver | None = None) -> FlowReceiver:
    receiver = receiver or fresh()
    come(receiver, 0, 50, message)
    return receiver


# ------------------------------------------------------------------------------------------------------ none -> ...


def test_at_0__open() -> None:
    receiver = fresh()
    assert come(receiver, 0, 50) == [ack(50), moved()]
    assert (receiver.open, receiver.assembling, receiver.counters) == (1, 100, {"flows": 1})


def test_further_on__a_gap_at_0() -> None:
    receiver = fresh()
    assert come(receiver, 50, 100) == [ack(0, GAP)]
    assert receiver.open == 0


def test_above_the_payload_limit__too_big() -> None:
    receiver = fresh()
    message = replace(REQUEST, lengths=[1001])
    text = "a payload of 1001 bytes is above the `payload_limit` of b, 1000 bytes"
    assert come(receiver, 0, 50, message, total=1001) == [ack(0, FlowState.TOO_BIG, text)]
    assert (receiver.open, receiver.assembling, receiver.counters) == (0, 0, {"flows_refused": 1})


def test_no_room__refused() -> None:
    receiver = fresh()
    for id in (1, 2):
        message = replace(REQUEST, id=id, lengths=[750])
        assert come(receiver, 0, 50, message, id=id, total=750) == [ack(50, id=id), moved(message)]
    text = "b has no room for a payload of 100 bytes now"
    assert come(receiver, 0, 50) == [ack(0, REFUSED, text)]
    assert receiver.assembling == 1500


def test_too_many_flows__refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FLOWS", 1)
    assert come(half(), 0, 50, replace(REQUEST, id=6), id=4) == [
        ack(0, REFUSED, "b has no room for a payload of 100 bytes now", id=4)
    ]


def test_a_reply_that_nobody_waits_for__refused() -> None:
    receiver = FlowReceiver(CONFIG, lambda: ME, lambda reply: False)
    assert come(receiver, 0, 50, REPLY) == [ack(0, REFUSED, "b does not wait for this reply")]


# ------------------------------------------------------------------------------------------------------------ open


def test_the_last_one__complete_and_delivered() -> None:
    receiver = half()
    assert come(receiver, 50, 80) == [ack(80), moved()]
    assert come(receiver, 80, 100) == [
        ack(100, COMPLETE), moved(), delivered(REQUEST, BODY[:60], b"", BODY[60:]),
    ]  # fmt: skip
    assert (receiver.open, receiver.assembling) == (0, 0)


@pytest.mark.parametrize("message", [REPLY, FIRE])
def test_replies_and_fires_too(message: RoutedMessage) -> None:
    receiver = half(message)
    assert come(receiver, 50, 100, message) == [ack(100, COMPLETE), moved(message), delivered(message, BODY)]


def test_one_segment_may_be_all() -> None:
    assert come(fresh(), 0, 100)[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])


def test_pieces_need_not_end_where_bodies_do() -> None:
    receiver = fresh()
    come(receiver, 0, 70, bodies=(BODY[:10], memoryview(BODY)[10:65], bytearray(BODY[65:70])))
    assert come(receiver, 70, 100)[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])


def test_bodies_can_be_written_to_and_are_nobody_elses() -> None:
    receiver, piece = fresh(), bytearray(BODY)
    [*_, deliver] = come(receiver, 0, 100, bodies=(piece,))
    assert isinstance(deliver, Deliver)
    assert all(isinstance(body, bytearray) for body in deliver.packet.bodies)
    piece[:] = bytes(100)
    assert bytes(deliver.packet.bodies[0]) == BODY[:60]


def test_behind__again_what_it_has() -> None:
    receiver = half()
    assert come(receiver, 0, 50) == [ack(50)]
    assert come(receiver, 30, 80) == [ack(50)]
    assert come(receiver, 50, 100)[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])


def test_ahead__a_gap() -> None:
    receiver = half()
    assert come(receiver, 60, 80) == [ack(50, GAP)]
    assert receiver.counters["flow_gaps"] == 1


def test_complete__again_complete() -> None:
    receiver = half()
    come(receiver, 50, 100)
    for offset in (0, 50):
        assert come(receiver, offset, 100) == [ack(100, COMPLETE)]


def test_so_many_are_remembered_as_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMPLETE", 2)
    receiver = fresh()
    for id in (1, 2, 3):
        come(receiver, 0, 100, replace(REQUEST, id=id), id=id)
    assert [come(receiver, 50, 100, id=id) for id in (1, 2, 3)] == [
        [ack(0, GAP, id=1)], [ack(100, COMPLETE, id=2)], [ack(100, COMPLETE, id=3)],
    ]  # fmt: skip


def test_a_reply_that_nobody_waits_for_any_more__refused() -> None:
    wanted = [True]
    receiver = FlowReceiver(CONFIG, lambda: ME, lambda reply: wanted[0])
    half(REPLY, receiver)
    wanted[0] = False
    assert come(receiver, 50, 100, REPLY) == [ack(0, REFUSED, "b does not wait for this reply any more")]
    assert (receiver.open, receiver.assembling) == (0, 0)


def test_meant_for_another_start__what_is_here_is_not_completed() -> None:
    assert come(half(), 50, 100, holders={"b": 9, "c": 4})[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])
    assert come(half(), 50, 100, holders={"c": 4})[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])
    receiver = half()
    assert come(receiver, 50, 100, holders={"b": 10}) == [ack(0, GAP)]
    assert (receiver.open, receiver.assembling) == (0, 0)


def test_a_later_flow_of_the_same_message__the_former_is_given_up() -> None:
    receiver = half()
    assert come(receiver, 0, 50, id=4) == [ack(50, id=4), moved()]
    assert (receiver.open, receiver.assembling) == (1, 100)
    assert come(receiver, 0, 50, id=3) == []  # a straggler
    assert come(receiver, 50, 100, id=4)[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])


def test_other_messages_are_not_given_up() -> None:
    receiver = half()
    half(replace(REQUEST, id=6), receiver)
    others: list[RoutedMessage] = [replace(REQUEST, id=6), REPLY, replace(REPLY, to_instance=10), FIRE]
    for id, message in enumerate(others, 4):
        assert come(receiver, 0, 50, message, id=id) == [ack(50, id=id), moved(message)]
    assert receiver.open == 5


def test_cancelled__its_room_is_free() -> None:
    receiver = half()
    receiver.receive_cancel(Cancel(*ORIGIN, 6))
    receiver.receive_cancel(Cancel("site-1", 1000, 8, 5))
    assert receiver.open == 1
    receiver.receive_cancel(Cancel(*ORIGIN, 5))
    receiver.receive_cancel(Cancel(*ORIGIN, 5))
    assert (receiver.open, receiver.assembling) == (0, 0)
    assert come(receiver, 50, 100) == [ack(0, GAP)]


def test_a_newer_start_of_the_origin__nothing_of_the_former_will_come() -> None:
    receiver = half()
    newer = replace(REQUEST, fence=1001, instance=8)
    assert come(receiver, 0, 50, newer, id=1) == [ack(50, id=1, instance=8), moved(newer)]
    assert (receiver.open, receiver.assembling) == (1, 100)


def test_silence__forgotten() -> None:
    receiver = half()
    assert receiver.deadline == AT + SILENCE * 20
    come(receiver, 0, 50, now=AT + 30)  # a duplicate is a sign of life
    assert (receiver.handle_timeout(AT + 60), receiver.deadline) == ([], AT + 90)
    assert receiver.open == 1
    receiver.handle_timeout(AT + 90)
    assert (receiver.open, receiver.assembling) == (0, 0)
    assert receiver.counters["flows_dropped"] == 1


def test_no_deadline_when_nothing_is_open() -> None:
    receiver = half()
    come(receiver, 50, 100)
    receiver.handle_timeout(AT + 60)
    assert receiver.deadline is None


# ------------------------------------------------------------------------------------------------------ what it claims


@pytest.mark.parametrize(
    ("offset", "end", "more"),
    [
        (0, 0, {}),
        (0, 100, {"total": 99}),
        (0, 50, {"total": 101}),
        (0, 50, {"header": b"\x90"}),
        (0, 50, {"header": encode_header(replace(REQUEST, origin="site-2"))}),
        (0, 50, {"header": encode_header(replace(REQUEST, instance=8))}),
        (0, 50, {"header": encode_header(replace(REQUEST, lengths=[1 << 60]))}),
        (0, 50, {"header": encode_header(replace(REQUEST, lengths=[100] + [0] * MAX_BODIES))}),
    ],
)
def test_it_is_not_what_it_claims(offset: int, end: int, more: dict[str, Any]) -> None:
    receiver = fresh()
    with pytest.raises(DecodeError):
        come(receiver, offset, end, **more)
    assert (receiver.open, receiver.assembling) == (0, 0)


def test_a_flow_carries_requests_replies_and_fires_only() -> None:
    with pytest.raises(DecodeError, match="a flow cannot carry kind 19"):
        come(fresh(), 0, 50, Probe(*ORIGIN, 1, [1]))


@pytest.mark.parametrize("total", [99, 101])
def test_a_later_segment_claims_another_total(total: int) -> None:
    receiver = half()
    with pytest.raises(DecodeError, match=f"a segment of {total} bytes in all, in a flow of 100"):
        come(receiver, 50, 99, total=total)
    assert come(receiver, 50, 100)[-1] == delivered(REQUEST, BODY[:60], b"", BODY[60:])


# -------------------------------------------------------------------------------------------------------------- memory


def test_memory_is_taken_as_the_bytes_come() -> None:
    total = 3 * STEP + 5
    receiver = fresh(CellConfig())
    message = replace(FIRE, lengths=[total])
    come(receiver, 0, 0, message, bodies=(bytes(10),), total=total)
    [flow] = receiver._open.values()
    assert len(flow.bodies[0]) == STEP
    commands: list[Command] = []
    for start in range(10, total, MIB):
        piece = start.to_bytes(4, "big") * (min(MIB, total - start) // 4) + bytes(min(MIB, total - start) % 4)
        commands = come(receiver, start, 0, message, bodies=(piece,), total=total)
        assert len(flow.bodies[0]) <= flow.received + STEP
    assert isinstance(commands[-1], Deliver)
    [body] = commands[-1].packet.bodies
    assert len(body) == total
    assert body[:10] == bytes(10)
    assert all(body[start : start + 4] == start.to_bytes(4, "big") for start in range(10, total - 4, MIB))
