"""One after another, in order, on any worker."""

from __future__ import annotations

import threading

import pytest

from tests.system.federation import LONG
from zmqfl.cell.serial import SerialQueue
from zmqfl.cell.workers import Workers


def test_in_order_and_never_two_at_once() -> None:
    workers = Workers("test", 4, 4, 4, 1000)
    serial = SerialQueue(workers)
    seen: list[int] = []
    inside = threading.Lock()

    def job(number: int) -> None:
        assert inside.acquire(blocking=False), "two at once"
        seen.append(number)
        inside.release()

    for number in range(500):
        serial.put(lambda number=number: job(number))  # type: ignore[misc]
    assert workers.stop(LONG)
    assert seen == list(range(500))


def test_a_job_that_raises_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers("test", 1, 1, 1, 1000)
    serial = SerialQueue(workers)
    go_on, seen = threading.Event(), threading.Event()

    def fail() -> None:
        assert go_on.wait(LONG)
        raise ValueError("broken")

    serial.put(fail)
    serial.put(seen.set)  # nothing is put after it
    go_on.set()
    assert seen.wait(LONG)
    assert workers.stop(LONG)
    assert "broken" in caplog.text


def test_what_ends_a_worker_lets_the_next_put_go_on() -> None:
    failed, seen = threading.Event(), threading.Event()
    workers = Workers("test", 1, 1, 1, 1000, on_error=lambda error: failed.set())
    serial = SerialQueue(workers)

    def leave() -> None:
        raise SystemExit(3)

    serial.put(leave)
    assert failed.wait(LONG)
    serial.put(seen.set)
    assert seen.wait(LONG)
    assert workers.stop(LONG)


def test_a_pool_that_refuses_drops_it_and_a_later_one_is_tried_again() -> None:
    workers = Workers("test", 1, 1, 1, 1000)
    serial = SerialQueue(workers)
    assert workers.stop(LONG)
    serial.put(lambda: pytest.fail("the pool is closed"))
    serial.put(lambda: pytest.fail("the pool is closed"))
    assert not serial._running
