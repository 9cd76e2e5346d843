"""For tests of downloads: objects made of numbers, those who take them, a clock that is set forward, and a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.system.federation import LONG
from zmqfl import Cell
from zmqfl.streaming.download_service import DownloadService
from zmqfl.streaming.downloadable import Consumer, Downloadable, DownloadStatus, ProduceRC, TransactionDoneStatus

RID = "R0123456789abcdef"


class Log:
    """What happened, in order. All threads may write to it."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self._changed = threading.Condition()

    def write(self, line: Any) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def wait_for(self, line: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: line in self.lines, LONG), f"{line} not in {self.lines}"


class Numbers(Downloadable):
    """0, 1, 2, ... up to `count`, one per chunk. `before`: called with each place before it is produced."""

    def __init__(self, count: int = 3, log: Log | None = None, before: Callable[[int], Any] | None = None) -> None:
        super().__init__(f"numbers below {count}")
        self.count = count
        self.log = log or Log()
        self.before = before
        self.ids = ("", "")

    def set_transaction(self, tx_id: str, ref_id: str) -> None:
        self.ids = (tx_id, ref_id)

    def produce(self, state: dict[str, Any], requester: str) -> tuple[ProduceRC, Any, dict[str, Any]]:
        place = state.get("place", 0)
        if self.before is not None:
            self.before(place)
        if place == self.count:
            return ProduceRC.EOF, None, {}
        return ProduceRC.OK, bytes([place]) * 10, {"place": place + 1}

    def downloaded_to_one(self, to_receiver: str, status: DownloadStatus) -> None:
        self.log.write(("one", to_receiver, status))

    def downloaded_to_all(self) -> None:
        self.log.write(("all",))

    def transaction_done(self, tx_id: str, status: TransactionDoneStatus) -> None:
        self.log.write(("object done", tx_id == self.ids[0], status))

    def release(self) -> None:
        self.log.write(("release",))


class Taker(Consumer):
    """Takes chunks. `before`: called with each before it is taken."""

    def __init__(self, before: Callable[[Any], Any] | None = None) -> None:
        self.taken: list[Any] = []
        self.ends: list[Any] = []
        self.before = before

    def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
        if self.before is not None:
            self.before(data)
        self.taken.append(data)
        return state

    def download_completed(self, ref_id: str) -> None:
        self.ends.append("completed")

    def download_failed(self, ref_id: str, reason: str) -> None:
        self.ends.append(reason)


def pass_time(cell: Cell, seconds: float) -> None:
    """Have the downloads of `cell` be as if nothing had happened for some more seconds."""
    service = DownloadService.of(cell)
    before = service.clock
    service.clock = lambda: before() + seconds
    service.offers._timer.wake()


def stop_time(cell: Cell) -> None:
    """Have the clock of the downloads of `cell` stand still, but for `pass_time`."""
    now = time.monotonic()
    DownloadService.of(cell).clock = lambda: now
