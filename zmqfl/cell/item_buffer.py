"""A buffer that threads share: the machine of `zmqfl.protocol.channels.buffer` behind a lock.

What a reader has here of its channel is one; an application may make its own and use it directly. A buffer that is full
under WAIT refuses `put` at once: who fills it must not be held up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Generic, TypeVar

from zmqfl.protocol.channels.buffer import Buffer, BufferStatistics, BufferTerms, Sized

T = TypeVar("T", bound=Sized)


class ItemBuffer(Generic[T]):
    """See the module. `terms`: policy and bounds."""

    def __init__(self, terms: BufferTerms) -> None:
        self.terms = terms
        self._buffer: Buffer[T] = Buffer(terms)
        self._lock = threading.Lock()

    def put(self, items: Sequence[T]) -> list[T]:
        """Offer items in order; returns those that it refused. What RING, CLEAR and SKIP drop is only counted."""
        with self._lock:
            now = time.monotonic()
            room = self._buffer.room(items, now)
            return [*self._buffer.offer(items[:room], now), *items[room:]]

    def take(self, most: int = 1) -> list[T]:
        """The oldest items, at most so many; none when it is empty."""
        with self._lock:
            items = self._buffer.take(most=most)
            self._buffer.settle(len(items), sum([item.size for item in items]))
            return items

    def peek(self) -> list[T]:
        """What is in it, oldest first; it stays."""
        with self._lock:
            return self._buffer.items()

    def clear(self) -> list[T]:
        """Drop what is in it; returns that."""
        with self._lock:
            items = self._buffer.items()
            self._buffer.clear()
            return items

    def statistics(self) -> BufferStatistics:
        """Its counts at this moment."""
        with self._lock:
            return self._buffer.statistics()

    def __len__(self) -> int:
        return len(self._buffer)

    def __repr__(self) -> str:
        return repr(self._buffer).replace("<Buffer", "<ItemBuffer", 1)
