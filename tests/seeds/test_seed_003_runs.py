"""Seed 003, FLContext: its code blocks, names and promises. A test per line of the check list."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fl.runs import JOB, Flow, Run, Trace
from tests.system.federation import LONG
from zmqfl.context.event_type import EventType as E
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import AppConstants, FLContextKey
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.fl.filter import Filter
from zmqfl.fl.task import ClientTask, Task
from zmqfl.fl.task_filters import TaskFilters


@pytest.fixture
def run() -> Iterator[Run]:
    """A server and two clients, not running yet."""
    run = Run(2)
    yield run
    run.close()


class Story:
    """One round of a run, and what each step of it saw: the context itself, and its peer's props at that moment."""

    def __init__(self, run: Run, folder: Path | None = None) -> None:
        self.run = run
        self.folder = folder
        self.seen: dict[str, tuple[FLContext, dict[str, Any] | None]] = {}
        self.lock = threading.Lock()

    def look(self, step: str, fl_ctx: FLContext) -> None:
        peer = fl_ctx.get_peer_context()
        with self.lock:
            self.seen[step] = (fl_ctx, None if peer is None else peer.get_all_public_props())

    def filters(self, side: str) -> tuple[list[TaskFilters], list[TaskFilters]]:
        story = self

        class Look(Filter):
            def __init__(self, step: str) -> None:
                self.step = step

            def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
                story.look(f"{side} {self.step}", fl_ctx)
                return shareable

        return tuple([TaskFilters(("train",), (Look(step),), "inout")] for step in ("data filter", "result filter"))  # type: ignore[return-value]

    def flow(self, controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        self.look("control_flow", fl_ctx)
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, 3, private=False)
        fl_ctx.set_prop(AppConstants.NUM_STEPS_CURRENT_ROUND, 40, private=False)
        fl_ctx.sync_sticky()

        def look(step: str) -> Callable[..., None]:
            return lambda client_task, fl_ctx: self.look(step, fl_ctx)

        def before_sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
            self.look("before_task_sent", fl_ctx)
            fl_ctx.set_prop("from_server", "s", private=False, sticky=False)

        def done(task: Task, fl_ctx: FLContext) -> None:
            self.look("task_done", fl_ctx)

        task = Task(
            "train", Shareable(), before_task_sent_cb=before_sent, after_task_sent_cb=look("after_task_sent"),
            result_received_cb=look("result_received"), task_done_cb=done,
        )  # fmt: skip
        controller.broadcast_and_wait(task, fl_ctx, ["site-1"], abort_signal=abort_signal)
        self.look("control_flow again", fl_ctx)

    def work(self, name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        self.look("execute", fl_ctx)
        fl_ctx.set_prop("from_client", "c", private=False, sticky=False)
        fl_ctx.set_prop("secret", "c", private=True, sticky=False)
        return Shareable()

    def workspace(self, name: str) -> Workspace | None:
        return None if self.folder is None else Workspace(str(self.folder / name), name)

    def play(self, **options: Any) -> Story:
        def trace(side: str) -> Trace:
            return Trace(seen=lambda event, fl_ctx: self.look(f"{side} {event}", fl_ctx))

        data, results = self.filters("server")
        self.run.serve(
            self.flow, {"trace": trace("server")}, task_data_filters=data, task_result_filters=results,
            workspace=self.workspace("server"), **options,
        )  # fmt: skip
        data, results = self.filters("client")
        self.run.client(
            "site-1", self.work, {"trace": trace("client")}, task_data_filters=data, task_result_filters=results,
            workspace=self.workspace("site-1"), **options,
        )  # fmt: skip
        self.run.client("site-2")
        assert set(self.run.wait_all().values()) == {0}
        return self

    def contexts(self, *steps: str) -> set[int]:
        return {id(self.seen[step][0]) for step in steps}

    def peer(self, step: str) -> dict[str, Any]:
        props = self.seen[step][1]
        assert props is not None, f"{step} has no peer context"
        return props


def test_003_1_props_are_private_or_public_sticky_or_not() -> None:
    manager = FLContextManager(None, "site-1", JOB)
    with manager.new_context() as fl_ctx:
        for private in True, False:
            for sticky in True, False:
                fl_ctx.set_prop(f"{private} {sticky}", 1, private=private, sticky=sticky)
    assert {key for key in fl_ctx.get_all_public_props() if not key.startswith("__")} == {"False True", "False False"}
    later = [key for key in manager.new_context().get_prop_keys() if not key.startswith("__")]
    assert sorted(later) == ["False True", "True True"]


def test_003_2_set_get_and_remove() -> None:
    parameters = inspect.signature(FLContext.set_prop).parameters
    assert [(name, parameters[name].default) for name in ("private", "sticky")] == [("private", True), ("sticky", True)]
    fl_ctx = FLContextManager(None, "site-1", JOB).new_context()
    assert fl_ctx.set_prop("a", 1)
    assert fl_ctx.set_prop("a", 2)
    assert (fl_ctx.get_prop("a"), fl_ctx.get_prop("b"), fl_ctx.get_prop("b", default=5)) == (2, None, 5)
    assert not fl_ctx.set_prop("a", 3, private=False)
    with pytest.raises(ValueError, match="must be a str"):
        fl_ctx.set_prop(3, 1)  # type: ignore[arg-type]
    fl_ctx.remove_prop("a")
    fl_ctx.set_prop("__mine", 1)
    fl_ctx.remove_prop("__mine")
    assert (fl_ctx.get_prop("a"), fl_ctx.get_prop("__mine")) == (None, 1)


def test_003_3_permanent_props(run: Run, tmp_path: Path) -> None:
    story = Story(run, tmp_path).play(args={"n": 1}, secure=False)
    for step, name, engine in (
        ("control_flow", "server", run.server.engine), ("execute", "site-1", run.clients["site-1"].engine),
    ):  # fmt: skip
        fl_ctx = story.seen[step][0]
        assert fl_ctx.get_engine() is engine
        assert (fl_ctx.get_job_id(), fl_ctx.get_identity_name()) == (JOB, name)
        workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        assert isinstance(workspace, Workspace)
        assert fl_ctx.get_prop(FLContextKey.APP_ROOT) == workspace.get_app_dir(JOB)
        assert fl_ctx.get_prop(FLContextKey.WORKSPACE_ROOT) == str(tmp_path / name)
        assert fl_ctx.get_prop(FLContextKey.ARGS) == {"n": 1}
        assert fl_ctx.get_prop(FLContextKey.SECURE_MODE, True) is False


def test_003_4_what_is_sticky_goes_back_when_the_context_is_finalised(run: Run) -> None:
    early: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        engine = fl_ctx.get_engine()
        with engine.new_context() as ctx:
            ctx.set_prop("model", "m")
            early.append(engine.new_context().get_prop("model"))
        early.append(engine.new_context().get_prop("model"))

    run.serve(flow)
    run.all_clients()
    assert set(run.wait_all().values()) == {0}
    assert early == [None, "m"]


def test_003_5_an_ad_hoc_context_for_each_thread(run: Run) -> None:
    found: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        def work(number: int) -> None:
            with fl_ctx.get_engine().new_context() as ctx:
                ctx.set_prop(f"part {number}", number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        ctx = fl_ctx.get_engine().new_context()
        found.extend(ctx.get_prop(f"part {number}") for number in range(4))

    run.serve(flow)
    run.all_clients()
    assert set(run.wait_all().values()) == {0}
    assert found == [0, 1, 2, 3]


def test_003_6_the_shared_context_of_a_server(run: Run) -> None:
    story = Story(run)
    values: list[Any] = []

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        shared_context = fl_ctx.get_prop(FLContextKey.PEER_CONTEXT)
        client_name = shared_context.get_prop(FLContextKey.CLIENT_NAME)
        current_round = shared_context.get_prop(AppConstants.CURRENT_ROUND)
        number_steps = shared_context.get_prop(AppConstants.NUM_STEPS_CURRENT_ROUND)
        values.extend([client_name, current_round, number_steps, shared_context.set_prop("a", 1)])
        return Shareable()

    story.work = work  # type: ignore[method-assign]
    story.play()
    assert values == ["site-1", 3, 40, False]
    assert story.peer("result_received")[FLContextKey.CLIENT_NAME] == "site-1"


def test_003_7_an_iteration_of_a_client(run: Run) -> None:
    story = Story(run).play()
    events = [
        E.BEFORE_PULL_TASK, E.AFTER_PULL_TASK, E.BEFORE_TASK_DATA_FILTER, E.AFTER_TASK_DATA_FILTER,
        E.BEFORE_TASK_EXECUTION, E.AFTER_TASK_EXECUTION, E.BEFORE_TASK_RESULT_FILTER, E.AFTER_TASK_RESULT_FILTER,
        E.BEFORE_SEND_TASK_RESULT, E.AFTER_SEND_TASK_RESULT,
    ]  # fmt: skip
    steps = ["client data filter", "execute", "client result filter", *(f"client {event}" for event in events[2:])]
    assert len(story.contexts(*steps)) == 1
    fl_ctx = story.seen["execute"][0]
    assert fl_ctx.get_prop(FLContextKey.TASK_NAME) == "train"
    assert fl_ctx.get_prop(FLContextKey.TASK_ID) == story.peer("result_received")[FLContextKey.TASK_ID]
    assert isinstance(fl_ctx.get_prop(FLContextKey.TASK_DATA), Shareable)
    assert isinstance(fl_ctx.get_prop(FLContextKey.TASK_RESULT), Shareable)
    assert story.peer("client data filter")["from_server"] == "s"
    assert [step for step in story.seen if step in ("client data filter", "execute", "client result filter")] == [
        "client data filter", "execute", "client result filter",
    ]  # fmt: skip
    assert story.seen[f"client {E.BEFORE_PULL_TASK}"][1] is None


def test_003_8_the_contexts_of_a_server(run: Run) -> None:
    story = Story(run).play()
    request = [
        f"server {E.BEFORE_PROCESS_TASK_REQUEST}", "before_task_sent", "after_task_sent", "server data filter",
        f"server {E.AFTER_PROCESS_TASK_REQUEST}", f"server {E.AFTER_TASK_DATA_FILTER}",
    ]  # fmt: skip
    result = [
        f"server {E.BEFORE_TASK_RESULT_FILTER}", "server result filter", f"server {E.BEFORE_PROCESS_SUBMISSION}",
        "result_received", f"server {E.AFTER_PROCESS_SUBMISSION}",
    ]  # fmt: skip
    for steps in request, result, ["task_done"], ["control_flow", "control_flow again"]:
        assert len(story.contexts(*steps)) == 1
    assert len(story.contexts(request[0], result[0], "task_done", "control_flow")) == 4
    for step in (*request, *result):
        peer = story.peer(step)
        assert (peer["__run_num__"], peer["__identity_name__"]) == (JOB, "site-1")
    for step in result:
        peer = story.peer(step)
        assert peer[FLContextKey.TASK_NAME] == "train"
        assert peer[FLContextKey.TASK_ID] == story.seen["execute"][0].get_prop(FLContextKey.TASK_ID)
        assert peer["from_client"] == "c"
    for step in "task_done", "control_flow", "control_flow again":
        assert story.seen[step][1] is None


def test_003_9_public_props_go_both_ways(run: Run) -> None:
    story = Story(run)
    story.play()
    to_client, to_server = story.peer("execute"), story.peer("result_received")
    assert (to_client["__run_num__"], to_client["__identity_name__"]) == (JOB, "server")
    assert (to_client["from_server"], to_server["from_client"]) == ("s", "c")
    assert "secret" not in to_server


def test_003_9_with_the_question_for_a_task(run: Run) -> None:
    found: list[Any] = []

    def ask(event: str, fl_ctx: FLContext) -> None:
        if event == E.BEFORE_PULL_TASK:
            fl_ctx.set_prop("gpus", 8, private=False, sticky=False)

    def before_sent(client_task: ClientTask, fl_ctx: FLContext) -> None:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        found.append((peer.get_identity_name(), peer.get_prop("gpus")))

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task("train", Shareable(), before_task_sent_cb=before_sent)
        controller.broadcast_and_wait(task, fl_ctx, ["site-1"])

    run.serve(flow)
    run.client("site-1", components={"ask": Trace(seen=ask)})
    run.client("site-2")
    assert set(run.wait_all().values()) == {0}
    assert found == [("site-1", 8)]


def test_003_10_public_props_must_be_serialisable(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    story = Story(run)
    work = story.work

    def with_lock(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        fl_ctx.set_prop("lock", threading.Lock(), private=False, sticky=False)
        return work(name, shareable, fl_ctx, abort_signal)

    story.work = with_lock  # type: ignore[method-assign]
    story.play()
    assert "public prop 'lock' stays behind" in caplog.text
    assert "lock" not in story.peer("result_received")


def test_003_10_several_contexts_live_at_once(run: Run) -> None:
    both = threading.Barrier(2)
    contexts: list[FLContext] = []

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        contexts.append(fl_ctx)
        both.wait(LONG)

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        tasks = [Task("train", Shareable(), result_received_cb=received) for _ in run.names]
        for task, name in zip(tasks, run.names, strict=True):
            controller.broadcast(task, fl_ctx, [name])
        while controller.get_num_standing_tasks():
            controller._of_run().wait(tasks.pop(), abort_signal)

    run.serve(flow)
    run.all_clients()
    assert set(run.wait_all().values()) == {0}
    assert len({id(each) for each in contexts}) == 2
