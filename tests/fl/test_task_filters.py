"""Filters: which of them, in which order, at which side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fl.filters import Note, fail
from tests.fl.runs import Flow, Run
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus
from zmqfl.fl.task_filters import Direction, FilterChain, TaskFilters

MakeRun = Callable[..., Run]


@pytest.mark.parametrize(("direction", "notes"), [("in", ["site", "a", "both"]), ("out", ["b", "both"])])
def test_run_F09_names_are_exact_and_directions_count(direction: Direction, notes: list[str]) -> None:
    site = TaskFilters(("train",), (Note("site"),), "in")
    a = TaskFilters(("train", "test"), (Note("a"),), "in")
    star = TaskFilters(("*",), (Note("star"),), "in")
    b = TaskFilters(("train",), (Note("b"),), "out")
    both = TaskFilters(("train",), (Note("both"),), "inout")
    chain, fl_ctx = FilterChain([site, a, star, b, both], direction), FLContext()
    assert chain.process("train", Shareable(), fl_ctx)["notes"] == notes
    assert fl_ctx.get_prop(FLContextKey.FILTER_DIRECTION) == direction
    assert chain.process("tra", Shareable(), fl_ctx).get("notes") is None
    assert len(chain.all_filters()) == 5


def test_what_a_filter_returns_must_be_a_shareable() -> None:
    chain = FilterChain([TaskFilters(("t",), (Note("x", lambda shareable, fl_ctx: None),), "in")], "in")
    with pytest.raises(TypeError, match="filter Note returned NoneType"):
        chain.process("t", Shareable(), FLContext())


def played(run: Run, server: dict[str, Any], client: dict[str, Any], **task: Any) -> tuple[list[Any], list[Task]]:
    """The results of one task that is echoed by all clients."""
    results: list[Any] = []
    tasks: list[Task] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        results.append(client_task.result)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("train", Shareable(), result_received_cb=received, **task))
        controller.broadcast_and_wait(tasks[0], fl_ctx, min_responses=len(run.names))
        controller.broadcast_and_wait(Task("other", Shareable()), fl_ctx, min_responses=len(run.names))

    run.serve(flow, **server)
    for name in run.names:
        run.client(name, **client)
    assert set(run.wait_all().values()) == {0}
    return results, tasks


def filters(word: str, then: Any = None) -> list[TaskFilters]:
    return [TaskFilters(("train",), (Note(word, then),), "inout")]


def test_run_F09_filters_of_both_sides(run_of: MakeRun) -> None:
    run = run_of(2)
    sides: list[Any] = []

    def look(shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        sides.append((fl_ctx.get_identity_name(), peer.get_identity_name(), fl_ctx.get_prop(FLContextKey.TASK_NAME)))
        return shareable

    server = {"task_data_filters": filters("1", look), "task_result_filters": filters("4", look)}
    client = {"task_data_filters": filters("2", look), "task_result_filters": filters("3", look)}
    results, _ = played(run, server, client)
    assert [result["notes"] for result in results] == [["1", "2", "3", "4"]] * 2
    pairs = [(a, b, "train") for name in run.names for a, b in (("server", name), (name, "server")) for _ in range(2)]
    assert sorted(sides) == sorted(pairs)


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("task_data_filters", ReturnCode.TASK_DATA_FILTER_ERROR),
        ("task_result_filters", ReturnCode.TASK_RESULT_FILTER_ERROR),
    ],
)
def test_run_F09_a_filter_that_fails_at_a_client(run_of: MakeRun, place: str, code: ReturnCode) -> None:
    results, _ = played(run_of(1), {}, {place: filters("x", fail)})
    assert results[0].get_return_code() == code
    assert results[0].get_header("__error__") == "ValueError: too private"


def test_run_F09_a_result_filter_that_fails_at_the_server(run_of: MakeRun) -> None:
    results, tasks = played(run_of(1), {"task_result_filters": filters("x", fail)}, {})
    assert results[0].get_return_code() == ReturnCode.TASK_RESULT_FILTER_ERROR
    assert tasks[0].completion_status == TaskCompletionStatus.OK


def test_run_F09_a_data_filter_that_fails_at_the_server(run_of: MakeRun) -> None:
    results, tasks = played(run_of(1), {"task_data_filters": filters("x", fail)}, {})
    assert results == []
    assert tasks[0].completion_status == TaskCompletionStatus.CANCELLED
    assert isinstance(tasks[0].exception, ValueError)
