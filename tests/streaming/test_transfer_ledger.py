"""Who has what, and when it is over: told by the clock of the test."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.streaming.downloadable import DownloadStatus, TransactionDoneStatus
from zmqfl.streaming.transfer_ledger import Event, ObjectEnded, ReceiverEnded, TransactionEnded, TransferLedger
from zmqfl.streaming.transfer_outcome import TransferReason, TransferState

OK, FAILED = DownloadStatus.SUCCESS, DownloadStatus.FAILED
FINISHED, TIMEOUT, DELETED = TransactionDoneStatus


def ledger(*names: str, num: int | None = None, objects: str = "a", timeout: float = 100.0, **options: Any) -> Any:
    """Begun at 0. `names`: the receivers; without: `num` of them."""
    made = TransferLedger(len(names) if num is None else num, timeout, 0.0, names or None, **options)
    for ref_id in objects:
        made.add(ref_id, 0.0)
    return made


def one(receiver: str, status: DownloadStatus, ref_id: str = "a") -> Event:
    return ReceiverEnded(ref_id, receiver, status)


def test_a_receiver_ends_once() -> None:
    book = ledger("x", "y")
    assert book.asked("a", "x", 1.0)
    assert not book.asked("a", "x", 2.0)
    assert book.end("a", "x", OK, 3.0) == [one("x", OK)]
    assert book.end("a", "x", FAILED, 4.0) == []
    assert book.acquired == ("x",)
    assert book.end("a", "y", OK, 5.0) == [one("y", OK), ObjectEnded("a"), TransactionEnded(FINISHED)]
    assert book.end("a", "y", OK, 5.0) == []
    outcome = book.outcome("T")
    assert (outcome.state, outcome.reason) == (TransferState.COMPLETED, TransferReason.ALL_RECEIVERS_SUCCEEDED)
    assert (outcome.statuses, outcome.quorum_met, outcome.missing) == ({"a": {"x": OK, "y": OK}}, True, 0)
    assert (book.deadline, book.delete(), book.handle_timeout(1e9)) == (None, [], [])


def test_each_object_ends_by_itself() -> None:
    book = ledger("x", objects="ab")
    assert book.end("a", "x", OK, 1.0) == [one("x", OK), ObjectEnded("a")]
    assert not book.quorum_met
    assert book.end("b", "x", OK, 1.0) == [one("x", OK, "b"), ObjectEnded("b"), TransactionEnded(FINISHED)]
    assert book.quorum_met


def test_who_fails_makes_it_fail() -> None:
    book = ledger("x", "y", min_receivers=1)
    book.end("a", "x", OK, 1.0)
    assert book.quorum_met
    assert book.end("a", "y", FAILED, 1.0)[-1] == TransactionEnded(FINISHED)
    outcome = book.outcome("T")
    assert (outcome.state, outcome.reason) == (TransferState.FAILED, TransferReason.RECEIVER_FAILED)
    assert (outcome.succeeded, outcome.failed, outcome.quorum_met) == (("x",), ("y",), True)


def test_a_stranger_does_not_count() -> None:
    book = ledger("x")
    assert book.end("a", "stranger", FAILED, 1.0) == [one("stranger", FAILED)]
    assert book.acquired == ()
    assert book.end("a", "x", OK, 1.0)[1:] == [ObjectEnded("a"), TransactionEnded(FINISHED)]
    assert book.outcome("T").ok


def test_without_names_the_first_to_come_count() -> None:
    book = ledger(num=2)
    book.asked("a", "surplus", 1.0)
    book.end("a", "x", OK, 1.0)
    assert book.end("a", "y", OK, 1.0)[-1] == TransactionEnded(FINISHED)
    assert book.outcome("T").ok


def test_without_a_number_it_never_finishes() -> None:
    book = ledger(num=0)
    assert book.end("a", "x", OK, 50.0) == [one("x", OK)]
    assert not book.quorum_met
    assert book.deadline == 150.0
    assert book.handle_timeout(149.9) == []
    assert book.handle_timeout(150.0) == [TransactionEnded(TIMEOUT)]
    assert book.outcome("T").reason is TransferReason.UNKNOWN_RECEIVER_COUNT


def test_what_happens_renews_the_time() -> None:
    book = ledger("x")
    book.asked("a", "x", 90.0)
    book.touch(95.0)
    book.touch(20.0)  # told late
    assert book.deadline == 195.0
    assert book.handle_timeout(194.0) == []
    assert book.handle_timeout(195.0) == [TransactionEnded(TIMEOUT)]
    outcome = book.outcome("T")
    assert (outcome.state, outcome.reason) == (TransferState.FAILED, TransferReason.TIMEOUT)
    assert outcome.statuses == {"a": {"x": FAILED}}  # it never said that it has it


def test_what_is_deleted_is_aborted() -> None:
    book = ledger("x")
    assert book.delete() == [TransactionEnded(DELETED)]
    outcome = book.outcome("T")
    assert (outcome.state, outcome.reason) == (TransferState.ABORTED, TransferReason.DELETED)
    assert outcome.failed == ("x",)


def test_nothing_was_offered() -> None:
    book = ledger("x", objects="")
    assert book.handle_timeout(100.0) == [TransactionEnded(TIMEOUT)]
    assert book.outcome("T").reason is TransferReason.NO_OBJECTS


def test_what_goes_on_has_an_outcome_so_far() -> None:
    book = ledger("x", "y", min_receivers=1)
    book.asked("a", "y", 1.0)
    book.end("a", "x", OK, 1.0)
    outcome = book.outcome("T")
    assert (outcome.state, outcome.statuses, outcome.quorum_met) == (TransferState.ACTIVE, {"a": {"x": OK}}, True)


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_who_does_not_begin_has_failed() -> None:
    book = ledger("x", "y", "z", acquire_timeout=10.0)
    book.asked("a", "y", 9.0)
    assert book.deadline == 10.0
    assert book.handle_timeout(9.9) == []
    assert book.handle_timeout(10.0) == [one("x", FAILED), one("z", FAILED)]
    assert book.deadline == 109.0
    assert book.end("a", "y", OK, 20.0)[-1] == TransactionEnded(FINISHED)
    assert book.end("a", "x", OK, 20.0) == []  # too late
    assert (book.outcome("T").succeeded, book.outcome("T").failed) == (("y",), ("x", "z"))


def test_the_time_to_begin_runs_from_the_last_object() -> None:
    book = TransferLedger(1, 100.0, 0.0, ["x"], acquire_timeout=10.0)
    assert book.deadline == 100.0
    book.add("a", 50.0)
    assert book.deadline == 60.0
    assert book.handle_timeout(60.0) == [one("x", FAILED), ObjectEnded("a"), TransactionEnded(FINISHED)]


def test_the_missing_without_names() -> None:
    book = ledger(num=3, objects="ab", acquire_timeout=10.0)
    book.end("a", "x", OK, 1.0)
    assert book.handle_timeout(10.0) == [ObjectEnded("a")]
    assert book.end("b", "x", OK, 11.0)[1:] == [ObjectEnded("b"), TransactionEnded(FINISHED)]
    outcome = book.outcome("T")
    assert (outcome.reason, outcome.missing, outcome.succeeded) == (TransferReason.RECEIVER_FAILED, 2, ("x",))


def test_nobody_came() -> None:
    book = ledger(num=3, acquire_timeout=10.0)
    assert book.handle_timeout(10.0) == [ObjectEnded("a"), TransactionEnded(FINISHED)]
    assert (book.outcome("T").missing, book.outcome("T").ok) == (3, False)


def test_who_falls_silent_has_failed() -> None:
    book = ledger("x", "y", objects="ab", idle_timeout=10.0)
    book.asked("a", "x", 1.0)
    book.asked("a", "y", 5.0)
    book.end("a", "x", OK, 7.0)
    assert book.deadline == 15.0
    assert book.handle_timeout(15.0) == [one("y", FAILED), ObjectEnded("a"), one("y", FAILED, "b")]
    book.touch(16.0, "x")
    assert book.handle_timeout(17.0) == []
    assert book.handle_timeout(26.0)[-1] == TransactionEnded(FINISHED)
    assert book.outcome("T").statuses == {"a": {"x": OK, "y": FAILED}, "b": {"x": FAILED, "y": FAILED}}


def test_who_fell_silent_without_names_fails_with_what_it_began() -> None:
    book = ledger(num=1, objects="ab", idle_timeout=10.0)
    book.asked("a", "x", 1.0)
    assert book.handle_timeout(11.0) == [one("x", FAILED), ObjectEnded("a")]
    assert book.status is None


def test_the_end_was_served_but_not_confirmed() -> None:
    book = ledger("x", "y", idle_timeout=10.0)
    book.asked("a", "x", 1.0)  # all of it, as far as the owner knows
    book.end("a", "y", OK, 1.0)
    assert book.handle_timeout(11.0) == [one("x", FAILED), ObjectEnded("a"), TransactionEnded(FINISHED)]
    assert not book.outcome("T").ok


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_receivers": 2, "receiver_ids": ["x", "x"]}, "receiver_ids has 1 names"),
        ({"num_receivers": 1, "receiver_ids": ["x", "y"]}, "receiver_ids has 2 names"),
        ({"num_receivers": 1, "min_receivers": 2}, "min_receivers is 2"),
    ],
)
def test_numbers_that_do_not_fit(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TransferLedger(timeout=1.0, now=0.0, **arguments)


def test_pull_D12_500_receivers() -> None:
    names = [f"site-{number}" for number in range(500)]
    book = ledger(*names, objects="ab", min_receivers=400, acquire_timeout=50.0, idle_timeout=20.0)
    for number, name in enumerate(names[:450]):  # 50 never come, 40 fall silent in between, 5 fail
        now = number / 10
        book.asked("a", name, now)
        book.asked("b", f"stranger-{number}", now)
        book.end("b", f"stranger-{number}", OK, now)
        if number < 405:
            book.end("a", name, OK, now)
            book.end("b", name, OK, now)
            assert book.quorum_met is (number >= 399)
        elif number < 410:
            book.end("a", name, FAILED, now)
            book.end("b", name, OK, now)
    events: list[Event] = []
    while (deadline := book.deadline) is not None:
        events += book.handle_timeout(deadline)
    failed = [event.receiver for event in events if isinstance(event, ReceiverEnded)]
    assert sorted(failed) == sorted(names[410:] * 2)
    assert sum(isinstance(event, ObjectEnded) for event in events) == 2
    assert events[-1] == TransactionEnded(FINISHED)
    outcome = book.outcome("T")
    assert len(book.acquired) == 450
    assert (outcome.state, outcome.quorum_met, outcome.missing) == (TransferState.FAILED, True, 0)
    assert set(names[:405]) <= set(outcome.succeeded)
    assert set(names[405:]) <= set(outcome.failed)
    assert {len(statuses) for statuses in outcome.statuses.values()} == {500, 950}
