"""One retrieval at a time, with a clock of its own; check lines R02 and R04 of the reference "flare"."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.federation import LONG
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.errors import AbortRun, ArgumentError, InvalidRequest
from zmqfl.streaming.retrievals import Retrieval, Retrievals, Retrieved, known

OK, ABORTED, TIMEOUT = ReturnCode.OK, ReturnCode.TASK_ABORTED, ReturnCode.TIMEOUT
FAILED = ReturnCode.EXECUTION_EXCEPTION


class Waiting(Retrieval):
    """Waits on a clock that goes on only by waiting; after each wait that was too short, the next of `events`."""

    def __init__(self, *events: Callable[[Waiting], object], taken: Any = None) -> None:
        self.now = 100.0
        self.waits: list[float | None] = []
        self.events = list(events)
        super().__init__("id", "site-1", taken, lambda: self.now)

    def result(self, timeout: float | None = None) -> Retrieved:
        if not self.done():
            self.waits.append(timeout)
            if self.events:
                self.events.pop(0)(self)
            elif timeout is not None:
                self.now += timeout
        return super().result(0 if not self.done() else None)


def after(seconds: float, event: Callable[[Waiting], object]) -> Callable[[Waiting], object]:
    def act(retrieval: Waiting) -> None:
        retrieval.now += seconds
        event(retrieval)

    return act


def test_ret_R04_only_time_without_progress_counts() -> None:
    taken: list[int] = []
    progress = [after(9.0, lambda retrieval: retrieval.touch(5)) for _ in range(4)]
    retrieval = Waiting(*progress, lambda retrieval: retrieval.end(OK, "data"), taken=taken.append)
    assert retrieval.wait(10.0) == Retrieved(OK, "data")
    assert retrieval.waits == [10.0] * 5
    assert (retrieval.now, taken) == (136.0, [5] * 4)


def test_no_progress() -> None:
    retrieval = Waiting(after(4.0, lambda retrieval: None))
    assert retrieval.wait(10.0) == Retrieved(TIMEOUT, reason="nothing has come from site-1 for 10 s")
    assert retrieval.waits == [10.0, 6.0]
    assert retrieval.is_given_up
    with pytest.raises(AbortRun):
        retrieval.check()


def test_no_time_counts_when_everything_is_there() -> None:
    def begin_end(retrieval: Waiting) -> None:
        assert retrieval.begin_end()
        retrieval.now += 1000.0

    retrieval = Waiting(begin_end, lambda retrieval: retrieval.end(OK, 3))
    assert retrieval.wait(10.0) == Retrieved(OK, 3)
    assert retrieval.waits == [10.0, None]


def test_the_last_moment_belongs_to_one_side() -> None:
    """Whoever decides first: who waits is given up, or the result is kept."""
    retrieval = Retrieval("id", "site-1")
    retrieval.give_up(ABORTED, "aborted")
    assert not retrieval.begin_end()
    assert retrieval.wait(LONG) == Retrieved(ABORTED, reason="aborted")
    retrieval = Retrieval("id", "site-1")
    assert retrieval.begin_end()
    retrieval.give_up(ABORTED, "aborted")
    retrieval.refuse(ReturnCode.ERROR, "no")
    assert not retrieval.done()
    retrieval.end(OK, 1)
    assert retrieval.wait(LONG) == Retrieved(OK, 1)
    assert not retrieval.is_given_up


@pytest.mark.parametrize(
    ("rc", "failure", "expected"),
    [
        (ABORTED, (FAILED, "no disk"), Retrieved(FAILED, None, "no disk")),
        (ABORTED, None, Retrieved(ABORTED)),
        (TIMEOUT, (ReturnCode.ERROR, "slow"), Retrieved(TIMEOUT, None, "slow")),
        (OK, None, Retrieved(OK, "data")),
    ],
)  # fmt: skip
def test_how_a_stream_ends(rc: ReturnCode, failure: Any, expected: Retrieved) -> None:
    retrieval = Retrieval("id", "site-1")
    retrieval.failure = failure
    retrieval.end(rc, "data")
    retrieval.end(OK, "later")
    assert retrieval.wait(LONG) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (make_reply(ReturnCode.BAD_REQUEST_DATA, {ReservedHeaderKey.ERROR: "no"}), (ReturnCode.BAD_REQUEST_DATA, "no")),
        (make_reply("CODE OF TOMORROW"), (ReturnCode.ERROR, "")),
        (None, (ReturnCode.EXECUTION_EXCEPTION, "site-1 has given no reply")),
        ("reply", (ReturnCode.EXECUTION_EXCEPTION, "site-1 has given no reply")),
    ],
)
def test_replies(reply: Any, expected: Any) -> None:
    retrieval = Retrieval("id", "site-1")
    retrieval.answered(Shareable())
    assert not retrieval.done()
    retrieval.answered(reply)
    retrieved = retrieval.wait(LONG)
    assert (retrieved.rc, retrieved.reason) == expected


@pytest.mark.parametrize("rc", [TIMEOUT, ReturnCode.COMMUNICATION_ERROR])
def test_no_reply_is_no_refusal(rc: ReturnCode) -> None:
    """The site may have begun, so it must be told."""
    retrieval = Retrieval("id", "site-1")
    retrieval.answered(make_reply(rc))
    assert (retrieval.wait(LONG).rc, retrieval.is_given_up) == (rc, True)
    refused = Retrieval("id", "site-1")
    refused.answered(make_reply(ReturnCode.BAD_REQUEST_DATA))
    assert not refused.is_given_up


def test_a_reply_that_is_lost_does_not_stop_a_stream_that_has_begun() -> None:
    retrievals = Retrievals()
    retrieval = retrievals.begin("site-1")
    retrievals.admit(retrieval.id, "site-1")
    retrieval.answered(make_reply(ReturnCode.COMMUNICATION_ERROR))
    assert not retrieval.done()


def test_what_the_caller_did_wrong_is_raised() -> None:
    retrieval = Retrieval("id", "site-1")
    retrieval.fail(ArgumentError("wrong"))
    with pytest.raises(ArgumentError, match="wrong"):
        retrieval.wait(LONG)


def test_who_is_admitted() -> None:
    retrievals = Retrievals()
    retrieval = retrievals.begin("site-1")
    wrong: list[tuple[Any, str]] = [(retrieval.id, "site-2"), ("other", "site-1"), (None, "site-1"), (["x"], "site-1")]
    for id, origin in wrong:
        assert retrievals.find(id, origin) is None
        with pytest.raises(InvalidRequest, match="nobody here waits"):
            retrievals.admit(id, origin)
    assert retrievals.admit(retrieval.id, "site-1") is retrieval
    with pytest.raises(InvalidRequest):  # once
        retrievals.admit(retrieval.id, "site-1")
    assert repr(retrievals) == f"<Retrievals {retrieval.id}>"
    retrievals.forget(retrieval)
    assert (retrievals.find(retrieval.id, "site-1"), repr(retrievals)) == (None, "<Retrievals none>")
    late = retrievals.begin("site-1")
    late.give_up(TIMEOUT, "")
    with pytest.raises(InvalidRequest):
        retrievals.admit(late.id, "site-1")


def test_ids_cannot_be_guessed() -> None:
    retrievals = Retrievals()
    assert len({retrievals.begin("a").id for _ in range(100)}) == len(retrievals) == 100


def test_a_waiting_thread_is_woken() -> None:
    retrieval = Retrieval("id", "site-1")
    ends: list[Retrieved] = []
    thread = threading.Thread(target=lambda: ends.append(retrieval.wait(1e10)))
    thread.start()
    retrieval.end(OK, 1)
    thread.join(LONG)
    assert ends == [Retrieved(OK, 1)]
    assert repr(retrieval) == "<Retrieval id from site-1 finished>"


@pytest.mark.parametrize(
    ("rc", "expected"),
    [
        ("OK", OK), (OK, OK), (True, OK), (False, ReturnCode.ERROR), ("TIMEOUT", TIMEOUT), ("x", ReturnCode.ERROR),
        (None, ReturnCode.ERROR), (3, ReturnCode.ERROR),
    ],
)  # fmt: skip
def test_codes(rc: object, expected: ReturnCode) -> None:
    assert known(rc) is expected
