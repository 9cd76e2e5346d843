from __future__ import annotations

import enum
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.wire.values import Level, Point
from zmqfl.errors import EncodeError
from zmqfl.wire.payload import encode
from zmqfl.wire.tags import MAX_DEPTH, MAX_NUMBER_BYTES

Pair = namedtuple("Pair", "a b")


class Text(str):
    pass


class Unregistered(enum.IntEnum):
    ONE = 1


@dataclass
class Plain:
    x: int = 1


class Child(Point):
    pass


class Vector(np.ndarray[Any, Any]):
    pass


class Double(np.float64):
    pass


def nested_dtype(levels: int) -> Any:
    dtype: Any = "f8"
    for _ in range(levels):
        dtype = [("a", dtype)]
    return dtype


REFUSED: list[tuple[Any, str]] = [
    (OrderedDict(a=1), "OrderedDict cannot travel: it would come out as dict; convert it to one first"),
    (defaultdict(list), "it would come out as dict"),
    (Counter("a"), "it would come out as dict"),
    (deque([1]), "deque cannot travel: send one of the types listed in zmqfl.wire.payload"),
    (Pair(1, 2), "Pair cannot travel: it would come out as tuple"),
    (Text("a"), "Text cannot travel: it would come out as str"),
    (Unregistered.ONE, "register its class on both sides with register_enum"),
    (Plain(), "register its class on both sides with register_dataclass"),
    (Child(1), "register its class on both sides with register_dataclass"),
    (memoryview(b"x"), r"send bytes\(value\)"),
    (msgpack.ExtType(1, b""), "ExtType cannot travel"),
    (msgpack.Timestamp(1), "Timestamp cannot travel"),
    (object(), "builtins.object cannot travel"),
    (Level, "EnumType cannot travel"),
    (len, "builtin_function_or_method cannot travel"),
    (datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), r"send value.astimezone\(datetime.timezone.utc\)"),
    (1 << 8 * MAX_NUMBER_BYTES, "int of 8388609 bits is above the limit"),
    (Decimal("1" * (MAX_NUMBER_BYTES + 1)), "Decimal of 1048577 characters is above the limit"),
    (np.zeros(1, nested_dtype(17)), "dtype nested deeper than 16 levels"),
    (np.zeros(1).view(Vector), "it would come out as numpy.ndarray"),
    (np.ma.zeros(1), "it would come out as numpy.ndarray"),
    (Double(1), "Double would come out as float64"),
    (np.array([None]), "object dtype holds pointers"),
    (np.zeros(1, [("a", [("b", "O")])]), "object dtype holds pointers"),
    (np.zeros(1, "O,i4")[0], "object dtype holds pointers"),
    (np.zeros(1, np.dtypes.StringDType()), "object dtype holds pointers"),
    (np.zeros(1, "V0"), "items of 0 bytes"),
    (np.zeros(1, np.dtype((np.record, [("a", "i4")]))), "dtype of record would come out as another"),
    (np.zeros(1, {"names": ["a"], "formats": ["i4"], "titles": [1]}), "title of dtype field 'a' is not a str"),
    (np.zeros(1, [("a", "i4"), ("b", "f8", (9, 0))]), "dtype field 'b' has items of 0 bytes"),
    (np.zeros((1 << 24, 2, 0)), "empty array with more than 16777216 rows"),
    (np.zeros(1, "M8[1000000000s]"), "dtype datetime64 cannot travel"),
    (np.zeros((1,) * 33), "shape is not a list of at most 32 sizes"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=lambda value: type(value).__name__)
def test_what_would_come_out_as_another_type_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(EncodeError, match=f"^payload: .*{reason}"):
        encode(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, (2, {"b": object()})]}, r"payload\['a'\]\[1\]\[1\]\['b'\]"),
        ({1: {None: {(1,): {1.5, object()}}}}, r"payload\[1\]\[None\]\[<tuple>\]\[\d\]"),
        ({object(): 1}, r"payload\[<object>\]"),
        ({"x" * 100: object()}, r"payload\['x{40}'\.\.\.\]"),
        ({b"b": {True: {2**70: object()}}}, r"payload\[b'b'\]\[True\]\[<int>\]"),
        ([Point(1, [object()])], r"payload\[0\]\['y'\]\[0\]"),
    ],
)
def test_an_error_names_the_place(value: Any, place: str) -> None:
    with pytest.raises(EncodeError, match=f"^{place}: .* cannot travel"):
        encode(value)


def test_too_deep_and_endless_values_are_refused() -> None:
    endless: list[Any] = []
    endless.append({"a": (endless,)})
    with pytest.raises(
        EncodeError, match=r"^payload(\[0\]|\['a'\]){6}\.\.\.(\[0\]|\['a'\]){6}: nested deeper than 100"
    ):
        encode(endless)
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    encode(deep)
    with pytest.raises(EncodeError, match="nested deeper than 100 levels, or contains itself"):
        encode([deep])


def test_a_users_class_that_fails_when_read_is_named_with_its_place() -> None:
    @dataclass
    class Holey:
        x: int = field(init=False)

    from zmqfl.wire.payload import register_dataclass

    register_dataclass(Holey, name="test.Holey")
    with pytest.raises(EncodeError, match=r"^payload\['h'\]: AttributeError: .*x") as error:
        encode({"h": Holey()})
    assert isinstance(error.value.__cause__, AttributeError)
