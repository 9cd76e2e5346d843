"""Push a container: the server sends its model to two sites at once, entry by entry. Both get it, or neither does."""

from typing import Any

import numpy as np

from zmqfl import Cell
from zmqfl.context.fl_context import FLContext
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_streamer import ContainerStreamer
from zmqfl.streaming.contracts import StreamContext


def received(stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> None:
    site, rc = fl_ctx.get_identity_name(), ContainerStreamer.get_rc(stream_ctx)
    model = ContainerStreamer.get_result(stream_ctx)  # None unless it is whole
    what = "nothing" if model is None else f"{len(model)} layers, {sum(layer.sum() for layer in model.values()):.0f}"
    print(f"{site}: {rc}, round {stream_ctx['round']}, {what}, {kwargs['note']}")


def main() -> None:
    with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as one,
        Cell("site-2", parent=server.url) as two,
    ):
        for site in one, two:
            fl_ctx = CellEngine(site).new_context()
            ContainerStreamer.register_stream_processing(fl_ctx, "models", "best", received, note="thanks")
        fl_ctx = CellEngine(server).new_context()
        model = {f"layer {number}": np.full(1_000_000, float(number)) for number in range(4)}
        answer = ContainerStreamer.stream_container(
            "models", "best", {"round": 1}, ["site-1", "site-2"], model, fl_ctx
        )  # fmt: skip
        print(f"server: {answer[0]}, {answer[1]}")


main()
