"""Callbacks that must run one after another, in order, though any worker may run them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from zmqfl.cell.workers import Workers

log = logging.getLogger("zmqfl.cell")


class SerialQueue:
    """Runs what it is given on a pool, in order and never two at once."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._running = False

    def put(self, job: Callable[[], None]) -> None:
        """Run `job` after all that were put before. A refusing pool drops it: it is closed, or wholly blocked."""
        with self._lock:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        if not self._workers.submit(self._drain, on_refused=self._refused):
            self._refused()

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                log.exception("a callback failed")  # the others still have their turn
            except BaseException:
                self._refused()
                raise

    def _refused(self) -> None:
        """Let the next `put` try again with what is left."""
        with self._lock:
            self._running = False
