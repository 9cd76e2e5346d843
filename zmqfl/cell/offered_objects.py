"""Objects that others pull: served from the owner's memory, put together in one buffer of the receiver's.

    object   mark (8 bytes), then records as in `zmqfl.cell.records`; mark, tables and frames each begin at a multiple
             of 64 bytes
    records  what it is (see `zmqfl.cell.containers`), then its entries

Chunks come in any order, so there is one buffer; big arrays are views of it, and each keeps all of it alive.
Source: design, decisions 8, 14 and 20.
"""

from __future__ import annotations

import struct
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

from zmqfl.blobs.buffer_sink import BufferSink
from zmqfl.cell.containers import Building, encode_group, facts_of, groups_of
from zmqfl.cell.packing import digest_of
from zmqfl.cell.records import MOST_FRAMES, Piece, cut, record_of
from zmqfl.errors import ArgumentError, DecodeError, SourceChangedError, SourceError
from zmqfl.wire import payload

MARK: Final = b"zmqfl ob"
ALIGN: Final = 64
"""Bytes: what the fastest loads of today's processors like, and a multiple of what any dtype needs."""


def object_pieces(value: Any) -> Iterator[Piece]:
    """The bytes of an offered object, as pieces.

    Raises `EncodeError` naming the entry that cannot travel, `SourceChangedError`.
    """
    yield from aligned([Piece(MARK, 1)])
    yield from aligned(record_of(*payload.encode_pieces(facts_of(value))))
    for group, done in groups_of(value):
        yield from aligned(record_of(*encode_group(value, group, done)))


def aligned(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Pieces with zeros in between, so that each begins at a multiple of `ALIGN` bytes."""
    for piece in pieces:
        yield piece
        if rest := -len(piece.data) % ALIGN:
            yield Piece(bytes(rest), 1)


class ObjectSource:
    """The bytes of an object as a source; see `zmqfl.blobs.source`. `made_of`: its pieces, as of `object_pieces`.

    They are read at once for the digests of chunks of `chunk` bytes: a chunk that is not what it was then is an error.
    With `copy` there is a snapshot instead. Raises what making the pieces raises.
    """

    def __init__(self, name: str, made_of: Iterable[Piece], chunk: int, copy: bool = False) -> None:
        self.name: Final = name
        self.fingerprint: Final = uuid.uuid4().hex  # what is in memory does not outlive this source
        pieces = list(made_of)
        if copy:
            pieces = [Piece(bytes(piece.data), piece.item) for piece in pieces]
        self._chunk = chunk
        self._digests = [digest_of(part.bodies) for part in cut(pieces, chunk)]
        self._ends = list(accumulate(len(piece.data) for piece in pieces))
        self.size: Final = self._ends[-1]
        weights: Counter[int] = Counter()
        for piece in pieces:
            weights[piece.item] += len(piece.data)
        self.item: Final = max(weights, key=weights.__getitem__)
        """Bytes of one item of most of it."""
        self._pieces: list[Piece] | None = pieces

    def read(self, offset: int, length: int) -> bytes:
        """A copy of `length` bytes from `offset` on, fewer only at the end: a view could change after the check.

        Raises `SourceChangedError`, `SourceError` after `close`, `ArgumentError` for what is not on the grid.
        """
        if (pieces := self._pieces) is None:
            raise SourceError("is closed", file=self.name, remedy="offer it again")
        if not length:
            return b""
        if offset % self._chunk or not 0 <= offset < self.size or length > self._chunk:
            raise ArgumentError(f"{length} bytes at {offset} are no chunk of {self.name}")
        data = b"".join(self._parts(pieces, offset, min(offset + length, self.size)))
        if digest_of((data,)) != self._digests[offset // self._chunk]:
            remedy = "offer it again and leave it alone meanwhile, or offer it with copy=True"
            raise SourceChangedError("was changed since it was offered", file=self.name, remedy=remedy)
        return data

    def prefetch(self, offset: int, length: int) -> None:
        """Do nothing: the bytes are in memory."""

    def close(self) -> None:
        """Let go of the value. Again: does nothing."""
        self._pieces = None

    def _parts(self, pieces: list[Piece], offset: int, end: int) -> Iterator[memoryview]:
        index = bisect_right(self._ends, offset)
        while offset < end:
            begin = self._ends[index] - len(pieces[index].data)
            stop = min(end, self._ends[index])
            yield memoryview(pieces[index].data)[offset - begin : stop - begin]
            offset, index = stop, index + 1

    def __repr__(self) -> str:
        return f"<ObjectSource {self.name}, {self.size} bytes>"


class ObjectSink(BufferSink):
    """A buffer whose `commit` gives the object. It raises `DecodeError` for what is none."""

    def commit(self) -> Any:
        """The object; its big arrays are views of the buffer."""
        return object_in(super().commit())


def object_in(buffer: bytearray) -> Any:
    """The object whose bytes these are; it owns them from now on. Raises `DecodeError`."""
    view = memoryview(buffer)
    if bytes(view[: len(MARK)]) != MARK:
        raise DecodeError("what was pulled is no object: pull it into a folder, or with pull")
    records = records_in(view)
    facts = payload.decode(next(records, [memoryview(b"")]))
    if not isinstance(facts, dict):
        raise DecodeError("the object does not say what it is")
    building = Building(facts, values=True)
    for frames in records:
        building.add(payload.decode(frames, adopt=True, most=len(frames)))
    return building.finish(building.size)


def records_in(view: memoryview) -> Iterator[list[memoryview]]:
    """The frames of each record behind the mark of an object, as views. Raises `DecodeError`."""
    offset = ALIGN
    while offset < len(view):
        if len(view) < offset + 4:
            raise DecodeError("the object ends within a record")
        (count,) = struct.unpack_from("<I", view, offset)
        head = 4 + 8 * count
        if not 0 < count <= MOST_FRAMES or len(view) < offset + head:
            raise DecodeError(f"record of {count} frames")
        lengths = struct.unpack_from(f"<{count}Q", view, offset + 4)
        offset += head + -head % ALIGN
        frames = []
        for length in lengths:
            if length > len(view) - offset or not length:
                raise DecodeError(f"frame of {length} bytes in an object of {len(view)}")
            frames.append(view[offset : offset + length])
            offset += length + -length % ALIGN
        yield frames
