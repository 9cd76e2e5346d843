"""What a message refers to is fetched: each object that holds pieces is pulled once, into a buffer of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from zmqfl.blobs.buffer_sink import BufferSink
from zmqfl.cell.offered_objects import records_in
from zmqfl.cell.pulling import PullHandle, Pulling
from zmqfl.errors import CellReturnCode, ClosedError, DecodeError, RequestFailed, SinkError
from zmqfl.wire.messages import Buffer
from zmqfl.wire.references import Place, Table

MARK: Final = b"zmqfl pc"
"""How an object begins that holds pieces."""
NO_PROGRESS: Final = 60.0
"""Seconds without progress after which a receiver gives up."""


class Fetch:
    """The pulls for one message. `within`: seconds without progress at most, where the caller's time is shorter.

    `done(frames, error)`: called once, often by the reactor: it must be quick and must not wait. `frames`: those of the
    payload, for `payload.decode` with `adopt`. An error is a `RequestFailed` that names the owner, a `DecodeError`, or
    a `ClosedError`.
    """

    def __init__(
        self,
        pulling: Pulling,
        is_on_reactor: Callable[[], bool],
        tree: Buffer,
        table: Table,
        done: Callable[[list[Buffer], Exception | None], None],
        within: float | None = None,
    ) -> None:
        self._pulling = pulling
        self._is_on_reactor = is_on_reactor
        self._tree = tree
        self._table = table
        self._done = done
        self._timeout = NO_PROGRESS if within is None else min(NO_PROGRESS, within)
        self._lock = threading.Lock()
        self._missing = len(table.places)
        self.is_over = False
        """`done` has been, or is being called."""
        self._handles: list[PullHandle] = []

    def start(self) -> None:
        """Begin. Raises `ClosedError`; `done` is not called then."""
        for place in self._table.places:
            self._handles.append(self._pull(place))
        for handle in self._handles:
            handle.add_done_callback(self._ended)

    def abort(self) -> None:
        """Give it up; `done` is told."""
        for handle in self._handles:
            handle.abort()

    def _pull(self, place: Place) -> PullHandle:
        handle = PullHandle(
            place.rid, place.owner, on_cancel=lambda: self._give_up(handle), on_reactor=self._is_on_reactor
        )  # fmt: skip
        self._pulling.pull(handle, partial(_make_sink, place.size), self._timeout, False)
        return handle

    def _give_up(self, handle: PullHandle) -> None:
        self._pulling.cancel(handle, CellReturnCode.ABORT_RUN, "nobody waits for it any more")

    def _ended(self, handle: PullHandle) -> None:
        error = _error_of(handle)
        with self._lock:
            self._missing -= 1
            if self.is_over or (error is None and self._missing):
                return
            self.is_over = True
        done, self._done = self._done, _nothing  # it mostly knows this fetch: a cycle would keep the pieces
        if error is not None:
            self.abort()
            done([], error)
            return
        handles, self._handles = self._handles, []
        try:
            pieces = self._table.frames([each.result(0) for each in handles])
        except DecodeError as wrong:
            done([], wrong)
        else:
            done([self._tree, *pieces], None)


def _nothing(frames: list[Buffer], error: Exception | None) -> None:
    """Is told of what has been told."""


class PiecesSink(BufferSink):
    """A buffer whose `commit` gives the pieces. It raises `DecodeError` for what is no such object."""

    def commit(self) -> list[memoryview]:  # type: ignore[override]
        """Views of the buffer, in their order."""
        view = memoryview(super().commit())
        if bytes(view[: len(MARK)]) != MARK:
            raise DecodeError("what was pulled holds no pieces of a payload")
        records = list(records_in(view))
        if len(records) != 1:
            raise DecodeError(f"what was pulled has {len(records)} records where a payload has one")
        return records[0]


def _make_sink(announced: int, theirs: str, size: int) -> PiecesSink:
    if size != announced:
        problem = f"{size} bytes were offered where {announced} were announced"
        raise SinkError(problem, file=theirs, remedy="send it again")
    return PiecesSink(size)


def _error_of(handle: PullHandle) -> Exception | None:
    try:
        error = handle.exception(0)
    except BaseException as cancelled:  # noqa: BLE001  of an own kind, and no Exception
        error = cancelled
    if error is None or isinstance(error, ClosedError):
        return error
    failed = RequestFailed(f"the payload of {handle.owner} could not be had: {error}", code=CellReturnCode.COMM_ERROR)
    failed.__cause__ = error
    return failed
