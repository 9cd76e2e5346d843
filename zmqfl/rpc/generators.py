"""Generators that callers read from: a generator runs only while its caller asks for items, and no further than that.

    generator   event                            next      effect
    idle        more(credit)                     stepping  next() until the reply is worth its way
    stepping    an item, and room for more       stepping  next()
    stepping    `credit` items, `MOST_BYTES`, or idle      the items are the reply
                `LINGER` since the first
    stepping    it returns                       ended     the items, and that it has ended
    stepping    it raises                        ended     the items are lost to the error, which is the reply
    stepping    more                             stepping  refused: one reader asks once at a time
    idle        close, cancelled                 ended     the generator is closed: its `finally` runs
    stepping    close, cancelled                 stepping  as soon as the step ends; a coroutine is cancelled
    ended       more                             ended     `NoSuchMethod`: it is not known any more

The reader asks for the next items while it works on the last, so a quick generator costs a round trip per `credit`
items, and a slow one sends each item at once. Source: rule R29; zerorpc's `_zpc_more`.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final, cast

from zmqfl.cell.workers import blocked
from zmqfl.errors import InvalidRequest, NoSuchMethod, ServiceUnavailable
from zmqfl.rpc.running import RunningCall, running

MOST_OPEN: Final = 256
"""Generators that one cell may have open here."""
MOST_CREDIT: Final = 1024
"""Items of one reply."""
MOST_BYTES: Final = 1 << 20
"""Bytes of items after which a reply is sent, as far as their sizes can be told without encoding them."""
LINGER: Final = 0.002
"""Seconds after its first item at which a reply is sent."""

_END: Final = object()


class OpenGenerator:
    """One generator and who reads from it. `ended(error, cancelled)` is called once."""

    def __init__(
        self,
        generator: Any,
        call: RunningCall,
        loop: asyncio.AbstractEventLoop | None,
        ended: Callable[[str, bool], object],
    ) -> None:
        self.id = secrets.token_hex(16)
        self.call = call
        self._source = _source(generator, loop)
        self._ended = ended
        self._stepping = threading.Lock()
        self._is_over = False

    def more(self, credit: int) -> tuple[list[Any], bool]:
        """The next items, at least one unless it has ended; and whether it has. Raises what the generator raises."""
        if not self._stepping.acquire(blocking=False):
            raise InvalidRequest("these items are being made already; ask once at a time")
        try:
            if self._is_over:
                raise NoSuchMethod("the generator was closed")
            items, is_ended = self._step(max(1, min(credit, MOST_CREDIT)))
            if is_ended:
                self._finish("", False)
            return items, is_ended
        except BaseException as error:
            if not isinstance(error, NoSuchMethod) or not self._is_over:
                self._finish(f"{type(error).__name__}: {error}", self.call.cancelled)
            raise
        finally:
            self._stepping.release()
            if self.call.cancelled:
                self.close()

    def close(self) -> None:
        """Have its `finally` run, unless it runs just now: then that is done as soon as it gives an item."""
        if self._stepping.acquire(blocking=False):
            try:
                self._finish("", True)
            finally:
                self._stepping.release()

    def _step(self, credit: int) -> tuple[list[Any], bool]:
        items: list[Any] = []
        size, until = 0, 0.0
        with running(self.call):
            while not self.call.cancelled:
                if (item := self._source.next(self.call)) is _END:
                    return items, True
                items.append(item)
                size += size_of(item)
                until = until or time.monotonic() + LINGER
                if len(items) >= credit or size >= MOST_BYTES or time.monotonic() >= until:
                    break
        return items, False

    def _finish(self, error: str, cancelled: bool) -> None:
        """Close the generator; with `_stepping` held."""
        if self._is_over:
            return
        self._is_over = True
        try:
            with running(self.call):
                self._source.close()
        except Exception as failure:  # noqa: BLE001  of its `finally`; the items are the reader's already
            error = error or f"{type(failure).__name__}: {failure}"
        self._ended(error, cancelled)


class OpenGenerators:
    """Those of a cell, by id. Any thread."""

    def __init__(self) -> None:
        self._open: dict[str, OpenGenerator] = {}
        self._lock = threading.Lock()

    def add(self, generator: OpenGenerator) -> None:
        """Let its caller read from it. Raises `ServiceUnavailable` when that has too many."""
        caller = generator.call.caller
        with self._lock:
            if sum(each.call.caller == caller for each in self._open.values()) >= MOST_OPEN:
                raise ServiceUnavailable(f"{caller} reads from {MOST_OPEN} generators; close some of them")
            self._open[generator.id] = generator

    def get(self, id: object, caller: str) -> OpenGenerator:
        """The generator that `caller` reads from. Raises `NoSuchMethod`, also for those of others."""
        with self._lock:
            found = self._open.get(id) if isinstance(id, str) else None
        if found is None or found.call.caller != caller:
            raise NoSuchMethod("the generator has ended, or was never yours")
        return found

    def remove(self, id: str) -> None:
        """It has ended."""
        with self._lock:
            self._open.pop(id, None)

    def __len__(self) -> int:
        return len(self._open)


class _Plain:
    """Steps a generator in the worker that asks."""

    def __init__(self, generator: Generator[Any, None, None]) -> None:
        self._generator = generator

    def next(self, call: RunningCall) -> Any:
        return next(self._generator, _END)

    def close(self) -> None:
        self._generator.close()


class _Async:
    """Steps an async generator on the loop that published it, or on one of its own."""

    def __init__(self, generator: AsyncGenerator[Any, None], loop: asyncio.AbstractEventLoop | None) -> None:
        self._generator = generator
        self._loop = loop
        self._runner = asyncio.Runner() if loop is None else None

    def next(self, call: RunningCall) -> Any:
        return self._run(_next(self._generator, call), call)

    def close(self) -> None:
        try:
            self._run(self._generator.aclose(), None)
        finally:
            if self._runner is not None:
                self._runner.close()

    def _run(self, step: Any, call: RunningCall | None) -> Any:
        if self._loop is None:
            assert self._runner is not None
            return self._runner.run(_cancellable(step, call))
        future = asyncio.run_coroutine_threadsafe(_cancellable(step, call), self._loop)
        with blocked():
            return future.result()


async def _next(generator: AsyncGenerator[Any, None], call: RunningCall) -> Any:
    with running(call):
        return await anext(generator, _END)


async def _cancellable(step: Any, call: RunningCall | None) -> Any:
    """`step`, cancelled with the call."""
    if call is None:
        return await step
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(step)
    cancel: Callable[[Any], object] = lambda signal: loop.call_soon_threadsafe(task.cancel)  # noqa: E731
    call.signal.add_callback(cancel)
    try:
        return await task
    finally:
        call.signal.remove_callback(cancel)


def _source(generator: Any, loop: asyncio.AbstractEventLoop | None) -> _Plain | _Async:
    if inspect.isasyncgen(generator):
        return _Async(cast("AsyncGenerator[Any, None]", generator), None if loop is None or loop.is_closed() else loop)
    return _Plain(generator)


def size_of(item: Any, depth: int = 3) -> int:
    """Bytes of the big parts of a value: bytes, text and arrays, in containers too."""
    if isinstance(item, bytes | bytearray | str):
        return len(item)
    if isinstance(size := getattr(item, "nbytes", None), int):
        return size
    if depth and isinstance(item, dict):
        return sum(size_of(each, depth - 1) for each in item.values())
    if depth and isinstance(item, list | tuple | set | frozenset):
        return sum(size_of(each, depth - 1) for each in item)
    return 8
