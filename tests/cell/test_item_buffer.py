"""A buffer that threads share."""

from __future__ import annotations

import threading
from typing import NamedTuple

from tests.system.federation import LONG
from zmqfl.cell.item_buffer import ItemBuffer
from zmqfl.protocol.channels.buffer import BufferTerms, Policy


class Thing(NamedTuple):
    number: int
    size: int = 1


def things(*numbers: int) -> list[Thing]:
    return [Thing(number) for number in numbers]


def test_chan_R11_the_same_policies_as_at_the_broker() -> None:
    ring: ItemBuffer[Thing] = ItemBuffer(BufferTerms(Policy.RING, 2))
    assert ring.put(things(1, 2, 3)) == []
    assert ring.peek() == things(2, 3)
    assert ring.take() == things(2)
    assert (len(ring), ring.statistics().dropped, ring.statistics().delivered) == (1, 1, 1)
    assert ring.clear() == things(3)
    assert ring.take(5) == []
    assert repr(ring) == "<ItemBuffer ring 0 items, 0 bytes; 3 offered, 0 decimated, 2 dropped, 1 delivered>"


def test_chan_R11_one_that_would_have_to_wait_refuses() -> None:
    wait: ItemBuffer[Thing] = ItemBuffer(BufferTerms(Policy.WAIT, 2))
    assert wait.put(things(1, 2, 3, 4)) == things(3, 4)
    refuse: ItemBuffer[Thing] = ItemBuffer(BufferTerms(Policy.RAISE, 2))
    assert refuse.put(things(1, 2, 3)) == things(3)


def test_threads_lose_and_double_nothing() -> None:
    buffer: ItemBuffer[Thing] = ItemBuffer(BufferTerms(Policy.WAIT, None, 1 << 30))
    found: list[Thing] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set() or len(buffer):
            found.extend(buffer.take(10))

    taker = threading.Thread(target=take)
    taker.start()
    putters = [
        threading.Thread(target=lambda k=k: [buffer.put(things(n)) for n in range(k, 3000, 3)]) for k in range(3)
    ]
    for putter in putters:
        putter.start()
    for putter in putters:
        putter.join(LONG)
    done.set()
    taker.join(LONG)
    assert sorted(thing.number for thing in found) == list(range(3000))
