from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from enum import Enum, Flag, auto
from typing import Any

import pytest

from tests.wire.values import Access, Colour, Point, Run, assert_same
from zmqfl.errors import DecodeError, UsageError
from zmqfl.wire.payload import decode, encode, register_dataclass, register_enum


@pytest.mark.parametrize("value", [*Colour, Access(0), Access(3), Point(1, Point(2, [3])), {Point(1): Colour.RED}])
def test_registered_classes_come_out_the_same(value: Any) -> None:
    assert_same(decode(encode(value)), value)


def test_all_fields_travel_also_those_that_init_does_not_take() -> None:
    run = Run("a", [1], secret=5)
    run.area = 2.5
    received = decode(encode(run))
    assert (received, received.secret, received.area) == (run, 5, 2.5)


def test_what_post_init_refuses_does_not_arrive() -> None:
    @register_dataclass(name="test.Checked")
    @dataclass(frozen=True, kw_only=True)
    class Checked:
        size: int
        double: int = field(init=False)

        def __post_init__(self) -> None:
            if type(self.size) is not int:
                raise TypeError("size is not an int")
            object.__setattr__(self, "double", 2 * self.size)

    sent = Checked(size=2)
    assert decode(encode(sent)) == sent
    object.__setattr__(sent, "size", "2")
    with pytest.raises(DecodeError, match="TypeError: size is not an int"):
        decode(encode(sent))


def test_init_only_variables_need_a_default() -> None:
    @register_dataclass(name="test.InitOnly")
    @dataclass
    class InitOnly:
        x: int
        scale: InitVar[int] = 1

    assert decode(encode(InitOnly(3, 5))) == InitOnly(3)

    @dataclass
    class Needy:
        x: int
        scale: InitVar[int]

    with pytest.raises(UsageError, match=r"Needy cannot be made again from its fields: .*'scale'"):
        register_dataclass(Needy)


def test_an_enum_member_travels_by_name_and_aliases_are_one_member() -> None:
    @register_enum(name="test.Alias")
    class Alias(Enum):
        ONE = 1
        UNO = 1  # noqa: PIE796

    assert decode(encode(Alias.UNO)) is Alias.ONE


def test_a_flag_with_bits_beyond_64_travels() -> None:
    @register_enum(name="test.Wide")
    class Wide(Flag):
        LOW = auto()
        HIGH = 1 << 100

    assert decode(encode(Wide.LOW | Wide.HIGH)) == Wide.LOW | Wide.HIGH


class Free(Enum):
    A = 1


class Taken(Enum):
    A = 1


@pytest.mark.parametrize(
    ("register", "problem"),
    [
        (lambda: register_enum(Colour), "Colour is already registered, as 'Colour'; register a class once"),
        (lambda: register_enum(Colour, name="other"), "already registered, as 'Colour'"),
        (lambda: register_enum(Taken, name="Point"), "the name 'Point' is already taken by .*values.Point; give "),
        (lambda: register_enum(Free, name=""), "'' is not a name"),
        (lambda: register_enum(Point), "Point.* is not an Enum class"),  # type: ignore[type-var]
        (lambda: register_enum(Colour.RED), "is not an Enum class"),  # type: ignore[call-overload]
        (lambda: register_dataclass(Colour), "Colour.* is not a dataclass; put @register_dataclass above @dataclass"),
        (lambda: register_dataclass(Point(1)), "is not a dataclass"),  # type: ignore[call-overload]
    ],
)
def test_wrong_registrations_say_what_to_do(register: Callable[[], object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        register()
