"""What is known of things that are over, for a while: a bounded number of them, for a bounded time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

SECONDS = 1800.0
"""How long: a late question comes within that (reference "flare" 4.5)."""
MOST = 4096
"""How many; the oldest go."""


class Remembered(Generic[T]):
    """Values by key. One thread at a time; times go in as `now`."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._values: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def keep(self, key: str, value: T, now: float) -> None:
        """Remember a value from now on."""
        self._values.pop(key, None)
        self._values[key] = (now, value)
        self._forget(now)

    def find(self, key: str, now: float) -> T | None:
        """The value, unless it was forgotten."""
        self._forget(now)
        return self._values[key][1] if key in self._values else None

    def _forget(self, now: float) -> None:
        while self._values:
            since, _ = next(iter(self._values.values()))
            if len(self._values) <= self._most and now < since + self._seconds:
                return
            self._values.popitem(last=False)

    def __len__(self) -> int:
        return len(self._values)
