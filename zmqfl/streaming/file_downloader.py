"""Pull: files that their owner offers, and that each receiver fetches at its own pace.

    owner     tx = FileDownloader.new_transaction(cell, timeout, timeout_cb)
              rid = FileDownloader.add_file(tx, "model.pt")        and tells the receivers, as it likes, or
              FileDownloader.announce(tx, rid, "models")           all who care for that group, also those to come
    receiver  error, path = download_file("server", rid, 10.0, cell, location)

Source: seed 000; reference "flare" 4.1, 4.6, 4.11.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from zmqfl.blobs.source import FileSource
from zmqfl.cell.callbacks import Callback, callback
from zmqfl.cell.cell import Cell
from zmqfl.cell.offering import Transaction
from zmqfl.cell.pulling import PullHandle
from zmqfl.cell.registry import check_name
from zmqfl.cell.transfer_verbs import CHUNK, Offer
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, BlobError, ClosedError, FqcnError, TransferError
from zmqfl.streaming.cell_streams import checked_callback
from zmqfl.streaming.file_streamer import checked_file, checked_folder, checked_timeout

log = logging.getLogger("zmqfl.streaming")


class _FileTransaction:
    """Files by the names that the application gave them. The cell's transaction keeps it alive, by its callbacks."""

    def __init__(self, cell: Cell, timeout: float, timeout_cb: Callback) -> None:
        self._timeout_cb = timeout_cb
        self._cell = cell
        self._names: list[str] = []
        self._sizes: dict[str, tuple[str, int]] = {}
        """Reference id -> (base name, bytes)."""
        self._transaction: Transaction = cell.new_transaction(timeout, self._expired)
        self.id = self._transaction.id

    def add(self, path: Path, name: str, downloaded: Callback | None) -> str:
        def served(rid: str, receiver: str, status: str, base_name: str) -> None:
            if downloaded is not None:
                downloaded.run(rid, receiver, status, name)

        source = FileSource(path)
        rid = self._transaction.add(source, CHUNK, None, callback(served))
        self._names.append(name)
        self._sizes[rid] = source.name, source.size
        return rid

    def announce(self, rid: str, group: str) -> None:
        if rid not in self._sizes:
            raise ArgumentError(f"no file of transaction {self.id} has the reference id {rid!r}")
        self._cell.announce(Offer(rid, self._cell.fqcn, *self._sizes[rid], self._transaction), group)

    def end(self) -> None:
        self._transaction.end()

    def _expired(self, id: str, base_names: list[str]) -> None:
        self._timeout_cb.run(id, list(self._names))


class FileDownloader:
    """See the module."""

    _lock: ClassVar = threading.Lock()
    _transactions: ClassVar[WeakValueDictionary[str, _FileTransaction]] = WeakValueDictionary()
    """A transaction is held by its cell while it is open: what has ended, or whose cell is closed, goes by itself."""

    @classmethod
    def new_transaction(cls, cell: Cell, timeout: float, timeout_cb: Any, **cb_kwargs: Any) -> str:
        """Begin a group of files that are offered together; returns its id.

        It ends when no receiver has asked for any of its files for `timeout` seconds; then, and only then,
        `timeout_cb(tx_id, file_names, **cb_kwargs)` is called, once, with the names given to `add_file`.
        Raises `ArgumentError`, and `ClosedError` for a cell that is not running.
        """
        if not isinstance(cell, Cell):
            raise ArgumentError(f"cell must be a Cell, not {type(cell).__name__}")
        expired = callback(checked_callback(timeout_cb, "timeout_cb"), cb_kwargs)
        if expired is None:
            raise ArgumentError("timeout_cb is None; give a function, which learns what need not be kept any more")
        transaction = _FileTransaction(cell, checked_timeout(timeout, "timeout"), expired)
        with cls._lock:
            cls._transactions[transaction.id] = transaction
        return transaction.id

    @classmethod
    def add_file(cls, transaction_id: str, file_name: str, file_downloaded_cb: Any = None, **cb_kwargs: Any) -> str:
        """Offer a file; returns the reference id by which any cell may download it, and which nobody can guess.

        `file_downloaded_cb(ref_id, to_site, status, file_name, **cb_kwargs)` is called once per receiver: `to_site` is
        the name of its cell, `status` "success" when it has the whole file, "failed" when it gave up.
        The file must not change while it is offered: receivers then get an error. Raises `ArgumentError` (a ValueError)
        for what is no file and for a transaction that has ended or never was, `SourceError`, `ClosedError`.
        """
        downloaded = callback(checked_callback(file_downloaded_cb, "file_downloaded_cb"), cb_kwargs)
        return cls._find(transaction_id).add(checked_file(file_name), str(file_name), downloaded)

    @classmethod
    def announce(cls, transaction_id: str, ref_id: str, group: str) -> None:
        """Tell a group of a file that was added, as long as its transaction lasts: see `Cell.announcements`.

        Raises `ArgumentError` for what is no transaction, no file of it, or no name of a group; `ClosedError`.
        """
        cls._find(transaction_id).announce(ref_id, group)

    @classmethod
    def delete_transaction(cls, transaction_id: str) -> None:
        """End a transaction; receivers get an error. Its `timeout_cb` is not called. Raises `ArgumentError`."""
        transaction = cls._find(transaction_id)
        with cls._lock:
            cls._transactions.pop(transaction_id, None)
        transaction.end()

    @classmethod
    def download_file(
        cls,
        from_fqcn: str,
        ref_id: str,
        per_request_timeout: float,
        cell: Cell,
        location: str | None = None,
        secure: bool = False,
        optional: bool = False,
        abort_signal: Signal | None = None,
    ) -> tuple[str | None, str | None]:
        """Fetch a file from its owner, and wait. Returns (None, its path), or (why not, None) with nothing left behind.

        `per_request_timeout`: seconds without progress. `location`: a folder; the system's for temporary files unless
        given. The file is `<location>/<ref_id>`, and replaces one of that name. `secure`: sealed from owner to here;
        both need cards. `optional`: a failure is no warning in the log. `abort_signal`: stops it at once. Raises
        `ArgumentError` (a ValueError) for a location that is no folder and for other arguments that cannot be.
        """
        if not isinstance(cell, Cell):
            raise ArgumentError(f"cell must be a Cell, not {type(cell).__name__}")
        check_name(ref_id, "ref_id")
        folder = checked_folder(location, "location")
        timeout = checked_timeout(per_request_timeout, "per_request_timeout")
        error, path = _pull(cell, from_fqcn, ref_id, folder, timeout, secure, abort_signal)
        if error is not None:
            level = logging.DEBUG if optional else logging.WARNING
            log.log(level, "%s: download of %s from %s failed: %s", cell.fqcn, ref_id, from_fqcn, error)
        return error, path

    @classmethod
    def shutdown(cls) -> None:
        """End all transactions of this process; no `timeout_cb` is called."""
        with cls._lock:
            transactions = list(cls._transactions.values())
            cls._transactions.clear()
        for transaction in transactions:
            transaction.end()

    @classmethod
    def _find(cls, transaction_id: str) -> _FileTransaction:
        with cls._lock:
            transaction = cls._transactions.get(transaction_id)
        if transaction is None:
            raise ArgumentError(f"there is no transaction {transaction_id!r}: it has ended, or never was")
        return transaction


download_file = FileDownloader.download_file


def _pull(
    cell: Cell, owner: str, rid: str, folder: Path, timeout: float, secure: bool, signal: Signal | None
) -> tuple[str | None, str | None]:
    if signal is not None and signal.triggered:
        return "the download was aborted before it began", None
    try:
        handle = cell.pull(rid, owner, folder, name=rid, on_exists="replace", timeout=timeout, secure=secure)
        return None, str(_result_of(handle, signal))
    except (TransferError, BlobError, FqcnError, ClosedError) as error:
        aborted = signal is not None and signal.triggered
        return f"the download was aborted: {error}" if aborted else str(error), None


def _result_of(handle: PullHandle, signal: Signal | None) -> Path:
    """Wait for the end of a pull, which the signal brings about."""

    def abort(_: Signal) -> None:
        handle.abort()

    if signal is not None:
        signal.add_callback(abort)
    try:
        path: Path = handle.result()
        return path
    except (TransferError, BlobError, ClosedError):
        raise
    except BaseException:  # interrupted, or this thread may not wait
        handle.abort()
        raise
    finally:
        if signal is not None:
            signal.remove_callback(abort)
