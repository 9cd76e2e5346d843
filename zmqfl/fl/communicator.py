"""Has the task board obeyed: one lock, the clock, workers for callbacks, and who waits for a task.

    Assign     -> a worker: `Answers.give`, which calls `prepare` and `sent`, or `failed`
    TryAgain   -> `Answers.try_again`
    EndRun     -> `Answers.end_run`
    Complete   -> a worker: the task's done callback, in a context of its own; then those who wait for the task go on

No callback runs under the board's lock. Those of one task run one at a time, under the task's own, so one that sleeps
delays no other task, and no other site but where both answer the same task. Source: design, decision 28.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, NoReturn, Protocol

from zmqfl.cell.timer import Timer
from zmqfl.cell.workers import Workers, blocked
from zmqfl.config import MIB
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError
from zmqfl.fl.client import Client
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.task import ClientTask, Task, TaskCallback, TaskCompletionStatus
from zmqfl.fl.task_board import Assign, BoardCommand, Complete, EndRun, Submission, TaskBoard, TryAgain
from zmqfl.fl.task_plans import Plan

log = logging.getLogger("zmqfl.fl")

WORKERS, MOST_WORKERS, ALL_WORKERS = 2, 64, 256
"""Threads for callbacks: kept, running at once, and in all."""
STOPPING: Final = 2.0
"""Seconds that callbacks may go on after the end of the run."""


class TaskFailed(Exception):
    """A task cannot go to a client; it has ended."""


class Answers(Protocol):
    """Who talks with the clients."""

    def give(self, client_task: ClientTask, resend: bool) -> None:
        """Give a task to a client."""

    def try_again(self, client: str) -> None:
        """Tell a client that there is nothing to do now."""

    def end_run(self, client: str) -> None:
        """Tell a client that the run has ended."""


class Communicator:
    """See the module. `clients` are found by name; `new_context` makes contexts of the server."""

    answers: Answers
    """Set by who talks with the clients, before the first of them asks."""

    def __init__(
        self,
        clients: Callable[[str], Client],
        new_context: Callable[[], FLContext],
        settings: RunSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._new_context = new_context
        self._clock = clock
        self._lock = threading.Lock()
        self._board = TaskBoard(lambda: str(uuid.uuid4()), settings.poll, settings.dead_client_grace)
        self._tasks: dict[str, Task] = {}
        self._done: dict[str, threading.Event] = {}
        self._client_tasks: dict[str, ClientTask] = {}
        self._workers = Workers("zmqfl-tasks", WORKERS, MOST_WORKERS, ALL_WORKERS, 256 * MIB)
        self._timer = Timer("zmqfl-task-times", clock, self._look)

    # -- for controllers ---------------------------------------------------------------------------------------------

    def schedule(self, task: Task, targets: list[str] | None, plan: Callable[[float], Plan]) -> None:
        """Have a task stand, by a plan made for the moment of its scheduling. Raises `ArgumentError`."""
        with self._lock:
            if task.schedule_time is not None:
                raise ArgumentError("Task was already used. Please create a new task object.")
            task.schedule_time = time.time()
            task.targets = targets
            self._tasks[task.task_id] = task
            self._done[task.task_id] = threading.Event()
        self._act(lambda now: self._board.schedule(task.task_id, plan(now), task.timeout, now))

    def wait(self, task: Task, abort_signal: Signal | None) -> None:
        """Wait until a task has ended, its done callback included; the signal ends it as ABORTED."""
        done = self._done.get(task.task_id)
        if done is None:
            return

        def abort(signal: Signal) -> None:
            self.cancel(task, TaskCompletionStatus.ABORTED)

        if abort_signal is not None:
            abort_signal.add_callback(abort)
        try:
            with blocked():
                done.wait()
        finally:
            if abort_signal is not None:
                abort_signal.remove_callback(abort)

    def cancel(self, task: Task, status: TaskCompletionStatus) -> None:
        """End a task, if it stands."""
        self._act(lambda now: self._board.cancel(task.task_id, status, now))

    def cancel_all(self, status: TaskCompletionStatus) -> None:
        """End all tasks that stand."""
        self._act(lambda now: self._board.cancel_all(status, now))

    def drain(self) -> None:
        """Wait for the done callbacks of all tasks that have ended."""
        with self._lock:
            waiting = [done for task_id, done in self._done.items() if task_id not in self._tasks]
        with blocked():
            for done in waiting:
                done.wait()

    @property
    def standing(self) -> int:
        """How many tasks stand."""
        return self._board.standing

    def lost_since(self, client: str) -> float | None:
        """When the network lost a client, in seconds since the epoch; None while it is there."""
        with self._lock:
            since = self._board.lost_since(client)
        return None if since is None else time.time() - (self._clock() - since)

    # -- for who talks with the clients ------------------------------------------------------------------------------

    def ask(self, client: str) -> None:
        """A client wants a task."""
        self._act(lambda now: self._board.ask(client, now))

    def prepare(self, client_task: ClientTask, fl_ctx: FLContext, is_filtered: bool) -> Shareable:
        """What a client is to get, after the callbacks of the task. Raises `TaskFailed`.

        It is a copy: of the dicts and lists, and of the arrays where filters may change them.
        """
        task = client_task.task
        # Without these callbacks one that sleeps over another's result keeps nobody from being given the task.
        if task.completion_status is not None:
            raise TaskFailed(f"task {task.name} has ended: {task.completion_status}")
        is_alone = task.before_task_sent_cb is None and task.after_task_sent_cb is None
        with nullcontext() if is_alone else self._held(task):
            self._call(task, "before_task_sent_cb", task.before_task_sent_cb, client_task=client_task, fl_ctx=fl_ctx)
            try:
                data = Shareable(copy.deepcopy(_copy(task.data)) if is_filtered else _copy(task.data))
            except Exception as error:  # noqa: BLE001  what the user put there cannot be copied
                self._fail(task, error)
            self._call(task, "after_task_sent_cb", task.after_task_sent_cb, client_task=client_task, fl_ctx=fl_ctx)
        data.set_header(ReservedHeaderKey.TASK_NAME, task.name)
        data.set_header(ReservedHeaderKey.TASK_ID, client_task.id)
        if task.operator is not None:
            data.set_header(ReservedHeaderKey.TASK_OPERATOR, task.operator)
        return data

    def sent(self, client_task: ClientTask) -> None:
        """A task is about to be on its way."""
        client_task.task_send_count += 1
        client_task.task_sent_time = time.time()
        self._act(lambda now: self._board.sent(client_task.id, now))

    def unsent(self, client_task: ClientTask) -> None:
        """A client does not wait for its task any more: it gets it when it asks again."""
        self._act(lambda now: self._board.sent(client_task.id, now))

    def failed(self, client_task: ClientTask, status: TaskCompletionStatus, error: BaseException | None = None) -> None:
        """A task could not be sent: it ends."""
        if error is not None and client_task.task.exception is None:
            client_task.task.exception = error
        self._act(lambda now: self._board.failed(client_task.id, status, now))

    def is_wanted(self, client: str, client_task_id: str) -> bool:
        """Whether the result of a client would be taken."""
        with self._lock:
            return self._board.is_wanted(client, client_task_id)

    def submit(self, client: str, client_task_id: str) -> tuple[Submission, ClientTask | None]:
        """A result has come; the client task where it is TAKEN."""
        with self._lock:
            found = self._board.submit(client, client_task_id, self._clock())
            return found, self._client_tasks.get(client_task_id) if found is Submission.TAKEN else None

    def receive(self, client_task: ClientTask, result: Shareable, fl_ctx: FLContext) -> bool:
        """Have the task's callback see a result that was TAKEN; False when the task has ended meanwhile."""
        task = client_task.task
        with _locked(task):
            if task.completion_status is not None:
                return False
            client_task.result = result
            with suppress(TaskFailed):
                self._call(task, "result_received_cb", task.result_received_cb, client_task=client_task, fl_ctx=fl_ctx)
            client_task.result_received_time = time.time()
            return True

    def processed(self, client_task: ClientTask) -> None:
        """All that belongs to a result that was TAKEN has been done."""
        self._act(lambda now: self._board.processed(client_task.client.name, client_task.id, now))

    def find(self, client: str) -> None:
        """A client is there."""
        self._act(lambda now: self._board.find(client))

    def lose(self, client: str) -> None:
        """The network lost a client."""
        self._act(lambda now: self._board.lose(client, now))

    def leave(self, client: str) -> None:
        """A client will not come back by itself."""
        self._act(lambda now: self._board.leave(client, now))

    def end(self, status: TaskCompletionStatus) -> None:
        """The run has ended."""
        self._act(lambda now: self._board.end(status, now))

    def close(self) -> None:
        """End the threads; after `end`."""
        self._workers.stop(STOPPING)

    # -- within ------------------------------------------------------------------------------------------------------

    def _act(self, action: Callable[[float], list[BoardCommand] | None]) -> None:
        with self._lock:
            commands = action(self._clock()) or []
            jobs = [self._job(command) for command in commands]
        for job in jobs:
            job()
        self._timer.wake()

    def _look(self, now: float) -> float | None:
        """On the timer's thread."""
        with self._lock:
            jobs = [self._job(command) for command in self._board.handle_timeout(now)]
            deadline = self._board.deadline
        for job in jobs:
            job()
        return deadline

    def _job(self, command: BoardCommand) -> Callable[[], None]:
        """How a command is obeyed, once the lock is free."""
        match command:
            case Assign(task_id, assignment, client, resend):
                client_task = self._client_tasks.get(assignment)
                if client_task is None:
                    task = self._tasks[task_id]
                    client_task = ClientTask(self._clients(client), task, assignment)
                    self._client_tasks[assignment] = client_task
                    task.client_tasks.append(client_task)
                return lambda: self._run(lambda: self.answers.give(client_task, resend))
            case TryAgain(client):
                return lambda: self.answers.try_again(client)
            case EndRun(client):
                return lambda: self.answers.end_run(client)
            case Complete(task_id, status):
                task, done = self._tasks.pop(task_id), self._done[task_id]
                task.completion_status = status
                for each in task.client_tasks:
                    self._client_tasks.pop(each.id, None)
                return lambda: self._run(lambda: self._complete(task, done))

    def _run(self, job: Callable[[], None]) -> None:
        """Have a worker run it; or a thread of its own, when all of them are blocked: this one may be the reactor's."""

        def alone() -> None:
            threading.Thread(target=job, name="zmqfl-task-alone", daemon=True).start()

        if not self._workers.submit(job, 0, alone):
            alone()

    def _complete(self, task: Task, done: threading.Event) -> None:
        try:
            with _locked(task), self._new_context() as fl_ctx:
                if task.task_done_cb is not None:
                    task.task_done_cb(task=task, fl_ctx=fl_ctx)
        except (Exception, SystemExit) as error:  # a callback of the user
            log.exception("task_done_cb of task %s failed", task.name)
            task.completion_status, task.exception = TaskCompletionStatus.ERROR, error
        finally:
            with self._lock:
                self._done.pop(task.task_id, None)
            done.set()

    @contextmanager
    def _held(self, task: Task) -> Iterator[None]:
        """The task's lock. Raises `TaskFailed` when the task has ended by now."""
        with _locked(task):
            if task.completion_status is not None:
                raise TaskFailed(f"task {task.name} has ended: {task.completion_status}")
            yield

    def _call(self, task: Task, name: str, callback: TaskCallback | None, **arguments: Any) -> None:
        if callback is None:
            return
        try:
            callback(**arguments)
        except (Exception, SystemExit) as error:  # a callback of the user
            log.exception("%s of task %s failed", name, task.name)
            self._fail(task, error)

    def _fail(self, task: Task, error: BaseException) -> NoReturn:
        task.exception = error
        self.cancel(task, TaskCompletionStatus.ERROR)
        raise TaskFailed(str(error)) from error

    def __repr__(self) -> str:
        return f"<Communicator {self._board!r}>"


@contextmanager
def _locked(task: Task) -> Iterator[None]:
    with blocked():
        task.lock.acquire()
    try:
        yield
    finally:
        task.lock.release()


def _copy(value: Any) -> Any:
    """New dicts and lists with the same leaves: arrays are shared.

    Each is copied before it is gone through: a callback may be changing it.
    """
    if type(value) in (dict, Shareable):
        return {key: _copy(item) for key, item in dict(value).items()}
    return [_copy(item) for item in list(value)] if type(value) is list else value
