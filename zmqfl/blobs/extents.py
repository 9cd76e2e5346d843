"""Which bytes of a file are there, when they come in any order."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right


class Extents:
    """Ranges of bytes that do not touch, in order. Thread-safe.

    As small as the gaps are few: a window of chunks in flight leaves no more gaps than the window has chunks.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._lock = threading.Lock()

    def add(self, start: int, end: int) -> None:
        """Bytes from `start` to before `end` are there; some may have been there already."""
        if start == end:
            return
        with self._lock:
            # All ranges from `first` to before `last` touch the new one, and become one with it.
            first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
            if first < last:
                start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
            self._starts[first:last], self._ends[first:last] = [start], [end]

    @property
    def contiguous(self) -> int:
        """How many bytes are there from 0 on without a gap."""
        with self._lock:
            return self._ends[0] if self._ends and self._starts[0] == 0 else 0

    @property
    def end(self) -> int:
        """The offset behind the last byte that is there."""
        with self._lock:
            return self._ends[-1] if self._ends else 0

    def __repr__(self) -> str:
        with self._lock:
            ranges = ", ".join(f"{start}-{end}" for start, end in zip(self._starts, self._ends, strict=True))
        return f"<Extents {ranges or 'empty'}>"
