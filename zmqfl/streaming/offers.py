"""What one cell offers for download: its transactions, their objects, and the one timer that waits for them.

One lock is around all of it, and no code of the application runs under it. Who changes a transaction does so in
`change`, which has everybody told afterwards and sees to the timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import TypeVar

from zmqfl.cell.offering import Activity, Transaction
from zmqfl.cell.timer import Timer
from zmqfl.errors import ArgumentError, ClosedError
from zmqfl.streaming.downloadable import TransactionDoneStatus
from zmqfl.streaming.object_transaction import ObjectTransaction, Offered, Terminal
from zmqfl.streaming.remembered import Remembered
from zmqfl.streaming.transfer_ledger import TransferLedger
from zmqfl.streaming.transfer_outcome import TransferOutcome

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended:
    """An object that was offered: who asks late for its end still gets it."""

    status: TransactionDoneStatus
    terminals: dict[str, Terminal] = field(default_factory=dict)


class Offers:
    """See the module. `name`: of the timer's thread; `clock`: that of the cell."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._transactions: dict[str, ObjectTransaction] = {}
        self._chosen: set[str] = set()
        self._offered: dict[str, Offered] = {}
        self._ended: Remembered[Ended] = Remembered()
        self._is_closed = False
        self._timer = Timer(name, clock, self._look)
        self._next: float | None = None
        """What the timer waits for."""

    # -- transactions --------------------------------------------------------------------------------------------------

    def open(self, transaction: ObjectTransaction, is_chosen: bool) -> None:
        """Begin a transaction. `is_chosen`: its id is the application's, and must not have been there before.

        Raises `ArgumentError`, `ClosedError`.
        """
        with self._lock:
            if self._is_closed:
                raise ClosedError("the cell was closed; make a new one")
            if transaction.id in self._transactions or transaction.id in self._chosen:
                raise ArgumentError(f"tx_id {transaction.id!r} is already in use; give each transaction one of its own")
            if is_chosen:
                self._chosen.add(transaction.id)
            self._transactions[transaction.id] = transaction
        self._timer.wake()

    def add(self, offered: Offered, files: Callable[[], Transaction] | None = None) -> None:
        """Offer an object from now on. `files`: makes the cell's transaction for it, if it is a file.

        Raises `ArgumentError` when the transaction has ended and for an id that is in use.
        """
        transaction, ref_id = offered.transaction, offered.ref_id
        with self._lock:
            now = self._clock()
            if not transaction.is_open:
                raise ArgumentError(f"transaction {transaction.id} has ended; begin a new one")
            if ref_id in self._offered or self._ended.find(ref_id, now) is not None:
                raise ArgumentError(f"ref_id {ref_id!r} is in use, or was; give each object one of its own")
            if files is not None and transaction.files is None:
                transaction.files = files()
            self._offered[ref_id] = offered
            transaction.offered.append(offered)
            transaction.ledger.add(ref_id, now)
        self._timer.wake()  # the time to begin may be shorter than what it waits for

    def delete(self, transactions: Iterable[ObjectTransaction]) -> None:
        """End transactions; those that have ended stay as they are."""
        for transaction in transactions:
            self.change(transaction, lambda now, each=transaction: each.apply(each.ledger.delete(), now))  # type: ignore[misc]

    def all(self) -> list[ObjectTransaction]:
        """The transactions that go on."""
        with self._lock:
            return list(self._transactions.values())

    def look_at(self, ledger: TransferLedger, tx_id: str) -> TransferOutcome:
        """How a transaction is now."""
        with self._lock:
            return ledger.outcome(tx_id)

    def close(self) -> None:
        """The cell was closed: the timer ends everything. Any thread; never waits."""
        with self._lock:
            self._is_closed = True
            is_needed = bool(self._transactions)
        if is_needed:
            self._timer.wake()

    # -- objects -------------------------------------------------------------------------------------------------------

    def find(self, ref_id: str) -> Offered | None:
        """What is offered by this id now."""
        return self._offered.get(ref_id)

    def ended(self, ref_id: str) -> Ended | None:
        """What was offered by this id, if that is not long ago."""
        with self._lock:
            return self._ended.find(ref_id, self._clock())

    def begin(self, ref_id: str, receiver: str) -> Offered | None:
        """A receiver asks: something is to be produced for it. None when no object is offered by this id."""
        with self._lock:
            offered = self._offered.get(ref_id)
            if offered is None or offered.is_file:
                return None
            transaction = offered.transaction
            transaction.asked(offered, receiver, self._clock())
            transaction.produce()
            must_wake = self._is_earlier(transaction)
        self._go_on(transaction, must_wake)
        return offered

    def change(self, transaction: ObjectTransaction, act: Callable[[float], T]) -> T:
        """Have `act(now)` change a transaction, and everybody told of it. It must not raise."""
        with self._lock:
            now = self._clock()
            value = act(now)
            must_wake = self._sweep(transaction, now) or self._is_earlier(transaction)
        self._go_on(transaction, must_wake)
        return value

    def _go_on(self, transaction: ObjectTransaction, must_wake: bool) -> None:
        transaction.go()
        if must_wake:
            self._timer.wake()

    # -- with the lock held --------------------------------------------------------------------------------------------

    def _sweep(self, transaction: ObjectTransaction, now: float) -> bool:
        """What has ended is not offered any more. Returns whether nothing goes on: then the timer is to end."""
        if (status := transaction.ledger.status) is None:
            return False
        for offered in transaction.offered:
            if self._offered.pop(offered.ref_id, None) is not None:
                self._ended.keep(offered.ref_id, Ended(status, offered.terminals), now)
        if transaction.files is not None:
            transaction.files.end()
        if not transaction.is_settled:
            return False
        return self._transactions.pop(transaction.id, None) is not None and not self._transactions

    def _is_earlier(self, transaction: ObjectTransaction) -> bool:
        """Whether the timer waits for too long."""
        deadline = transaction.deadline
        return deadline is not None and (self._next is None or deadline < self._next)

    # -- the timer -----------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> float | None:
        with self._lock:
            transactions = list(self._transactions.values())
            asks = [each for each in transactions if self._act(each, now)]
            times = [each.deadline for each in self._transactions.values()]
            self._next = min((time for time in times if time is not None), default=inf) if times else None
            deadline = self._next
        for transaction in transactions:
            transaction.go()
        for transaction in asks:
            self._ask(transaction)
        return deadline

    def _act(self, transaction: ObjectTransaction, now: float) -> bool:
        """Do what is due; returns whether the cell has to be asked first who was active."""
        was_told, transaction.was_told = transaction.was_told, False
        if self._is_closed:
            transaction.apply(transaction.ledger.delete(), now)
        if transaction.is_open and transaction.files is not None and not was_told and transaction.is_due(now):
            transaction.is_asking = True
            return True
        if transaction.is_due(now):
            transaction.handle_timeout(now)
        self._sweep(transaction, now)
        return False

    def _ask(self, transaction: ObjectTransaction) -> None:
        """Files are pulled without a word to this service, so their cell knows best."""
        assert transaction.files is not None
        with suppress(ClosedError):  # `close` is called, or will be
            transaction.files.ask_activity(partial(self._tell_activity, transaction))

    def _tell_activity(self, transaction: ObjectTransaction, active: float, receivers: Activity) -> None:
        """On the reactor: the timer does the rest."""
        with self._lock:
            transaction.ledger.touch(active)
            for (_, receiver), heard in receivers.items():
                transaction.ledger.touch(heard, receiver)
            transaction.is_asking, transaction.was_told = False, True
        self._timer.wake()

    def __repr__(self) -> str:
        return f"<Offers {len(self._offered)} objects of {len(self._transactions)} transactions>"
