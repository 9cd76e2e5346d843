"""Runs in which executors, filters, callbacks and whole clients fail by chance: each task ends, with a code as listed.

`make test` plays small ones; `make soak` 100 tasks for 16 sites, and looks at the memory.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fl.filters import Note
from tests.fl.runs import Flow, Run
from tests.system.federation import LONG
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.task import ClientTask, SendOrder, Task, TaskCompletionStatus
from zmqfl.fl.task_filters import TaskFilters

SEEDS_SHARE = 20
MakeRun = Callable[..., Run]
S = TaskCompletionStatus
SETTINGS = RunSettings(dead_client_grace=1.0, sync_timeout=LONG, end_patience=5.0, aux_timeout=5.0)
CODES = {
    ReturnCode.OK, ReturnCode.EXECUTION_EXCEPTION, ReturnCode.EXECUTION_RESULT_ERROR, ReturnCode.ERROR,
    ReturnCode.TASK_DATA_FILTER_ERROR, ReturnCode.TASK_RESULT_FILTER_ERROR, ReturnCode.TASK_ABORTED,
}  # fmt: skip


class Campaign:
    """One run; `seed` decides what fails."""

    def __init__(self, run: Run, seed: int, tasks: int, crashes: int) -> None:
        self.run = run
        self.seed = seed
        self.tasks = tasks
        self.crashes = crashes
        self.codes: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.local = threading.local()
        self.after_task: Callable[[int], object] = lambda number: None

    def chance(self, share: float) -> bool:
        """Each thread has chances of its own."""
        if not hasattr(self.local, "rng"):
            self.local.rng = random.Random(f"{self.seed} {threading.current_thread().name}")
        return bool(self.local.rng.random() < share)

    # -- what fails ----------------------------------------------------------------------------------------------------

    def work(self, name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Any:
        for error in KeyError("w"), RuntimeError("memory"):
            if self.chance(0.05):
                raise error
        if self.chance(0.05):
            return "no Shareable"
        if self.chance(0.05):
            return make_reply(ReturnCode.ERROR)
        return Shareable({"w": shareable["w"] + 1})

    def filters(self, share: float = 0.05) -> list[TaskFilters]:
        def then(shareable: Shareable, fl_ctx: FLContext) -> Shareable:
            if self.chance(share):
                raise ValueError("filtered")
            return shareable

        return [TaskFilters(("t",), (Note("n", then),), "inout")]

    def callback(self, **arguments: Any) -> None:
        if self.chance(0.01):
            raise ValueError("callback")

    def received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        code = client_task.result.get_return_code()
        with self.lock:
            self.codes[str(code)] += 1
        if code == ReturnCode.OK:
            assert client_task.result["w"].tolist() == (np.arange(4) + 1).tolist()
        self.callback()

    def task_done(self, task: Task, fl_ctx: FLContext) -> None:
        with self.lock:
            self.done[task.task_id] += 1
        self.callback()

    # -- the run -------------------------------------------------------------------------------------------------------

    def flow(self, controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        rng = random.Random(self.seed)
        crash_after = rng.sample(range(self.tasks), self.crashes)
        standing: list[Task] = []
        for number in range(self.tasks):
            task = Task(
                "t", Shareable({"w": np.arange(4.0)}), timeout=rng.choice([0, 20]), before_task_sent_cb=self.callback,
                after_task_sent_cb=self.callback, result_received_cb=self.received, task_done_cb=self.task_done,
            )  # fmt: skip
            standing.append(task)
            some = rng.sample(self.run.names, rng.randint(1, len(self.run.names)))
            match rng.randrange(4):
                case 0:
                    controller.send(task, fl_ctx, some, rng.choice(list(SendOrder)))
                case 1:
                    controller.relay(task, fl_ctx, some, dynamic_targets=False)
                case _:
                    controller.broadcast(task, fl_ctx, some, rng.randint(0, len(some)))
            if number in crash_after:
                self.restart(rng.choice(self.run.names))
            if rng.random() < 0.5:
                controller._of_run().wait(standing.pop(rng.randrange(len(standing))), abort_signal)
            self.after_task(number)
        for task in standing:
            controller._of_run().wait(task, abort_signal)
            self.ends[str(task.completion_status)] += 1
        assert controller.get_num_standing_tasks() == 0

    def restart(self, name: str) -> None:
        self.run.crash(name)
        self.start(name)

    def start(self, name: str) -> None:
        self.run.client(name, self.work, task_data_filters=self.filters(), task_result_filters=self.filters())

    def play(self) -> None:
        for name in self.run.names:
            self.start(name)
        self.run.serve(self.flow, task_data_filters=self.filters(0.01), task_result_filters=self.filters())
        assert self.run.wait(seconds=600) == 0, repr(self.run.server)
        assert set(self.run.wait_all().values()) == {0}
        assert set(self.codes) <= CODES
        assert len(self.done) == self.tasks
        assert set(self.done.values()) == {1}
        assert set(self.ends) <= {S.OK, S.ERROR, S.CANCELLED, S.TIMEOUT, S.CLIENT_DEAD}


def test_nothing_hangs_whatever_fails(run_of: MakeRun, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    Campaign(run_of(4, settings=SETTINGS), seed, tasks=15, crashes=1).play()


def memory() -> int:
    """Anonymous resident bytes of this process."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hundred_tasks_for_sixteen_sites(run_of: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    for seed in range(5):
        campaign = Campaign(run_of(16, settings=SETTINGS), seed, tasks=100, crashes=5)
        campaign.play()
        campaign.run.close()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_memory_is_flat_over_two_thousand_tasks(run_of: MakeRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    campaign = Campaign(run_of(4, settings=SETTINGS), 1, tasks=2000, crashes=0)
    marks: list[int] = []

    def look(number: int) -> None:
        if number % 400 == 399:
            marks.append(memory())

    campaign.after_task = look
    campaign.play()
    assert marks[-1] - marks[0] < 8 << 20, marks
