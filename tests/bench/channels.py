"""Items from one writer through a broker to 1, 4 and 16 readers that want them all, beside the peers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter

from tests.bench.processes import Process, missing
from tests.bench.results import Bar, Result, compare, ratio

PEERS = "tests.bench.peers."
READERS = (1, 4, 16)
SIZES = {"1 KiB": 1024, "1 MiB": 1024 * 1024}
LEAST = {1024: 2000, 1024 * 1024: 16}
"""Items of a round, by size."""


@dataclass(frozen=True)
class Peer:
    """Who fans out. `needs` can be imported in `environment`, and `program` run, or the peer is skipped."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: str | None = None
    needs: str = ""
    program: str = ""

    def why_missing(self) -> str:
        """Why it cannot play; "" when it can."""
        path = "/usr/sbin:/usr/local/sbin"
        if self.program and not shutil.which(self.program) and not shutil.which(self.program, path=path):
            return f"no program {self.program}"
        return missing(self.environment, self.needs)


ZMQFL = Peer("zmqfl", "zmqfl_channels", ("tcp://127.0.0.1:0",))
NATS = Peer("NATS", "nats_channels", (), ".venv-bench", "nats", "nats-server")
ALL = (ZMQFL, NATS, Peer("zenoh", "zenoh_channels", (), ".venv-bench", "zenoh"))


class FanOut:
    """The processes of one peer."""

    def __init__(self, stack: ExitStack, peer: Peer, readers: int) -> None:
        module = PEERS + peer.module

        def start(*arguments: str) -> Process:
            return stack.enter_context(_process(module, arguments, peer.environment))

        url = start("broker", *peer.arguments).ready
        self._writer = start("writer", url)
        self._readers = [start("reader", url, f"reader-{number}") for number in range(readers)]

    def play(self, count: int, size: int) -> float:
        """Items per second that all readers together have got."""
        line = json.dumps([count, size]) + "\n"
        for reader in self._readers:
            _say(reader, line)
            assert reader.hear() == "begun"
        began = perf_counter()
        _say(self._writer, line)
        for reader in self._readers:
            assert reader.hear() == "done"
        took = perf_counter() - began
        assert self._writer.hear() == "done"
        return count * len(self._readers) / took


def run(quick: bool) -> Result:
    """Alternating rounds; the peers that do not play wait."""
    number = 2 if quick else 7
    skipped = [f"{peer.name}: {why}" for peer in ALL if (why := peer.why_missing())]
    peers = [peer for peer in ALL if not peer.why_missing()]
    rounds: dict[tuple[int, int], dict[str, list[float]]] = {}
    for readers in READERS[:2] if quick else READERS:
        with ExitStack() as stack:
            fans = {peer.name: FanOut(stack, peer, readers) for peer in peers}
            for index in range(-1, number):  # one more round, to warm up
                for size in SIZES.values():
                    for name in list(fans) if index % 2 else list(reversed(fans)):
                        rate = fans[name].play(LEAST[size], size)
                        if index >= 0:
                            table = rounds.setdefault((size, readers), {name: [] for name in fans})
                            table[name].append(rate)
    tables = [
        compare(f"{title}, {readers} readers", "items/s", rounds[size, readers], ZMQFL.name)
        for (size, readers), title in (((s, r), t) for t, s in SIZES.items() for r in READERS if (s, r) in rounds)
    ]
    how = (
        "One writer, a broker and the readers are processes on one machine; items are zeros, and the rate is that of "
        f"all readers together. {number} rounds of {LEAST[1024]} items of 1 KiB and {LEAST[1024 * 1024]} of 1 MiB, the "
        "peers in turn. All readers get all items: zmqfl with policy WAIT, NATS with limits above a round, zenoh with "
        "BLOCK."
    )
    return Result("channels", "Fan-out of items", how, tables, _bars(rounds), skipped)


@contextmanager
def _process(module: str, arguments: tuple[str, ...], environment: str | None) -> Iterator[Process]:
    process = Process(module, *arguments, environment=environment)
    try:
        yield process
    finally:
        process.close()


def _say(process: Process, line: str) -> None:
    assert process.popen.stdin is not None
    process.popen.stdin.write(line)
    process.popen.stdin.flush()


def _bars(rounds: dict[tuple[int, int], dict[str, list[float]]]) -> list[Bar]:
    bars = []
    for title, size, wanted in (("1 KiB", 1024, 0.4), ("1 MiB", 1024 * 1024, 1.0)):
        found = rounds.get((size, 4), {})
        if NATS.name in found:
            text = f"{title} to 4 readers: times NATS"
            bars.append(Bar(text, wanted, ratio(found[ZMQFL.name], found[NATS.name])))
    return bars
