"""Memory that belongs to a process alone, sampled while it works."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL = 0.02
"""Seconds between two samples; each costs the process about a millisecond."""


def anonymous(pid: int) -> float:
    """MiB of anonymous memory: no file, no shared memory, no code."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


class Peak:
    """The highest anonymous memory of some processes within a `with` block: `highest`, by pid."""

    def __init__(self, pids: list[int]) -> None:
        self.highest = {pid: anonymous(pid) for pid in pids}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(INTERVAL):
            for pid in self.highest:
                self._look(pid)

    def _look(self, pid: int) -> None:
        try:
            self.highest[pid] = max(self.highest[pid], anonymous(pid))
        except (OSError, StopIteration):
            self._over.set()  # it has ended; who talks to it learns why
