"""Pyro5: `server SERIALIZER`, serpent (its default) or msgpack.

In flight: a thread and a proxy each, since a proxy has one call at a time.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import Pyro5.api  # type: ignore[import-not-found]
import serpent  # type: ignore[import-not-found]

from tests.bench.peers.ends import Round, in_threads, in_turn, play, serve


class Echo:
    def echo(self, payload: bytes) -> bytes:
        return payload


def server(serializer: str) -> None:
    daemon = Pyro5.api.Daemon(host="127.0.0.1")
    uri = daemon.register(Pyro5.api.expose(Echo))
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    serve([str(uri), serializer])


def client(address: str, serializer: str) -> None:
    Pyro5.config.SERIALIZER = serializer

    def make_call() -> Callable[[bytes], bytes]:
        proxy: Any = Pyro5.api.Proxy(address)
        # serpent makes a dict with base64 text of bytes; Pyro5 leaves it to the user to turn it back
        return lambda payload: serpent.tobytes(proxy.echo(payload))

    def rounds(in_flight: int) -> Round:
        return in_turn(make_call()) if in_flight == 1 else in_threads(make_call, in_flight)

    play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server(sys.argv[2])
    else:
        client(*json.loads(sys.argv[2]))
