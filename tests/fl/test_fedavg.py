"""Rounds of federated averaging: what clients are told, what becomes of what they answer, and how a run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import AppConstants, FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError
from zmqfl.fl.client import Client
from zmqfl.fl.dxo import DXO, DataKind, MetaKey, from_shareable
from zmqfl.fl.fedavg import GLOBAL_MODEL, ROUND_DONE, FedAvg
from zmqfl.fl.model_persistor import ModelPersistor
from zmqfl.fl.task import ClientTask, Task
from zmqfl.fl.weighted_mean import Weights

Answers = Callable[[Weights], dict[str, Shareable | None]]


class Shelf(ModelPersistor):
    def __init__(self) -> None:
        self.saved: list[Weights] = []

    def load_model(self, fl_ctx: FLContext) -> Weights:
        return {"w": np.zeros(2)}

    def save_model(self, weights: Weights, fl_ctx: FLContext) -> None:
        self.saved.append(weights)


class Engine:
    """What a controller asks of an engine."""

    def __init__(self, **components: Any) -> None:
        self.components = components
        self.events: list[tuple[str, Any, Any]] = []
        self.persisted: list[dict[str, Any]] = []
        self.controller: FedAvg | None = None

    def get_component(self, id: str) -> Any:
        return self.components.get(id)

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        shown = GLOBAL_MODEL if event_type == ROUND_DONE else FLContextKey.EVENT_DATA
        self.events.append((event_type, fl_ctx.get_prop(AppConstants.CURRENT_ROUND), fl_ctx.get_prop(shown)))

    def persist_components(self, fl_ctx: FLContext) -> None:
        assert self.controller is not None
        self.persisted.append(self.controller.get_persist_state(fl_ctx))


class Told(FedAvg):
    """Federated averaging with clients that answer at once."""

    answers: Answers

    def broadcast_and_wait(self, task: Task, fl_ctx: FLContext, *arguments: Any, **options: Any) -> None:
        dxo = from_shareable(task.data)
        self.tasks = [*getattr(self, "tasks", []), (task.name, task.timeout, dict(dxo.meta), arguments)]
        for name, result in self.answers({key: value.copy() for key, value in dxo.data.items()}).items():
            client_task = ClientTask(Client(name), task)
            client_task.result = result
            assert task.result_received_cb is not None
            task.result_received_cb(client_task=client_task, fl_ctx=fl_ctx)
            assert client_task.result is None  # nothing holds the model of a client for the rest of the round


def trained(value: float, steps: Any = 1, kind: str = DataKind.WEIGHTS) -> Shareable:
    return DXO(kind, {"w": np.full(2, value)}, {MetaKey.NUM_STEPS_CURRENT_ROUND: steps}).to_shareable()


def run(fedavg: Told, answers: Answers, abort: Signal | None = None) -> tuple[Engine, Shelf]:
    fedavg.answers = answers
    shelf = Shelf()
    engine = Engine(persistor=shelf)
    engine.controller = fedavg
    fl_ctx = FLContextManager(engine, "server", "job").new_context()
    fedavg.start_controller(fl_ctx)
    fedavg.control_flow(abort or Signal(), fl_ctx)
    fedavg.stop_controller(fl_ctx)
    return engine, shelf


def test_two_rounds() -> None:
    """The mean is weighted by steps, and is what the next round begins with."""
    fedavg = Told(num_rounds=2, train_timeout=7, wait_time=3)
    engine, shelf = run(fedavg, lambda model: {"a": trained(model["w"][0] + 1, 1), "b": trained(model["w"][0] + 4, 2)})
    assert [saved["w"].tolist() for saved in shelf.saved] == [[3.0, 3.0], [6.0, 6.0]]
    assert fedavg.tasks[1][:3] == ("train", 7, {MetaKey.CURRENT_ROUND: 1, MetaKey.TOTAL_ROUNDS: 2})
    assert fedavg.tasks[1][3][:3] == (None, 0, 3)  # all clients, all of their results
    assert [(name, number, model["w"].tolist()) for name, number, model in engine.events] == [
        (ROUND_DONE, 0, [3.0, 3.0]), (ROUND_DONE, 1, [6.0, 6.0]),
    ]  # fmt: skip
    assert engine.persisted == [{"next_round": 1}, {"next_round": 2}]


def test_differences_are_added_to_the_model() -> None:
    def answers(model: Weights) -> dict[str, Shareable | None]:
        fixed = DXO(DataKind.WEIGHT_DIFF, {"w": np.ones(2, np.float32)}).to_shareable()  # of another type
        return {"a": trained(1.0, 1, DataKind.WEIGHT_DIFF), "b": trained(model["w"][0] + 3), "c": fixed}

    _, shelf = run(Told(num_rounds=2), answers)
    assert [saved["w"][0] for saved in shelf.saved] == pytest.approx([5 / 3, 10 / 3])


def test_the_types_are_those_of_the_model() -> None:
    narrow = DXO(DataKind.WEIGHTS, {"w": np.ones(2, np.float16)}).to_shareable()
    _, shelf = run(Told(num_rounds=1), lambda model: {"a": narrow, "b": trained(4.0)})
    assert shelf.saved[0]["w"].dtype == np.float64


def test_what_does_not_fit_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def answers(model: Weights) -> dict[str, Shareable | None]:
        return {
            "good": trained(2.0),
            "failed": make_reply(ReturnCode.EXECUTION_EXCEPTION),
            "silent": None,
            "shapeless": DXO(DataKind.WEIGHTS, {"w": np.ones(3)}).to_shareable(),
            "diff": DXO(DataKind.WEIGHT_DIFF, {"w": np.ones(3)}).to_shareable(),
            "names": DXO(DataKind.WEIGHT_DIFF, {"v": np.ones(2)}).to_shareable(),
            "kind": DXO(DataKind.METRICS, {"w": 1.0}).to_shareable(),
            "nan": trained(float("nan")),
            "steps": trained(1.0, 0),
            "nothing": Shareable(),
        }

    caplog.set_level(logging.WARNING)
    _, shelf = run(Told(num_rounds=1), answers)
    assert shelf.saved[0]["w"].tolist() == [2.0, 2.0]
    for told in (
        "failed has not trained: EXECUTION_EXCEPTION",
        "silent has not trained: no result",
        "the result of shapeless is left out: 'w' has the shape (3,), not (2,)",
        "the result of diff is left out: 'w' has the shape (3,), not (2,)",
        "the result of names is left out: differs from the model in its names",
        "the result of kind is left out: holds METRICS; it must be WEIGHTS or WEIGHT_DIFF",
        "the result of nan is left out: 'w' holds a value that is not finite",
        "the result of steps is left out: the weight of a model must be a number above 0, not 0",
        "the result of nothing is left out: ",
    ):
        assert told in caplog.text


def test_the_first_result_must_have_the_names_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    stranger = DXO(DataKind.WEIGHTS, {"v": np.ones(2)}).to_shareable()
    _, shelf = run(Told(num_rounds=1), lambda model: {"a": stranger, "b": trained(4.0)})
    assert [sorted(saved) for saved in shelf.saved] == [["w"]]
    assert "the result of a is left out: differs from the model in its names" in caplog.text


def test_too_few_end_the_run() -> None:
    engine, shelf = run(Told(num_rounds=3, min_clients=2), lambda model: {"a": trained(1.0), "b": None})
    assert shelf.saved == []
    panic = "round 0: 1 clients have trained; it needs 2"
    assert [(name, data) for name, _, data in engine.events if name == EventType.FATAL_SYSTEM_ERROR] == [
        (EventType.FATAL_SYSTEM_ERROR, panic)
    ]


def test_an_abort_ends_it() -> None:
    abort = Signal()

    def answers(model: Weights) -> dict[str, Shareable | None]:
        abort.trigger()
        return {"a": trained(1.0)}

    engine, shelf = run(Told(num_rounds=3), answers, abort)
    assert (shelf.saved, engine.events) == ([], [])


def test_it_goes_on_after_the_last_finished_round() -> None:
    fedavg = Told(num_rounds=4)
    fedavg.restore({"next_round": 3}, FLContextManager(None, "server", "job").new_context())
    run(fedavg, lambda model: {"a": trained(1.0)})
    assert [told[2][MetaKey.CURRENT_ROUND] for told in fedavg.tasks] == [3]


def test_without_a_persistor() -> None:
    fedavg, engine = Told(), Engine(persistor=3)
    fl_ctx = FLContextManager(engine, "server", "job").new_context()
    fedavg.start_controller(fl_ctx)
    fedavg.control_flow(Signal(), fl_ctx)
    assert [(name, data) for name, _, data in engine.events] == [
        (EventType.FATAL_SYSTEM_ERROR, "component 'persistor' is no ModelPersistor; add one of that id")
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"num_rounds": 0}, "num_rounds must be a whole number of at least 1, not 0"),
        ({"num_rounds": 2.0}, "num_rounds must be a whole number of at least 1, not 2.0"),
        ({"min_clients": -1}, "min_clients must be a whole number of at least 0, not -1"),
        ({"train_timeout": True}, "train_timeout must be a whole number of at least 0, not True"),
    ],
)
def test_arguments(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        FedAvg(**arguments)
