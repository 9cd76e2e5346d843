"""Files as streams of objects, for engines that know no cells: the same bytes and checks, in Shareables.

A chunk's Shareable holds its bytes; its header "chunk" is that of the raw one (see `zmqfl.cell.file_streams`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zmqfl.cell.file_streams import FileConsumer, FileProducer, unique_name
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.errors import CellReturnCode, InvalidRequest, SinkError
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, ObjectProducer, StreamContext, StreamContextKey
from zmqfl.streaming.file_receiver import make_safe, note_end
from zmqfl.wire.codecs import RAW

DATA: Final = "Streamer.data"
CHUNK: Final = "chunk"


class FileObjectProducer(ObjectProducer):
    """Chunks of a file as Shareables."""

    def __init__(self, chunks: FileProducer, timeout: float) -> None:
        self._chunks = chunks
        self._timeout = timeout
        self._is_done = False

    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable | None, float]:
        """The next chunk."""
        chunk = self._chunks.produce()
        if chunk is None:
            return None, self._timeout
        self._is_done = "last" in chunk.headers
        shareable = Shareable({DATA: b"".join(map(bytes, chunk.bodies))})
        shareable.set_header(CHUNK, chunk.headers)
        return shareable, self._timeout

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        """Go on while all receivers say OK."""
        if not replies or any(reply.get_return_code() != ReturnCode.OK for reply in replies.values()):
            return False
        return True if self._is_done else None


class FileObjectConsumer(ObjectConsumer):
    """Writes such chunks into a folder."""

    def __init__(self, stream_ctx: StreamContext, origin: str, folder: Path) -> None:
        topic = str(stream_ctx.get(StreamContextKey.TOPIC))
        incoming = Incoming(origin, str(stream_ctx.get(StreamContextKey.CHANNEL)), topic, dict(stream_ctx))
        make_safe(stream_ctx)
        self._path: Path | None = None
        self._file = FileConsumer(incoming, folder, unique_name(), ended=self._ended)

    def consume(self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[bool, Shareable]:
        """Check and write a chunk."""
        data, headers = shareable.get(DATA), shareable.get_header(CHUNK)
        if not isinstance(data, bytes) or not isinstance(headers, dict):
            raise InvalidRequest("this is no chunk of a file")
        go, _ = self._file.consume(Chunk(headers, RAW, (data,)))
        return go, make_reply(ReturnCode.OK)

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        """Name the file or remove it. Raises `SinkError`."""
        ok = stream_ctx.get(StreamContextKey.RC) == ReturnCode.OK
        outcome = self._file.close(CellReturnCode.OK if ok else CellReturnCode.ABORT_RUN, "", "")
        note_end(stream_ctx, self._path)
        if outcome.code is not CellReturnCode.OK:
            raise SinkError(outcome.error, file=str(stream_ctx.get(StreamContextKey.TOPIC)))

    def _ended(self, path: Path | None, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        self._path = path
        return Outcome(CellReturnCode.OK)


class FileObjectFactory(ConsumerFactory):
    """Makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        """A consumer for one file."""
        return FileObjectConsumer(stream_ctx, str(fl_ctx.get_prop(FLContextKey.PEER_FQCN, "")), self._folder)
