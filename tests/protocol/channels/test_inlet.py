"""The table of `zmqfl.protocol.channels.inlet`, with its other end: what may come, and which gaps are told."""

from __future__ import annotations

from zmqfl.protocol.channels.inlet import Inlet
from zmqfl.protocol.channels.items import Item, Part, item_of
from zmqfl.protocol.channels.subscription import CREDIT, DEMAND


def items(*numbers: int, writer: str = "a/1") -> list[Item]:
    return [item_of(writer, number, 1, [b""]) for number in numbers]


def test_credit_is_told_by_the_quarter() -> None:
    inlet = Inlet(3, 1000)
    assert inlet.row() == [3, CREDIT, 1000]
    assert not inlet.consume(249)
    assert inlet.consume(1)
    assert inlet.row() == [3, CREDIT, 1250]
    assert not inlet.consume(249)
    assert not inlet.demand()


def test_demand_is_told_once_until_something_comes() -> None:
    inlet = Inlet(3, 0)
    assert inlet.row() == [3, DEMAND, 0]
    assert inlet.demand()
    assert not inlet.demand()
    assert inlet.row() == [3, DEMAND, 1]
    inlet.take(Part(3, []))
    assert not inlet.demand()
    inlet.take(Part(3, items(1)))
    assert inlet.demand()
    assert not inlet.consume(1 << 20)


def test_chan_R18_gaps_are_told_for_each_writer() -> None:
    inlet = Inlet(3, 1000)
    assert inlet.take(Part(3, items(5, 6, 7))).gaps == ()  # it began to read later
    assert inlet.take(Part(3, items(8, 9))).gaps == ()
    assert inlet.take(Part(3, items(12, 13, 20))).gaps == (("a/1", 10, 11), ("a/1", 14, 19))
    assert inlet.take(Part(3, [*items(1, writer="b/1"), *items(22), *items(3, writer="b/1")])).gaps == (
        ("a/1", 21, 21), ("b/1", 2, 2),
    )  # fmt: skip
    assert inlet.take(Part(3, [*items(23), *items(4, writer="b/1")])).gaps == ()
    assert inlet.take(Part(3, [])).gaps == ()


def test_the_end() -> None:
    inlet = Inlet(3, 1000)
    came = inlet.take(Part(3, items(1), (4, 5), "deleted"))
    assert (came.place, came.counts, came.end, came.lost) == (3, (4, 5), "deleted", False)
    assert inlet.ended
    assert repr(inlet) == "<Inlet 3 ended, 0 bytes consumed>"
