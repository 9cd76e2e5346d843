from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.values import bounded
from zmqfl.errors import DecodeError
from zmqfl.wire.payload import decode, encode
from zmqfl.wire.tags import MARKS, MAX_NUMBER_BYTES, Tag


def test_the_utc_singleton_stays_itself() -> None:
    assert decode(encode(datetime(2024, 1, 1, tzinfo=UTC))).tzinfo is UTC


def test_named_fixed_zones_keep_their_names() -> None:
    zone = timezone(timedelta(hours=1), "CET")
    assert decode(encode(time(1, tzinfo=zone))).tzname() == "CET"


def test_decimals_do_not_depend_on_the_context() -> None:
    with localcontext() as context:
        context.prec = 2
        assert decode(encode(Decimal("1.23456789"))) == Decimal("1.23456789")


@bounded
@given(st.integers(0, 600), st.integers(-2, 2), st.booleans())
def test_integers_of_any_size(bits: int, offset: int, negative: bool) -> None:
    value = (2**bits + offset) * (-1 if negative else 1)
    assert decode(encode([value])) == [value]


def test_the_largest_integer_of_both_sides_is_the_same() -> None:
    largest = (1 << (8 * MAX_NUMBER_BYTES - 1)) - 1
    assert decode(encode(largest)) == largest
    assert decode(encode(-largest)) == -largest


@pytest.mark.parametrize(
    ("tag", "arguments"),
    [
        (Tag.DATETIME, ("2024-01-01 00:00:00", 0, "")),
        (Tag.TIME, ("01", 0, "")),
        (Tag.DECIMAL, (" 1",)),
        (Tag.UUID, ("0" * 32,)),
    ],
)
def test_a_value_has_one_form_on_the_wire(tag: Tag, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(DecodeError, match=r"^payload: "):
        decode([msgpack.packb([MARKS[tag], *arguments])])
