from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from zmqfl.transport.outbox import OVERHEAD, RESERVE, ByteBudget, Outbox
from zmqfl.wire.codec import decode_packet, encode_header, encode_packet
from zmqfl.wire.messages import Beat, Buffer, Hello, Kind, Message, Packet

REQUEST = Packet(Kind.REQUEST, b"header", (b"body",))
BEAT = Packet(Kind.BEAT, encode_header(Beat(1)))


class Wire:
    """A connection with room for some messages."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.packets: list[Packet] = []

    def send(self, frames: list[Buffer]) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.packets.append(decode_packet(frames))
        return True


def put(outbox: Outbox, packet: Packet, now: float = 0.0) -> bool:
    return outbox.put(encode_packet(packet), packet.size, now)


def test_budget_counts_and_remembers_the_peak() -> None:
    budget = ByteBudget(10)
    assert budget.take(6)
    assert budget.take(4)
    assert not budget.take(1)
    budget.give(6)
    assert (budget.used, budget.peak) == (4, 10)
    assert repr(budget) == "<ByteBudget 4 of 10 bytes, peak 10>"


def test_messages_go_in_order_as_far_as_there_is_room() -> None:
    budget = ByteBudget(100_000)
    outbox, wire = Outbox(budget), Wire(room=2)
    packets = [replace(REQUEST, session=number) for number in range(5)]
    for packet in packets:
        assert put(outbox, packet)
    assert outbox.flush(wire.send, 0.0) == 2
    assert (len(outbox), wire.packets) == (3, packets[:2])
    assert outbox.flush(wire.send, 0.0) == 0
    wire.room = 10
    assert outbox.flush(wire.send, 0.0) == 3
    assert wire.packets == packets
    assert (budget.used, budget.peak) == (0, 5 * (REQUEST.size + OVERHEAD))


def test_bodies_are_not_copied() -> None:
    outbox, body, seen = Outbox(ByteBudget(10_000)), bytes(100), []
    put(outbox, replace(REQUEST, bodies=(body,), remaining=1000))

    def send(frames: list[Buffer]) -> bool:
        seen.append(frames[2])
        return True

    outbox.flush(send, 0.5)
    assert seen[0] is body


def test_full_budget_refuses_and_is_shared() -> None:
    budget = ByteBudget(2 * (REQUEST.size + OVERHEAD))
    one, two, three = Outbox(budget), Outbox(budget), Outbox(budget)
    assert put(one, REQUEST)
    assert put(two, REQUEST)
    assert not put(three, REQUEST)
    two.clear()
    assert put(three, REQUEST)


def test_no_queue_holds_more_than_a_quarter_of_the_budget() -> None:
    budget = ByteBudget(20 * (REQUEST.size + OVERHEAD))
    stalled, others = Outbox(budget), [Outbox(budget) for _ in range(3)]
    assert [put(stalled, REQUEST) for _ in range(7)] == [True] * 5 + [False] * 2
    for other in others:
        assert [put(other, REQUEST) for _ in range(6)] == [True] * 5 + [False]
    assert (budget.used, budget.limit) == (20 * (REQUEST.size + OVERHEAD),) * 2
    assert stalled.flush(Wire(room=2).send, 0.0) == 2
    assert [put(stalled, REQUEST) for _ in range(3)] == [True] * 2 + [False]
    stalled.clear()
    assert [put(stalled, REQUEST) for _ in range(6)] == [True] * 5 + [False]


def test_one_message_may_be_larger_than_the_share() -> None:
    outbox = Outbox(ByteBudget(10_000))
    large = replace(REQUEST, bodies=(bytes(5000),))
    assert put(outbox, large)
    assert not put(outbox, REQUEST)
    outbox.flush(Wire().send, 0.0)
    assert put(outbox, REQUEST)
    assert not put(outbox, large)


def test_many_empty_messages_are_not_free() -> None:
    outbox = Outbox(ByteBudget(40 * OVERHEAD))
    empty = Packet(Kind.FIRE, b"")
    assert [put(outbox, empty) for _ in range(11)] == [True] * 10 + [False]


@pytest.mark.parametrize("message", [Beat(1), Hello("site-1", 1, 0)])
def test_what_keeps_the_link_alive_fits_when_the_cell_is_full(message: Message) -> None:
    budget = ByteBudget(0)
    outbox, wire = Outbox(budget), Wire()
    packet = Packet(message.KIND, encode_header(message))
    assert not put(outbox, REQUEST)
    assert put(outbox, packet)
    assert outbox.flush(wire.send, 0.0) == 1
    assert (wire.packets, budget.used) == ([packet], 0)


def test_the_reserve_is_bounded_and_comes_back() -> None:
    outbox, wire = Outbox(ByteBudget(0)), Wire()
    fits = RESERVE // (BEAT.size + OVERHEAD)
    assert [put(outbox, BEAT) for _ in range(fits + 1)] == [True] * fits + [False]
    outbox.flush(wire.send, 0.0)
    assert put(outbox, BEAT)


def test_beyond_the_reserve_the_budget_counts() -> None:
    budget = ByteBudget(10_000)
    outbox = Outbox(budget)
    while budget.used == 0:
        assert put(outbox, BEAT)
    assert budget.used == BEAT.size + OVERHEAD
    outbox.clear()
    assert (budget.used, len(outbox)) == (0, 0)


def test_a_big_greeting_has_no_reserve() -> None:
    assert not put(Outbox(ByteBudget(0)), Packet(Kind.HELLO, bytes(4097)))


def test_remaining_time_is_less_by_the_wait() -> None:
    outbox, wire = Outbox(ByteBudget(10_000)), Wire()
    put(outbox, replace(REQUEST, remaining=1000), now=5.0)
    put(outbox, REQUEST, now=5.0)
    outbox.flush(wire.send, 5.25)
    assert wire.packets == [replace(REQUEST, remaining=750), REQUEST]


def test_what_is_worthless_by_now_is_dropped() -> None:
    budget = ByteBudget(10_000)
    outbox, wire = Outbox(budget), Wire()
    put(outbox, replace(REQUEST, remaining=1000), now=5.0)
    put(outbox, REQUEST, now=5.0)
    assert outbox.flush(wire.send, 6.0) == 1
    assert (wire.packets, outbox.expired, budget.used) == ([REQUEST], 1, 0)
    assert repr(outbox) == "<Outbox 0 waiting, 1 expired>"


def test_an_error_of_send_keeps_the_message() -> None:
    budget = ByteBudget(10_000)
    outbox = Outbox(budget)
    put(outbox, REQUEST)

    def unreachable(frames: list[Buffer]) -> bool:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        outbox.flush(unreachable, 0.0)
    assert (len(outbox), budget.used) == (1, REQUEST.size + OVERHEAD)


def test_the_kind_is_where_the_codec_puts_it() -> None:
    assert struct.unpack_from("B", encode_packet(BEAT)[0], 3) == (Kind.BEAT,)
