"""The items of a remote generator, at the caller: iterate with `for` or `async for`.

    stream   event                         next     effect
    open     next, few items left          open     asks for `window` more, if that is not under way
    open     next, items here              open     gives one
    open     next, none here               open     waits for those asked for
    open     the last items have come      drained  gives what is left
    drained  next, none here               ended    StopIteration
    open     the generator raises          ended    the same, after the items before it
    open     close, end of `with`, garbage ended    the remote generator is closed
    open     time-out, a cancelled await   ended    raised; the remote generator is closed
    ended    next                          ended    StopIteration; so ends a wait when another thread closes

Nothing runs before the first item is asked for, and never more than two windows ahead of what was taken.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Final, Self

from zmqfl.cell.handles import Handle
from zmqfl.errors import UsageError, WouldDeadlockError

WINDOW: Final = 64
"""Items that are asked for at once."""

Batch = tuple[list[Any], bool]
"""Items, and whether the generator has ended."""


class RemoteStream:
    """See the module. `ask(credit)` asks for items; `close()` closes the generator; both never wait.

    For one reader at a time: threads that share one share its items.
    """

    def __init__(
        self, method: str, ask: Callable[[int], Handle[Batch]], close: Callable[[], object], window: int = WINDOW
    ) -> None:
        self.method = method
        self.window = window
        self._ask = ask
        self._items: deque[Any] = deque()
        self._asked: Handle[Batch] | None = None
        self._is_open = True
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, close)
        self._finalizer.atexit = False  # the cell is gone by then, or its end tells the callee

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        with self._lock:
            while (asked := self._wanted()) is not None:
                self._arrived(asked, self._wait(asked))
            return self._give(StopIteration)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while (asked := self._wanted()) is not None:
            try:
                batch = await asked
            except BaseException:
                self._end(asked)
                raise
            self._arrived(asked, batch)
        return self._give(StopAsyncIteration)

    def close(self) -> None:
        """Read no more: the remote generator is closed, its `finally` runs. May be called more than once."""
        self._is_open = False
        self._items.clear()
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
        self._finalizer()

    async def aclose(self) -> None:
        """As `close`, which never waits."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _wanted(self) -> Handle[Batch] | None:
        """What must be waited for before there is an item to give; None: nothing."""
        if self._is_open and self._asked is None and len(self._items) <= self.window // 2:
            self._asked = self._ask(self.window)
        return None if self._items else self._asked

    def _wait(self, asked: Handle[Batch]) -> Batch:
        try:
            return asked.result()
        except WouldDeadlockError:
            raise WouldDeadlockError(f"waiting for {self!r} would stop the event loop; use `async for`") from None
        except CancelledError:
            raise StopIteration from None  # another thread has closed it
        except BaseException:
            self._end(asked)
            raise

    def _arrived(self, asked: Handle[Batch], batch: Batch) -> None:
        if self._asked is not asked:
            raise UsageError(f"two coroutines read from {self!r}; let one of them hand the items on")
        self._asked = None
        items, is_ended = batch
        self._items += items
        if is_ended:
            self._is_open = False
            self._finalizer.detach()

    def _end(self, asked: Handle[Batch]) -> None:
        """It failed, or the reader was interrupted."""
        asked.cancel()
        self._asked = None
        self._is_open = False
        self._finalizer()

    def _give(self, stop: type[Exception]) -> Any:
        if not self._items:
            raise stop
        return self._items.popleft()

    def __repr__(self) -> str:
        state = "open" if self._is_open else "drained" if self._items else "ended"
        return f"<RemoteStream of {self.method} {state}, {len(self._items)} items here>"
