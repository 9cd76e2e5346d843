"""The table of `zmqfl.protocol.channels.intake`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.values import bounded
from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.intake import MOST_AHEAD, Intake
from zmqfl.protocol.channels.items import Part


def part(number: int) -> Part:
    return Part(number, [])


@bounded
@given(st.permutations(range(1, 9)), st.lists(st.integers(1, 8), max_size=6))
def test_any_order_and_any_copies_give_each_once_and_in_order(order: list[int], copies: list[int]) -> None:
    intake, found = Intake(), list[int]()
    for number in [*order[:4], *copies, *order[4:], *copies]:
        found += [each.place for each in intake.receive(number, [part(number)])]
    assert found == list(range(1, 9))


def test_a_number_far_ahead_is_refused() -> None:
    intake = Intake()
    with pytest.raises(DecodeError, match="where 1 is expected"):
        intake.receive(1 + MOST_AHEAD, [])
    assert intake.receive(MOST_AHEAD, []) == []
    assert repr(intake) == "<Intake waits for 1, 1 ahead>"
    assert intake.receive(0, [part(0)]) == []
