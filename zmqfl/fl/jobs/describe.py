"""From an object to what a job's files say of it: the path of its class and its arguments.

The arguments of an `FLComponent` are those that it was made with. Any other object must keep each of its constructor's
arguments as an attribute of the same name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Final

from zmqfl.context.fl_component import FLComponent
from zmqfl.errors import ArgumentError
from zmqfl.fl.jobs.components import CONFIG_TYPE

MAIN: Final = "__main__"


def describe(component: object) -> dict[str, Any]:
    """`{"path": ..., "args": {...}}`, as `components.build` takes it. Raises `ArgumentError`.

    An argument that is itself an object is described in turn.
    """
    args = {
        name: _plain(value, f"{type(component).__name__}.{name}") for name, value in arguments_of(component).items()
    }
    return {"path": path_of(type(component)), "args": args}


def path_of(kind: type[Any]) -> str:
    """The path by which another process finds a class. Raises `ArgumentError` for one that none can find."""
    if "<locals>" in kind.__qualname__ or "." in kind.__qualname__:
        raise ArgumentError(f"class {kind.__qualname__} stands inside another thing; move it to the top of its module")
    module = kind.__module__
    if module == MAIN:
        if (file := getattr(sys.modules[MAIN], "__file__", None)) is None:
            raise ArgumentError(f"class {kind.__name__} was typed at a prompt; put it into a file")
        module = Path(file).stem
    return f"{module}.{kind.__name__}"


def arguments_of(component: object) -> dict[str, Any]:
    """The constructor's arguments that a component was made with, without those that have their defaults."""
    kind = type(component)
    try:
        signature = inspect.signature(kind)
    except ValueError:
        raise ArgumentError(
            f"the arguments of a {kind.__name__} are not known; describe it by a class of yours"
        ) from None
    if isinstance(component, FLComponent):
        args, kwargs = component.made_with
        bound = dict(signature.bind(*args, **kwargs).arguments)
    else:
        bound = {name: _kept(component, name) for name in signature.parameters}
    found: dict[str, Any] = {}
    for name, value in bound.items():
        match signature.parameters[name].kind:
            case inspect.Parameter.VAR_KEYWORD:
                found.update(value)
            case inspect.Parameter.VAR_POSITIONAL | inspect.Parameter.POSITIONAL_ONLY:
                raise ArgumentError(f"{kind.__name__} takes {name!r} without a name; a job gives arguments by name")
            case _ if not _is_default(value, signature.parameters[name].default):
                found[name] = value
    return found


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (
        isinstance(value, int | float | str) and type(value) is type(default) and value == default
    )


def _kept(component: object, name: str) -> Any:
    try:
        return getattr(component, name)
    except AttributeError:
        kind = type(component).__name__
        raise ArgumentError(f"a {kind} does not keep its argument {name!r}; keep it as self.{name}") from None


def _plain(value: Any, place: str) -> Any:
    """A value as JSON can hold it."""
    match value:
        case Enum():
            return _plain(value.value, place)
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case list() | tuple():
            return [_plain(item, f"{place}.{i}") for i, item in enumerate(value)]
        case Mapping():
            return _mapping(value, place)
    if isinstance(value, type) or callable(value) or not hasattr(value, "__dict__"):
        problem = f"{place}: a {type(value).__name__} cannot be in a job's file"
        raise ArgumentError(f"{problem}; give plain values, or an object of a class with such arguments")
    return describe(value)


def _mapping(value: Mapping[Any, Any], place: str) -> dict[str, Any]:
    if odd := [key for key in value if not isinstance(key, str)]:
        raise ArgumentError(f"{place}: the key {odd[0]!r} is no text; give keys that are")
    plain = {key: _plain(item, f"{place}.{key}") for key, item in value.items()}
    is_like_a_component = "path" in plain or "class_path" in plain or {"name", "args"} <= plain.keys()
    return {**plain, CONFIG_TYPE: "dict"} if is_like_a_component else plain
