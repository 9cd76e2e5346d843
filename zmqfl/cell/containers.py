"""Containers as groups of entries, and back.

    type           an entry is              what else travels
    dict           key, value
    OrderedDict    key, value
    defaultdict    key, value               it arrives without its factory: code does not travel
    list           an element
    tuple          an element
    set            an element
    frozenset      an element
    deque          an element               its maxlen
    value          the value, alone         for all others: they go as one entry

The types are these and no others, by name: what a peer writes there never leads to a class of its choice. A subclass
would come out as its base, so it is refused. Entries that are small numbers and texts go many at a time.
Source: seed 001; design, decision 19; reference "flare" 3.3, whose bugs (any class is made that a peer names, an empty
container is refused) are not copied.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from zmqfl.errors import ArgumentError, DecodeError, EncodeError, SourceChangedError
from zmqfl.wire.payload import encode_pieces
from zmqfl.wire.tags import ATOMS

TYPE_KEY: Final = "ContainerStreamer.type"
SIZE_KEY: Final = "ContainerStreamer.size"
MAXLEN_KEY: Final = "ContainerStreamer.maxlen"
"""Where the context of a stream says what comes: the name of its type, how many entries, the maxlen of a deque."""
DICTS: Final[dict[str, type[dict[Any, Any]]]] = {"dict": dict, "OrderedDict": OrderedDict, "defaultdict": defaultdict}
ROWS: Final[dict[str, type[Any]]] = {
    "list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque,
}  # fmt: skip
NAMES: Final[dict[type, str]] = {kind: name for name, kind in (DICTS | ROWS).items()}
"""The table."""
VALUE: Final = "value"
GROUP: Final = 512
"""Small entries at a time."""
SMALL_TEXT: Final = 256
"""Characters up to which a text is small."""


def facts_of(value: Any) -> dict[str, Any]:
    """What the context of its stream says."""
    name = NAMES.get(type(value), VALUE)
    facts = {TYPE_KEY: name, SIZE_KEY: 1 if name == VALUE else len(value)}
    if name == "deque":
        facts[MAXLEN_KEY] = value.maxlen
    return facts


def check_container(container: object) -> None:
    """Raises `ArgumentError` for what is not in the table."""
    kind = type(container)
    if kind in NAMES:
        return
    called = f"{kind.__module__}.{kind.__qualname__}"
    for base in kind.__mro__:
        if base in NAMES:
            raise ArgumentError(f"{called} would arrive as {NAMES[base]}; convert it to one first")
    remedy = "put it into a list or a dict" if type(container).__name__ == "ndarray" else "convert it to one"
    raise ArgumentError(f"{called} is no container that can be streamed ({', '.join(NAMES.values())}); {remedy}")


def groups_of(container: Any) -> Iterator[tuple[list[Any], int]]:
    """Entries as flat lists (key, value, key, value, ... of a dict), and how many came before.

    Raises `SourceChangedError` when the container gets bigger or smaller meanwhile.
    """
    if type(container) not in NAMES:
        yield [container], 0
        return
    is_dict = type(container) in DICTS.values()
    size, done, group = len(container), 0, list[Any]()
    for entry in _unchanged(container, container.items() if is_dict else container, size):
        parts = entry if is_dict else (entry,)
        if all(_is_small(part) for part in parts):
            group += parts
            if len(group) < GROUP:
                continue
            parts = ()
        if group:
            yield group, done
            done += len(group) // (1 + is_dict)
            group = []
        if parts:
            yield [*parts], done
            done += 1
    if group:
        yield group, done


def _unchanged(container: Any, entries: Any, size: int) -> Iterator[Any]:
    seen = 0
    try:
        for entry in entries:
            seen += 1
            yield entry
            if len(container) != size:
                break
    except RuntimeError as error:  # of a dict, set or deque, which notice themselves
        raise _changed(container, str(error)) from error
    if seen != size or len(container) != size:
        raise _changed(container, f"had {size} entries, and now has {len(container)}")


def _changed(container: object, problem: str) -> SourceChangedError:
    remedy = "leave it alone while it is sent, or send a copy"
    return SourceChangedError(f"was changed while it was sent: {problem}", file=NAMES[type(container)], remedy=remedy)


def _is_small(value: object) -> bool:
    return type(value) in ATOMS and (type(value) is not str or len(value) < SMALL_TEXT)


def encode_group(container: Any, group: list[Any], done: int) -> tuple[list[bytes | memoryview], list[int]]:
    """A group as frames, and the bytes of one item of each. Raises `EncodeError` naming the entry."""
    try:
        return encode_pieces(group)
    except EncodeError as error:
        name = NAMES.get(type(container), VALUE)
        where = f"entry {group[0] if name in DICTS else done!r:.60} of the {name}"
        if len(group) > 1 + (name in DICTS):
            where = f"an entry of the {name} after {done} others"
        raise EncodeError(f"{'the value' if name == VALUE else where} cannot be sent: {error}") from error


class Building:
    """A container that is put together from groups. `facts`: the context of its stream. `values`: whether it may be no
    container.

    Raises `DecodeError` for a type that is not in the table and for sizes that are none.
    """

    def __init__(self, facts: Mapping[str, Any], values: bool = False) -> None:
        name, size, maxlen = facts.get(TYPE_KEY), facts.get(SIZE_KEY), facts.get(MAXLEN_KEY)
        if not isinstance(name, str) or (name not in NAMES.values() and not (values and name == VALUE)):
            raise DecodeError(f"container of type {name!r:.60}; accepted are {', '.join(NAMES.values())}")
        if type(size) is not int or size < 0 or (name == VALUE and size != 1):
            raise DecodeError(f"container of {size!r:.60} entries")
        if not (maxlen is None or (type(maxlen) is int and size <= maxlen < 1 << 62)):
            raise DecodeError(f"{name} of {size} entries, at most {maxlen!r:.60}")
        self.name = name
        self.size = size
        self._maxlen = maxlen
        self._count = 0
        self._dict: dict[Any, Any] = DICTS.get(name, dict)()
        self._list: list[Any] = []

    def add(self, group: object) -> None:
        """Take a group. Raises `DecodeError` when it is none, when a key or element of a set is there twice, or when
        there are more entries than announced."""
        if not isinstance(group, list) or not group or (self.name in DICTS and len(group) % 2):
            raise DecodeError(f"entries of a {self.name} given as {type(group).__name__}")
        self._count += len(group) // (2 if self.name in DICTS else 1)
        if self._count > self.size:
            raise DecodeError(f"{self.name} of {self.size} entries got {self._count}")
        if self.name not in DICTS:
            self._list += group
            return
        try:
            self._dict.update(zip(islice(group, 0, None, 2), islice(group, 1, None, 2), strict=True))
        except TypeError as error:
            raise DecodeError(f"{self.name} with a key that cannot be one: {error}") from error
        if len(self._dict) != self._count:
            raise DecodeError(f"{self.name} with a key twice")

    def finish(self, count: object) -> Any:
        """The container. `count`: entries, as the sender says at the end. Raises `DecodeError` when it is not whole."""
        if not count == self._count == self.size:
            raise DecodeError(f"{self.name} of {self.size} entries ended after {self._count}, said to be {count!r:.60}")
        if self.name in DICTS:
            return self._dict
        rows, self._list = self._list, []
        if self.name == VALUE:
            return rows[0]
        if self.name == "list":
            return rows
        if self.name == "deque":
            return deque(rows, self._maxlen)
        try:
            made = ROWS[self.name](rows)
        except TypeError as error:
            raise DecodeError(f"{self.name} with an element that cannot be one: {error}") from error
        if len(made) != self.size:
            raise DecodeError(f"{self.name} with an element twice")
        return made
