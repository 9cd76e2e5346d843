"""What the tests of payloads share: exact comparison, registered classes, and hypothesis strategies of values."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from zmqfl.wire.payload import register_dataclass, register_enum

bounded = settings(
    derandomize=True, database=None, deadline=None, max_examples=250, suppress_health_check=list(HealthCheck)
)
"""The same examples in every run, and few enough for a second or two."""


@register_enum
class Colour(Enum):
    RED = "red"
    BLUE = object()  # never on the wire: members travel by name


@register_enum(name="test.Level")
class Level(IntEnum):
    LOW = 1


@register_enum
class Access(Flag):
    READ = 1
    WRITE = 2


@register_dataclass
@dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = 0


@register_dataclass(name="test.Run")
@dataclass
class Run:
    name: str
    points: list[Any]
    secret: int = field(default=7, compare=False, repr=False)
    area: float = field(init=False, default=0.0)


def assert_same(left: Any, right: Any) -> None:
    """Equal, of the same types all the way down, bit by bit (so nan is nan, and -0.0 is not 0.0)."""
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.flags.fnc == right.flags.fnc or not (left.flags.forc and right.flags.forc)
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, np.str_):
        assert [*left] == [*right]
    elif isinstance(left, np.generic):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, float):
        assert struct.pack("d", left) == struct.pack("d", right)
    elif isinstance(left, complex):
        assert_same([left.real, left.imag], [right.real, right.imag])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, dict):
        assert_same([*left.items()], [*right.items()])
    elif isinstance(left, set | frozenset):
        assert len(left) == len(right)
        for a in left:
            assert_same(a, next(b for b in right if b == a))
    elif is_dataclass(left):
        assert_same([getattr(left, f.name) for f in fields(left)], [getattr(right, f.name) for f in fields(right)])
    elif isinstance(left, datetime | time):
        assert (left.isoformat(), left.fold, left.tzname()) == (right.isoformat(), right.fold, right.tzname())
    elif isinstance(left, Decimal):
        assert left.as_tuple() == right.as_tuple()
    else:
        assert left == right


zones = st.none() | st.builds(
    timezone,
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
    st.text("ABC", min_size=1, max_size=3),
)
dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(),
    npst.unsigned_integer_dtypes(),
    npst.floating_dtypes(),
    npst.complex_number_dtypes(),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.byte_string_dtypes(),
    npst.unicode_string_dtypes(),
)
dtypes = dtypes | npst.array_dtypes(dtypes) | npst.nested_dtypes(dtypes)
arrays = dtypes.filter(lambda dtype: dtype.itemsize > 0 and dtype.subdtype is None).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
arrays = st.one_of(
    arrays, arrays.map(np.asfortranarray), arrays.map(lambda a: a.T), arrays.map(lambda a: a.T[::2] if a.ndim else a)
)

hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters(codec=None), max_size=20),
    st.binary(max_size=40),
    st.dates(),
    st.times(timezones=zones),
    st.datetimes(timezones=zones),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.builds(PurePosixPath, st.text("ab/. \u20ac", max_size=9)),
    st.builds(Path, st.text("ab/. \u20ac", max_size=9)),
    st.builds(PureWindowsPath, st.text("ab\\:. ", max_size=9)),
    st.sampled_from([*Colour, *Level, *Access, Access.READ | Access.WRITE, Access(0)]),
)
hashable = st.recursive(
    hashable_leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3), st.builds(Point, inner, inner)
    ),
    max_leaves=4,
)
leaves = st.one_of(
    hashable_leaves,
    st.floats(),
    st.complex_numbers(),
    st.decimals(allow_nan=True),
    st.binary(max_size=40).map(bytearray),
    arrays,
    arrays.filter(lambda array: array.size > 0).map(lambda array: array.flat[0]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=4),
        st.sets(hashable, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Run, st.text(max_size=3), st.lists(inner, max_size=2), st.integers()),
    ),
    max_leaves=12,
)

examples: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    2**64,
    -(2**63) - 1,
    10**1000,
    1.5,
    -0.0,
    math.nan,
    math.inf,
    complex(-0.0, math.nan),
    "text",
    "\x00\u20ac\U0001f600",
    "lone \ud800 surrogate",
    b"bytes",
    bytearray(b"more"),
    bytes(100_000),
    bytearray(100_000),
    [],
    [1, [2, (3, {4})]],
    (),
    (1,),
    {},
    {"b": 1, "a": 2},
    {1: "a", None: "b", (1, 2): "c", frozenset({1}): "d", b"k" * 70_000: b"v" * 70_000, 2**70: "e", True + 1: "f"},
    {b"nd": True, b"type": "<i8", b"kind": b"", b"shape": [1], b"data": bytes(8)},
    {b"complex": True, b"data": "1j"},
    {"nd": True, "complex": 1},
    set(),
    {1, "a", (2, 3)},
    frozenset({b"x"}),
    datetime(2024, 2, 29, 12, 30, 1, 999_999),  # noqa: DTZ001
    datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5, microseconds=1), "EST")),
    date(1, 1, 1),
    time(1, 2, 3, 4, fold=1),
    time(1, tzinfo=UTC),
    timedelta.min,
    timedelta.max,
    Decimal("-0E-5"),
    Decimal("1e999999999"),
    Decimal("sNaN123"),
    UUID(int=1),
    Path("/a/b"),
    Path("file-\udcff"),
    PurePosixPath(),
    PureWindowsPath("c:\\x"),
    Colour.BLUE,
    Level.LOW,
    Access.READ | Access.WRITE,
    Point(1, Point((2,), {3: 4})),
    Run("r", [Point(1)], secret=8),
    *(np.ones(1, char)[0] for char in "?bBhHiIlLqQefdgFDG"),
    np.datetime64("NaT"),
    np.datetime64("2024-01-01T00", ("s", 25)),
    np.timedelta64(3, "ns"),
    np.str_(""),
    np.str_("a\x00"),
    np.bytes_(b"a\x00"),
    np.void(b"ab\x00"),
    np.array(5),
    np.arange(5),
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.ones((2, 3, 4), order="F"),
    np.ones((3, 4, 5)).transpose(1, 0, 2),
    np.broadcast_to(np.float32(1), (100, 100)),
    np.arange(10_000)[::-3],
    np.arange(10_000.0).reshape(100, 100).T,
    np.empty((0, 3, 0)),
    np.array(["a", "\u20ac\U0001f600"]),
    np.array(["a", "b"], ">U3"),
    np.array([b"a", b""], "S3"),
    np.zeros(3, "V7"),
    np.array(["2024-01-01", "NaT"], "M8[D]"),
    np.zeros(5000, "m8[us]"),
    np.zeros(3, "M8"),
    np.zeros(3, "q"),
    np.zeros(3, [("a", "<i4"), ("b", [("c", ">f8", (2, 3)), ("d", "U2")])]),
    np.zeros(3000, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    np.zeros(
        2, {"names": ["x", "y"], "formats": ["i4", "i2"], "offsets": [4, 0], "itemsize": 16, "titles": ["t", "u"]}
    ),
    np.ones(1, [("a", "<i4"), ("b", "U3")])[0],
]
