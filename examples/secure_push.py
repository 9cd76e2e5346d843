"""Sealed push: the relay in the middle passes a file on to two sites, and can read nothing of it."""

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from zmqfl import Cell
from zmqfl.launch.provision import not_after, provision
from zmqfl.transport.authority import Authority

SITES = ["relay.site-1", "relay.site-2"]
NEIGHBOURS = {"server": ["relay"], "relay": ["server", *SITES], **{site: ["relay"] for site in SITES}}
TEXT = b"patient 4711: only for the sites; "


def record(relay: Cell, seen: list[bytes]) -> None:
    """Keep all bytes of all messages that the relay passes on, as a curious one could."""
    transit = relay._node.transit  # noqa: SLF001  no cell offers this
    forward = transit.forward

    def spy(packet: Any, targets: tuple[str, ...], now: float) -> Any:
        seen.extend([bytes(packet.header), *map(bytes, packet.bodies)])
        return forward(packet, targets, now)

    transit.forward = spy  # type: ignore[method-assign]


def main(folder: Path) -> None:
    # As `zmqfl provision` does: keys and a card for each cell, signed by a key that stays offline.
    authority = Authority(folder / "authority", os.urandom(32))
    provision(NEIGHBOURS, lambda fqcn: folder / fqcn, authority, not_after(time.time(), days=1), os.urandom)
    path, ended, seen = folder / "model.pt", threading.Semaphore(0), list[bytes]()
    path.write_bytes(TEXT * 100_000)
    with (
        Cell("server", listen="tcp://127.0.0.1:*", keys=folder / "server") as server,
        Cell("relay", listen="tcp://127.0.0.1:*", parent=server.url, keys=folder / "relay") as relay,
        Cell(SITES[0], parent=relay.url, keys=folder / SITES[0]) as one,
        Cell(SITES[1], parent=relay.url, keys=folder / SITES[1]) as two,
    ):
        record(relay, seen)
        for site in (one, two):
            site.consume(to=folder / site.fqcn, done=lambda received: ended.release())
        for secure in (False, True):
            server.push_file(path, SITES, codec="none", secure=secure).result()
            for _ in SITES:
                ended.acquire()
            leaks = any(TEXT in frame or path.name.encode() in frame for frame in seen)
            print(f"secure={secure}: both sites have it; could the relay read it? {'yes' if leaks else 'no'}")
            assert sum(map(len, seen)) > path.stat().st_size
            seen.clear()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
