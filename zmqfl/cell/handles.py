"""What a verb returns: work that goes on, to be waited for in a thread or in a coroutine.

    state       event                     next        effect
    pending     the work has ended        finished    waiters wake, callbacks run
    pending     the work has failed       failed      waiters wake, callbacks run
    pending     cancel, cancelled await   cancelled   waiters wake, callbacks run, then `on_cancel`, once
    any other   any of these              the same    nothing: the first one wins

Waiting stops a thread, so `result` refuses where that could never end: on the reactor, inside a running event loop,
and in a forked process. It is made of one lock and a list of wake-ups rather than of a `concurrent.futures.Future`:
it costs half, and it may be ended twice, or towards a loop that is closed by now, without an error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from zmqfl.cell.message import Message
from zmqfl.cell.workers import blocked
from zmqfl.errors import (
    AbortRun,
    AuthenticationError,
    CellReturnCode,
    ForkedError,
    InvalidRequest,
    InvalidSession,
    RequestFailed,
    ServiceUnavailable,
    WouldDeadlockError,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)

_FAILURES: dict[CellReturnCode, type[RequestFailed]] = {
    kind.code: kind for kind in (ServiceUnavailable, InvalidRequest, InvalidSession, AuthenticationError, AbortRun)
}


class _State(Enum):
    PENDING = auto()
    FINISHED = auto()
    FAILED = auto()
    CANCELLED = auto()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is, in the unit of its handle (a broadcast: targets)."""

    done: int
    total: int


class Handle(Generic[T]):
    """Work that goes on. Wait with `result` in a thread, with `await` in a coroutine; or `cancel` it.

    `on_cancel` is called, once, in the thread that cancels. `on_reactor` tells whether this thread is the one that
    the work needs in order to end.
    """

    def __init__(self, *, on_cancel: Callable[[], None], on_reactor: Callable[[], bool]) -> None:
        self._on_cancel = on_cancel
        self._on_reactor = on_reactor
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._state = _State.PENDING
        self._value: T | None = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], object]] = []

    # -- waiting ---------------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> T:
        """Wait at most `timeout` seconds (None: for ever) for the value.

        Raises what the work raised; `TimeoutError` when the time is over (the work goes on: call again, or `cancel`);
        `concurrent.futures.CancelledError`; `WouldDeadlockError` on the reactor and inside a running event loop;
        `ForkedError` in another process than the one that made the handle.
        """
        self._wait(timeout)
        return self._outcome()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait like `result`, and return what it would raise on behalf of the work, or None."""
        self._wait(timeout)
        return self._failure()

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self.add_done_callback(lambda _: _call_soon(loop, _wake, waiter))
            try:
                with blocked():  # a coroutine handler may have a worker of its own
                    yield from waiter
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self.cancelled():
            raise asyncio.CancelledError
        return self._outcome()

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        self._check_may_wait()
        gate = threading.Lock()
        gate.acquire()
        self.add_done_callback(wake := lambda _: gate.release())
        with blocked():
            opened = gate.acquire(timeout=_seconds(timeout))
        if not opened:
            self._remove_done_callback(wake)
        if not self.done():
            raise TimeoutError(f"{self!r} has not ended within {timeout} s; wait again, or cancel() it")

    def _check_may_wait(self) -> None:
        self._check_process()
        if self._on_reactor():
            raise WouldDeadlockError(
                f"{self!r}: this is the reactor, which has to go on for this to end; use add_done_callback here"
            )
        if _in_loop():
            raise WouldDeadlockError(f"{self!r}: waiting here would stop the event loop; await the handle instead")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(f"{self!r} belongs to process {self._pid}; make a new cell after a fork")

    # -- state -----------------------------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Give the work up; returns whether it is cancelled now, False when it ended before."""
        if not self.done():
            self._check_process()
            on_cancel = self._on_cancel
            if self._end(_State.CANCELLED):
                on_cancel()
        return self.cancelled()

    def cancelled(self) -> bool:
        """Whether the work was given up."""
        return self._state is _State.CANCELLED

    def done(self) -> bool:
        """Whether the work has ended in any way; then nothing here waits."""
        return self._state is not _State.PENDING

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have `fn(handle)` called when the work has ended; at once when it has.

        It runs in the thread that ends the work, often the reactor: it must be quick and must not wait. What it
        raises goes to the log.
        """
        if not self.done():
            self._check_process()
            with self._lock:
                if not self.done():
                    self._callbacks.append(fn)
                    return
        self._call(fn)

    @property
    def progress(self) -> Progress:
        """How far the work is."""
        return Progress(int(self.done()), 1)

    # -- ending ----------------------------------------------------------------------------------------------------

    def _finish(self, value: T) -> None:
        self._end(_State.FINISHED, value)

    def _fail(self, error: BaseException) -> None:
        self._end(_State.FAILED, error=error)

    def _end(self, state: _State, value: T | None = None, error: BaseException | None = None) -> bool:
        with self._lock:
            if self.done():
                return False
            self._value, self._error = value, error
            self._state = state
            self._on_cancel = (
                _nothing  # it mostly refers to this handle: a cycle would keep the value, which may be big
            )
            callbacks, self._callbacks = self._callbacks, []
        for fn in callbacks:
            self._call(fn)
        return True

    def _call(self, fn: Callable[[Any], object]) -> None:
        try:
            fn(self)
        except Exception:  # noqa: BLE001  it must not stop who ends the work, nor the other callbacks
            _log.exception("a callback of %r failed", self)

    def _remove_done_callback(self, fn: Callable[[Any], object]) -> None:
        with self._lock:
            if fn in self._callbacks:
                self._callbacks.remove(fn)

    def _failure(self) -> BaseException | None:
        if self.cancelled():
            raise CancelledError(f"{self!r} was cancelled")
        return self._error

    def _outcome(self) -> T:
        return self._give(self._failure())

    def _give(self, error: BaseException | None) -> T:
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback would hold it, and so the caller's frames with all that is in them
        return cast(T, self._value)

    def _about(self) -> str:
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{self._about()} {self._state.name.lower()}>"


class RequestHandle(Handle[Message]):
    """A request to one cell. `result` and `await` give its reply, and raise `RequestFailed` when that is not OK."""

    def __init__(self, target: str, *, on_cancel: Callable[[], None], on_reactor: Callable[[], bool]) -> None:
        super().__init__(on_cancel=on_cancel, on_reactor=on_reactor)
        self.target = target

    def reply(self, timeout: float | None = None) -> Message:
        """Wait like `result`, and return the reply whatever its return code."""
        self._wait(timeout)
        return self._give(super()._failure())

    def _failure(self) -> BaseException | None:
        if (error := super()._failure()) is not None:
            return error
        message = cast(Message, self._value)
        return None if message.ok else failure(self.target, message.return_code, message.error)

    def _about(self) -> str:
        return f" to {self.target}"


class BroadcastHandle(Handle[dict[str, Message]]):
    """A request to several cells. `result` and `await` give one message per target, in the order of the targets.

    Iterate, with `for` or `async for`, over (target, message) as they come, from the first on, as often as you like.
    Messages may have any return code: look at `message.ok`.
    """

    def __init__(
        self, targets: Iterable[str], *, on_cancel: Callable[[], None], on_reactor: Callable[[], bool]
    ) -> None:
        super().__init__(on_cancel=on_cancel, on_reactor=on_reactor)
        self.targets = tuple(dict.fromkeys(targets))
        self._missing = set(self.targets)
        self._replies: dict[str, Message] = {}
        self._listeners: list[Callable[[tuple[str, Message] | None], object]] = []
        if not self.targets:
            self._finish({})

    def replies(self) -> dict[str, Message]:
        """The messages so far, in the order of their coming."""
        with self._lock:
            return dict(self._replies)

    @property
    def progress(self) -> Progress:
        """Targets that have ended, of all targets."""
        return Progress(len(self._replies), len(self.targets))

    def __iter__(self) -> Iterator[tuple[str, Message]]:
        items: SimpleQueue[tuple[str, Message] | None] = SimpleQueue()
        self._listen(items.put)
        while (item := self._next(items)) is not None:
            yield item
        self._outcome()  # raises when it did not end by itself

    async def __aiter__(self) -> AsyncIterator[tuple[str, Message]]:
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[tuple[str, Message] | None] = asyncio.Queue()
        self._listen(lambda item: _call_soon(loop, items.put_nowait, item))
        while (item := await self._next_async(items)) is not None:
            yield item
        await self

    def _next(self, items: SimpleQueue[tuple[str, Message] | None]) -> tuple[str, Message] | None:
        if not items.empty():
            return items.get()
        self._check_may_wait()
        with blocked():
            return items.get()

    async def _next_async(self, items: asyncio.Queue[tuple[str, Message] | None]) -> tuple[str, Message] | None:
        try:
            with blocked():
                return await items.get()
        except asyncio.CancelledError:
            self.cancel()
            raise

    def _listen(self, put: Callable[[tuple[str, Message] | None], object]) -> None:
        """Have `put` called with each reply, those that came before included, and then with None."""
        if not self.done():
            self._check_process()
        with self._lock:
            for item in self._replies.items():
                put(item)
            self._listeners.append(put)
        self.add_done_callback(lambda _: put(None))

    def _answer(self, target: str, message: Message) -> None:
        """One target has ended; the last one ends the handle. Further answers are ignored."""
        with self._lock:
            if target not in self._missing or self.done():
                return
            self._missing.remove(target)
            self._replies[target] = message
            for put in self._listeners:
                put((target, message))
        if not self._missing:
            self._finish({target: self._replies[target] for target in self.targets})

    def _about(self) -> str:
        return f" {len(self._replies)}/{len(self.targets)}"


def failure(target: str, code: CellReturnCode, reason: str) -> RequestFailed:
    """The error for a request to `target` that ended with `code`, of the class that stands for the code."""
    return _FAILURES.get(code, RequestFailed)(reason, target=target, code=code)


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _seconds(timeout: float | None) -> float:
    """`timeout` as a lock takes it."""
    return -1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _call_soon(loop: asyncio.AbstractEventLoop, fn: Callable[..., object], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(fn, *args)
    except RuntimeError:
        if not loop.is_closed():  # else nobody waits there any more
            raise


def _nothing() -> None:
    """Gives up work that has ended."""
