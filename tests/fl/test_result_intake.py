"""What the server does with results: while others sleep, and when they say that the job cannot work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.fl.runs import Flow, Run, Trace, Work, echo
from tests.system.federation import LONG
from zmqfl.context.event_type import EventType as E
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.context.signal import Signal
from zmqfl.fl.run_messages import CHANNEL, SUBMIT, packed
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus

MakeRun = Callable[..., Run]
S = TaskCompletionStatus


def test_a_callback_that_sleeps_does_not_keep_other_sites_at_their_results(run_of: MakeRun) -> None:
    run = run_of(2)
    wake, sent = threading.Event(), threading.Event()
    order: list[str] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        order.append(client_task.client.name)
        if len(order) == 1:
            assert wake.wait(LONG)

    def after_sent(event: str, fl_ctx: FLContext) -> None:
        if event == E.AFTER_SEND_TASK_RESULT:
            gone.append(fl_ctx.get_identity_name())
            if len(gone) == 2:
                sent.set()

    gone: list[str] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("t", Shareable(), result_received_cb=received)
        controller.broadcast(task, fl_ctx, min_responses=2)
        assert sent.wait(LONG), "both have given their results while a callback slept"
        assert len(order) == 1
        wake.set()
        controller._of_run().wait(task, abort_signal)

    run.serve(flow)
    for name in run.names:
        run.client(name, echo, {"trace": Trace(seen=after_sent)})
    assert set(run.wait_all().values()) == {0}
    assert sorted(order) == run.names


@pytest.mark.parametrize("code", [ReturnCode.RUN_MISMATCH, ReturnCode.TASK_UNKNOWN, ReturnCode.UNSAFE_JOB])
def test_results_that_abort_the_job(run_of: MakeRun, code: ReturnCode) -> None:
    run = run_of(1)
    tasks: list[Task] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("train", Shareable()))
        controller.broadcast_and_wait(tasks[0], fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        reply = Shareable()
        reply.set_return_code(code)
        return reply

    run.serve(flow)
    if code == ReturnCode.TASK_UNKNOWN:
        run.client("site-1", [(["test"], Work(work))])
    else:
        run.client("site-1", work)
    assert run.wait_all() == {"server": 1, "site-1": 1}
    assert tasks[0].completion_status == S.ABORTED
    assert f"site-1 cannot do task train: {code}" in repr(run.server)


def test_a_result_is_taken_once(run_of: MakeRun) -> None:
    run = run_of(1)
    codes: list[Any] = []
    results: list[Any] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        results.append(client_task.result)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("t", Shareable(), result_received_cb=received), fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        result = Shareable({"x": 1})
        for key in ReservedHeaderKey.TASK_NAME, ReservedHeaderKey.TASK_ID:
            result.set_header(key, shareable.get_header(key))
        content = packed(result, fl_ctx.get_all_public_props() | {"__peer_ctx__": None})
        for _ in range(3):
            reply = fl_ctx.get_engine().get_cell().request("server", CHANNEL, SUBMIT, content, LONG).result()
            codes.append(reply.payload[0]["__headers__"]["__rc__"])
        return result

    run.serve(flow)
    run.client("site-1", work)
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert codes == [ReturnCode.OK] * 3
    assert len(results) == 1
