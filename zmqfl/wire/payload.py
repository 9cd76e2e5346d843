"""Payloads: a Python value as frames, and back; what goes in comes out equal and of the same type.

Types: None, bool, int, float, complex, str (with lone surrogates too), bytes, bytearray, list, tuple, dict with any
hashable of these as keys, set, frozenset, datetime, date, time, timedelta, Decimal, UUID, paths, registered enums and
dataclasses, numpy arrays and scalars without objects. What would come out as another type is refused: subclasses
(OrderedDict, namedtuple, IntEnum, memmap), memoryview, named time zones. Two places that share one object get a copy
each.

**Frame 0** is one msgpack object. None, bool, 64-bit ints, floats, str, bytes, lists, and dicts whose keys are all str
are themselves; anything else is an array that starts with a mark (`zmqfl.wire.tags`):

    TUPLE | SET | FROZENSET, item, ...          DICT, key, value, key, value, ...
    INT, two's complement big-endian            BYTEARRAY, bytes
    COMPLEX, real, imag                         DECIMAL, text              UUID, 16 bytes
    POSIX_PATH | PURE_POSIX_PATH | PURE_WINDOWS_PATH, text
    DATETIME | TIME, ISO text, fold, zone name  DATE, ISO text             TIMEDELTA, days, seconds, microseconds
    ENUM, name, member                          DATACLASS, name, field, value, field, value, ...
    ARRAY, dtype, shape, order, bytes or nil    NUMPY_SCALAR, dtype, bytes
    NUMPY_STR, text                             NUMPY_BYTES, bytes
    RAW_BYTES | RAW_BYTEARRAY, length

**Raw frames.** An array of 8 KiB or more has nil for its bytes, and long bytes are RAW_*: their bytes follow in frames
1, 2, ..., in the order in which frame 0 mentions them. One frame holds one or more whole pieces, and every byte is
used exactly once; so there is no index that a peer could forge or use twice. In a message there are at most 62 frames:
when a value has more pieces, the last frame holds all that remain, one after the other. Where a value is no message
(`encode_pieces`) each piece has a frame of its own.

**msgpack-numpy.** Small numeric arrays in C order are written in msgpack-numpy's own form, a map with the key `b"nd"`,
and every map with that key (or `b"complex"`) is read as that form, behind the guard of `zmqfl.wire.arrays`. A user's
dict with such a key is safe, because a dict with any key but str is never written as a map: it goes as DICT.

**Limits** hold on both sides: `MAX_DEPTH` levels, `MAX_NUMBER_BYTES` for one number, `MAX_DIMENSIONS`, `MAX_FRAMES`.

Copies: `encode` one (none for long `bytes`, none with `copy=False`); `decode` one, out of the frame into memory of the
value's own (none for big arrays with `adopt=True`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgpack import packb, unpackb

from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire.claims import CHECKED_BYTES, check_claims
from zmqfl.wire.lifting import Buffer, Lifting, map_of
from zmqfl.wire.lowering import Lowering
from zmqfl.wire.registry import register_dataclass, register_enum
from zmqfl.wire.scalars import lower_int
from zmqfl.wire.tags import Refusal, is_flat, place_of, tag_of

__all__ = ["Buffer", "decode", "encode", "encode_pieces", "message_frames", "register_dataclass", "register_enum"]

MAX_FRAMES = 62
"""Frames of one payload: what a message may have (64), less its two headers."""


def encode(value: object, copy: bool = True) -> list[bytes | memoryview]:
    """`value` as 1 to 62 frames, the first of them msgpack.

    With `copy` the frames are the sender's own: changing an array afterwards does not change them. Without, frames of
    big arrays are views of the caller's memory. Raises `EncodeError` naming the type and its place, for example
    `payload['w'][3]`.
    """
    path: list[object] = []
    try:
        if is_flat(value):  # the fast path for small requests
            return [pack(value)]
        lowering = Lowering(path)
        body = pack(lowering.lower(value))
        return message_frames([body, *lowering.pieces], copy)
    except Refusal as refusal:
        raise EncodeError(problem_at(path, refusal)) from refusal.__cause__
    except Exception as error:
        raise EncodeError(problem_at(path, error)) from error


def encode_pieces(value: object) -> tuple[list[bytes | memoryview], list[int]]:
    """`value` as any number of frames, none of them joined or copied, and the bytes of one item of each.

    For streams and objects in memory, which have more room than a message; `decode` them with `most`. Raises as
    `encode` does.
    """
    path: list[object] = []
    try:
        if is_flat(value):  # the fast path for small requests
            return [pack(value)], [1]
        lowering = Lowering(path)
        body = pack(lowering.lower(value))
        return [body, *lowering.pieces], [1, *lowering.items]
    except Refusal as refusal:
        raise EncodeError(problem_at(path, refusal)) from refusal.__cause__
    except Exception as error:
        raise EncodeError(problem_at(path, error)) from error


def message_frames(pieces: list[bytes | memoryview], copy: bool = True) -> list[bytes | memoryview]:
    """What `encode_pieces` gave as the frames of a message, `copy` as of `encode`."""
    return [pieces[0], *_frames_of(pieces[1:], copy)]


def decode(frames: Sequence[Buffer], adopt: bool = False, most: int = MAX_FRAMES) -> Any:
    """The value in `frames`; its arrays are writable and own their memory, nothing in it refers to `frames`.

    With `adopt` big arrays are writable views of `frames` instead, without a copy: give frames that nobody else reads
    or writes from then on (a bytearray, or a memoryview of one or of a numpy array). Each array keeps the whole frame
    alive in which it lies. What cannot be a view is copied: bytes, small arrays, all in a read-only frame, and an
    array that does not lie at a multiple of its dtype's alignment. `most`: frames that are accepted.
    Raises `DecodeError`, and nothing else, for anything that `encode` (or msgpack-numpy) would not have written.
    """
    path: list[object] = []
    try:
        if not 1 <= len(frames) <= most:
            raise Refusal(f"{len(frames)} frames, not 1 to {most}")
        body = frames[0]
        if len(body) > CHECKED_BYTES:
            check_claims(body)
        tree = unpackb(
            body,
            object_pairs_hook=map_of,
            ext_hook=tag_of,
            strict_map_key=False,
            unicode_errors="surrogatepass",
        )
        if len(frames) == 1 and is_flat(tree):  # the fast path for small requests
            return tree
        lifting = Lifting(path, frames, adopt)
        value = lifting.lift(tree)
        lifting.finish()
        return value
    except Refusal as refusal:
        raise DecodeError(problem_at(path, refusal)) from refusal.__cause__
    except Exception as error:
        raise DecodeError(problem_at(path, error)) from error


def problem_at(path: list[object], error: Exception) -> str:
    """What is wrong with a value, and where in it."""
    reason = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
    # Some errors quote what they were given, and a peer can give a lot.
    return f"{place_of(path)}: {reason[:300]}"


def pack(tree: object) -> bytes:
    """Frame 0 of a tree that `Lowering` made."""
    try:
        body: bytes = packb(tree, default=lower_int)
    except UnicodeEncodeError:  # a lone surrogate; not asked for at once because it makes each str slower
        body = packb(tree, default=lower_int, unicode_errors="surrogatepass")
    return body


def _frames_of(pieces: list[bytes | memoryview], copy: bool) -> list[bytes | memoryview]:
    if len(pieces) < MAX_FRAMES:
        return [bytes(piece) for piece in pieces] if copy else pieces
    alone = MAX_FRAMES - 2
    return [*_frames_of(pieces[:alone], copy), b"".join(pieces[alone:])]
