"""Reports that do not come too often, and who stands still."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.streaming.transfer_progress import ProgressMeter, ProgressState, TransferProgressTracker


def test_reports_come_at_the_ends_and_once_per_interval() -> None:
    meter = ProgressMeter(10.0, ref_id="R")
    assert meter.start(0.0, 7.0) == {
        "ref_id": "R", "sequence": 0, "bytes_done": 0, "items_done": 0, "timestamp": 7.0, "state": "start",
    }  # fmt: skip
    assert meter.advance(5, 1, 9.9, 8.0) is None
    report = meter.advance(5, 2, 10.0, 8.0)
    assert report is not None
    assert (report["sequence"], report["bytes_done"], report["items_done"], report["state"]) == (1, 10, 3, "active")
    assert meter.advance(1, 1, 19.9, 8.0) is None
    last = meter.end(ProgressState.FAILED, 19.9, 9.0)
    assert (last["sequence"], last["bytes_done"], last["state"]) == (2, 11, "failed")


def test_an_interval_of_0_reports_all() -> None:
    meter = ProgressMeter(0.0)
    assert [meter.advance(1, 1, 5.0, 0.0) is not None for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("state", ProgressState)
def test_the_last_states(state: ProgressState) -> None:
    assert state.is_last is (state in ("completed", "failed", "aborted"))


class Tracked:
    def __init__(self) -> None:
        self.now = 0.0
        self.tracker = TransferProgressTracker(10.0, lambda: self.now)

    def report(self, now: float, bytes_done: int, state: ProgressState = ProgressState.ACTIVE, **more: Any) -> None:
        self.now = now
        facts = {"ref_id": "R", "items_done": 0, "sequence": 0, "timestamp": 0.0, **more}
        self.tracker.update(bytes_done=bytes_done, state=state, **facts)


def test_what_moves_has_not_stalled() -> None:
    it = Tracked()
    for now in range(0, 100, 9):
        it.report(float(now), now)
        assert not it.tracker.is_stalled("R")
    it.now = 109.0
    assert it.tracker.is_stalled("R")
    assert [record.ref_id for record in it.tracker.stalled_records()] == ["R"]
    it.report(110.0, 99)  # a report without more bytes is no progress
    assert it.tracker.is_stalled("R")
    it.report(110.0, 99, items_done=1)
    assert not it.tracker.is_stalled("R")


def test_what_has_ended_has_not_stalled() -> None:
    it = Tracked()
    it.report(0.0, 5)
    it.report(1.0, 5, ProgressState.COMPLETED)
    it.now = 1000.0
    assert (it.tracker.is_stalled("R"), it.tracker.stalled_records()) == (False, ())
    record = it.tracker.get_record("R")
    assert record is not None
    assert (record.bytes_done, record.state, record.moved) == (5, "completed", 1.0)
    assert it.tracker.records == (record,)


def test_what_is_not_known() -> None:
    it = Tracked()
    assert (it.tracker.is_stalled("R"), it.tracker.get_record("R"), it.tracker.records) == (False, None, ())
