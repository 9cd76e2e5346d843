"""The table of `zmqfl.protocol.push_sender`, a test per row. Push 7 goes to a and b, in rounds of a few bytes."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Ask, Chunk, Command, Outcome, Produce, PushEnded, Settle, Unask
from zmqfl.protocol.push_sender import (
    CHANNEL,
    COMMIT_TIMEOUT,
    END,
    FIRST_RETRY,
    GOODBYE,
    LAST,
    LAST_RETRY,
    MOST_AHEAD,
    MOST_BYTES,
    OPEN,
    ROUND,
    PushSender,
    PushState,
)

OK, FAILED, ABORT = CellReturnCode.OK, CellReturnCode.PROCESS_EXCEPTION, CellReturnCode.ABORT_RUN
AT = 100.0
GO, ALL = Outcome(OK, headers={"go": 1}), Outcome(OK, headers={"go": 0})
FINE = Outcome(OK)
BAD = Outcome(FAILED, "the disk is full")
NOT_READY = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "nobody", headers={"not_ready": 1})


def fresh(*targets: str, window: int = 1, looks_ahead: bool = False, judges: bool = True) -> PushSender:
    return PushSender(
        7, targets or ("a", "b"), "c", "t", (1, (b"ctx",)),
        window=window, looks_ahead=looks_ahead, judges=judges, chunk_timeout=10.0,
    )  # fmt: skip


def ask(push: PushSender, tag: Any, names: str, topic: str, headers: dict[str, Any], **rest: Any) -> Ask:
    base: dict[str, Any] = {"codec": 0, "bodies": (), "timeout": 10.0, **rest}
    return Ask(push, tag, tuple(names), CHANNEL, topic, {"t": 7, **headers}, **base)


def round_(push: PushSender, index: int, names: str = "ab", body: bytes = b"x") -> Ask:
    return ask(push, index, names, ROUND, {"i": index}, codec=2, bodies=(body,))


def end(push: PushSender, names: str = "ab", **headers: Any) -> Ask:
    return ask(push, "end", names, END, headers, timeout=COMMIT_TIMEOUT)


def aborted(push: PushSender, code: CellReturnCode, why: str, who: str, names: str = "ab") -> list[Command]:
    return [Unask(push), end(push, names, rc=str(code), why=why, who=who)]


def chunk(body: bytes = b"x", **headers: Any) -> Chunk:
    return Chunk(headers, 2, (body,))


def both(push: PushSender, tag: Any, outcome: Outcome, now: float = AT) -> list[Command]:
    """All targets answer the same."""
    return [command for name in push.targets for command in push.answered(tag, name, outcome, now)]


def sending(*targets: str, window: int = 1, looks_ahead: bool = False, judges: bool = True) -> PushSender:
    push = fresh(*targets, window=window, looks_ahead=looks_ahead, judges=judges)
    push.start(AT)
    assert both(push, "open", FINE) == [Produce(7)]
    return push


def committing(push: PushSender) -> PushSender:
    push.produced(chunk(), "", AT)
    both(push, 0, ALL)
    assert push.state is PushState.COMMITTING
    return push


# -- opening ---------------------------------------------------------------------------------------------------------


def test_start__open_to_all() -> None:
    push = fresh(window=3, looks_ahead=True)
    headers = {"c": "c", "o": "t", "idle": 20_000, "all": ["a", "b"], "w": 3}
    assert push.start(AT) == [ask(push, "open", "ab", OPEN, headers, codec=1, bodies=(b"ctx",))]
    assert push.state is PushState.OPENING
    assert push.deadline is None


def test_a_single_target_need_not_know_the_others() -> None:
    [command] = fresh("a").start(AT)
    assert isinstance(command, Ask)
    assert command.headers["all"] == []


def test_a_target_is_not_ready__asked_again_ever_less_often_until_the_time_out() -> None:
    push = fresh("a")
    [opening] = push.start(AT)
    now, pauses = AT, []
    while not (ended := push.answered("open", "a", NOT_READY, now)):
        assert push.deadline is not None
        pauses.append(push.deadline - now)
        now = push.deadline
        assert push.handle_timeout(now) == [opening]
    assert pauses[:3] == pytest.approx([FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY])
    assert max(pauses) == pytest.approx(LAST_RETRY)
    assert now == AT + 10.0
    assert ended == aborted(push, NOT_READY.code, "nobody", "a", "a")


def test_only_those_that_are_not_ready_are_asked_again() -> None:
    push = fresh("a", "b", "c")
    push.start(AT)
    push.answered("open", "b", FINE, AT)
    push.answered("open", "c", NOT_READY, AT)
    push.answered("open", "a", NOT_READY, AT + 0.01)
    [again] = push.handle_timeout(AT + FIRST_RETRY)
    assert isinstance(again, Ask)
    assert again.targets == ("a", "c")
    assert push.deadline is None


def test_a_target_refuses() -> None:
    push = fresh()
    push.start(AT)
    assert push.answered("open", "b", BAD, AT) == aborted(push, FAILED, "the disk is full", "b")
    assert push.codes == {"b": BAD}


def test_all_have_answered__produce() -> None:
    push = fresh()
    push.start(AT)
    assert push.answered("open", "a", FINE, AT) == []
    assert push.answered("open", "b", FINE, AT) == [Produce(7)]
    assert push.state is PushState.SENDING


# -- sending ---------------------------------------------------------------------------------------------------------


def test_lockstep__produce_round_settle_produce() -> None:
    push = sending()
    assert push.produced(chunk(), "", AT) == [round_(push, 0)]
    assert push.answered(0, "a", GO, AT) == []
    assert push.answered(0, "b", GO, AT) == [Settle(7, {"a": GO, "b": GO})]
    assert push.settled(None, "", AT) == [Produce(7)]
    assert push.acknowledged == {"a": 1, "b": 1}


def test_the_headers_and_the_time_out_of_a_chunk() -> None:
    push = sending()
    [command] = push.produced(Chunk({"d": b"d"}, 2, (b"x",), 3.0), "", AT)
    assert command == ask(push, 0, "ab", ROUND, {"i": 0, "h": {"d": b"d"}}, codec=2, bodies=(b"x",), timeout=3.0)


def test_a_producer_that_does_not_judge_is_not_shown_the_replies() -> None:
    push = sending(judges=False)
    push.produced(chunk(), "", AT)
    assert both(push, 0, GO) == [Produce(7)]


def test_looking_ahead__two_chunks_are_made_and_a_window_is_out() -> None:
    push = sending(window=2, looks_ahead=True)
    assert push.produced(chunk(), "", AT) == [Produce(7), round_(push, 0)]
    assert push.produced(chunk(), "", AT) == [Produce(7), round_(push, 1)]
    assert push.produced(chunk(), "", AT) == [Produce(7)]
    assert push.produced(chunk(), "", AT) == []
    assert both(push, 1, GO) == [], "the replies are shown in the order of the rounds"
    assert both(push, 0, GO) == [Settle(7, {"a": GO, "b": GO})]
    assert push.settled(None, "", AT) == [Settle(7, {"a": GO, "b": GO}), Produce(7), round_(push, 2)]


def test_to_produce_comes_first__a_round_may_fail_at_once_and_end_all() -> None:
    [first, *_] = sending(window=2, looks_ahead=True).produced(chunk(), "", AT)
    assert first == Produce(7)


def test_without_looking_ahead_there_is_no_window() -> None:
    push = sending(window=8)
    push.produced(chunk(), "", AT)
    assert both(push, 0, GO) == [Settle(7, {"a": GO, "b": GO})]
    assert push.settled(None, "", AT) == [Produce(7)]


def test_a_window_is_no_wider_than_what_targets_keep() -> None:
    push = sending(window=1000, looks_ahead=True)
    rounds = [c for _ in range(MOST_AHEAD + 9) for c in push.produced(chunk(), "", AT) if isinstance(c, Ask)]
    assert len(rounds) == MOST_AHEAD


def test_the_bytes_of_a_window_are_bounded__but_one_round_is_out_in_any_case() -> None:
    push = sending(window=8, looks_ahead=True)
    half = bytes(MOST_BYTES // 2 + 1)
    assert len(push.produced(chunk(half), "", AT)) == 2
    assert push.produced(chunk(half), "", AT) == [Produce(7)]
    both(push, 0, GO)
    assert push.settled(None, "", AT) == [round_(push, 1, body=half)]


def test_who_has_all_gets_no_more_rounds() -> None:
    push = sending()
    push.produced(chunk(), "", AT)
    push.answered(0, "a", ALL, AT)
    push.answered(0, "b", GO, AT)
    push.settled(None, "", AT)
    assert push.produced(chunk(), "", AT) == [round_(push, 1, "b")]
    assert push.answered(1, "b", ALL, AT) == [end(push, rc="ok", n=2)]


def test_nothing_is_made_or_sent_when_all_have_all__rounds_that_are_out_come_back_first() -> None:
    push = sending(window=3, looks_ahead=True)
    for _ in range(3):
        push.produced(chunk(), "", AT)
    push.produced(chunk(), "", AT)
    both(push, 1, ALL)
    assert both(push, 0, GO) == [Settle(7, {"a": GO, "b": GO})]
    assert push.settled(None, "", AT) == [Settle(7, {"a": ALL, "b": ALL})]
    assert push.settled(None, "", AT) == []
    assert both(push, 2, ALL) == [end(push, rc="ok", n=3)]


def test_all_have_all_while_the_round_before_is_looked_at__one_end() -> None:
    push = sending(window=2, looks_ahead=True)
    push.produced(chunk(), "", AT)
    push.produced(chunk(), "", AT)
    push.produced(None, "", AT)
    assert both(push, 0, GO) == [Settle(7, {"a": GO, "b": GO})]
    assert both(push, 1, ALL) == []
    assert push.settled(None, "", AT) == [end(push, rc="ok", n=2)]


def test_nothing_more_is_produced__last_to_all__then_end() -> None:
    push = sending()
    push.produced(chunk(), "", AT)
    both(push, 0, GO)
    push.settled(None, "", AT)
    assert push.produced(None, "", AT) == [ask(push, "last", "ab", LAST, {"n": 1})]
    assert push.state is PushState.PREPARING
    assert push.answered("last", "b", FINE, AT) == []
    assert push.answered("last", "a", FINE, AT) == [end(push, rc="ok", n=1)]
    assert repr(push).startswith("<PushSender 7 committing")


def test_last_goes_to_those_that_do_not_know_it() -> None:
    push = sending()
    push.produced(chunk(), "", AT)
    push.answered(0, "a", ALL, AT)
    push.answered(0, "b", GO, AT)
    push.settled(None, "", AT)
    assert push.produced(None, "", AT) == [ask(push, "last", "b", LAST, {"n": 1})]


def test_no_last_to_a_single_target() -> None:
    push = sending("a")
    assert push.produced(None, "", AT) == [end(push, "a", rc="ok", n=0)]


def test_a_target_does_not_have_all_after_all() -> None:
    push = sending()
    push.produced(None, "", AT)
    assert push.answered("last", "b", BAD, AT) == aborted(push, FAILED, "the disk is full", "b")
    assert push.answered("last", "a", FINE, AT) == []


def test_settled_with_a_result__what_was_made_ahead_is_dropped() -> None:
    push = sending(window=1, looks_ahead=True)
    push.produced(chunk(), "", AT)
    push.produced(chunk(), "", AT)
    push.produced(chunk(), "", AT)
    both(push, 0, GO)
    assert push.settled("enough", "", AT) == [ask(push, "last", "ab", LAST, {"n": 1})]
    both(push, "last", FINE)
    both(push, "end", FINE)
    assert push.state is PushState.ENDED


def test_settled_with_a_false_result() -> None:
    push = sending()
    push.produced(chunk(), "", AT)
    both(push, 0, GO)
    why = "the producer was not content with the replies"
    assert push.settled(False, "", AT) == aborted(push, FAILED, why, "")


# -- committing ------------------------------------------------------------------------------------------------------


def test_all_have_answered__settle_for_the_last_round_with_what_the_ends_gave() -> None:
    push = sending()
    push.produced(chunk(), "", AT)
    push.answered(0, "a", Outcome(OK, "", 1, {"go": 0}, (b"r",)), AT)
    push.answered(0, "b", ALL, AT)
    given = Outcome(OK, "", 1, {}, (b"e", b"f"))
    assert push.answered("end", "a", given, AT) == []
    assert push.answered("end", "b", FINE, AT) == [
        Settle(
            7,
            {
                "a": Outcome(OK, "", 1, {"go": 0, "end": [1, 2]}, (b"r", b"e", b"f")),
                "b": Outcome(OK, headers={"go": 0, "end": [0, 0]}),
            },
        )
    ]
    assert push.settled("result", "", AT) == [PushEnded(7, OK, "", "", "result", {"a": given, "b": FINE})]
    assert push.is_over


@pytest.mark.parametrize("judges", [True, False])
def test_all_have_answered__ended(judges: bool) -> None:
    push = sending(judges=judges)
    push.produced(None, "", AT)
    both(push, "last", FINE)
    assert both(push, "end", FINE) == [PushEnded(7, OK, "", "", None, {"a": FINE, "b": FINE})]


def test_a_target_cannot_commit__the_others_have_and_it_is_named() -> None:
    push = committing(sending())
    assert push.answered("end", "b", BAD, AT) == []
    assert push.answered("end", "a", FINE, AT) == [
        PushEnded(7, FAILED, "the disk is full", "b", None, {"a": FINE, "b": BAD})
    ]


def test_the_producer_fails_at_the_last_replies__the_targets_have_it_all_the_same() -> None:
    push = committing(sending())
    both(push, "end", FINE)
    assert push.settled(None, "oops", AT) == [PushEnded(7, FAILED, "oops", "", None, {"a": FINE, "b": FINE})]


def test_cancel_is_too_late() -> None:
    push = committing(sending())
    assert push.cancel(ABORT, "cancelled", AT) == []
    assert push.state is PushState.COMMITTING


# -- aborting --------------------------------------------------------------------------------------------------------


def test_cancel_while_opening_sending_preparing() -> None:
    opening, preparing = fresh(), sending()
    opening.start(AT)
    preparing.produced(None, "", AT)
    for push in (opening, sending(), preparing):
        assert push.cancel(ABORT, "cancelled", AT) == aborted(push, ABORT, "cancelled", "")
        assert push.cancel(ABORT, "again", AT) == []
        assert push.deadline == AT + GOODBYE


def test_a_target_fails_a_round() -> None:
    push = sending()
    push.produced(chunk(), "", AT)
    assert push.answered(0, "a", BAD, AT) == aborted(push, FAILED, "the disk is full", "a")
    assert push.answered(0, "b", GO, AT) == []
    assert push.codes == {"a": BAD}


def test_the_producer_fails() -> None:
    push = sending()
    assert push.produced(None, "oops", AT) == aborted(push, FAILED, "oops", "")
    settling = sending()
    settling.produced(chunk(), "", AT)
    both(settling, 0, GO)
    assert settling.settled(None, "oops", AT) == aborted(settling, FAILED, "oops", "")


def test_all_have_answered_the_abort__ended() -> None:
    push = sending()
    push.cancel(ABORT, "cancelled", AT)
    assert both(push, "end", FINE) == [PushEnded(7, ABORT, "cancelled", "", None, {})]
    assert push.is_over
    assert push.deadline is None


def test_one_does_not_answer__the_handle_ends_and_the_push_is_kept_until_it_does() -> None:
    push = sending()
    push.cancel(ABORT, "cancelled", AT)
    push.answered("end", "a", FINE, AT)
    assert push.handle_timeout(AT + GOODBYE) == [PushEnded(7, ABORT, "cancelled", "", None, {})]
    assert not push.is_over
    assert (push.is_needed_by("a"), push.is_needed_by("b"), push.is_needed_by("c")) == (False, True, False)
    assert push.answered("end", "b", Outcome(CellReturnCode.COMM_ERROR), AT + 60) == []
    assert push.is_over


def test_what_workers_and_targets_still_say_does_not_count() -> None:
    push = sending()
    push.cancel(ABORT, "cancelled", AT)
    for commands in (
        push.produced(chunk(), "", AT), push.settled(None, "", AT), push.answered("open", "a", FINE, AT),
        push.answered(0, "a", GO, AT), push.answered("last", "a", FINE, AT), push.answered("?", "a", FINE, AT),
    ):  # fmt: skip
        assert commands == []


def test_a_push_that_goes_on_is_needed_by_all_its_targets() -> None:
    push = sending()
    assert [push.is_needed_by(name) for name in ("a", "b", "c")] == [True, True, False]
    committing(push)
    push.answered("end", "a", FINE, AT)
    assert [push.is_needed_by(name) for name in ("a", "b")] == [False, True]
    assert repr(push) == "<PushSender 7 committing to 2, 1 of 1 rounds>"
