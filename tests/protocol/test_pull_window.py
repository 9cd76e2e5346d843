"""`zmqfl.protocol.pull_window`."""

from __future__ import annotations

import pytest

from zmqfl.protocol.pull_window import FIRST_WINDOW, LEAST_WINDOW, MOST_WINDOW, WINDOW_TIME, PullWindow


def after(pause: float, count: int) -> int:
    window = PullWindow()
    for number in range(count):
        window.arrived(100.0 + number * pause)
    return window.size


def test_a_few_arrivals_say_nothing() -> None:
    assert {after(1.0, count) for count in range(4)} == {FIRST_WINDOW}


@pytest.mark.parametrize(
    ("pause", "size"), [(10.0, LEAST_WINDOW), (0.0, MOST_WINDOW), (0.001, MOST_WINDOW), (WINDOW_TIME / 4, 5)]
)
def test_as_many_as_arrive_in_half_a_second(pause: float, size: int) -> None:
    assert after(pause, 20) == size
