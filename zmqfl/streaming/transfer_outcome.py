"""How a transaction of downloads has ended, and how to wait for that. What is not confirmed has failed.

Source: reference "flare" 4.5.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from zmqfl.cell.workers import blocked
from zmqfl.errors import WouldDeadlockError
from zmqfl.streaming.downloadable import DownloadStatus


class TransferState(StrEnum):
    """How it is."""

    ACTIVE = "active"
    """It goes on."""
    COMPLETED = "completed"
    """Each receiver has everything."""
    FAILED = "failed"
    ABORTED = "aborted"
    """It was deleted before all receivers had ended."""


class TransferReason(StrEnum):
    """Why."""

    ACTIVE = "active"
    ALL_RECEIVERS_SUCCEEDED = "all_receivers_succeeded"
    RECEIVER_FAILED = "receiver_failed"
    NO_OBJECTS = "no_objects"
    TIMEOUT = "timeout"
    DELETED = "deleted"
    UNKNOWN_RECEIVER_COUNT = "unknown_receiver_count"


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """How a transaction has ended; with the state `ACTIVE`: how it is so far."""

    tx_id: str
    state: TransferState
    reason: TransferReason
    statuses: Mapping[str, Mapping[str, DownloadStatus]] = field(default_factory=dict)
    """Per reference id, per receiver. Who has not said that it has everything has failed, at the end."""
    quorum_met: bool = False
    """Whether at least `min_receivers` (unless given: all) have every object."""
    missing: int = 0
    """Receivers that never came, and whose names nobody knows."""

    @property
    def ok(self) -> bool:
        """Whether each receiver has everything."""
        return self.state is TransferState.COMPLETED

    @property
    def succeeded(self) -> tuple[str, ...]:
        """The receivers that have every object, sorted."""
        return tuple(sorted(name for name, statuses in self._by_receiver().items() if _all_well(statuses)))

    @property
    def failed(self) -> tuple[str, ...]:
        """The receivers that lack an object, sorted."""
        return tuple(sorted(name for name, statuses in self._by_receiver().items() if not _all_well(statuses)))

    def _by_receiver(self) -> dict[str, list[DownloadStatus | None]]:
        names = {name for statuses in self.statuses.values() for name in statuses}
        return {name: [statuses.get(name) for statuses in self.statuses.values()] for name in names}


class TransferWaiter:
    """Waits for the end of one transaction. All threads may use it.

    `snapshot`: how the transaction is now; `acquired`: which receivers have begun.
    """

    def __init__(self, snapshot: Callable[[], TransferOutcome], acquired: Callable[[], tuple[str, ...]]) -> None:
        self._snapshot = snapshot
        self._acquired = acquired
        self._changed = threading.Condition()
        self._outcome: TransferOutcome | None = None
        self._has_quorum = False

    def wait(self, timeout: float | None = None, linger: float | None = None) -> TransferOutcome | None:
        """Wait until all callbacks of the transaction have run and its objects are released; returns the outcome.

        `timeout`: seconds at most (None: for ever); then it returns None. `linger`: seconds at most to wait for the
        others once the quorum is met (None: as long as `timeout` says); then it returns what is so far, with the state
        `ACTIVE`. Raises `WouldDeadlockError` in a running event loop: use `asyncio.to_thread`.
        """
        _check_may_wait()
        with self._changed, blocked():
            if linger is None:
                self._changed.wait_for(self.done, timeout)
                return self._outcome
            if self._changed.wait_for(lambda: self.done() or self._has_quorum, timeout):
                self._changed.wait_for(self.done, linger)
        if self._outcome is not None or not self._has_quorum:
            return self._outcome
        return self._snapshot()

    def done(self) -> bool:
        """Whether it has ended, callbacks included."""
        return self._outcome is not None

    @property
    def outcome(self) -> TransferOutcome | None:
        """The outcome, when it has ended; None before."""
        return self._outcome

    def acquired_receivers(self) -> tuple[str, ...]:
        """The receivers that have begun to download, sorted; where they were named, only those."""
        return self._acquired()

    # -- for the transaction -------------------------------------------------------------------------------------------

    def meet_quorum(self) -> None:
        """So many have everything that the caller may go on."""
        with self._changed:
            self._has_quorum = True
            self._changed.notify_all()

    def settle(self, outcome: TransferOutcome) -> None:
        """It has ended, and all have been told."""
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    def __repr__(self) -> str:
        return f"<TransferWaiter {'waiting' if self._outcome is None else self._outcome.state}>"


def _check_may_wait() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WouldDeadlockError("waiting here would stop the event loop; use `await asyncio.to_thread(waiter.wait)`")


def _all_well(statuses: list[DownloadStatus | None]) -> bool:
    return all(status is DownloadStatus.SUCCESS for status in statuses)
