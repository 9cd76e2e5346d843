"""A dict of arrays goes from the server to the clients, entry by entry, by an object retriever.

server   names the dict, and broadcasts the task "retrieve_dict"
client   its executor retrieves the dict, and answers with what it adds up to
server   compares
"""

from typing import Any

import numpy as np

from zmqfl import ContainerRetriever, FLContext, ReturnCode, Shareable, Signal
from zmqfl.context.shareable import make_reply
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor
from zmqfl.fl.task import ClientTask, Task

TASK, NAME, SUM = "retrieve_dict", "model", "sum"
TIMEOUT = 30.0
"""Seconds without progress after which a client gives up."""


class DictController(Controller):
    """Has a dict of `entries` arrays of `entry_size` bytes retrieved by all clients."""

    def __init__(self, retriever_id: str, entries: int, entry_size: int) -> None:
        rng = np.random.default_rng(0)
        self.retriever_id = retriever_id
        self.model = {f"layer {n}": rng.normal(size=entry_size // 8) for n in range(entries)}
        self.right: dict[str, bool] = {}

    def start_controller(self, fl_ctx: FLContext) -> None:
        retriever: ContainerRetriever = fl_ctx.get_engine().get_component(self.retriever_id)
        retriever.add_container(NAME, self.model)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        clients = [client.name for client in fl_ctx.get_engine().get_clients()]
        task = Task(TASK, Shareable({"name": NAME}), result_received_cb=self.received)
        self.broadcast_and_wait(task, fl_ctx, clients, len(clients), abort_signal=abort_signal)
        if not abort_signal.triggered and not all(self.right.get(name) for name in clients):
            self.system_panic(f"not every client has got the dict: {self.right}", fl_ctx)

    def received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        result: Any = client_task.result
        rc = result.get_return_code()
        is_right = rc == ReturnCode.OK and result[SUM] == total(self.model)
        self.right[client_task.client.name] = is_right
        self.log_info(fl_ctx, f"{client_task.client.name} has retrieved the dict: {rc}, right: {is_right}")

    def stop_controller(self, fl_ctx: FLContext) -> None:
        fl_ctx.get_engine().get_component(self.retriever_id).remove_container(NAME)


class DictExecutor(Executor):
    """Retrieves the dict that the task names."""

    def __init__(self, retriever_id: str) -> None:
        self.retriever_id = retriever_id

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        retriever: ContainerRetriever = fl_ctx.get_engine().get_component(self.retriever_id)
        rc, found = retriever.retrieve_container("server", fl_ctx, TIMEOUT, shareable["name"])
        self.log_info(fl_ctx, f"retrieved {shareable['name']!r}: {rc}, {len(found or ())} entries")
        reply = make_reply(rc)
        if found is not None:
            reply[SUM] = total(found)
        return reply


def total(model: dict[str, Any]) -> float:
    return float(sum(array.sum() for array in model.values()))
