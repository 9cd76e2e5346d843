"""Fan out: six sites behind one relay pull a file of the server, and it crosses the relay's uplink once."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random

from zmqfl import Cell, CellConfig

MIB = 1024 * 1024
SITES = [f"relay.site-{number}" for number in range(1, 7)]


def main(folder: Path) -> None:
    path = folder / "model.pt"
    path.write_bytes(Random(1).randbytes(8 * MIB))
    with ExitStack() as stack:
        server = stack.enter_context(Cell("server", listen="tcp://127.0.0.1:0"))
        relay = stack.enter_context(
            Cell(
                "relay",
                listen="tcp://127.0.0.1:0",
                parent=server.url,
                config=CellConfig(relay_cache=32 * MIB),  # 64 MiB if you say nothing; 0: it keeps nothing
            )
        )
        sites = [stack.enter_context(Cell(name, parent=relay.url)) for name in SITES]
        offer = server.offer(path, to=SITES)

        def fetch(site: Cell) -> int:
            (folder / site.fqcn).mkdir()
            return Path(site.pull(offer.rid, "server", folder / site.fqcn).result()).stat().st_size

        with ThreadPoolExecutor(len(sites)) as pool:
            sizes = list(pool.map(fetch, sites))
        counters = relay.statistics().counters
        print(f"{len(sizes)} sites have {sum(sizes) // MIB} MiB in all")
        asked, given = counters["relay_misses"], counters["relay_bytes"] // MIB
        print(f"the relay asked the server for {asked} chunks of 1 MiB, and handed on {given} MiB")
        for row in relay.transfers():
            print(f"it keeps {row.done // MIB} MiB of {row.name} for whoever else may have it")


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
