from __future__ import annotations

import os
import select
import threading
from collections import deque

import pytest

from zmqfl.transport.wakeup import Wakeup


def is_readable(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup.fd], [], [], 0)[0])


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that were written to."""
    calls: list[int] = []
    write = os.eventfd_write

    def record(fd: int, value: int) -> None:
        calls.append(fd)
        write(fd, value)

    monkeypatch.setattr(os, "eventfd_write", record)
    return calls


def test_set_makes_it_readable_and_clear_takes_that_back() -> None:
    wakeup = Wakeup()
    assert not is_readable(wakeup)
    wakeup.clear()  # nothing to clear
    wakeup.set()
    assert is_readable(wakeup)
    wakeup.clear()
    assert not is_readable(wakeup)
    wakeup.set()
    assert is_readable(wakeup)
    wakeup.close()


def test_a_thousand_sets_cost_one_write(written: list[int]) -> None:
    wakeup = Wakeup()
    for _ in range(1000):
        wakeup.set()
    assert written == [wakeup.fd]
    wakeup.clear()
    wakeup.set()
    assert len(written) == 2
    wakeup.close()


def test_set_after_close_touches_no_descriptor(written: list[int]) -> None:
    wakeup = Wakeup()
    wakeup.close()
    wakeup.close()
    wakeup.set()
    assert written == []
    assert repr(wakeup) == "<Wakeup closed>"


def test_a_signal_handler_may_interrupt_set() -> None:
    """As if a signal came while `set`, in the same thread, holds its lock."""
    wakeup = Wakeup()
    with wakeup._lock:
        assert wakeup._lock.acquire(blocking=False), "the handler would wait for itself"
        wakeup._lock.release()
        wakeup.set()
    assert is_readable(wakeup)
    wakeup.close()


def test_a_set_in_the_middle_of_clear_leaves_it_settable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wake-up itself may vanish, since the work is looked for after `clear`; the next one must not."""
    wakeup = Wakeup()
    wakeup.set()
    read = os.eventfd_read

    def interrupted(fd: int) -> int:
        wakeup.set()
        return read(fd)

    monkeypatch.setattr(os, "eventfd_read", interrupted)
    wakeup.clear()
    wakeup.set()
    assert is_readable(wakeup)
    wakeup.close()


def test_no_wakeup_is_lost_between_threads() -> None:
    """Four producers and one consumer that blocks whenever the descriptor is not readable."""
    wakeup, work, each = Wakeup(), deque[int](), 20_000

    def produce() -> None:
        for number in range(each):
            work.append(number)
            wakeup.set()

    producers = [threading.Thread(target=produce) for _ in range(4)]
    for producer in producers:
        producer.start()
    consumed = 0
    while consumed < 4 * each:
        assert select.select([wakeup.fd], [], [], 20)[0], f"stuck after {consumed}"
        wakeup.clear()
        while work:
            work.popleft()
            consumed += 1
    for producer in producers:
        producer.join()
    wakeup.close()
