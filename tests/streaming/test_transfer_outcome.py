"""How it ended, and waiting for that."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.system.federation import LONG
from zmqfl.errors import WouldDeadlockError
from zmqfl.streaming.downloadable import DownloadStatus
from zmqfl.streaming.transfer_outcome import TransferOutcome, TransferReason, TransferState, TransferWaiter

OK, FAILED = DownloadStatus.SUCCESS, DownloadStatus.FAILED
SO_FAR = TransferOutcome("T", TransferState.ACTIVE, TransferReason.ACTIVE)
END = TransferOutcome("T", TransferState.COMPLETED, TransferReason.ALL_RECEIVERS_SUCCEEDED)


def waiter() -> TransferWaiter:
    return TransferWaiter(lambda: SO_FAR, lambda: ("site-1",))


def test_receivers_of_several_objects() -> None:
    outcome = TransferOutcome(
        "T", TransferState.FAILED, TransferReason.TIMEOUT,
        {"a": {"x": OK, "y": FAILED, "z": OK}, "b": {"x": OK, "y": OK}},
    )  # fmt: skip
    assert (outcome.succeeded, outcome.failed, outcome.ok) == (("x",), ("y", "z"), False)


def test_it_is_waited_for() -> None:
    it, seen = waiter(), []
    thread = threading.Thread(target=lambda: seen.append(it.wait(LONG)))
    thread.start()
    it.settle(END)
    thread.join(LONG)
    assert seen == [END]
    assert (it.wait(0), it.done(), it.outcome, it.acquired_receivers()) == (END, True, END, ("site-1",))
    assert repr(it) == "<TransferWaiter completed>"


def test_it_does_not_end_in_time() -> None:
    it = waiter()
    assert (it.wait(0), it.wait(0, linger=0), it.done(), it.outcome) == (None, None, False, None)
    assert repr(it) == "<TransferWaiter waiting>"


def test_it_lingers_for_those_beyond_the_quorum() -> None:
    it = waiter()
    it.meet_quorum()
    assert it.wait(LONG, linger=0) is SO_FAR
    assert it.wait(0) is None  # without `linger` it waits for all
    it.settle(END)
    assert it.wait(LONG, linger=LONG) is END


def test_the_quorum_wakes_who_lingers() -> None:
    it, seen = waiter(), list[Any]()
    thread = threading.Thread(target=lambda: seen.append(it.wait(None, linger=0)))
    thread.start()
    it.meet_quorum()
    thread.join(LONG)
    assert seen == [SO_FAR]


def test_a_loop_must_not_wait() -> None:
    async def main() -> None:
        with pytest.raises(WouldDeadlockError, match="to_thread"):
            waiter().wait(0)

    asyncio.run(main())
