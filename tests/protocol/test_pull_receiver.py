"""The table of `zmqfl.protocol.pull_receiver`, a test per row. Pull 3 gets R1 from o, in chunks of 10 bytes."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Abandon, Ask, Command, Commit, Outcome, Prepare, PullEnded, Unask, Write
from zmqfl.protocol.pull_grid import MAX_CHUNK
from zmqfl.protocol.pull_receiver import (
    MOST_BAD,
    MOST_LOST,
    PATIENCE,
    PullReceiver,
    PullState,
)
from zmqfl.protocol.pull_source import CHANNEL, DONE, FOREVER, GET, HAVE, OPEN, changed
from zmqfl.protocol.pull_window import FIRST_WINDOW, MOST_WINDOW

OK, FAILED, ABORT = CellReturnCode.OK, CellReturnCode.PROCESS_EXCEPTION, CellReturnCode.ABORT_RUN
COMM, BUSY, INVALID = CellReturnCode.COMM_ERROR, CellReturnCode.SERVICE_UNAVAILABLE, CellReturnCode.INVALID_REQUEST
AT, TIMEOUT, PAUSE = 100.0, 30.0, 2.0
FINE = Outcome(OK)


def fresh() -> PullReceiver:
    return PullReceiver(3, "o", "R1", TIMEOUT, PAUSE, AT)


def ask(pull: PullReceiver, tag: Any, topic: str, at: str, timeout: float, **more: Any) -> Ask:
    headers = {"r": "R1", "p": 3, "f": "F", **({"o": "o"} if at != "o" else {}), **more}
    return Ask(pull, tag, (at,), CHANNEL, topic, headers, 0, (), timeout, repeatable=topic != DONE)


def get(pull: PullReceiver, index: int, *waits_for: int, at: str = "o") -> Ask:
    return ask(pull, index, GET, at, FOREVER, i=index, w=[*waits_for, index], z=1)


def have(pull: PullReceiver, *waits_for: int, at: str = "o") -> Ask:
    return ask(pull, "have", HAVE, at, TIMEOUT, w=[*waits_for])


def done(pull: PullReceiver, status: str) -> Ask:
    return ask(pull, "done", DONE, "o", TIMEOUT, s=status)


def left(pull: PullReceiver, status: str) -> Ask:
    return ask(pull, "left", DONE, "up", TIMEOUT, s=status)


def grid(size: int = 100, chunk: Any = 10, **headers: Any) -> Outcome:
    return Outcome(OK, headers={"n": size, "k": chunk, "f": "F", "name": "model.pt", **headers})


def chunk(size: int = 10, digest: Any = b"d") -> Outcome:
    return Outcome(OK, headers={"d": digest}, codec=2, bodies=(bytes(size),))


def write(index: int, size: int = 10) -> Write:
    return Write(3, index, index * 10, (bytes(size),), b"d")


def preparing(size: int = 100) -> PullReceiver:
    pull = fresh()
    pull.start(AT)
    assert pull.answered("open", "o", grid(size), AT) == [Prepare(3, size, 10, "F", "model.pt")]
    assert pull.state is PullState.PREPARING
    return pull


def fetching(size: int = 100, have: set[int] | None = None) -> PullReceiver:
    pull = preparing(size)
    pull.prepared(have or set(), "", AT)
    assert pull.state is PullState.FETCHING
    return pull


def finishing() -> PullReceiver:
    pull = fetching(10)
    pull.answered(0, "o", chunk(), AT)
    assert pull.written(0, "ok", "", AT) == [Commit(3)]
    assert pull.state is PullState.FINISHING
    return pull


def failed(pull: PullReceiver, *, known: bool = True) -> list[Command]:
    """What a failure says, while nothing is at work."""
    return [Unask(pull), *([done(pull, "failed")] if known else []), Abandon(3)]


def ended(pull: PullReceiver, code: CellReturnCode, reason: str, kind: str = "") -> None:
    assert pull.abandoned() == [PullEnded(3, code, reason, None, kind)]
    assert pull.is_over
    assert pull.deadline is None


# -- opening and preparing -------------------------------------------------------------------------------------------


def test_start__open_to_the_owner() -> None:
    pull = fresh()
    opening = Ask(pull, "open", ("o",), CHANNEL, OPEN, {"r": "R1"}, 0, (), TIMEOUT, repeatable=True)
    assert pull.start(AT) == [opening]
    assert pull.deadline == AT + TIMEOUT


def test_refused__the_owner_need_not_be_told() -> None:
    pull = fresh()
    pull.start(AT)
    no = Outcome(INVALID, "no such reference")
    assert pull.answered("open", "o", no, AT) == failed(pull, known=False)
    ended(pull, INVALID, "no such reference")


@pytest.mark.parametrize(
    "answer",
    [FINE, grid(-1), grid(chunk=0), grid(chunk=MAX_CHUNK + 1), grid(chunk="10"), grid(f=1), grid(name=None)],
)
def test_a_size_that_cannot_be(answer: Outcome) -> None:
    pull = fresh()
    pull.start(AT)
    assert pull.answered("open", "o", answer, AT) == failed(pull, known=False)
    ended(pull, COMM, "o gave a size that cannot be")


def test_nobody_answers_the_open() -> None:
    pull = fresh()
    pull.start(AT)
    assert pull.handle_timeout(AT + TIMEOUT) == failed(pull, known=False)
    ended(pull, CellReturnCode.TIMEOUT, "nothing came from o for 30 s")


def test_prepared__get_for_the_first_that_are_missing() -> None:
    pull = preparing()
    assert pull.prepared(set(), "", AT) == [get(pull, index, *range(index)) for index in range(FIRST_WINDOW)]
    assert (pull.done, pull.size) == (0, 100)


def test_what_is_there_from_an_earlier_attempt_is_not_fetched() -> None:
    pull = preparing(95)
    assert pull.prepared({0, 2, 9, 77}, "", AT) == [
        get(pull, index, *[i for i in (1, 3, 4, 5, 6, 7, 8) if i < index]) for index in (1, 3, 4, 5, 6, 7, 8)
    ]
    assert pull.done == 25


def test_all_is_there__commit() -> None:
    pull = preparing(20)
    assert pull.prepared({0, 1}, "", AT) == [Commit(3)]


def test_an_empty_file_has_nothing_to_fetch() -> None:
    pull = preparing(0)
    assert pull.prepared(set(), "", AT) == [Commit(3)]
    assert pull.committed("path", "", AT) == [done(pull, "success")]


def test_the_sink_cannot_be_opened() -> None:
    pull = preparing()
    assert pull.prepared(set(), "no room", AT) == failed(pull)
    ended(pull, FAILED, "no room")


# -- fetching --------------------------------------------------------------------------------------------------------


def test_a_chunk_came__write__written__the_next_get() -> None:
    pull = fetching()
    assert pull.answered(0, "o", chunk(), AT) == [write(0)]
    assert pull.written(0, "ok", "", AT) == [get(pull, 8, 1, 2, 3, 4, 5, 6, 7)]
    assert (pull.done, pull.fetched) == (10, 10)


def test_no_get_goes_out__have() -> None:
    pull = fetching(30)
    assert pull.answered(0, "o", chunk(), AT) == [write(0), have(pull, 1, 2)]
    assert pull.answered(1, "o", chunk(), AT) == [write(1), have(pull, 2)]
    assert pull.answered(2, "o", chunk(), AT) == [write(2)]
    for index in (0, 2):
        assert pull.written(index, "ok", "", AT) == []
    assert pull.written(1, "ok", "", AT) == [Commit(3)]


def test_the_window_follows_what_comes() -> None:
    slow, fast = fetching(1000), fetching(1000)
    for pull, pause in ((slow, 1.0), (fast, 0.001)):
        now = AT
        for index in range(20):
            now += pause
            pull.answered(index, "o", chunk(), now)
            pull.written(index, "ok", "", now)
    assert slow._window.size == 2
    assert len(slow._asked) <= 2
    assert len(fast._asked) == MOST_WINDOW


def test_while_the_window_shrinks_no_get_goes_out__have() -> None:
    pull, now = fetching(1000), AT
    for index in range(4):
        now += 10.0
        pull.answered(index, "o", chunk(), now)
        pull.written(index, "ok", "", now)
    asked = list(pull._asked)
    assert pull._window.size < len(asked)
    assert pull.answered(asked[0], "o", chunk(), now + 10) == [write(asked[0]), have(pull, *asked[1:])]


def test_nothing_comes_for_a_pause__have__not_while_one_is_out() -> None:
    pull = fetching(20)
    assert pull.deadline == AT + PAUSE
    assert pull.handle_timeout(AT + PAUSE) == [have(pull, 0, 1)]
    assert pull.deadline == AT + TIMEOUT
    assert pull.answered("have", "o", FINE, AT + 3) == []
    assert pull.deadline == AT + 2 * PAUSE
    pull.moved(AT + 3.5)
    assert pull.deadline == AT + 3.5 + PAUSE


@pytest.mark.parametrize("answer", [chunk(0), chunk(11), chunk(digest=None), chunk(digest="d"), FINE])
def test_a_chunk_that_cannot_be_right_is_asked_for_again(answer: Outcome) -> None:
    pull = fetching(10)
    assert pull.answered(0, "o", answer, AT) == [get(pull, 0)]


def test_a_chunk_that_is_shorter_may_be_packed() -> None:
    assert fetching(10).answered(0, "o", chunk(9), AT) == [write(0, 9)]


def test_written_bad_digest__again__at_most_a_few_times() -> None:
    pull = fetching(20)
    for _ in range(MOST_BAD):
        pull.answered(0, "o", chunk(), AT)
        assert pull.written(0, "bad", "", AT) == [get(pull, 0, 1)]
    pull.answered(0, "o", chunk(), AT)
    assert pull.written(0, "bad", "", AT) == failed(pull)
    ended(pull, COMM, f"chunk 0 from o was damaged {MOST_BAD + 1} times")


def test_a_write_fails() -> None:
    pull = fetching(20)
    pull.answered(0, "o", chunk(), AT)
    assert pull.written(0, "failed", "the disk is full", AT) == failed(pull)
    ended(pull, FAILED, "the disk is full")


def test_a_get_failed_and_may_be_lost__again_after_a_pause() -> None:
    pull = fetching(20)
    assert pull.answered(0, "o", Outcome(BUSY), AT) == []
    assert pull.deadline == AT + PAUSE
    assert pull.handle_timeout(AT + PAUSE) == [get(pull, 0, 1)]


def test_a_whole_window_that_fails_at_once_is_one_failure() -> None:
    pull, now = fetching(80), AT
    for _ in range(MOST_LOST):
        for index in range(8):
            assert pull.answered(index, "o", Outcome(BUSY, "no free worker"), now) == []
        now += PAUSE
        assert len(pull.handle_timeout(now)) == 8
    assert pull.answered(0, "o", Outcome(BUSY, "no free worker"), now) == failed(pull)
    ended(pull, BUSY, "no free worker")


def test_a_chunk_in_between__the_count_begins_anew() -> None:
    pull, now = fetching(1000), AT
    for _ in range(20):
        index = next(iter(pull._asked))
        pull.answered(index, "o", Outcome(BUSY), now)
        now += PAUSE
        pull.handle_timeout(now)
        index = next(iter(pull._asked))
        pull.answered(index, "o", chunk(), now)
        pull.written(index, "ok", "", now)
    assert pull.state is PullState.FETCHING


def test_the_owner_cannot_be_reached__one_more_try() -> None:
    pull = fetching(20)
    gone = Outcome(COMM, "o is gone")
    assert [pull.answered(index, "o", gone, AT) for index in (0, 1)] == [[], []]
    pull.handle_timeout(AT + PAUSE)
    assert pull.answered(1, "o", gone, AT + PAUSE) == failed(pull)
    ended(pull, COMM, "o is gone")


def test_refused_while_fetching__the_source_has_changed() -> None:
    pull = fetching(20)
    why = changed("model.pt")
    assert pull.answered(0, "o", why, AT) == failed(pull)
    ended(pull, FAILED, why.error, "source_changed")


def test_no_progress_for_the_time_out__a_part_of_a_chunk_is_progress() -> None:
    pull = fetching(20)
    pull.moved(AT + 20)
    pull.handle_timeout(AT + 20 + PAUSE)
    assert pull.handle_timeout(AT + TIMEOUT) == []
    assert pull.handle_timeout(AT + 20 + TIMEOUT) == failed(pull)
    ended(pull, CellReturnCode.TIMEOUT, "nothing came from o for 30 s")


def test_a_slow_disk_is_not_the_owners_silence() -> None:
    pull = fetching(10)
    pull.answered(0, "o", chunk(), AT)
    assert pull.deadline is None
    assert pull.handle_timeout(AT + 1000) == []


# -- the end ---------------------------------------------------------------------------------------------------------


def test_committed__done_success__the_handle_ends_when_it_is_answered() -> None:
    pull = finishing()
    assert pull.committed("path", "", AT) == [done(pull, "success")]
    assert pull.state is PullState.CLOSING
    assert pull.answered("done", "o", FINE, AT) == [PullEnded(3, OK, "", "path")]
    assert pull.is_over


def test_done_is_not_answered__the_file_is_there_all_the_same() -> None:
    pull = finishing()
    pull.committed("path", "", AT)
    assert pull.answered("done", "o", Outcome(COMM), AT) == [PullEnded(3, OK, "", "path")]


def test_it_cannot_get_its_name() -> None:
    pull = finishing()
    assert pull.committed(None, "taken", AT) == failed(pull)
    assert pull.answered("done", "o", FINE, AT) == []
    ended(pull, FAILED, "taken")


def test_cancel_is_too_late_when_it_is_about_to_get_its_name() -> None:
    pull = finishing()
    assert pull.cancel(ABORT, "cancelled", AT) == []
    pull.committed("path", "", AT)
    assert pull.cancel(ABORT, "cancelled", AT) == []
    assert pull.answered("done", "o", FINE, AT) == [PullEnded(3, OK, "", "path")]


def test_cancel_while_opening_and_fetching() -> None:
    opening, working = fresh(), fetching()
    opening.start(AT)
    assert opening.cancel(ABORT, "cancelled", AT) == failed(opening, known=False)
    assert working.cancel(ABORT, "cancelled", AT) == failed(working)
    assert working.cancel(ABORT, "again", AT) == []
    assert working.answered(0, "o", chunk(), AT) == []
    ended(working, ABORT, "cancelled")


def test_the_owner_is_lost() -> None:
    pull = fetching()
    assert pull.owner_lost("o is gone", AT) == failed(pull)
    ended(pull, CellReturnCode.TARGET_UNREACHABLE, "o is gone")


def test_the_sink_is_not_closed_while_it_is_opened() -> None:
    pull = preparing()
    assert pull.cancel(ABORT, "cancelled", AT) == [Unask(pull), done(pull, "failed")]
    assert pull.abandoned() == [] or pull.state is PullState.ENDED
    pull = preparing()
    pull.cancel(ABORT, "cancelled", AT)
    assert pull.prepared({0}, "", AT) == [Abandon(3)]
    assert pull.written(0, "ok", "", AT) == []
    ended(pull, ABORT, "cancelled")


def test_the_sink_is_not_closed_under_a_write() -> None:
    pull = fetching()
    pull.answered(0, "o", chunk(), AT)
    pull.answered(1, "o", chunk(), AT)
    assert pull.cancel(ABORT, "cancelled", AT) == [Unask(pull), done(pull, "failed")]
    assert pull.written(1, "ok", "", AT) == []
    assert pull.written(0, "failed", "closed", AT) == [Abandon(3)]
    ended(pull, ABORT, "cancelled")


def test_what_comes_late_does_not_count() -> None:
    pull = finishing()
    pull.committed("path", "", AT)
    pull.answered("done", "o", FINE, AT)
    for commands in (
        pull.answered("open", "o", grid(), AT), pull.answered(0, "o", chunk(), AT),
        pull.answered("done", "o", FINE, AT),
        pull.prepared(set(), "", AT), pull.written(0, "ok", "", AT), pull.committed("x", "", AT), pull.abandoned(),
    ):  # fmt: skip
        assert commands == []
    assert repr(pull) == "<PullReceiver 3 of o ended, 10 of 10 bytes>"


# -- by the cache of the parent --------------------------------------------------------------------------------------

REFUSED = Outcome(BUSY, "not from this cache; ask the owner")


def cached(size: int = 100) -> PullReceiver:
    """The parent, up, keeps chunks."""
    pull = fresh()
    pull.use_cache(lambda owner: "up" if owner == "o" else "")
    pull.start(AT)
    pull.answered("open", "o", grid(size), AT)
    return pull


def fetching_cached(size: int = 30) -> PullReceiver:
    pull = cached(size)
    asks = [get(pull, index, *range(index), at="up") for index in range(size // 10)]
    assert pull.prepared(set(), "", AT) == asks
    return pull


def test_prepared__get_to_the_cache__have_too() -> None:
    pull = fetching_cached()
    assert pull.answered(0, "up", chunk(), AT) == [write(0), have(pull, 1, 2, at="up")]


def test_committed__done_to_the_owner_and_to_the_cache__only_the_owners_answer_counts() -> None:
    pull = fetching_cached(10)
    pull.answered(0, "up", chunk(), AT)
    pull.written(0, "ok", "", AT)
    assert pull.committed("path", "", AT) == [done(pull, "success"), left(pull, "success")]
    assert pull.answered("left", "up", Outcome(COMM), AT) == []
    assert pull.answered("done", "o", FINE, AT) == [PullEnded(3, OK, "", "path")]


def test_it_fails__the_cache_is_told_too() -> None:
    pull = fetching_cached()
    assert pull.cancel(ABORT, "cancelled", AT) == [Unask(pull), done(pull, "failed"), left(pull, "failed"), Abandon(3)]


@pytest.mark.parametrize("outcome", [REFUSED, Outcome(COMM), Outcome(INVALID), changed("model.pt")])
def test_the_cache_does_not_give_a_chunk__the_owner_is_asked_for_it_and_all_that_follow(outcome: Outcome) -> None:
    pull = fetching_cached(40)
    assert pull.answered(1, "up", outcome, AT) == [get(pull, 1)]
    assert pull.answered(0, "up", chunk(), AT) == [write(0), have(pull, 2, 3, at="up"), have(pull, 1)]
    assert pull.answered(2, "up", REFUSED, AT) == [get(pull, 2, 1)]
    assert pull.state is PullState.FETCHING


def test_the_cache_gives_a_damaged_chunk__the_owner_is_asked_for_it() -> None:
    pull = fetching_cached()
    pull.answered(0, "up", chunk(), AT)
    assert pull.written(0, "bad", "", AT) == [get(pull, 0)]
    assert pull.answered(1, "up", chunk(11), AT) == [get(pull, 1, 0)]
    pull.answered(0, "o", chunk(), AT)
    assert pull.written(0, "ok", "", AT) == []


def test_the_cache_gives_many_damaged_chunks__it_is_left() -> None:
    pull = fetching_cached(80)
    for index in range(MOST_BAD + 1):
        pull.answered(index, "up", chunk(), AT)
        pull.written(index, "bad", "", AT)
    assert pull._asks.cache == ""
    assert pull.state is PullState.FETCHING


def test_something_has_come_to_the_cache__that_is_progress() -> None:
    pull = fetching_cached()
    assert pull.handle_timeout(AT + PAUSE) == [have(pull, 0, 1, 2, at="up")]
    pull.answered("have", "up", Outcome(OK, headers={"m": 1}), AT + 10)
    assert pull.handle_timeout(AT + 10 + PAUSE) == [have(pull, 0, 1, 2, at="up")]
    pull.answered("have", "up", FINE, AT + 13)
    assert pull._leave_at == AT + 10 + PATIENCE * TIMEOUT


def test_the_cache_is_silent_for_half_of_the_time_out__all_is_asked_of_the_owner() -> None:
    pull = fetching_cached()
    pull.handle_timeout(AT + PAUSE)
    asks = [get(pull, index, *range(index)) for index in range(3)]
    assert pull.handle_timeout(AT + PATIENCE * TIMEOUT) == [Unask(pull), *asks]
    pull.handle_timeout(AT + TIMEOUT - 1)
    assert pull.handle_timeout(AT + TIMEOUT) == [Unask(pull), done(pull, "failed"), left(pull, "failed"), Abandon(3)]


def test_a_short_time_out__the_cache_is_asked_for_news_before_it_is_left() -> None:
    pull = PullReceiver(3, "o", "R1", 2.0, PAUSE, AT)
    pull.use_cache(lambda owner: "up")
    pull.start(AT)
    pull.answered("open", "o", grid(10), AT)
    pull.prepared(set(), "", AT)
    assert pull.deadline == AT + 0.5
