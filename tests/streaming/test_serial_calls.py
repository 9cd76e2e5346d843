"""One after another, in order, each once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.system.federation import LONG
from zmqfl.cell.workers import Workers
from zmqfl.streaming.serial_calls import SerialCalls


def test_in_order_and_never_two_at_once() -> None:
    workers = Workers("test", 4, 4, 4, 1000)

    def run(job: Callable[[], None]) -> None:
        assert workers.submit(job)

    calls = SerialCalls(run)
    seen: list[int] = []
    inside = threading.Lock()

    def job(number: int) -> None:
        assert inside.acquire(blocking=False), "two at once"
        seen.append(number)
        inside.release()

    for number in range(300):
        calls.add(lambda number=number: job(number))  # type: ignore[misc]
        calls.go()
    assert workers.stop(LONG)
    assert seen == list(range(300))


def test_nothing_runs_before_go_and_what_is_added_meanwhile_follows() -> None:
    seen: list[str] = []
    calls = SerialCalls(lambda job: job())

    def first() -> None:
        calls.add(lambda: seen.append("second"))
        calls.go()
        seen.append("first")

    calls.add(first)
    assert seen == []
    calls.go()
    assert seen == ["first", "second"]


def test_what_raises_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    runs: list[Callable[[], None]] = []
    calls = SerialCalls(runs.append)

    def fail() -> None:
        raise SystemExit("broken")

    calls.add(fail)
    calls.add(lambda: seen.append("next"))
    calls.go()
    calls.go()
    assert len(runs) == 1
    runs[0]()
    assert seen == ["next"]
    assert "a callback failed: broken" in caplog.text
