"""How fast a target takes what is sent to it: the window, the length of a segment, and when one message will do.

    an acknowledgement says                      the window
    hardly any queue on the way                  grows by what was acknowledged
    a queue of more than `QUEUE` seconds         halves, once per round trip
    (in between)                                 stays

A window that is larger than rate times round trip only fills queues, and then a beat or a small request waits behind
megabytes. So the delay decides, as in TCP Vegas and LEDBAT (RFC 6817); losses do not: they come from broken links.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from zmqfl.config import KIB

SMALLEST = 64 * KIB
"""Bytes of a segment at least: below it the headers cost more than the patience saves."""
SEGMENT_TIME = 0.5
"""Seconds that one segment may take: each is a sign of life, and nothing can overtake it on its lane."""
LITTLE, QUEUE = 0.05, 0.5
"""Seconds above the shortest round trip: below the first the window grows, above the second it shrinks."""
FIRST_WINDOW = 4 * SMALLEST
FRESH = 5.0
"""Seconds that a rate is believed without a new measurement."""


@dataclass(slots=True)
class Pace:
    """What is known of one target. `rate` in bytes per second, `rtt` in seconds; 0 and infinity: not yet known."""

    segment_limit: int
    window_limit: int
    window: int = FIRST_WINDOW
    rate: float = 0.0
    rtt: float = inf
    measured: float = -inf
    _shrunk: float = -inf

    def acknowledged(self, size: int, delivered: int, sent: float, now: float) -> None:
        """`size` new bytes are acknowledged; those sent last among them went at `sent`, since when `delivered` were."""
        took = max(now - sent, 1e-6)
        self.rtt = took if now - self.measured > FRESH else min(self.rtt, took)
        rate = delivered / took
        self.rate = rate if self.rate == 0.0 or now - self.measured > FRESH else (self.rate + rate) / 2
        self.measured = now
        if took <= self.rtt + LITTLE:
            self.window = min(self.window + size, self.window_limit)
        elif took > self.rtt + QUEUE and now - self._shrunk > took:
            self.shrink(now)

    def shrink(self, now: float) -> None:
        """Too much is under way."""
        self.window = max(self.window // 2, 2 * SMALLEST)
        self._shrunk = now

    @property
    def segment(self) -> int:
        """Bytes of the next segment."""
        wanted = int(self.rate * SEGMENT_TIME) // SMALLEST * SMALLEST
        return min(max(wanted, SMALLEST), self.segment_limit, max(self.window, SMALLEST))

    def is_quick(self, size: int, now: float) -> bool:
        """Whether a message of this size takes so little time that it need not be cut."""
        return now - self.measured <= FRESH and size <= self.rate * SEGMENT_TIME
