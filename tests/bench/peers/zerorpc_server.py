"""zerorpc: over ZeroMQ and gevent. In flight: its asynchronous calls."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import gevent  # type: ignore[import-not-found,import-untyped,unused-ignore]
import zerorpc  # type: ignore[import-not-found,import-untyped,unused-ignore]
from gevent.fileobject import FileObject  # type: ignore[import-not-found,import-untyped,unused-ignore]

from tests.bench.peers.ends import Round, in_turn, in_window, play


class Echo:
    def echo(self, payload: bytes) -> bytes:
        return payload


def server() -> None:
    listener = zerorpc.Server(Echo())
    listener.bind("tcp://127.0.0.1:0")
    bound = listener._events._socket.getsockopt(zerorpc.zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
    gevent.spawn(listener.run)
    print(json.dumps(bound), flush=True)
    FileObject(os.dup(0), "rb").read()  # reading by itself would stop gevent's loop
    listener.close()


def client(address: str) -> None:
    caller = zerorpc.Client(timeout=60)
    caller.connect(address)
    caller.echo(b"")

    def rounds(in_flight: int) -> Round:
        if in_flight == 1:
            return in_turn(caller.echo)
        submit: Any = lambda payload: caller.echo(payload, **{"async": True})  # noqa: E731
        return in_window(submit, lambda result: result.get(), in_flight)

    play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    else:
        client(json.loads(sys.argv[2]))
