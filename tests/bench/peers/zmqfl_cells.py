"""zmqfl: a root that echoes and a child that asks. `server URL [KEYS]`, `client ADDRESS`."""

from __future__ import annotations

import json
import sys

from tests.bench.peers.ends import Round, in_turn, in_window, play, serve
from zmqfl import Cell, CellConfig, Message, RequestHandle


def server(url: str, keys: str | None = None) -> None:
    # Replies are kept until a later request confirms them: twice 64 of 64 KiB, which is just above the default.
    with Cell("server", listen=url, keys=keys, config=CellConfig(reply_bytes=32 * 1024 * 1024)) as cell:
        cell.register_request_cb("bench", "echo", lambda message: message.payload)
        serve([cell.url, keys])


def client(url: str, keys: str | None) -> None:
    with Cell("site-1", parent=url, keys=keys) as cell:

        def submit(payload: bytes) -> RequestHandle:
            return cell.request("server", "bench", "echo", payload)

        def wait(handle: RequestHandle) -> bytes:
            message: Message = handle.result(60)
            reply: bytes = message.payload
            return reply

        def rounds(in_flight: int) -> Round:
            if in_flight == 1:
                return in_turn(lambda payload: wait(submit(payload)))
            return in_window(submit, wait, in_flight)

        play(rounds)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "server":
        server(*arguments)
    else:
        client(*json.loads(arguments[0]))
