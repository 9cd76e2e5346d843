"""The broadcast plane: from `set` to the last of 16 sites, and many at once, beside bare PUB/SUB."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

from tests.bench.peers.plane_ends import BARE, PLANES
from tests.bench.processes import Process
from tests.bench.results import Result, compare

SITES = 16
MANY = 1000
PEERS = (*PLANES, BARE)
MODULE = "tests.bench.peers.plane_ends"


def run(quick: bool) -> Result:
    """Alternating rounds; each peer has an end in each process."""
    singles, bursts = (5, 2) if quick else (50, 9)
    with ExitStack() as stack:
        hub = stack.enter_context(closing(Process(MODULE, "hub")))
        sites = _started(stack, json.dumps(hub.ready))
        delays = _rounds(hub, sites, singles, 1)
        bulks = _rounds(hub, sites, bursts, MANY)
    last = {peer: [1000 * took for took in each] for peer, each in delays.items()}
    rates = {peer: [MANY / took for took in each] for peer, each in bulks.items()}
    how = (
        f"A root and {SITES} sites, each a process, over loopback TCP. From the moment before the root sets a prop "
        f"until the watcher of the last site has been called; then {MANY} props at once, until the last one has all "
        "of them. Bare: PUB and SUB with the same values as JSON and queues without bound; they lose what comes before "
        "a subscription, and tell nobody."
    )
    tables = [
        compare(f"From `set` to the last of {SITES} sites", "ms", last, PEERS[0]),
        compare(f"{MANY} props at once, until all {SITES} sites have them", "announcements/s", rates, PEERS[0]),
    ]
    return Result("plane", "The broadcast plane", how, tables)


def _started(stack: ExitStack, addresses: str) -> list[Process]:
    with ThreadPoolExecutor(SITES) as pool:
        names = [f"site-{number}" for number in range(SITES)]
        return [
            stack.enter_context(closing(process))
            for process in pool.map(lambda name: Process(MODULE, "site", name, addresses), names)
        ]


def _rounds(hub: Process, sites: list[Process], count: int, props: int) -> dict[str, list[float]]:
    """Seconds until all sites have what was set, per peer and round."""
    rounds: dict[str, list[float]] = {peer: [] for peer in PEERS}
    for number in range(-1, count):  # one more, to warm up; nothing can be lost before the last one has subscribed
        for peer in PEERS if number % 2 else reversed(PEERS):
            question = [peer, props * 1000 + number, props]
            began = hub.ask(question)
            took = max(site.ask(question) for site in sites) - began
            if number >= 0:
                rounds[peer].append(took)
    return rounds
