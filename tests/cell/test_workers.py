from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from zmqfl.cell import workers as module
from zmqfl.cell.workers import Workers, WorkersStatistics, blocked

LONG = 20.0
"""Seconds that nothing here may take."""


class Pools:
    """Makes pools and stops them after the test."""

    def __init__(self) -> None:
        self.all: list[Workers] = []

    def __call__(self, keep: int = 2, most: int = 4, cap: int = 8, queue_bytes: int = 1000, **options: Any) -> Workers:
        pool = Workers("calls", keep, most, cap, queue_bytes, **options)
        self.all.append(pool)
        return pool


@pytest.fixture
def make() -> Iterator[Pools]:
    pools = Pools()
    yield pools
    for pool in pools.all:
        assert pool.stop(LONG), pool
        assert (pool.statistics().threads, pool.statistics().queued_bytes) == (0, 0)


class Gate:
    """A job that begins, and goes on when it is told."""

    def __init__(self, waits_blocked: bool = False) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()
        self.waits_blocked = waits_blocked

    def __call__(self) -> None:
        self.begun.set()
        if self.waits_blocked:
            with blocked():
                assert self.go.wait(LONG)
        else:
            assert self.go.wait(LONG)
        self.ended.set()


def occupy(pool: Workers, number: int = 1, waits_blocked: bool = False) -> list[Gate]:
    gates = [Gate(waits_blocked) for _ in range(number)]
    for gate in gates:
        assert pool.submit(gate)
        assert gate.begun.wait(LONG)
    if waits_blocked:
        until(lambda: pool.statistics().blocked >= number)
    return gates


def release(gates: list[Gate]) -> None:
    for gate in gates:
        gate.go.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a state of the pool that sends no event."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def until_quiet(pool: Workers) -> WorkersStatistics:
    """Wait until no worker runs; returns the state of then."""
    states: list[WorkersStatistics] = []

    def is_quiet() -> bool:
        states.append(pool.statistics())
        return states[-1].idle + states[-1].blocked == states[-1].threads

    until(is_quiet)
    return states[-1]


def run(pool: Workers, job: Callable[[], object] = lambda: None) -> str:
    """Run a job until its worker is idle again; returns the name of the worker's thread."""
    ran: list[str] = []

    def named() -> None:
        job()
        ran.append(threading.current_thread().name)

    assert pool.submit(named)
    until(lambda: bool(ran))
    until_quiet(pool)
    return ran[0]


# ----------------------------------------------------------------------------------------------------------------- jobs


def test_a_job_runs_in_a_named_daemon_thread(make: Pools) -> None:
    pool = make()
    daemons: list[bool] = []
    assert run(pool, lambda: daemons.append(threading.current_thread().daemon)) == "calls-1"
    assert daemons == [True]
    assert pool.statistics() == WorkersStatistics(threads=1, idle=1, blocked=0, queued=0, queued_bytes=0, peak=1)
    assert repr(pool) == "<Workers calls 1 threads, 1 idle, 0 blocked, 0 queued>"


def test_the_last_worker_to_fall_idle_is_the_first_to_work(make: Pools) -> None:
    pool = make()
    first, second = occupy(pool, 2)
    release([first])
    until(lambda: pool.statistics().idle == 1)
    release([second])
    until(lambda: pool.statistics().idle == 2)
    assert {run(pool) for _ in range(5)} == {"calls-2"}


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """New threads begin when this is set."""
    woken = threading.Event()

    class Sleepy(threading.Thread):
        def run(self) -> None:
            assert woken.wait(LONG)
            super().run()

    monkeypatch.setattr(threading, "Thread", Sleepy)
    return woken


def test_one_worker_is_woken_at_a_time_and_wakes_the_next(make: Pools, sleepy: threading.Event) -> None:
    pool, gates = make(), [Gate(), Gate(), Gate()]
    assert all(pool.submit(gate) for gate in gates)
    now = pool.statistics()
    assert (now.threads, now.queued) == (1, 2)
    sleepy.set()
    assert all(gate.begun.wait(LONG) for gate in gates)  # though none has ended
    for gate in gates:
        gate.go.set()


def test_what_waits_for_a_waking_worker_is_bounded_too(make: Pools, sleepy: threading.Event) -> None:
    pool, gates = make(queue_bytes=10), [Gate(), Gate(), Gate()]
    assert all(pool.submit(gate, size=10) for gate in gates)
    now = pool.statistics()
    assert (now.threads, now.queued, now.queued_bytes) == (2, 1, 10)  # the third does not fit: another worker begins it
    for gate in gates:
        gate.go.set()
    sleepy.set()


def test_stop_waits_for_what_waits_for_a_waking_worker(make: Pools, sleepy: threading.Event) -> None:
    pool, ran = make(), list[int]()
    assert all(pool.submit(partial(ran.append, i)) for i in range(5))
    assert not pool.stop(0)  # nobody is awake yet
    sleepy.set()
    assert pool.stop(LONG)
    assert sorted(ran) == [0, 1, 2, 3, 4]


def test_more_than_most_wait_in_the_queue_and_run_in_order(make: Pools) -> None:
    pool = make(most=1)
    gates = occupy(pool)
    ran: list[int] = []
    for number in range(5):
        assert pool.submit(lambda number=number: ran.append(number), size=10)  # type: ignore[misc]
    assert pool.statistics() == WorkersStatistics(threads=1, idle=0, blocked=0, queued=5, queued_bytes=50, peak=1)
    release(gates)
    until(lambda: pool.statistics().idle == 1)
    assert ran == [0, 1, 2, 3, 4]
    assert pool.statistics().queued_bytes == 0


def test_the_queue_is_bounded_in_bytes(make: Pools) -> None:
    pool = make(most=1, queue_bytes=100)
    gates = occupy(pool)
    assert pool.submit(lambda: None, size=60)
    assert not pool.submit(lambda: None, size=41)
    assert pool.submit(lambda: None, size=40)
    release(gates)


def test_the_queue_is_bounded_in_jobs(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 3)
    pool = make(most=1)
    gates = occupy(pool)
    assert [pool.submit(lambda: None) for _ in range(5)] == [True, True, True, False, False]
    release(gates)


def test_what_a_job_raises_goes_to_on_error(make: Pools) -> None:
    errors: list[BaseException] = []
    pool = make(on_error=errors.append)
    wrong, leaving = ValueError("wrong"), SystemExit(3)

    def fail(error: BaseException) -> None:
        raise error

    for error in (wrong, leaving):
        pool.submit(lambda error=error: fail(error))  # type: ignore[misc]
    until(lambda: len(errors) == 2)
    run(pool)
    assert set(errors) == {wrong, leaving}


def test_without_on_error_it_goes_to_the_log(make: Pools, caplog: pytest.LogCaptureFixture) -> None:
    pool = make()
    pool.submit(lambda: 1 // 0)  # type: ignore[arg-type]
    until(lambda: "a job failed: integer division or modulo by zero" in caplog.text)
    until(lambda: pool.statistics().idle == 1)


def test_the_pool_goes_on_when_on_error_itself_raises(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def on_error(error: BaseException) -> None:
        raise error

    pool = make(most=1, on_error=on_error)
    [gate] = occupy(pool)
    done = threading.Event()
    assert pool.submit(lambda: 1 // 0)  # type: ignore[arg-type]
    assert pool.submit(done.set)
    release([gate])
    assert done.wait(LONG)
    until(lambda: pool.statistics().idle == 1)
    assert (seen[0].exc_type, pool.statistics().threads) == (ZeroDivisionError, 1)


def test_an_idle_worker_does_not_keep_its_last_job_alive(make: Pools) -> None:
    class Payload:
        pass

    pool = make()
    payload = Payload()
    gone = weakref.ref(payload)
    run(pool, lambda payload=payload: None)  # type: ignore[misc]
    del payload
    gc.collect()
    assert gone() is None


# -------------------------------------------------------------------------------------------------------- idle threads


def test_idle_threads_above_keep_end(make: Pools) -> None:
    pool = make(keep=2, most=6, cap=6, idle_after=0.01)
    release(occupy(pool, 6))
    until(lambda: pool.statistics().threads == 2)
    assert pool.statistics() == WorkersStatistics(threads=2, idle=2, blocked=0, queued=0, queued_bytes=0, peak=6)
    run(pool)  # those that are left still work
    assert pool.statistics().threads == 2


def test_a_job_given_at_the_moment_of_ending_runs(make: Pools) -> None:
    pool = make(keep=0, most=2, cap=2, idle_after=0.0)
    for _ in range(300):
        ran = threading.Event()
        assert pool.submit(ran.set)
        assert ran.wait(LONG)


def test_without_more_threads_of_the_system_jobs_queue_or_are_refused(
    make: Pools, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert not pool.submit(lambda: None)
    [gate] = occupy(pool)
    later = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert pool.submit(later.set)
        assert "calls has 1 threads and gets no more" in caplog.text
    release([gate])
    assert later.wait(LONG)


# ------------------------------------------------------------------------------------------------------------- blocked


def test_a_spare_runs_while_a_worker_is_blocked(make: Pools) -> None:
    pool = make(most=1, cap=2)
    gates = occupy(pool, waits_blocked=True)
    assert pool.statistics() == WorkersStatistics(threads=1, idle=0, blocked=1, queued=0, queued_bytes=0, peak=1)
    run(pool)
    release(gates)
    until(lambda: pool.statistics().idle == 2)


def test_a_queued_job_begins_when_a_worker_blocks(make: Pools) -> None:
    pool = make(most=1, cap=2)
    other = threading.Event()

    def wait_for_other() -> None:
        assert pool.submit(other.set)
        assert pool.statistics().queued == 1
        with blocked():
            assert other.wait(LONG)

    run(pool, wait_for_other)


def test_blocked_may_be_nested(make: Pools) -> None:
    pool = make()
    seen: list[int] = []

    def job() -> None:
        with blocked():
            with blocked():
                seen.append(pool.statistics().blocked)
            seen.append(pool.statistics().blocked)
        seen.append(pool.statistics().blocked)

    run(pool, job)
    assert seen == [1, 1, 0]


def test_blocked_does_nothing_outside_a_pool() -> None:
    with blocked(), blocked():
        pass


def test_the_pool_shrinks_back_after_blocking(make: Pools) -> None:
    pool = make(keep=1, most=1, cap=8, idle_after=0.01)
    gates = occupy(pool, 7, waits_blocked=True)
    assert (pool.statistics().threads, pool.statistics().blocked) == (7, 7)
    release(gates)
    until(lambda: pool.statistics().threads == 1)
    assert pool.statistics() == WorkersStatistics(threads=1, idle=1, blocked=0, queued=0, queued_bytes=0, peak=7)


def test_after_unblocking_no_more_than_most_take_from_the_queue(make: Pools) -> None:
    pool = make(most=1, cap=4)
    waiting = occupy(pool, 1, waits_blocked=True)
    running = occupy(pool, 1)
    release(waiting)
    queued = Gate()
    assert pool.submit(queued)
    assert waiting[0].ended.wait(LONG)
    until(lambda: pool.statistics().idle == 1)
    assert not queued.begun.is_set()
    release([*running, queued])
    assert queued.ended.wait(LONG)


def call_down(pools: list[Workers], depth: int) -> list[str]:
    """Handlers that call handlers: each asks the next pool and waits. Returns how they ended, innermost first."""
    events: list[str] = []
    over = threading.Event()

    def handler(left: int, reply: threading.Event) -> None:
        answer = threading.Event()

        def refused() -> None:
            events.append(f"refused {left - 1}")
            answer.set()

        if left:
            if not pools[left % len(pools)].submit(lambda: handler(left - 1, answer), on_refused=refused):
                refused()
            with blocked():
                assert answer.wait(LONG)
        events.append(f"ended {left}")
        reply.set()

    assert pools[-1].submit(lambda: handler(depth, over))
    assert over.wait(LONG)
    return events


def test_a_calls_b_calls_a_a_hundred_deep(make: Pools) -> None:
    a, b = make(most=1, cap=64), make(most=1, cap=64)
    assert call_down([a, b], 100) == [f"ended {left}" for left in range(101)]
    assert (until_quiet(a).peak, until_quiet(b).peak) == (50, 51)


def test_at_cap_the_deepest_call_is_refused_and_nothing_hangs(make: Pools) -> None:
    pool = make(keep=1, most=2, cap=4)
    assert call_down([pool], 10) == ["refused 6", "ended 7", "ended 8", "ended 9", "ended 10"]
    run(pool)


def test_at_cap_with_all_blocked_a_job_is_refused_at_once(make: Pools) -> None:
    pool = make(most=2, cap=3)
    gates = occupy(pool, 3, waits_blocked=True)
    assert not pool.submit(lambda: None)
    release(gates)
    until(lambda: pool.statistics().idle == 3)
    run(pool)


def test_queued_jobs_are_refused_when_the_last_worker_blocks_at_cap(make: Pools) -> None:
    errors: list[BaseException] = []
    pool = make(most=1, cap=1, on_error=errors.append)
    refused: list[str] = []

    def refuse(name: str) -> None:
        refused.append(name)
        raise ValueError(name)

    def job() -> None:
        assert pool.submit(lambda: None, size=7, on_refused=lambda: refuse("first"))
        assert pool.submit(lambda: None, size=7, on_refused=lambda: refuse("second"))
        assert pool.submit(lambda: None, size=7)
        with blocked():
            assert refused == ["first", "second"]

    run(pool, job)
    assert [str(error) for error in errors] == ["first", "second"]
    assert pool.statistics() == WorkersStatistics(threads=1, idle=1, blocked=0, queued=0, queued_bytes=0, peak=1)


# ---------------------------------------------------------------------------------------------------------------- stop


def test_stop_lets_queued_and_running_jobs_end(make: Pools) -> None:
    gates: list[Gate] = []

    def clock() -> float:
        release(gates)  # `stop` reads the clock when it has begun to wait
        return time.monotonic()

    pool = make(most=1, clock=clock)
    gates += occupy(pool)
    ran: list[int] = []
    for number in range(3):
        pool.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
    assert pool.stop(LONG)
    assert ran == [0, 1, 2]
    assert not pool.submit(lambda: None)


def test_stop_is_bounded_and_may_be_called_again(make: Pools) -> None:
    pool = make()
    gates = occupy(pool)
    assert not pool.stop(0.01)
    release(gates)
    assert pool.stop(LONG)


def test_stop_shares_its_time_among_the_threads(make: Pools) -> None:
    now = iter([100.0, 100.5, 101.0, 200.0])
    pool = make(clock=lambda: next(now, 0.0))
    gates = occupy(pool, 3)
    assert not pool.stop(0.6)  # 0.1 s for the first thread, nothing for the others
    release(gates)


def test_a_worker_may_stop_its_own_pool(make: Pools) -> None:
    pool = make()
    stopped: list[bool] = []
    ended = threading.Event()

    def job() -> None:
        stopped.append(pool.stop(LONG))
        ended.set()

    pool.submit(job)
    assert ended.wait(LONG)
    assert stopped == [True]


def test_drop_queued_refuses_what_has_not_begun(make: Pools) -> None:
    pool = make(most=1)
    gates = occupy(pool)
    events: list[str] = []
    for _ in range(3):
        assert pool.submit(lambda: events.append("ran"), size=5, on_refused=lambda: events.append("refused"))
    assert pool.drop_queued() == 3
    assert pool.drop_queued() == 0
    assert (events, pool.statistics().queued_bytes) == (["refused"] * 3, 0)
    release(gates)


# -------------------------------------------------------------------------------------------------------------- chaos


@pytest.mark.parametrize("chaos", range(5))
def test_each_accepted_job_runs_once_or_is_refused_once(make: Pools, chaos: int) -> None:
    pool = make(keep=chaos % 3, most=3, cap=6, queue_bytes=40, idle_after=0.001, on_error=lambda error: None)
    accepted: list[tuple[int, int]] = []
    ended: list[tuple[int, int]] = []
    parked: deque[threading.Event] = deque()

    def submit(key: tuple[int, int], job: Callable[[], None]) -> None:
        if pool.submit(job, 5, lambda: ended.append(key)):
            accepted.append(key)

    def go_on() -> None:
        while parked:
            parked.popleft().set()

    def work(key: tuple[int, int], waits: bool, nested: bool, fails: bool) -> None:
        ended.append(key)
        child = key[0], key[1] + 1000
        if nested:
            submit(child, lambda: ended.append(child))
        if waits:
            go = threading.Event()
            parked.append(go)
            with blocked():
                assert go.wait(LONG)
        if fails:
            raise ValueError(key)

    def is_free() -> bool:
        go_on()
        now = pool.statistics()
        return now.queued == 0 and now.blocked < 6

    def submitter(number: int) -> None:
        dice = random.Random(f"{chaos} {number}")
        for index in range(300):
            key = number, index
            submit(key, partial(work, key, *(dice.random() < 0.4 for _ in range(3))))
            if dice.random() < 0.1:
                until(is_free)

    threads = [threading.Thread(target=submitter, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)

    def is_over() -> bool:
        go_on()
        now = pool.statistics()
        return now.idle == now.threads and now.queued == 0

    until(is_over)
    assert sorted(ended) == sorted(accepted)
    assert len(accepted) > 50
    now = pool.statistics()
    assert (now.blocked, now.queued_bytes) == (0, 0)
    assert now.peak <= 6
