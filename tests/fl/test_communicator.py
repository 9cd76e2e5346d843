"""What has the board obeyed, without cells: the clients are those of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError
from zmqfl.fl.client import Client
from zmqfl.fl.communicator import Communicator, TaskFailed
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus
from zmqfl.fl.task_board import Submission
from zmqfl.fl.task_plans import Broadcast

S = TaskCompletionStatus


class Answers:
    """Who talks with the clients: it writes down what they are told."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.told: list[tuple[str, Any]] = []

    def give(self, client_task: ClientTask, resend: bool) -> None:
        self.tell("give", client_task)

    def try_again(self, client: str) -> None:
        self.tell("try_again", client)

    def end_run(self, client: str) -> None:
        self.tell("end_run", client)

    def tell(self, what: str, about: Any) -> None:
        with self.changed:
            self.told.append((what, about))
            self.changed.notify_all()

    def wait(self, number: int = 1) -> list[Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.told) >= number, LONG), self.told
            return [about for _, about in self.told]


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def communicator(answers: Answers) -> Iterator[Communicator]:
    communicator = Communicator(Client, FLContext, RunSettings(poll=LONG))
    communicator.answers = answers
    yield communicator
    communicator.end(S.CANCELLED)
    communicator.drain()
    communicator.close()


def schedule(communicator: Communicator, task: Task, *targets: str) -> None:
    communicator.schedule(task, list(targets), lambda now: Broadcast(targets, 0, 0))


def test_a_task_from_its_scheduling_to_its_end(communicator: Communicator, answers: Answers) -> None:
    seen: list[Any] = []
    task = Task(
        "t", Shareable({"x": 1}), operator={"how": "fast"},
        result_received_cb=lambda client_task, fl_ctx: seen.append(client_task.result),
        task_done_cb=lambda task, fl_ctx: seen.append((task, fl_ctx.get_peer_context())),
    )  # fmt: skip
    communicator.ask("a")
    schedule(communicator, task, "a")
    [client_task] = answers.wait()
    assert (client_task.client.name, client_task.task, task.client_tasks) == ("a", task, [client_task])
    data = communicator.prepare(client_task, FLContext(), False)
    assert data.get_header(ReservedHeaderKey.TASK_ID) == client_task.id
    assert (data["x"], data.get_header(ReservedHeaderKey.TASK_OPERATOR)) == (1, {"how": "fast"})
    communicator.sent(client_task)
    assert (client_task.task_send_count, client_task.task_sent_time is not None) == (1, True)
    assert communicator.is_wanted("a", client_task.id)
    assert communicator.submit("a", client_task.id) == (Submission.TAKEN, client_task)
    assert communicator.submit("a", client_task.id) == (Submission.REPEATED, None)
    result = Shareable()
    assert communicator.receive(client_task, result, FLContext())
    assert client_task.result_received_time is not None
    communicator.processed(client_task)
    communicator.wait(task, None)
    assert (task.completion_status, seen) == (S.OK, [result, (task, None)])
    assert not communicator.receive(client_task, result, FLContext())
    with pytest.raises(TaskFailed, match="task t has ended: ok"):
        communicator.prepare(client_task, FLContext(), False)
    with pytest.raises(ArgumentError, match="already used"):
        schedule(communicator, task, "a")
    assert repr(communicator).startswith("<Communicator <TaskBoard 0 tasks")


@pytest.mark.parametrize("is_filtered", [False, True])
def test_what_a_client_gets_is_a_copy(communicator: Communicator, answers: Answers, is_filtered: bool) -> None:
    weights = np.zeros(3)
    task = Task("t", Shareable({"a": {"w": weights, "l": [1]}}))
    schedule(communicator, task, "a")
    communicator.ask("a")
    [client_task] = answers.wait()
    data = communicator.prepare(client_task, FLContext(), is_filtered)
    data["a"]["l"].append(2)
    data["a"]["new"] = 1
    assert task.data["a"].keys() == {"w", "l"}
    assert task.data["a"]["l"] == [1]
    assert (data["a"]["w"] is weights) is not is_filtered  # nobody may change it where no filter does


def test_data_that_cannot_be_copied_ends_the_task(communicator: Communicator, answers: Answers) -> None:
    task = Task("t", Shareable({"lock": threading.Lock()}))
    schedule(communicator, task, "a")
    communicator.ask("a")
    [client_task] = answers.wait()
    with pytest.raises(TaskFailed):
        communicator.prepare(client_task, FLContext(), True)
    communicator.wait(task, None)
    assert task.completion_status == S.ERROR
    assert isinstance(task.exception, TypeError)


def test_the_signal_ends_a_wait(communicator: Communicator) -> None:
    task, signal = Task("t", Shareable()), Signal()
    schedule(communicator, task, "a")
    threading.Timer(0, signal.trigger).start()
    communicator.wait(task, signal)
    assert task.completion_status == S.ABORTED


def test_a_callback_may_end_and_schedule_tasks(communicator: Communicator, answers: Answers) -> None:
    again = Task("u", Shareable())

    def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
        communicator.cancel(client_task.task, S.IGNORED)
        communicator.cancel_all(S.IGNORED)
        schedule(communicator, again, "a")

    task = Task("t", Shareable(), result_received_cb=received)
    schedule(communicator, task, "a", "b")
    communicator.ask("a")
    [client_task] = answers.wait()
    communicator.sent(client_task)
    communicator.submit("a", client_task.id)
    communicator.receive(client_task, Shareable(), FLContext())
    communicator.processed(client_task)
    communicator.wait(task, None)
    assert (task.completion_status, communicator.standing) == (S.IGNORED, 1)


def test_a_client_that_does_not_wait_any_more(communicator: Communicator, answers: Answers) -> None:
    task = Task("t", Shareable())
    schedule(communicator, task, "a")
    communicator.ask("a")
    [client_task] = answers.wait()
    communicator.unsent(client_task)
    communicator.ask("a")
    assert answers.wait(2) == [client_task, client_task]
    assert client_task.task_send_count == 0


def test_when_all_workers_are_blocked_a_thread_does_it(communicator: Communicator, answers: Answers) -> None:
    communicator._workers.stop(LONG)
    task = Task("t", Shareable())
    schedule(communicator, task, "a")
    communicator.ask("a")
    assert answers.wait()[0].task is task


def test_the_end(communicator: Communicator, answers: Answers) -> None:
    communicator.ask("a")
    communicator.end(S.CANCELLED)
    assert answers.wait() == ["a"]
    late = Task("t", Shareable())
    schedule(communicator, late, "a")
    communicator.wait(late, None)
    assert late.completion_status == S.ABORTED
    assert [what for what, _ in answers.told] == ["end_run"]


def test_lost_clients(communicator: Communicator) -> None:
    assert communicator.lost_since("a") is None
    communicator.lose("a")
    assert communicator.lost_since("a") is not None
    communicator.find("a")
    assert communicator.lost_since("a") is None
    task = Task("t", Shareable())
    schedule(communicator, task, "a")
    communicator.leave("a")
    communicator.wait(task, None)
    assert task.completion_status == S.CLIENT_DEAD


def test_time_passes(answers: Answers) -> None:
    communicator = Communicator(Client, FLContext, RunSettings(poll=0.01))
    communicator.answers = answers
    communicator.ask("a")
    assert answers.wait() == ["a"]
    assert answers.told == [("try_again", "a")]
    communicator.end(S.CANCELLED)
    communicator.close()
