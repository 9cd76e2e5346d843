"""NVIDIA FLARE, push: its `FileStreamer` over its ObjectStreamer, AuxRunner and Cell.

Only what a job's run manager adds is ours: an engine that gives them to each other, and the aux requests of a cell
handed to its AuxRunner.
"""

from __future__ import annotations

import os
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, ProcessType  # type: ignore[import-not-found]
from nvflare.apis.fl_context import FLContext, FLContextManager  # type: ignore[import-not-found]
from nvflare.apis.streaming import StreamableEngine  # type: ignore[import-not-found]
from nvflare.app_common.streamers.file_streamer import FileStreamer  # type: ignore[import-not-found]
from nvflare.fuel.f3.cellnet.defs import CellChannel, MessageHeaderKey  # type: ignore[import-not-found]
from nvflare.fuel.f3.message import Message  # type: ignore[import-not-found]
from nvflare.private.aux_runner import AuxMsgTarget, AuxRunner  # type: ignore[import-not-found]
from nvflare.private.stream_runner import ObjectStreamer  # type: ignore[import-not-found]

from tests.bench.peers.flare_connected import Address, connected, listening
from tests.bench.peers.transfer_ends import CHUNK, play, run

CHANNEL, TOPIC = "bench", "file"
CHUNK_TIMEOUT = 60.0  # an int is refused


class Engine(StreamableEngine):  # type: ignore[misc]
    """What streams find in their context."""

    def __init__(self, cell: Any, name: str, process_type: str) -> None:
        kind = {FLContextKey.PROCESS_TYPE: process_type}
        self.cell = cell
        self.contexts = FLContextManager(self, name, public_stickers={}, private_stickers=kind)
        self.aux = AuxRunner(self)
        self.streamer = ObjectStreamer(self.aux)
        cell.register_request_cb(channel=CellChannel.AUX_COMMUNICATION, topic="*", cb=self.dispatch)

    def get_cell(self) -> Any:
        return self.cell

    def new_context(self) -> Any:
        return self.contexts.new_context()

    def dispatch(self, message: Any) -> Any:
        request = message.payload
        with self.new_context() as context:
            peer = FLContext()
            peer.set_public_props(request.get_peer_props() or {})
            context.set_peer_context(peer)
            return Message(payload=self.aux.dispatch(message.get_header(MessageHeaderKey.TOPIC), request, context))

    def stream_objects(
        self,
        channel: str,
        topic: str,
        stream_ctx: dict[str, Any],
        targets: list[str],
        producer: Any,
        fl_ctx: Any,
        optional: bool = False,
        secure: bool = False,
    ) -> Any:
        receivers = [AuxMsgTarget(name, name) for name in targets]
        return self.streamer.stream(channel, topic, stream_ctx, receivers, producer, fl_ctx, secure, optional)

    def register_stream_processing(
        self, channel: str, topic: str, factory: Any, *callbacks: Any, **kwargs: Any
    ) -> None:
        self.streamer.register_stream_processing(channel, topic, factory, *callbacks, **kwargs)

    def shutdown_streamer(self) -> None:
        self.streamer.shutdown()


def source() -> None:
    cell, address = listening("server")
    engine = Engine(cell, "server", ProcessType.SERVER_PARENT)

    def push(path: str, sinks: list[str], window: int) -> None:
        if window != 1:
            raise ValueError("FLARE has one chunk in flight")
        with engine.new_context() as context:
            code, replies = FileStreamer.stream_file(
                CHANNEL, TOPIC, {}, sinks, path, context, chunk_size=CHUNK, chunk_timeout=CHUNK_TIMEOUT
            )
        if not replies:
            raise RuntimeError(f"FLARE did not deliver: {code}")

    play(address, {"push": push})
    os._exit(0)  # its threads do not end by themselves


def sink(name: str, address: Address, folder: str) -> None:
    engine = Engine(connected(name, address), name, ProcessType.CLIENT_PARENT)
    with engine.new_context() as context:
        FileStreamer.register_stream_processing(context, CHANNEL, TOPIC, folder)
    play("ready", {})
    os._exit(0)


if __name__ == "__main__":
    run(source, sink)
