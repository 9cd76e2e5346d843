"""How many chunks may be asked for at once: as many as arrive in half a second, so that a fast path is kept busy and a
slow one has no queue that a time-out could run out in."""

from __future__ import annotations

from collections import deque
from math import ceil

FIRST_WINDOW, MOST_WINDOW = 8, 16
"""Chunks asked for at once."""
LEAST_WINDOW = 2
WINDOW_TIME = 0.5
"""Seconds of arrivals that the window covers."""
_SAMPLES = 16
_FEW = 4
"""Arrivals that say nothing about a rate yet."""


class PullWindow:
    """See the module."""

    def __init__(self) -> None:
        self.size = FIRST_WINDOW
        self._arrivals: deque[float] = deque(maxlen=_SAMPLES)

    def arrived(self, now: float) -> None:
        """A chunk has come."""
        self._arrivals.append(now)
        if len(self._arrivals) < _FEW:
            return
        rate = (len(self._arrivals) - 1) / max(now - self._arrivals[0], 1e-6)
        self.size = max(LEAST_WINDOW, min(MOST_WINDOW, ceil(rate * WINDOW_TIME) + 1))
