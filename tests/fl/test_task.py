"""Tasks and their arguments."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError
from zmqfl.fl.client import Client
from zmqfl.fl.task import ClientTask, Task, TaskCompletionStatus


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"name": 3}, TypeError, "the name of a task must be a str"),
        ({"name": ""}, ValueError, "the name of a task is empty"),
        ({"data": {}}, TypeError, "data of a task must be a Shareable"),
        ({"data": None}, TypeError, "data of a task must be a Shareable"),
        ({"props": []}, TypeError, "props of a task must be a dict"),
        ({"operator": "x"}, TypeError, "operator of a task must be a dict"),
        ({"timeout": 1.5}, TypeError, "timeout of a task must be an int"),
        ({"timeout": True}, TypeError, "timeout of a task must be an int"),
        ({"timeout": -1}, ValueError, "timeout of a task must be 0 or more"),
        ({"before_task_sent_cb": 1}, TypeError, "before_task_sent_cb of a task must be callable"),
        ({"after_task_sent_cb": 1}, TypeError, "after_task_sent_cb of a task must be callable"),
        ({"result_received_cb": 1}, TypeError, "result_received_cb of a task must be callable"),
        ({"task_done_cb": 1}, TypeError, "task_done_cb of a task must be callable"),
        ({"props": {"__x": 1}}, ValueError, "'__x' cannot be the name of a prop"),
    ],
)
def test_run_F04_arguments_of_a_task(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Task(**{"name": "train", "data": Shareable(), **arguments})


def test_what_a_task_is_at_first() -> None:
    task = Task("train", Shareable({"x": 1}), {"a": 1})
    assert (task.timeout, task.secure, task.operator, task.props) == (0, False, None, {"a": 1})
    assert (task.completion_status, task.exception, task.client_tasks, task.schedule_time) == (None, None, [], None)
    task.set_prop("b", 2)
    assert (task.get_prop("b"), task.get_prop("c", 3)) == (2, 3)
    with pytest.raises(ValueError, match="__b"):
        task.set_prop("__b", 2)
    assert repr(task) == f"<Task train {task.task_id} standing>"
    assert [str(status) for status in TaskCompletionStatus] == [
        "ok", "timeout", "error", "cancelled", "aborted", "ignored", "client_dead",
    ]  # fmt: skip


def test_a_client_task() -> None:
    task = Task("train", Shareable())
    one, other = ClientTask(Client("site-1"), task), ClientTask(Client("site-1"), task)
    assert one.id != other.id
    assert (one.task_send_count, one.task_sent_time, one.result_received_time, one.result) == (0, None, None, None)
    one.set_prop("x", 1)
    assert (one.get_prop("x"), one.props, other.props) == (1, {"x": 1}, {})
    task.client_tasks += [one, other]
    assert task.last_client_task_map == {"site-1": other}
    assert repr(one) == f"<ClientTask train {one.id} at site-1, sent 0 times>"
    one.result = Shareable()
    assert repr(one).endswith("answered>")
    for wrong in ("site-1", task), (Client("site-1"), "train"):
        with pytest.raises(ArgumentError):
            ClientTask(*wrong)
