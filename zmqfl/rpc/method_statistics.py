"""What was called how often, and how it went. Source: NATS micro (ADR-32), its figures."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from zmqfl.errors import DecodeError

MOST: Final = 1000
"""Methods that are counted one by one; the rest is counted together."""
OTHERS: Final = "*"


@dataclass(slots=True)
class MethodStatistics:
    """One method, since it was published."""

    calls: int = 0
    """Begun."""
    running: int = 0
    errors: int = 0
    """Ended by an exception."""
    cancelled: int = 0
    """Ended when nobody waited any more."""
    seconds: float = 0.0
    """In all that have ended, of a generator with the pauses of its reader."""
    longest: float = 0.0
    last_error: str = ""

    @property
    def average(self) -> float:
        """Seconds per call that has ended."""
        ended = self.calls - self.running
        return self.seconds / ended if ended else 0.0

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> MethodStatistics:
        """What `to_dict` has told of another cell. Raises `DecodeError`."""
        try:
            return cls(**{each.name: figures[each.name] for each in fields(cls)})
        except (KeyError, TypeError):
            raise DecodeError("these are no statistics of a method") from None

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "average": self.average}


class StatisticsTable:
    """Statistics by method. Any thread."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodStatistics] = {}
        self._lock = threading.Lock()

    def begin(self, path: str) -> None:
        """A call has begun."""
        with self._lock:
            each = self._of(path)
            each.calls += 1
            each.running += 1

    def end(self, path: str, seconds: float, error: str = "", cancelled: bool = False) -> None:
        """It has ended."""
        with self._lock:
            each = self._of(path)
            each.running -= 1
            each.seconds += seconds
            each.longest = max(each.longest, seconds)
            if cancelled:
                each.cancelled += 1
            elif error:
                each.errors += 1
                each.last_error = error

    def snapshot(self) -> dict[str, MethodStatistics]:
        """As they are now."""
        with self._lock:
            return {path: replace(each) for path, each in self._methods.items()}

    def _of(self, path: str) -> MethodStatistics:
        if path not in self._methods and len(self._methods) >= MOST:
            path = OTHERS
        return self._methods.setdefault(path, MethodStatistics())
