"""Streams of objects through a cell.

    sender     its arguments are wrong                   ArgumentError, EncodeError; nothing is sent
               what the producer raises                  the same error, and the stream is aborted
               (OK, result)                              every receiver has all; result as `process_replies` gave it
               (ERROR, result or False)                  it failed for all; the log names where, and why
               (TASK_ABORTED, None)                      the run was aborted, or the cell closed
    receiver   rc in the stream context
               OK                                        everybody has all
               EXECUTION_EXCEPTION, BAD_REQUEST_DATA     it failed here
               TIMEOUT                                   this cell was too slow for the owner
               COMMUNICATION_ERROR                       the owner is gone
               TASK_ABORTED                              it was aborted, or failed elsewhere

Source: seed 000; reference "flare" 2.3-2.6, with the bugs that its column "Better" names not copied.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from zmqfl.cell.callbacks import callback
from zmqfl.cell.cell import Cell
from zmqfl.cell.pushing import PushHandle
from zmqfl.cell.registry import check_name
from zmqfl.cell.streams import Consumer, Incoming, Producer, PushReport
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT
from zmqfl.context.fl_context import FLContext
from zmqfl.context.peer_context import public_props_of
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, CellReturnCode, ClosedError, ServiceUnavailable
from zmqfl.fqcn import FQCN
from zmqfl.streaming.cell_streams import PEER_PROPS, Arrival, StreamFactory, checked_callback
from zmqfl.streaming.contracts import ConsumerFactory, ObjectProducer, StreamContext, StreamContextKey
from zmqfl.streaming.receiving import ReceivingObjects
from zmqfl.streaming.sending import SendingObjects

log = logging.getLogger("zmqfl.streaming")

MAX_SESSIONS = 20
"""Streams of `stream_no_wait` that are under way at once (reference "flare" 2.3)."""


class ObjectStreamer:
    """See the module. `cell` sends and receives the streams.

    `new_context` makes the contexts of what comes in. `resolve` turns the name of a target into the name of its cell,
    "" when there is none; names of cells are themselves unless it is given.
    """

    def __init__(
        self,
        cell: Cell,
        new_context: Callable[[], FLContext],
        resolve: Callable[[str], str] | None = None,
        max_concurrent_streaming_sessions: int = MAX_SESSIONS,
    ) -> None:
        self._cell = cell
        self._new_context = new_context
        self._resolve = resolve or str
        self._sessions = max_concurrent_streaming_sessions
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._is_shut = False

    # -- sender ------------------------------------------------------------------------------------------------------

    def stream(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: str | Iterable[str] | None,
        producer: ObjectProducer,
        fl_ctx: FLContext,
        secure: bool = False,
        optional: bool = False,
    ) -> tuple[ReturnCode, Any]:
        """Send what `producer` makes to all targets at once, and wait. Returns (code, result), see the module.

        `stream_ctx` travels to the receivers and is not changed; the producer gets a copy with channel and topic.
        `optional`: failures are no warnings in the log. Raises what the producer raises, `ArgumentError`,
        `EncodeError`, `ClosedError` when the cell is not running, and `RuntimeError` after `shutdown`.
        """
        if not isinstance(producer, ObjectProducer):
            raise ArgumentError(f"producer must be an ObjectProducer, not {type(producer).__name__}")
        cells = self._cells_of(targets)
        names: dict[str, list[str]] = {}
        for name, cell in cells.items():
            names.setdefault(cell, []).append(name)
        own = {**_checked_ctx(stream_ctx), StreamContextKey.CHANNEL: channel, StreamContextKey.TOPIC: topic}
        sending = SendingObjects(producer, own, fl_ctx, names)
        code = self._push(
            channel, topic, own, cells, sending, fl_ctx, CHUNK_TIMEOUT, 0, optional=optional, secure=secure
        )
        if code is ReturnCode.TASK_ABORTED:
            return code, None
        if sending.error is not None:
            raise sending.error
        result = sending.result
        if code is not ReturnCode.OK:
            return code, False if result is None or result else result
        return (code if result is None or result else ReturnCode.ERROR), result

    def stream_no_wait(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: str | Iterable[str] | None,
        producer: ObjectProducer,
        fl_ctx: FLContext,
        secure: bool = False,
        optional: bool = False,
    ) -> Future[tuple[ReturnCode, Any]]:
        """Like `stream`, without waiting. Those beyond `max_concurrent_streaming_sessions` wait for their turn."""
        with self._lock:
            self._check_open()
            if self._threads is None:
                prefix = f"zmqfl-streams:{self._cell.fqcn}"
                self._threads = ThreadPoolExecutor(self._sessions, thread_name_prefix=prefix)
            return self._threads.submit(
                self.stream, channel, topic, stream_ctx, targets, producer, fl_ctx, secure, optional
            )

    def push_stream(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: str | Iterable[str] | None,
        producer: Producer,
        fl_ctx: FLContext,
        *,
        timeout: float = CHUNK_TIMEOUT,
        total: int = 0,
        optional: bool = False,
        secure: bool = False,
    ) -> ReturnCode:
        """Send what a cell's producer makes to all targets at once, and wait: OK, ERROR or TASK_ABORTED.

        `timeout`: seconds without progress, and for receivers to register the topic. `total`: bytes, if known. The
        producer is closed in any case. Raises as `stream` does.
        """
        try:
            cells, own = self._cells_of(targets), _checked_ctx(stream_ctx)
        except BaseException:
            producer.close()
            raise
        return self._push(
            channel, topic, own, cells, producer, fl_ctx, timeout, total, optional=optional, secure=secure
        )

    # -- receiver ----------------------------------------------------------------------------------------------------

    def register_stream_processing(
        self,
        channel: str,
        topic: str,
        factory: ConsumerFactory,
        stream_done_cb: Any = None,
        consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """Receive what is streamed to (channel, topic) by consumers of `factory`; "*" stands for all.

        A second registration replaces the first. The callbacks get `cb_kwargs`; they may be coroutine functions, which
        run on the loop that is running now. Raises `ArgumentError`.
        """
        if not isinstance(factory, ConsumerFactory):
            raise ArgumentError(f"factory must be a ConsumerFactory, not {type(factory).__name__}")
        done = callback(checked_callback(stream_done_cb, "stream_done_cb"), cb_kwargs)
        consumed = callback(checked_callback(consumed_cb, "consumed_cb"), cb_kwargs)
        self.consume_streams(channel, topic, lambda arrival: ReceivingObjects(arrival, factory, done, consumed))

    def consume_streams(self, channel: str, topic: str, factory: StreamFactory) -> None:
        """Receive what is streamed to (channel, topic) by the consumers that `factory` makes, whatever the chunks are.

        Raises `ArgumentError`, and `RuntimeError` after `shutdown`.
        """
        self._check_open()

        def make(incoming: Incoming) -> Consumer:
            if self._is_shut:
                raise ServiceUnavailable(f"the streamer of {self._cell.fqcn} has been shut down")
            return factory(Arrival(incoming, self._cell.fqcn, self._new_context))

        self._cell.consume_streams(channel, topic, make)

    def shutdown(self) -> None:
        """Begin no stream any more, in either direction: `RuntimeError` here, a refusal elsewhere.

        Those under way go on; those of `stream_no_wait` that have not begun are cancelled. Again: does nothing.
        """
        with self._lock:
            self._is_shut = True
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)

    # -- within ------------------------------------------------------------------------------------------------------

    def _push(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext,
        cells: dict[str, str],
        producer: Producer,
        fl_ctx: FLContext,
        timeout: float,
        total: int,
        *,
        optional: bool,
        secure: bool,
    ) -> ReturnCode:
        """Start a push and wait for its end. `cells`: the cell of each target, "" where there is none."""
        try:
            signal = self._checked(channel, topic, fl_ctx)
            obstacle = _obstacle(cells)
            if obstacle:
                self._report(channel, topic, obstacle, optional=optional)
            if obstacle or (signal is not None and signal.triggered):
                producer.close()
                return ReturnCode.ERROR if obstacle else ReturnCode.TASK_ABORTED
            sent = {**stream_ctx, PEER_PROPS: public_props_of(fl_ctx)}
        except BaseException:
            producer.close()
            raise
        handle = self._cell.push(
            channel, topic, producer, list(dict.fromkeys(cells.values())), sent,
            timeout=timeout, total=total, secure=secure,
        )  # fmt: skip
        try:
            report = _report_of(handle, signal)
        except ClosedError:
            return ReturnCode.TASK_ABORTED
        if report.ok:
            return ReturnCode.OK
        aborted = signal is not None and signal.triggered
        if aborted or (report.code is CellReturnCode.ABORT_RUN and not report.culprit):
            return ReturnCode.TASK_ABORTED
        reason = f"{report.culprit or self._cell.fqcn}: {report.reason}"
        self._report(channel, topic, reason, optional=optional and not secure)
        return ReturnCode.ERROR

    def _checked(self, channel: str, topic: str, fl_ctx: FLContext) -> Signal | None:
        """Check what `Cell.push` does not; returns the signal that aborts the run."""
        self._check_open()
        check_name(channel, "channel")
        check_name(topic, "topic")
        if not isinstance(fl_ctx, FLContext):
            raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
        return fl_ctx.get_run_abort_signal()

    def _cells_of(self, targets: str | Iterable[str] | None) -> dict[str, str]:
        names = [targets] if isinstance(targets, str) else list(targets or ())
        for name in names:
            if not isinstance(name, str):
                raise ArgumentError(f"a target must be a str, not {type(name).__name__}")
        return {name: FQCN.normalize(self._resolve(name)) for name in names}

    def _check_open(self) -> None:
        if self._is_shut:
            raise RuntimeError(f"the streamer of {self._cell.fqcn} has been shut down")

    def _report(self, channel: str, topic: str, text: str, *, optional: bool) -> None:
        level = logging.DEBUG if optional else logging.WARNING
        log.log(level, "%s: stream %s:%s failed: %s", self._cell.fqcn, channel, topic, text)

    def __repr__(self) -> str:
        return f"<ObjectStreamer of {self._cell.fqcn}{', shut down' if self._is_shut else ''}>"


def _obstacle(cells: dict[str, str]) -> str:
    """Why a stream to these cells cannot even begin; "" when it can."""
    if not cells:
        return "there are no targets; name at least one"
    for name, cell in cells.items():
        if problem := FQCN.validate(cell):
            return f"no target is called {name!r}" if not cell else f"{name!r} is no target: {problem}"
    return ""


def _checked_ctx(stream_ctx: object) -> StreamContext:
    """A copy of the caller's context. Raises `ArgumentError` for what is no dict."""
    if stream_ctx is not None and not isinstance(stream_ctx, dict):
        raise ArgumentError(f"stream_ctx must be a dict, not {type(stream_ctx).__name__}")
    return dict(stream_ctx or {})


def _report_of(handle: PushHandle, signal: Signal | None) -> PushReport:
    """Wait for the end of a push, which the signal brings about."""

    def abort(_: Signal) -> None:
        handle.abort()

    if signal is not None:
        signal.add_callback(abort)
    try:
        return handle.report()
    except BaseException:  # interrupted, or this thread may not wait
        handle.abort()
        raise
    finally:
        if signal is not None:
            signal.remove_callback(abort)
