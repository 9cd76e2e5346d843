from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG
from zmqfl.errors import InvalidRequest, NoSuchMethod, ServiceUnavailable
from zmqfl.rpc.generators import MOST_OPEN, OpenGenerator, OpenGenerators, size_of
from zmqfl.rpc.running import RunningCall, current_call


class Told:
    """What an open generator tells."""

    def __init__(self, generator: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.answers: list[tuple[Any, list[Any], bool, BaseException | None]] = []
        self.ends: list[tuple[str, bool]] = []
        self.forgotten: list[str] = []
        self.call = RunningCall("items", "server")
        self.open = OpenGenerator(
            generator, self.call, loop, lambda *answer: self.answers.append(answer),
            lambda *end: self.ends.append(end), self.forgotten.append,
        )  # fmt: skip

    def more(self, number: int, credit: int = 3) -> None:
        self.open.more(("server", number), credit)

    @property
    def items(self) -> list[Any]:
        return [item for _, items, _, _ in self.answers for item in items]


def count(n: int, closed: list[str] | None = None) -> Iterator[int]:
    try:
        for number in range(n):
            assert current_call().method == "items"
            yield number
    finally:
        if closed is not None:
            closed.append(current_call().method)


async def acount(n: int, closed: list[str] | None = None) -> AsyncIterator[int]:
    try:
        for number in range(n):
            await asyncio.sleep(0)
            assert current_call().method == "items"
            yield number
    finally:
        if closed is not None:
            closed.append(current_call().method)


@pytest.mark.parametrize("make", [count, acount])
def test_it_runs_as_far_as_it_is_asked(make: Any) -> None:
    told = Told(make(6))
    told.more(1)
    assert told.answers == [(("server", 1), [0], False, None)]
    told.more(2)
    assert told.answers[1:] == [(("server", 2), [1, 2, 3], False, None)]
    assert not told.ends or told.ends == [("", False)]
    told.more(3)
    assert told.answers[2:] == [(("server", 3), [4, 5], True, None)]
    assert told.ends == [("", False)]
    assert told.forgotten == [told.open.id]


@pytest.mark.parametrize("make", [count, acount])
def test_closing_runs_its_finally_once(make: Any) -> None:
    closed: list[str] = []
    told = Told(make(10, closed))
    told.more(1)
    told.open.close()
    told.open.close()
    assert closed == ["items"]
    assert told.ends == [("", True)]
    assert told.forgotten == [told.open.id]
    told.more(2)
    assert isinstance(told.answers[-1][3], InvalidRequest)


def test_what_it_raises_is_for_the_next_ask() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("w")

    told = Told(broken())
    told.more(1)
    told.more(2)
    told.more(3)
    assert told.items == [1, 2]
    assert repr(told.answers[-1][3]) == "KeyError('w')"
    assert told.ends == [("KeyError: 'w'", False)]


def test_a_finally_that_fails_is_counted() -> None:
    def broken() -> Iterator[int]:
        try:
            yield 1
            yield 2
            yield 3
        finally:
            raise OSError("disk full")

    told = Told(broken())
    told.more(1, credit=1)
    told.open.close()
    assert told.ends == [("OSError: disk full", True)]


def test_one_that_runs_is_closed_behind_its_item() -> None:
    begun, go = threading.Event(), threading.Event()
    closed: list[str] = []

    def slow() -> Iterator[int]:
        try:
            begun.set()
            assert go.wait(LONG)
            yield 1
        finally:
            closed.append("yes")

    told = Told(slow())
    worker = threading.Thread(target=told.more, args=(1,))
    worker.start()
    assert begun.wait(LONG)
    told.open.close()
    assert not closed
    go.set()
    worker.join(LONG)
    assert closed == ["yes"]
    assert told.items == []


@pytest.mark.parametrize("is_looped", [False, True])
def test_chan_R29_an_async_one_is_cancelled_in_its_await(is_looped: bool) -> None:
    begun = threading.Event()
    ended: list[str] = []

    async def endless() -> AsyncIterator[int]:
        try:
            begun.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            ended.append("yes")

    loop = asyncio.new_event_loop() if is_looped else None
    runner = threading.Thread(target=loop.run_forever) if loop is not None else None
    if runner is not None:
        runner.start()
    told = Told(endless(), loop)
    worker = threading.Thread(target=told.more, args=(1,))
    worker.start()
    assert begun.wait(LONG)
    told.call.cancel("its reader waits no longer")
    worker.join(LONG)
    assert ended == ["yes"]
    assert told.ends[0][1]
    if loop is not None and runner is not None:
        loop.call_soon_threadsafe(loop.stop)
        runner.join(LONG)
        loop.close()


def test_a_generator_belongs_to_its_caller() -> None:
    table = OpenGenerators()
    told = Told(count(3))
    table.add(told.open)
    assert table.get(told.open.id, "server") is told.open
    for id, caller in ((told.open.id, "site-1"), ("x", "server"), (3, "server"), (None, "server")):
        with pytest.raises(NoSuchMethod, match="the generator has ended, or was never yours"):
            table.get(id, caller)
    table.remove(told.open.id)
    table.remove(told.open.id)
    assert len(table) == 0


def test_a_caller_has_so_many_and_no_more() -> None:
    table = OpenGenerators()
    for _ in range(MOST_OPEN):
        table.add(Told(count(3)).open)
    with pytest.raises(ServiceUnavailable, match=f"server reads from {MOST_OPEN} generators"):
        table.add(Told(count(3)).open)


def test_sizes_as_far_as_they_can_be_told() -> None:
    assert size_of(b"abc") == 3
    assert size_of(np.zeros(100)) == 800
    assert size_of({"a": np.zeros(10), "b": [b"abc", ("x" * 5,)]}) == 88
    assert size_of(None) == size_of(1.5) == 8
    assert size_of([[[[b"x" * 100]]]]) == 8
