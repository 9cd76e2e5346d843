"""Pull: objects and files that their owner offers together, and whose receivers are accounted for one by one.

    owner     downloader = ObjectDownloader(cell, timeout=600.0, num_receivers=2, receiver_ids=["site-1", "site-2"])
              rid = downloader.add_object(MyDownloadable(model))    or add_arrays, add_file
              outcome = downloader.get_waiter().wait()              or the callbacks
    receiver  download_object("server", rid, 10.0, cell, consumer)  or download_arrays, download_file

`zmqfl.streaming.object_transaction` has the order of all callbacks, `zmqfl.streaming.transfer_ledger` when a receiver
counts as failed. Source: reference "flare" 4.2, 4.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zmqfl.blobs.source import Source
from zmqfl.cell.callbacks import callback
from zmqfl.cell.cell import Cell
from zmqfl.cell.registry import check_name
from zmqfl.errors import ArgumentError
from zmqfl.fqcn import parse
from zmqfl.streaming.cell_streams import checked_callback
from zmqfl.streaming.download_service import DownloadService
from zmqfl.streaming.downloadable import Downloadable
from zmqfl.streaming.file_streamer import checked_timeout
from zmqfl.streaming.object_transaction import TransactionCallbacks
from zmqfl.streaming.source_failure import notify_source_failure
from zmqfl.streaming.transfer_outcome import TransferWaiter


class ObjectDownloader:
    """One transaction of downloads; see the module. It belongs to its cell, and ends with it as if deleted.

    `timeout`: seconds without any question, of any receiver for any object, after which it ends.
    `num_receivers`: how many download each object; 0: not known, and it never counts as finished.
    `tx_id`: its id; None: one is made. It must never have been used at this cell.
    `transaction_done_cb(tx_id, status, base_objs, **cb_kwargs)`: once; status is a `TransactionDoneStatus`, `base_objs`
    what the objects were made of. `outcome_cb(outcome)`: once, after that, with the `TransferOutcome`.
    `progress_cb(**report)`: see `zmqfl.streaming.transfer_progress`; a report has `tx_id` in place of `ref_id`, and
    counts what was served to all receivers together; at most once per `progress_interval` seconds, but for the first
    and last.
    `receiver_ids`: names of the cells that count, `num_receivers` of them; None: the first to come do.
    `min_receivers`: how many of them must have everything for the quorum; None: all.
    `receiver_acquire_timeout`: seconds after the last `add_object` within which a receiver must have begun;
    `receiver_idle_timeout`: seconds after which one that has begun, and does nothing, has failed; None: only `timeout`
    counts.

    Callbacks run on workers of the cell, one at a time; what they raise goes to the log. Raises `ArgumentError` (a
    ValueError), `ClosedError`.
    """

    def __init__(
        self,
        cell: Cell,
        timeout: float,
        num_receivers: int,
        tx_id: str | None = None,
        transaction_done_cb: Any = None,
        progress_cb: Any = None,
        progress_interval: float = 30.0,
        outcome_cb: Any = None,
        receiver_ids: Iterable[str] | None = None,
        min_receivers: int | None = None,
        receiver_acquire_timeout: float | None = None,
        receiver_idle_timeout: float | None = None,
        **cb_kwargs: Any,
    ) -> None:
        self._cell = cell
        self._service = DownloadService.of(cell)
        done = checked_callback(transaction_done_cb, "transaction_done_cb")
        progress = checked_callback(progress_cb, "progress_cb")
        callbacks = TransactionCallbacks(
            callback(done, cb_kwargs),
            callback(progress),
            callback(checked_callback(outcome_cb, "outcome_cb")),
            _checked_interval(progress_interval),
        )
        self._transaction = self._service.new_transaction(
            _checked_number(num_receivers, "num_receivers", 0),
            checked_timeout(timeout, "timeout"),
            callbacks,
            None if tx_id is None else check_name(tx_id, "tx_id"),
            _checked_names(receiver_ids),
            None if min_receivers is None else _checked_number(min_receivers, "min_receivers", 1),
            _checked_budget(receiver_acquire_timeout, "receiver_acquire_timeout"),
            _checked_budget(receiver_idle_timeout, "receiver_idle_timeout"),
        )
        self.tx_id = self._transaction.id

    @property
    def cell(self) -> Cell:
        """The cell that offers it."""
        return self._cell

    def add_object(self, obj: Downloadable, ref_id: str | None = None) -> str:
        """Offer an object; returns the reference id by which any cell may download it, and which nobody can guess.

        `ref_id`: the id to offer it by, if receivers know it already. Raises `ArgumentError` (a ValueError) for a
        transaction that has ended, and for an id of fewer than 16 characters or one that is or was in use.
        """
        return self._service.add_object(self._transaction, obj, ref_id)

    def add_source(self, obj: Downloadable, source: Source, chunk_size: int, ref_id: str | None = None) -> str:
        """Offer bytes, which are then the transaction's, for `download_file`; `obj` hears what becomes of them.

        Raises as `add_object` does, and `ClosedError`; the source is closed then.
        """
        return self._service.add_source(self._transaction, obj, source, chunk_size, ref_id)

    def get_waiter(self) -> TransferWaiter:
        """What waits for the end; the same object each time."""
        return self._transaction.waiter

    def delete_transaction(self) -> None:
        """Offer nothing of it any more. Receivers get an error, callbacks the status "deleted"; this does not wait for
        them. Again, or after the end: does nothing."""
        self._service.offers.delete([self._transaction])

    def notify_source_failure(self, reason: str = "") -> None:
        """What the objects are made of is lost: the downloads of all receivers that have begun end at once, and the
        transaction is deleted. Raises `ClosedError`."""
        ref_ids = [offered.ref_id for offered in self._transaction.offered]
        notify_source_failure(self._cell, self._cell.fqcn, self.get_waiter().acquired_receivers(), reason, ref_ids)
        self.delete_transaction()

    def __repr__(self) -> str:
        return f"<ObjectDownloader {self._transaction!r}>"


def _checked_number(given: object, argument: str, least: int) -> int:
    if type(given) is not int or given < least:
        raise ArgumentError(f"{argument} must be a whole number of {least} or more, not {given!r}")
    return given


def _checked_budget(given: object, argument: str) -> float | None:
    return None if given is None else checked_timeout(given, argument)


def _checked_interval(given: object) -> float:
    return 0.0 if given == 0 else checked_timeout(given, "progress_interval")


def _checked_names(given: Iterable[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, str):
        raise ArgumentError("receiver_ids must be a list of names, not a str")
    return tuple(parse(name, "receiver_ids") for name in dict.fromkeys(given))
