"""A published object: which of its methods can be called, looked up when they are.

    attribute      is                     reached as
    rpc_add        callable               add
    rpc_calc       an object or a class   calc.NAME for its own rpc_NAME, and so on; a class is made once
    anything else                         nothing: no path leads to it

Nothing is remembered, so an attribute that is set later is found, and one that is removed is not. What shows that it is
the object's own choice is the prefix alone.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from zmqfl.errors import ArgumentError, NoSuchMethod
from zmqfl.rpc.access import Access, rule_of
from zmqfl.rpc.method_statistics import StatisticsTable
from zmqfl.rpc.names import PREFIX
from zmqfl.rpc.signatures import MOST_METHODS, MethodDescription, describe

DEEPEST: Final = 8
"""Levels of sub-objects."""
MOST_CHECKED: Final = 1000
"""Signatures that are kept, so that a call need not take its method apart."""

Method = Callable[..., Any]


class Publication:
    """See the module. `loop`: where its coroutines run; None: one of their own. `secure`: for sealed calls only."""

    def __init__(
        self,
        target: object,
        name: str,
        access: Access,
        loop: asyncio.AbstractEventLoop | None,
        secure: bool = False,
    ) -> None:
        self.target = target
        self.name = name
        self.may_call = rule_of(access)
        self.loop = loop
        self.secure = secure
        self.statistics = StatisticsTable()
        self._made: dict[type, object] = {}
        self._described: dict[tuple[str, Any], MethodDescription] = {}
        self._lock = threading.Lock()
        if next(self.methods(), None) is None and not hasattr(target, "__dict__"):
            kind = type(target).__name__
            raise ArgumentError(f"{kind} has no method whose name begins with {PREFIX!r}; name what may be called so")

    def find(self, path: str) -> tuple[Method, MethodDescription]:
        """The method of that path. Raises `NoSuchMethod`."""
        at = self.target
        *parts, last = path.split(".")
        if len(parts) <= DEEPEST:
            for part in parts:
                at = self._part(at, part)
            method = self._attribute(at, last)
            if callable(method) and not isinstance(method, type):
                return method, self._describe(path, method)
        raise NoSuchMethod(f"no method {path!r} is published")

    def methods(self) -> Iterator[tuple[str, Method]]:
        """(path, method) of each, in the order of their names."""
        yield from self._walk(self.target, "", (self.target,))

    def describe(self, caller: str) -> list[MethodDescription]:
        """Those that `caller` may call."""
        found = [self._describe(path, method) for path, method in self.methods() if self.may_call(path, caller)]
        return found[:MOST_METHODS]

    def _walk(self, at: object, prefix: str, above: tuple[object, ...]) -> Iterator[tuple[str, Method]]:
        for attribute in sorted(name for name in dir(at) if name.startswith(PREFIX) and name != PREFIX):
            name = attribute.removeprefix(PREFIX)
            value = self._attribute(at, name)
            if value is None:
                continue
            if callable(value) and not isinstance(value, type):
                yield prefix + name, value
            elif len(above) <= DEEPEST:
                part = self._part(at, name)
                if not any(part is each for each in above):  # else it would never end
                    yield from self._walk(part, f"{prefix}{name}.", (*above, part))

    def _attribute(self, at: object, name: str) -> Any:
        return getattr(at, PREFIX + name, None)

    def _part(self, at: object, name: str) -> object:
        part = self._attribute(at, name)
        if not isinstance(part, type):
            return part
        with self._lock:
            if part not in self._made:
                self._made[part] = part()
            return self._made[part]

    def _describe(self, path: str, method: Method) -> MethodDescription:
        key = (path, getattr(method, "__func__", method))
        if (known := self._described.get(key)) is None:
            known = describe(path, method)
            if len(self._described) >= MOST_CHECKED:  # an object that makes its methods anew for each look
                self._described = {}
            self._described[key] = known
        return known

    def __repr__(self) -> str:
        return f"<Publication {self.name!r} {type(self.target).__name__}, {len(list(self.methods()))} methods>"


def is_stream(value: object) -> bool:
    """Whether a method has returned a generator."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)
