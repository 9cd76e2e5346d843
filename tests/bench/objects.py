"""Values from memory to memory: a container to one sink and to four, and an array in a request and in its reply."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.bench.party import Party, Peer
from tests.bench.peers.object_ends import ARRAY_BYTES, ARRAYS, REQUEST_BYTES
from tests.bench.processes import missing
from tests.bench.results import Bar, Figure, Result, Table, compare

MIB = 1 << 20
MANY = 4
SIZE = ARRAYS * ARRAY_BYTES
TCP = ("tcp://127.0.0.1:0",)
ZMQFL, FLARE = "zmqfl tcp", "FLARE"

Rounds = dict[str, list[float]]
Move = Callable[[Party, int], float]


def run(quick: bool) -> Result:
    """Alternating rounds; the peers that do not play wait."""
    count = 2 if quick else 5
    tables, bars = [], []
    with TemporaryDirectory() as folder:
        for sinks in (1, MANY):
            peers = [
                Peer(ZMQFL, "zmqfl_containers", TCP),
                Peer(FLARE, "flare_containers", environment=".venv-flare", needs="nvflare", windows=(1,)),
            ]
            seconds, memory = _play(peers, sinks, Path(folder, f"containers-{sinks}"), count, _stream)
            to = "to one sink" if sinks == 1 else f"to {sinks} sinks, rate of each"
            rates = {name: [SIZE / each / 1e6 for each in took] for name, took in seconds.items()}
            tables += [
                compare(f"A container of {ARRAYS} arrays of {ARRAY_BYTES // MIB} MiB {to}", "MB/s", rates, ZMQFL),
                _memory(f"Most memory above idle, to {sinks}", memory, ("sender", "receiver")),
            ]
            bars += _container_bars(memory, sinks)
        peers = [
            Peer(ZMQFL, "zmqfl_values", TCP, windows=(1,)),
            Peer(FLARE, "flare_values", environment=".venv-flare", needs="nvflare", windows=(1,)),
        ]
        seconds, memory = _play(peers, 1, Path(folder, "requests"), count, _ask)
    about = f"a request with {REQUEST_BYTES // MIB} MiB and its reply"
    tables += [
        compare(f"{about[0].upper()}{about[1:]}", "s", seconds, ZMQFL),
        _memory(f"Most memory above idle in {about}", memory, ("callee", "caller")),
    ]
    how = (
        f"Both ends are processes on one machine. {count} rounds, the peers in turn within each, and one before; then "
        "one more in which memory is watched. What arrives is compared by a digest, outside the time. The container is "
        "there before, so it is in what its sender has when idle; the one that arrives is in the receiver's peak. In "
        "the request it is the caller that has an array when idle, and gets another one. FLARE's ContainerStreamer is "
        "on a Cell, in the place of a job; the array in its request is one of its large objects, as it is by default. "
        "zmqfl has one chunk in flight as FLARE has one entry, and with window 8 `push_object`."
    )
    return Result("objects", "Objects, from memory to memory", how, tables, bars, _skipped(peers))


def _play(peers: list[Peer], sinks: int, folder: Path, count: int, move: Move) -> tuple[Rounds, dict[str, list[float]]]:
    """Seconds of each round, and MiB above idle of the source and of the sink that took most, by name."""
    took: Rounds = {}
    memory: dict[str, list[float]] = {}
    with ExitStack() as stack:
        here = [peer for peer in peers if not missing(peer.environment, peer.needs)]
        parties = [stack.enter_context(Party(peer, sinks, folder / peer.name)) for peer in here]
        turns = [(party, window) for party in parties for window in party.peer.windows]
        for number in range(-1, count):
            for party, window in turns if number % 2 else reversed(turns):
                seconds = move(party, window)
                if number >= 0:
                    took.setdefault(_name(party.peer, window), []).append(seconds)
        for party, window in turns:
            with party.peak() as above:
                move(party, window)
            memory[_name(party.peer, window)] = above
    return {name: took[name] for name in memory}, memory


def _stream(party: Party, window: int) -> float:
    """Seconds until every sink has the container. Raises `RuntimeError` when it is another one."""
    with party.bounded():
        start = perf_counter()
        party.source.ask(["stream", list(party.folders), window])
        seconds = perf_counter() - start
        digest = party.source.ask(["digest"])
        if any(sink.ask(["take"]) != digest for sink in party.sinks):
            raise RuntimeError(f"{party.peer.name} delivered another container")
    return seconds


def _ask(party: Party, window: int) -> float:
    """Seconds from the request to its reply."""
    del window
    with party.bounded():
        (sink,) = party.sinks
        return float(sink.ask(["ask"]))


def _name(peer: Peer, window: int) -> str:
    return peer.name if window == 1 else f"{peer.name}, window {window}"


def _memory(title: str, memory: dict[str, list[float]], ends: tuple[str, str]) -> Table:
    figures = [
        Figure(f"{name}, {end}", "MiB", [peak])
        for name, peaks in memory.items()
        for end, peak in zip(ends, peaks, strict=True)
    ]
    return Table(title, figures)


def _container_bars(memory: dict[str, list[float]], sinks: int) -> list[Bar]:
    sender, receiver = (
        max(peaks) for peaks in zip(*(each for name, each in memory.items() if name != FLARE), strict=True)
    )
    to = f"to {sinks}"
    return [
        Bar(f"container {to}: sender's extra", 64, sender, " MiB", at_most=True),
        Bar(f"container {to}: receiver's extra", 64, receiver - SIZE / MIB, " MiB", at_most=True),
    ]


def _skipped(peers: list[Peer]) -> list[str]:
    return [f"{peer.name}: {why}" for peer in peers if (why := missing(peer.environment, peer.needs))]
