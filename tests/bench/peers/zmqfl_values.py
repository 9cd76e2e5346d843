"""zmqfl: an array in a request and in its reply. `source URL [KEYS]`."""

from __future__ import annotations

from time import perf_counter

from tests.bench.peers.object_ends import REQUEST_BYTES, make_array, same
from tests.bench.peers.transfer_ends import PATIENCE, play, run
from zmqfl import Cell, Message

Address = tuple[str, str | None]


def source(url: str, keys: str | None = None) -> None:
    with Cell("server", listen=url, keys=keys) as cell:
        cell.register_request_cb("bench", "echo", lambda message: message.payload)
        play((cell.url, keys), {})


def sink(name: str, address: Address, folder: str) -> None:
    del folder
    url, keys = address
    array = make_array(REQUEST_BYTES)
    with Cell(name, parent=url, keys=keys) as cell:

        def ask() -> float:
            start = perf_counter()
            reply: Message = cell.request("server", "bench", "echo", {"w": array}).result(PATIENCE)
            took = perf_counter() - start
            if not same(reply.payload["w"], array):
                raise ValueError("this is not the reply")
            return took

        play("ready", {"ask": ask})


if __name__ == "__main__":
    run(source, sink)
