"""Cells of one test, on real sockets of this machine.

`Federation` starts cells and closes them, the youngest first. `until` waits for what sends no event. `Gate` is a
handler that says when it runs, and runs until it is told to go on. `Process` is a cell in a process of its own.
"""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zmq

from zmqfl import Cell, CellConfig, Keys, Message
from zmqfl.protocol.commands import Command, PeerState

ROOT = Path(__file__).parents[2]
LONG = 30.0
"""Seconds that nothing here may take; a test that hangs fails by it."""

QUICK = CellConfig(heartbeat=0.1, dead_after=1.5, reconnect_min=0.01, reconnect_max=0.05, drain=LONG)
"""Settings by which a test need not wait long for what takes time."""


class Federation:
    """See the module. `keys`: give each cell a key, and CURVE on its links."""

    def __init__(self, config: CellConfig = QUICK, keys: bool = False) -> None:
        self.config = config
        self.cells: list[Cell] = []
        self.pairs: dict[str, tuple[bytes, bytes]] = {}
        self.keys = keys
        self.processes: list[Process] = []

    def process(self, fqcn: str, **settings: Any) -> Process:
        """A cell in a process of its own."""
        self.processes.append(Process(fqcn, **{"config": self.config, **settings}))
        return self.processes[-1]

    def start(
        self,
        fqcn: str,
        parent: Cell | str | None = None,
        listen: str | list[str] | None = "tcp://127.0.0.1:*",
        connected: bool = True,
        **options: Any,
    ) -> Cell:
        """A cell that is started, and by default connected to its parent."""
        cell = self.make(fqcn, parent, listen, **options)
        cell.start()
        if connected:
            assert cell.wait_connected(LONG), f"{fqcn} does not get through: {cell.refusal or 'no answer'}"
        return cell

    def make(self, fqcn: str, parent: Cell | str | None = None, listen: Any = None, **options: Any) -> Cell:
        """A cell that is not started."""
        options.setdefault("config", self.config)
        if self.keys:
            options.setdefault("keys", self.keys_of(fqcn, parent.fqcn if isinstance(parent, Cell) else "server"))
        cell = Cell(fqcn, listen=listen, parent=parent.url if isinstance(parent, Cell) else parent, **options)
        self.cells.append(cell)
        return cell

    def keys_of(self, fqcn: str, parent: str = "server") -> Keys:
        """The keys of a cell, which knows all that were asked for so far, and the usual ones."""
        for name in (fqcn, parent, "server", "relay", "relay.site-1", "site-1", "site-2"):
            self.pairs.setdefault(name, zmq.curve_keypair())
        public, secret = self.pairs[fqcn]
        return Keys(fqcn, public, secret, self.pairs[parent][0], {name: pair[0] for name, pair in self.pairs.items()})

    def tree(self) -> tuple[Cell, Cell, Cell, Cell]:
        """server <- (relay <- relay.site-1), site-2."""
        server = self.start("server")
        relay = self.start("relay", server)
        return server, relay, self.start("relay.site-1", relay, None), self.start("site-2", server, None)

    def close(self) -> None:
        for process in self.processes:
            process.close()
        for cell in reversed(self.cells):
            cell.close(drain=0)


class Gate:
    """A handler that can be held: `entered` counts its calls, and each waits until `open` is called."""

    def __init__(self, answer: Any = "done") -> None:
        self.answer = answer
        self.seen: list[Any] = []
        self._changed = threading.Condition()
        self._open = threading.Event()

    def __call__(self, message: Message) -> Any:
        with self._changed:
            self.seen.append(message.payload)
            self._changed.notify_all()
        assert self._open.wait(LONG), "nobody opened the gate"
        return self.answer

    def wait_entered(self, number: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= number, LONG), f"{len(self.seen)} of {number} came"

    def open(self) -> None:
        self._open.set()


def start_zero_copy() -> None:
    """Have pyzmq start the threads by which it learns that a big frame has gone: it does so once per process."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://zero-copy")
        other.connect("inproc://zero-copy")
        one.send(bytes(zmq.COPY_THRESHOLD), copy=False)
        other.recv()
    until(lambda: len([task for task in tasks() if task.startswith("ZMQbg/")]) == 2, "a thread has no name yet")


def tasks() -> list[str]:
    """The names of all threads."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            names.append((task / "comm").read_text())
    return names


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait for something that sends no event."""
    deadline = time.monotonic() + LONG
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, what or "it did not happen"
        pause.wait(0.002)


def hold(cell: Cell, until_set: threading.Event) -> None:
    """Have the reactor of `cell` do nothing until then."""

    def wait(now: float) -> list[Command]:
        until_set.wait(LONG)
        return []

    cell._reactor.submit(wait)


def counter(cell: Cell, name: str) -> int:
    return cell.statistics().counters.get(name, 0)


def state_of(cell: Cell, peer: str) -> str:
    """How `cell` sees its neighbour; "gone" when it sees none."""
    return next((link.state for link in cell.statistics().links if link.fqcn == peer), str(PeerState.GONE))


@contextmanager
def asking_all_the_while(cell: Cell, target: str) -> Iterator[None]:
    """Have `cell` make requests in a thread of its own meanwhile; afterwards each was answered, and by its answer."""
    done = threading.Event()
    wrong: list[Any] = []
    asked = [0]

    def ask() -> None:
        while not done.is_set() or not asked[0]:
            reply = cell.request(target, "_net_manager", "echo", asked[0], LONG).reply(LONG)
            if not reply.ok or reply.payload != asked[0]:
                wrong.append((asked[0], reply, reply.error))
                return
            asked[0] += 1

    thread = threading.Thread(target=ask, name="asking")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(LONG)
    assert not thread.is_alive(), "a request hangs"
    assert not wrong


class Process:
    """A cell in a process of its own; see `tests.system.process`."""

    def __init__(self, fqcn: str, config: CellConfig = QUICK, ready: bool = True, **settings: Any) -> None:
        settings = {"fqcn": fqcn, "config": asdict(config), **settings}
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.system.process", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        if ready:
            self.url = self.line()["url"]

    def line(self) -> dict[str, Any]:
        """The next line that it writes."""
        assert self.popen.stdout is not None
        assert select.select([self.popen.stdout], [], [], LONG)[0], "the process says nothing"
        line: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return line

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Its status, when it has ended by itself."""
        return self.popen.wait(LONG)

    def close(self) -> None:
        """End it, however it is."""
        self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                stream.close()
