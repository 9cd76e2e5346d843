"""The table of `zmqfl.protocol.channels.carrier`, and its turns."""

from __future__ import annotations

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.carrier import BATCH, FEW, LONG, LONG_WINDOW, PAUSE, WINDOW, Carrier
from zmqfl.protocol.channels.items import MOST_ITEMS, Item, Part, item_of
from zmqfl.protocol.commands import Ask, Command, Outcome

OK = Outcome(CellReturnCode.OK)
KIB = 1024


class Queue:
    """A source that may send all it has."""

    def __init__(self, count: int, size: int) -> None:
        self.items: list[Item] = []
        self.settled = 0
        self.add(count, size)

    def add(self, count: int, size: int) -> None:
        begin = self.settled + len(self.items) + 1
        self.items += [item_of("site-1/1", number, 1, [bytes(size)]) for number in range(begin, begin + count)]

    @property
    def is_ready(self) -> bool:
        return bool(self.items)

    @property
    def next_size(self) -> int:
        return self.items[0].size if self.items else 0

    @property
    def ready_size(self) -> int:
        return sum(item.size for item in self.items)

    def take(self, place: int, size: int, most: int) -> Part:
        taken: list[Item] = []
        while self.items and len(taken) < most and (not taken or self.items[0].size <= size):
            size -= self.items[0].size
            taken.append(self.items.pop(0))
        return Part(place, taken)

    def settle(self, part: Part) -> None:
        self.settled += len(part.items)


def carrier(**queues: Queue) -> tuple[Carrier, list[Queue]]:
    made = Carrier("owner", "site-1", "server", "channel", 9)
    for place, queue in enumerate(queues.values()):
        made.add(place, queue)
        made.wake(place)
    return made, list(queues.values())


def asks(commands: list[Command]) -> list[Ask]:
    assert all(isinstance(each, Ask) for each in commands)
    return [each for each in commands if isinstance(each, Ask)]


def count_of(ask: Ask) -> dict[int, int]:
    """Items by place."""
    found: dict[int, int] = {}
    for place, _, _, lengths in ask.headers["x"]:
        found[place] = found.get(place, 0) + len(lengths)
    return found


def size_of(ask: Ask) -> int:
    return sum(map(len, ask.bodies))


def test_a_batch_of_what_there_is() -> None:
    sender, [queue] = carrier(a=Queue(3, 10))
    [ask] = asks(sender.pump(0.0))
    assert (ask.owner, ask.targets, ask.channel, ask.topic) == ("owner", ("server",), "channel", "items")
    assert (ask.tag, ask.headers["n"], ask.headers["s"], ask.repeatable) == (("items", 1), 1, 9, True)
    assert count_of(ask) == {0: 3}
    assert sender.pump(0.0) == []
    assert sender.answered(1, OK, 0.0) == ""
    assert queue.settled == 3
    assert sender.is_idle


def test_a_batch_that_is_not_full_waits_while_some_are_under_way() -> None:
    sender, [queue] = carrier(a=Queue(1, 10))
    for number in range(1, FEW + 3):
        sender.pump(0.0)
        queue.add(1, 10)
        sender.wake(0)
        assert sender.under_way == 10 * min(number, FEW)
    sender.answered(1, OK, 0.0)
    [ask] = asks(sender.pump(0.0))
    assert count_of(ask) == {0: 3}  # what has come meanwhile goes together


def test_full_batches_go_as_long_as_there_is_room() -> None:
    sender, _ = carrier(a=Queue(5000, KIB))
    sent = asks(sender.pump(0.0))
    assert all(BATCH - 2 * KIB - 240 * 128 < size_of(each) <= BATCH for each in sent)
    assert WINDOW - BATCH <= sender.under_way <= WINDOW


def test_items_in_a_batch_are_bounded() -> None:
    sender, _ = carrier(a=Queue(3000, 0))
    assert count_of(asks(sender.pump(0.0))[0]) == {0: MOST_ITEMS}


def test_long_items_go_alone_and_several_at_once() -> None:
    sender, _ = carrier(a=Queue(20, LONG))
    sent = asks(sender.pump(0.0))
    assert [count_of(each) for each in sent] == [{0: 1}] * len(sent)
    assert LONG_WINDOW <= sender.under_way < LONG_WINDOW + 2 * LONG


def test_chan_R22_sources_take_turns_by_bytes() -> None:
    sender, _ = carrier(flood=Queue(10_000, KIB), drip=Queue(2000, KIB), long=Queue(100, 100 * KIB))
    bytes_of = {0: 0, 1: 0, 2: 0}
    number = 0
    while bytes_of[1] < 500 * KIB:
        for ask in asks(sender.pump(0.0)):
            for place, count in count_of(ask).items():
                bytes_of[place] += count * (100 * KIB if place == 2 else KIB)
            number += 1
            sender.answered(number, OK, 0.0)
    assert min(bytes_of.values()) >= sum(bytes_of.values()) / 4


@pytest.mark.parametrize("code", [CellReturnCode.SERVICE_UNAVAILABLE, CellReturnCode.TIMEOUT])
def test_a_batch_that_is_not_taken_now_goes_again(code: CellReturnCode) -> None:
    sender, [queue] = carrier(a=Queue(1, 10))
    first = sender.pump(0.0)
    assert sender.answered(1, Outcome(code), 5.0) == ""
    assert sender.deadline == 5.0 + PAUSE
    assert sender.pump(5.0) == []
    assert sender.pump(5.0 + PAUSE) == first
    assert queue.settled == 0


def test_a_batch_that_cannot_be_taken() -> None:
    sender, _ = carrier(a=Queue(1, 10))
    sender.pump(0.0)
    assert sender.answered(1, Outcome(CellReturnCode.COMM_ERROR, "gone"), 0.0) == "comm_error: gone"
    assert sender.answered(99, OK, 0.0) == ""


def test_a_source_that_is_removed_sends_nothing_more() -> None:
    sender, [queue, _] = carrier(a=Queue(1, 10), b=Queue(1, 10))
    sender.remove(0)
    [ask] = asks(sender.pump(0.0))
    assert count_of(ask) == {1: 1}
    sender.answered(1, OK, 0.0)
    assert queue.settled == 0
    assert not sender.wake(0)


def test_a_repr_is_one_line() -> None:
    sender, _ = carrier(a=Queue(1, 10))
    sender.pump(0.0)
    assert repr(sender) == "<Carrier to server: 1 batches, 10 bytes under way>"
