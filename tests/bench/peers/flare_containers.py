"""NVIDIA FLARE: its `ContainerStreamer`, over the engine of `flare_push`."""

from __future__ import annotations

import os
from typing import Any

from nvflare.apis.fl_constant import ProcessType  # type: ignore[import-not-found]
from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer  # type: ignore[import-not-found]
from nvflare.app_common.streamers.container_streamer import ContainerStreamer  # type: ignore[import-not-found]
from nvflare.fuel.utils import fobs  # type: ignore[import-not-found]

from tests.bench.peers.flare_connected import Address, connected, listening
from tests.bench.peers.flare_push import Engine
from tests.bench.peers.object_ends import digest_of, make_container
from tests.bench.peers.transfer_ends import PATIENCE, play, run

CHANNEL, TOPIC = "bench", "container"


def source() -> None:
    fobs.register(NumpyArrayDecomposer)
    cell, address = listening("server")
    engine = Engine(cell, "server", ProcessType.SERVER_PARENT)
    container = make_container()

    def stream(sinks: list[str], window: int) -> None:
        if window != 1:
            raise ValueError("FLARE has one entry in flight")
        with engine.new_context() as context:
            code, done = ContainerStreamer.stream_container(
                CHANNEL, TOPIC, {}, sinks, container, context, entry_timeout=PATIENCE
            )
        if not done:
            raise RuntimeError(f"FLARE did not deliver: {code}")

    play(address, {"stream": stream, "digest": lambda: digest_of(container)})
    os._exit(0)  # its threads do not end by themselves


def sink(name: str, address: Address, folder: str) -> None:
    del folder
    fobs.register(NumpyArrayDecomposer)
    engine = Engine(connected(name, address), name, ProcessType.CLIENT_PARENT)
    arrived: list[Any] = []

    def done(stream_ctx: dict[str, Any], context: Any, **kwargs: Any) -> None:
        arrived.append(ContainerStreamer.get_result(stream_ctx))

    with engine.new_context() as context:
        ContainerStreamer.register_stream_processing(context, CHANNEL, TOPIC, done)
    play("ready", {"take": lambda: digest_of(arrived.pop())})
    os._exit(0)


if __name__ == "__main__":
    run(source, sink)
