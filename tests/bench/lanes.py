"""Small requests on the control lane, alone and while 1 MiB requests run on the bulk lane of the same link."""

from __future__ import annotations

import json
from contextlib import closing
from statistics import quantiles

from tests.bench.processes import Process
from tests.bench.results import Result, compare

BUSY = 4
"""Big requests in flight."""


def run(quick: bool) -> Result:
    """Alternating rounds, without and with."""
    count, seconds = (3, 0.5) if quick else (7, 1.0)
    p50: dict[str, list[float]] = {"alone": [], "beside bulk": []}
    p99: dict[str, list[float]] = {"alone": [], "beside bulk": []}
    rates: list[float] = []
    with (
        closing(Process("tests.bench.peers.zmqfl_cells", "server", "tcp://127.0.0.1:0")) as server,
        closing(Process("tests.bench.peers.zmqfl_lanes", "client", json.dumps(server.ready))) as client,
    ):
        for _ in range(count):
            for name, width in (("alone", 0), ("beside bulk", BUSY)):
                took, big = client.ask([width, seconds])
                cuts = quantiles(took, n=100)
                p50[name].append(cuts[49])
                p99[name].append(cuts[98])
                if width:
                    rates.append(big / seconds)
    how = (
        "A child asks its parent over loopback TCP: 100 B, one after the other, by one thread. Beside bulk: four more "
        f"threads of the same child each send 1 MiB and get it back, all the time. {count} rounds of {seconds:g} s."
    )
    tables = [
        compare("Round trip, p50", "ms", p50, "alone"),
        compare("Round trip, p99", "ms", p99, "alone"),
        compare("Bulk meanwhile", "MiB/s each way", {"1 MiB requests": rates}, ""),
    ]
    return Result("lanes", "Control beside bulk", how, tables)
