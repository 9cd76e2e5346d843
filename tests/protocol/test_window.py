from __future__ import annotations

import random

from zmqfl.protocol.window import WIDTH, SequenceWindow


def test_a_new_number_counts_once() -> None:
    window = SequenceWindow()
    assert [window.admit(n) for n in (1, 2, 3, 2, 3, 1, 4)] == [True, True, True, False, False, False, True]


def test_numbers_may_overtake_one_another() -> None:
    window = SequenceWindow()
    assert [window.admit(n) for n in (5, 2, 4, 1, 3, 3, 6)] == [True] * 5 + [False, True]


def test_one_behind_the_window_does_not_count() -> None:
    window = SequenceWindow()
    assert window.admit(WIDTH + 1)
    assert not window.admit(1)  # perhaps it was never seen, but nobody can know
    assert window.admit(2)
    assert not window.admit(2)


def test_a_great_leap_forgets_what_is_far_behind() -> None:
    window = SequenceWindow()
    assert window.admit(10)
    assert window.admit(1 << 47)
    assert not window.admit(10)
    assert not window.admit(1 << 47)
    assert window.admit((1 << 47) - WIDTH + 1)


def test_number_0_never_counts_after_the_first() -> None:
    window = SequenceWindow()
    assert not window.admit(0)
    assert window.admit(1)
    assert not window.admit(0)


def test_it_agrees_with_a_set(seed: int) -> None:
    chance = random.Random(seed)
    window, seen, top = SequenceWindow(), set[int](), 0
    for _ in range(300):
        number = max(
            1, top + chance.choice((1, 1, 2, -1, -5, -chance.randrange(2 * WIDTH), chance.randrange(WIDTH * 2)))
        )
        assert window.admit(number) == (number not in seen and number > top - WIDTH)
        seen.add(number)
        top = max(top, number)
