"""Calls that are made one after another, in order, each exactly once: by a worker, or by this thread when none can.

`zmqfl.cell.serial` drops what a pool refuses. Here each call is one that the application was promised, also while the
cell is being closed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger("zmqfl.streaming")

Job = Callable[[], None]


class SerialCalls:
    """See the module. `run` has a job run by a worker, and in any case."""

    def __init__(self, run: Callable[[Job], None]) -> None:
        self._run = run
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running = False

    def add(self, job: Job) -> None:
        """Put `job` behind all others. Any thread, holding any lock: nothing is run before `go`."""
        self._jobs.append(job)

    def go(self) -> None:
        """Have what was added run. Hold no lock: it may run here."""
        with self._lock:
            if self._running or not self._jobs:
                return
            self._running = True
        self._run(self._drain)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException as error:  # SystemExit too: the others still have their turn
                log.error("a callback failed: %s", error, exc_info=error)
