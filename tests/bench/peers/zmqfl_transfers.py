"""zmqfl: the root is the source, its children are the sinks. `source URL [KEYS]`."""

from __future__ import annotations

from tests.bench.peers.transfer_ends import CHUNK, PATIENCE, play, run
from zmqfl import Cell

TOPIC = "bench"

Address = tuple[str, str | None]


def source(url: str, keys: str | None = None) -> None:
    with Cell("server", listen=url, keys=keys) as cell:

        def push(path: str, sinks: list[str], window: int) -> None:
            cell.push_file(path, to=sinks, topic=TOPIC, chunk_size=CHUNK, window=window).result(PATIENCE)

        def offer(path: str, sinks: list[str]) -> str:
            del sinks  # whoever knows the reference may pull
            return cell.offer(path, timeout=PATIENCE).rid

        play((cell.url, keys), {"push": push, "offer": offer})


def sink(name: str, address: Address, folder: str) -> None:
    url, keys = address
    with Cell(name, parent=url, keys=keys) as cell:
        cell.consume(TOPIC, to=folder)

        def pull(reference: str) -> None:
            cell.pull(reference, "server", to=folder).result(PATIENCE)

        play("ready", {"pull": pull})


if __name__ == "__main__":
    run(source, sink)
