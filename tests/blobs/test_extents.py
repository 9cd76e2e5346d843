from __future__ import annotations

import random

from zmqfl.blobs.extents import Extents


def test_nothing_is_there_at_first() -> None:
    extents = Extents()
    extents.add(5, 5)
    assert (extents.contiguous, extents.end, repr(extents)) == (0, 0, "<Extents empty>")


def test_ranges_that_touch_or_overlap_become_one() -> None:
    extents = Extents()
    for start, end in [(10, 20), (30, 40), (50, 60), (20, 25), (24, 31)]:
        extents.add(start, end)
    assert repr(extents) == "<Extents 10-40, 50-60>"
    assert (extents.contiguous, extents.end) == (0, 60)
    extents.add(0, 100)
    assert repr(extents) == "<Extents 0-100>"
    extents.add(3, 4)
    assert (extents.contiguous, extents.end) == (100, 100)


def test_the_same_as_a_set_of_bytes(seed: int) -> None:
    chance, extents, there = random.Random(seed), Extents(), set[int]()
    for _ in range(30):
        start = chance.randrange(40)
        end = start + chance.randrange(6)
        extents.add(start, end)
        there.update(range(start, end))
        assert extents.contiguous == next(byte for byte in range(50) if byte not in there)
        assert extents.end == max(there, default=-1) + 1
