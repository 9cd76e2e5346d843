"""What the sites of `test_objects_cli` run."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from zmqfl import Cell
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_retriever import ContainerRetriever
from zmqfl.streaming.contracts import StreamContext

CONTAINERS: dict[str, Any] = {
    "model": {"weights": np.arange(500_000.0), "bias": np.float32(0.5), "round": 3},
    "empty": {},
    "mixed": {"weights": np.arange(3), "names": ["a", "b"]},
    "rows": [1, 2, 3],
    "broken": {"lock": threading.Lock()},
}


class Held(ContainerRetriever):
    """Streams nothing, until who asked has given up."""

    def do_stream(
        self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
    ) -> Any:
        signal = fl_ctx.get_run_abort_signal()
        assert signal is not None
        BEGUN.append(target)
        signal.wait()
        GAVE_UP.append(target)
        return "TASK_ABORTED"


BEGUN: list[str] = []
GAVE_UP: list[str] = []


def give(cell: Cell) -> None:
    """Have others retrieve `CONTAINERS`; "test:held" tells how many had to wait, and how many do no longer."""
    engine = CellEngine(cell)
    Held.__name__ = "ContainerRetriever"
    held = Held("held")
    for retriever in ContainerRetriever(), held:
        for name, container in CONTAINERS.items():
            retriever.add_container(name, container)
        retriever.register(engine.new_context())
    cell.register_request_cb("test", "held", lambda message: [len(BEGUN), len(GAVE_UP)])


def take(cell: Cell) -> None:
    """Take objects in memory; "test:taken" tells the sums of their arrays."""
    taken: list[Any] = []

    def done(received: Any) -> str:
        taken.append({key: float(value.sum()) for key, value in (received.value or {}).items()})
        return "in memory"

    cell.consume_objects("models", done)
    cell.register_request_cb("test", "taken", lambda message: taken)
