"""numpy dtypes, arrays and scalars as plain msgpack, and back behind a guard.

A dtype travels as its type string (`"<f8"`, `"|S5"`, `"<M8[ms]"`), as a name from a fixed table (`"bfloat16"`), or,
when structured, as `[itemsize, aligned, [name, title, offset, dtype, shape], ...]`. The guard reads none of numpy's
many other spellings, so a peer cannot make numpy guess, and what it accepts has no object in it: the two holes of
msgpack-numpy (`pickle.loads` for kind `O`; `|O` under another kind, an array of pointers chosen by the peer) are
closed by the grammar, and once more by `hasobject`. Every size is worked out in Python integers and compared with
the bytes that are there before an array is made.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from typing import Any, Final

import msgpack_numpy
import numpy as np
import numpy.typing as npt

from zmqfl.wire.tags import Refusal

Array = npt.NDArray[Any]
DType = np.dtype[Any]

MAX_DIMENSIONS = 32
"""Dimensions of an array; numpy 1's limit, so that every numpy can take it."""
MAX_EMPTY_ROWS = 1 << 24
"""Sizes of an array without items, multiplied without its zeros: they cost the peer nothing, a loop over them a lot."""
MAX_FIELD_DEPTH = 16
"""Levels of structured dtypes within each other."""

# numpy tells longlong from int64 (same size, other type) in its scalars but not in its type strings.
_NUMPY_NAMES: Final = {"longlong", "ulonglong"}
_ML_NAMES: Final = {
    *("bfloat16", "int1", "uint1", "int2", "uint2", "int4", "uint4"),
    *("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
}
_NAMES: Final = _NUMPY_NAMES | _ML_NAMES
_TYPE_STRING = re.compile(
    r"[<>|](?:[biufcSUV][1-9]\d{0,8}|[mM]8(?:\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)


def lower_dtype(dtype: DType, depth: int = 0) -> str | list[object]:
    """`dtype` as plain msgpack. Raises `Refusal` for what cannot travel: objects, empty or exotic types."""
    if dtype.hasobject:
        raise Refusal("object dtype holds pointers, not values; convert it to a numeric, string or structured dtype")
    if dtype.itemsize == 0:
        raise Refusal(f"dtype {dtype.str!r} has items of 0 bytes")
    if dtype.names is not None:
        return _lower_structured(dtype, depth)
    name = dtype.type.__name__
    if name in _NAMES and dtype.isnative:
        return name
    if not _TYPE_STRING.fullmatch(dtype.str) or (dtype.kind == "V" and dtype.type is not np.void):
        raise Refusal(f"dtype {name} cannot travel; convert the array to a standard dtype")
    return dtype.str


def _lower_structured(dtype: DType, depth: int) -> list[object]:
    if depth == MAX_FIELD_DEPTH:
        raise Refusal(f"dtype nested deeper than {MAX_FIELD_DEPTH} levels")
    if dtype.type is not np.void:
        raise Refusal(f"dtype of {dtype.type.__name__} would come out as another; use plain fields (numpy.void)")
    tree: list[object] = [dtype.itemsize, dtype.isalignedstruct]
    assert dtype.fields is not None, "a structured dtype has fields"
    for name in dtype.names or ():
        field, offset, *titles = dtype.fields[name]
        title = titles[0] if titles else None
        if field.itemsize == 0:
            raise Refusal(f"dtype field {name!r} has items of 0 bytes")
        if not isinstance(title, str | None):
            raise Refusal(f"title of dtype field {name!r} is not a str")
        tree.append([name, title, offset, lower_dtype(field.base, depth + 1), list(field.shape)])
    return tree


def lift_dtype(tree: object, depth: int = 0) -> DType:
    """The dtype that `lower_dtype` wrote. Raises `Refusal`, or what numpy raises."""
    if isinstance(tree, list):
        dtype = _lift_structured(tree, depth)
    elif not isinstance(tree, str):
        raise Refusal(f"dtype given as {type(tree).__name__}")
    elif tree in _NUMPY_NAMES:
        dtype = np.dtype(getattr(np, tree))
    elif tree in _ML_NAMES:
        dtype = _ml_dtype(tree)
    elif _TYPE_STRING.fullmatch(tree):
        dtype = np.dtype(tree)
        if dtype.str != tree:
            raise Refusal(f"dtype {tree!r} is not in its normal form")
    else:
        raise Refusal(f"dtype {tree[:40]!r} is not accepted")
    if dtype.hasobject or dtype.itemsize == 0:
        raise Refusal(f"dtype {dtype.str!r} holds objects or nothing")
    return dtype


def _ml_dtype(name: str) -> DType:
    try:
        dtype: DType = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
        return dtype
    except (ImportError, AttributeError) as error:
        raise Refusal(
            f"dtype {name} needs the package ml_dtypes on this side ({error}); install or update it"
        ) from error


def _lift_structured(tree: list[Any], depth: int) -> DType:
    if depth == MAX_FIELD_DEPTH:
        raise Refusal(f"dtype nested deeper than {MAX_FIELD_DEPTH} levels")
    itemsize, aligned, *fields = tree
    names, titles, offsets, formats = [], [], [], []
    for name, title, offset, inner, shape in fields:
        names.append(name)
        titles.append(title)
        offsets.append(offset)
        base = lift_dtype(inner, depth + 1)
        formats.append((base, tuple(_check_shape(shape))) if shape else base)
    spec = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    if any(title is not None for title in titles):
        spec["titles"] = titles
    dtype: DType = np.dtype(spec, align=aligned is True)  # type: ignore[call-overload]
    if _lower_structured(dtype, depth) != tree:
        raise Refusal("structured dtype is not in its normal form")
    return dtype


def _check_shape(shape: object) -> list[int]:
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise Refusal(f"shape is not a list of at most {MAX_DIMENSIONS} sizes")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise Refusal("shape has a size that is not an int of 0 or more")
    if 0 in shape and math.prod(size or 1 for size in shape) > MAX_EMPTY_ROWS:
        raise Refusal(f"empty array with more than {MAX_EMPTY_ROWS} rows")
    return shape


def byte_count(dtype: DType, shape: object) -> int:
    """Bytes of an array of that shape; a Python int, it cannot overflow. Raises `Refusal` for what is no shape."""
    return math.prod(_check_shape(shape)) * dtype.itemsize


def lower_header(array: Array) -> list[object]:
    """dtype, shape and order of an array. Raises `Refusal` for one that cannot travel.

    A view that lies in memory in neither order counts as C: so is the copy that is sent.
    """
    return [lower_dtype(array.dtype), _check_shape([*array.shape]), "F" if array.flags.fnc else "C"]


def lower_plain(array: Array, header: list[object]) -> dict[object, object] | None:
    """msgpack-numpy's own form, for the arrays that survive it: numbers that lie in C order. None for others."""
    if array.dtype.kind not in "biufc" or header[0] != array.dtype.str or not array.flags.c_contiguous:
        return None
    form: dict[object, object] = msgpack_numpy.encode(array)
    return form


def flat_bytes(array: Array) -> memoryview | bytes:
    """The bytes of an array in its own order: a view, or a copy when they do not lie together."""
    if not array.flags.forc:
        return array.tobytes()
    # By way of uint8: datetimes and types from other packages do not export their own memory.
    return memoryview(array.reshape(-1, order="A").view(np.uint8))  # type: ignore[arg-type]


def lift_array(dtype: DType, shape: object, order: object, data: object, adopt: bool = False) -> Array:
    """A writable array that owns a copy of `data`. Raises `Refusal` when the sizes do not agree.

    With `adopt` it is a view of `data` instead, where that is writable and lies as the dtype needs it.
    """
    if not isinstance(data, bytes | memoryview):
        raise Refusal(f"array with {type(data).__name__} for its bytes")
    if len(data) != byte_count(dtype, shape):
        raise Refusal(f"array of {byte_count(dtype, shape)} bytes with {len(data)} bytes of data")
    if order not in ("C", "F"):
        raise Refusal("array order is neither C nor F")
    if not (adopt and isinstance(data, memoryview) and _can_adopt(data, dtype)):
        array: Array = np.empty(shape, dtype, order)  # type: ignore[call-overload]
        if not data:
            return array
        array.reshape(-1, order="A").view(np.uint8)[:] = np.frombuffer(data, np.uint8)
    else:
        array = np.frombuffer(data, np.uint8).view(dtype).reshape(shape, order=order)  # type: ignore[call-overload]
    _check_text(array)
    return array


def _can_adopt(data: memoryview, dtype: DType) -> bool:
    return not data.readonly and np.frombuffer(data, np.uint8).ctypes.data % dtype.alignment == 0


def _check_text(array: Array) -> None:
    # numpy would make str objects of any 32 bits, which Python's own code takes for impossible.
    for name in array.dtype.names or ():
        _check_text(array[name])
    if array.dtype.kind == "U":
        points = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if points.size and int(points.max()) > sys.maxunicode:
            raise Refusal("array of text with code points beyond Unicode")


def lower_scalar(value: np.generic) -> list[object]:
    """dtype and bytes of a numpy scalar. Raises `Refusal` for a subclass of numpy's own types."""
    if type(value) is not value.dtype.type:
        raise Refusal(f"{type(value).__name__} would come out as {value.dtype.type.__name__}")
    return [lower_dtype(value.dtype), value.tobytes()]


def lift_scalar(dtype: object, data: object) -> object:
    """The scalar that `lower_scalar` wrote."""
    return lift_array(lift_dtype(dtype), [], "C", data)[()]


def lift_msgpack_numpy(form: dict[object, Any]) -> object:
    """What plain msgpack-numpy meant by a map with the key `b"nd"` or `b"complex"`, behind the guard."""
    keys = form.keys()
    if keys == {b"complex", b"data"} and form[b"complex"] is True and isinstance(form[b"data"], str):
        return complex(form[b"data"])
    if keys == {b"nd", b"type", b"data"} and form[b"nd"] is False:
        return lift_scalar(form[b"type"], form[b"data"])
    if keys - {b"kind"} != {b"nd", b"type", b"shape", b"data"} or form[b"nd"] is not True:
        raise Refusal("map with the key b'nd' or b'complex' is not of msgpack-numpy")
    kind, descr, data = form.get(b"kind", b""), form[b"type"], form[b"data"]
    if kind not in (b"", b"V"):
        raise Refusal("array of a kind that is not accepted: objects, or unknown")
    dtype = _lift_descr(descr, 0) if kind == b"V" else lift_dtype(descr)
    return lift_array(dtype, form[b"shape"], "C", data)


def _lift_descr(descr: object, depth: int) -> DType:
    """A structured dtype in numpy's `descr` form, which msgpack-numpy sends: `[[name, type, shape?], ...]`."""
    if not isinstance(descr, list):
        return lift_dtype(descr)
    if depth == MAX_FIELD_DEPTH:
        raise Refusal(f"dtype nested deeper than {MAX_FIELD_DEPTH} levels")
    fields = []
    for name, inner, *shape in descr:
        if not isinstance(name, str) or len(shape) > 1:
            raise Refusal("structured dtype with a field that is not (name, type, shape)")
        fields.append((name, _lift_descr(inner, depth + 1), tuple(_check_shape(shape[0] if shape else []))))
    dtype = np.dtype(fields)
    lower_dtype(dtype, depth)  # refuses what this side would not send
    return dtype
