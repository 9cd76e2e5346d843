"""grpc: unary calls of plain bytes, without protobuf. In flight: futures."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]

from tests.bench.peers.ends import Round, in_turn, in_window, play, serve


def echo(payload: bytes, _: object) -> bytes:
    return payload


def server() -> None:
    handler = grpc.method_handlers_generic_handler("bench", {"echo": grpc.unary_unary_rpc_method_handler(echo)})
    listener = grpc.server(ThreadPoolExecutor(8), handlers=[handler])
    port = listener.add_insecure_port("127.0.0.1:0")
    listener.start()
    serve(f"127.0.0.1:{port}")
    listener.stop(None)


def client(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary("/bench/echo")

        def rounds(in_flight: int) -> Round:
            return in_turn(call) if in_flight == 1 else in_window(call.future, lambda call: call.result(60), in_flight)

        play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    else:
        client(json.loads(sys.argv[2]))
