"""A source and its sinks, a process each, that move a file by push or by pull."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from xxhash import xxh3_128_hexdigest

from tests.bench.memory import Peak, anonymous
from tests.bench.peers.transfer_ends import PATIENCE
from tests.bench.processes import Process

PEERS = "tests.bench.peers."


@dataclass(frozen=True)
class Peer:
    """Who moves files. `needs` can be imported in `environment`, or the peer is skipped. `windows`: of a push."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: str | None = None
    needs: str = ""
    windows: tuple[int, ...] = (1, 8)


@dataclass(frozen=True)
class SlowLink:
    """What lies between source and sinks."""

    megabits: float
    milliseconds: float


def sink_names(count: int) -> list[str]:
    """Of the sinks of a party."""
    return [f"site-{number}" for number in range(1, count + 1)]


class Party:
    """`count` sinks of `peer`, connected to their source; `folder` gets a folder for each. Over `link`, or loopback."""

    def __init__(self, peer: Peer, count: int, folder: Path, link: SlowLink | None = None) -> None:
        self.peer = peer
        self.folders = {name: folder / name for name in sink_names(count)}
        with ExitStack() as stack:
            self.source = self._process(stack, "source", *peer.arguments)
            address = self.source.ready if link is None else _across(stack, self.source.ready, link)
            self.sinks = [
                self._process(stack, "sink", name, json.dumps(address), str(_made(place)))
                for name, place in self.folders.items()
            ]
            self.idle = [anonymous(process.popen.pid) for process in self._processes]
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    def push(self, file: Path, window: int) -> float:
        """Seconds until every sink has it."""
        with self.bounded():
            start = perf_counter()
            self.source.ask(["push", str(file), list(self.folders), window])
            return perf_counter() - start

    def pull(self, file: Path) -> float:
        """Seconds until every sink has it; all begin together."""
        with self.bounded():
            start = perf_counter()
            offer = self.source.ask(["offer", str(file), list(self.folders)])
            for sink in self.sinks:
                _say(sink, ["pull", offer])
            for sink in self.sinks:
                sink.hear()
            return perf_counter() - start

    def take(self, file: Path, compare: bool = False) -> None:
        """Remove what was delivered. Raises `RuntimeError` unless each sink has one file, of the same size.

        `compare`: of the same content, too.
        """
        for name, folder in self.folders.items():
            found = list(folder.iterdir())
            if len(found) != 1 or not _same(found[0], file, compare):
                raise RuntimeError(f"{self.peer.name} did not deliver {file} to {name}: {found}")
            found[0].unlink()

    @contextmanager
    def peak(self) -> Iterator[list[float]]:
        """MiB above idle of the source and of the sink that took most, when the block has ended."""
        above: list[float] = []
        with Peak([process.popen.pid for process in self._processes]) as peak:
            yield above
        source, *sinks = (high - idle for high, idle in zip(peak.highest.values(), self.idle, strict=True))
        above += [source, max(sinks)]

    @property
    def _processes(self) -> list[Process]:
        return [self.source, *self.sinks]

    def _process(self, stack: ExitStack, *arguments: str) -> Process:
        process = Process(PEERS + self.peer.module, *arguments, environment=self.peer.environment)
        return stack.enter_context(closing(process))

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Kill what hangs: then `hear` says so."""
        timer = threading.Timer(PATIENCE, self._kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _kill(self) -> None:
        for process in self._processes:
            process.popen.kill()


def _across(stack: ExitStack, address: Any, link: SlowLink) -> list[Any]:
    """The address of the same source, over the link."""
    url, *others = address
    arguments = (url.rpartition(":")[2], str(link.megabits), str(link.milliseconds))
    process = stack.enter_context(closing(Process("tests.bench.slow_link", *arguments)))
    return [f"tcp://127.0.0.1:{process.ready}", *others]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _say(process: Process, question: object) -> None:
    assert process.popen.stdin is not None
    process.popen.stdin.write(json.dumps(question) + "\n")
    process.popen.stdin.flush()


def _same(found: Path, file: Path, compare: bool) -> bool:
    if found.stat().st_size != file.stat().st_size:
        return False
    return not compare or xxh3_128_hexdigest(found.read_bytes()) == xxh3_128_hexdigest(file.read_bytes())
