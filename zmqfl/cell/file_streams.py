"""Files as streams: the producer that a push reads from, and the consumer that writes what comes in.

A chunk is the raw bytes, packed where that is worth it, and their digest; the last one says that it is. The consumer
writes `.part`, checks each digest, and renames when all targets have all: it has looked before that it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from zmqfl.blobs.sink import FileSink
from zmqfl.blobs.source import Source
from zmqfl.cell.packing import DIGEST, digest_of, received_bodies, sent_chunk
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.errors import CellReturnCode, InvalidRequest, SinkError
from zmqfl.protocol.commands import Outcome
from zmqfl.wire.chunk_codec import MOST_BYTES, ChunkPacker
from zmqfl.wire.codecs import RAW

NAME_KEY: Final = "__file_name__"
SIZE_KEY: Final = "__file_size__"
LOCATION_KEY: Final = "__file_location__"
"""Where the context of the stream holds what is known of the file."""
OK: Final = CellReturnCode.OK


class FileProducer:
    """Chunks of `chunk_size` bytes of a source, read once each. Without `packer` they go as they are."""

    looks_ahead = True
    judges = False
    is_quick = True

    def __init__(self, source: Source, chunk_size: int, timeout: float, packer: ChunkPacker | None = None) -> None:
        self.source = source
        self._packer = packer
        self._chunk = chunk_size
        self._timeout = timeout
        self._offset = 0
        self._done = False

    def produce(self) -> Chunk | None:
        """The next chunk; an empty file is one empty chunk. Raises `SourceError` when the source is not what it was."""
        if self._done:
            return None
        length = min(self._chunk, self.source.size - self._offset)
        data = self.source.read(self._offset, length)
        self._offset += length
        self._done = self._offset >= self.source.size
        if not self._done:
            self.source.prefetch(self._offset, self._chunk)
        bodies = (data,) if length else ()
        headers: dict[str, Any] = {DIGEST: digest_of(bodies)}
        if self._done:
            headers["last"] = 1
        return sent_chunk(headers, RAW, bodies, 1, self._timeout, self._packer)

    def settle(self, replies: Mapping[str, Outcome]) -> Any:
        """Never called: a target that does not take a chunk fails the push by itself."""
        return None

    def close(self) -> None:
        """Close the source."""
        self.source.close()


class FileConsumer:
    """Writes a stream into `folder`. The file is named by `name` when it is whole.

    `chunk_taken(index, size)`: told after each chunk, in the worker; what it raises fails the push. `ended(path, code,
    reason, culprit)`: told once at the end; what it returns goes back to the owner.
    """

    def __init__(
        self,
        incoming: Incoming,
        folder: Path,
        name: str,
        on_exists: Any = "keep",
        chunk_taken: Callable[[int, int], object] | None = None,
        ended: Callable[[Path | None, CellReturnCode, str, str], Outcome] | None = None,
    ) -> None:
        self.incoming = incoming
        self.is_quick = chunk_taken is None
        size = incoming.context.get(SIZE_KEY)
        self._sink = FileSink(folder, name, size if type(size) is int else None, on_exists)
        self._sink.open()
        self._chunk_taken = chunk_taken
        self._ended = ended
        self._offset = 0
        self._index = 0

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Check and write. Raises `InvalidRequest`, `SinkError`."""
        if chunk.codec != RAW:
            raise InvalidRequest(f"{self.incoming.topic} takes files, and this is no chunk of one")
        most = MOST_BYTES if self._sink.size is None else self._sink.size - self._offset
        bodies = received_bodies(chunk, self._index, most)
        data = bodies[0] if len(bodies) == 1 else b"".join(bodies)
        self._sink.write(self._offset, data)
        self._offset += len(data)
        self._index += 1
        if self._chunk_taken is not None:
            self._chunk_taken(self._index - 1, len(data))
        if chunk.headers.get("last"):
            self._sink.check_ready()  # from here on the others rely on it that this one can be renamed
            return False, Outcome(OK)
        return True, Outcome(OK)

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Rename, or remove."""
        path = None
        failure: SinkError | None = None
        if code is OK:
            try:
                path = Path(self._sink.commit())
            except SinkError as error:
                failure, code, reason = error, CellReturnCode.PROCESS_EXCEPTION, str(error)
        if path is None:
            self._sink.discard()
        answer = self._ended(path, code, reason, culprit) if self._ended is not None else Outcome(OK)
        return answer if failure is None else Outcome(code, reason)


def unique_name() -> str:
    """A name for a received file that nobody else has (FLARE names received files so)."""
    return str(uuid4())
