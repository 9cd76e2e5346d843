"""One thread for one deadline, and none without."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.system.federation import LONG, until
from zmqfl.cell.timer import Timer


class Acts:
    """What a timer does: the next of `deadlines`, as often as it is called."""

    def __init__(self, *deadlines: float | None) -> None:
        self.deadlines = list(deadlines)
        self.calls = 0
        self.changed = threading.Condition()

    def __call__(self, now: float) -> float | None:
        with self.changed:
            self.calls += 1
            self.changed.notify_all()
            return self.deadlines[self.calls - 1]

    def wait(self, calls: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.calls >= calls, LONG)


def timer(act: Callable[[float], float | None]) -> Timer:
    return Timer("test-timer", time.monotonic, act)


def running() -> int:
    return sum(thread.name == "test-timer" for thread in threading.enumerate())


def test_it_looks_when_the_deadline_has_come_and_ends_without_one() -> None:
    acts = Acts(0.0, time.monotonic() + 0.01, None)
    it = timer(acts)
    assert running() == 0
    it.wake()
    acts.wait(3)
    until(lambda: running() == 0)
    assert repr(it) == "<Timer test-timer idle>"


def test_it_can_be_woken_and_begun_again() -> None:
    acts = Acts(1e12, 1e12, None, 1e12, None)
    it = timer(acts)
    for calls in 1, 2, 3:
        it.wake()
        acts.wait(calls)
    until(lambda: running() == 0)
    it.wake()
    acts.wait(4)
    assert (running(), repr(it)) == (1, "<Timer test-timer waiting>")
    it.wake()
    acts.wait(5)


def test_a_wake_while_it_looks_is_not_lost() -> None:
    inside, go_on, calls = threading.Event(), threading.Event(), list[float]()

    def act(now: float) -> float | None:
        calls.append(now)
        inside.set()
        assert go_on.wait(LONG)
        return None

    it = timer(act)
    it.wake()
    assert inside.wait(LONG)
    it.wake()
    go_on.set()
    until(lambda: running() == 0)
    assert len(calls) == 2
