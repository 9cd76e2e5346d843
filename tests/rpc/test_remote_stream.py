"""The table of `zmqfl.rpc.remote_stream`, with a generator that is played."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from tests.system.federation import LONG, until
from zmqfl.cell.handles import Handle
from zmqfl.errors import UsageError, WouldDeadlockError
from zmqfl.rpc.remote_stream import Batch, RemoteStream


class Remote:
    """Asks are handles, which the test ends."""

    def __init__(self) -> None:
        self.asks: list[Handle[Batch]] = []
        self.credits: list[int] = []
        self.closed = 0
        self.cancelled = 0

    def ask(self, credit: int) -> Handle[Batch]:
        self.credits.append(credit)
        self.asks.append(Handle(on_cancel=self._cancel, on_reactor=lambda: False))
        return self.asks[-1]

    def close(self) -> None:
        self.closed += 1

    def give(self, *items: Any, end: bool = False) -> None:
        self.asks[-1]._finish((list(items), end))

    def _cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def stream(remote: Remote) -> RemoteStream:
    return RemoteStream("count", remote.ask, remote.close, window=4)


def eager(remote: Remote, *batches: Batch) -> None:
    """Have each ask answered as it is made."""
    waiting = list(batches)
    ask = remote.ask

    def answered(credit: int) -> Handle[Batch]:
        handle = ask(credit)
        if waiting:
            handle._finish(waiting.pop(0))
        return handle

    remote.ask = answered  # type: ignore[method-assign]


def test_nothing_is_asked_for_before_the_first_item_is(remote: Remote, stream: RemoteStream) -> None:
    assert not remote.asks
    assert repr(stream) == "<RemoteStream of count open, 0 items here>"


def test_items_are_asked_for_before_the_last_is_taken(remote: Remote) -> None:
    eager(remote, ([0, 1, 2, 3], False))
    stream = RemoteStream("count", remote.ask, remote.close, window=4)
    assert next(stream) == 0
    assert len(remote.asks) == 1
    assert next(stream) == 1
    assert len(remote.asks) == 1
    assert next(stream) == 2  # two were left
    assert len(remote.asks) == 2
    assert remote.credits == [4, 4]
    remote.give(4, end=True)
    assert list(stream) == [3, 4]
    assert len(remote.asks) == 2
    assert repr(stream) == "<RemoteStream of count ended, 0 items here>"
    assert remote.closed == 0  # it has ended by itself


def test_the_same_in_a_coroutine(remote: Remote) -> None:
    eager(remote, ([0, 1], False), ([2], True))
    stream = RemoteStream("count", remote.ask, remote.close, window=4)

    async def main() -> list[int]:
        async with stream:
            return [item async for item in stream]

    assert asyncio.run(main()) == [0, 1, 2]


def test_an_empty_one_ends_at_once(remote: Remote) -> None:
    eager(remote, ([], True))
    assert list(RemoteStream("count", remote.ask, remote.close)) == []


def test_an_error_ends_it_and_closes_the_generator(remote: Remote) -> None:
    eager(remote, ([0], False))
    stream = RemoteStream("count", remote.ask, remote.close, window=4)
    assert next(stream) == 0
    _ = stream._wanted()
    remote.asks[-1]._fail(KeyError("w"))
    with pytest.raises(KeyError, match="w"):
        next(stream)
    assert remote.closed == 1
    with pytest.raises(StopIteration):
        next(stream)
    assert len(remote.asks) == 2


def test_close_gives_up_what_was_asked_for(remote: Remote, stream: RemoteStream) -> None:
    with stream:
        stream._wanted()
    assert (remote.cancelled, remote.closed) == (1, 1)
    stream.close()
    assert remote.closed == 1
    assert list(stream) == []


def test_a_close_by_another_thread_ends_the_wait(remote: Remote, stream: RemoteStream) -> None:
    items: list[Any] = []
    reader = threading.Thread(target=lambda: items.extend(stream))
    reader.start()
    until(lambda: remote.asks and remote.asks[0]._callbacks)
    stream.close()
    reader.join(LONG)
    assert not reader.is_alive()
    assert items == []


def test_iterating_inside_a_loop_says_how(remote: Remote, stream: RemoteStream) -> None:
    async def main() -> int:
        with pytest.raises(WouldDeadlockError, match="use `async for`"):
            next(stream)
        remote.give(1, end=True)
        return int(await anext(stream))

    assert asyncio.run(main()) == 1
    assert remote.closed == 0


def test_what_is_forgotten_is_closed(remote: Remote) -> None:
    stream = RemoteStream("count", remote.ask, remote.close)
    del stream
    gc.collect()
    assert remote.closed == 1


def test_a_cancelled_await_closes(remote: Remote, stream: RemoteStream) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()

    asyncio.run(main())
    assert (remote.cancelled, remote.closed) == (1, 1)


def test_two_coroutines_at_once_are_told(remote: Remote, stream: RemoteStream) -> None:
    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(anext(stream)) for _ in range(2)]
        await asyncio.sleep(0)
        remote.give(0, 1)
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second = asyncio.run(main())
    assert first == 0
    assert isinstance(second, UsageError)
