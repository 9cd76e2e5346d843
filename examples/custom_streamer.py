"""A stream of one's own: a producer of numbers, consumers that add them up, and sums that come back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zmqfl import Cell
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import END_RESULT, ConsumerFactory, ObjectConsumer, ObjectProducer, StreamContext


class Layers(ObjectProducer):
    """Sends the layers of a model one by one."""

    def __init__(self, count: int) -> None:
        self.left = list(range(count))

    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable, float]:
        number = self.left.pop(0)
        return Shareable({"weights": np.full(1000, float(number)), "last": not self.left}), 10.0

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        return None if self.left else {name: reply.get_header(END_RESULT) for name, reply in replies.items()}


class Sum(ObjectConsumer):
    def consume(self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[bool, None]:
        stream_ctx["sum"] = stream_ctx.get("sum", 0.0) + float(shareable["weights"].sum())
        return not shareable["last"], None

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        print(f"{fl_ctx.get_identity_name()}: {stream_ctx['model']} ended with {stream_ctx['__RC__']}")


class Sums(ConsumerFactory):
    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        return Sum()


def done(stream_ctx: StreamContext, fl_ctx: FLContext, factor: float) -> float:
    return float(stream_ctx["sum"] * factor)  # goes back to the producer


with Cell("server", listen="tcp://127.0.0.1:0") as server, Cell("site-1", parent=server.url) as site:
    CellEngine(site).register_stream_processing("models", "layers", Sums(), done, factor=0.5)
    engine = CellEngine(server)
    fl_ctx = engine.new_context()
    rc, result = engine.stream_objects("models", "layers", {"model": "m1"}, ["site-1"], Layers(4), fl_ctx)
    print(f"server: {rc}, {result}")
