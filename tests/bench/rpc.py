"""Calls of remote methods, one after the other and 64 in flight, beside the peers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.processes import missing
from tests.bench.requests import Peer, connected
from tests.bench.results import Bar, Result, compare, ratio

IN_FLIGHT = 64
SIZES = {"100 B": 100, "64 KiB": 64 * 1024}
BENCH = ".venv-bench"

RPC = Peer("zmqfl RPC", "zmqfl_rpc", ("tcp://127.0.0.1:0",))
REQUESTS = Peer("zmqfl requests", "zmqfl_cells", ("tcp://127.0.0.1:0",))
PYRO5 = Peer("Pyro5", "pyro5_objects", ("serpent",), BENCH, "Pyro5")
PEERS = (
    RPC,
    REQUESTS,
    PYRO5,
    Peer("rpyc", "rpyc_service", (), BENCH, "rpyc"),
    Peer("grpc", "grpc_unary", (), BENCH, "grpc"),
    Peer("zerorpc", "zerorpc_server", (), BENCH, "zerorpc"),
)


@dataclass(frozen=True)
class Work:
    """Calls of one size, so many in flight."""

    title: str
    size: int
    in_flight: int


WORK = [
    Work(f"{title}, {in_flight} in flight", size, in_flight)
    for in_flight in (1, IN_FLIGHT)
    for title, size in SIZES.items()
]


def run(quick: bool) -> Result:
    """Alternating rounds; the peers that do not play wait."""
    count, seconds = (3, 0.2) if quick else (9, 0.4)
    skipped = {peer.name: why for peer in PEERS if (why := missing(peer.environment, peer.needs))}
    rounds: dict[Work, dict[str, list[float]]] = {work: {} for work in WORK}
    with ExitStack() as stack:
        clients = {peer.name: stack.enter_context(connected(peer)) for peer in PEERS if peer.name not in skipped}
        for number in range(-1, count):  # one more round, to warm up
            for work in WORK:
                for name in clients if number % 2 else reversed(clients):
                    calls, took = clients[name].ask([work.size, work.in_flight, seconds])
                    if number >= 0:
                        rounds[work].setdefault(name, []).append(calls / took)
    how = (
        "A method that returns its argument, bytes, in another process of this machine, over TCP. Each round lasts "
        f"{seconds:g} s; {count} rounds, the peers in turn within each. In flight: handles or futures where the peer "
        "has them, else (Pyro5) a thread each. grpc is without protobuf; zerorpc needs gevent."
    )
    tables = [compare(work.title, "calls/s", rounds[work], RPC.name) for work in WORK]
    return Result(
        "rpc", "Remote methods", how, tables, _bars(rounds[WORK[0]]), [f"{n}: {w}" for n, w in skipped.items()]
    )


def _bars(alone: dict[str, list[float]]) -> list[Bar]:
    bars = [Bar("one after the other, 100 B: times zmqfl requests", 0.7, ratio(alone[RPC.name], alone[REQUESTS.name]))]
    if PYRO5.name in alone:
        text = "one after the other, 100 B: times Pyro5"
        bars.append(Bar(text, 0.5, ratio(alone[RPC.name], alone[PYRO5.name])))
    return bars
