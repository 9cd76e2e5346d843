"""A whole run, seen from its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fl.runs import Flow, Run
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus

MakeRun = Callable[..., Run]


def test_one_task_for_two_clients(run_of: MakeRun) -> None:
    run = run_of(2)
    results: dict[str, Any] = {}
    tasks: list[Task] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        results[client_task.client.name] = client_task.result["x"]

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("echo", Shareable({"x": 7}), result_received_cb=received))
        controller.broadcast_and_wait(tasks[0], fl_ctx, min_responses=0, abort_signal=abort_signal)

    run.serve(flow)
    run.all_clients()
    assert run.wait_all() == {"server": 0, "site-1": 0, "site-2": 0}
    assert results == {"site-1": 7, "site-2": 7}
    assert tasks[0].completion_status == TaskCompletionStatus.OK
