"""Requests and replies, one after the other and 64 in flight, beside the peers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.processes import Process, missing
from tests.bench.results import Bar, Result, compare, ratio
from zmqfl.transport import keys

PEERS = "tests.bench.peers."
IN_FLIGHT = 64
SIZES = {"100 B": 100, "64 KiB": 64 * 1024}


@dataclass(frozen=True)
class Peer:
    """Who answers requests. `needs` can be imported in `environment`, or the peer is skipped."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: str | None = None
    needs: str = ""


BARE = Peer("bare pyzmq", "pyzmq_pingpong")
FLARE = Peer("FLARE", "flare_cells", environment=".venv-flare", needs="nvflare")
PYRO5 = Peer("Pyro5", "pyro5_objects", ("serpent",), ".venv-bench", "Pyro5")
OTHERS = (
    BARE,
    PYRO5,
    Peer("Pyro5 msgpack", "pyro5_objects", ("msgpack",), ".venv-bench", "Pyro5"),
    Peer("grpc", "grpc_unary", (), ".venv-bench", "grpc"),
    FLARE,
)
TCP = "zmqfl tcp"


def run(quick: bool) -> Result:
    """Alternating rounds; the peers that do not play wait."""
    count, seconds = (3, 0.2) if quick else (9, 0.4)
    skipped = [f"{peer.name}: {why}" for peer in OTHERS if (why := missing(peer.environment, peer.needs))]
    rounds: dict[tuple[int, int], dict[str, list[float]]] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        peers = [*_zmqfl(Path(folder)), *(peer for peer in OTHERS if not missing(peer.environment, peer.needs))]
        clients = {peer.name: stack.enter_context(connected(peer)) for peer in peers}
        for number in range(-1, count):  # one more round, to warm up
            for size in SIZES.values():
                for in_flight in (1, IN_FLIGHT):
                    names = list(clients) if number % 2 else list(reversed(clients))
                    for name in names:
                        requests, took = clients[name].ask([size, in_flight, seconds])
                        if number >= 0:
                            table = rounds.setdefault((size, in_flight), {name: [] for name in clients})
                            table[name].append(requests / took)
    tables = [
        compare(f"{title}, {in_flight} in flight", "requests/s", rounds[size, in_flight], TCP)
        for in_flight in (1, IN_FLIGHT)
        for title, size in SIZES.items()
    ]
    how = (
        "Server and client are two processes on one machine; the reply is the payload of the request. Each round "
        f"lasts {seconds:g} s; {count} rounds, the peers in turn within each. In flight: futures or handles where the "
        "peer has them, else (Pyro5, FLARE) a thread each."
    )
    return Result("requests", "Requests and replies", how, tables, _bars(rounds), skipped)


def _zmqfl(folder: Path) -> list[Peer]:
    for name in ("server", "site-1"):
        keys.generate(name, folder / "keys")
    return [
        Peer(TCP, "zmqfl_cells", ("tcp://127.0.0.1:0",)),
        Peer("zmqfl ipc", "zmqfl_cells", (f"ipc://{folder}/run/server",)),
        Peer("zmqfl CURVE", "zmqfl_cells", ("tcp://127.0.0.1:0", str(folder / "keys"))),
    ]


@contextmanager
def connected(peer: Peer) -> Iterator[Process]:
    """A client that is connected to its server; both end with the block."""
    server = Process(PEERS + peer.module, "server", *peer.arguments, environment=peer.environment)
    try:
        client = Process(PEERS + peer.module, "client", json.dumps(server.ready), environment=peer.environment)
        try:
            yield client
        finally:
            client.close()
    finally:
        server.close()


def _bars(rounds: dict[tuple[int, int], dict[str, list[float]]]) -> list[Bar]:
    alone, together = rounds[100, 1], rounds[100, IN_FLIGHT]
    bars = []
    for peer, wanted in ((FLARE, 1.3), (PYRO5, 0.6)):
        if peer.name in alone:
            text = f"one after the other, 100 B: times {peer.name}"
            bars.append(Bar(text, wanted, ratio(alone[TCP], alone[peer.name])))
    text = f"{IN_FLIGHT} in flight, 100 B: times bare pyzmq one after the other"
    return [*bars, Bar(text, 1.5, ratio(together[TCP], alone[BARE.name]))]
