"""For a while, and not too many."""

from __future__ import annotations

from zmqfl.streaming.remembered import Remembered


def test_for_a_while() -> None:
    it: Remembered[int] = Remembered(10.0)
    it.keep("a", 1, 0.0)
    it.keep("b", 2, 5.0)
    assert (it.find("a", 9.9), it.find("a", 10.0), it.find("b", 10.0), len(it)) == (1, None, 2, 1)


def test_not_too_many() -> None:
    it: Remembered[int] = Remembered(10.0, most=2)
    for number, key in enumerate("abcb"):
        it.keep(key, number, 0.0)
    assert [it.find(key, 1.0) for key in "abc"] == [None, 3, 2]
