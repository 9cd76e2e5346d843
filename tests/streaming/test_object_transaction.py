"""The end of a transaction: what is produced may end first, and everybody is told in order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streaming.downloads import RID, Log, Numbers
from zmqfl.cell.callbacks import callback
from zmqfl.streaming.downloadable import DownloadStatus
from zmqfl.streaming.object_transaction import DRAIN, ObjectTransaction, Offered, TransactionCallbacks
from zmqfl.streaming.serial_calls import SerialCalls
from zmqfl.streaming.transfer_ledger import TransferLedger
from zmqfl.streaming.transfer_outcome import TransferWaiter


def begin(log: Log, **options: Any) -> tuple[ObjectTransaction, Offered]:
    """One receiver, one object; calls are made here."""
    callbacks = TransactionCallbacks(
        callback(lambda *args: log.write(("done", *args))),
        callback(lambda **report: log.write(("progress", report["tx_id"], report["state"], report["bytes_done"]))),
        callback(lambda outcome: log.write(("outcome", outcome.reason))),
        0.0,
    )
    ledger = TransferLedger(1, 100.0, 0.0, ["x"], **options)
    waiter = TransferWaiter(lambda: ledger.outcome("T"), lambda: ledger.acquired)
    transaction = ObjectTransaction("T", 1, ledger, callbacks, SerialCalls(lambda job: job()), waiter)
    offered = Offered(RID, Numbers(2, log), transaction)
    offered.obj.set_transaction("T", RID)
    transaction.offered.append(offered)
    ledger.add(RID, 0.0)
    return transaction, offered


def end(transaction: ObjectTransaction, now: float, status: DownloadStatus = DownloadStatus.SUCCESS) -> None:
    transaction.apply(transaction.ledger.end(RID, "x", status, now), now)
    transaction.go()


def test_everybody_is_told_in_order() -> None:
    log = Log()
    transaction, offered = begin(log)
    assert transaction.deadline == 100.0
    assert transaction.asked(offered, "x", 1.0)
    transaction.served("x", 7, 2.0)
    assert transaction.deadline == 102.0
    assert log.lines == []  # nobody was told yet
    end(transaction, 3.0)
    assert log.lines == [
        ("progress", "T", "start", 0), ("progress", "T", "active", 7), ("one", "x", "success"), ("all",),
        ("progress", "T", "completed", 7), ("object done", True, "finished"),
        ("done", "T", "finished", ["numbers below 2"]), ("outcome", "all_receivers_succeeded"), ("release",),
    ]  # fmt: skip
    assert transaction.is_settled
    after: Any = transaction.deadline
    assert after is None
    assert transaction.waiter.outcome is not None
    assert transaction.offered == []


def test_what_is_produced_may_end_first() -> None:
    log = Log()
    transaction, offered = begin(log)
    transaction.asked(offered, "x", 1.0)
    transaction.produce()
    transaction.produce()
    transaction.apply(transaction.ledger.delete(), 5.0)
    transaction.produced(6.0)
    transaction.go()
    assert (transaction.is_open, transaction.deadline, transaction.waiter.done()) == (False, 5.0 + DRAIN, False)
    transaction.produced(7.0)
    transaction.go()
    assert transaction.waiter.done()
    assert log.lines[-1] == ("release",)


def test_what_is_produced_for_ever_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    transaction, _ = begin(log)
    transaction.produce()
    transaction.apply(transaction.ledger.delete(), 5.0)
    transaction.handle_timeout(4.0 + DRAIN)
    assert not transaction.is_due(4.0 + DRAIN)
    transaction.handle_timeout(5.0 + DRAIN)
    transaction.go()
    assert transaction.waiter.done()
    assert "something is produced for more than 60 s" in caplog.text
    transaction.produced(200.0)  # at last
    transaction.go()
    assert log.lines.count(("release",)) == 1


def test_time_outs() -> None:
    log = Log()
    transaction, _ = begin(log, acquire_timeout=10.0)
    transaction.handle_timeout(10.0)
    transaction.go()
    assert log.lines[:3] == [("one", "x", "failed"), ("all",), ("progress", "T", "failed", 0)]
    transaction.is_asking = True
    assert transaction.deadline is None


def test_the_quorum_is_told() -> None:
    transaction, _ = begin(Log(), min_receivers=1)
    assert transaction.waiter.wait(0, linger=0) is None
    end(transaction, 1.0)
    outcome = transaction.waiter.wait(0)
    assert outcome is not None
    assert outcome.quorum_met
