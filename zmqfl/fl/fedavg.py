"""Federated averaging: clients train the server's model, and the server takes the mean, round by round.

    server   loads the model, and broadcasts it with the task "train" and the number of the round
    client   trains it on what it has, and returns it as a DXO of weights, or of their differences, with the number of
             steps that it took
    server   adds each result to the mean as it comes, weighted by its steps; saves the model; fires ROUND_DONE

The server holds two models at a time, whatever the number of clients. After each round the model is kept by the
persistor, so a run that is started again goes on with the round that follows. Source: McMahan et al.,
"Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np

from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import AppConstants
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError
from zmqfl.fl.controller import Controller
from zmqfl.fl.dxo import DXO, DataKind, MetaKey, from_shareable
from zmqfl.fl.model_persistor import ModelPersistor
from zmqfl.fl.task import ClientTask, Task
from zmqfl.fl.weighted_mean import Array, WeightedMean, Weights

ROUND_DONE: Final = "round_done"
"""Event of the server after each round; the model is the prop GLOBAL_MODEL, its number AppConstants.CURRENT_ROUND."""
GLOBAL_MODEL: Final = "global_model"


class FedAvg(Controller):
    """See the module.

    `num_rounds`: rounds in all. `min_clients`: results that make a round; 0: those of all clients. `wait_time`: seconds
    to wait for more of them. `persistor_id`: the `ModelPersistor`. `train_timeout`: seconds for a round; 0: no limit.
    """

    def __init__(
        self,
        num_rounds: int = 5,
        min_clients: int = 0,
        persistor_id: str = "persistor",
        task_name: str = "train",
        train_timeout: int = 0,
        wait_time: int = 0,
    ) -> None:
        for name, value, least in (
            ("num_rounds", num_rounds, 1), ("min_clients", min_clients, 0),
            ("train_timeout", train_timeout, 0), ("wait_time", wait_time, 0),
        ):  # fmt: skip
            if type(value) is not int or value < least:
                raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}")
        self.num_rounds = num_rounds
        self.min_clients = min_clients
        self.persistor_id = persistor_id
        self.task_name = task_name
        self.train_timeout = train_timeout
        self.wait_time = wait_time
        self._next_round = 0
        self._lock = threading.Lock()
        self._mean = WeightedMean()
        self._model: Weights = {}

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Load the model."""
        persistor = fl_ctx.get_engine().get_component(self.persistor_id)
        if not isinstance(persistor, ModelPersistor):
            self.system_panic(f"component {self.persistor_id!r} is no ModelPersistor; add one of that id", fl_ctx)
            return
        self._persistor = persistor
        self._model = persistor.load_model(fl_ctx)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Train for the rounds that are left."""
        while self._model and self._next_round < self.num_rounds and not abort_signal.triggered:
            if not self._train(self._next_round, abort_signal, fl_ctx):
                return
            self._next_round += 1
            fl_ctx.get_engine().persist_components(fl_ctx)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Let go of the model."""
        self._model = {}

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """The number of the next round; the persistor has the model."""
        return {"next_round": self._next_round}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Go on with the round that follows the last finished one."""
        self._next_round = int(state_data.get("next_round", 0))

    # -- a round -------------------------------------------------------------------------------------------------------

    def _train(self, number: int, abort_signal: Signal, fl_ctx: FLContext) -> bool:
        """One round; whether the next one may begin."""
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, number, private=False, sticky=True)
        fl_ctx.sync_sticky()
        self.log_info(fl_ctx, f"round {number} begins")
        with self._lock:
            self._mean = WeightedMean()
        told = {MetaKey.CURRENT_ROUND: number, MetaKey.TOTAL_ROUNDS: self.num_rounds}
        data = DXO(DataKind.WEIGHTS, self._model, told).to_shareable()
        task = Task(self.task_name, data, timeout=self.train_timeout, result_received_cb=self._result_received)
        self.broadcast_and_wait(task, fl_ctx, None, self.min_clients, self.wait_time, abort_signal)
        if abort_signal.triggered:
            return False
        with self._lock:
            mean, self._mean = self._mean, WeightedMean()  # what comes late goes nowhere
        if mean.count < max(1, self.min_clients):
            self.system_panic(
                f"round {number}: {mean.count} clients have trained; it needs {self.min_clients or 1}", fl_ctx
            )
            return False
        kinds = {name: array.dtype for name, array in self._model.items()}
        self._model = {name: array.astype(kinds[name], copy=False) for name, array in mean.result().items()}
        fl_ctx.set_prop(AppConstants.NUM_STEPS_CURRENT_ROUND, int(mean.total), private=False, sticky=True)
        self._persistor.save_model(self._model, fl_ctx)
        fl_ctx.set_prop(GLOBAL_MODEL, self._model, private=True, sticky=False)
        self.log_info(fl_ctx, f"round {number}: the mean of {mean.count} clients, {mean.total:g} steps")
        self.fire_event(ROUND_DONE, fl_ctx)
        return True

    def _result_received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        """Add a result to the mean, and let go of it: the task keeps what it was answered with."""
        name, result = client_task.client.name, client_task.result
        client_task.result = None
        if result is None or (rc := result.get_return_code()) != ReturnCode.OK:
            self.log_warning(fl_ctx, f"{name} has not trained: {rc if result is not None else 'no result'}")
            return
        try:
            dxo = from_shareable(result)
            weights = self._weights_of(dxo)
            with self._lock:
                self._mean.add(weights, dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1))
        except (ArgumentError, KeyError, TypeError, ValueError) as error:
            self.log_warning(fl_ctx, f"the result of {name} is left out: {error}")

    def _weights_of(self, dxo: DXO) -> Weights:
        """The weights that a result stands for; differences are added to the model in place."""
        if dxo.data_kind not in (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF):
            raise ArgumentError(f"holds {dxo.data_kind}; it must be {DataKind.WEIGHTS} or {DataKind.WEIGHT_DIFF}")
        if dxo.data.keys() != self._model.keys():
            raise ArgumentError("differs from the model in its names")
        found = {name: np.asarray(array) for name, array in dxo.data.items()}
        for name, array in found.items():
            if array.shape != self._model[name].shape:
                raise ArgumentError(f"{name!r} has the shape {array.shape}, not {self._model[name].shape}")
        if dxo.data_kind == DataKind.WEIGHTS:
            return found
        return {name: _sum(array, self._model[name]) for name, array in found.items()}


def _sum(difference: Array, base: Array) -> Array:
    if not difference.flags.writeable or difference.dtype != base.dtype:
        return difference + base
    difference += base
    return difference
