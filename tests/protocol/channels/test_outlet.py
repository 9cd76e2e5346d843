"""The table of `zmqfl.protocol.channels.outlet`."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.buffer import ITEM_COST
from zmqfl.protocol.channels.outlet import Outlet, Placed, Put

COST = ITEM_COST + 10


def put(*tickets: Any) -> list[Put]:
    return [Put(1, (bytes(10),), ticket) for ticket in tickets]


def told(granted: int = 1000, taken: int = 0, flags: int = 1, refusals: Any = (), end: str | None = None) -> list[Any]:
    return [1, granted, taken, flags, list(refusals), end]


def active(granted: int = 1000) -> Outlet:
    outlet = Outlet("site-1/1")
    outlet.hear(told(granted))
    return outlet


def numbers(outlet: Outlet, size: int = 1 << 20, most: int = 100) -> list[int]:
    return [item.number for item in outlet.take(1, size, most).items]


def test_chan_R20_an_idle_writer_skips() -> None:
    outlet = Outlet("site-1/1")
    outlet.put(put(None, "t"))
    assert not outlet.is_ready
    assert (outlet.state.skipped, outlet.placed) == (2, [Placed("t", 0)])


def test_credit_counts_from_the_beginning_and_the_last_item_may_pass_it() -> None:
    outlet = active(2 * COST + 1)
    outlet.put(put(*[None] * 5))
    assert outlet.ready_size == 2 * COST + 1
    assert numbers(outlet) == [1, 2, 3]
    assert not outlet.is_ready
    outlet.hear(told(4 * COST))
    assert numbers(outlet) == [4]
    outlet.hear(told(COST))  # less than before is nothing new
    assert not outlet.is_ready


def test_one_item_goes_whatever_is_asked_for() -> None:
    outlet = active()
    outlet.put(put(None, None, None))
    assert numbers(outlet, size=1) == [1]
    assert numbers(outlet, most=1) == [2]
    assert outlet.next_size == COST


def test_tickets_come_back_when_taken_with_who_refused() -> None:
    outlet = active()
    outlet.put(put("a", None, "c"))
    part = outlet.take(1, 1 << 20, 100)
    assert part.waits
    outlet.settle(part)
    assert outlet.is_empty
    outlet.hear(told(taken=2, refusals=[[3, "site-2"], [1, "site-3"]]))
    assert outlet.placed == [Placed("a", 1, ("site-3",))]
    outlet.hear(told(taken=3))
    assert outlet.placed[1:] == [Placed("c", 3, ("site-2",))]
    assert outlet.state.refused == 2


def test_when_nobody_reads_any_more_what_is_queued_is_skipped() -> None:
    outlet = active(COST)
    outlet.put(put("a", "b"))
    numbers(outlet)
    outlet.hear(told(COST, flags=0))
    assert (outlet.state.sent, outlet.state.skipped, outlet.queued) == (1, 1, 0)
    assert outlet.placed == [Placed("b", 0)]


@pytest.mark.parametrize(("row", "why"), [(told(end="deleted"), "deleted"), ([1], "does not know this writer")])
def test_the_end(row: list[Any], why: str) -> None:
    outlet = active(COST)
    outlet.put(put("a", "b"))
    numbers(outlet)
    outlet.hear(row)
    assert why in (outlet.state.end or "")
    assert {each.ticket: each.number for each in outlet.placed} == {"a": 0, "b": 0}
    outlet.put(put("c"))
    assert outlet.state.skipped == 2


def test_news_is_told_once() -> None:
    outlet = active()
    state = outlet.news()
    assert state is not None
    assert (state[0].active, state[1]) == (True, ())
    assert outlet.news() is None
    outlet.put(put(None))
    numbers(outlet)
    assert outlet.news()[0].sent == 1  # type: ignore[index]


@pytest.mark.parametrize("row", [[1, 2], [1, "x", 0, 0, [], None], [1, 1, 1, 1, 5, None], [1, 1, 1, 1, [5], None],
                                 [1, 1, None, 1, [], None]])  # fmt: skip
def test_chan_R32_news_that_no_broker_tells(row: list[Any]) -> None:
    with pytest.raises(DecodeError):
        active().hear(row)


def test_a_repr_is_one_line() -> None:
    outlet = active()
    assert repr(outlet) == "<Outlet active: 0 queued, 0 sent, 0 skipped>"
    outlet.end("x")
    assert repr(outlet).startswith("<Outlet ended")
