"""What both ends of a transfer have seen: files to move, folders that must be clean, how often each end was told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

from tests.system.federation import LONG, ROOT, Federation, Process
from zmqfl import Cell
from zmqfl.blobs.source import FileSource
from zmqfl.cell.handles import Handle
from zmqfl.cell.transfer_verbs import Offer, Received
from zmqfl.errors import CellReturnCode, TransferError
from zmqfl.protocol.commands import Answer, Ask, Call, Command, Outcome
from zmqfl.protocol.transfers import Transfers
from zmqfl.wire.messages import Buffer

KIB = 1024
CHUNK = 16 * KIB
CHUNKS = 40
"""Chunks of the file that `make_file` makes by default."""
TIMEOUT = 3.0
"""Seconds without progress that end a transfer here; a target asks for its owner after two thirds of it."""
LOST = {CellReturnCode.COMM_ERROR, CellReturnCode.TARGET_UNREACHABLE}
"""How a transfer ends whose other end has died."""


def make_file(path: Path, size: int = CHUNKS * CHUNK, seed: int = 1) -> bytes:
    """A file of random bytes, the same for the same seed; they are returned."""
    content = Random(seed).randbytes(size)
    path.write_bytes(content)
    return content


class Ends:
    """The `done` of one receiver: what it was told, each time. `on_take(index)`: after each chunk."""

    def __init__(self, folder: Path, on_take: Callable[[int], object] = id) -> None:
        self.folder = folder
        folder.mkdir()
        self._on_take = on_take
        self.received: list[Received] = []
        self.taken: list[int] = []
        self._changed = threading.Condition()

    def consume(self, cell: Cell, **options: Any) -> Ends:
        """Have `cell` receive pushed files here."""
        cell.consume(to=self.folder, done=self.done, chunk_taken=self.take, **options)
        return self

    def done(self, received: Received) -> None:
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()

    def take(self, index: int, size: int) -> None:
        self.taken.append(index)
        self._on_take(index)

    def wait(self, number: int = 1) -> Received:
        """The last one, when there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= number, LONG), "a receiver was not told"
        return self.received[-1]

    def check_whole(self, content: bytes) -> None:
        """It was told once, and has the file and nothing else."""
        received = self.wait()
        assert received.code is CellReturnCode.OK, received
        assert received.path is not None
        assert received.path.read_bytes() == content
        assert list(self.folder.iterdir()) == [received.path]
        assert self.taken == list(range(len(self.taken)))
        assert len(self.received) == 1

    def check_nothing(self, culprit: str, codes: set[CellReturnCode] = LOST) -> None:
        """It was told once that there is nothing, and by whose fault."""
        received = self.wait()
        assert received.path is None
        assert received.code in codes, received
        assert not culprit or culprit in (received.culprit, *received.reason.split()), received
        assert received.reason
        assert list(self.folder.iterdir()) == []
        assert len(self.received) == 1

    def check_at_most_told(self) -> None:
        """The push was refused elsewhere, perhaps before this one was asked: it was told once, or not at all."""
        assert len(self.received) <= 1
        assert all(received.path is None for received in self.received)
        assert list(self.folder.iterdir()) == []


def check_failed(handle: Handle[Any], culprit: str, codes: set[CellReturnCode] = LOST) -> TransferError:
    """It has ended, and names the culprit."""
    ends: list[object] = []
    error = handle.exception(LONG)
    handle.add_done_callback(ends.append)
    assert isinstance(error, TransferError), error
    assert error.code in codes, error
    assert error.culprit == culprit, error
    assert error.reason
    assert len(ends) == 1
    return error


def offer(cell: Cell, path: Path, **options: Any) -> Offer:
    """An offer that the reactor of `cell` knows of by now."""
    offered = cell.offer(path, **options)
    cell.statistics()
    return offered


class Asker:
    """Makes requests that no verb makes: on the channels of the machines, with any headers."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.answers: SimpleQueue[Outcome] = SimpleQueue()
        self.deadline: float | None = None

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        self.answers.put(outcome)
        return []

    def handle_timeout(self, now: float) -> list[Command]:
        return []

    def ask(
        self,
        target: str,
        channel: str,
        topic: str,
        headers: dict[str, Any],
        codec: int = 0,
        bodies: tuple[Buffer, ...] = (),
    ) -> Outcome:
        """The answer of `target`."""
        ask = Ask(self, 0, (target,), channel, topic, headers, codec, bodies, LONG)
        self.cell._submit(lambda now: self.cell._node.transfer(lambda transfers: [ask], now))
        return self.answers.get(timeout=LONG)


def answering(cell: Cell, answer: Callable[[Call], Outcome | None]) -> None:
    """Have `cell` answer what comes on the channels of transfers; None: as it would."""
    transfers: Transfers = cell._node.transfers
    receive = transfers.receive

    def receiving(call: Call, now: float) -> list[Command]:
        outcome = answer(call)
        return receive(call, now) if outcome is None else [Answer(call, outcome)]

    transfers.receive = receiving  # type: ignore[method-assign]


@contextmanager
def at_read(index: int, act: Callable[[], object], chunk: int = CHUNK) -> Iterator[threading.Event]:
    """Do `act`, once, before any source of this process reads the chunk `index`; the event tells that it was done."""
    read, happened, lock = FileSource.read, threading.Event(), threading.Lock()

    def reading(source: FileSource, offset: int, length: int) -> bytes:
        if offset == index * chunk and length:
            with lock:
                if not happened.is_set():
                    act()
                    happened.set()
        return read(source, offset, length)

    FileSource.read = reading  # type: ignore[method-assign, assignment]
    try:
        yield happened
    finally:
        FileSource.read = read  # type: ignore[method-assign]


def files_below(folder: Path) -> list[str]:
    """The names of all that is there."""
    with suppress(FileNotFoundError):
        return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))
    return []


class TransferProcess(Process):
    """A cell in a process of its own; see `tests.system.transfer_process`. It ends with `federation`."""

    def __init__(self, federation: Federation, fqcn: str, **settings: Any) -> None:
        settings = {"fqcn": fqcn, "config": asdict(federation.config), **settings}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.system.transfer_process", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        federation.processes.append(self)
        line = self.line()
        self.url: str = line["url"]
        self.rid: str = line["rid"]

    @property
    def was_killed(self) -> bool:
        """Whether it has ended as it was told to."""
        return self.wait() == -signal.SIGKILL
