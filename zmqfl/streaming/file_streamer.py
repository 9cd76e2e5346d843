"""Push: a file to one or more receivers at once; all get it, or none.

    receiver  FileStreamer.register_stream_processing(fl_ctx, channel, topic, dest_dir, stream_done_cb)
    owner     rc, ok = FileStreamer.stream_file(channel, topic, {}, ["site-1"], "model.pt", fl_ctx)

Source: seed 000; reference "flare" 3.2, whose bugs (an int as time-out fails, what a failure leaves looks like a file,
one context for two sends is mixed up) are not copied.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from zmqfl.blobs.source import FileSource
from zmqfl.cell.callbacks import callback
from zmqfl.cell.file_streams import LOCATION_KEY, NAME_KEY, SIZE_KEY, FileProducer
from zmqfl.cell.packing import packer_for
from zmqfl.cell.registry import check_name
from zmqfl.cell.transfer_verbs import CHUNK, CHUNK_TIMEOUT
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ArgumentError
from zmqfl.streaming.cell_streams import Arrival, CellStreamEngine, checked_callback
from zmqfl.streaming.contracts import StreamableEngine, StreamContext
from zmqfl.streaming.file_objects import FileObjectFactory, FileObjectProducer
from zmqfl.streaming.file_receiver import FileReceiver
from zmqfl.streaming.streamer_base import StreamerBase


class FileStreamer(StreamerBase):
    """See the module."""

    @staticmethod
    def register_stream_processing(
        fl_ctx: FLContext,
        channel: str,
        topic: str,
        dest_dir: str | None = None,
        stream_done_cb: Any = None,
        chunk_consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """Receive the files of (channel, topic), each as `<dest_dir>/<uuid4>`. Once per topic, before they come.

        `dest_dir`: a folder; the system's folder for temporary files unless given. `stream_done_cb(stream_ctx, fl_ctx,
        **cb_kwargs)`: called once per file, however it ended; ask `get_rc` and `get_file_location`.
        `chunk_consumed_cb((more, reply), stream_ctx, fl_ctx, **cb_kwargs)`: called after each chunk; what it raises
        fails the send for all. What becomes of the file is the callback's business.
        Raises `ArgumentError` (a ValueError) for a `dest_dir` that is no folder, `RuntimeError` where the engine of
        the context does not stream.
        """
        engine = engine_of(fl_ctx)
        check_name(channel, "channel")
        check_name(topic, "topic")
        folder = checked_folder(dest_dir, "dest_dir")
        done = checked_callback(stream_done_cb, "stream_done_cb")
        consumed = checked_callback(chunk_consumed_cb, "chunk_consumed_cb")
        if isinstance(engine, CellStreamEngine):
            make = partial(
                _receiver, folder=folder, done=callback(done, cb_kwargs), consumed=callback(consumed, cb_kwargs)
            )
            engine.consume_streams(channel, topic, make)
        else:
            if consumed is not None:  # FLARE's contract of an engine does not name it
                cb_kwargs["consumed_cb"] = consumed
            engine.register_stream_processing(channel, topic, FileObjectFactory(folder), done, **cb_kwargs)

    @staticmethod
    def stream_file(
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: str | Iterable[str] | None,
        file_name: str,
        fl_ctx: FLContext,
        chunk_size: int | None = None,
        chunk_timeout: float | None = None,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[ReturnCode, bool]:
        """Send a file to all targets at once, and wait. Returns (code, whether all have it).

        The code is OK, ERROR (the log names where it failed, and why) or TASK_ABORTED (by the abort signal of the run).
        `stream_ctx`: what the receivers' callbacks get to know besides; it is not changed. `chunk_size`: bytes, 1 MiB
        unless given. `chunk_timeout`: seconds that a chunk may be without progress, and that receivers have to
        register; 30 unless given. `optional`: a failure is no warning in the log. `secure`: seal it for the targets.
        Raises `ArgumentError` (a TypeError and a ValueError) for what is no file and for other arguments that cannot
        be, `SourceError` for a file that cannot be read, `RuntimeError` where the engine of the context does not
        stream.
        """
        engine = engine_of(fl_ctx)
        size = _checked_size(chunk_size)
        timeout = checked_timeout(chunk_timeout or CHUNK_TIMEOUT, "chunk_timeout")
        if stream_ctx is not None and not isinstance(stream_ctx, dict):
            raise ArgumentError(f"stream_ctx must be a dict, not {type(stream_ctx).__name__}")
        source = FileSource(checked_file(file_name))
        facts = {**(stream_ctx or {}), NAME_KEY: source.name, SIZE_KEY: source.size}
        chunks = FileProducer(source, size, timeout, packer_for("auto", 1, source.size))
        try:
            if isinstance(engine, CellStreamEngine):
                code = engine.push_stream(
                    channel, topic, facts, targets, chunks, fl_ctx,
                    timeout=timeout, total=source.size, optional=optional, secure=secure,
                )  # fmt: skip
                return code, code is ReturnCode.OK
            objects = FileObjectProducer(chunks, timeout)
            rc, result = engine.stream_objects(channel, topic, facts, targets, objects, fl_ctx, optional, secure)
        finally:
            chunks.close()
        return rc, rc == ReturnCode.OK and bool(result)

    @staticmethod
    def get_file_name(stream_ctx: StreamContext) -> Any:
        """What the owner calls the file: a base name, made safe to be used as one. For the `stream_done_cb`."""
        return stream_ctx.get(NAME_KEY)

    @staticmethod
    def get_file_location(stream_ctx: StreamContext) -> Any:
        """The full path of the received file; None unless `get_rc` is OK. For the `stream_done_cb`."""
        return stream_ctx.get(LOCATION_KEY)

    @staticmethod
    def get_file_size(stream_ctx: StreamContext) -> Any:
        """Bytes of the received file; what the owner announced while it is not whole. For the `stream_done_cb`."""
        return stream_ctx.get(SIZE_KEY)


def checked_folder(given: object, argument: str) -> Path:
    """`given` as an absolute path of a folder; where there is none, the system's for temporary files."""
    if given is not None and not isinstance(given, str | Path):
        raise ArgumentError(f"{argument} must be a path, not {type(given).__name__}")
    folder = Path(given) if given else Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise ArgumentError(f"{argument} {str(folder)!r} is not a folder; make it first")
    return folder.absolute()


def checked_file(given: object) -> Path:
    """`given` as the path of a file that is there."""
    if not isinstance(given, str | Path):
        raise ArgumentError(f"file_name must be a path, not {type(given).__name__}")
    if not Path(given).is_file():
        raise ArgumentError(f"file_name {str(given)!r} is not a file")
    return Path(given)


def checked_timeout(given: object, argument: str) -> float:
    """`given` as seconds above 0."""
    if isinstance(given, bool) or not isinstance(given, Real) or not float(given) > 0:
        raise ArgumentError(f"{argument} must be a number of seconds above 0, not {given!r}")
    return float(given)


def _checked_size(given: object) -> int:
    if not given and not isinstance(given, float):
        return CHUNK
    if type(given) is not int or given < 0:
        raise ArgumentError(f"chunk_size must be a whole number of bytes above 0, not {given!r}")
    return given


def engine_of(fl_ctx: FLContext) -> StreamableEngine:
    """The engine of a context. Raises `ArgumentError` for what is none, `RuntimeError` where it does not stream."""
    if not isinstance(fl_ctx, FLContext):
        raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
    engine = fl_ctx.get_engine()
    if not isinstance(engine, StreamableEngine):
        what = "no engine" if engine is None else f"a {type(engine).__name__}, which is no StreamableEngine"
        raise RuntimeError(f"this context has {what}; get contexts by engine.new_context() of one that streams")
    return engine


def _receiver(arrival: Arrival, folder: Path, done: Any, consumed: Any) -> FileReceiver:
    return FileReceiver(arrival, folder, done, consumed)
