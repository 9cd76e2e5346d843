"""zmqfl RPC: a root that publishes an object and a child that calls it by a proxy. `server URL`, `client ADDRESS`."""

from __future__ import annotations

import json
import sys

from tests.bench.peers.ends import Round, in_turn, in_window, play, serve
from zmqfl import Cell, CellConfig, Rpc


class Echo:
    def rpc_echo(self, payload: bytes) -> bytes:
        return payload


def server(url: str) -> None:
    # Replies are kept until a later request confirms them: twice 64 of 64 KiB, which is just above the default.
    with Cell("server", listen=url, config=CellConfig(reply_bytes=32 * 1024 * 1024)) as cell:
        Rpc(cell).publish(Echo())
        serve(cell.url)


def client(url: str) -> None:
    with Cell("site-1", parent=url) as cell:
        proxy = Rpc(cell, timeout=60).proxy("server").result()

        def rounds(in_flight: int) -> Round:
            if in_flight == 1:
                return in_turn(proxy.echo)
            return in_window(proxy.echo.submit, lambda handle: handle.result(60), in_flight)

        play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server(sys.argv[2])
    else:
        client(json.loads(sys.argv[2]))
