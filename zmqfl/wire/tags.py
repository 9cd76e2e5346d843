"""The marks of the payload format, and its limits.

A value that msgpack has no type for travels as a msgpack array `[mark, argument, ...]`; the mark is an extension
object with the tag's number and no data. User values cannot contain a mark (`msgpack.ExtType` is refused), so a
user's list is never mistaken for one. `zmqfl.wire.payload` lists the arguments of each tag.
"""

from __future__ import annotations

from enum import Enum

from msgpack import ExtType

MAX_DEPTH = 100
"""Levels of nesting. Both sides recurse once per level, far from Python's own limit of 1000 frames."""
MAX_NUMBER_BYTES = 1 << 20
"""Bytes of one int or the text of one Decimal: room for any cryptosystem, too little to stall a receiver."""


class Tag(Enum):
    """What a marked array stands for. The numbers are part of the wire format: never reuse one."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    DICT = 4
    INT = 5
    COMPLEX = 6
    BYTEARRAY = 7
    DECIMAL = 8
    UUID = 9
    POSIX_PATH = 10
    PURE_POSIX_PATH = 11
    PURE_WINDOWS_PATH = 12
    DATETIME = 13
    DATE = 14
    TIME = 15
    TIMEDELTA = 16
    ENUM = 17
    DATACLASS = 18
    ARRAY = 19
    NUMPY_SCALAR = 20
    NUMPY_STR = 21
    NUMPY_BYTES = 22
    RAW_BYTES = 23
    RAW_BYTEARRAY = 24


MARKS = {tag: ExtType(tag.value, b"") for tag in Tag}
"""What stands for a tag in front of an array, ready to be packed."""
_TAGS = {tag.value: tag for tag in Tag}


def tag_of(code: int, data: bytes) -> Tag:
    """The tag of a received extension object; raises `Refusal` for any other (msgpack's `ext_hook`)."""
    if data or code not in _TAGS:
        raise Refusal(f"unknown extension type {code} with {len(data)} bytes")
    return _TAGS[code]


class Refusal(Exception):
    """Why a value or its bytes are refused. It becomes an `EncodeError` or `DecodeError` in `zmqfl.wire.payload`."""


ATOMS = frozenset({type(None), bool, int, float, str})
"""Types that stand for themselves wherever they are. (bytes do not: long ones leave the tree.)"""
TEXT = frozenset({str})
"""Types of the keys of a dict that can be a msgpack map: no key of msgpack-numpy (bytes), none that needs a mark."""


def is_flat(value: object) -> bool:
    """Whether this is a dict that is its own tree: all keys str, all values atoms."""
    return type(value) is dict and TEXT.issuperset(map(type, value)) and ATOMS.issuperset(map(type, value.values()))


def place_of(path: list[object]) -> str:
    """A path of keys and indices as text, for example `payload['w'][3]`."""
    steps = [_step(key) for key in path]
    if len(steps) > 12:
        steps[6:-6] = ["..."]
    return f"payload{''.join(steps)}"


def _step(key: object) -> str:
    # Neither the repr of a user's class, which may raise, nor the whole of a long key.
    if type(key) is str or type(key) is bytes:
        return f"[{key[:40]!r}{'...' if len(key) > 40 else ''}]"
    if key is None or type(key) in (bool, float) or (type(key) is int and key.bit_length() <= 64):
        return f"[{key!r}]"
    return f"[<{type(key).__name__}>]"
