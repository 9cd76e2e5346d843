from __future__ import annotations

from typing import Any

import pytest

from zmqfl.wire.tags import MARKS, Refusal, Tag, is_flat, place_of, tag_of


def test_each_tag_has_a_number_of_its_own_and_a_mark() -> None:
    assert len({tag.value for tag in Tag}) == len(Tag.__members__) == len(MARKS)
    assert [tag_of(mark.code, mark.data) for mark in MARKS.values()] == [*Tag]


@pytest.mark.parametrize(("code", "data"), [(0, b""), (-1, b""), (127, b""), (Tag.TUPLE.value, b"x")])
def test_other_extensions_are_refused(code: int, data: bytes) -> None:
    with pytest.raises(Refusal, match=f"unknown extension type {code} with {len(data)} bytes"):
        tag_of(code, data)


@pytest.mark.parametrize(
    ("value", "flat"),
    [
        ({}, True),
        ({"a": 1, "b": None, "c": "d", "e": 1.5, "f": True}, True),
        ([], False),
        (1, False),
        ({1: 1}, False),
        ({b"nd": 1}, False),
        ({"a": b""}, False),
        ({"a": []}, False),
        ({"a": Tag.SET}, False),
    ],
)
def test_flat_is_a_dict_that_is_its_own_tree(value: Any, flat: bool) -> None:
    assert is_flat(value) is flat


def test_a_place_is_readable_and_short() -> None:
    assert place_of([]) == "payload"
    assert (
        place_of(["w", 3, None, b"x", 1.5, True, (1,), 2**64])
        == "payload['w'][3][None][b'x'][1.5][True][<tuple>][<int>]"
    )
    assert place_of([*range(100)]) == "payload[0][1][2][3][4][5]...[94][95][96][97][98][99]"
    assert len(place_of(["x" * 1000])) < 60
