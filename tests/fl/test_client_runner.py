"""A whole run, seen from its clients: events, contexts, restarts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fl.runs import JOB, Flow, Run, Trace, echo
from tests.system.federation import LONG
from zmqfl.context.event_type import EventType as E
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import AppConstants, FLContextKey, ProcessType
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus

MakeRun = Callable[..., Run]

TASK_AT_SERVER = [
    E.BEFORE_PROCESS_TASK_REQUEST, "before_task_sent", "after_task_sent", E.AFTER_PROCESS_TASK_REQUEST,
    E.BEFORE_TASK_DATA_FILTER, E.AFTER_TASK_DATA_FILTER,
    E.BEFORE_TASK_RESULT_FILTER, E.AFTER_TASK_RESULT_FILTER,
    E.BEFORE_PROCESS_SUBMISSION, "result_received", E.AFTER_PROCESS_SUBMISSION,
]  # fmt: skip
TASK_AT_CLIENT = [
    E.BEFORE_PULL_TASK, E.AFTER_PULL_TASK, E.BEFORE_TASK_DATA_FILTER, E.AFTER_TASK_DATA_FILTER,
    E.BEFORE_TASK_EXECUTION, "execute", E.AFTER_TASK_EXECUTION,
    E.BEFORE_TASK_RESULT_FILTER, E.AFTER_TASK_RESULT_FILTER, E.BEFORE_SEND_TASK_RESULT, E.AFTER_SEND_TASK_RESULT,
]  # fmt: skip
END = [E.ABOUT_TO_END_RUN, E.CHECK_END_RUN_READINESS, E.END_RUN]


def task_that_tells(log: list[Any], data: Shareable | None = None, **options: Any) -> Task:
    """Its callbacks write down that they were called."""

    def tell(name: str) -> Callable[..., None]:
        return lambda **arguments: log.append(name)

    return Task(
        "echo",
        data or Shareable(),
        before_task_sent_cb=tell("before_task_sent"),
        after_task_sent_cb=tell("after_task_sent"),
        result_received_cb=tell("result_received"),
        task_done_cb=tell("task_done"),
        **options,
    )


def test_run_F01_the_order_of_events(run_of: MakeRun) -> None:
    run = run_of(1)
    server: list[Any] = []
    client: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        for _ in range(2):
            controller.broadcast_and_wait(task_that_tells(server), fl_ctx, abort_signal=abort_signal)
            server.append("returned")

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        client.append("execute")
        return Shareable()

    run.serve({"flow": Flow(flow, server)}, {"trace": Trace(server)})
    run.client("site-1", work, {"trace": Trace(client)})
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert server == [
        E.START_RUN, "start_controller", E.START_WORKFLOW, "control_flow",
        *TASK_AT_SERVER, "task_done", "returned", *TASK_AT_SERVER, "task_done", "returned",
        "stop_controller", E.END_WORKFLOW, *END,
    ]  # fmt: skip
    assert client == [
        E.ABOUT_TO_START_RUN, E.START_RUN, *TASK_AT_CLIENT, *TASK_AT_CLIENT, E.BEFORE_PULL_TASK, *END
    ]  # fmt: skip


def test_run_F01_abort(run_of: MakeRun) -> None:
    run = run_of(1)
    server, client = Trace(), Trace()
    began = threading.Event()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("wait", Shareable())
        controller.broadcast(task, fl_ctx)
        began.wait(LONG)
        controller.system_panic("it is enough", fl_ctx)
        assert task.completion_status == TaskCompletionStatus.ABORTED
        assert abort_signal.triggered

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        began.set()
        assert abort_signal.wait(LONG)
        return Shareable()

    run.serve(flow, {"trace": server})
    runner = run.client("site-1", work, {"trace": client})
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert server.log[-5:] == [E.FATAL_SYSTEM_ERROR, E.END_WORKFLOW, *END]
    assert [event for event in client.log if event == E.ABORT_TASK] == [E.ABORT_TASK]
    assert client.log[-3:] == END
    assert "it is enough" in repr(runner)


def test_run_F01_an_exception_in_the_control_flow_ends_the_run(
    run_of: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(1)
    log: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        raise KeyError("no model")

    run.serve({"first": Flow(flow, log), "second": Flow(flow, log)}, {"trace": Trace(log)})
    run.client()
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert log[4:] == [E.FATAL_SYSTEM_ERROR, "stop_controller", E.END_WORKFLOW, *END]
    assert "workflow first failed: KeyError: 'no model'" in caplog.text


def test_workflows_one_after_another(run_of: MakeRun) -> None:
    run = run_of(1)
    seen: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        seen.append((fl_ctx.get_prop(FLContextKey.WORKFLOW), fl_ctx.get_peer_context()))
        controller.broadcast_and_wait(Task("echo", Shareable()), fl_ctx)

    run.serve({"first": Flow(flow), "second": Flow(flow)})
    run.client()
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert seen == [("first", None), ("second", None)]


# -- contexts ----------------------------------------------------------------------------------------------------------


def test_ctx_C12_the_peer_context_on_both_sides(run_of: MakeRun, tmp_path: Path) -> None:
    run = run_of(1)
    at: dict[str, Any] = {}

    def peer_of(fl_ctx: FLContext) -> dict[str, Any]:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        assert peer is fl_ctx.get_prop(FLContextKey.PEER_CONTEXT)
        assert not peer.set_prop("a", 1)
        return {"job": peer.get_job_id(), "name": peer.get_identity_name(), **peer.get_all_public_props()}

    def before_sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
        at["before_task_sent"] = peer_of(fl_ctx)
        fl_ctx.set_prop("server_public", 2, private=False, sticky=False)
        fl_ctx.set_prop("server_private", 3, private=True, sticky=False)

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        at["result_received"] = peer_of(fl_ctx)
        assert client_task.result is not None
        at["from_result"] = client_task.result.get_peer_prop("client_public")

    def done(task: Task, fl_ctx: FLContext) -> None:
        at["task_done"] = fl_ctx.get_peer_context()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, 4, private=False)
        fl_ctx.set_prop(AppConstants.NUM_STEPS_CURRENT_ROUND, 9, private=False)
        fl_ctx.sync_sticky()
        options: dict[str, Any] = {
            "before_task_sent_cb": before_sent,
            "result_received_cb": received,
            "task_done_cb": done,
        }
        controller.broadcast_and_wait(Task("echo", Shareable(), **options), fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        at["execute"] = peer_of(fl_ctx)
        at["from_task"] = shareable.get_peer_prop("server_public")
        at["own"] = [fl_ctx.get_prop(key) for key in (FLContextKey.TASK_NAME, FLContextKey.TASK_ID)]
        at["round"] = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        fl_ctx.set_prop("client_public", 5, private=False, sticky=False)
        fl_ctx.set_prop("client_private", 6, private=True, sticky=False)
        return Shareable()

    run.serve(flow)
    run.client("site-1", work)
    assert run.wait_all() == {"server": 0, "site-1": 0}
    client = {"job": JOB, "name": "site-1"}
    for place in "before_task_sent", "result_received":
        assert at[place].items() >= {**client, FLContextKey.CLIENT_NAME: "site-1"}.items()
    name, id = at["own"]
    told = {FLContextKey.TASK_NAME: name, FLContextKey.TASK_ID: id, "client_public": 5, AppConstants.CURRENT_ROUND: 4}
    assert at["result_received"].items() >= told.items()
    server = {
        "job": JOB, "name": "server", FLContextKey.CLIENT_NAME: "site-1", AppConstants.CURRENT_ROUND: 4,
        AppConstants.NUM_STEPS_CURRENT_ROUND: 9, "server_public": 2,
    }  # fmt: skip
    assert at["execute"].items() >= server.items()
    assert not any("private" in key for place in ("execute", "result_received") for key in at[place])
    assert (at["from_task"], at["from_result"], at["round"], name) == (2, 5, 4, "echo")
    assert at["task_done"] is None


def test_ctx_C13_an_unserialisable_public_prop_costs_a_warning(
    run_of: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(1)
    peers: list[Any] = []

    def put(client_task: ClientTask, fl_ctx: FLContext) -> None:
        fl_ctx.set_prop("server_lock", threading.Lock(), private=False, sticky=False)

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        peers.append(fl_ctx.get_peer_context())

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("echo", Shareable(), before_task_sent_cb=put, result_received_cb=received)
        controller.broadcast_and_wait(task, fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        peers.append(fl_ctx.get_peer_context())
        fl_ctx.set_prop("client_lock", threading.Lock(), private=False, sticky=False)
        return Shareable()

    run.serve(flow)
    run.client("site-1", work)
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert [peer.get_prop(f"{side}_lock") for peer, side in zip(peers, ("server", "client"), strict=True)] == [None] * 2
    for side in "server", "client":
        assert f"public prop '{side}_lock' stays behind" in caplog.text


def test_each_iteration_has_one_context_which_is_finalised(run_of: MakeRun) -> None:
    run = run_of(1)
    seen: list[Any] = []

    def look(event: str, fl_ctx: FLContext) -> None:
        if event == E.BEFORE_PULL_TASK:
            seen.append((fl_ctx.get_prop("rounds", 0), fl_ctx.get_peer_context(), fl_ctx.get_prop("here")))
            fl_ctx.set_prop("here", True, sticky=False)
        elif event == E.AFTER_PULL_TASK:
            assert fl_ctx.get_peer_context() is None
        elif event == E.AFTER_SEND_TASK_RESULT:
            assert fl_ctx.get_prop("here")
            assert fl_ctx.get_prop(FLContextKey.TASK_RESULT)["x"] == 1
            assert fl_ctx.get_prop(FLContextKey.TASK_DATA)["x"] == 1

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        fl_ctx.set_prop("rounds", fl_ctx.get_prop("rounds", 0) + 1)
        return Shareable(shareable)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        for _ in range(2):
            controller.broadcast_and_wait(Task("echo", Shareable({"x": 1})), fl_ctx)

    run.serve(flow)
    run.client("site-1", work, {"look": Trace(seen=look)})
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert seen == [(0, None, None), (1, None, None), (2, None, None)]


def test_what_results_make_sticky_is_known_to_who_waited(run_of: MakeRun) -> None:
    run = run_of(1)
    seen: list[Any] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        fl_ctx.set_prop("best", "site-1")

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("echo", Shareable(), result_received_cb=received), fl_ctx)
        seen.append(fl_ctx.get_engine().new_context().get_prop("best"))

    run.serve(flow)
    run.client()
    run.wait_all()
    assert seen == ["site-1"]


def test_permanent_props(run_of: MakeRun, tmp_path: Path) -> None:
    run = run_of(1)
    found: dict[str, Any] = {}

    def look(fl_ctx: FLContext) -> list[Any]:
        keys = (
            FLContextKey.APP_ROOT, FLContextKey.ARGS, FLContextKey.WORKSPACE_ROOT, FLContextKey.SECURE_MODE,
            FLContextKey.CURRENT_JOB_ID, FLContextKey.PROCESS_TYPE, FLContextKey.JOB_META,
        )  # fmt: skip
        assert fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT) is fl_ctx.get_workspace()
        return [fl_ctx.get_identity_name(), fl_ctx.get_job_id(), *(fl_ctx.get_prop(key) for key in keys)]

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        found["server"] = look(fl_ctx)
        controller.broadcast_and_wait(Task("echo", Shareable()), fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        found["site-1"] = look(fl_ctx)
        return Shareable()

    meta, args = {"name": "j"}, {"x": 1}
    run.serve(flow, workspace=Workspace(str(tmp_path / "server"), "server"), args=args, job_meta=meta)
    run.client("site-1", work, workspace=Workspace(str(tmp_path / "site-1"), "site-1"), args=args, job_meta=meta)
    run.wait_all()
    for name, kind in ("server", ProcessType.SERVER_JOB), ("site-1", ProcessType.CLIENT_JOB):
        root = tmp_path / name
        app = str(root / JOB / f"app_{name}")
        assert found[name] == [name, JOB, app, args, str(root), False, JOB, kind, meta]


# -- recovery ----------------------------------------------------------------------------------------------------------


def test_run_F06_a_client_that_starts_again_takes_its_task_up(run_of: MakeRun) -> None:
    run = run_of(1)
    ids: list[Any] = []
    resent: list[Any] = []
    tasks: list[Task] = []
    began = threading.Event()

    def before_sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
        resent.append(fl_ctx.get_prop(FLContextKey.IS_CLIENT_TASK_RESEND))

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("echo", Shareable({"x": 1}), before_task_sent_cb=before_sent))
        controller.broadcast_and_wait(tasks[0], fl_ctx)

    def hang(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        ids.append(fl_ctx.get_prop(FLContextKey.TASK_ID))
        began.set()
        abort_signal.wait(LONG)
        return Shareable()

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        ids.append(fl_ctx.get_prop(FLContextKey.TASK_ID))
        return Shareable(shareable)

    run.serve(flow)
    run.client("site-1", hang)
    assert began.wait(LONG)
    run.crash("site-1")
    run.client("site-1", work)
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert (len(ids), len(set(ids)), resent) == (2, 1, [None, True])
    [client_task] = tasks[0].client_tasks
    assert (client_task.task_send_count, client_task.id) == (2, ids[0])


def test_run_F07_a_client_that_stays_away_is_dead(run_of: MakeRun) -> None:
    run = run_of(2, settings=RunSettings(dead_client_grace=0.05, end_patience=1.0))
    began = threading.Event()
    tasks: list[Task] = []
    times: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        hello = Task("hello", Shareable())
        controller.broadcast_and_wait(hello, fl_ctx, ["site-1"])
        while hello.completion_status != TaskCompletionStatus.OK:  # the client was not there yet
            hello = Task("hello", Shareable())
            controller.broadcast_and_wait(hello, fl_ctx, ["site-1"])
        tasks.append(Task("echo", Shareable()))
        controller.broadcast_and_wait(tasks[0], fl_ctx, ["site-1"])
        times.append(controller.get_client_disconnect_time("site-1"))

    def hang(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if name == "echo":
            began.set()
            abort_signal.wait(LONG)
        return Shareable()

    run.serve(flow)
    run.client("site-1", hang)
    assert began.wait(LONG)
    run.crash("site-1")
    assert run.wait() == 0
    assert tasks[0].completion_status == TaskCompletionStatus.CLIENT_DEAD
    assert isinstance(times[0], float)


def test_a_client_that_fails_leaves_at_once(run_of: MakeRun) -> None:
    run = run_of(2)
    tasks: list[Task] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("echo", Shareable()))
        controller.broadcast_and_wait(tasks[0], fl_ctx, min_responses=0)

    def panic(event: str, fl_ctx: FLContext) -> None:
        if event == E.BEFORE_TASK_EXECUTION:
            component.system_panic("no GPU", fl_ctx)

    component = Trace(seen=panic)
    run.serve(flow)
    run.client("site-1", echo, {"panic": component})
    run.client("site-2")
    assert run.wait_all() == {"server": 0, "site-1": 1, "site-2": 0}
    assert tasks[0].completion_status == TaskCompletionStatus.CLIENT_DEAD


def test_a_client_without_a_server_gives_up(run_of: MakeRun) -> None:
    run = run_of(1, settings=RunSettings(sync_timeout=0.3, end_patience=1.0, aux_timeout=0.1))
    runner = run.client()
    assert run.wait("site-1") == 1
    assert "does not let site-1 begin" in repr(runner)


def test_a_stranger_is_not_let_in(run_of: MakeRun) -> None:
    run = run_of(1)
    run.names.append("site-1")
    ended = threading.Event()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        ended.wait(LONG)

    run.serve(flow)
    stranger = run.client("mallory")
    assert run.wait("mallory") == 1
    assert "mallory is no client of this run" in repr(stranger)
    ended.set()
    run.client("site-1")
    assert run.wait_all()["server"] == 0


def test_a_result_that_cannot_travel_becomes_an_error(run_of: MakeRun) -> None:
    run = run_of(1)
    codes: list[Any] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        codes.append(client_task.result.get_return_code())

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("echo", Shareable(), result_received_cb=received), fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        return Shareable({"lock": threading.Lock()})

    run.serve(flow)
    run.client("site-1", work)
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert codes == ["EXECUTION_RESULT_ERROR"]


def test_a_result_that_nobody_wants_is_not_sent(run_of: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = run_of(2)
    began, over = threading.Event(), threading.Event()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("echo", Shareable({"slow": "site-2"})), fl_ctx, min_responses=1)
        over.set()
        controller.broadcast_and_wait(Task("echo", Shareable({"slow": ""})), fl_ctx, min_responses=2)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if shareable["slow"] == fl_ctx.get_identity_name():
            began.set()
            assert over.wait(LONG)
        assert began.wait(LONG)
        return Shareable()

    run.serve(flow)
    run.all_clients(work)
    assert run.wait_all() == {"server": 0, "site-1": 0, "site-2": 0}
    assert "nobody wants the result of task echo any more" in caplog.text


def test_large_arrays_go_by_reference(run_of: MakeRun) -> None:
    run = run_of(2)
    model = np.arange(1 << 19, dtype=np.float64)  # 4 MiB
    sums: dict[str, float] = {}

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        sums[client_task.client.name] = float(client_task.result["w"].sum())

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("echo", Shareable({"w": model}), result_received_cb=received)
        controller.broadcast_and_wait(task, fl_ctx, min_responses=2)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        shareable["w"] += 1
        return Shareable(shareable)

    run.serve(flow)
    run.all_clients(work)
    assert run.wait_all() == {"server": 0, "site-1": 0, "site-2": 0}
    assert sums == dict.fromkeys(run.names, float((model + 1).sum()))
    assert model[0] == 0
