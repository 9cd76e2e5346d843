"""Containers as streams: the producer that a push reads entry by entry, and the consumer that builds one again.

    context      the type and its size                                      see `zmqfl.cell.containers`
    chunk        the next bytes of the stream of entries, and their digest  see `zmqfl.cell.records`
    last chunk   says that it is, and how many entries there were

Any other payload value goes as a stream of one entry. The owner needs a few chunks more than the value itself, the
target the value and a few chunks, however big an entry is.
Source: seed 001; design, decisions 8 and 19.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from zmqfl.cell.containers import SIZE_KEY, TYPE_KEY, Building, encode_group, facts_of, groups_of
from zmqfl.cell.packing import DIGEST, digest_of, received_bodies, sent_chunk
from zmqfl.cell.records import Cut, Piece, RecordReader, cut, record_of
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.errors import CellReturnCode, DecodeError, InvalidRequest, SourceChangedError
from zmqfl.protocol.commands import Outcome
from zmqfl.wire import payload
from zmqfl.wire.chunk_codec import ChunkPacker
from zmqfl.wire.codecs import RECORDS

LAST, COUNT = "last", "n"
"""Headers of the last chunk."""
OK: Final = CellReturnCode.OK


class ContainerProducer:
    """The chunks of a container, or of any other payload value, of `chunk` bytes each.

    Big arrays and bytes are read from the caller's memory when their turn comes. After `fix`, what is not what it was
    then is an error; without, the caller leaves the value alone until the end.
    """

    looks_ahead = True
    judges = False
    is_quick = True

    def __init__(self, value: Any, chunk: int, timeout: float | None = None, packer: ChunkPacker | None = None) -> None:
        self.facts: Final = facts_of(value)
        self.packer = packer
        """What packs its chunks, where that is worth it."""
        self.error: BaseException | None = None
        """What made it fail."""
        self._value = value
        self._chunk = chunk
        self._timeout = timeout
        self._kept: list[Piece] | None = None
        self._digests: list[bytes] | None = None
        self._cuts: Iterator[Cut] | None = None
        self._index = 0
        self._done = False

    def fix(self, copy: bool = False) -> int:
        """Remember what the value is now: with `copy` a snapshot of it, else the digests of its chunks. Returns its
        bytes.

        Raises `EncodeError` naming the entry that cannot travel.
        """
        if copy:
            self._kept = [Piece(bytes(piece.data), piece.item) for piece in self._pieces()]
            self._value = None
            return sum(len(piece.data) for piece in self._kept)
        size = 0
        self._digests = []
        for part in cut(self._pieces(), self._chunk):
            self._digests.append(digest_of(part.bodies))
            size += part.size
        return size

    def produce(self) -> Chunk | None:
        """The next chunk; an empty container is one empty chunk.

        Raises `EncodeError` for an entry that cannot travel, `SourceChangedError` for a value that was changed.
        """
        try:
            return self._produce()
        except BaseException as error:
            self.error = error
            raise

    def settle(self, replies: Mapping[str, Outcome]) -> Any:
        """Never called: a target that does not take a chunk fails the push by itself."""
        return None

    def close(self) -> None:
        """Let go of the value."""
        self._done = True
        self._value = self._kept = self._cuts = None

    def _pieces(self) -> Iterable[Piece]:
        return _pieces_of(self._value) if self._kept is None else self._kept

    def _produce(self) -> Chunk | None:
        if self._done:
            return None
        if self._cuts is None:
            self._cuts = cut(self._pieces(), self._chunk)
        part = next(self._cuts)
        bodies = part.bodies
        if self._digests is not None and part.size:
            bodies = (b"".join(bodies),)  # what was checked is what is sent: a view could change in between
        checked = digest_of(bodies)
        if self._digests is not None and self._digests[self._index : self._index + 1] != [checked]:
            remedy = "leave it alone until the push has ended, or send a copy"
            raise SourceChangedError("was changed while it was sent", file=str(self.facts[TYPE_KEY]), remedy=remedy)
        self._index += 1
        headers: dict[str, Any] = {DIGEST: checked}
        if part.is_last:
            self._done = True
            headers |= {LAST: 1, COUNT: self.facts[SIZE_KEY]}
        return sent_chunk(headers, RECORDS, bodies, part.item, self._timeout, self.packer)


def _pieces_of(value: Any) -> Iterator[Piece]:
    for group, done in groups_of(value):
        yield from record_of(*encode_group(value, group, done))


class ContainerConsumer:
    """Builds what such a stream holds, in memory of its own: big arrays are views of the buffers that they came into.

    `limit`: bytes of all entries. `values`: whether it may be no container. `chunk_taken(index, bytes)`: told after
    each chunk, in the worker; what it raises fails the push. `ended(value, code, reason, culprit)`: told once at the
    end, with None for the value unless the code is OK; what it returns goes back to the owner.
    Raises `InvalidRequest` for a type that is not in the table.
    """

    def __init__(
        self,
        incoming: Incoming,
        limit: int,
        *,
        values: bool = False,
        chunk_taken: Callable[[int, int], object] | None = None,
        ended: Callable[[Any, CellReturnCode, str, str], Outcome] | None = None,
    ) -> None:
        self.is_quick = chunk_taken is None
        self._topic = incoming.topic
        self._limit = limit
        self._chunk_taken = chunk_taken
        self._ended = ended
        self._reader = RecordReader(limit)
        self._index = 0
        self._value: Any = None
        self._building: Building | None = None
        try:
            self._building = Building(incoming.context, values)
        except DecodeError as error:
            raise InvalidRequest(str(error)) from error

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Check a chunk, and take the entries that are whole with it. Raises `RequestFailed`."""
        if chunk.codec != RECORDS or self._building is None:
            raise InvalidRequest(f"{self._topic} takes containers and objects, and this is no chunk of one")
        bodies = received_bodies(chunk, self._index, self._limit)
        try:
            self._take(bodies, self._building)
            is_last = bool(chunk.headers.get(LAST))
            if is_last:
                self._finish(chunk.headers.get(COUNT), self._building)
        except DecodeError as error:
            raise InvalidRequest(f"chunk {self._index}: {error}") from error
        self._index += 1
        if self._chunk_taken is not None:
            self._chunk_taken(self._index - 1, sum(map(len, bodies)))
        return not is_last, Outcome(OK)

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Hand it over, or forget it."""
        value, self._value, self._building = self._value, None, None
        self._reader = RecordReader(0)
        if self._ended is None:
            return Outcome(OK)
        return self._ended(value if code is OK else None, code, reason, culprit)

    def _take(self, bodies: Iterable[Any], building: Building) -> None:
        for body in bodies:
            for frames in self._reader.feed(body):
                building.add(payload.decode(frames, adopt=True, most=len(frames)))

    def _finish(self, count: object, building: Building) -> None:
        if not self._reader.is_between:
            raise DecodeError("the last chunk ends within an entry")
        self._value = building.finish(count)
        self._building = None
