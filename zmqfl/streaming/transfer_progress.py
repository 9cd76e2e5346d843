"""Progress of downloads: reports that do not come too often, and who has stood still for too long.

A report is a dict, and its callback gets it as keyword arguments:

    ref_id      what is downloaded
    sequence    0, 1, 2, ...
    bytes_done  bytes so far
    items_done  chunks so far, or items where the consumer counts them
    timestamp   seconds since the epoch, for people
    state       start, active, completed, failed, aborted

"start" and the last three always come; "active" at most once per interval. Source: reference "flare" 4.4, 4.8.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

IDLE_TIMEOUT: Final = 600.0
"""Seconds without more bytes or items after which a download counts as stalled."""


class ProgressState(StrEnum):
    """Where a download is. Each member equals its text."""

    START = "start"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def is_last(self) -> bool:
        """Whether no report follows."""
        return self in (ProgressState.COMPLETED, ProgressState.FAILED, ProgressState.ABORTED)


class ProgressMeter:
    """Counts, and says when a report is due. `facts`: what each report has besides. Times go in as `now`."""

    def __init__(self, interval: float, **facts: Any) -> None:
        self.bytes_done = 0
        self.items_done = 0
        self._interval = interval
        self._facts = facts
        self._sequence = 0
        self._reported: float | None = None

    def start(self, now: float, timestamp: float) -> dict[str, Any]:
        """The first report."""
        return self._report(ProgressState.START, now, timestamp)

    def advance(self, bytes_more: int, items_more: int, now: float, timestamp: float) -> dict[str, Any] | None:
        """So much more is done; the report, if one is due."""
        self.bytes_done += bytes_more
        self.items_done += items_more
        if self._reported is not None and now < self._reported + self._interval:
            return None
        return self._report(ProgressState.ACTIVE, now, timestamp)

    def end(self, state: ProgressState, now: float, timestamp: float) -> dict[str, Any]:
        """The last report."""
        return self._report(state, now, timestamp)

    def _report(self, state: ProgressState, now: float, timestamp: float) -> dict[str, Any]:
        self._reported = now
        report = {
            **self._facts,
            "sequence": self._sequence,
            "bytes_done": self.bytes_done,
            "items_done": self.items_done,
            "timestamp": timestamp,
            "state": state,
        }
        self._sequence += 1
        return report


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """The latest report of one download."""

    ref_id: str
    bytes_done: int
    items_done: int
    state: ProgressState
    moved: float
    """When there were more bytes or items last, by the clock of the tracker."""


class TransferProgressTracker:
    """Remembers the reports of many downloads: give its `update` as `progress_cb`.

    So who waits for something that is downloaded meanwhile can go on waiting as long as it moves. One thread at a time.
    """

    def __init__(self, idle_timeout: float = IDLE_TIMEOUT, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._records: dict[str, ProgressRecord] = {}

    def update(self, *, ref_id: str, bytes_done: int, items_done: int, state: ProgressState, **_: Any) -> None:
        """Take a report."""
        old, now = self._records.get(ref_id), self._clock()
        has_moved = old is None or old.bytes_done < bytes_done or old.items_done < items_done or old.state is not state
        moved = now if has_moved or old is None else old.moved
        self._records[ref_id] = ProgressRecord(ref_id, bytes_done, items_done, state, moved)

    def get_record(self, ref_id: str) -> ProgressRecord | None:
        """What is known of a download."""
        return self._records.get(ref_id)

    @property
    def records(self) -> tuple[ProgressRecord, ...]:
        """What is known of all, in the order of their begin."""
        return tuple(self._records.values())

    def is_stalled(self, ref_id: str) -> bool:
        """Whether a download has not ended, and not moved for the whole idle time-out; False where none is known."""
        record = self._records.get(ref_id)
        return record is not None and self._is_stalled(record)

    def stalled_records(self) -> tuple[ProgressRecord, ...]:
        """The downloads that are."""
        return tuple(record for record in self._records.values() if self._is_stalled(record))

    def _is_stalled(self, record: ProgressRecord) -> bool:
        return not record.state.is_last and record.moved + self._idle_timeout <= self._clock()
