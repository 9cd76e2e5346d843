"""Packets and headers to frames, and back. Bodies pass through untouched: not copied, not inspected.

Frame 1, the hop header, is a fixed struct of 32 bytes, little-endian, and two lists of names, joined by commas:

    offset  size  field
    0       2     magic "zF"
    2       1     major version, 1
    3       1     kind
    4       2     flags
    6       1     hops left
    7       1     lane
    8       8     link session
    16      4     remaining, ms (0xffffffff: no deadline)
    20      4     bytes of the target list
    24      2     bytes of the route list
    26      6     sequence number on this lane of this session, from 1; 0 for messages between neighbours

`decode_*` raise `DecodeError` and nothing else, whatever the bytes: the reactor drops such a message and counts it.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar, cast, get_type_hints

import msgpack

from zmqfl.errors import DecodeError
from zmqfl.wire.messages import (
    CLASSES,
    FIRST_ROUTED,
    MAX_BODIES,
    MAX_HEADER,
    MAX_TARGETS,
    NO_DEADLINE,
    Buffer,
    Message,
    Packet,
)

MAGIC: Final = b"zF"
MAJOR: Final = 1
HOP: Final = struct.Struct("<2sBBHBBQIIHIH")
_REMAINING: Final = struct.Struct("<I")
_REMAINING_AT: Final = 16
MAX_ROUTE: Final = 64
M = TypeVar("M", bound=Message)


def encode_packet(packet: Packet) -> list[Buffer]:
    """The frames of a packet; the bodies are the same objects."""
    return [encode_hop(packet), packet.header, *packet.bodies]


def encode_hop(packet: Packet) -> bytes:
    """Frame 1 alone."""
    targets = ",".join(packet.targets).encode()
    route = ",".join(packet.route).encode()
    fixed = HOP.pack(
        MAGIC, MAJOR, packet.kind, packet.flags, packet.hops, packet.lane,
        packet.session, packet.remaining, len(targets), len(route), packet.sequence & 0xFFFFFFFF, packet.sequence >> 32,
    )  # fmt: skip
    return fixed + targets + route


def decode_packet(frames: Sequence[Buffer]) -> Packet:
    """The packet in these frames. Frame 2 stays bytes: a relay need not read all of it."""
    if not 2 <= len(frames) <= MAX_BODIES + 2:
        raise DecodeError(f"{len(frames)} frames; a message has 2 to {MAX_BODIES + 2}")
    hop, header = frames[0], frames[1]
    if len(header) > MAX_HEADER:
        raise DecodeError(f"header of {len(header)} bytes; at most {MAX_HEADER}")
    if len(hop) < HOP.size:
        raise DecodeError(f"hop header of {len(hop)} bytes; at least {HOP.size}")
    magic, major, kind, flags, hops, lane, session, remaining, targets_len, route_len, low, high = HOP.unpack_from(hop)
    if magic != MAGIC or major != MAJOR:
        raise DecodeError(f"not a zmqfl message of version {MAJOR}")
    middle = HOP.size + targets_len
    if middle + route_len != len(hop):
        raise DecodeError("hop header lies about its length")
    names = bytes(hop[HOP.size :])
    targets = _names(names[:targets_len], MAX_TARGETS) if targets_len else ()
    route = _names(names[targets_len:], MAX_ROUTE) if route_len else ()
    if lane > 1:
        raise DecodeError(f"no lane {lane}")
    return Packet(
        kind, bytes(header), tuple(frames[2:]), targets, flags, lane, hops, session, remaining, route, high << 32 | low
    )


def age(hop: bytes, held: int) -> bytes | None:
    """Frame 1 after `held` ms in a queue: `remaining` is less by as much; None when it is worthless by now."""
    (remaining,) = _REMAINING.unpack_from(hop, _REMAINING_AT)
    if remaining == NO_DEADLINE or held <= 0:
        return hop
    if held >= remaining:
        return None
    return hop[:_REMAINING_AT] + _REMAINING.pack(remaining - held) + hop[_REMAINING_AT + 4 :]


def encode_header(message: Message) -> bytes:
    """Frame 2: the fields of the message as a msgpack array."""
    return cast(bytes, msgpack.packb(_VALUES[message.KIND](message)))


def decode_header(kind: int, header: bytes) -> Message:
    """The message in frame 2. Raises `DecodeError` for an unknown kind, a missing field or one of the wrong type."""
    shape = _SHAPES.get(kind)
    if shape is None:
        raise DecodeError(f"unknown kind {kind}")
    values = _unpack(header)
    if len(values) < shape.required:
        raise DecodeError(f"{shape.name} has {len(values)} fields; at least {shape.required}")
    return shape.make(values)


def decode_origin(header: bytes) -> tuple[str, int, int, int]:
    """(origin, fence, instance, id) of a routed message, of a kind that need not be known here."""
    values = _unpack(header)
    if len(values) < 4:
        raise DecodeError("a routed header begins with origin, fence, instance, id")
    origin, fence, instance, number = values[:4]
    if type(origin) is not str or not all(_is_count(value) for value in (fence, instance, number)):
        raise DecodeError("a routed header begins with origin, fence, instance, id")
    return origin, fence, instance, number


def check_lengths(lengths: Sequence[int], bodies: Sequence[Buffer]) -> None:
    """Raise `DecodeError` unless the bodies are as long as the header says."""
    if list(lengths) != [len(body) for body in bodies]:
        raise DecodeError("bodies do not have the lengths that the header gives")


def _names(joined: bytes, most: int) -> tuple[str, ...]:
    if (commas := joined.count(b",")) >= most:
        raise DecodeError(f"{commas + 1} names; at most {most}")
    try:
        return tuple(joined.decode("ascii").split(","))
    except UnicodeDecodeError:
        raise DecodeError("a cell name is not ASCII") from None


def _unpack(header: bytes) -> list[Any]:
    try:
        values = msgpack.unpackb(header, strict_map_key=True)
    except Exception as error:  # noqa: BLE001  msgpack raises six types, UnicodeDecodeError and RecursionError among them
        raise DecodeError(f"header is not msgpack: {error}") from None
    if type(values) is not list:
        raise DecodeError("header is not an array")
    return values


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_counts(value: object) -> bool:
    return type(value) is list and all(type(item) is int and item >= 0 for item in value)


_CHECKS: Final[dict[str, Callable[[object], bool]]] = {
    "str": lambda value: type(value) is str,
    "int": _is_count,
    "bytes": lambda value: type(value) is bytes,
    "list[int]": _is_counts,
    "list[str]": lambda value: type(value) is list and all(type(item) is str for item in value),
    "list[list[int]]": lambda value: type(value) is list and all(_is_counts(item) for item in value),
    "dict[str, typing.Any]": lambda value: type(value) is dict and all(type(key) is str for key in value),
}


class _Shape:
    """How many fields a class needs, and of which types."""

    def __init__(self, cls: type[Message]) -> None:
        hints = get_type_hints(cls)
        self.name = cls.__name__.upper()
        self.names = [f.name for f in fields(cls)]
        self.required = sum(f.default is f.default_factory for f in fields(cls))  # both are MISSING
        self.checks = [_CHECKS[_spell(hints[name])] for name in self.names]
        self.cls = cls

    def make(self, values: list[Any]) -> Message:
        del values[len(self.names) :]
        for name, check, value in zip(self.names, self.checks, values, strict=False):
            if not check(value):
                raise DecodeError(f"{self.name}.{name} cannot be {value!r:.60}")
        return self.cls(*values)


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__args__") else str(hint)


def _values_of(cls: type[Message]) -> Callable[[Message], object]:
    names = [f.name for f in fields(cls)]
    if len(names) < 2:  # attrgetter of one name gives no tuple
        return lambda message: [getattr(message, name) for name in names]
    return operator.attrgetter(*names)


_SHAPES: Final = {int(kind): _Shape(cls) for kind, cls in CLASSES.items()}
_VALUES: Final = {int(kind): _values_of(cls) for kind, cls in CLASSES.items()}


def is_routed(kind: int) -> bool:
    """Whether messages of this kind go by their targets; others are between two neighbours."""
    return kind >= FIRST_ROUTED
