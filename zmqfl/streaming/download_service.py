"""The downloads of one cell: what it offers, object by object, and what it downloads itself.

`ObjectDownloader` and `download_object` are its faces. A cell has one service, made when it is first needed; it lives
and ends with the cell. Source: reference "flare" 4.2 to 4.5, whose bugs (4.6) are not copied: what was finished and is
asked for again from its begin is an error, never an empty success.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar, Final
from weakref import WeakKeyDictionary, ref

from zmqfl.blobs.source import Source
from zmqfl.cell.callbacks import callback
from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.cell.offering import Transaction
from zmqfl.cell.reference_ids import check_rid, new_rid
from zmqfl.errors import ArgumentError
from zmqfl.streaming.chunk_server import ChunkServer
from zmqfl.streaming.download_messages import CHANNEL, CHUNK, DONE, SOURCE_FAILURE
from zmqfl.streaming.downloadable import Downloadable, DownloadStatus
from zmqfl.streaming.object_transaction import ObjectTransaction, Offered, TransactionCallbacks
from zmqfl.streaming.offers import Offers
from zmqfl.streaming.remembered import Remembered
from zmqfl.streaming.serial_calls import SerialCalls
from zmqfl.streaming.source_failure import RunningDownloads, take_source_failure
from zmqfl.streaming.transfer_ledger import TransferLedger
from zmqfl.streaming.transfer_outcome import TransferOutcome, TransferWaiter

FOREVER: Final = 1e9
"""Seconds: the cell's own time-out of files. The ledger decides when they end, with the objects beside them."""


class DownloadService:
    """See the module. `DownloadService.of(cell)` gives the one of a cell. All threads may use it."""

    _all: ClassVar[WeakKeyDictionary[Cell, ref[DownloadService]]] = WeakKeyDictionary()
    """Each is held by its cell, which serves its channel."""
    _making: ClassVar = threading.Lock()

    def __init__(self, cell: Cell, clock: Callable[[], float] = time.monotonic) -> None:
        self.running = RunningDownloads()
        """Where this cell is the receiver."""
        self.clock = clock
        self.offers = Offers(f"zmqfl-downloads:{cell.fqcn}", lambda: self.clock())
        self._cell = cell
        self._opening = threading.Lock()
        self._door: Transaction | None = None
        self._waiters: Remembered[TransferWaiter] = Remembered()
        self._waiters_lock = threading.Lock()
        server = ChunkServer(cell.fqcn, self.offers)
        cell.register_request_cb(CHANNEL, CHUNK, server.serve_chunk)
        cell.register_request_cb(CHANNEL, DONE, server.serve_done)
        cell.register_request_cb(CHANNEL, SOURCE_FAILURE, self._serve_source_failure)

    @classmethod
    def of(cls, cell: Cell) -> DownloadService:
        """The service of `cell`. Raises `ArgumentError` for what is no cell."""
        if not isinstance(cell, Cell):
            raise ArgumentError(f"cell must be a Cell, not {type(cell).__name__}")
        with cls._making:
            known = cls._all.get(cell)
            service = known() if known is not None else None
            if service is None:
                service = cls(cell)
                cls._all[cell] = ref(service)
            return service

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def new_transaction(
        self,
        num_receivers: int,
        timeout: float,
        callbacks: TransactionCallbacks,
        tx_id: str | None = None,
        receiver_ids: Iterable[str] | None = None,
        min_receivers: int | None = None,
        acquire_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> ObjectTransaction:
        """Begin a group of objects; see `TransferLedger` for the numbers.

        Raises `ArgumentError` (a ValueError) for an id that was used before and for numbers that do not fit each other,
        `ClosedError`.
        """
        door = self._open_door()
        now = self.clock()
        ledger = TransferLedger(
            num_receivers, timeout, now, receiver_ids, min_receivers, acquire_timeout, idle_timeout
        )  # fmt: skip
        id = f"T{secrets.token_hex(16)}" if tx_id is None else tx_id
        waiter = TransferWaiter(partial(self.offers.look_at, ledger, id), lambda: ledger.acquired)
        transaction = ObjectTransaction(id, num_receivers, ledger, callbacks, SerialCalls(door.run), waiter)
        self.offers.open(transaction, is_chosen=tx_id is not None)
        with self._waiters_lock:
            self._waiters.keep(id, waiter, now)
        return transaction

    def add_object(self, transaction: ObjectTransaction, obj: Downloadable, ref_id: str | None = None) -> str:
        """Offer an object; returns the reference id by which any cell may download it, and which nobody can guess.

        `ref_id`: the id to offer it by, if receivers know it already. Raises `ArgumentError` (a ValueError) for a
        transaction that has ended, and for an id that can be guessed or is in use.
        """
        id = self._told(transaction, obj, ref_id)
        self.offers.add(Offered(id, obj, transaction))
        return id

    def add_source(
        self, transaction: ObjectTransaction, obj: Downloadable, source: Source, chunk: int, ref_id: str | None = None
    ) -> str:
        """Offer bytes, to be pulled by `download_file`; `obj` hears of it. The source is then the transaction's.

        Raises as `add_object` does, and `ClosedError`; the source is closed then.
        """
        try:
            id = self._told(transaction, obj, ref_id)
            offered = Offered(id, obj, transaction, is_file=True)
            self.offers.add(offered, lambda: self._cell.new_transaction(FOREVER))
        except BaseException:
            source.close()
            raise
        assert transaction.files is not None
        served = callback(partial(self._file_served, offered, source.size))
        return transaction.files.add(source, chunk, None, served, id, partial(self._file_opened, offered))

    def shutdown(self) -> None:
        """Delete all transactions of this cell. Their callbacks follow; this does not wait for them."""
        self.offers.delete(self.offers.all())

    def get_transaction_id(self, ref_id: str) -> str | None:
        """The transaction that offers a reference now."""
        offered = self.offers.find(ref_id)
        return None if offered is None else offered.transaction.id

    def get_transfer_waiter(self, tx_id: str) -> TransferWaiter | None:
        """The waiter of a transaction: while it is open, and for half an hour after its begin in any case."""
        open_ones = {each.id: each.waiter for each in self.offers.all()}
        with self._waiters_lock:
            return open_ones.get(tx_id) or self._waiters.find(tx_id, self.clock())

    def get_transaction_outcome(self, tx_id: str) -> TransferOutcome | None:
        """How a transaction has ended; None while it goes on, and where none is known."""
        waiter = self.get_transfer_waiter(tx_id)
        return None if waiter is None else waiter.outcome

    def get_acquired_receivers(self, tx_id: str) -> tuple[str, ...]:
        """The receivers that have begun to download, sorted."""
        waiter = self.get_transfer_waiter(tx_id)
        return () if waiter is None else waiter.acquired_receivers()

    # -- within --------------------------------------------------------------------------------------------------------

    def _open_door(self) -> Transaction:
        """What lets this service use the cell's workers, and hear of its end."""
        with self._opening:
            if self._door is None:
                self._door = self._cell.new_transaction(FOREVER)
                self._door.on_closed(self.offers.close)
            return self._door

    def _told(self, transaction: ObjectTransaction, obj: Downloadable, ref_id: str | None) -> str:
        if not isinstance(obj, Downloadable):
            raise ArgumentError(f"obj must be a Downloadable, not {type(obj).__name__}")
        id = new_rid() if ref_id is None else check_rid(ref_id, "ref_id")
        obj.num_receivers = transaction.num_receivers
        obj.set_transaction(transaction.id, id)
        return id

    def _file_opened(self, offered: Offered, rid: str, receiver: str) -> None:
        self.offers.change(offered.transaction, lambda now: offered.transaction.asked(offered, receiver, now))

    def _file_served(self, offered: Offered, size: int, rid: str, receiver: str, status: str, name: str) -> None:
        transaction = offered.transaction

        def act(now: float) -> None:
            if status == DownloadStatus.SUCCESS:
                transaction.served(receiver, size, now)
            transaction.apply(transaction.ledger.end(rid, receiver, DownloadStatus(status), now), now)

        self.offers.change(transaction, act)

    def _serve_source_failure(self, message: Message) -> dict[str, int]:
        return {"ended": take_source_failure(message, self.running, self._cell.root)}

    def __repr__(self) -> str:
        return f"<DownloadService of {self._cell.fqcn}, {self.offers!r}, {len(self.running)} running>"
