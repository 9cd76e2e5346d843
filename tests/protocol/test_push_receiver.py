"""The table of `zmqfl.protocol.push_receiver`, a test per row. The owner is o, instance 9, its push 7; here is a."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Answer, Ask, Call, CloseStream, Command, Consume, OpenStream, Outcome
from zmqfl.protocol.push_receiver import ASK_AGAIN, IN_DOUBT, PushReceiver, StreamState, Verdict
from zmqfl.protocol.push_sender import ALIVE, CHANNEL, END, LAST, MOST_AHEAD, OPEN, ROUND, STATE

OK, FAILED, ABORT = CellReturnCode.OK, CellReturnCode.PROCESS_EXCEPTION, CellReturnCode.ABORT_RUN
INVALID, COMM = CellReturnCode.INVALID_REQUEST, CellReturnCode.COMM_ERROR
KEY = ("o", 9, 7)
AT = 100.0
IDLE = 30.0
FINE = Outcome(OK)
ENDED = Outcome(ABORT, "this stream has ended")
numbers = count(1)


def call(topic: str, **headers: Any) -> Call:
    return Call("o", 9, next(numbers), CHANNEL, topic, 2, {"t": 7, **headers}, (b"xy",), 10.0, True)


def fresh(*others: str) -> tuple[PushReceiver, Call]:
    opening = call(OPEN, c="c", o="t", idle=round(IDLE * 1000), all=["a", *others] if others else [])
    return PushReceiver(KEY, opening, "a", 5.0, AT), opening


def opened(*others: str) -> PushReceiver:
    stream, opening = fresh(*others)
    assert stream.opened(FINE, AT) == [Answer(opening, FINE)]
    return stream


def round_(index: int) -> Call:
    return call(ROUND, i=index)


def end(rc: CellReturnCode = OK, n: int = 0, why: str = "", who: str = "") -> Call:
    return call(END, rc=str(rc), n=n, why=why, who=who)


def consume(stream: PushReceiver, index: int) -> Call:
    """Round `index` is being consumed."""
    request = round_(index)
    assert stream.round(request, AT) == [Consume(KEY, index, request)]
    return request


def took(request: Call, go: int) -> Answer:
    return Answer(request, Outcome(OK, headers={"go": go}))


def prepared(*others: str) -> PushReceiver:
    stream = opened(*others)
    request = consume(stream, 0)
    assert stream.consumed(FINE, False, AT) == [took(request, 0)]
    assert stream.state is StreamState.PREPARED
    return stream


def state_ask(stream: PushReceiver, *names: str) -> Ask:
    return Ask(stream, "state", names, CHANNEL, STATE, {"from": "o", "n": 9, "t": 7}, 0, (), 5.0)


def alive_ask(stream: PushReceiver) -> Ask:
    return Ask(stream, "alive", ("o",), CHANNEL, ALIVE, {"t": 7, "n": 9}, 0, (), 2 * IDLE / 3)


def said(verdict: str) -> Outcome:
    return Outcome(OK, headers={"s": verdict})


# -- open and refused ------------------------------------------------------------------------------------------------


def test_open() -> None:
    stream, opening = fresh()
    assert stream.start() == [OpenStream(KEY, opening)]
    assert (stream.state, stream.channel, stream.topic) == (StreamState.OPENING, "c", "t")
    assert stream.opened(FINE, AT) == [Answer(opening, FINE)]
    assert stream.state is StreamState.OPEN


def test_not_ready_or_refused__gone_and_it_may_be_opened_again() -> None:
    stream, opening = fresh()
    no = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "nobody", headers={"not_ready": 1})
    assert stream.opened(no, AT) == [Answer(opening, no)]
    assert (stream.state, stream.refused) == (StreamState.ENDED, True)


def test_refused_after_the_owner_has_ended_it__not_again() -> None:
    stream, opening = fresh()
    ending = end(ABORT)
    assert stream.end(ending, AT) == []
    assert stream.opened(Outcome(FAILED), AT) == [Answer(opening, Outcome(FAILED)), Answer(ending, FINE)]
    assert not stream.refused


def test_ended_while_it_is_opened__closed_as_soon_as_there_is_a_consumer() -> None:
    stream, opening = fresh()
    stream.end(end(ABORT, why="cancelled"), AT)
    assert stream.opened(FINE, AT) == [Answer(opening, FINE), CloseStream(KEY, ABORT, "cancelled", "")]


# -- rounds ----------------------------------------------------------------------------------------------------------


def test_rounds_one_by_one() -> None:
    stream = opened()
    for index in range(3):
        request = consume(stream, index)
        assert stream.state is StreamState.CONSUMING
        reply = Outcome(OK, "", 1, {"h": index}, (b"r",))
        answer = Answer(request, Outcome(OK, "", 1, {"h": index, "go": 1}, (b"r",)))
        assert stream.consumed(reply, True, AT) == [answer]
    assert stream.received == 6


def test_a_round_ahead_is_kept_until_its_turn() -> None:
    stream = opened()
    second, first, third = round_(1), round_(0), round_(2)
    assert stream.round(second, AT) == []
    assert stream.round(first, AT) == [Consume(KEY, 0, first)]
    assert stream.round(third, AT) == []
    assert stream.consumed(FINE, True, AT) == [took(first, 1), Consume(KEY, 1, second)]
    assert stream.consumed(FINE, True, AT) == [took(second, 1), Consume(KEY, 2, third)]


def test_a_round_too_far_ahead__or_twice() -> None:
    stream = opened()
    far, one, twice = round_(MOST_AHEAD), round_(1), round_(1)
    assert stream.round(far, AT) == [Answer(far, Outcome(INVALID, f"round {MOST_AHEAD} is out of order"))]
    assert stream.round(one, AT) == []
    assert stream.round(twice, AT) == [Answer(twice, Outcome(INVALID, "round 1 is out of order"))]
    consume(stream, 0)
    again = round_(0)
    assert stream.round(again, AT) == [Answer(again, Outcome(INVALID, "round 0 is out of order"))]


def test_push_P12_a_round_that_was_consumed_is_acknowledged_and_not_consumed() -> None:
    stream = opened()
    consume(stream, 0)
    stream.consumed(FINE, True, AT)
    again = round_(0)
    assert stream.round(again, AT) == [took(again, 1)]


def test_that_was_all__prepared__and_those_that_are_kept_are_acknowledged() -> None:
    stream = opened()
    first, second = round_(0), round_(1)
    stream.round(first, AT)
    stream.round(second, AT)
    assert stream.consumed(FINE, False, AT) == [took(first, 0), took(second, 0)]
    assert stream.state is StreamState.PREPARED
    later = round_(2)
    assert stream.round(later, AT) == [took(later, 0)]


def test_a_round_that_is_taken_back__the_end_follows_and_says_why() -> None:
    stream = opened()
    consume(stream, 0)
    assert stream.withdrawn(AT) == []
    assert stream.end(end(FAILED, why="it broke", who="o"), AT) == [CloseStream(KEY, FAILED, "it broke", "o")]


def test_the_consumer_fails() -> None:
    stream = opened()
    request, kept = consume(stream, 0), round_(1)
    stream.round(kept, AT)
    failure = Answer(request, Outcome(FAILED, "oops", headers={"go": 0}))
    closing = [failure, Answer(kept, ENDED), CloseStream(KEY, FAILED, "oops", "")]
    assert stream.consumed(Outcome(FAILED, "oops"), False, AT) == closing
    late = round_(2)
    assert stream.round(late, AT) == [Answer(late, ENDED)]
    ending = end(FAILED)
    assert stream.end(ending, AT) == []
    assert stream.closed(FINE) == [Answer(ending, FINE)]
    assert (stream.state, stream.verdict()) == (StreamState.ENDED, Verdict.ABORTED)


# -- the last round --------------------------------------------------------------------------------------------------


def test_last__nothing_is_missing__prepared() -> None:
    stream = opened("b")
    consume(stream, 0)
    stream.consumed(FINE, True, AT)
    request = call(LAST, n=1)
    assert stream.last(request, AT) == [Answer(request, FINE)]
    assert stream.state is StreamState.PREPARED
    assert stream.last(request, AT) == [Answer(request, FINE)]


def test_last__something_is_missing() -> None:
    stream = opened("b")
    request = call(LAST, n=1)
    assert stream.last(request, AT) == [Answer(request, Outcome(INVALID, "0 rounds are not all"))]
    consume(stream, 0)
    assert stream.last(request, AT) == [Answer(request, Outcome(INVALID, "0 rounds are not all"))]
    stream.end(end(ABORT), AT)
    assert stream.last(request, AT) == [Answer(request, ENDED)]


# -- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", [True, False])
def test_end_ok__committed(knows: bool) -> None:
    stream = opened()
    consume(stream, 0)
    stream.consumed(FINE, not knows, AT)
    ending = end(OK, 1)
    assert stream.end(ending, AT + 1) == [CloseStream(KEY, OK, "", "")]
    assert ending.started == AT + 1, "from here on its time-out runs"
    assert stream.verdict() is Verdict.COMMITTED
    given = Outcome(OK, "", 1, {}, (b"e",))
    assert stream.closed(given) == [Answer(ending, given)]
    assert stream.state is StreamState.ENDED


def test_end_ok__who_had_enough_earlier_does_not_count_the_rounds() -> None:
    assert prepared().end(end(OK, 20), AT) == [CloseStream(KEY, OK, "", "")]


def test_end_ok__something_is_missing__neither_committed_nor_told_so() -> None:
    stream = opened()
    ending = end(OK, 3)
    assert stream.end(ending, AT) == [CloseStream(KEY, INVALID, "", "")]
    assert stream.closed(FINE) == [Answer(ending, Outcome(INVALID, "this stream has ended otherwise"))]


def test_it_cannot_be_renamed__the_owner_learns_it__and_what_was_decided_stays_so() -> None:
    stream, ending = prepared("b"), end(OK, 1)
    stream.end(ending, AT)
    assert stream.closed(Outcome(FAILED, "taken")) == [Answer(ending, Outcome(FAILED, "taken"))]
    assert stream.verdict() is Verdict.COMMITTED


def test_end_with_another_code__after_the_consumer_has_returned() -> None:
    stream = opened()
    request, ending = consume(stream, 0), end(FAILED, why="b is full", who="b")
    assert stream.end(ending, AT) == []
    assert stream.verdict() is Verdict.ABORTED
    assert stream.consumed(FINE, True, AT) == [took(request, 1), CloseStream(KEY, FAILED, "b is full", "b")]
    assert stream.closed(FINE) == [Answer(ending, FINE)]


def test_a_code_that_nobody_knows_is_no_ok() -> None:
    [closing] = prepared().end(call(END, rc="splendid"), AT)
    assert closing == CloseStream(KEY, COMM, "", "")


def test_this_side_gives_it_up() -> None:
    stream = prepared("b")
    assert stream.stop(ABORT, "a stops", AT) == [CloseStream(KEY, ABORT, "a stops", "")]
    assert stream.stop(ABORT, "a stops", AT) == []
    ending = end(OK, 1)
    assert stream.end(ending, AT) == []
    assert stream.closed(FINE) == [Answer(ending, Outcome(ABORT, "this stream has ended otherwise"))]


# -- silence ---------------------------------------------------------------------------------------------------------


def test_silence_for_a_third_of_idle__alive() -> None:
    stream = opened()
    assert stream.deadline == AT + IDLE / 3
    assert stream.handle_timeout(AT + IDLE / 3) == [alive_ask(stream)]
    assert not stream.deadline
    assert stream.answered("alive", "o", FINE, AT + 11) == []
    assert stream.deadline == AT + 11 + IDLE / 3


def test_an_owner_that_is_busy_is_there() -> None:
    stream = opened()
    stream.handle_timeout(AT + IDLE / 3)
    busy = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "1024 requests")
    assert stream.answered("alive", "o", busy, AT + 11) == []
    assert stream.deadline == AT + 11 + IDLE / 3


def test_the_owner_has_forgotten_it() -> None:
    stream = opened("b")
    stream.handle_timeout(AT + IDLE / 3)
    reason = "o has gone away: no such push"
    forgot = Outcome(CellReturnCode.INVALID_SESSION, "no such push")
    assert stream.answered("alive", "o", forgot, AT + 11) == [CloseStream(KEY, COMM, reason, "o")]


def test_the_owner_is_asked_while_the_consumer_is_at_work() -> None:
    stream = opened("b")
    request = consume(stream, 0)
    assert stream.handle_timeout(AT + IDLE / 3) == [alive_ask(stream)]
    assert stream.owner_lost("gone", AT + 11) == []
    assert stream.verdict() is Verdict.ABORTED, "the others need not wait for the consumer"
    assert stream.deadline is None
    assert stream.consumed(FINE, True, AT) == [took(request, 1), CloseStream(KEY, COMM, "gone", "o")]


def test_the_owner_is_gone__a_prepared_one_that_is_alone_gives_up() -> None:
    assert prepared().owner_lost("gone", AT) == [CloseStream(KEY, COMM, "gone", "o")]


# -- frozen ----------------------------------------------------------------------------------------------------------

GIVEN_UP = [CloseStream(KEY, COMM, "o has gone away before the end", "o")]
COMMITTED: list[Command] = [CloseStream(KEY, OK, "", "")]


def frozen(*others: str) -> PushReceiver:
    stream = prepared(*others)
    assert stream.verdict() is Verdict.UNDECIDED
    assert stream.owner_lost("gone", AT) == [state_ask(stream, *others)]
    assert stream.owner_lost("gone", AT) == []
    assert stream.verdict() is Verdict.FROZEN
    return stream


def test_one_other_has_committed__so_does_it_at_once() -> None:
    stream = frozen("b", "c", "d")
    assert stream.answered("state", "b", said("frozen"), AT) == []
    assert stream.answered("state", "c", said("committed"), AT) == COMMITTED
    assert stream.answered("state", "d", said("aborted"), AT) == []


def test_one_has_given_up__so_does_it_when_it_has_heard_all() -> None:
    stream = frozen("b", "c")
    assert stream.answered("state", "b", said("aborted"), AT) == []
    assert stream.answered("state", "c", Outcome(COMM), AT) == GIVEN_UP


def test_all_are_frozen__it_gives_up() -> None:
    stream = frozen("b", "c")
    assert stream.answered("state", "b", said("frozen"), AT) == []
    assert stream.answered("state", "c", said("frozen"), AT) == GIVEN_UP


def test_one_still_hears_the_owner__asked_again_however_long() -> None:
    stream, now = frozen("b", "c"), AT
    for _ in range(1000):
        assert stream.answered("state", "b", said("undecided"), now) == []
        assert stream.answered("state", "c", said("frozen"), now) == []
        assert stream.deadline == now + ASK_AGAIN
        now += ASK_AGAIN
        assert stream.handle_timeout(now) == [state_ask(stream, "b", "c")]
    assert stream.answered("state", "b", said("committed"), now) == COMMITTED


@pytest.mark.parametrize(
    ("answer", "limit"), [(Outcome(COMM), IN_DOUBT * 5.0), (said("unknown"), 5.0), (said("?"), IN_DOUBT * 5.0)]
)
def test_one_cannot_be_asked_or_has_restarted__asked_again_for_a_while(answer: Outcome, limit: float) -> None:
    stream, now = frozen("b"), AT
    while not (commands := stream.answered("state", "b", answer, now)):
        assert stream.deadline is not None
        now = stream.deadline
        assert stream.handle_timeout(now) == [state_ask(stream, "b")]
    assert commands == GIVEN_UP
    assert now == AT + limit


def test_no_end_ok_counts_any_more__it_is_answered_as_it_comes_out() -> None:
    stream, ending, late = frozen("b"), end(OK, 1), round_(1)
    assert stream.end(ending, AT) == []
    assert stream.round(late, AT) == [Answer(late, ENDED)]
    assert stream.answered("state", "b", said("frozen"), AT) == GIVEN_UP
    assert stream.closed(FINE) == [Answer(ending, Outcome(COMM, "this stream has ended otherwise"))]


def test_an_end_with_another_code_counts() -> None:
    stream = frozen("b")
    assert stream.end(end(FAILED, why="b is full", who="b"), AT) == [CloseStream(KEY, FAILED, "b is full", "b")]
    assert stream.answered("state", "b", said("committed"), AT) == []


def test_this_side_gives_up_what_is_frozen() -> None:
    stream = frozen("b")
    assert stream.stop(ABORT, "a stops", AT) == [CloseStream(KEY, ABORT, "a stops", "")]
    assert stream.deadline is None


# -- what strangers send ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "x", -1, 1.5, True, [1]])
def test_numbers_that_are_none(value: Any) -> None:
    opening = call(OPEN, c=1, o=None, idle=value, all=value)
    stream = PushReceiver(KEY, opening, "a", 5.0, AT)
    assert stream.start() == [OpenStream(KEY, opening)]
    stream.opened(FINE, AT)
    assert stream.deadline == AT + 1.0 / 3
    request = call(ROUND, i=value)
    assert stream.round(request, AT) == [Answer(request, Outcome(INVALID, f"there is no round {value!r}"))]
    assert repr(stream) == "<PushReceiver of o #7 open, 0 rounds>"
