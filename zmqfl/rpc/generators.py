"""Generators that callers read from: obeys `Supply`, which tells when one runs and who gets its items.

The generator runs in the worker of the request that asked for items and goes on while there is room for others; that
request has long been answered then. An async generator runs on the loop that published it, or on one of its own.
Source: rule R29; zerorpc's `_zpc_more`.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final, cast

from zmqfl.cell.workers import blocked
from zmqfl.errors import InvalidRequest, NoSuchMethod, ServiceUnavailable
from zmqfl.rpc.running import RunningCall, running
from zmqfl.rpc.supply import CloseSource, Command, Forget, Give, Produce, Refuse, Supply

MOST_OPEN: Final = 256
"""Generators that one cell may have open here."""

_END: Final = object()

Ask = tuple[str, int]
"""Who asked, and the number of its request."""
Answer = Callable[[Ask, list[Any], bool, BaseException | None], object]
"""Told the ask, and items and whether they are the last, or an error."""


class OpenGenerator:
    """One generator. `answer` is called for each ask; `ended(error, cancelled)` once, when it has run to its end or was
    closed; `forget(id)` once, when nobody can ask for more."""

    def __init__(
        self,
        generator: Any,
        call: RunningCall,
        loop: asyncio.AbstractEventLoop | None,
        answer: Answer,
        ended: Callable[[str, bool], object],
        forget: Callable[[str], object],
    ) -> None:
        self.id = secrets.token_hex(16)
        self.call = call
        self._source = _source(generator, loop)
        self._supply = Supply()
        self._lock = threading.Lock()
        self._answer = answer
        self._ended = ended
        self._forget = forget

    def more(self, ask: Ask, credit: int) -> None:
        """Somebody waits for items. Returns when the generator has nothing to do for now: call it in a worker."""
        with self._lock:
            commands = self._supply.more(ask, credit)
        self._obey(commands)

    def close(self) -> None:
        """Have its `finally` run, unless it runs just now: then that is done as soon as it gives an item."""
        with self._lock:
            commands = self._supply.close()
        self._obey(commands)

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Give(ask, items, is_ended, error):
                    self._answer(cast(Ask, ask), items, is_ended, error)
                case Refuse(ask):
                    text = "these items are closed, or asked for already; ask once at a time"
                    self._answer(cast(Ask, ask), [], False, InvalidRequest(text))
                case Produce():
                    self._produce()
                case CloseSource():
                    self._close_source()
                case Forget():
                    self._forget(self.id)

    def _produce(self) -> None:
        goes_on = True
        while goes_on:
            item, error = self._next()
            if item is _END:
                self._note_end(error)
            with self._lock:
                if item is _END:
                    commands = self._supply.finished(error)
                else:
                    commands = self._supply.produced(item, size_of(item))
                goes_on = self._supply.is_producing  # looked at here: later another worker may have begun
            self._obey(commands)

    def _next(self) -> tuple[Any, BaseException | None]:
        try:
            with running(self.call):
                return self._source.next(self.call), None
        except BaseException as error:  # noqa: BLE001  SystemExit too: it ends the generator, not the process
            return _END, error

    def _close_source(self) -> None:
        error = None
        try:
            with running(self.call):
                self._source.close()
        except BaseException as failure:  # noqa: BLE001  of its `finally`; nobody waits for it
            error = failure
        self._note_end(error, closed=True)

    def _note_end(self, error: BaseException | None, closed: bool = False) -> None:
        self._source.release()
        text = "" if error is None else f"{type(error).__name__}: {error}"
        self._ended(text, closed or self.call.cancelled)


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

    def release(self) -> None:
        """Nothing is held."""


class _Async:
    """Steps an async generator on the loop that published it, or on one of its own."""

    def __init__(self, generator: AsyncGenerator[Any, None], loop: asyncio.AbstractEventLoop | None) -> None:
        self._generator = generator
        self._loop = loop
        self._runner = asyncio.Runner() if loop is None else None

    def next(self, call: RunningCall) -> Any:
        return self._run(_next(self._generator, call), call)

    def close(self) -> None:
        self._run(self._generator.aclose(), None)

    def release(self) -> None:
        """Its own loop."""
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
