"""One transaction of downloads at its owner: what is offered, and who is told of its ends, in which order.

    while it is open   progress "start", "active"; per receiver of an object `downloaded_to_one`, then once
                       `downloaded_to_all`
    at its end         1  nothing is served any more; what is being produced has `DRAIN` seconds to end
                       2  the outcome is made up
                       3  progress "completed", "failed" or "aborted"
                       4  `transaction_done` of each object
                       5  transaction_done_cb(tx_id, status, base_objs, **cb_kwargs)
                       6  outcome_cb(outcome)
                       7  `release` of each object
                       8  the waiter returns

All of that runs on workers of the cell, one call after another. What callbacks raise goes to the log. Source: reference
"flare" 4.5.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.offering import Transaction
from zmqfl.streaming.downloadable import Downloadable, DownloadStatus
from zmqfl.streaming.serial_calls import SerialCalls
from zmqfl.streaming.transfer_ledger import Event, ObjectEnded, ReceiverEnded, TransactionEnded, TransferLedger
from zmqfl.streaming.transfer_outcome import TransferOutcome, TransferState, TransferWaiter
from zmqfl.streaming.transfer_progress import ProgressMeter, ProgressState

log = logging.getLogger("zmqfl.streaming")

DRAIN: Final = 60.0
"""Seconds that `produce` may still take when a transaction has ended."""
_LAST_STATES = {TransferState.COMPLETED: ProgressState.COMPLETED, TransferState.ABORTED: ProgressState.ABORTED}


@dataclass(frozen=True, slots=True)
class TransactionCallbacks:
    """Whom a transaction tells."""

    done: Callback | None = None
    progress: Callback | None = None
    outcome: Callback | None = None
    progress_interval: float = 30.0


@dataclass(eq=False, slots=True)
class Terminal:
    """The end of a download, as it was served to a receiver."""

    download: str
    nonce: str
    state: dict[str, Any]
    """The question that it answered."""


@dataclass(eq=False, slots=True)
class Offered:
    """One object of a transaction."""

    ref_id: str
    obj: Downloadable
    transaction: ObjectTransaction
    is_file: bool = False
    terminals: dict[str, Terminal] = field(default_factory=dict)
    """By receiver."""


class ObjectTransaction:
    """See the module. Its owner holds one lock around all methods, but for `go`, which is called without."""

    def __init__(
        self,
        id: str,
        num_receivers: int,
        ledger: TransferLedger,
        callbacks: TransactionCallbacks,
        calls: SerialCalls,
        waiter: TransferWaiter,
    ) -> None:
        self.id = id
        self.num_receivers = num_receivers
        self.ledger = ledger
        self.waiter = waiter
        self.offered: list[Offered] = []
        self.files: Transaction | None = None
        """The cell's transaction for those of the objects that are files."""
        self.is_asking = False
        """The cell was asked when somebody was active with the files."""
        self.was_told = False
        """It has answered."""
        self.is_settled = False
        """The outcome is made up, and is being told."""
        self._callbacks = callbacks
        self._calls = calls
        self._meter = ProgressMeter(callbacks.progress_interval, tx_id=id)
        self._has_begun = False
        self._producing = 0
        self._drained_by: float | None = None

    def go(self) -> None:
        """Have everybody told. Without the lock."""
        self._calls.go()

    @property
    def is_open(self) -> bool:
        """Whether it offers anything."""
        return self.ledger.status is None

    @property
    def deadline(self) -> float | None:
        """When something is due; None: nothing, until something happens."""
        if self.is_settled or self.is_asking:
            return None
        return self.ledger.deadline if self.is_open else self._drained_by

    def is_due(self, now: float) -> bool:
        """Whether its deadline has come."""
        return (deadline := self.deadline) is not None and deadline <= now

    # -- what happens --------------------------------------------------------------------------------------------------

    def asked(self, offered: Offered, receiver: str, now: float) -> bool:
        """A receiver asks; returns whether it is its first question."""
        is_new = self.ledger.asked(offered.ref_id, receiver, now)
        if not self._has_begun:
            self._has_begun = True
            self._tell_progress(self._meter.start(now, time.time()))
        return is_new

    def produce(self) -> None:
        """Something begins to be produced."""
        self._producing += 1

    def produced(self, now: float) -> None:
        """It was."""
        self._producing -= 1
        if not self.is_open and not self._producing:
            self.settle(now)

    def served(self, receiver: str, bytes_more: int, now: float) -> None:
        """A receiver gets so much."""
        self.ledger.touch(now, receiver)
        self._tell_progress(self._meter.advance(bytes_more, 1, now, time.time()))

    def apply(self, events: Iterable[Event], now: float) -> None:
        """Have those told whom the events of the ledger concern."""
        for event in events:
            match event:
                case ReceiverEnded(ref_id, receiver, status):
                    self._tell_one(self._find(ref_id), receiver, status)
                case ObjectEnded(ref_id):
                    self._calls.add(self._find(ref_id).downloaded_to_all)
                case TransactionEnded():
                    self._drained_by = now + DRAIN
                    if not self._producing:
                        self.settle(now)
        if self.ledger.quorum_met:
            self.waiter.meet_quorum()

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if self.is_open:
            self.apply(self.ledger.handle_timeout(now), now)
        elif not self.is_settled and self._drained_by is not None and self._drained_by <= now:
            log.warning("transaction %s: something is produced for more than %g s after its end", self.id, DRAIN)
            self.settle(now)

    def settle(self, now: float) -> None:
        """Make up the outcome, and have it told."""
        if not self.is_settled:
            self.is_settled = True
            outcome = self.ledger.outcome(self.id)
            last = self._meter.end(_LAST_STATES.get(outcome.state, ProgressState.FAILED), now, time.time())
            self._tell_progress(last)
            self._calls.add(lambda: self._tell_end(outcome))

    # -- telling -------------------------------------------------------------------------------------------------------

    def _find(self, ref_id: str) -> Downloadable:
        return next(each.obj for each in self.offered if each.ref_id == ref_id)

    def _tell_one(self, obj: Downloadable, receiver: str, status: DownloadStatus) -> None:
        self._calls.add(lambda: obj.downloaded_to_one(receiver, status))

    def _tell_progress(self, report: dict[str, Any] | None) -> None:
        if report is not None and (progress := self._callbacks.progress) is not None:
            told = replace(progress, kwargs=report)
            self._calls.add(lambda: told.run())

    def _tell_end(self, outcome: TransferOutcome) -> None:
        """On a worker, without the lock: nothing of it changes any more."""
        status = self.ledger.status
        assert status is not None
        objects = [each.obj for each in self.offered]
        for obj in objects:
            guarded(obj.transaction_done, self.id, status)
        if self._callbacks.done is not None:
            guarded(self._callbacks.done.run, self.id, status, [obj.base_obj for obj in objects])
        if self._callbacks.outcome is not None:
            guarded(self._callbacks.outcome.run, outcome)
        for obj in objects:
            guarded(obj.release)
        self.offered = []  # who still holds the waiter does not hold the objects
        self.waiter.settle(outcome)

    def __repr__(self) -> str:
        return f"<ObjectTransaction {self.id} {self.ledger!r}>"


def guarded(function: Callable[..., Any], *args: Any) -> None:
    """Call what the application wrote; what it raises goes to the log."""
    try:
        function(*args)
    except Exception as error:
        log.error("a callback failed: %r", function, exc_info=error)
