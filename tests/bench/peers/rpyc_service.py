"""rpyc: a threaded server. In flight: its asynchronous calls, on one connection."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import rpyc  # type: ignore[import-not-found]
from rpyc.utils.server import ThreadedServer  # type: ignore[import-not-found]

from tests.bench.peers.ends import Round, in_turn, in_window, play, serve


class Echo(rpyc.Service):  # type: ignore[misc]
    def exposed_echo(self, payload: bytes) -> bytes:
        return payload


def server() -> None:
    listener = ThreadedServer(Echo, hostname="127.0.0.1", port=0)
    threading.Thread(target=listener.start, daemon=True).start()
    serve(listener.port)


def client(port: int) -> None:
    connection = rpyc.connect("127.0.0.1", port)
    echo = connection.root.echo
    later: Any = rpyc.async_(echo)

    def wait(result: Any) -> bytes:
        result.wait()
        value: bytes = result.value
        return value

    def rounds(in_flight: int) -> Round:
        return in_turn(echo) if in_flight == 1 else in_window(later, wait, in_flight)

    play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    else:
        client(json.loads(sys.argv[2]))
