"""What a run does at its server: the control flow, and the ways to have clients do tasks.

    class Train(Controller):
        def control_flow(self, abort_signal, fl_ctx):
            task = Task("train", data, result_received_cb=self.received)
            self.broadcast_and_wait(task, fl_ctx, min_responses=2, abort_signal=abort_signal)

    targets           means
    None              the clients of the run at this moment
    "*"               anyone, also who comes later
    "site-1"          that client
    ["site-1", ...]   these, names or Clients; each once, except in a relay

A name that no client of the run has counts as a client that was lost: see `RunSettings.dead_client_grace`.

Source: reference "flare" 6.5. There `broadcast_and_wait` may return before the done callback has run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, UsageError
from zmqfl.fl.client import Client
from zmqfl.fl.communicator import Communicator
from zmqfl.fl.relay_plan import Relay
from zmqfl.fl.task import SendOrder, Task, TaskCompletionStatus
from zmqfl.fl.task_plans import Broadcast, BroadcastForever, Send

ANYONE = "*"
Targets = str | Client | Iterable[str | Client] | None


class Controller(FLComponent, ABC):
    """Base of controllers. All that schedules raises `ArgumentError` for what cannot be, and for a Task used twice."""

    _communicator: Communicator | None = None

    # -- for subclasses ----------------------------------------------------------------------------------------------

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Prepare; called before `control_flow`. Does nothing unless a subclass does."""

    @abstractmethod
    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """What the run does; when it returns, the workflow has ended. Return soon once the signal is triggered.

        What it raises aborts the run.
        """

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Clean up; called after `control_flow`, however it ended. Does nothing unless a subclass does."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """A result has come whose task has ended, or never was. Logs it unless a subclass does more."""
        self.log_info(fl_ctx, f"the result of {client.name} for task {task_name!r} comes too late")

    # -- one task for many -------------------------------------------------------------------------------------------

    def broadcast(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        min_responses: int = 1,
        wait_time_after_min_received: int = 0,
    ) -> None:
        """Have all targets do a task.

        It has ended when all have answered, or `min_responses` (0: all) and as many seconds have passed.
        """
        names = self._targets(task, targets, fl_ctx)
        _check_whole(min_responses, "min_responses")
        _check_whole(wait_time_after_min_received, "wait_time_after_min_received")
        if names is not None and min_responses > len(names):
            raise ArgumentError(f"min_responses is {min_responses}, and there are {len(names)} targets")
        if task.timeout and task.timeout < wait_time_after_min_received:
            raise ArgumentError("wait_time_after_min_received must not be longer than the time-out of the task")
        self._of_run().schedule(task, names, lambda _: Broadcast(names, min_responses, wait_time_after_min_received))

    def broadcast_and_wait(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        min_responses: int = 1,
        wait_time_after_min_received: int = 0,
        abort_signal: Signal | None = None,
    ) -> None:
        """As `broadcast`; returns when the task has ended and its done callback, too."""
        self.broadcast(task, fl_ctx, targets, min_responses, wait_time_after_min_received)
        self._of_run().wait(task, abort_signal)

    def broadcast_forever(self, task: Task, fl_ctx: FLContext, targets: Targets = None) -> None:
        """Give targets a task whenever they ask and there is no other for them, until it is cancelled."""
        names = self._targets(task, targets, fl_ctx)
        self._of_run().schedule(task, names, lambda _: BroadcastForever(names))

    # -- one task for one --------------------------------------------------------------------------------------------

    def send(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
    ) -> None:
        """Have one of the targets do a task: see `SendOrder`.

        `task_assignment_timeout`: seconds after which the next of them may take it, too; 0: only the first ever.
        """
        names = self._targets(task, targets, fl_ctx)
        order = _checked_order(send_order)
        _check_assignment(task_assignment_timeout, task)
        if names == []:
            raise ArgumentError("targets is empty; name a client")
        self._of_run().schedule(task, names, lambda now: Send(names, order, task_assignment_timeout, now))

    def send_and_wait(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
        abort_signal: Signal | None = None,
    ) -> None:
        """As `send`; returns when the task has ended and its done callback, too."""
        self.send(task, fl_ctx, targets, send_order, task_assignment_timeout)
        self._of_run().wait(task, abort_signal)

    # -- one task for one after another ------------------------------------------------------------------------------

    def relay(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
        task_result_timeout: int = 0,
        dynamic_targets: bool = True,
    ) -> None:
        """Have the targets do a task one after another; a target may be named more than once.

        `result_received_cb` may set `task.data` for the next one. `task_assignment_timeout`: seconds after which the
        one behind may take it, too; `task_result_timeout`: seconds after which it goes on without a result; 0: none.
        `dynamic_targets`: clients that come later become the last targets.
        """
        names = self._targets(task, targets, fl_ctx, repeats=True)
        order = _checked_order(send_order)
        _check_assignment(task_assignment_timeout, task)
        _check_whole(task_result_timeout, "task_result_timeout")
        if not names:
            raise ArgumentError("a relay needs targets; name at least one client")
        times = task_assignment_timeout, task_result_timeout
        self._of_run().schedule(task, names, lambda now: Relay(names, order, *times, dynamic_targets, now))

    def relay_and_wait(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
        task_result_timeout: int = 0,
        dynamic_targets: bool = True,
        abort_signal: Signal | None = None,
    ) -> None:
        """As `relay`; returns when the task has ended and its done callback, too."""
        self.relay(
            task, fl_ctx, targets, send_order, task_assignment_timeout, task_result_timeout, dynamic_targets
        )  # fmt: skip
        self._of_run().wait(task, abort_signal)

    # -- standing tasks ----------------------------------------------------------------------------------------------

    def cancel_task(
        self,
        task: Task,
        completion_status: TaskCompletionStatus = TaskCompletionStatus.CANCELLED,
        fl_ctx: FLContext | None = None,
    ) -> None:
        """End a task, if it stands; its done callback runs soon."""
        self._of_run().cancel(task, TaskCompletionStatus(completion_status))

    def cancel_all_tasks(
        self,
        completion_status: TaskCompletionStatus = TaskCompletionStatus.CANCELLED,
        fl_ctx: FLContext | None = None,
    ) -> None:
        """End all tasks that stand."""
        self._of_run().cancel_all(TaskCompletionStatus(completion_status))

    def get_num_standing_tasks(self) -> int:
        """How many tasks stand."""
        return self._of_run().standing

    def get_client_disconnect_time(self, client_name: str) -> float | None:
        """When the network lost a client, in seconds since the epoch; None while it is there."""
        return self._of_run().lost_since(client_name)

    def set_communicator(self, communicator: Communicator | None) -> None:
        """Who schedules; the runner says it."""
        self._communicator = communicator

    # -- within ------------------------------------------------------------------------------------------------------

    def _of_run(self) -> Communicator:
        if self._communicator is None:
            raise UsageError(f"controller {self.name} is in no run; schedule tasks from `start_controller` on")
        return self._communicator

    def _targets(self, task: object, targets: Targets, fl_ctx: object, repeats: bool = False) -> list[str] | None:
        """Names of clients; None: anyone."""
        if not isinstance(task, Task):
            raise ArgumentError(f"task must be a Task, not {type(task).__name__}")
        if not isinstance(fl_ctx, FLContext):
            raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
        if targets is None:
            return [client.name for client in fl_ctx.get_engine().get_clients()]
        if targets == ANYONE:
            return None
        given: Sequence[Any] = [targets] if isinstance(targets, str | Client) else _listed(targets)
        names = [each.name if isinstance(each, Client) else each for each in given]
        for name in names:
            if not isinstance(name, str) or not name:
                raise ArgumentError(f"a target must be a Client or its name, not {name!r}")
        known = {client.name for client in fl_ctx.get_engine().get_clients()}
        for name in dict.fromkeys(names):
            if name not in known:
                self.log_warning(
                    fl_ctx, f"the run has no client {name!r}; for tasks it counts as lost", fire_event=False
                )
                self._of_run().lose(name)
        return names if repeats else list(dict.fromkeys(names))


def _listed(targets: object) -> list[Any]:
    if not isinstance(targets, Iterable):
        raise ArgumentError(f"targets must be names or Clients, not {type(targets).__name__}")
    return list(targets)


def _checked_order(order: object) -> SendOrder:
    if not isinstance(order, SendOrder):
        raise ArgumentError(f"send_order must be a SendOrder, not {order!r}")
    return order


def _check_whole(value: object, argument: str) -> None:
    if type(value) is not int or value < 0:
        raise ArgumentError(f"{argument} must be a whole number, 0 or more, not {value!r}")


def _check_assignment(seconds: object, task: Task) -> None:
    _check_whole(seconds, "task_assignment_timeout")
    if task.timeout and isinstance(seconds, int) and seconds > task.timeout:
        raise ArgumentError("task_assignment_timeout must not be longer than the time-out of the task")
