"""How fast a target takes what is sent to it: the window, the length of a segment, and when one message will do.

    what happened                                the window
    acknowledged: hardly any queue on the way    grows by what was acknowledged
    acknowledged: more than `QUEUE` seconds      halves, once per round trip, to two segments at least
    acknowledged: (in between)                   stays
    a cell on the way has no room                halves, as above
    silence for longer than its patience         one segment

All flows to one target share its window: ten are not ten times as pushing as one.

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
FIRST_WINDOW = 2 * SMALLEST
"""Bytes that may be under way before anything is known: many cells may begin at once."""
FIRST_DELAY = 5.0
"""Seconds that the first acknowledgement may take: others may have filled the way."""
FADES = 7 / 8
"""What is left of a long delay with each acknowledgement that took less."""
SILENCE = 3
"""Times `bulk_heartbeat_timeout` without progress until a flow is given up at either end: on a slow link that many use,
a queue may be longer than a minute."""
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
    delay: float = FIRST_DELAY
    """Seconds that acknowledgements have taken of late, queues and all: the longest counts, and fades."""
    measured: float = -inf
    _shrunk: float = -inf

    def acknowledged(self, size: int, delivered: int, sent: float, now: float) -> None:
        """`size` new bytes are acknowledged; those sent last among them went at `sent`, since when `delivered` were."""
        took = max(now - sent, 1e-6)
        rate = delivered / took
        if sent - self.measured > FRESH:  # not `now`: on a slow way the acknowledgement itself takes longer
            self.rtt, self.rate, self.delay = took, rate, took
        else:
            self.rtt, self.rate = min(self.rtt, took), (self.rate + rate) / 2
            self.delay = max(took, self.delay * FADES)
        self.measured = now
        if took <= self.rtt + LITTLE:
            self.window = min(self.window + size, self.window_limit)
        elif took > self.rtt + QUEUE and now - self._shrunk > took:
            self.shrink(now)

    def shrink(self, now: float) -> None:
        """Too much is under way."""
        self.window = max(self.window // 2, 2 * SMALLEST)
        self._shrunk = now

    def restart(self) -> None:
        """Nothing was heard: whatever is under way fills a queue somewhere, so one segment at a time asks how it is."""
        self.window = SMALLEST

    @property
    def segment(self) -> int:
        """Bytes of the next segment: at most a quarter of the window, or each hop would wait for a whole one."""
        wanted = int(self.rate * SEGMENT_TIME) // SMALLEST * SMALLEST
        return min(max(min(wanted, self.window // 4), SMALLEST), self.segment_limit)

    def is_quick(self, size: int, now: float) -> bool:
        """Whether a message of this size takes so little time that it need not be cut."""
        return now - self.measured <= FRESH and size <= self.rate * SEGMENT_TIME
