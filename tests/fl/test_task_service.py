"""What the server answers, while others sleep; results that say that the job cannot work; secure tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from tests.cell.sealed import CardedFederation
from tests.fl.runs import JOB, Flow, Run, Trace
from tests.system.federation import LONG, until
from zmqfl.cell.message import Message
from zmqfl.context.event_type import EventType as E
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.context.signal import Signal
from zmqfl.errors import CellReturnCode
from zmqfl.fl.run_messages import CHANNEL, CHECK, GET, LEAVE, PRESENCE, SUBMIT, SYNC, packed
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus

MakeRun = Callable[..., Run]
S = TaskCompletionStatus


def test_an_executor_that_sleeps_delays_no_other_site(run_of: MakeRun) -> None:
    run = run_of(2)
    wake = threading.Event()
    results: list[str] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        results.append(client_task.client.name)
        if len(results) == 5:
            wake.set()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        slow = Task("slow", Shareable(), result_received_cb=received)
        controller.broadcast(slow, fl_ctx, ["site-1"])
        for _ in range(5):
            controller.broadcast_and_wait(Task("quick", Shareable(), result_received_cb=received), fl_ctx, ["site-2"])
        controller._of_run().wait(slow, abort_signal)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if name == "slow":
            assert wake.wait(LONG), "the other site was kept waiting"
        return Shareable()

    run.serve(flow)
    run.all_clients(work)
    assert set(run.wait_all().values()) == {0}
    assert results == ["site-2"] * 5 + ["site-1"]


@pytest.mark.parametrize("place", ["before_task_sent_cb", "after_task_sent_cb", "result_received_cb", "task_done_cb"])
def test_a_callback_that_sleeps_delays_no_other_task(run_of: MakeRun, place: str) -> None:
    run = run_of(2)
    wake = threading.Event()

    def sleep(**arguments: Any) -> None:
        assert wake.wait(LONG), "other tasks were kept waiting"

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        options: dict[str, Any] = {place: sleep}
        slow = Task("t", Shareable(), **options)
        controller.broadcast(slow, fl_ctx, ["site-1"])
        for _ in range(5):
            controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx, ["site-2"])
        timed = Task("t", Shareable(), timeout=1)
        controller.broadcast_and_wait(timed, fl_ctx, ["nobody"])
        assert timed.completion_status == S.TIMEOUT
        wake.set()
        controller._of_run().wait(slow, abort_signal)

    run.serve(flow)
    run.all_clients()
    assert set(run.wait_all().values()) == {0}


def test_data_that_cannot_travel_ends_the_task(run_of: MakeRun) -> None:
    run = run_of(1)
    tasks: list[Task] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("t", Shareable({"lock": threading.Lock()})))
        controller.broadcast_and_wait(tasks[0], fl_ctx)
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx)

    run.serve(flow)
    run.client()
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert tasks[0].completion_status == S.ERROR
    assert "lock" in str(tasks[0].exception)


def test_a_secure_task_goes_to_secure_clients_only(run_of: MakeRun) -> None:
    run = run_of(1)
    tasks: list[Task] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks.append(Task("t", Shareable(), secure=True))
        controller.broadcast_and_wait(tasks[0], fl_ctx)

    run.serve(flow)
    run.client()
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert tasks[0].completion_status == S.ERROR
    assert "does not ask by secure messages" in str(tasks[0].exception)


@pytest.mark.parametrize("size", [8, 1 << 19])
def test_a_secure_run_is_sealed_from_end_to_end(run_of: MakeRun, size: int) -> None:
    run = run_of(2, federation=CardedFederation())
    sealed: list[tuple[str, bool]] = []
    sums: list[float] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        sums.append(float(client_task.result["w"].sum()))

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("t", Shareable({"w": np.ones(size)}), secure=True, result_received_cb=received)
        controller.broadcast_and_wait(task, fl_ctx, min_responses=2)
        assert task.completion_status == S.OK

    def look(message: Message) -> None:
        sealed.append((message.topic, message.sealed))

    run.hub.add_incoming_request_filter(CHANNEL, "*", look)
    run.serve(flow, secure=True)
    for name in run.names:
        run.client(name, secure=True)
    assert set(run.wait_all().values()) == {0}
    assert sums == [float(size)] * 2
    assert {topic for topic, _ in sealed} >= {SYNC, GET, CHECK, SUBMIT, LEAVE}
    assert all(is_sealed for _, is_sealed in sealed)


def test_messages_of_nobody_and_of_other_jobs(run_of: MakeRun) -> None:
    run = run_of(1)
    asked: list[Any] = []
    over = threading.Event()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        assert over.wait(LONG)

    run.serve(flow)
    stranger = run.federation.start("stranger", run.hub, None)
    site = run.federation.start("site-1", run.hub, None)
    for topic in GET, CHECK, SUBMIT:
        asked.append(stranger.request("server", CHANNEL, topic, packed(Shareable()), LONG).reply().return_code)
        asked.append(site.request("server", CHANNEL, topic, "nonsense", LONG).reply().return_code)
    assert asked == [CellReturnCode.AUTHENTICATION_ERROR, CellReturnCode.INVALID_REQUEST] * 3
    result = Shareable()
    result.set_header(ReservedHeaderKey.TASK_ID, "1")
    other = packed(result, {"__run_num__": "job-2", "__identity_name__": "site-1"})
    reply = site.request("server", CHANNEL, SUBMIT, other, LONG).result()
    assert reply.payload[0]["__headers__"]["__rc__"] == ReturnCode.RUN_MISMATCH
    mine = packed(result, {"__run_num__": JOB, "__identity_name__": "site-1"})
    reply = site.request("server", CHANNEL, CHECK, mine, LONG).result()
    assert reply.payload[0]["__headers__"]["__rc__"] == ReturnCode.TASK_UNKNOWN
    over.set()
    run.server.settings = run.settings
    assert run.wait() == 0


def test_a_client_that_was_not_lost_after_all_is_there_again(run_of: MakeRun) -> None:
    run = run_of(1)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx)
        presence = run.server.service.presence
        presence._ended("site-1", presence._watched["site-1"])
        until(lambda: presence.present() == {"site-1"} and controller.get_client_disconnect_time("site-1") is None)
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx)

    run.serve(flow)
    run.client()
    assert run.wait_all() == {"server": 0, "site-1": 0}


def test_a_client_that_asks_before_the_run_has_started_gets_the_first_task(run_of: MakeRun) -> None:
    """It knows the server from before that was started again."""
    run = run_of(1)
    asked = threading.Event()

    def hold(event: str, fl_ctx: FLContext) -> None:
        if event == E.START_RUN:
            assert asked.wait(LONG)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx, abort_signal=abort_signal)

    run.serve(flow, {"hold": Trace(seen=hold)})
    site = run.federation.start("site-1", run.hub, None)
    leaving: Future[Any] = Future()
    site.register_request_cb(CHANNEL, PRESENCE, lambda message: leaving)
    props = {"__run_num__": JOB, "__identity_name__": "site-1"}
    handle = site.request("server", CHANNEL, GET, packed(Shareable(), props), LONG)
    until(lambda: run.server.communicator._board._asking)
    asked.set()
    assert handle.result().payload[0]["__headers__"][ReservedHeaderKey.TASK_NAME] == "t"
    run.server.abort("it has been seen")
    until(lambda: run.server.service._is_over)  # it waits for the client, and for no more than it is there
    leaving.set_result(packed(Shareable()))
    assert run.wait() == 1
