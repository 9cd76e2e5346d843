"""What stands for a published object in another cell: its methods are called as if they were here.

    calc = Rpc.of(cell).proxy("site-1").result()
    calc.add(1, 2)                  waits for the value; `tto=10`: at most 10 seconds
    calc.add.submit(1, 2)           a handle at once: `.result()`, `await`, `.cancel()`
    calc.add.fire(1, 2)             no reply, and no word of what becomes of it
    calc.trig.sin(0.5)              of a sub-object
    for item in calc.count(3): ...  of a generator; `async for item in await calc.count.submit(3)`

Arguments are checked here, against the signature that the other cell has told: what does not fit is not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from zmqfl.cell.handles import Handle
from zmqfl.errors import NoSuchMethod, WouldDeadlockError
from zmqfl.rpc.caller import Caller, check_timeout
from zmqfl.rpc.names import topic_of
from zmqfl.rpc.signatures import MethodDescription


class Method:
    """One remote method. Its `__doc__` and `inspect.signature` are those of the original."""

    def __init__(self, caller: Caller, service: str, description: MethodDescription, timeout_parameter: str) -> None:
        self.description = description
        self.__name__ = description.path.rpartition(".")[2]
        self.__doc__ = description.doc
        self.__signature__ = description.signature
        self._caller = caller
        self._topic = topic_of(service, description.path)
        self._timeout_parameter = "" if description.declares(timeout_parameter) else timeout_parameter

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and wait for its value; a generator gives a `RemoteStream` to iterate over.

        Raises `SignatureError` (a TypeError) when the arguments do not fit, and nothing is sent; `RpcTimeout`;
        `AuthenticationError`; what the method raises (see `zmqfl.rpc.remote_errors`); `RequestFailed` when the cell is
        gone or cannot be reached; `WouldDeadlockError` inside a running event loop.
        """
        if _in_loop():
            name = self.description.path
            raise WouldDeadlockError(f"calling {name} here would stop the event loop; `await {name}.submit(...)`")
        handle = self.submit(*args, **kwargs)
        try:
            return handle.result()
        except BaseException:
            handle.cancel()  # Ctrl-C while it waits; else it has ended
            raise

    def submit(self, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Call it; the handle gives what the call would. `cancel`, or a cancelled await, cancels the remote method."""
        timeout = self._checked(args, kwargs)
        return self._caller.call(self._topic, args, kwargs, timeout)

    exec_rpc = submit
    """stream_service's name of it."""

    def fire(self, *args: Any, **kwargs: Any) -> Handle[dict[str, str]]:
        """Have it run without a reply: it may be lost, and what it raises is in the log there. See `Cell.fire`."""
        self._checked(args, kwargs)
        return self._caller.fire(self._topic, args, kwargs)

    def _checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        """The seconds of the call, taken out of `kwargs`; the rest fits."""
        given = kwargs.pop(self._timeout_parameter, None)
        self.description.check(args, kwargs)
        return self._caller.timeout if given is None else check_timeout(given, self._timeout_parameter)

    def __repr__(self) -> str:
        return f"<Method {self.description} of {self._caller.target}>"


class Namespace:
    """Methods, and sub-objects with methods of their own, as attributes."""

    def __init__(self, target: str, prefix: str, members: Mapping[str, Method | Namespace]) -> None:
        self._target = target
        self._prefix = prefix
        self._members = members

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_members" not in self.__dict__:  # a copy has none at first
            raise AttributeError(name)
        members = self._members
        if name in members:
            return members[name]
        near = get_close_matches(name, members, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(members) or 'nothing'}"
        raise NoSuchMethod(f"{self._prefix}{name} is not published, or not to this cell; {remedy}", target=self._target)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._members]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix.rstrip('.') or self._target}: {', '.join(self._members)}>"


class Proxy(Namespace):
    """See the module. `Rpc.proxy` makes it."""

    def __init__(
        self,
        caller: Caller,
        service: str,
        descriptions: tuple[MethodDescription, ...],
        timeout_parameter: str,
    ) -> None:
        methods = {each.path: Method(caller, service, each, timeout_parameter) for each in descriptions}
        super().__init__(caller.target, "", _members(caller.target, "", methods))
        self._descriptions = descriptions

    def __iter__(self) -> Any:
        return iter(self._descriptions)


def _members(target: str, prefix: str, methods: Mapping[str, Method]) -> dict[str, Method | Namespace]:
    """The tree of dotted paths, a level at a time."""
    members: dict[str, Method | Namespace] = {}
    parts: dict[str, dict[str, Method]] = {}
    for path, method in methods.items():
        head, _, rest = path.partition(".")
        if rest:
            parts.setdefault(head, {})[rest] = method
        else:
            members[head] = method
    for head, inner in parts.items():
        if head not in members:
            at = f"{prefix}{head}."
            members[head] = Namespace(target, at, _members(target, at, inner))
    return members


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
