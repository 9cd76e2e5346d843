"""zmqfl: requests, pushes and pulls over CURVE, in the clear for the cells between, or sealed from end to end.

`source URL KEYS SECURE`, where KEYS/FQCN has the keys and the card of each, and SECURE is "clear" or "secure".
"""

from __future__ import annotations

from time import perf_counter

from tests.bench.peers.transfer_ends import CHUNK, PATIENCE, play, run
from zmqfl import Cell

TOPIC = "bench"

Address = tuple[str, str, str]


def source(url: str, keys: str, how: str) -> None:
    with Cell("server", listen=url, keys=f"{keys}/server") as cell:
        cell.register_request_cb(TOPIC, "echo", lambda message: message.payload)

        def push(path: str, sinks: list[str], window: int) -> None:
            handle = cell.push_file(
                path, to=sinks, topic=TOPIC, chunk_size=CHUNK, window=window, codec="none", secure=how == "secure"
            )
            handle.result(PATIENCE)

        def offer(path: str, sinks: list[str]) -> str:
            del sinks
            return cell.offer(path, timeout=PATIENCE, codec="none").rid

        play((cell.url, keys, how), {"push": push, "offer": offer})


def sink(name: str, address: Address, folder: str) -> None:
    url, keys, how = address
    secure = how == "secure"
    with Cell(name, parent=url, keys=f"{keys}/{name}") as cell:
        cell.consume(TOPIC, to=folder)

        def pull(reference: str) -> None:
            cell.pull(reference, "server", to=folder, secure=secure).result(PATIENCE)

        def rate(size: int, seconds: float) -> float:
            """Requests in one second, one after the other."""
            payload, count = bytes(size), 0
            start = perf_counter()
            while (took := perf_counter() - start) < seconds:
                reply = cell.request("server", TOPIC, "echo", payload, secure=secure).result(PATIENCE)
                if len(reply.payload) != size:
                    raise ValueError("this is not the reply")
                count += 1
            return count / took

        play("ready", {"pull": pull, "rate": rate})


if __name__ == "__main__":
    run(source, sink)
