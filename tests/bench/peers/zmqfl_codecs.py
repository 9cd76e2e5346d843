"""zmqfl: arrays that are pushed with one codec or another. `source URL MIB`; answers ["push", kind, codec]: seconds."""

from __future__ import annotations

from time import perf_counter
from typing import get_args

import numpy as np

from tests.bench.codecs import KINDS, MIB
from tests.bench.peers.transfer_ends import PATIENCE, play, run
from zmqfl import Cell
from zmqfl.cell.object_verbs import ReceivedObject
from zmqfl.wire.chunk_codec import Codec

TOPIC = "bench"

Address = tuple[str]


def source(url: str, size: str) -> None:
    arrays = {kind: make(int(size) * MIB) for kind, make in KINDS.items()}
    sums = {kind: float(array.view(np.uint8).sum()) for kind, array in arrays.items()}
    with Cell("server", listen=url) as cell:

        def push(kind: str, codec: Codec) -> float:
            if codec not in get_args(Codec):
                raise ValueError(codec)
            start = perf_counter()
            handle = cell.push_object(arrays[kind], "site-1", TOPIC, context={"sum": sums[kind]}, window=8, codec=codec)
            handle.result(PATIENCE)
            return perf_counter() - start

        play((cell.url,), {"push": push})


def sink(name: str, address: Address, folder: str) -> None:
    del folder
    (url,) = address

    def done(received: ReceivedObject) -> None:
        if received.value is None or float(received.value.view(np.uint8).sum()) != received.context["sum"]:
            raise ValueError(f"this is not what was pushed: {received.reason}")

    with Cell(name, parent=url) as cell:
        cell.consume_objects(TOPIC, done)
        play("ready", {})


if __name__ == "__main__":
    run(source, sink)
