"""Files that a `FileStreamer` receives: each goes to `<folder>/<uuid4>`, and is there when all receivers have it."""

from __future__ import annotations

from pathlib import Path

from zmqfl.blobs.paths import safe_name
from zmqfl.cell.callbacks import Callback
from zmqfl.cell.file_streams import LOCATION_KEY, NAME_KEY, SIZE_KEY, FileConsumer, unique_name
from zmqfl.cell.streams import Chunk
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import make_reply
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.cell_streams import Arrival, rc_of_failure
from zmqfl.streaming.contracts import StreamContext, StreamContextKey


class FileReceiver:
    """The consumer of one file that is pushed. Raises `SinkError` when it cannot be begun."""

    def __init__(self, arrival: Arrival, folder: Path, done: Callback | None, consumed: Callback | None) -> None:
        self.is_quick = consumed is None
        self._arrival = arrival
        self._done = done
        self._consumed = consumed
        self._rc: ReturnCode | None = None
        """What went wrong here, if anything did."""
        self._told = CellReturnCode.OK
        arrival.check_running()
        make_safe(arrival.stream_ctx)
        self._file = FileConsumer(arrival.incoming, folder, unique_name(), ended=self._ended)

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Check and write a chunk, and tell the callback."""
        try:
            self._arrival.check_running()
            go, outcome = self._file.consume(chunk)
            if self._consumed is not None:
                with self._arrival.new_context() as fl_ctx:
                    self._consumed.run((go, make_reply(ReturnCode.OK)), self._arrival.stream_ctx, fl_ctx)
                self._arrival.check_running()
        except BaseException as error:
            self._rc = rc_of_failure(error)
            raise
        return go, outcome

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Name the file or remove it, then tell the application."""
        self._told = code
        return self._file.close(code, reason, culprit)

    def _ended(self, path: Path | None, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        if self._told is CellReturnCode.OK is not code:
            self._rc = ReturnCode.EXECUTION_EXCEPTION  # it could not be named
        stream_ctx = self._arrival.stream_ctx
        note_end(stream_ctx, path)
        stream_ctx[StreamContextKey.RC] = self._rc or self._arrival.rc_of(code, culprit)
        with self._arrival.new_context() as fl_ctx:
            return self._arrival.call_done(self._done, fl_ctx)


def make_safe(stream_ctx: StreamContext) -> None:
    """Take from the owner's context what only this side can know, and what a name must not have."""
    stream_ctx[NAME_KEY] = safe_name(str(stream_ctx.get(NAME_KEY, "")))
    stream_ctx[LOCATION_KEY] = None


def note_end(stream_ctx: StreamContext, path: Path | None) -> None:
    """Say where the file is, None for nowhere, and how big."""
    stream_ctx[LOCATION_KEY] = None if path is None else str(path)
    if path is not None:
        stream_ctx[SIZE_KEY] = path.stat().st_size
