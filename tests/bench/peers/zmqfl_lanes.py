"""A child that times small requests while big ones run, or not. `client ADDRESS` of `zmqfl_cells server`.

A round is `[big requests in flight, seconds]`; its answer `[milliseconds of each small request, big requests]`.
"""

from __future__ import annotations

import json
import sys
import threading
from time import perf_counter

from zmqfl import Cell

BIG = bytes((1 << 20) - 1024)
"""1 MiB with what payload and headers add: the biggest that travels as one message, on the bulk lane."""
SMALL = bytes(100)


def client(url: str, keys: str | None) -> None:
    with Cell("site-1", parent=url, keys=keys) as cell:

        def ask(payload: bytes) -> None:
            cell.request("server", "bench", "echo", payload).result(60)

        def stream(stop: threading.Event, done: list[int]) -> None:
            while not stop.is_set():
                ask(BIG)
                done.append(1)

        print('"ready"', flush=True)
        for line in sys.stdin:
            width, seconds = json.loads(line)
            stop, done = threading.Event(), list[int]()
            threads = [threading.Thread(target=stream, args=(stop, done)) for _ in range(width)]
            for thread in threads:
                thread.start()
            took = []
            until = perf_counter() + seconds
            while (start := perf_counter()) < until:
                ask(SMALL)
                took.append((perf_counter() - start) * 1000)
            stop.set()
            for thread in threads:
                thread.join()
            print(json.dumps([took, len(done)]), flush=True)


if __name__ == "__main__":
    client(*json.loads(sys.argv[2]))
