"""A whole run, seen from its server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fl.runs import JOB, Flow, Run, Trace
from tests.system.federation import LONG
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.fl.snapshot import FILE
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


def test_a_server_that_is_stopped(run_of: MakeRun) -> None:
    run = run_of(1)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        raise KeyboardInterrupt

    run.serve({"first": Flow(flow), "second": Flow(flow)})
    run.client()
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert repr(run.server) == "<ServerRunner of job job-1, aborted: the server was stopped>"


def test_abort_from_another_thread(run_of: MakeRun) -> None:
    run = run_of(1)
    began = threading.Event()
    tasks: list[Task] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("t", Shareable()))
        controller.broadcast(tasks[0], fl_ctx, ["nobody"])
        began.set()
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx, ["nobody"])

    run.serve(flow)
    runner = run.client()
    assert began.wait(LONG)
    run.server.abort("enough")
    run.server.abort("too late")
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert tasks[0].completion_status == TaskCompletionStatus.ABORTED
    assert repr(runner) == "<ClientRunner site-1 of job job-1, aborted: by the server: enough>"


def test_clients_that_come_before_their_server(run_of: MakeRun) -> None:
    run = run_of(2)
    run.all_clients()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx, min_responses=0)

    run.serve(flow)
    assert run.wait_all() == {"server": 0, "site-1": 0, "site-2": 0}


def test_an_event_that_ends_the_run_at_its_start(run_of: MakeRun) -> None:
    run = run_of(1)
    log: list[str] = []

    def refuse(event: str, fl_ctx: FLContext) -> None:
        if event == EventType.START_RUN:
            component.system_panic("no disk", fl_ctx)

    component = Trace(seen=refuse)
    run.client()
    run.serve({"flow": Flow(lambda *args: None, log)}, {"c": component})
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert log == []


def test_a_snapshot_that_cannot_be_read_ends_the_run(run_of: MakeRun, tmp_path: Path) -> None:
    run = run_of(1)
    workspace = Workspace(str(tmp_path), "server")
    file = Path(workspace.get_run_dir(JOB), FILE)
    file.parent.mkdir()
    file.write_bytes(b"nonsense")
    run.client()
    run.serve(lambda *args: None, workspace=workspace)
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert "remove it to start the run anew" in repr(run.server)
