"""The ways to have clients do tasks, on a real run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fl.runs import Flow, Run
from tests.system.federation import LONG
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, UsageError
from zmqfl.fl.client import Client
from zmqfl.fl.communicator import Communicator
from zmqfl.fl.controller import Controller
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.task import ClientTask, SendOrder, Task, TaskCompletionStatus

MakeRun = Callable[..., Run]
S = TaskCompletionStatus


def play(run: Run, flow: Callable[[Flow, Signal, FLContext], object], work: Any = None) -> list[Any]:
    """Run a control flow; each result's (client, content of x), in the order of their coming."""
    run.serve(flow)
    for name in run.names:
        run.client(name, work or add_name)
    assert set(run.wait_all().values()) == {0}
    return []


def add_name(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
    return Shareable({"x": [*shareable.get("x", []), fl_ctx.get_identity_name()]})


class Results:
    """A `result_received_cb` that remembers."""

    def __init__(self, then: Callable[[ClientTask], object] | None = None) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.then = then

    def __call__(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        self.seen.append((client_task.client.name, client_task.result.get("x")))
        if self.then is not None:
            self.then(client_task)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]


# -- arguments ---------------------------------------------------------------------------------------------------------


class Engine:
    def get_clients(self) -> list[Client]:
        return [Client("site-1"), Client("site-2")]


def context() -> FLContext:
    fl_ctx = FLContext()
    fl_ctx.put("__engine__", Engine(), private=True, sticky=False)
    return fl_ctx


@pytest.fixture
def controller() -> Any:
    controller = Flow(lambda *args: None)
    communicator = Communicator(Client, FLContext, RunSettings())
    controller.set_communicator(communicator)
    yield controller
    communicator.end(S.CANCELLED)
    communicator.drain()
    communicator.close()


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("broadcast", {"targets": 3}, "targets must be names or Clients"),
        ("broadcast", {"targets": [3]}, "a target must be a Client or its name"),
        ("broadcast", {"targets": [""]}, "a target must be a Client or its name"),
        ("broadcast", {"min_responses": 3}, "min_responses is 3, and there are 2 targets"),
        ("broadcast", {"min_responses": -1}, "min_responses must be a whole number"),
        ("broadcast", {"min_responses": 1.0}, "min_responses must be a whole number"),
        ("broadcast", {"wait_time_after_min_received": -1}, "wait_time_after_min_received must be"),
        ("broadcast", {"wait_time_after_min_received": 11}, "must not be longer than the time-out"),
        ("broadcast", {"fl_ctx": None}, "fl_ctx must be an FLContext"),
        ("broadcast", {"task": "train"}, "task must be a Task"),
        ("send", {"targets": []}, "targets is empty"),
        ("send", {"send_order": "any"}, "send_order must be a SendOrder"),
        ("send", {"task_assignment_timeout": -1}, "task_assignment_timeout must be"),
        ("send", {"task_assignment_timeout": 11}, "must not be longer than the time-out"),
        ("relay", {"targets": []}, "a relay needs targets"),
        ("relay", {"targets": "*"}, "a relay needs targets"),
        ("relay", {"task_result_timeout": None}, "task_result_timeout must be"),
    ],
)
def test_run_F04_wrong_arguments(controller: Flow, method: str, arguments: dict[str, Any], text: str) -> None:
    arguments = {"task": Task("t", Shareable(), timeout=10), "fl_ctx": context(), **arguments}
    with pytest.raises(ArgumentError, match=text):
        getattr(controller, method)(**arguments)


def test_run_F04_a_task_is_used_once(controller: Flow) -> None:
    task = Task("t", Shareable())
    controller.broadcast(task, context())
    for method in controller.broadcast, controller.send, controller.relay, controller.broadcast_forever:
        with pytest.raises(ValueError, match=r"Task was already used. Please create a new task object."):
            method(task, context())


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (None, ["site-1", "site-2"]),
        ("*", None),
        ("site-9", ["site-9"]),
        (Client("site-2"), ["site-2"]),
        (["site-2", Client("site-1"), "site-2"], ["site-2", "site-1"]),
    ],
)
def test_targets(controller: Flow, targets: Any, names: list[str] | None) -> None:
    task = Task("t", Shareable())
    controller.broadcast(task, context(), targets)
    assert task.targets == names
    assert controller.get_num_standing_tasks() == 1
    controller.cancel_task(task)
    assert (task.completion_status, controller.get_num_standing_tasks()) == (S.CANCELLED, 0)
    relayed = Task("t", Shareable())
    if names == ["site-2", "site-1"]:
        controller.relay(relayed, context(), targets)
        assert relayed.targets == ["site-2", "site-1", "site-2"]


def test_run_F07_a_client_that_the_run_does_not_have(run_of: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of(1, settings=RunSettings(dead_client_grace=0.05))
    statuses: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("t", Shareable())
        controller.broadcast_and_wait(task, fl_ctx, ["site-11"])
        statuses.append(task.completion_status)

    play(run, flow)
    assert statuses == [S.CLIENT_DEAD]
    assert "the run has no client 'site-11'; for tasks it counts as lost" in caplog.text


def test_a_controller_outside_of_a_run() -> None:
    with pytest.raises(UsageError, match="controller Flow is in no run"):
        Flow(lambda *args: None).broadcast(Task("t", Shareable()), context())
    with pytest.raises(TypeError):
        Controller()  # type: ignore[abstract]


# -- runs --------------------------------------------------------------------------------------------------------------


def test_run_F05_min_responses_and_time_outs(run_of: MakeRun) -> None:
    run = run_of(2)
    statuses: list[Any] = []
    results = Results()

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if name == "hang" and fl_ctx.get_identity_name() == "site-2":
            abort_signal.wait(LONG)
        return Shareable()

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks = [Task("go", Shareable()), Task("hang", Shareable()), Task("hang", Shareable(), timeout=1)]
        tasks[1].result_received_cb = results
        controller.broadcast_and_wait(tasks[0], fl_ctx, min_responses=2)
        controller.broadcast_and_wait(tasks[1], fl_ctx, min_responses=1)
        controller.broadcast_and_wait(tasks[2], fl_ctx, min_responses=2)
        statuses.extend(task.completion_status for task in tasks)

    play(run, flow, work)
    assert statuses == [S.OK, S.OK, S.TIMEOUT]
    assert results.names == ["site-1"]


def pass_on(client_task: ClientTask) -> None:
    assert client_task.result is not None
    client_task.task.data["x"] = client_task.result["x"]


def test_send_and_relay(run_of: MakeRun) -> None:
    run = run_of(3)
    sent, any_of, relayed = Results(), Results(), Results(pass_on)
    statuses: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks = [Task("t", Shareable(), result_received_cb=each) for each in (sent, any_of, relayed)]
        controller.send_and_wait(tasks[0], fl_ctx, ["site-2", "site-1"])
        controller.send_and_wait(tasks[1], fl_ctx, None, SendOrder.ANY)
        controller.relay_and_wait(tasks[2], fl_ctx, ["site-3", "site-1", "site-3"], dynamic_targets=False)
        statuses.extend(task.completion_status for task in tasks)

    play(run, flow)
    assert statuses == [S.OK] * 3
    assert sent.seen == [("site-2", ["site-2"])]
    assert len(any_of.seen) == 1
    assert relayed.seen == [
        ("site-3", ["site-3"]), ("site-1", ["site-3", "site-1"]), ("site-3", ["site-3", "site-1", "site-3"]),
    ]  # fmt: skip


def test_broadcast_forever_until_it_is_cancelled(run_of: MakeRun) -> None:
    run = run_of(2)
    done: list[Any] = []

    def enough(client_task: ClientTask) -> None:
        if len(results.seen) == 10:
            holder[0].cancel_task(client_task.task, S.IGNORED)

    results = Results(enough)
    holder: list[Flow] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        holder.append(controller)
        task = Task("t", Shareable(), result_received_cb=results, task_done_cb=lambda task, fl_ctx: done.append(task))
        controller.broadcast_forever(task, fl_ctx)
        controller._of_run().wait(task, abort_signal)

    play(run, flow)
    assert len(results.seen) == 10
    assert [task.completion_status for task in done] == [S.IGNORED]


@pytest.mark.parametrize("place", ["before_task_sent_cb", "after_task_sent_cb", "result_received_cb", "task_done_cb"])
def test_a_callback_that_raises_ends_its_task(run_of: MakeRun, place: str) -> None:
    run = run_of(2)
    error = ValueError("no")
    ends: list[Any] = []

    def fail(**arguments: Any) -> None:
        raise error

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        options: dict[str, Any] = {"task_done_cb": lambda task, fl_ctx: ends.append("done"), place: fail}
        task = Task("t", Shareable(), **options)
        controller.broadcast_and_wait(task, fl_ctx, min_responses=0)
        ends.extend([task.completion_status, task.exception])
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx, min_responses=0)

    play(run, flow)
    assert ends == [*([] if place == "task_done_cb" else ["done"]), S.ERROR, error]


def test_the_abort_signal_ends_the_wait(run_of: MakeRun) -> None:
    run = run_of(1)
    statuses: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        mine = Signal(abort_signal)
        task = Task("t", Shareable(), before_task_sent_cb=lambda client_task, fl_ctx: mine.trigger())
        controller.broadcast_and_wait(task, fl_ctx, abort_signal=mine)
        statuses.append(task.completion_status)

    play(run, flow)
    assert statuses == [S.ABORTED]


def test_a_late_result_is_told_to_the_controller(run_of: MakeRun) -> None:
    run = run_of(1)
    late: list[Any] = []

    class Late(Flow):
        def process_result_of_unknown_task(
            self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
        ) -> None:
            late.append((client.name, task_name, client_task_id, result["x"]))

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("t", Shareable())
        task.result_received_cb = lambda client_task, fl_ctx: None
        controller.broadcast(task, fl_ctx)
        server = run.server.communicator
        taken = server.submit

        def submit(client: str, client_task_id: str) -> Any:
            controller.cancel_task(task)  # between the client's question and its result
            server.submit = taken  # type: ignore[method-assign]
            return taken(client, client_task_id)

        server.submit = submit  # type: ignore[method-assign]
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx)
        assert task.completion_status == S.CANCELLED

    run.serve({"late": Late(flow)})
    run.client("site-1", add_name)
    assert run.wait_all() == {"server": 0, "site-1": 0}
    [(client, name, _, x)] = late
    assert (client, name, x) == ("site-1", "t", ["site-1"])


def test_each_client_gets_the_data_as_its_callback_left_it(run_of: MakeRun) -> None:
    run = run_of(3)
    results = Results()

    def before_sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
        client_task.task.data["x"] = [client_task.client.name]
        client_task.task.data.setdefault("nested", {})["x"] = client_task.client.name

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("t", Shareable(), before_task_sent_cb=before_sent, result_received_cb=results)
        controller.broadcast_and_wait(task, fl_ctx, min_responses=0)

    play(run, flow)
    assert sorted(results.seen) == [(name, [name, name]) for name in run.names]
