"""The table of `zmqfl.rpc.caller_watch`, line by line."""

from __future__ import annotations

from zmqfl.rpc.caller_watch import CallerWatch, Cancel, Unwatch, Wake, Watch

A, B = ("site-1", 11), ("site-2", 22)


def due(watch: CallerWatch) -> float | None:
    return watch.deadline


def test_short_calls_cost_no_message() -> None:
    watch = CallerWatch(beat=2.0)
    assert watch.begin(A, "call-1", 10.0) == [Wake()]
    assert due(watch) == 12.0
    assert watch.begin(B, "call-2", 10.5) == []
    assert watch.end(A, "call-1") == []
    assert watch.end(B, "call-2") == []
    assert watch.handle_timeout(12.0) == []
    assert due(watch) is None
    assert watch.begin(A, "call-3", 20.0) == [Wake()]
    assert repr(watch) == "<CallerWatch 1 callers, 0 watched>"


def test_the_caller_of_a_long_call_is_asked_once_for_all() -> None:
    watch = CallerWatch(beat=2.0)
    watch.begin(A, "call-1", 10.0)
    watch.begin(A, "call-2", 11.0)
    watch.begin(B, "call-3", 11.5)
    assert watch.handle_timeout(12.0) == [Watch(A)]
    assert due(watch) == 13.5
    assert watch.handle_timeout(13.5) == [Watch(B)]
    assert due(watch) is None
    assert watch.begin(A, "call-4", 14.0) == [Wake()]  # of one that is watched: looked at, and nothing is to be done
    assert watch.handle_timeout(16.0) == []
    assert due(watch) is None
    assert watch.watches(A)
    assert repr(watch) == "<CallerWatch 2 callers, 2 watched>"


def test_after_its_last_call_it_is_not_asked_any_more() -> None:
    watch = CallerWatch(beat=2.0)
    watch.begin(A, "call-1", 10.0)
    watch.begin(A, "call-2", 10.0)
    watch.handle_timeout(12.0)
    assert watch.end(A, "call-1") == []
    assert watch.end(A, "call-1") == []  # again
    assert watch.end(A, "call-2") == [Unwatch(A)]
    assert not watch.watches(A)
    assert watch.answered(A, False, "late") == []
    assert watch.end(B, "call-3") == []


def test_chan_R29_a_caller_that_is_gone_has_its_calls_cancelled() -> None:
    watch = CallerWatch(beat=2.0)
    watch.begin(A, "call-1", 10.0)
    watch.begin(A, "call-2", 11.0)
    watch.begin(B, "call-3", 11.0)
    watch.handle_timeout(12.0)
    assert watch.answered(A, False, "site-1 is gone") == [
        Cancel("call-1", "site-1 is gone"), Cancel("call-2", "site-1 is gone")
    ]  # fmt: skip
    assert watch.answered(A, False, "again") == []
    assert watch.end(A, "call-1") == []
    assert watch.handle_timeout(13.0) == [Watch(B)]


def test_a_question_that_timed_out_is_asked_anew() -> None:
    watch = CallerWatch(beat=2.0)
    watch.begin(A, "call-1", 10.0)
    watch.handle_timeout(12.0)
    assert watch.answered(A, True, "timeout") == [Watch(A)]
    assert watch.watches(A)


def test_another_start_of_the_same_cell_is_another_caller() -> None:
    watch = CallerWatch(beat=2.0)
    watch.begin(A, "call-1", 10.0)
    watch.begin((A[0], 12), "call-2", 10.0)
    watch.handle_timeout(12.0)
    assert watch.answered(A, False, "replaced") == [Cancel("call-1", "replaced")]
    assert watch.watches((A[0], 12))


def test_close_cancels_all() -> None:
    watch = CallerWatch(beat=2.0)
    watch.begin(A, "call-1", 10.0)
    watch.handle_timeout(12.0)
    watch.begin(B, "call-2", 12.0)
    assert watch.close() == [Unwatch(A), Cancel("call-1", "the cell closes"), Cancel("call-2", "the cell closes")]
    assert due(watch) is None
    assert watch.begin(A, "call-3", 13.0) == [Cancel("call-3", "the cell closes")]
    assert watch.close() == []
