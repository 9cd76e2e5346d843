"""From a tree as msgpack gives it back to the value: the receiving half of `zmqfl.wire.payload`.

All in a tree is the peer's word. The rule: look at the types first, compare sizes with the bytes that are there, and
only then make something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zmqfl.wire import registry, scalars
from zmqfl.wire.tags import ATOMS, MAX_DEPTH, Refusal, Tag, is_flat

if TYPE_CHECKING:
    from zmqfl.wire.arrays import Array

Buffer = bytes | bytearray | memoryview

_TREE_ATOMS = ATOMS | {bytes}


def map_of(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The dict of a msgpack map (msgpack's `object_pairs_hook`). Raises `Refusal` when a key is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Refusal("dict with a key twice")
    return made


class Lifting:
    """Lifts one tree, in place where it can, taking pieces off the raw frames in order.

    `path` holds the keys and indices down to the value at work: after an error it tells where that was.
    `adopt`: arrays may be views of the frames.
    """

    def __init__(self, path: list[object], frames: Sequence[Buffer], adopt: bool = False) -> None:
        self.path = path
        self.frames = frames
        self.adopt = adopt
        self.index = 0  # of the frame that pieces come from; frame 0 is the tree
        self.rest = memoryview(b"")

    def take(self, length: object) -> memoryview:
        """The next piece. Raises `Refusal` when the frame at work does not hold that much."""
        if type(length) is not int or length <= 0:
            raise Refusal("the length of raw bytes is not an int above 0")
        if not self.rest:
            self.index += 1
            if self.index >= len(self.frames):
                raise Refusal(f"{length} raw bytes are missing: there is no frame {self.index}")
            self.rest = memoryview(self.frames[self.index]).cast("B")
        if len(self.rest) < length:
            raise Refusal(f"frame {self.index} has {len(self.rest)} bytes left where {length} are mentioned")
        piece, self.rest = self.rest[:length], self.rest[length:]
        return piece

    def finish(self) -> None:
        """Raises `Refusal` unless every byte of every frame was taken."""
        if self.rest or self.index != len(self.frames) - 1:
            raise Refusal(f"bytes that nothing mentions, in or after frame {self.index} of {len(self.frames)}")

    def lift(self, tree: Any) -> Any:
        """The value of `tree`. Raises `Refusal`, or whatever a type raises that is made from wrong arguments."""
        kind = type(tree)
        if kind in _TREE_ATOMS:
            return tree
        if len(self.path) >= MAX_DEPTH:
            raise Refusal(f"nested deeper than {MAX_DEPTH} levels")
        if kind is dict:
            return self._lift_map(tree)
        if kind is not list:
            raise Refusal(f"a {kind.__name__} where a value belongs")
        if tree and type(tree[0]) is Tag:
            return self._lift_marked(tree[0], tree[1:])
        return self._lift_items(tree)

    def _lift_map(self, tree: dict[Any, Any]) -> Any:
        if is_flat(tree):
            return tree
        if b"nd" in tree or b"complex" in tree:
            from zmqfl.wire import arrays  # numpy, and only where arrays travel

            return arrays.lift_msgpack_numpy(tree)
        for key, item in tree.items():
            self.path.append(key)
            if type(key) not in _TREE_ATOMS:
                raise Refusal("a map's key is no plain value")
            tree[key] = self.lift(item)
            self.path.pop()
        return tree

    def _lift_items(self, tree: list[Any]) -> list[Any]:
        if _TREE_ATOMS.issuperset(map(type, tree)):
            return tree
        for i, item in enumerate(tree):
            self.path.append(i)
            tree[i] = self.lift(item)
            self.path.pop()
        return tree

    def _lift_pairs(self, tree: list[Any]) -> dict[Any, Any]:
        if len(tree) % 2:
            raise Refusal("key without a value")
        made: dict[Any, Any] = {}
        for i in range(0, len(tree), 2):
            self.path.append(i // 2)  # until the key is known
            key = self.lift(tree[i])
            self.path[-1] = key
            if key in made:
                raise Refusal("key is there twice")
            made[key] = self.lift(tree[i + 1])
            self.path.pop()
        return made

    def _lift_marked(self, tag: Tag, arguments: list[Any]) -> Any:
        if tag in scalars.LIFT:
            return scalars.lift_scalar(tag, arguments)
        if tag is Tag.TUPLE:
            return tuple(self._lift_items(arguments))
        if tag is Tag.SET or tag is Tag.FROZENSET:
            return self._lift_set(set if tag is Tag.SET else frozenset, arguments)
        if tag is Tag.DICT:
            return self._lift_pairs(arguments)
        if tag is Tag.DATACLASS:
            name, *pairs = arguments
            return registry.lift_dataclass(name, self._lift_pairs(pairs))
        if tag is Tag.ENUM:
            name, member = arguments
            return registry.lift_enum(name, self.lift(member))
        if tag is Tag.ARRAY:
            return self._lift_array(*arguments)
        if tag is Tag.RAW_BYTES:
            return bytes(self.take(*arguments))
        if tag is Tag.RAW_BYTEARRAY:
            return bytearray(self.take(*arguments))
        return _lift_of_numpy(tag, *arguments)

    def _lift_set(self, kind: type[set[Any]] | type[frozenset[Any]], arguments: list[Any]) -> object:
        made = kind(self._lift_items(arguments))
        if len(made) != len(arguments):
            raise Refusal("set with an item twice")
        return made

    def _lift_array(self, dtype_tree: object, shape: object, order: object, data: object) -> Array:
        from zmqfl.wire import arrays

        dtype = arrays.lift_dtype(dtype_tree)
        if data is None:
            data = self.take(arrays.byte_count(dtype, shape))
        return arrays.lift_array(dtype, shape, order, data, self.adopt)


def _lift_of_numpy(tag: Tag, *arguments: object) -> object:
    import numpy as np

    from zmqfl.wire import arrays

    if tag is Tag.NUMPY_SCALAR:
        dtype, data = arguments
        return arrays.lift_scalar(dtype, data)
    (value,) = arguments
    if tag is Tag.NUMPY_STR:
        if type(value) is not str:
            raise Refusal("numpy.str_ without a str")
        return np.str_(value)
    if type(value) is not bytes:
        raise Refusal("numpy.bytes_ without bytes")
    return np.bytes_(value)
