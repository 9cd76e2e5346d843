"""What a cell offers, and the timer: without a cell, by a clock of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.streaming.downloads import RID, Numbers
from tests.system.federation import LONG, until
from zmqfl.errors import ArgumentError, ClosedError
from zmqfl.streaming.downloadable import DownloadStatus
from zmqfl.streaming.object_transaction import ObjectTransaction, Offered, TransactionCallbacks
from zmqfl.streaming.offers import Offers
from zmqfl.streaming.serial_calls import SerialCalls
from zmqfl.streaming.transfer_ledger import TransferLedger
from zmqfl.streaming.transfer_outcome import TransferWaiter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Files:
    """A cell's transaction of files that can be asked."""

    def __init__(self) -> None:
        self.asks: list[Callable[..., None]] = []
        self.ended = 0
        self.asked = threading.Event()

    def ask_activity(self, tell: Callable[..., None]) -> None:
        self.asks.append(tell)
        self.asked.set()

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def offers(clock: Clock) -> Iterator[Offers]:
    offers = Offers("test-offers", clock)
    yield offers
    offers.close()


def begin(offers: Offers, id: str = "T", is_chosen: bool = True, **options: Any) -> ObjectTransaction:
    ledger = TransferLedger(1, 100.0, 0.0, ["x"], **options)
    waiter = TransferWaiter(lambda: offers.look_at(ledger, id), lambda: ledger.acquired)
    transaction = ObjectTransaction(id, 1, ledger, TransactionCallbacks(), SerialCalls(lambda job: job()), waiter)
    offers.open(transaction, is_chosen)
    return transaction


def offer(offers: Offers, transaction: ObjectTransaction, ref_id: str = RID, files: Any = None) -> Offered:
    offered = Offered(ref_id, Numbers(), transaction, files is not None)
    offers.add(offered, None if files is None else lambda: files)
    return offered


def end(offers: Offers, offered: Offered) -> None:
    transaction = offered.transaction
    offers.change(
        transaction,
        lambda now: transaction.apply(transaction.ledger.end(offered.ref_id, "x", DownloadStatus.SUCCESS, now), now),
    )


def running() -> int:
    return sum(thread.name == "test-offers" for thread in threading.enumerate())


def test_the_timer_runs_while_there_is_a_transaction(offers: Offers) -> None:
    assert running() == 0
    offered = offer(offers, begin(offers))
    assert running() == 1
    assert offers.find(RID) is offered
    assert repr(offers) == "<Offers 1 objects of 1 transactions>"
    end(offers, offered)
    assert offered.transaction.waiter.wait(LONG)
    until(lambda: running() == 0)
    assert (offers.find(RID), offers.all()) == (None, [])


def test_what_has_ended_is_remembered(offers: Offers) -> None:
    offered = offer(offers, begin(offers))
    end(offers, offered)
    ended = offers.ended(RID)
    assert ended is not None
    assert (ended.status, ended.terminals) == ("finished", {})
    assert offers.begin(RID, "x") is None
    with pytest.raises(ArgumentError, match="is in use, or was"):
        offer(offers, begin(offers, "T2"))
    with pytest.raises(ArgumentError, match="has ended"):
        offer(offers, offered.transaction, RID + "2")
    with pytest.raises(ArgumentError, match="already in use"):
        begin(offers)
    begin(offers, "T3", is_chosen=False)
    with pytest.raises(ArgumentError, match="already in use"):
        begin(offers, "T3")


def test_time_outs_come_by_the_timer(offers: Offers, clock: Clock) -> None:
    transaction = begin(offers, acquire_timeout=50.0)
    offer(offers, transaction)
    clock.now = 50.0
    offers._timer.wake()
    outcome = transaction.waiter.wait(LONG)
    assert outcome is not None
    assert outcome.reason == "receiver_failed"
    until(lambda: running() == 0)


def test_who_begins_may_bring_an_earlier_deadline(offers: Offers) -> None:
    transaction = begin(offers, idle_timeout=0.01)
    offer(offers, transaction)
    until(lambda: offers._next == 100.0)
    assert offers.begin(RID, "x") is not None
    until(lambda: offers._next == 0.01)
    offers.change(transaction, transaction.produced)


def test_files_are_asked_for_before_anybody_is_given_up(offers: Offers, clock: Clock) -> None:
    files = Files()
    transaction = begin(offers)
    offered = offer(offers, transaction, files=files)
    assert offers.begin(RID, "x") is None  # it is no object
    clock.now = 100.0
    offers._timer.wake()
    assert files.asked.wait(LONG)
    assert transaction.is_open
    files.asked.clear()
    files.asks.pop()(60.0, {(RID, "x"): 60.0})
    until(lambda: offers._next == 160.0)
    clock.now = 160.0
    offers._timer.wake()
    assert files.asked.wait(LONG)
    files.asks.pop()(60.0, {})
    outcome = transaction.waiter.wait(LONG)
    assert outcome is not None
    assert outcome.reason == "timeout"
    assert (offered.is_file, files.ended > 0) == (True, True)


def test_a_cell_that_is_closed_is_not_asked(offers: Offers, clock: Clock) -> None:
    class Closed(Files):
        def ask_activity(self, tell: Callable[..., None]) -> None:
            self.asked.set()
            raise ClosedError("it is closed")

    files = Closed()
    transaction = begin(offers)
    offer(offers, transaction, files=files)
    clock.now = 100.0
    offers._timer.wake()
    assert files.asked.wait(LONG)
    offers.close()
    outcome = transaction.waiter.wait(LONG)
    assert outcome is not None
    assert outcome.reason == "deleted"


def test_what_is_closed(offers: Offers) -> None:
    transactions = [begin(offers, name) for name in ("T1", "T2")]
    offer(offers, transactions[0])
    offers.close()
    for transaction in transactions:
        outcome = transaction.waiter.wait(LONG)
        assert outcome is not None
        assert outcome.state == "aborted"
    with pytest.raises(ClosedError):
        begin(offers, "T3")


def test_all_may_be_deleted(offers: Offers) -> None:
    transactions = [begin(offers, name) for name in ("T1", "T2")]
    for _ in range(2):
        offers.delete(transactions)
    assert [transaction.waiter.done() for transaction in transactions] == [True, True]
