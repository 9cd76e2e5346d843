"""NVIDIA FLARE: an array in a request and in its reply, which leave it behind and download it (its large objects)."""

from __future__ import annotations

import os
from time import perf_counter

from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer  # type: ignore[import-not-found]
from nvflare.fuel.f3.message import Message  # type: ignore[import-not-found]
from nvflare.fuel.utils import fobs  # type: ignore[import-not-found]

from tests.bench.peers.flare_connected import Address, connected, listening
from tests.bench.peers.object_ends import REQUEST_BYTES, make_array, same
from tests.bench.peers.transfer_ends import PATIENCE, play, run

CHANNEL = "bench"


def source() -> None:
    fobs.register(NumpyArrayDecomposer)
    cell, address = listening("server")
    cell.register_request_cb(channel=CHANNEL, topic="echo", cb=lambda request: Message(payload=request.payload))
    play(address, {})
    os._exit(0)  # its threads do not end by themselves


def sink(name: str, address: Address, folder: str) -> None:
    del folder
    fobs.register(NumpyArrayDecomposer)
    cell, array = connected(name, address), make_array(REQUEST_BYTES)

    def ask() -> float:
        start = perf_counter()
        request = Message(payload={"w": array})
        # By keywords: a Cell takes positional arguments for those of its CoreCell, which knows no large objects.
        reply = cell.send_request(channel=CHANNEL, topic="echo", target="server", request=request, timeout=PATIENCE)
        took = perf_counter() - start
        if not same(reply.payload["w"], array):
            raise ValueError("this is not the reply")
        return took

    play("ready", {"ask": ask})
    os._exit(0)


if __name__ == "__main__":
    run(source, sink)
