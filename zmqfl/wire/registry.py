"""Enums and dataclasses that may travel: those that the program named on both sides, and no others.

Nothing on the wire can name a class: it can only name an entry of this register. A dataclass is made again by
calling it with its fields, so its `__post_init__` sees, and may refuse, what the network brought; annotations are
not checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum, Flag
from typing import Any, TypeVar, overload

from zmqfl.errors import UsageError
from zmqfl.wire.tags import Refusal

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

_class_of: dict[str, type] = {}
_name_of: dict[type, str] = {}


@overload
def register_enum(cls: type[E], *, name: str | None = None) -> type[E]: ...
@overload
def register_enum(cls: None = None, *, name: str | None = None) -> Callable[[type[E]], type[E]]: ...
def register_enum(cls: type[E] | None = None, *, name: str | None = None) -> type[E] | Callable[[type[E]], type[E]]:
    """Let the members of an `Enum` or `Flag` class travel; use it as a call or as a decorator.

    `name` is the class's name on the wire (default: its `__name__`); both sides must register it. Members travel by
    name, so their values may differ; flags travel by value. Raises `UsageError` for another kind of class, and when
    the class or the name is taken.
    """

    def register(enum: type[E]) -> type[E]:
        if not _is_class(enum) or not issubclass(enum, Enum):
            raise UsageError(f"{enum!r} is not an Enum class; register_enum takes Enum classes")
        _register(enum, name)
        return enum

    return register if cls is None else register(cls)


@overload
def register_dataclass(cls: type[T], *, name: str | None = None) -> type[T]: ...
@overload
def register_dataclass(cls: None = None, *, name: str | None = None) -> Callable[[type[T]], type[T]]: ...
def register_dataclass(
    cls: type[T] | None = None, *, name: str | None = None
) -> type[T] | Callable[[type[T]], type[T]]:
    """Let the instances of a dataclass travel; use it as a call or as the outermost decorator.

    `name` is the class's name on the wire (default: its `__name__`); both sides must register it, with the same
    fields. Raises `UsageError` for another kind of class, for one whose `__init__` needs more than its fields, and when
    the class or the name is taken.
    """

    def register(dataclass: type[T]) -> type[T]:
        if not _is_class(dataclass) or not is_dataclass(dataclass):
            raise UsageError(f"{dataclass!r} is not a dataclass; put @register_dataclass above @dataclass")
        try:
            inspect.signature(dataclass).bind(**{field.name: None for field in fields(dataclass) if field.init})
        except TypeError as error:
            raise UsageError(f"{dataclass.__qualname__} cannot be made again from its fields: {error}") from error
        _register(dataclass, name)
        return dataclass

    return register if cls is None else register(cls)


def _is_class(cls: object) -> bool:
    return isinstance(cls, type)


def _register(cls: type, name: str | None) -> None:
    name = cls.__name__ if name is None else name
    if not name:
        raise UsageError(f"'' is not a name for {cls.__qualname__}; give a str that is not empty")
    if cls in _name_of:
        raise UsageError(f"{cls.__qualname__} is already registered, as {_name_of[cls]!r}; register a class once")
    if name in _class_of:
        raise UsageError(
            f"the name {name!r} is already taken by {_class_of[name].__module__}.{_class_of[name].__qualname__}; "
            "give register_enum or register_dataclass another name= (the same one on both sides)"
        )
    _class_of[name] = cls
    _name_of[cls] = name


def registered_name(cls: type) -> str | None:
    """The name of a class on the wire, or None when it was not registered."""
    return _name_of.get(cls)


def lower_enum(member: Enum) -> str | int:
    """What stands for a member on the wire."""
    return int(member.value) if isinstance(member, Flag) else member.name


def lift_enum(name: object, member: object) -> Enum:
    """The member that `lower_enum` wrote. Raises `Refusal` or `ValueError` when there is none."""
    cls = _find(name)
    if issubclass(cls, Flag):
        if type(member) is int and isinstance(flag := cls(member), cls):
            return flag
    elif issubclass(cls, Enum) and isinstance(member, str) and member in cls.__members__:
        return cls.__members__[member]
    raise Refusal(f"{name!r} is not an enum with that member on this side")


def lower_fields(value: Any) -> Iterator[tuple[str, object]]:
    """Name and value of each field of a dataclass instance."""
    return ((field.name, getattr(value, field.name)) for field in fields(value))


def lift_dataclass(name: object, values: dict[object, object]) -> object:
    """An instance with these fields. Raises `Refusal` when they are not the fields of the class on this side."""
    cls = _find(name)
    own = fields(cls) if is_dataclass(cls) else ()
    if not is_dataclass(cls) or values.keys() != {field.name for field in own}:
        raise Refusal(f"{name!r} is not a dataclass with those fields on this side")
    made: object = cls(**{field.name: values[field.name] for field in own if field.init})
    for field in own:
        if not field.init:
            object.__setattr__(made, field.name, values[field.name])  # a frozen class refuses its own setattr
    return made


def _find(name: object) -> type[Any]:
    if not isinstance(name, str):
        raise Refusal(f"class named by {type(name).__name__}, not by str")
    if name not in _class_of:
        raise Refusal(f"class {name[:60]!r} is not registered on this side; register it as the sender did")
    return _class_of[name]
