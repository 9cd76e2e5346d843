"""Cells of one test, on real sockets of this machine.

`Federation` starts cells and closes them, the youngest first. `until` waits for what sends no event. `Gate` is a
handler that says when it runs, and runs until it is told to go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from zmqfl import Cell, CellConfig, Keys, Message
from zmqfl.protocol.commands import PeerState

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


def until(condition: Callable[[], Any], what: str = "") -> None:
    """Wait for something that sends no event."""
    deadline = time.monotonic() + LONG
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, what or "it did not happen"
        pause.wait(0.002)


def counter(cell: Cell, name: str) -> int:
    return cell.statistics().counters.get(name, 0)


def state_of(cell: Cell, peer: str) -> str:
    """How `cell` sees its neighbour; "gone" when it sees none."""
    return next((link.state for link in cell.statistics().links if link.fqcn == peer), str(PeerState.GONE))


@contextmanager
def asking_all_the_while(cell: Cell, target: str, channel: str = "_net_manager") -> Iterator[list[Any]]:
    """Have `cell` make requests in a thread of its own meanwhile; afterwards each was answered, and by its answer."""
    done = threading.Event()
    wrong: list[Any] = []
    asked = [0]

    def ask() -> None:
        while not done.is_set() or not asked[0]:
            reply = cell.request(target, channel, "echo", asked[0], LONG).reply(LONG)
            if not reply.ok or reply.payload != asked[0]:
                wrong.append((asked[0], reply, reply.error))
                return
            asked[0] += 1

    thread = threading.Thread(target=ask, name="asking")
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        thread.join(LONG)
    assert not thread.is_alive(), "a request hangs"
    assert not wrong
