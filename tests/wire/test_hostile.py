"""Bytes that no honest sender makes: each gives a DecodeError, at once and without allocating on the peer's word."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType, packb

from tests.wire.values import bounded, values
from zmqfl.errors import DecodeError
from zmqfl.wire.payload import MAX_FRAMES, decode, encode, register_dataclass
from zmqfl.wire.tags import MARKS, MAX_DEPTH, MAX_NUMBER_BYTES, Tag


@register_dataclass
@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise KeyError("refused by the class itself")


def marked(tag: Tag, *arguments: object) -> bytes:
    body: bytes = packb([MARKS[tag], *arguments])
    return body


def array(dtype: object = "<f8", shape: object = (2,), order: object = "C", data: object = bytes(16)) -> bytes:
    return marked(Tag.ARRAY, dtype, shape, order, data)


def fields(*names: str, itemsize: object = 8, aligned: object = False, inner: object = "<i4") -> bytes:
    tree = [itemsize, aligned, *([name, None, 4 * i, inner, []] for i, name in enumerate(names))]
    return array(tree, [2])


def nested_dtype(levels: int) -> bytes:
    dtype: object = "<f8"
    for _ in range(levels):
        dtype = [8, False, ["a", None, 0, dtype, []]]
    return array(dtype)


def nested_descr(levels: int) -> object:
    descr: object = "<f8"
    for _ in range(levels):
        descr = [["a", descr]]
    return descr


def msgpack_numpy(**changes: object) -> bytes:
    form = {"nd": True, "type": "<f8", "kind": b"", "shape": [2], "data": bytes(16)} | changes
    body: bytes = packb({key.encode(): value for key, value in form.items() if value is not None})
    return body


PICKLE = b"cbuiltins\nexec\n(S'import sys; sys.pwned = True'\ntR."
LONG = MAX_NUMBER_BYTES + 1
WRONG: list[list[Any]] = [[], [None], [[]], [{}] * 2, [1.5] * 4, [None] * 5, [1] * 12]

BODIES: dict[str, bytes] = {
    "empty": b"",
    "never used byte": b"\xc1",
    "trailing bytes": b"\x01\x01",
    "truncated": packb({"a": [1, 2, 3]})[:-1],
    "invalid utf-8": b"\xa1\xff",
    "overlong utf-8": b"\xa2\xc0\x80",
    "arrays of a few that each claim the rest": b"\xdc\x03\xff" * 340 + b"\xc0",
    "array of 4 G items": b"\xdd\xff\xff\xff\xff",
    "map of 4 G items": b"\xdf\xff\xff\xff\xff",
    "str of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "bin of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "ext of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "arrays that each claim the rest": b"\xdd\x00\x00\xff\xff" * 1000 + b"\xc0" * 0xFFFF,
    "maps that each claim the rest": b"\xdf\x00\x00\x7f\xff" * 1000 + b"\xc0" * 0xFFFF,
    "lists too deep": b"\x91" * (MAX_DEPTH + 1) + b"\xc0",
    "lists deeper than C can": b"\x91" * 5000 + b"\xc0",
    "maps too deep": b"\x81\xa1a" * (MAX_DEPTH + 1) + b"\xc0",
    "maps deeper than C can": b"\x81\xa1a" * 5000 + b"\xc0",
    "tuples too deep": b"\x92\xc7\x00\x01" * (MAX_DEPTH + 1) + b"\xc0",
    "keys too deep": b"\x93\xc7\x00\x04" * (MAX_DEPTH + 1) + b"\xc0" * (MAX_DEPTH + 2),
    "unknown ext": packb(ExtType(99, b"")),
    "mark with data": packb([ExtType(1, b"x"), 1]),
    "ext inside ext": packb(ExtType(1, packb(ExtType(1, b"")))),
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "timestamp as key": b"\x81\xd6\xff\x00\x00\x00\x00\x01",
    "timestamp of 3 bytes": packb(ExtType(5, b"abc")).replace(b"\x05", b"\xff"),
    "mark alone": packb(MARKS[Tag.TUPLE]),
    "mark in second place": packb([1, MARKS[Tag.TUPLE]]),
    "mark after a mark": marked(Tag.TUPLE, MARKS[Tag.TUPLE]),
    "mark as key": packb({"a": {MARKS[Tag.TUPLE]: 1}}),
    "mark as value": packb({"a": MARKS[Tag.TUPLE]}),
    "key twice": b"\x82\xa1a\x01\xa1a\x02",
    "equal keys": b"\x82\x01\x01\xc3\x02",
    "key twice, marked": marked(Tag.DICT, 1, 2, 1, 3),
    "equal keys, marked": marked(Tag.DICT, 1, 2, [MARKS[Tag.INT], b"\x01"], 3),
    "key without value": marked(Tag.DICT, 1),
    "list as key": b"\x81\x90\x01",
    "list as key, marked": marked(Tag.DICT, [], 1),
    "dict in a set": marked(Tag.SET, {}),
    "array in a set": marked(Tag.SET, [MARKS[Tag.ARRAY], "<f8", [2], "C", bytes(16)]),
    "item twice in a set": marked(Tag.SET, 1, 1.0),
    "int too long": marked(Tag.INT, bytes(LONG)),
    "decimal too long": marked(Tag.DECIMAL, "1" * LONG),
    "decimal beyond all exponents": marked(Tag.DECIMAL, "1E+9999999999999999999"),
    "decimal in another form": marked(Tag.DECIMAL, "1_0"),
    "decimal in other digits": marked(Tag.DECIMAL, "\u0661"),
    "decimal from an int": marked(Tag.DECIMAL, 1),
    "complex from text": marked(Tag.COMPLEX, "1", "2"),
    "uuid of 15 bytes": marked(Tag.UUID, bytes(15)),
    "path in another form": marked(Tag.PURE_POSIX_PATH, "a//b"),
    "year 10000": marked(Tag.DATETIME, "10000-01-01T00:00:00", 0, ""),
    "month 13": marked(Tag.DATETIME, "2024-13-01T00:00:00", 0, ""),
    "date by weeks": marked(Tag.DATE, "2024-W01-1"),
    "fold 2": marked(Tag.DATETIME, "2024-01-01T00:00:00", 2, ""),
    "fold True": marked(Tag.TIME, "00:00:00", True, ""),
    "zone of 24 hours": marked(Tag.TIME, "00:00:00+24:00", 0, ""),
    "timedelta too long": marked(Tag.TIMEDELTA, 10**9, 0, 0),
    "timedelta of bools": marked(Tag.TIMEDELTA, True, False, False),
    "enum not registered": marked(Tag.ENUM, "os.system", "x"),
    "enum by number": marked(Tag.ENUM, 1, "x"),
    "enum without that member": marked(Tag.ENUM, "Colour", "GREEN"),
    "enum by attribute": marked(Tag.ENUM, "Colour", "__class__"),
    "enum by value": marked(Tag.ENUM, "test.Level", 1),
    "enum that is a dataclass": marked(Tag.ENUM, "Point", "x"),
    "flag without that bit": marked(Tag.ENUM, "Access", 64),
    "flag by name": marked(Tag.ENUM, "Access", "READ"),
    "flag True": marked(Tag.ENUM, "Access", True),
    "dataclass not registered": marked(Tag.DATACLASS, "subprocess.Popen", "args", "x"),
    "dataclass that is an enum": marked(Tag.DATACLASS, "Colour"),
    "dataclass without a field": marked(Tag.DATACLASS, "Point", "x", 1),
    "dataclass with a field more": marked(Tag.DATACLASS, "Point", "x", 1, "y", 2, "z", 3),
    "dataclass with another field": marked(Tag.DATACLASS, "Point", "x", 1, "__class__", 2),
    "dataclass with a field twice": marked(Tag.DATACLASS, "Point", "x", 1, "x", 2),
    "dataclass with half a field": marked(Tag.DATACLASS, "Point", "x", 1, "y"),
    "dataclass that refuses": marked(Tag.DATACLASS, "Positive", "number", -1),
    "numpy str of bytes": marked(Tag.NUMPY_STR, b"x"),
    "numpy bytes of str": marked(Tag.NUMPY_BYTES, "x"),
    "scalar of objects": marked(Tag.NUMPY_SCALAR, "|O", bytes(8)),
    "scalar too short": marked(Tag.NUMPY_SCALAR, "<f8", bytes(7)),
    "scalar of text": marked(Tag.NUMPY_SCALAR, "<f8", "x" * 8),
    "array too short": array(data=bytes(15)),
    "array too long": array(data=bytes(17)),
    "array of text": array(data="x" * 16),
    "array of a list": array(data=[0] * 16),
    "array with a negative size": array(shape=[-2]),
    "array with two negative sizes": array(shape=[-1, -2]),
    "array with size True": array(shape=[2, True]),
    "array with size 2.0": array(shape=[2.0]),
    "array with one size": array(shape=2),
    "array with overflowing sizes": array(shape=[2**32, 2**32, 2], data=b""),
    "array with overflowing sizes and 0": array(shape=[2**62, 2**62, 0], data=b""),
    "array with sizes beyond 64 bits": array(shape=[2**64 - 1, 2**64 - 1], data=b""),
    "array with 33 dimensions": array(shape=[1] * 32 + [2]),
    "array with 100000 dimensions": array(shape=[1] * 100_000),
    "array in order K": array(order="K"),
    "array in no order": array(order=None),
    "array with code points beyond Unicode": array("<U4", [1], data=b"\xff" * 16),
    "array with fields beyond Unicode": array([16, False, ["a", None, 8, ">U1", [2]]], [1], data=b"\xff" * 16),
    **{
        f"dtype {dtype!r}": array(dtype, [0], data=b"")
        for dtype in (
            *(
                "|O",
                "O",
                "O8",
                "object",
                "<O8",
                "|O8",
                "V0",
                "|V0",
                "S0",
                "|S0",
                "<U0",
                "f8",
                "=f8",
                "<f7",
                "|i8",
                "<i1",
            ),
            *(
                "float64",
                "f8,i4",
                "(2,)f8",
                "2f8",
                "(2,)O",
                "f8, O",
                "T",
                "StringDType",
                "<c1",
                "<f999999999",
                "<?1",
                "",
            ),
            *("<U999999999", "|V2147483648", "|V999999999999", "M8[1000000000Y]", "<M8[1000000000Y]", "<M8[0s]"),
            *(
                "<M8[D/7]",
                "<M8[]",
                "<M8[xx]",
                "<M8[s]\n",
                "<m8[generic]",
                "<M4[s]",
                "int64",
                "ulong",
                "bfloat17",
                "finfo",
            ),
            *(None, 1, b"<f8", {"names": ["a"], "formats": ["O"]}, ["<f8", [2]]),
        )
    },
    "fields of objects": fields("a", "b", inner="|O"),
    "fields of arrays of objects": array([8, False, ["a", None, 0, [8, False, ["b", None, 0, "|O", []]], []]]),
    "no fields, nothing": array([], [0], data=b""),
    "no bytes": array([0, False], [2**40], data=b""),
    "fields with one name": fields("a", "a"),
    "fields without names": fields("", ""),
    "fields named by number": array([8, False, [1, None, 0, "<f8", []]]),
    "field beyond the item": fields("a", "b", itemsize=6),
    "field at a negative offset": array([8, False, ["a", None, -8, "<f8", []]]),
    "field at a huge offset": array([8, False, ["a", None, 2**40, "<f8", []]]),
    "field at True": array([16, False, ["a", None, True, "<f8", []]], [1]),
    "field with a huge shape": array([8, False, ["a", None, 0, "<f8", [2**31, 2**31]]]),
    "field of nothing, often": array([8, False, ["a", None, 0, "<f8", [2**28, 0]]]),
    "array of nothing, often": array(shape=[2**40, 0], data=b""),
    "msgpack-numpy: nothing, often": msgpack_numpy(shape=[2**40, 0], data=b""),
    "msgpack-numpy: field of nothing, often": msgpack_numpy(type=[["a", "<f8"], ["b", "<f8", [2**20, 0]]], kind=b"V"),
    "field with a negative shape": array([8, False, ["a", None, 0, "<f8", [-1]]]),
    "field with a title that is a name": array([8, False, ["a", "b", 0, "<i4", []], ["b", None, 4, "<i4", []]]),
    "field with half a title": array([8, False, ["a", "a", 0, "<f8", []]]),
    "field with three parts": array([8, False, ["a", 0, "<f8"]]),
    "item of a negative size": fields("a", "b", itemsize=-8),
    "item of a huge size": fields("a", "b", itemsize=2**31),
    "item of no size": fields("a", "b", itemsize=None),
    "aligned 1": fields("a", "b", aligned=1),
    "aligned but not": array([9, True, ["a", None, 1, "<f8", []]], [1], data=bytes(9)),
    "fields too deep": nested_dtype(17),
    "fields deeper than C can": nested_dtype(90),
    "msgpack-numpy: pickle": msgpack_numpy(type="|O", kind=b"O", data=PICKLE),
    "msgpack-numpy: pointers": msgpack_numpy(type="|O"),
    "msgpack-numpy: pointers, no kind": msgpack_numpy(type="|O", kind=None),
    "msgpack-numpy: pointers as V": msgpack_numpy(type=[["", "|O"]], kind=b"V"),
    "msgpack-numpy: a field of pointers": msgpack_numpy(type=[["a", [["b", "|O"]]]], kind=b"V"),
    "msgpack-numpy: a scalar pointer": msgpack_numpy(nd=False, type="|O", kind=None, shape=None, data=bytes(8)),
    "msgpack-numpy: fields not as V": msgpack_numpy(type=[["a", "<f8"]]),
    "msgpack-numpy: object by name": msgpack_numpy(type="object"),
    "msgpack-numpy: kind as text": msgpack_numpy(kind="V"),
    "msgpack-numpy: unhashable kind": msgpack_numpy(kind=[b"V"]),
    "msgpack-numpy: fields too deep": msgpack_numpy(type=nested_descr(17), kind=b"V", shape=[1], data=bytes(8)),
    "msgpack-numpy: no fields": msgpack_numpy(type=[], kind=b"V", shape=[2**40], data=b""),
    "msgpack-numpy: field without a type": msgpack_numpy(type=[["a"]], kind=b"V"),
    "msgpack-numpy: field with a title": msgpack_numpy(type=[[["t", "a"], "<f8"]], kind=b"V"),
    "msgpack-numpy: field with a huge shape": msgpack_numpy(type=[["a", "<f8", [2**62]]], kind=b"V"),
    "msgpack-numpy: too long": msgpack_numpy(data=bytes(17)),
    "msgpack-numpy: too short": msgpack_numpy(data=bytes(15)),
    "msgpack-numpy: no data": msgpack_numpy(data=None),
    "msgpack-numpy: text": msgpack_numpy(data="x" * 16),
    "msgpack-numpy: negative": msgpack_numpy(shape=[-2]),
    "msgpack-numpy: nd is 1": msgpack_numpy(nd=1),
    "msgpack-numpy: more keys": msgpack_numpy(other=1),
    "msgpack-numpy: complex of nothing": packb({b"complex": True}),
    "msgpack-numpy: complex of words": packb({b"complex": True, b"data": "__import__('os')"}),
    "raw array without a frame": array(shape=[1024], data=None),
    "raw array of nothing": array(shape=[0], data=None),
    "raw array of 8 EiB": array(shape=[2**60], data=None),
    "raw bytes without a frame": marked(Tag.RAW_BYTES, 100_000),
    "raw bytes of 4 GiB": marked(Tag.RAW_BYTEARRAY, 2**32),
    "raw bytes, negative": marked(Tag.RAW_BYTES, -1),
    "raw bytes, True": marked(Tag.RAW_BYTES, True),
    **{
        f"{tag.name} with {len(arguments)} of {arguments[:1]}": marked(tag, *arguments)
        for tag in Tag
        if tag not in (Tag.TUPLE, Tag.SET, Tag.FROZENSET, Tag.DICT)
        for arguments in WRONG
    },
}

TWO = packb([[MARKS[Tag.ARRAY], "<f8", [1024], "C", None]] * 2)
ONE = array(shape=[1024], data=None)
FRAMES: dict[str, list[bytes]] = {
    **{name: [body] for name, body in BODIES.items()},
    **{f"{name}, among others": [b"\x82\xa1a\x01\xa1b" + body] for name, body in BODIES.items()},
    "no frame": [],
    "too many frames": [packb(1)] * (MAX_FRAMES + 1),
    "a frame that nothing mentions": [packb(1), b"x"],
    "an empty frame that nothing mentions": [packb({"a": 1}), b""],
    "frame too short": [ONE, bytes(8191)],
    "frame too long": [ONE, bytes(8193)],
    "frame empty": [ONE, b""],
    "one frame more": [ONE, bytes(8192), b""],
    "one frame for two arrays": [TWO, bytes(8192)],
    "one array across two frames": [ONE, bytes(4096), bytes(4096)],
    "one and a half": [TWO, bytes(8192), bytes(4096)],
    "half and one": [TWO, bytes(8192 + 4096), bytes(4096)],
    "three for two": [TWO, bytes(8192), bytes(8192), bytes(8192)],
    "bytes for an array": [packb([[MARKS[Tag.RAW_BYTES], 8000], [MARKS[Tag.RAW_BYTES], 193]]), bytes(8192)],
}


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES.keys())
def test_each_gives_a_decode_error(frames: list[bytes]) -> None:
    with pytest.raises(DecodeError, match=r"^payload"):
        decode(frames)
    assert not hasattr(sys, "pwned")


def test_the_corpus_fails_for_its_own_reasons() -> None:
    """The builders of the corpus make good bytes when nothing is forged."""
    good = [array(), fields("a", "b"), nested_dtype(16), msgpack_numpy(), msgpack_numpy(kind=None)]
    good += [b"\x91" * MAX_DEPTH + b"\xc0", b"\x92\xc7\x00\x01" * MAX_DEPTH + b"\xc0", marked(Tag.ENUM, "Access", 3)]
    for body in good:
        decode([body])
    assert len(decode([TWO, bytes(16384)])) == len(decode([TWO, bytes(8192), bytes(8192)])) == 2
    assert decode([marked(Tag.DATACLASS, "Positive", "number", 1)]) == Positive(1)
    assert decode([marked(Tag.DECIMAL, "1E+999999999999999999")]).is_finite()


@pytest.mark.parametrize("rounds", [1, 20])
def test_nothing_is_allocated_on_the_peers_word(rounds: int) -> None:
    code = f"from tests.wire.test_hostile import *; decode_all({rounds}); sys.exit((peak_memory() - START) // 1024)"
    grown = subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode
    assert 0 <= grown < 8, f"peak memory grew by {grown} MiB"


def peak_memory() -> int:
    """KiB. Not ru_maxrss: a child process inherits its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def decode_all(rounds: int) -> None:
    for frames in [*FRAMES.values()] * rounds:
        with contextlib.suppress(DecodeError):
            decode(frames)


START = peak_memory()


@st.composite
def damaged(draw: st.DrawFn) -> list[bytes]:
    frames = [bytearray(frame) for frame in encode(draw(values))]
    for _ in range(draw(st.integers(1, 4))):
        frame = draw(st.sampled_from(frames))
        at = draw(st.integers(0, len(frame)))
        change = draw(st.sampled_from(["flip", "set", "cut", "insert", "repeat", "frame"]))
        if change == "flip" and at < len(frame):
            frame[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "set" and at < len(frame):
            frame[at] = draw(st.sampled_from(b"\x00\x01\x7f\x80\x90\xc0\xc7\xd4\xd6\xdc\xdd\xdf\xff"))
        elif change == "cut":
            del frame[at : at + draw(st.integers(1, 8))]
        elif change == "insert":
            frame[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif change == "repeat":
            frame[at:at] = frame[max(0, at - 8) : at]
        else:
            frames.append(bytearray(draw(st.binary(max_size=8))))
    return [bytes(frame) for frame in frames]


@bounded
@given(damaged())
def test_damaged_bytes_give_a_value_or_a_decode_error(frames: list[bytes]) -> None:
    with contextlib.suppress(DecodeError):
        value: Any = decode(frames)
        assert not isinstance(value, np.ndarray) or not value.dtype.hasobject


@bounded
@given(st.lists(st.binary(max_size=64), max_size=3))
def test_noise_gives_a_value_or_a_decode_error(frames: list[bytes]) -> None:
    with contextlib.suppress(DecodeError):
        decode(frames)
