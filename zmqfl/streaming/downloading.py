"""Downloads an object from its owner: one chunk after the other, and word of the end.

    the reply to a question for a chunk    what follows
    a chunk                                the consumer takes it, and names the next state
    the end                                `download_completed`, then the owner is told and has answered
    error, or any failure but a time-out   `download_failed`, the owner is told
    a time-out                             the same question again, after 2, 4, 8, ... seconds, at most 60; when that
                                           has failed `max_retries` times in a row: as above
    none yet, and the signal is triggered  as above, at once

Source: reference "flare" 4.4.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, ClosedError, DecodeError, ForkedError
from zmqfl.streaming.cell_streams import checked_callback
from zmqfl.streaming.chunk_asking import ChunkAsking, Stopped
from zmqfl.streaming.download_service import DownloadService
from zmqfl.streaming.downloadable import Consumer, DownloadStatus, size_of
from zmqfl.streaming.object_transaction import guarded
from zmqfl.streaming.transfer_progress import ProgressMeter, ProgressState

log = logging.getLogger("zmqfl.streaming")


def download_object(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float,
    cell: Cell,
    consumer: Consumer,
    secure: bool = False,
    optional: bool = False,
    abort_signal: Signal | None = None,
    max_retries: int = 3,
    progress_cb: Any = None,
    progress_interval: float = 30.0,
) -> None:
    """Download the object that `from_fqcn` offers as `ref_id`, and wait. How it went is for the consumer to tell:
    exactly one of its `download_completed` and `download_failed` is called, in this thread like all its methods.

    `per_request_timeout`: seconds that the owner may take for a chunk; what is on its way counts as progress.
    `secure`: have each chunk sealed. `optional`: a failure is no warning in the log. `abort_signal`: ends it at once.
    `max_retries`: questions in a row that may go without an answer, besides the first; nothing else is tried again.
    `progress_cb(**report)`: see `zmqfl.streaming.transfer_progress`; at most once per `progress_interval` seconds but
    for the first and last report; what it raises goes to the log. Raises `ArgumentError` (a ValueError), what
    `download_completed` raises, and `WouldDeadlockError` in a running event loop.
    """
    if not isinstance(consumer, Consumer):
        raise ArgumentError(f"consumer must be a Consumer, not {type(consumer).__name__}")
    if type(max_retries) is not int or max_retries < 0:
        raise ArgumentError(f"max_retries must be a whole number of 0 or more, not {max_retries!r}")
    progress = checked_callback(progress_cb, "progress_cb")
    asking = ChunkAsking(from_fqcn, ref_id, per_request_timeout, cell, secure, abort_signal, max_retries)
    running = DownloadService.of(cell).running
    running.begin(from_fqcn, ref_id, asking.stop)
    try:
        _Download(asking, consumer, optional, progress, progress_interval).run()
    finally:
        running.end(asking.stop)


class _Failed(Exception):
    """The download is over; the text says why."""


class _Download:
    """One run of `download_object`."""

    def __init__(
        self,
        asking: ChunkAsking,
        consumer: Consumer,
        optional: bool,
        progress: Callable[..., Any] | None,
        interval: float,
    ) -> None:
        self._asking = asking
        self._ref_id = asking.ref_id
        self._consumer = consumer
        self._optional = optional
        self._progress = progress
        self._meter = ProgressMeter(interval, ref_id=asking.ref_id)

    def run(self) -> None:
        """Download, and tell everybody."""
        self._report(self._meter.start(time.monotonic(), time.time()))
        try:
            nonce = self._take_all()
        except Stopped:
            signal = self._asking.abort_signal
            is_aborted = signal is not None and signal.triggered
            reason = "the download was aborted" if is_aborted else str(self._asking.stop.value)
            self._fail(reason, ProgressState.ABORTED if is_aborted else ProgressState.FAILED)
        except (_Failed, ClosedError) as error:
            self._fail(str(error), ProgressState.FAILED)
        except BaseException as error:  # interrupted, or this thread may not wait
            self._fail(f"{type(error).__name__}: {error}", ProgressState.FAILED)
            raise
        else:
            self._complete(nonce)

    def _take_all(self) -> str:
        """Returns the nonce of the end."""
        state: dict[str, Any] = {}
        if self._asking.stop.triggered:
            raise Stopped
        handle = self._asking.ask(state)
        while True:
            chunk = self._chunk(state, handle)
            if chunk["status"] == "eof":
                return str(chunk.get("nonce", ""))
            proposed = chunk["state"]
            ahead = self._asking.ask(proposed) if self._consumer.supports_pipelining else None
            try:
                state = self._consume(proposed, chunk["data"])
                if ahead is not None and state != proposed:
                    raise _Failed(f"the consumer supports pipelining, but did not go on with {proposed}")
            except BaseException:
                if ahead is not None:
                    ahead.cancel()
                raise
            handle = ahead or self._asking.ask(state)

    def _chunk(self, state: dict[str, Any], handle: RequestHandle) -> dict[str, Any]:
        reply = self._asking.answer(state, handle)
        if not reply.ok:
            raise _Failed(f"{reply.return_code}: {reply.error}")
        try:
            chunk = reply.payload
        except DecodeError as error:
            raise _Failed(f"{self._asking.owner} sent what cannot be read: {error}") from error
        match chunk:
            case {"status": "eof"} | {"status": "ok", "state": dict(), "data": _}:
                return dict(chunk)
            case {"status": "error", "reason": reason}:
                raise _Failed(str(reason))
        raise _Failed(f"{self._asking.owner} sent no chunk")

    def _consume(self, state: dict[str, Any], data: Any) -> dict[str, Any]:
        try:
            after = self._consumer.consume(self._ref_id, state, data)
        except Exception as error:
            log.warning("%s: the consumer of %s failed", self._asking.cell.fqcn, self._ref_id, exc_info=error)
            raise _Failed(f"its consumer failed: {type(error).__name__}: {error}") from error
        if not isinstance(after, dict):
            raise _Failed(f"its consumer returned a {type(after).__name__} instead of the next state")
        items = self._consumer.items_done
        more = 1 if items is None else items - self._meter.items_done
        self._report(self._meter.advance(size_of(data), more, time.monotonic(), time.time()))
        return after

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _complete(self, nonce: str) -> None:
        try:
            self._consumer.download_completed(self._ref_id)
        except BaseException as error:
            self._tell(DownloadStatus.FAILED, reason=f"{type(error).__name__}: {error}")
            self._report(self._meter.end(ProgressState.FAILED, time.monotonic(), time.time()))
            raise
        handle = self._tell(DownloadStatus.SUCCESS, nonce)
        with suppress(ClosedError):  # it is all here: only the owner may not know
            if handle is not None and not (reply := handle.reply()).ok:  # to be aborted now would only hide that
                about = (self._asking.cell.fqcn, self._asking.owner, self._ref_id, reply.error)
                log.warning("%s: %s was not told that all of %s is here: %s", *about)
        self._report(self._meter.end(ProgressState.COMPLETED, time.monotonic(), time.time()))

    def _fail(self, reason: str, state: ProgressState) -> None:
        level = logging.DEBUG if self._optional else logging.WARNING
        about = (self._asking.cell.fqcn, self._ref_id, self._asking.owner, reason)
        log.log(level, "%s: download of %s from %s failed: %s", *about)
        guarded(self._consumer.download_failed, self._ref_id, reason)
        self._tell(DownloadStatus.FAILED, reason=reason)
        self._report(self._meter.end(state, time.monotonic(), time.time()))

    def _tell(self, status: DownloadStatus, nonce: str = "", reason: str = "") -> RequestHandle | None:
        try:
            return self._asking.tell(status, nonce, reason)
        except (ClosedError, ForkedError):
            return None

    def _report(self, report: dict[str, Any] | None) -> None:
        if report is not None and self._progress is not None:
            progress = self._progress
            guarded(lambda: progress(**report))
