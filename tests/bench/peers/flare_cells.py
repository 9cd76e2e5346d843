"""NVIDIA FLARE: two CoreCells over its tcp driver, by its public calls. In flight: a thread each."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading

from nvflare.fuel.f3.cellnet.core_cell import CoreCell  # type: ignore[import-not-found]
from nvflare.fuel.f3.message import Message  # type: ignore[import-not-found]

from tests.bench.peers.ends import Round, in_threads, in_turn, play, serve


def server() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    cell = CoreCell("server", url, secure=False, credentials={})
    cell.register_request_cb("bench", "echo", lambda request: Message(payload=request.payload))
    cell.start()
    serve(url)
    os._exit(0)  # its threads do not end by themselves


def client(url: str) -> None:
    connected = threading.Event()
    cell = CoreCell("site-1", url, secure=False, credentials={})
    cell.set_cell_connected_cb(lambda agent: connected.set())
    cell.start()
    if not connected.wait(30):
        raise TimeoutError("FLARE did not connect within 30 s")

    def call(payload: bytes) -> bytes:
        reply: bytes = cell.send_request("bench", "echo", "server", Message(payload=payload), timeout=60).payload
        return reply

    def rounds(in_flight: int) -> Round:
        return in_turn(call) if in_flight == 1 else in_threads(lambda: call, in_flight)

    play(rounds)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    else:
        client(json.loads(sys.argv[2]))
