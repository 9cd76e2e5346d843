"""The table of `zmqfl.protocol.pace`, a test per row."""

from __future__ import annotations

from math import inf

import pytest

from zmqfl.config import KIB, MIB
from zmqfl.protocol.pace import FADES, FIRST_DELAY, FIRST_WINDOW, FRESH, SMALLEST, Pace

AT = 100.0


def fresh() -> Pace:
    return Pace(segment_limit=1 * MIB, window_limit=8 * MIB)


def told(pace: Pace, took: float, size: int = SMALLEST, now: float = AT, delivered: int | None = None) -> None:
    pace.acknowledged(size, size if delivered is None else delivered, now - took, now)


def test_at_first_nothing_is_known_and_little_goes() -> None:
    pace = fresh()
    assert (pace.window, pace.segment, pace.rate, pace.rtt, pace.delay) == (
        FIRST_WINDOW, SMALLEST, 0.0, inf, FIRST_DELAY,
    )  # fmt: skip
    assert not pace.is_quick(1, AT)


def test_no_queue__the_window_grows_by_what_was_acknowledged_up_to_its_limit() -> None:
    pace = fresh()
    told(pace, 0.01)
    assert pace.window == FIRST_WINDOW + SMALLEST
    told(pace, 0.05, size=1000)
    assert pace.window == FIRST_WINDOW + SMALLEST + 1000
    told(pace, 0.01, size=9 * MIB)
    assert pace.window == 8 * MIB


def test_a_little_queue__the_window_stays() -> None:
    pace = fresh()
    told(pace, 0.01)
    before = pace.window
    told(pace, 0.3)
    assert pace.window == before


def test_a_long_queue__the_window_halves_once_per_round_trip_to_two_segments() -> None:
    pace = fresh()
    told(pace, 0.01, size=1 * MIB)
    assert pace.window == 1 * MIB + FIRST_WINDOW
    told(pace, 0.6, now=AT + 1)
    half = (1 * MIB + FIRST_WINDOW) // 2
    assert pace.window == half
    told(pace, 0.6, now=AT + 1.5)  # it went before the window was less
    assert pace.window == half
    for number in range(20):
        told(pace, 0.6, now=AT + 2 + number)
    assert pace.window == 2 * SMALLEST


def test_no_room_on_the_way__the_window_halves() -> None:
    pace = fresh()
    pace.window = 1 * MIB
    pace.shrink(AT)
    assert pace.window == 512 * KIB


def test_silence__one_segment() -> None:
    pace = fresh()
    pace.window = 8 * MIB
    pace.restart()
    assert pace.window == SMALLEST == pace.segment


def test_the_rate_is_what_was_delivered_meanwhile_and_follows_halfway() -> None:
    pace = fresh()
    told(pace, 0.5, delivered=1000)
    assert pace.rate == 2000
    told(pace, 0.5, delivered=2000, now=AT + 1)
    assert pace.rate == 3000


def test_what_was_learned_before_a_pause_is_forgotten() -> None:
    pace = fresh()
    told(pace, 0.01, delivered=100)
    told(pace, 0.2, delivered=200, now=AT + FRESH + 0.21)  # it went when nothing had been heard for longer
    assert (pace.rtt, pace.rate, pace.delay) == pytest.approx((0.2, 1000, 0.2))


def test_on_a_slow_way_the_wait_for_an_acknowledgement_is_no_pause() -> None:
    pace = fresh()
    told(pace, 2.0)
    told(pace, 12.0, now=AT + 12.0)  # twelve seconds after the one before it, but sent at once
    assert (pace.rtt, pace.delay) == (2.0, 12.0)
    assert pace.window == FIRST_WINDOW  # a queue: it grew with the first, and is halved by the second


def test_a_long_delay_fades() -> None:
    pace = fresh()
    told(pace, 0.4)
    told(pace, 0.1, now=AT + 1)
    assert pace.delay == pytest.approx(0.4 * FADES)
    told(pace, 0.5, now=AT + 2)
    assert pace.delay == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rate", "segment"),
    [(0, 64 * KIB), (32 * KIB, 64 * KIB), (1 * MIB, 512 * KIB), (1 * MIB + 100_000, 512 * KIB), (100 * MIB, 1 * MIB)],
)
def test_a_segment_takes_half_a_second_at_most(rate: int, segment: int) -> None:
    pace = fresh()
    pace.window, pace.rate = 8 * MIB, float(rate)
    assert pace.segment == segment


def test_a_segment_is_no_longer_than_its_limit_or_a_quarter_of_the_window() -> None:
    pace = Pace(segment_limit=16 * KIB, window_limit=8 * MIB)
    assert pace.segment == 16 * KIB
    pace = fresh()
    pace.rate, pace.window = 100.0 * MIB, 1 * MIB
    assert pace.segment == 256 * KIB
    pace.window = 128 * KIB
    assert pace.segment == SMALLEST


def test_a_message_of_half_a_second_is_quick_while_the_rate_is_fresh() -> None:
    pace = fresh()
    told(pace, 1.0, delivered=1 * MIB)
    assert pace.is_quick(512 * KIB, AT + FRESH)
    assert not pace.is_quick(512 * KIB + 1, AT)
    assert not pace.is_quick(1, AT + FRESH + 0.1)
