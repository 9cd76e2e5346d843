"""Packets and headers survive the wire; bytes that are not what they claim are a `DecodeError` and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from typing import Any, get_type_hints

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.examples import MESSAGES, example
from zmqfl.errors import DecodeError
from zmqfl.wire.codec import (
    HOP,
    MAX_ROUTE,
    age,
    check_lengths,
    decode_header,
    decode_origin,
    decode_packet,
    encode_header,
    encode_hop,
    encode_packet,
    is_routed,
)
from zmqfl.wire.messages import (
    CLASSES,
    MAX_BODIES,
    MAX_HEADER,
    MAX_TARGETS,
    NO_DEADLINE,
    Beat,
    Kind,
    Message,
    Packet,
    Probe,
    Reply,
    Request,
)

STEADY = settings(derandomize=True, deadline=None)
"""The same examples in each run, however busy the machine is."""
U16, U32, U48, U64 = ((1 << bits) - 1 for bits in (16, 32, 48, 64))
PACKET = example(Kind.REQUEST)
HOP_FRAME, HEADER_FRAME, *BODY_FRAMES = (bytes(frame) for frame in encode_packet(PACKET))


def is_refused(decode: Callable[[], object]) -> bool:
    """Whether it raises `DecodeError`; whatever else it raises fails the test."""
    try:
        decode()
    except DecodeError:
        return True
    return False


def decode_all(frames: list[bytes]) -> None:
    """All that a reactor and a node read of a message."""
    packet = decode_packet(frames)
    if packet.kind in CLASSES:
        message = decode_header(packet.kind, packet.header)
        check_lengths(getattr(message, "lengths", [len(body) for body in packet.bodies]), packet.bodies)
    if is_routed(packet.kind):
        decode_origin(packet.header)


# ----------------------------------------------------------------------------------------------------------- round trip

NAMES = st.lists(st.from_regex(r"[A-Za-z0-9_~.-]{1,20}", fullmatch=True), max_size=5).map(tuple)
PACKETS = st.builds(
    Packet,
    kind=st.integers(0, 255),
    header=st.binary(max_size=100),
    bodies=st.lists(st.binary(max_size=20), max_size=MAX_BODIES).map(tuple),
    targets=NAMES,
    flags=st.integers(0, U16),
    lane=st.integers(0, 1),
    hops=st.integers(0, 255),
    session=st.integers(0, U64),
    remaining=st.integers(0, U32),
    route=NAMES,
    sequence=st.integers(0, U48),
)
WORDS = st.text(max_size=20)
COUNTS = st.integers(0, U64)
VALUES: dict[object, st.SearchStrategy[Any]] = {
    str: WORDS,
    int: COUNTS,
    list[int]: st.lists(COUNTS, max_size=5),
    list[str]: st.lists(WORDS, max_size=5),
    list[list[int]]: st.lists(st.lists(COUNTS, max_size=3), max_size=5),
    bytes: st.binary(max_size=50),
    dict[str, Any]: st.dictionaries(WORDS, st.none() | st.booleans() | COUNTS | WORDS | st.binary(), max_size=3),
}


@STEADY
@given(PACKETS)
def test_packets_round_trip(packet: Packet) -> None:
    assert decode_packet(encode_packet(packet)) == packet


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.__name__)
@settings(STEADY, max_examples=50)
@given(data=st.data())
def test_messages_round_trip(cls: type[Message], data: st.DataObject) -> None:
    hints = get_type_hints(cls)
    message = cls(**{f.name: data.draw(VALUES[hints[f.name]]) for f in fields(cls)})
    assert decode_header(cls.KIND, encode_header(message)) == message


def test_bodies_are_the_same_objects() -> None:
    body = bytearray(1000)
    assert encode_packet(replace(PACKET, bodies=(body,)))[2] is body
    assert decode_packet([HOP_FRAME, HEADER_FRAME, body]).bodies[0] is body


def test_frames_may_be_views() -> None:
    assert decode_packet([memoryview(HOP_FRAME), memoryview(HEADER_FRAME), *BODY_FRAMES]) == PACKET


def test_the_hop_header_is_as_the_docstring_says() -> None:
    assert HOP.size == 32
    hop = encode_hop(replace(PACKET, sequence=0x060504030201))
    assert hop[:4] == b"zF\x01\x10"
    assert hop[6:8] == bytes([PACKET.hops, PACKET.lane])
    assert hop[26:32] == b"\1\2\3\4\5\6"
    assert hop[32:] == b"server,relay-b.site-3" + b"relay-a.site-1"


def test_routed_kinds_are_those_from_16_on() -> None:
    assert [kind.name for kind in Kind if is_routed(kind)] == [kind.name for kind in Kind if kind >= 16]
    assert is_routed(255)


# ------------------------------------------------------------------------------------------------ other versions of us


@pytest.mark.parametrize("kind", Kind)
def test_fields_of_the_future_are_ignored(kind: Kind) -> None:
    values = msgpack.unpackb(encode_header(MESSAGES[kind]))
    assert decode_header(kind, msgpack.packb([*values, "new", 7, {"any": None}])) == MESSAGES[kind]


@pytest.mark.parametrize("kind", Kind)
def test_missing_fields_have_their_defaults(kind: Kind) -> None:
    cls, values = CLASSES[kind], msgpack.unpackb(encode_header(MESSAGES[kind]))
    required = [f for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    for length in range(len(required), len(values)):
        message = decode_header(kind, msgpack.packb(values[:length]))
        given = [getattr(message, f.name) for f in fields(cls)[:length]]
        assert given == values[:length]
        for f in fields(cls)[length:]:
            default = f.default if f.default_factory is MISSING else f.default_factory()
            assert getattr(message, f.name) == default
    for length in range(len(required)):
        with pytest.raises(DecodeError, match=f"has {length} fields; at least {len(required)}"):
            decode_header(kind, msgpack.packb(values[:length]))


def test_an_unknown_kind_has_a_readable_origin() -> None:
    header = msgpack.packb(["site-1", 5, 6, 7, "whatever"])
    assert decode_origin(header) == ("site-1", 5, 6, 7)
    with pytest.raises(DecodeError, match="unknown kind 99"):
        decode_header(99, header)


# -------------------------------------------------------------------------------------------------------- hostile bytes


@pytest.mark.parametrize("kind", Kind)
def test_truncated_frames_are_refused(kind: Kind) -> None:
    hop, header, *bodies = (bytes(frame) for frame in encode_packet(example(kind)))
    for i in range(len(hop)):
        assert is_refused(lambda i=i: decode_all([hop[:i], header, *bodies])), f"hop header of {i} bytes"  # type: ignore[misc]
    for i in range(len(header)):
        assert is_refused(lambda i=i: decode_all([hop, header[:i], *bodies])), f"header of {i} bytes"  # type: ignore[misc]
    for i in range(len(bodies)):
        cut = [*bodies[:i], bodies[i][:-1], *bodies[i + 1 :]]
        assert is_refused(lambda cut=cut: decode_all([hop, header, *cut])) or not bodies[i]  # type: ignore[misc]
    assert is_refused(lambda: decode_all([hop + b"\0", header, *bodies]))
    assert is_refused(lambda: decode_all([hop, header + b"\0", *bodies]))


@pytest.mark.parametrize("kind", Kind)
def test_flipped_bits_are_refused_or_mean_something_else(kind: Kind) -> None:
    frames = [bytearray(frame) for frame in encode_packet(example(kind))]
    before = [bytes(frame) for frame in frames]
    refused = 0
    for frame in frames[:2]:
        for bit in range(len(frame) * 8):
            frame[bit // 8] ^= 1 << bit % 8
            refused += is_refused(lambda: decode_all([bytes(frame) for frame in frames]))
            frame[bit // 8] ^= 1 << bit % 8
    assert [bytes(frame) for frame in frames] == before
    assert refused >= 24  # at least each bit of magic and version


@STEADY
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_frames_are_refused(frames: list[bytes]) -> None:
    assert is_refused(lambda: decode_all(frames))


@STEADY
@given(st.integers(0, 255), st.binary(max_size=200))
def test_random_headers_are_refused_or_read(kind: int, header: bytes) -> None:
    is_refused(lambda: decode_header(kind, header))
    is_refused(lambda: decode_origin(header))


def test_random_changes_of_real_messages(seed: int) -> None:
    chance = random.Random(seed)
    for kind in Kind:
        frames = [bytearray(frame) for frame in encode_packet(example(kind))]
        for _ in range(chance.randint(1, 4)):
            frame = frames[chance.randrange(2)]
            i = chance.randrange(len(frame) + 1)
            frame[i : i + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        is_refused(lambda: decode_all([bytes(frame) for frame in frames]))  # noqa: B023  used at once


def hop(**changes: Any) -> bytes:
    """The hop header of `PACKET` with other values in its struct; the names are unchanged."""
    names = (
        "magic",
        "major",
        "kind",
        "flags",
        "hops",
        "lane",
        "session",
        "remaining",
        "targets",
        "route",
        "low",
        "high",
    )
    values = dict(zip(names, HOP.unpack_from(HOP_FRAME), strict=True)) | changes
    return HOP.pack(*values.values()) + HOP_FRAME[HOP.size :]


BAD_HOPS = {
    "magic": (hop(magic=b"zG"), "not a zmqfl message"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", "not a zmqfl message"),
    "major version": (hop(major=2), "not a zmqfl message of version 1"),
    "empty": (b"", "hop header of 0 bytes"),
    "short": (HOP_FRAME[:31], "hop header of 31 bytes; at least 32"),
    "more targets": (hop(targets=22), "lies about its length"),
    "fewer targets": (hop(targets=20), "lies about its length"),
    "4 GiB of targets": (hop(targets=U32), "lies about its length"),
    "route": (hop(route=U16), "lies about its length"),
    "lane": (hop(lane=2), "no lane 2"),
    "not ASCII": (HOP_FRAME[:-1] + b"\xe4", "not ASCII"),
    "too many targets": (encode_hop(replace(PACKET, targets=("a",) * (MAX_TARGETS + 1))), "4097 names; at most 4096"),
    "a million targets": (encode_hop(replace(PACKET, targets=("a",) * 10**6)), "1000000 names; at most 4096"),
    "only commas": (encode_hop(replace(PACKET, targets=("",) * 10**6)), "1000000 names; at most 4096"),
    "long route": (encode_hop(replace(PACKET, route=("a",) * (MAX_ROUTE + 1))), "65 names; at most 64"),
}


@pytest.mark.parametrize("case", BAD_HOPS)
def test_bad_hop_headers(case: str) -> None:
    frame, problem = BAD_HOPS[case]
    with pytest.raises(DecodeError, match=problem):
        decode_packet([frame, HEADER_FRAME])


@pytest.mark.parametrize(("count", "good"), [(0, False), (1, False), (2, True), (66, True), (67, False)])
def test_a_message_has_a_header_and_at_most_64_bodies(count: int, good: bool) -> None:
    frames = [HOP_FRAME, HEADER_FRAME, *[b""] * MAX_BODIES, b""][:count]
    assert is_refused(lambda: decode_packet(frames)) is not good


def test_the_limits_themselves_are_good() -> None:
    full = replace(PACKET, targets=("a",) * MAX_TARGETS, route=("a",) * MAX_ROUTE, header=b"x" * MAX_HEADER)
    assert decode_packet(encode_packet(full)) == full
    with pytest.raises(DecodeError, match=f"at most {MAX_HEADER}"):
        decode_packet([HOP_FRAME, b"x" * (MAX_HEADER + 1)])


BAD_HEADERS = {
    "empty": b"",
    "not an array": msgpack.packb({"a": 1}),
    "a number": b"\x07",
    "trailing": msgpack.packb([1]) + b"\xc0",
    "four billion items": b"\xdd\xff\xff\xff\xff",
    "a string of 4 GiB": b"\x91\xdb\xff\xff\xff\xff",
    "never used": b"\xc1",
    "too deep": b"\x91" * 100_000 + b"\x01",
    "not UTF-8": b"\x91\xa1\xff",
    "a map with numbers as keys": b"\x91\x81\x01\x02",
    "a timestamp out of range": b"\x91\xc7\x0c\xff" + b"\xff" * 12,
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_headers(case: str) -> None:
    with pytest.raises(DecodeError):
        decode_header(Kind.BEAT, BAD_HEADERS[case])
    with pytest.raises(DecodeError):
        decode_origin(BAD_HEADERS[case])


@pytest.mark.parametrize("value", [-1, True, 1.0, None, "1", b"1", [1], msgpack.ExtType(5, b"1"), -(1 << 63)])
def test_a_count_is_a_whole_number_from_0(value: object) -> None:
    with pytest.raises(DecodeError, match=r"BEAT.number cannot be "):
        decode_header(Kind.BEAT, msgpack.packb([value]))
    with pytest.raises(DecodeError, match="begins with origin, fence, instance, id"):
        decode_origin(msgpack.packb(["site-1", 1, value, 3]))
    assert decode_header(Kind.BEAT, msgpack.packb([U64])) == Beat(U64)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Kind.HELLO, "fqcn", b"site-1"),
        (Kind.REQUEST, "still_open", [1, -1]),
        (Kind.REQUEST, "still_open", [1, True]),
        (Kind.REQUEST, "lengths", (1 << 63, "x")),
        (Kind.REQUEST, "headers", [1]),
        (Kind.REQUEST, "traceparent", None),
        (Kind.PROBED, "fates", [1]),
        (Kind.PROBED, "fates", [[1, -2]]),
        (Kind.RETURN, "targets", [b"server"]),
    ],
)
def test_a_field_of_the_wrong_type_is_named(kind: Kind, field: str, value: object) -> None:
    names = [f.name for f in fields(CLASSES[kind])]
    values = msgpack.unpackb(encode_header(MESSAGES[kind]))
    values[names.index(field)] = value
    with pytest.raises(DecodeError, match=f"{kind.name}.{field} cannot be "):
        decode_header(kind, msgpack.packb(values))


def test_an_error_does_not_repeat_what_a_stranger_sent() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_header(Kind.BEAT, msgpack.packb(["x" * 100_000]))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("origin", [[], ["site-1", 1, 2], [1, 1, 2, 3], [None] * 4])
def test_an_origin_is_a_name_and_three_counts(origin: list[object]) -> None:
    with pytest.raises(DecodeError, match="begins with origin, fence, instance, id"):
        decode_origin(msgpack.packb(origin))


@pytest.mark.parametrize("lengths", [[], [5], [0, 5], [5, 0, 0], [5, 1], [U64, 0]])
def test_bodies_must_have_the_lengths_of_the_header(lengths: list[int]) -> None:
    check_lengths([5, 0], BODY_FRAMES)
    with pytest.raises(DecodeError, match="lengths"):
        check_lengths(lengths, BODY_FRAMES)


# ------------------------------------------------------------------------------------------------------------------ age


@pytest.mark.parametrize(
    ("remaining", "held", "left"),
    [(1000, 0, 1000), (1000, -5, 1000), (1000, 300, 700), (1000, 1000, None), (1000, 5000, None), (0, 1, None)],
)
def test_time_in_a_queue_is_subtracted(remaining: int, held: int, left: int | None) -> None:
    aged = age(encode_hop(replace(PACKET, remaining=remaining)), held)
    assert aged == (None if left is None else encode_hop(replace(PACKET, remaining=left)))


def test_without_a_deadline_nothing_ages() -> None:
    hop = encode_hop(replace(PACKET, remaining=NO_DEADLINE))
    assert age(hop, 10**9) is hop


def test_mutable_defaults_are_not_shared() -> None:
    values = msgpack.unpackb(encode_header(MESSAGES[Kind.REQUEST]))[:13]
    first, second = (decode_header(Kind.REQUEST, msgpack.packb(values)) for _ in range(2))
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert first.headers == {}
    assert first.headers is not second.headers


def test_headers_and_bodies_may_be_empty() -> None:
    reply = Reply("a", 0, 0, 0, 0, "", "", 0, [])
    assert decode_header(Kind.REPLY, encode_header(reply)) == reply
    assert decode_header(Kind.PROBE, encode_header(Probe("", 0, 0, 0, []))) == Probe("", 0, 0, 0, [])
