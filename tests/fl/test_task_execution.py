"""A task at its client: the return code of each place of failure."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fl.filters import Note, fail
from tests.fl.runs import Trace, Work, echo
from zmqfl.context.event_type import EventType
from zmqfl.context.events import fire_event
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import FLContextKey
from zmqfl.context.peer_context import peer_context_of
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.context.signal import Signal
from zmqfl.fl.task_execution import TaskExecution
from zmqfl.fl.task_filters import FilterChain, TaskFilters
from zmqfl.fl.task_router import TaskRouter

R = ReturnCode


class Engine:
    """Contexts and events, and nothing else."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.manager = FLContextManager(self, "site-1", "job-1")

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        fire_event(event_type, [self.trace], fl_ctx)


def raises(error: BaseException) -> Any:
    def work(*args: Any) -> Any:
        raise error

    return work


def task_of(name: Any = "train", id: Any = "7") -> Shareable:
    task = Shareable({"x": 1})
    task.set_header(ReservedHeaderKey.TASK_NAME, name)
    task.set_header(ReservedHeaderKey.TASK_ID, id)
    task.add_cookie("c", 1)
    return task


SERVER = peer_context_of({"__run_num__": "job-1", "__identity_name__": "server"})


def run(
    work: Any = echo, task: Shareable | None = None, peer: FLContext | None = SERVER, **options: Any
) -> tuple[Shareable, FLContext, list[str]]:
    engine = Engine()
    chains = [
        FilterChain([TaskFilters(("train",), (Note("n", options[key]),), "inout")] if key in options else [], way)  # type: ignore[arg-type]
        for key, way in (("data", "in"), ("result", "out"))
    ]
    router = TaskRouter([(options.get("tasks", ["*"]), Work(work))])
    execution = TaskExecution(engine, router, *chains)  # type: ignore[arg-type]
    fl_ctx = engine.manager.new_context()
    if options.get("unsafe"):
        fl_ctx.set_job_is_unsafe()
    signal = options.get("signal", Signal())
    return execution.run(task or task_of(), peer, fl_ctx, signal), fl_ctx, engine.trace.log


def triggered() -> Signal:
    signal = Signal()
    signal.trigger()
    return signal


def abort(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
    abort_signal.trigger()
    return Shareable()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, R.OK),
        ({"unsafe": True}, R.UNSAFE_JOB),
        ({"task": task_of(name=None)}, R.BAD_TASK_DATA),
        ({"task": task_of(id=5)}, R.BAD_TASK_DATA),
        ({"peer": None}, R.MISSING_PEER_CONTEXT),
        ({"peer": peer_context_of({})}, R.BAD_PEER_CONTEXT),
        ({"peer": peer_context_of({"__run_num__": "job-2"})}, R.RUN_MISMATCH),
        ({"tasks": ["test", "tr"]}, R.TASK_UNKNOWN),
        ({"data": fail}, R.TASK_DATA_FILTER_ERROR),
        ({"signal": triggered()}, R.TASK_ABORTED),
        ({"work": abort}, R.TASK_ABORTED),
        ({"work": lambda *args: {"x": 1}}, R.EXECUTION_RESULT_ERROR),
        ({"work": raises(RuntimeError("out of memory"))}, R.EXECUTION_RESULT_ERROR),
        ({"work": raises(KeyError("w"))}, R.EXECUTION_EXCEPTION),
        ({"work": raises(SystemExit("bye"))}, R.EXECUTION_EXCEPTION),
        ({"result": fail}, R.TASK_RESULT_FILTER_ERROR),
    ],
)
def test_run_F08_the_code_of_each_place(options: dict[str, Any], code: ReturnCode) -> None:
    result, fl_ctx, _ = run(**options)
    assert result.get_return_code() == code
    assert bool(result.get_header(ReservedHeaderKey.ERROR)) == (code != R.OK)
    task = options.get("task") or task_of()
    for key in ReservedHeaderKey.TASK_NAME, ReservedHeaderKey.TASK_ID:
        assert result.get_header(key) == task.get_header(key)
    assert result.get_cookie_jar() == {"c": 1}
    assert fl_ctx.get_prop(FLContextKey.TASK_RESULT) is result


def test_run_F08_after_a_failed_execution_no_filter_runs() -> None:
    _, _, log = run(raises(KeyError("w")))
    assert log[-2:] == [EventType.BEFORE_TASK_EXECUTION, EventType.AFTER_TASK_EXECUTION]


def test_the_context_of_an_execution() -> None:
    seen: dict[str, Any] = {}

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        keys = FLContextKey.TASK_NAME, FLContextKey.TASK_ID
        seen["props"] = [fl_ctx.get_prop_detail(key) for key in keys]
        seen["data"] = fl_ctx.get_prop(FLContextKey.TASK_DATA) is shareable
        seen["peer"] = (fl_ctx.get_peer_context() is SERVER, shareable.get_peer_prop("__identity_name__"))
        return Shareable()

    run(work)
    assert seen == {
        "props": [{"value": value, "private": False, "sticky": False} for value in ("train", "7")],
        "data": True,
        "peer": (True, "server"),
    }
