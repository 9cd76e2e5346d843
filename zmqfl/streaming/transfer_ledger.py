"""Who has what of one transaction of downloads, and when it is over. It is told, and answers with a list of events.

    receiver, of one object   event                                        next       events
    unseen                    asked                                        acquired
    unseen                    it is expected by name, and began nothing
                              for `acquire_timeout` seconds                failed     ReceiverEnded
    acquired                  asked, touched                               acquired
    acquired                  ended, as it says itself                     its word   ReceiverEnded
    acquired, unseen          it has begun, is expected, and did nothing
                              for `idle_timeout` seconds                   failed     ReceiverEnded
    success, failed           anything                                     the same   none: its first end counts

    transaction
    open                      all expected receivers of an object ended    open       ObjectEnded, once per object
    open                      those of all objects ended                   finished   TransactionEnded
    open                      nothing for `timeout` seconds                timeout    TransactionEnded
    open                      delete                                       deleted    TransactionEnded
    not open                  anything                                     the same   none

Expected are the receivers with the names in `receiver_ids`; a stranger may download, but does not count. Without names
the first `num_receivers` to come are; those that do not come within `acquire_timeout` are missing for good. With 0
receivers nobody knows how many there are: it ends by time-out, or is deleted. Budgets that are None are off.
Source: reference "flare" 4.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from zmqfl.errors import ArgumentError
from zmqfl.streaming.downloadable import DownloadStatus, TransactionDoneStatus
from zmqfl.streaming.transfer_outcome import TransferOutcome, TransferReason, TransferState


@dataclass(frozen=True, slots=True)
class ReceiverEnded:
    """A receiver has ended with one object."""

    ref_id: str
    receiver: str
    status: DownloadStatus


@dataclass(frozen=True, slots=True)
class ObjectEnded:
    """All expected receivers have ended with an object."""

    ref_id: str


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """It is over."""

    status: TransactionDoneStatus


Event = ReceiverEnded | ObjectEnded | TransactionEnded


@dataclass(slots=True)
class _Object:
    """What became of one object at each receiver that has begun; None: it goes on."""

    statuses: dict[str, DownloadStatus | None] = field(default_factory=dict)
    counted: int = 0
    """Expected receivers that have ended."""
    is_over: bool = False


class TransferLedger:
    """See the module. Times are seconds of one clock, and go in as `now`.

    Raises `ArgumentError` (a ValueError) for numbers that do not fit each other.
    """

    def __init__(
        self,
        num_receivers: int,
        timeout: float,
        now: float,
        receiver_ids: Iterable[str] | None = None,
        min_receivers: int | None = None,
        acquire_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        names = None if receiver_ids is None else frozenset(receiver_ids)
        if names is not None and len(names) != num_receivers:
            raise ArgumentError(f"receiver_ids has {len(names)} names, but num_receivers is {num_receivers}")
        if min_receivers is not None and num_receivers and min_receivers > num_receivers:
            raise ArgumentError(f"min_receivers is {min_receivers}, more than num_receivers, {num_receivers}")
        self.status: TransactionDoneStatus | None = None
        """Why it is over; None while it is open."""
        self._num = num_receivers
        self._names = names
        self._quorum = min_receivers if min_receivers is not None else num_receivers
        self._timeout = timeout
        self._acquire_timeout = acquire_timeout
        self._idle_timeout = idle_timeout
        self._objects: dict[str, _Object] = {}
        self._active = now
        self._added = now
        self._missing = 0
        self._looked = False
        """Whether the time to begin is over, and who had not begun was given up."""
        self._heard: dict[str, float] = {}
        """Receivers that have begun, and when they were active last."""
        self._succeeded: dict[str, int] = {}
        """Objects that a receiver has."""

    # -- what happens --------------------------------------------------------------------------------------------------

    def add(self, ref_id: str, now: float) -> None:
        """One more object. Receivers have the whole `acquire_timeout` from now on."""
        self._objects[ref_id] = _Object()
        self._active = self._added = now
        self._looked = False

    def asked(self, ref_id: str, receiver: str, now: float) -> bool:
        """A receiver has asked for something of an object; returns whether it is the first thing ever."""
        self.touch(now, receiver if receiver in self._heard else None)
        if (entry := self._objects.get(ref_id)) is not None:
            entry.statuses.setdefault(receiver, None)
        if receiver in self._heard:
            return False
        self._heard[receiver] = now
        return True

    def touch(self, now: float, receiver: str | None = None) -> None:
        """Something has moved, `now` or earlier: what is known to be later stays."""
        self._active = max(self._active, now)
        if receiver in self._heard:
            self._heard[receiver] = max(self._heard[receiver], now)

    def end(self, ref_id: str, receiver: str, status: DownloadStatus, now: float) -> list[Event]:
        """A receiver has said how it ended with an object."""
        self.asked(ref_id, receiver, now)
        return [*self._end(ref_id, receiver, status), *self._look_over()]

    def delete(self) -> list[Event]:
        """Nothing is offered any more."""
        return self._over(TransactionDoneStatus.DELETED)

    def handle_timeout(self, now: float) -> list[Event]:
        """Give up whoever has used up a budget."""
        if self.status is not None:
            return []
        events: list[Event] = []
        if self._begin_by is not None and self._begin_by <= now:
            self._looked = True
            events += self._give_up_unseen()
        if self._idle_timeout is not None:
            events += self._give_up_idle(now, self._idle_timeout)
        events += self._look_over()
        if self._active + self._timeout <= now:
            events += self._over(TransactionDoneStatus.TIMEOUT)
        return events

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; None when it is over."""
        if self.status is not None:
            return None
        times = [self._active + self._timeout]
        if self._begin_by is not None:
            times.append(self._begin_by)
        if (idle := self._idle_timeout) is not None:
            times += [self._since(name) + idle for name in self._heard if self._open_of(name)]
        return min(times)

    # -- how it is -----------------------------------------------------------------------------------------------------

    @property
    def acquired(self) -> tuple[str, ...]:
        """The receivers that have begun, sorted; strangers do not count."""
        return tuple(sorted(name for name in self._heard if self._is_expected(name)))

    @property
    def quorum_met(self) -> bool:
        """Whether enough receivers have every object."""
        whole = sum(count == len(self._objects) for count in self._succeeded.values())
        return bool(self._objects and self._quorum) and whole >= self._quorum

    def outcome(self, tx_id: str) -> TransferOutcome:
        """How it has ended, or is so far. Once it is over, who has not ended has failed."""
        statuses = {ref_id: self._statuses(entry) for ref_id, entry in self._objects.items()}
        missing = self._missing
        if self.status is not None and self._names is None:
            missing = max(missing, self._num - len(self._heard))
        return TransferOutcome(tx_id, *self._verdict(missing), statuses, self.quorum_met, missing)

    def _verdict(self, missing: int) -> tuple[TransferState, TransferReason]:
        match self.status:
            case None:
                return TransferState.ACTIVE, TransferReason.ACTIVE
            case TransactionDoneStatus.DELETED:
                return TransferState.ABORTED, TransferReason.DELETED
            case TransactionDoneStatus.TIMEOUT if not self._objects:
                return TransferState.FAILED, TransferReason.NO_OBJECTS
            case TransactionDoneStatus.TIMEOUT if not self._num:
                return TransferState.FAILED, TransferReason.UNKNOWN_RECEIVER_COUNT
            case TransactionDoneStatus.TIMEOUT:
                return TransferState.FAILED, TransferReason.TIMEOUT
        failed = missing or any(  # who is still at it was not needed
            status is DownloadStatus.FAILED and self._is_expected(name)
            for entry in self._objects.values()
            for name, status in entry.statuses.items()
        )
        if failed:
            return TransferState.FAILED, TransferReason.RECEIVER_FAILED
        return TransferState.COMPLETED, TransferReason.ALL_RECEIVERS_SUCCEEDED

    def _statuses(self, entry: _Object) -> dict[str, DownloadStatus]:
        if self.status is None:
            return {name: status for name, status in entry.statuses.items() if status is not None}
        names = dict.fromkeys([*entry.statuses, *sorted(self._names or ())])
        return {name: entry.statuses.get(name) or DownloadStatus.FAILED for name in names}

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _end(self, ref_id: str, receiver: str, status: DownloadStatus) -> list[Event]:
        entry = self._objects.get(ref_id)
        if self.status is not None or entry is None or entry.statuses.get(receiver) is not None:
            return []
        entry.statuses[receiver] = status
        if self._is_expected(receiver):
            entry.counted += 1
            if status is DownloadStatus.SUCCESS:
                self._succeeded[receiver] = self._succeeded.get(receiver, 0) + 1
        events: list[Event] = [ReceiverEnded(ref_id, receiver, status)]
        return events + self._look_at(ref_id, entry)

    def _look_at(self, ref_id: str, entry: _Object) -> list[Event]:
        if not entry.is_over and self._num and entry.counted >= self._num - self._missing:
            entry.is_over = True
            return [ObjectEnded(ref_id)]
        return []

    def _look_over(self) -> list[Event]:
        if self._objects and all(entry.is_over for entry in self._objects.values()):
            return self._over(TransactionDoneStatus.FINISHED)
        return []

    def _over(self, status: TransactionDoneStatus) -> list[Event]:
        if self.status is not None:
            return []
        self.status = status
        return [TransactionEnded(status)]

    def _give_up_unseen(self) -> list[Event]:
        if self._names is not None:
            unseen = sorted(self._names - self._heard.keys())
            return [event for name in unseen for event in self._give_up(name)]
        self._missing = max(0, self._num - len(self._heard))
        return [event for ref_id, entry in self._objects.items() for event in self._look_at(ref_id, entry)]

    def _give_up_idle(self, now: float, idle: float) -> list[Event]:
        late = [name for name in self._heard if self._since(name) + idle <= now]
        return [event for name in late for event in self._give_up(name)]

    def _give_up(self, receiver: str) -> list[Event]:
        open_ones = self._open_of(receiver)
        return [event for ref_id in open_ones for event in self._end(ref_id, receiver, DownloadStatus.FAILED)]

    def _open_of(self, receiver: str) -> list[str]:
        """Objects that a receiver has begun, or is expected to begin by its name, and has not ended with."""
        named = self._names is not None and receiver in self._names
        return [
            ref_id
            for ref_id, entry in self._objects.items()
            if (named or receiver in entry.statuses) and entry.statuses.get(receiver) is None
        ]

    def _since(self, receiver: str) -> float:
        return max(self._heard[receiver], self._added)

    @property
    def _begin_by(self) -> float | None:
        """When receivers must have begun; None: any time, or that was looked at."""
        if self._acquire_timeout is None or self._looked or not self._objects:
            return None
        return self._added + self._acquire_timeout

    def _is_expected(self, receiver: str) -> bool:
        return self._names is None or receiver in self._names

    def __repr__(self) -> str:
        state = self.status or "open"
        return f"<TransferLedger {state}, {len(self._objects)} objects, {len(self._heard)} of {self._num} began>"
