"""Fencing: the newest start of a name wins everywhere (design, decision 3).

The acceptor issues a token to each fresh start; it is in every header that this start sends. A receiver refuses
a token below the highest that it has seen for the name, so a replaced process that does not know it yet can
change nothing. Tokens are made of the acceptor's clock: a child's own clock never counts.
"""

from __future__ import annotations

MAX_TOKEN = 1 << 62
"""Far beyond any clock; a token above is not one, and the next after it must still fit 64 bits."""
CLOCK_ERROR = 10 * 365 * 86_400_000
"""Milliseconds by which a clock may have been ahead when it issued a token; a HELLO with more is refused."""
MOST_NAMES = 16384
"""Names remembered; beyond it the one unused for longest is dropped. A federation has fewer."""


class FenceTable:
    """The highest token seen for each name."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def issue(self, name: str, clock_ms: int) -> int:
        """A token above all that were seen for `name`, and not below the acceptor's clock."""
        token = max(self._highest.get(name, 0), clock_ms) + 1
        self._put(name, token)
        return token

    def admit(self, name: str, token: int) -> bool:
        """Whether `token` is current; a higher one becomes the current one."""
        if token >= MAX_TOKEN:
            return False
        highest = self._highest.get(name, 0)
        if token > highest:
            self._put(name, token)
        return token >= highest

    def is_stale(self, name: str, token: int) -> bool:
        """Whether a newer start than the one that holds `token` was seen."""
        return token < self._highest.get(name, 0)

    def highest(self, name: str) -> int:
        """The highest token seen; 0 for an unknown name."""
        return self._highest.get(name, 0)

    def reset(self, name: str, token: int) -> None:
        """Take `token` as current though it may be lower: only for the pinned parent, whose clock may have stepped."""
        self._put(name, token)

    def _put(self, name: str, token: int) -> None:
        self._highest.pop(name, None)
        self._highest[name] = token
        if len(self._highest) > MOST_NAMES:
            del self._highest[next(iter(self._highest))]
