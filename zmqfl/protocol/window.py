"""No message of a link counts twice: a window over the sequence numbers that have been seen.

A TCP connection neither repeats nor reorders, but what lies between two cells may (a proxy, a relay gone mad), and
a request that is repeated after its callee has restarted would run twice. Newer numbers move the window; a number
in it counts once; one behind it does not count. Source: RFC 4303, section 3.4.3 (anti-replay).
"""

from __future__ import annotations

WIDTH = 1024
"""Messages that may overtake one another on one lane."""
_MASK = (1 << WIDTH) - 1


class SequenceWindow:
    """The receiving side of one lane of one session. Numbers begin with 1."""

    __slots__ = ("_seen", "_top")

    def __init__(self) -> None:
        self._top = 0
        self._seen = 1  # number 0 never counts

    def admit(self, number: int) -> bool:
        """Whether `number` counts: it was not seen, and is not too old to know."""
        ahead = number - self._top
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & _MASK if ahead < WIDTH else 1
            self._top = number
            return True
        if -ahead >= WIDTH or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True
