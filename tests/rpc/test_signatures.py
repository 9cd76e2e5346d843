from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from zmqfl.errors import DecodeError, SignatureError
from zmqfl.rpc.signatures import (
    MOST_DOC,
    MOST_METHODS,
    MOST_PARAMETERS,
    MOST_TEXT,
    MethodDescription,
    describe,
    read_descriptions,
)


def everything(a: int, /, b: str = "x", *rest: Any, c: float, d: int | None = None, **others: Any) -> str:
    """What it does."""
    return ""


def travelled(description: MethodDescription) -> MethodDescription:
    (again,) = read_descriptions([description.to_payload()])
    return again


def test_a_signature_travels() -> None:
    description = describe("calc.all", everything)
    assert str(description) == (
        "calc.all(a: int, /, b: str = 'x', *rest: Any, c: float, d: int | None = None, **others: Any) -> str"
    )
    assert description.doc == "What it does."
    assert not description.is_stream
    assert travelled(description) == description
    again = travelled(description).signature
    assert [(each.name, each.kind) for each in again.parameters.values()] == [
        (each.name, each.kind) for each in inspect.signature(everything).parameters.values()
    ]
    assert str(again) == "(a, /, b=..., *rest, c, d=..., **others)"


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter"),
    [
        ((1,), {"c": 1}, None),
        ((1, "x", 2, 3), {"c": 1, "d": 2, "e": 3}, None),
        ((), {"c": 1}, "a"),
        ((1,), {}, "c"),
        ((1, "x"), {"b": 2, "c": 1}, "b"),
    ],
)
def test_chan_R25_arguments_that_fit_and_that_do_not(args: Any, kwargs: Any, parameter: str | None) -> None:
    for description in (describe("all", everything), travelled(describe("all", everything))):
        if parameter is None:
            description.check(args, kwargs)
        else:
            with pytest.raises(SignatureError, match=r"^all: .*; it is all\(a: int") as caught:
                description.check(args, kwargs)
            assert (caught.value.method, caught.value.parameter) == ("all", parameter)


def test_what_has_no_signature_takes_anything() -> None:
    description = describe("get", {}.get)
    assert description.text in ("(*args: Any, **kwargs: Any) -> None", "(key, default=None, /)")

    class Odd:
        __signature__ = 3

        def __call__(self) -> None: ...

    describe("odd", Odd()).check((1, 2), {"c": 3})


def test_generators_are_told() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def later() -> Any:
        yield 1

    assert describe("items", items).is_stream
    assert describe("later", later).is_stream


def test_it_says_what_it_declares() -> None:
    assert describe("all", everything).declares("d")
    assert not describe("all", everything).declares("tto")


def test_long_texts_are_cut() -> None:
    def long() -> None: ...

    long.__doc__ = "x" * 10_000
    long.__annotations__["return"] = "y" * 10_000
    description = describe("long", long)
    assert (len(description.doc), len(description.text)) == (MOST_DOC, MOST_TEXT)
    assert travelled(description) == description


GOOD: list[Any] = ["add", [["a", 1, False]], "(a)", "", False]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {"add": GOOD},
        ["add"],
        [GOOD[:4]],
        [["__import__('os')", *GOOD[1:]]],
        [["a..b", *GOOD[1:]]],
        [["a" * (MOST_TEXT + 1), *GOOD[1:]]],
        [["add", [["a b", 1, False]], *GOOD[2:]]],
        [["add", [["a", 9, False]], *GOOD[2:]]],
        [["add", [["a", -1, False]], *GOOD[2:]]],
        [["add", [["a", 1]], *GOOD[2:]]],
        [["add", [["a", 1, True], ["b", 1, False]], *GOOD[2:]]],  # no function has that
        [["add", [["a", 1, False], ["a", 1, False]], *GOOD[2:]]],
        [["add", [["class", 1, False]], *GOOD[2:]]],
        [["add", [[f"a{n}", 3, False] for n in range(MOST_PARAMETERS + 1)], *GOOD[2:]]],
        [[*GOOD[:2], "x" * (MOST_TEXT + 1), "", False]],
        [[*GOOD[:3], "x" * (MOST_DOC + 1), False]],
        [GOOD] * (MOST_METHODS + 1),
    ],
    ids=lambda payload: str(payload)[:40],
)
def test_what_describes_nothing_is_refused(payload: Any) -> None:
    with pytest.raises(DecodeError):
        read_descriptions(payload)


def test_the_numbers_of_kinds_are_those_of_python() -> None:
    """They travel: another version of Python must mean the same."""
    kinds = [each.kind for each in inspect.signature(everything).parameters.values()]
    assert [int(kind) for kind in kinds] == [0, 1, 2, 3, 3, 4]
