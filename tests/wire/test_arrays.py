from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from tests.wire.values import arrays, assert_same, bounded
from zmqfl.wire.arrays import MAX_DIMENSIONS, flat_bytes, lift_dtype, lower_dtype
from zmqfl.wire.payload import decode, encode
from zmqfl.wire.tags import Refusal


@bounded
@given(arrays)
def test_arrays_and_their_items_come_out_the_same(array: Any) -> None:
    for value in [array, *array.reshape(-1)[:2]]:
        assert_same(decode(encode(value)), value)


@bounded
@given(arrays)
def test_big_arrays_come_out_the_same(array: Any) -> None:
    big = np.broadcast_to(array, (8192, *array.shape)).copy()
    for order in ("C", "F"):
        frames = encode(np.asarray(big, order=order), copy=False)
        assert len(frames) == 1 + (big.nbytes > 0)
        assert_same(decode(frames), np.asarray(big, order=order))


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.zeros((2, 3), order="F"), np.array(1), np.zeros(3, "M8[s]")])
def test_the_bytes_of_an_array_that_lies_together_are_a_view(array: Any) -> None:
    view = flat_bytes(array)
    array.fill(1)
    assert isinstance(view, memoryview)
    assert view.tobytes() == array.tobytes("A")


def test_padding_titles_and_alignment_of_structured_dtypes_are_kept() -> None:
    aligned = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2", (2, 3))], align=True)
    assert lift_dtype(lower_dtype(aligned)).isalignedstruct
    spread: Any = {
        "names": ["x", "y"],
        "formats": ["i4", "i2"],
        "offsets": [4, 0],
        "itemsize": 16,
        "titles": ["t", None],
    }
    assert lift_dtype(lower_dtype(np.dtype(spread))).fields == np.dtype(spread).fields
    overlapping: Any = {"names": ["x", "y"], "formats": ["f8", "f8"], "offsets": [0, 4], "itemsize": 12}
    assert lift_dtype(lower_dtype(np.dtype(overlapping))) == np.dtype(overlapping)


def test_dtypes_with_the_same_string_keep_their_types() -> None:
    for name in ("longlong", "ulonglong"):
        assert lift_dtype(lower_dtype(np.dtype(name))).type is getattr(np, name)


def test_32_dimensions_are_enough() -> None:
    array = np.zeros((1,) * MAX_DIMENSIONS, "M8[s]")
    assert_same(decode(encode(array)), array)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_small_floats_of_ml_dtypes_travel_by_name(name: str, order: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name))
    assert lower_dtype(dtype) == name
    for count in (6, 9000):
        array = np.asarray(np.arange(count).reshape(2, -1).astype(dtype), order=order)
        assert_same(decode(encode({"w": array})), {"w": array})
        assert_same(decode(encode(array[0, 1])), array[0, 1])


def test_without_ml_dtypes_their_arrays_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(Refusal, match="dtype bfloat16 needs the package ml_dtypes on this side"):
        lift_dtype("bfloat16")


def test_names_outside_the_table_are_refused() -> None:
    for name in ("rational", "finfo", "ndarray", "float64", "object_"):
        with pytest.raises(Refusal, match=f"dtype '{name}' is not accepted"):
            lift_dtype(name)
