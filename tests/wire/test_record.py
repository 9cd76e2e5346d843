"""Dataclasses of the hot path."""

from __future__ import annotations

import pytest

from zmqfl.wire.record import record


@record
class Point:
    x: int
    y: int = 0


def test_a_record_is_compared_and_hashed_by_value() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 2)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_a_record_has_only_its_fields() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]


def test_the_type_checker_holds_it_frozen() -> None:
    point = Point(1)
    point.x = 2  # type: ignore[misc]  # mypy reports an ignore that is not needed
    assert point.x == 2  # at run time nobody checks
