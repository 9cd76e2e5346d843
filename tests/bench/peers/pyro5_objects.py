"""Pyro5 with its fastest serializer. In flight: a thread and a proxy each, since a proxy has one call at a time."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import Pyro5.api  # type: ignore[import-not-found]

from tests.bench.peers.ends import Round, in_threads, in_turn, play, serve

Pyro5.config.SERIALIZER = "msgpack"


class Echo:
    def echo(self, payload: bytes) -> bytes:
        return payload


def server() -> None:
    daemon = Pyro5.api.Daemon(host="127.0.0.1")
    uri = daemon.register(Pyro5.api.expose(Echo))
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    serve(str(uri))


def client(address: str) -> None:
    def make_call() -> Callable[[bytes], bytes]:
        proxy: Any = Pyro5.api.Proxy(address)
        call: Callable[[bytes], bytes] = proxy.echo
        return call

    def rounds(in_flight: int) -> Round:
        return in_turn(make_call()) if in_flight == 1 else in_threads(make_call, in_flight)

    play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    else:
        client(json.loads(sys.argv[2]))
