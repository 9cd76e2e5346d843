"""From a value to a tree of what msgpack has types for: the sending half of `zmqfl.wire.payload`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

from zmqfl.wire import registry, scalars
from zmqfl.wire.tags import ATOMS, MARKS, MAX_DEPTH, TEXT, Refusal, Tag, is_flat

RAW_ARRAY_BYTES = 8 * 1024
"""Bytes from which an array gets a frame of its own; a smaller one is copied in less time than a frame costs."""
RAW_BYTES_BYTES = 64 * 1024
"""Bytes from which bytes and bytearray do; msgpack moves them at memory speed, so that pays off later."""

if TYPE_CHECKING:
    from zmqfl.wire.arrays import Array

_TAG_OF_SEQUENCE: dict[type, Tag] = {tuple: Tag.TUPLE, set: Tag.SET, frozenset: Tag.FROZENSET}
_BASES = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex)


class Lowering:
    """Lowers one value. `pieces` are the bytes left out of the tree, in the order in which it mentions them; `items`
    the bytes of one item of each, 1 for bytes.

    `path` holds the keys and indices down to the value at work: after an error it tells where that was.
    """

    def __init__(self, path: list[object]) -> None:
        self.path = path
        self.pieces: list[bytes | memoryview] = []
        self.items: list[int] = []

    def lower(self, value: Any) -> object:
        """The tree of `value`. Raises `Refusal`, or what a foreign object raises when it is read."""
        kind = type(value)
        if kind in ATOMS:
            return value
        if len(self.path) >= MAX_DEPTH:
            raise Refusal(f"nested deeper than {MAX_DEPTH} levels, or contains itself")
        if kind is dict:
            return self._lower_dict(value)
        if kind is list:
            return self._lower_items(value)
        if kind is bytes or kind is bytearray:
            return self._lower_bytes(value)
        if kind in _TAG_OF_SEQUENCE:
            return [MARKS[_TAG_OF_SEQUENCE[kind]], *self._lower_items(value)]
        if kind in scalars.LOWER:
            tag, to_arguments = scalars.LOWER[kind]
            return [MARKS[tag], *to_arguments(value)]
        return self._lower_uncommon(value, kind)

    def _lower_dict(self, value: dict[Any, Any]) -> object:
        if is_flat(value):
            return value
        if not TEXT.issuperset(map(type, value)):
            return [MARKS[Tag.DICT], *self._lower_pairs(value.items())]
        tree = {}
        for key, item in value.items():
            self.path.append(key)
            tree[key] = self.lower(item)
            self.path.pop()
        return tree

    def _lower_items(self, value: Iterable[Any]) -> Iterable[object]:
        if ATOMS.issuperset(map(type, value)):
            return value
        tree = []
        for i, item in enumerate(value):
            self.path.append(i)
            tree.append(self.lower(item))
            self.path.pop()
        return tree

    def _lower_pairs(self, pairs: Iterable[tuple[Any, Any]]) -> list[object]:
        tree = []
        for key, item in pairs:
            self.path.append(key)
            tree.append(self.lower(key))
            tree.append(self.lower(item))
            self.path.pop()
        return tree

    def _lower_bytes(self, value: bytes | bytearray) -> object:
        fixed = isinstance(value, bytes)
        if len(value) >= RAW_BYTES_BYTES:
            self.pieces.append(value if isinstance(value, bytes) else memoryview(value))
            self.items.append(1)
            return [MARKS[Tag.RAW_BYTES if fixed else Tag.RAW_BYTEARRAY], len(value)]
        return value if fixed else [MARKS[Tag.BYTEARRAY], bytes(value)]

    def _lower_array(self, array: Array) -> object:
        from zmqfl.wire import arrays

        header = arrays.lower_header(array)
        if array.nbytes < RAW_ARRAY_BYTES:
            return arrays.lower_plain(array, header) or [MARKS[Tag.ARRAY], *header, arrays.flat_bytes(array)]
        self.pieces.append(arrays.flat_bytes(array))
        self.items.append(array.itemsize)
        return [MARKS[Tag.ARRAY], *header, None]

    def _lower_uncommon(self, value: Any, kind: type) -> object:
        if "numpy" in sys.modules and (tree := self._lower_of_numpy(value, kind)) is not None:
            return tree
        name = registry.registered_name(kind)
        if name is not None and issubclass(kind, Enum):
            return [MARKS[Tag.ENUM], name, registry.lower_enum(value)]
        if name is not None:
            return [MARKS[Tag.DATACLASS], name, *self._lower_pairs(registry.lower_fields(value))]
        raise Refusal(f"{kind.__module__}.{kind.__qualname__} cannot travel: {_remedy(value, kind)}")

    def _lower_of_numpy(self, value: Any, kind: type) -> object | None:
        """None for what is not of numpy. Only where somebody has imported it: else no value can be of it."""
        import numpy as np

        if kind is np.ndarray:
            return self._lower_array(value)
        if kind is np.str_:  # not by dtype, nor with numpy's own str(): they strip zeros at the end
            return [MARKS[Tag.NUMPY_STR], str.__str__(value)]
        if kind is np.bytes_:
            return [MARKS[Tag.NUMPY_BYTES], bytes(value)]
        if isinstance(value, np.generic):
            from zmqfl.wire import arrays

            return [MARKS[Tag.NUMPY_SCALAR], *arrays.lower_scalar(value)]
        return None


def _remedy(value: object, kind: type) -> str:
    if issubclass(kind, Enum):
        return "register its class on both sides with register_enum"
    if hasattr(kind, "__dataclass_fields__"):
        return "register its class on both sides with register_dataclass"
    if issubclass(kind, memoryview):
        return "send bytes(value)"
    if any(base.__module__ == "numpy" and base.__name__ == "ndarray" for base in kind.__mro__):
        return "it would come out as numpy.ndarray; convert it to one first"
    for base in _BASES:
        if issubclass(kind, base):
            return f"it would come out as {base.__name__}; convert it to one first"
    return "send one of the types listed in zmqfl.wire.payload, or a registered dataclass with its content"
