"""A pool of threads for handlers, which may wait for other handlers without using the pool up.

    fewer than `most` run?   a thread is to be had?             a new job
    yes                      an idle one, or below `cap`        begins
    yes                      no, and none runs: all blocked     is refused, for nobody would ever come for it
    yes                      no                                 is queued
    no                                                          is queued, or refused when the queue is full

Who waits inside `with blocked():` does not count as running, so a spare takes the next job: that is what lets A call
B call A. When the last one that ran blocks at `cap` threads, the queue is refused too. An accepted job either runs
or has its `on_refused` called, never both.

One worker is woken at a time, and wakes the next one when it finds more to do: jobs that come together wait for it
in the queue. Workers that wake together only fight for the interpreter, and the first has often done the work of all.

Each idle worker waits on a lock of its own. The last one to fall idle is the first to be woken, as its caches are
warm; so those that are not needed stay idle, and end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count

MAX_QUEUED = 16_384
"""Jobs that wait at most, whatever their size: each costs about 1 KiB beside its payload."""

IDLE = 10.0
"""Seconds after which an idle thread above `keep` ends."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkersStatistics:
    """The pool at one moment."""

    threads: int
    idle: int
    blocked: int
    queued: int
    queued_bytes: int
    peak: int
    """Most threads there ever were at once."""


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[], None]
    size: int
    refuse: Callable[[], None] | None


class _Worker(AbstractContextManager["_Worker"]):
    """One thread of a pool. Inside `with worker:` it is blocked; may be nested."""

    def __init__(self, pool: Workers, job: _Job) -> None:
        self.pool = pool
        self.job: _Job | None = job
        self.depth = 0
        self.wake = threading.Lock()
        self.wake.acquire()

    def __enter__(self) -> _Worker:
        self.depth += 1
        if self.depth == 1:
            self.pool.block()
        return self

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.pool.unblock()


class _Local(threading.local):
    worker: _Worker | None = None


_local = _Local()
_not_a_worker = nullcontext()


def blocked() -> AbstractContextManager[object]:
    """Inside `with blocked():` the thread waits for others, and its pool may start a spare.

    May be nested; does nothing in a thread that belongs to no pool.
    """
    return _local.worker or _not_a_worker


class Workers:
    """See the module.

    `keep`: threads that stay when idle. `most`: threads that run at once, not counting blocked ones. `cap`: threads
    in all. `queue_bytes`: bytes that queued jobs may hold. `on_error` gets what a job raises and must not raise
    itself (default: the log). `idle_after`: seconds until an idle thread above `keep` ends.
    """

    def __init__(
        self,
        name: str,
        keep: int,
        most: int,
        cap: int,
        queue_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_error: Callable[[BaseException], None] | None = None,
        idle_after: float = IDLE,
    ) -> None:
        self.name = name
        self._keep = keep
        self._most = most
        self._cap = cap
        self._queue_bytes = queue_bytes
        self._clock = clock
        self._on_error = on_error or _log_error
        self._idle_after = idle_after
        self._lock = threading.Lock()
        self._threads: dict[_Worker, threading.Thread] = {}
        self._idle: list[_Worker] = []
        self._blocked = 0
        self._waking: _Worker | None = None  # was given a job, and has not begun it
        self._queue: deque[_Job] = deque()
        self._queued_bytes = 0
        self._numbers = count(1)
        self._peak = 0
        self._closed = False

    # -- for those who have work -----------------------------------------------------------------------------------

    def submit(self, job: Callable[[], None], size: int = 0, on_refused: Callable[[], None] | None = None) -> bool:
        """Have `job` run; False when it is refused. Never waits. `size`: bytes that the job holds while queued.

        Refused: after `stop`; when the queue would exceed its bytes or `MAX_QUEUED` jobs; when `cap` threads are all
        blocked. `on_refused` is called, in any thread, when a job was accepted but will not run: all workers have
        blocked before it began, or `drop_queued` dropped it.
        """
        entry = _Job(job, size, on_refused)
        with self._lock:
            if self._closed:
                return False
            waits = self._waking is not None and self._enqueue(entry)
            return waits or self._begin(entry) or self._enqueue(entry)

    def drop_queued(self) -> int:
        """Refuse all jobs that have not begun; returns how many."""
        with self._lock:
            dropped = self._clear()
        self._refuse(dropped)
        return len(dropped)

    def stop(self, timeout: float) -> bool:
        """Accept nothing more, and wait at most `timeout` seconds for queued and running jobs.

        Returns whether all threads have ended. A worker that calls this does not wait for itself.
        """
        with self._lock:
            self._closed = True
            self._begin_queued()
            threads = [thread for thread in self._threads.values() if thread is not threading.current_thread()]
            while self._idle:
                worker = self._idle.pop()
                del self._threads[worker]
                worker.wake.release()
        deadline = self._clock() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock()))
        return not any(thread.is_alive() for thread in threads)

    def statistics(self) -> WorkersStatistics:
        """The pool at this moment."""
        with self._lock:
            return WorkersStatistics(
                len(self._threads), len(self._idle), self._blocked, len(self._queue), self._queued_bytes, self._peak
            )

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<Workers {self.name} {now.threads} threads, {now.idle} idle, {now.blocked} blocked, {now.queued} queued>"
        )

    def is_current(self) -> bool:
        """Whether this thread is one of the pool."""
        return _local.worker is not None and _local.worker.pool is self

    # -- for workers -----------------------------------------------------------------------------------------------

    def block(self) -> None:
        """The calling worker begins to wait: another may run instead."""
        with self._lock:
            self._blocked += 1
            stranded = self._advance()
        self._refuse(stranded)

    def unblock(self) -> None:
        """The calling worker goes on. Until one ends its job, one more than `most` may run."""
        with self._lock:
            self._blocked -= 1

    def _work(self, worker: _Worker) -> None:
        _local.worker = worker
        try:
            self._awake(worker)
            while worker.job is not None:
                self._run(worker.job.run)
                worker.job = None  # an idle worker must not keep its last payload alive
                self._take(worker)
        finally:
            self._leave(worker)

    def _take(self, worker: _Worker) -> None:
        """Put the next job into `worker.job`; leave None there when the worker has to end."""
        with self._lock:
            if self._queue and self._running() <= self._most:
                worker.job = self._dequeue()
                self._wake_next()
                return
            if self._closed:
                return
            self._idle.append(worker)
        timeout = self._idle_after
        while not worker.wake.acquire(timeout=timeout):
            with self._lock:
                if worker in self._idle:  # else it is just being woken
                    if len(self._idle) > self._keep:
                        self._idle.remove(worker)
                        return
                    timeout = -1
        self._awake(worker)

    def _awake(self, worker: _Worker) -> None:
        """It begins: another may be woken."""
        with self._lock:
            if self._waking is worker:
                self._waking = None
            self._wake_next()

    def _leave(self, worker: _Worker) -> None:
        with self._lock:
            self._threads.pop(worker, None)
            stranded = self._advance()
        self._refuse(stranded)

    def _run(self, function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001  SystemExit too: a handler does not end a worker
            self._on_error(error)

    def _refuse(self, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.refuse is not None:
                self._run(job.refuse)

    # -- with the lock held ----------------------------------------------------------------------------------------

    def _running(self) -> int:
        return len(self._threads) - len(self._idle) - self._blocked

    def _begin(self, job: _Job) -> bool:
        """Give `job` to a worker, if one may run."""
        if self._running() >= self._most:
            return False
        if self._idle:
            worker = self._idle.pop()
            worker.job = job
            self._waking = worker
            worker.wake.release()
            return True
        return len(self._threads) < self._cap and self._start(job)

    def _start(self, job: _Job) -> bool:
        worker = _Worker(self, job)
        thread = threading.Thread(
            target=self._work, args=(worker,), name=f"{self.name}-{next(self._numbers)}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            _log.warning("%s has %d threads and gets no more: %s", self.name, len(self._threads), error)
            return False
        self._threads[worker] = thread
        self._waking = worker
        self._peak = max(self._peak, len(self._threads))
        return True

    def _wake_next(self) -> None:
        """One more worker, if work waits and nobody is about to take it."""
        if self._queue and self._waking is None and self._begin(self._queue[0]):
            self._dequeue()

    def _enqueue(self, job: _Job) -> bool:
        full = len(self._queue) >= MAX_QUEUED or self._queued_bytes + job.size > self._queue_bytes
        if full or self._running() == 0:
            return False
        self._queue.append(job)
        self._queued_bytes += job.size
        return True

    def _dequeue(self) -> _Job:
        job = self._queue.popleft()
        self._queued_bytes -= job.size
        return job

    def _advance(self) -> list[_Job]:
        """Begin what may run by now; returns the jobs that nobody would ever come for."""
        self._begin_queued()
        return self._clear() if self._running() == 0 else []

    def _begin_queued(self) -> None:
        while self._queue and self._begin(self._queue[0]):
            self._dequeue()

    def _clear(self) -> list[_Job]:
        jobs = list(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        return jobs


def _log_error(error: BaseException) -> None:
    _log.error("a job failed: %s", error, exc_info=error)
