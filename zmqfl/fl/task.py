"""Tasks: what a controller has clients do, and what became of it at each of them.

    callback              called with                        when
    before_task_sent_cb   client_task=, fl_ctx=              a client is about to be given the task
    after_task_sent_cb    client_task=, fl_ctx=              then, before its data is filtered and sent
    result_received_cb    client_task=, fl_ctx=              the client's result has come, `client_task.result`
    task_done_cb          task=, fl_ctx=                     the task has ended, however

Callbacks of one task are called one at a time, those of several tasks beside each other. What one raises ends the task
with the status ERROR. Source: seed 003, reference "flare" 6.5.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from zmqfl.cell.registry import check_name
from zmqfl.context.keys import RESERVED_PREFIX
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError
from zmqfl.fl.client import Client

TaskCallback = Callable[..., object]


class TaskCompletionStatus(StrEnum):
    """How a task ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    ERROR = "error"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    IGNORED = "ignored"
    CLIENT_DEAD = "client_dead"


class SendOrder(StrEnum):
    """Which of several clients is given a task that one of them is to do."""

    ANY = "any"
    """Whoever asks first."""
    SEQUENTIAL = "sequential"
    """The first of the list; the next one when it has not asked for a while."""


class Task:
    """See the module.

    `name`: what executors are found by. `data`: what clients get. `props`: notes of the controller. `timeout`: whole
    seconds from the moment it is scheduled; 0: none. `operator`: travels in a header, for those who run tasks in a way
    of their own. `secure`: data and results travel sealed. A Task is used once.
    Raises `ArgumentError` (a TypeError and a ValueError).
    """

    def __init__(
        self,
        name: str,
        data: Shareable,
        props: dict[str, Any] | None = None,
        timeout: int = 0,
        before_task_sent_cb: TaskCallback | None = None,
        after_task_sent_cb: TaskCallback | None = None,
        result_received_cb: TaskCallback | None = None,
        task_done_cb: TaskCallback | None = None,
        operator: dict[str, Any] | None = None,
        secure: bool = False,
    ) -> None:
        _check(isinstance(data, Shareable), "data", "a Shareable", data)
        _check(props is None or isinstance(props, dict), "props", "a dict", props)
        _check(operator is None or isinstance(operator, dict), "operator", "a dict", operator)
        _check(type(timeout) is int, "timeout", "an int, whole seconds", timeout)
        _check(timeout >= 0, "timeout", "0 or more", timeout)
        callbacks = {
            "before_task_sent_cb": before_task_sent_cb, "after_task_sent_cb": after_task_sent_cb,
            "result_received_cb": result_received_cb, "task_done_cb": task_done_cb,
        }  # fmt: skip
        for argument, given in callbacks.items():
            _check(given is None or callable(given), argument, "callable", given)
        self.name = check_name(name, "the name of a task")
        self.data = data
        self.timeout = timeout
        self.operator = operator
        self.secure = secure
        self.before_task_sent_cb = before_task_sent_cb
        self.after_task_sent_cb = after_task_sent_cb
        self.result_received_cb = result_received_cb
        self.task_done_cb = task_done_cb
        self.task_id = str(uuid.uuid4())
        self.targets: list[str] | None = None
        """Names of the clients that it is for; None: anyone."""
        self.client_tasks: list[ClientTask] = []
        """One for each time that a client was given it, in that order."""
        self.schedule_time: float | None = None
        """When it was scheduled, in seconds since the epoch; None before."""
        self.create_time: float | None = None
        self.completion_status: TaskCompletionStatus | None = None
        """None while it stands."""
        self.exception: BaseException | None = None
        """What a callback raised."""
        self.lock = threading.RLock()
        """Held while one of its callbacks runs."""
        self._props: dict[str, Any] = {}
        for key, value in (props or {}).items():
            self.set_prop(key, value)

    def set_prop(self, key: str, value: Any) -> None:
        """Note something. Raises `ArgumentError` for a name that begins with `__`: those are the system's."""
        _check_key(key)
        self._props[key] = value

    def get_prop(self, key: str, default: Any = None) -> Any:
        """What was noted."""
        return self._props.get(key, default)

    @property
    def props(self) -> dict[str, Any]:
        """All that was noted."""
        return self._props

    @property
    def last_client_task_map(self) -> dict[str, ClientTask]:
        """For each client the last time that it was given the task."""
        return {each.client.name: each for each in self.client_tasks}

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.task_id} {self.completion_status or 'standing'}>"


class ClientTask:
    """A task at one client."""

    def __init__(self, client: Client, task: Task, client_task_id: str = "") -> None:
        _check(isinstance(client, Client), "client", "a Client", client)
        _check(isinstance(task, Task), "task", "a Task", task)
        self.client = client
        self.task = task
        self.id = client_task_id or str(uuid.uuid4())
        """The task id that the client knows; the same when it is sent again."""
        self.task_send_count = 0
        self.task_sent_time: float | None = None
        """When it was sent last, in seconds since the epoch."""
        self.result_received_time: float | None = None
        self.result: Shareable | None = None
        self._props: dict[str, Any] = {}

    def set_prop(self, key: str, value: Any) -> None:
        """Note something. Raises `ArgumentError` for a name of the system."""
        _check_key(key)
        self._props[key] = value

    def get_prop(self, key: str, default: Any = None) -> Any:
        """What was noted."""
        return self._props.get(key, default)

    @property
    def props(self) -> dict[str, Any]:
        """All that was noted."""
        return self._props

    def __repr__(self) -> str:
        state = "answered" if self.result is not None else f"sent {self.task_send_count} times"
        return f"<ClientTask {self.task.name} {self.id} at {self.client.name}, {state}>"


def _check(holds: bool, argument: str, wanted: str, given: object) -> None:
    if not holds:
        raise ArgumentError(f"{argument} of a task must be {wanted}, not {given!r}"[:300])


def _check_key(key: object) -> None:
    if not isinstance(key, str) or key.startswith(RESERVED_PREFIX):
        raise ArgumentError(f"{key!r} cannot be the name of a prop; give a str that does not begin with '__'")
