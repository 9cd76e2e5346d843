"""Items of channels, and the batches in which they travel: many items of many channels in one message.

In the headers of the message, all else is in its bodies:

    x   [place, writer, first, lengths]   a run: items `first`, `first` + 1, ... of one writer for one place
    k   [place, decimated, dropped]       what the buffer of a reader has left out until now
    z   [place, reason]                   nothing more will come for this place: why
    w   place                             its writer waits to hear that all this is taken

A place is the number of a reader or writer, given by the cell that it is of. A writer is CELL/PLACE, "" where that is
the sender and the place of the run. A length is that of an item with one frame and codec 1, or [codec, length, ...]
with one for each frame. The bodies are all frames, one behind the other; small ones share a body, a long one has its
own, so that it need not be copied. Nobody on the way looks into a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.buffer import ITEM_COST
from zmqfl.wire.codecs import PAYLOAD_CODEC
from zmqfl.wire.messages import Buffer
from zmqfl.wire.record import record

LONG = 32 * 1024
"""Bytes from which a frame has a body of its own."""
MOST_ITEMS = 1024
MOST_FRAMES = 62
MAX_REASON = 1024


class Item(NamedTuple):
    """One item: the `number`-th of `writer` (CELL/PLACE), as frames that nobody opens on the way."""

    writer: str
    number: int
    codec: int
    frames: tuple[Buffer, ...]
    size: int
    """Bytes that it counts: those of its frames, and `ITEM_COST`."""


@record
class Part:
    """What a batch holds for one place."""

    place: int
    items: list[Item]
    counts: tuple[int, int] | None = None
    """Decimated and dropped until now."""
    end: str | None = None
    """Why nothing more will come; None: more may."""
    waits: bool = False
    """Its writer waits to hear that this is taken."""


def item_of(writer: str, number: int, codec: int, frames: Sequence[Buffer]) -> Item:
    """An item of these frames."""
    return Item(writer, number, codec, tuple(frames), sum(map(len, frames)) + ITEM_COST)


def writer_of(cell: str, place: int) -> str:
    """A writer by its cell and place there: a cell may have several."""
    return f"{cell}/{place}"


def cell_of(writer: str) -> str:
    """The cell of a writer."""
    return writer.partition("/")[0]


def encode_batch(parts: Sequence[Part], me: str) -> tuple[dict[str, Any], tuple[Buffer, ...]]:
    """Headers and bodies of a batch that cell `me` sends."""
    runs: list[list[Any]] = []
    counts = [[part.place, *part.counts] for part in parts if part.counts is not None]
    ends = [[part.place, part.end] for part in parts if part.end is not None]
    bodies = _Bodies()
    for part in parts:
        writer, expected, mine = None, 0, writer_of(me, part.place)
        lengths: list[Any] = []
        for name, number, codec, frames, _ in part.items:
            if number != expected or name != writer:
                writer, lengths = name, []
                runs.append([part.place, "" if name == mine else name, number, lengths])
            expected = number + 1
            if len(frames) == 1 and codec == PAYLOAD_CODEC:
                lengths.append(len(frames[0]))
                bodies.put(frames[0])
            else:
                lengths.append([codec, *map(len, frames)])
                for frame in frames:
                    bodies.put(frame)
    headers: dict[str, Any] = {"x": runs}
    if counts:
        headers["k"] = counts
    if ends:
        headers["z"] = ends
    if waits := [part.place for part in parts if part.waits]:
        headers["w"] = waits
    return headers, bodies.end()


def decode_batch(headers: dict[str, Any], bodies: Sequence[Buffer], origin: str) -> list[Part]:
    """The parts of a batch that came from `origin`. Raises `DecodeError` for what `encode_batch` would not write."""
    items: dict[int, list[Item]] = {}
    cut = _Cut(bodies)
    for run in _rows(headers, "x", 4):
        place, writer, first, lengths = run
        if not (_is_number(place) and isinstance(writer, str) and _is_number(first) and isinstance(lengths, list)):
            raise DecodeError("a run of a batch is not [place, writer, first, lengths]")
        kept = items.setdefault(place, [])
        name = writer or writer_of(origin, place)
        for number, length in enumerate(lengths, first):
            if type(length) is int:
                frame = cut.next(length)
                kept.append(Item(name, number, PAYLOAD_CODEC, (frame,), length + ITEM_COST))
            else:
                codec, *rest = _frame_lengths(length)
                kept.append(item_of(name, number, codec, [cut.next(each) for each in rest]))
    cut.finish()
    counts = {place: (decimated, dropped) for place, decimated, dropped in _numbers(headers, "k", 3)}
    ends = {place: str(reason)[:MAX_REASON] for place, reason in _rows(headers, "z", 2) if _is_number(place)}
    waits = headers.get("w", [])
    if not isinstance(waits, list) or not all(map(_is_number, waits)):
        raise DecodeError("'w' of a batch is no list of places")
    places = dict.fromkeys([*items, *counts, *ends, *waits])
    return [Part(place, items.get(place, []), counts.get(place), ends.get(place), place in waits) for place in places]


class _Bodies:
    """Frames on their way into bodies."""

    def __init__(self) -> None:
        self._bodies: list[Buffer] = []
        self._short: list[Buffer] = []

    def put(self, frame: Buffer) -> None:
        if len(frame) < LONG:
            self._short.append(frame)
            return
        self._join()
        self._bodies.append(frame)

    def end(self) -> tuple[Buffer, ...]:
        self._join()
        return tuple(self._bodies)

    def _join(self) -> None:
        joined = b"".join(self._short)
        self._short = []
        if joined:
            self._bodies.append(joined)


class _Cut:
    """Bodies as frames again. A frame that is a whole body is not copied; from a shared body it is, or one small item
    that stays would keep all that came with it."""

    def __init__(self, bodies: Sequence[Buffer]) -> None:
        self._bodies = bodies
        self._index = self._at = 0

    def next(self, length: int) -> Buffer:
        if length < 0:
            raise DecodeError(f"a frame of {length} bytes")
        if not length:
            return b""
        body = self._bodies[self._index] if self._index < len(self._bodies) else b""
        end = self._at + length
        if end > len(body):
            raise DecodeError("a batch claims more than its bodies hold")
        frame = body if length == len(body) else bytes(body[self._at : end])
        if end == len(body):
            self._index, self._at = self._index + 1, 0
        else:
            self._at = end
        return frame

    def finish(self) -> None:
        if self._index != len(self._bodies):
            raise DecodeError("a batch claims less than its bodies hold")


def _rows(headers: dict[str, Any], key: str, width: int) -> Iterator[list[Any]]:
    rows = headers.get(key, [])
    if not isinstance(rows, list):
        raise DecodeError(f"{key!r} of a batch is no list")
    for row in rows:
        if not isinstance(row, list) or len(row) != width:
            raise DecodeError(f"a row of {key!r} of a batch has not {width} fields")
        yield row


def _numbers(headers: dict[str, Any], key: str, width: int) -> Iterator[list[int]]:
    for row in _rows(headers, key, width):
        if not all(map(_is_number, row)):
            raise DecodeError(f"a row of {key!r} of a batch has a field that is no number")
        yield row


def _frame_lengths(length: object) -> list[int]:
    if not isinstance(length, list) or not 2 <= len(length) <= MOST_FRAMES + 1 or not all(map(_is_number, length)):
        raise DecodeError("an item of a batch has not [codec, length, ...]")
    return length


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0
