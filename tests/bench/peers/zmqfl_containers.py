"""zmqfl: its `ContainerStreamer`, and with a wider window `Cell.push_object`. `source URL [KEYS]`."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

from tests.bench.peers.object_ends import digest_of, make_container
from tests.bench.peers.transfer_ends import PATIENCE, play, run
from zmqfl import Cell, CellEngine, FLContext
from zmqfl.streaming.container_streamer import ContainerStreamer

CHANNEL, TOPIC = "bench", "container"

Address = tuple[str, str | None]


def source(url: str, keys: str | None = None) -> None:
    with Cell("server", listen=url, keys=keys) as cell:
        engine = CellEngine(cell)
        container = make_container()

        def stream(sinks: list[str], window: int) -> None:
            if window != 1:
                cell.push_object(container, sinks, TOPIC, window=window, timeout=PATIENCE).result(PATIENCE)
                return
            with engine.new_context() as context:
                code, done = ContainerStreamer.stream_container(
                    CHANNEL, TOPIC, {}, sinks, container, context, entry_timeout=PATIENCE
                )
            if not done:
                raise RuntimeError(f"zmqfl did not deliver: {code}")

        play((cell.url, keys), {"stream": stream, "digest": lambda: digest_of(container)})
        engine.shutdown_streamer()


def sink(name: str, address: Address, folder: str) -> None:
    del folder
    url, keys = address
    arrived: SimpleQueue[Any] = SimpleQueue()

    def done(stream_ctx: dict[str, Any], context: FLContext) -> None:
        arrived.put(ContainerStreamer.get_result(stream_ctx))

    with Cell(name, parent=url, keys=keys) as cell:
        engine = CellEngine(cell)
        with engine.new_context() as context:
            ContainerStreamer.register_stream_processing(context, CHANNEL, TOPIC, done)
        cell.consume_objects(TOPIC, lambda received: arrived.put(received.value))
        play("ready", {"take": lambda: digest_of(arrived.get(timeout=PATIENCE))})
        engine.shutdown_streamer()


if __name__ == "__main__":
    run(source, sink)
