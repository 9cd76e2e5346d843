"""Payloads whose big pieces are elsewhere: where they are, and the tree that mentions them.

    body 0   a payload: list of places, list of runs
    body 1   frame 0 of the value, as of `zmqfl.wire.payload`
    place    owner, reference id, bytes           of an object that holds pieces, see `zmqfl.cell.references`
    run      number of a place, first piece, count

The pieces of the value, in the order in which its tree mentions them, are those of the runs, one after the other. A
receiver puts them back (`Table.frames`, then `zmqfl.wire.payload`), or passes the value through: then each piece is a
`LargeObjectRef`, and a value with those in it becomes such bodies again (`encode_apart`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgpack import unpackb

from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire import payload
from zmqfl.wire.claims import CHECKED_BYTES, check_claims
from zmqfl.wire.lifting import Lifting, map_of
from zmqfl.wire.lowering import Lowering
from zmqfl.wire.messages import Buffer
from zmqfl.wire.tags import MARKS, Refusal, Tag, tag_of

MOST_PLACES: Final = 64
"""Places of one payload."""
MOST_PIECES: Final = 1 << 20
"""Pieces of one payload."""


@dataclass(frozen=True, slots=True)
class Place:
    """An object that holds pieces of payloads, at the cell `owner`; `size`: its bytes, of all pieces and its table."""

    owner: str
    rid: str
    size: int


@dataclass(frozen=True, slots=True)
class LargeObjectRef:
    """In a payload that is passed through: it stands for an array or bytes that another cell still holds.

    Send it on, in any payload and as often as you like; what it stands for cannot be looked at here.
    """

    place: Place
    index: int
    """Which piece of that place."""
    nbytes: int
    mention: tuple[Any, ...]
    """How the tree of a payload mentions it: a tag and its arguments."""

    @property
    def owner(self) -> str:
        """The cell that holds it."""
        return self.place.owner


@dataclass(frozen=True, slots=True)
class Table:
    """Where the pieces of one payload are."""

    places: tuple[Place, ...]
    runs: tuple[tuple[int, int, int], ...]

    def encode(self) -> bytes | memoryview:
        """Body 0."""
        places = [[place.owner, place.rid, place.size] for place in self.places]
        return payload.encode([places, [list(run) for run in self.runs]])[0]

    def frames(self, held: Sequence[Sequence[Buffer]]) -> list[Buffer]:
        """The pieces in their order, of those of each place. Raises `DecodeError` for a piece that is not there.

        One that is mentioned again is copied: two arrays must not share memory.
        """
        used: set[tuple[int, int]] = set()
        frames: list[Buffer] = []
        for number, first, count in self.runs:
            if first + count > len(held[number]):
                raise DecodeError(f"piece {first + count - 1} is mentioned where there are {len(held[number])}")
            for index in range(first, first + count):
                piece = held[number][index]
                frames.append(bytearray(piece) if (number, index) in used else piece)
                used.add((number, index))
        return frames

    def pieces(self) -> Iterator[tuple[Place, int]]:
        """Where each piece is, in their order."""
        for number, first, count in self.runs:
            for index in range(first, first + count):
                yield self.places[number], index


def decode_table(body: Buffer) -> Table:
    """Body 0. Raises `DecodeError`."""
    try:
        places, runs = payload.decode([body])
        table = Table(tuple(Place(*place) for place in places), tuple((n, first, count) for n, first, count in runs))
    except (TypeError, ValueError) as error:
        raise DecodeError(f"table of references: {error}") from error
    good = all(
        type(place.owner) is str and type(place.rid) is str and type(place.size) is int and place.size > 0
        for place in table.places
    )
    pieces = 0
    for run in table.runs:
        number, first, count = run
        good = good and set(map(type, run)) == {int} and 0 <= number < len(table.places) and first >= 0 and count > 0
        pieces += count if good else 0
    if not good or not 0 < len(table.places) <= MOST_PLACES or pieces > MOST_PIECES:
        raise DecodeError("the table of references is none")
    return table


def table_of(pieces: Iterable[tuple[Place, int]]) -> Table:
    """The table for pieces, given as (place, index) in their order. Raises `EncodeError` for too many places."""
    numbers: dict[Place, int] = {}
    runs: list[tuple[int, int, int]] = []
    for place, index in pieces:
        number = numbers.setdefault(place, len(numbers))
        if runs and runs[-1][0] == number and runs[-1][1] + runs[-1][2] == index:
            runs[-1] = (number, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((number, index, 1))
    if len(numbers) > MOST_PLACES:
        raise EncodeError(f"payload with pieces of {len(numbers)} objects of others, at most {MOST_PLACES}")
    return Table(tuple(numbers), tuple(runs))


@dataclass(frozen=True, slots=True)
class Apart:
    """A value with `LargeObjectRef` in it, taken apart: `refs` by their number among the pieces, in whose place they
    are; `pieces` and `items` are the others', as of `payload.encode_pieces`."""

    tree: bytes
    pieces: list[bytes | memoryview]
    items: list[int]
    refs: dict[int, LargeObjectRef]

    def table(self, own: Place | None) -> Table:
        """Where all pieces are, those of this value being at `own`."""
        mine = iter(range(len(self.pieces)))
        numbers = range(len(self.pieces) + len(self.refs))
        return table_of(self._where(number, own, mine) for number in numbers)

    def _where(self, number: int, own: Place | None, mine: Iterator[int]) -> tuple[Place, int]:
        if (ref := self.refs.get(number)) is not None:
            return ref.place, ref.index
        assert own is not None
        return own, next(mine)


def encode_apart(value: object) -> Apart | None:
    """Take a value apart; None when there is no `LargeObjectRef` in it. Raises `EncodeError` as `payload.encode`."""
    path: list[object] = []
    lowering = _ApartLowering(path)
    try:
        tree = payload.pack(lowering.lower(value))
    except Exception as error:
        if not lowering.refs:
            return None
        raise EncodeError(payload.problem_at(path, error)) from error
    numbers = [number for number in range(len(lowering.pieces)) if number not in lowering.refs]
    pieces, items = ([each[number] for number in numbers] for each in (lowering.pieces, lowering.items))
    return Apart(tree, pieces, items, lowering.refs) if lowering.refs else None  # type: ignore[arg-type]


def place_refs(tree: Buffer, table: Table) -> Any:
    """The value of body 1, with a `LargeObjectRef` for each of its pieces. Raises `DecodeError`."""
    path: list[object] = []
    try:
        if len(tree) > CHECKED_BYTES:
            check_claims(tree)
        lowered = unpackb(
            tree, object_pairs_hook=map_of, ext_hook=tag_of, strict_map_key=False, unicode_errors="surrogatepass"
        )
        lifting = _RefLifting(path, tree, table)
        value = lifting.lift(lowered)
        lifting.finish()
        return value
    except Exception as error:
        raise DecodeError(payload.problem_at(path, error)) from error


class _ApartLowering(Lowering):
    """Mentions what a `LargeObjectRef` stands for where it is."""

    def __init__(self, path: list[object]) -> None:
        super().__init__(path)
        self.refs: dict[int, LargeObjectRef] = {}

    def _lower_uncommon(self, value: Any, kind: type) -> object:
        if kind is not LargeObjectRef:
            return super()._lower_uncommon(value, kind)
        self.refs[len(self.pieces)] = value
        self.pieces.append(b"")
        self.items.append(1)
        tag, *arguments = value.mention
        return [MARKS[tag], *arguments]


class _RefLifting(Lifting):
    """Makes a `LargeObjectRef` wherever a piece is mentioned."""

    def __init__(self, path: list[object], tree: Buffer, table: Table) -> None:
        super().__init__(path, [tree])
        self._places = table.pieces()

    def _lift_marked(self, tag: Tag, arguments: list[Any]) -> Any:
        match tag, arguments:
            case ((Tag.RAW_BYTES | Tag.RAW_BYTEARRAY), [int(size)]) if size > 0:
                return self._ref(size, tag, arguments)
            case Tag.ARRAY, [dtype, shape, _, None]:
                from zmqfl.wire import arrays

                return self._ref(arrays.byte_count(arrays.lift_dtype(dtype), shape), tag, arguments)
        return super()._lift_marked(tag, arguments)

    def _ref(self, size: int, tag: Tag, arguments: list[Any]) -> LargeObjectRef:
        if (found := next(self._places, None)) is None:
            raise Refusal("the table of references does not tell where this is")
        return LargeObjectRef(*found, size, (tag, *arguments))

    def finish(self) -> None:
        """Raises `Refusal` unless every piece was mentioned."""
        if next(self._places, None) is not None:
            raise Refusal("the table of references tells of pieces that nothing mentions")
