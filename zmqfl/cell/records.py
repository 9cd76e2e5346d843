"""Payloads as one stream of bytes that is cut anywhere: how containers go entry by entry, and objects from memory.

    stream   record, record, ...
    record   count of frames (u32), length of each (u64), frame 0, frame 1, ...      little-endian
    frames   one payload, see `zmqfl.wire.payload`; as many frames as it has pieces

Neither side copies big frames: the sender's chunks are views of the value, and the receiver puts each frame together in
a buffer of its own, which becomes the array. Source: design, decisions 14 and 19.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from zmqfl.config import KIB
from zmqfl.errors import CellReturnCode, DecodeError, RequestFailed
from zmqfl.wire.messages import Buffer

MOST_FRAMES: Final = 1 << 20
"""Frames of one record."""
SMALL: Final = 64 * KIB
"""Bytes up to which pieces of a chunk are joined: a frame of a message costs more than that copy."""
PARTS: Final = 16
"""Bigger pieces of a chunk at most, and joined ones in between: a message has at most 62 frames."""
_COUNT: Final = struct.Struct("<I")
_LENGTH: Final = 8


class Piece(NamedTuple):
    """Bytes of a stream that lie together."""

    data: Buffer
    item: int
    """Bytes of one item of what they are; 1 where that means nothing."""


class Cut(NamedTuple):
    """A chunk of a stream."""

    bodies: tuple[Buffer, ...]
    size: int
    item: int
    """That of most of it."""
    is_last: bool


def record_of(frames: Sequence[Buffer], items: Sequence[int]) -> list[Piece]:
    """The pieces of one record; see `zmqfl.wire.payload.encode_pieces`."""
    lengths = [memoryview(frame).nbytes for frame in frames]
    head = struct.pack(f"<I{len(lengths)}Q", len(lengths), *lengths)
    return [Piece(head, 1), *map(Piece, frames, items)]


def cut(pieces: Iterable[Piece], chunk: int) -> Iterator[Cut]:
    """Cut a stream into chunks of `chunk` bytes; the last one, which may be empty, says that it is."""
    filling = _Filling(chunk)
    for data, item in pieces:
        view = memoryview(data)
        while len(view):
            if not filling.room:
                yield filling.take(is_last=False)
            view = filling.put(view, item)
    yield filling.take(is_last=True)


class _Filling:
    """The chunk that is filled just now."""

    def __init__(self, chunk: int) -> None:
        self.room = chunk
        self._chunk = chunk
        self._big = max(SMALL, chunk // PARTS)
        self._bodies: list[Buffer] = []
        self._joined = bytearray()
        self._items: dict[int, int] = {}

    def put(self, view: memoryview, item: int) -> memoryview:
        """Take as much as there is room for; returns the rest."""
        part, rest = view[: self.room], view[self.room :]
        if len(part) < self._big:
            self._joined += part
        else:
            self._close_joined()
            self._bodies.append(part)
        self.room -= len(part)
        self._items[item] = self._items.get(item, 0) + len(part)
        return rest

    def take(self, is_last: bool) -> Cut:
        """The chunk; a new one begins."""
        self._close_joined()
        item = max(self._items, key=self._items.__getitem__, default=1)
        taken = Cut(tuple(self._bodies), self._chunk - self.room, item, is_last)
        self.room, self._bodies, self._items = self._chunk, [], {}
        return taken

    def _close_joined(self) -> None:
        if self._joined:
            self._bodies.append(bytes(self._joined))
            self._joined = bytearray()


class RecordReader:
    """Puts records together again. `limit`: bytes of all of them, tables included."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._head = bytearray()
        self._lengths: Sequence[int] | None = None
        self._frames: list[memoryview] = []
        self._filled = 0

    def feed(self, data: Buffer) -> Iterator[list[memoryview]]:
        """The records that are whole with the bytes of `data`, each as the frames of its payload, which are the
        caller's.

        Nothing is allocated for more than `limit`. Raises `DecodeError` for what is no record, `RequestFailed` for what
        is too big.
        """
        view = memoryview(data)
        while len(view):
            view = self._read_head(view) if self._lengths is None else self._read_frame(view)
            if self._lengths is not None and len(self._frames) == len(self._lengths) and self._is_filled:
                frames, self._frames = self._frames, []
                self._lengths = None
                yield frames

    @property
    def is_between(self) -> bool:
        """Whether a stream may end here: no record has begun that is not whole."""
        return self._lengths is None and not self._head

    @property
    def _is_filled(self) -> bool:
        return bool(self._frames) and self._filled == len(self._frames[-1])

    def _read_head(self, view: memoryview) -> memoryview:
        if len(self._head) < _COUNT.size:
            view = self._read_into_head(view, _COUNT.size)
            if len(self._head) < _COUNT.size:
                return view
        (count,) = _COUNT.unpack_from(self._head)
        if not 0 < count <= MOST_FRAMES:
            raise DecodeError(f"record of {count} frames")
        whole = _COUNT.size + count * _LENGTH
        view = self._read_into_head(view, whole)
        if len(self._head) == whole:
            lengths = struct.unpack_from(f"<{count}Q", self._head, _COUNT.size)
            self._head.clear()
            self._check(whole, lengths)
            self._lengths = lengths
        return view

    def _read_into_head(self, view: memoryview, size: int) -> memoryview:
        part, rest = view[: size - len(self._head)], view[size - len(self._head) :]
        self._head += part
        return rest

    def _check(self, head: int, lengths: Sequence[int]) -> None:
        if 0 in lengths:
            raise DecodeError("record with a frame of 0 bytes")
        self._size += head + sum(lengths)
        if self._size > self._limit:
            text = f"{self._size} bytes so far are more than the {self._limit} of `object_limit` here"
            raise RequestFailed(text, code=CellReturnCode.MSG_TOO_BIG)

    def _read_frame(self, view: memoryview) -> memoryview:
        assert self._lengths is not None
        if not self._frames or self._is_filled:
            self._frames.append(_new_buffer(self._lengths[len(self._frames)]))
            self._filled = 0
        frame = self._frames[-1]
        part = view[: len(frame) - self._filled]
        frame[self._filled : self._filled + len(part)] = part
        self._filled += len(part)
        return view[len(part) :]


def _new_buffer(size: int) -> memoryview:
    """Writable memory, not touched yet: what was announced costs nothing before it is there."""
    try:
        import numpy as np  # only where something big arrives

        return np.empty(size, np.uint8).data
    except (MemoryError, ValueError) as error:
        raise DecodeError(f"frame of {size} bytes does not fit into the memory") from error
