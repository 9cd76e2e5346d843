"""Transfers for the program of a host: what `--setup tests.net.transfer_site:moves` teaches it.

    consume     folder                       receives pushed files there
    received                                 what the consumer was told at the end of each push, oldest first
    push        path, to, ...                arguments of `push_file`; see `Moved`
    offer       path, ...                    arguments of `offer`; its reference id
    pull        rid, owner, ...              arguments of `pull`; see `Moved`
    moved                                    [bytes that all pushes, that all pulls begun here have moved so far]
    assembling                               bytes of the large messages that are being put together here
    books                                    see `Books`

The hosts of a lab share their files, so the test makes them, and looks at what has come.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, TypedDict

from tests.net.site import Commands
from zmqfl import Cell
from zmqfl.cell.handles import Handle
from zmqfl.cell.pulling import PullHandle
from zmqfl.cell.transfer_verbs import Received
from zmqfl.errors import TransferError


class Moved(TypedDict):
    """How a transfer ended where it was begun."""

    code: str
    """"ok", that of the `TransferError`, or the class of another error."""
    reason: str
    culprit: str
    ends: int
    """How often its handle ended: 1."""
    path: str
    """Of a pull into a folder."""
    done: int
    """Bytes that were acknowledged, or verified and written."""
    fetched: int
    """Bytes that a pull took from the network."""


class Arrived(TypedDict):
    """What the consumer of a push was told at its end."""

    origin: str
    name: str
    code: str
    reason: str
    culprit: str
    path: str
    """"" when there is no file."""


class Books(TypedDict):
    """What a cell holds and has counted."""

    counters: dict[str, int]
    queued_peak: int
    """Bytes that have waited for connections at most."""
    held: dict[str, int]
    """What is under way now, and the bytes that it holds; empty when all has ended."""


class _Moves:
    """The commands of one cell."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._received: list[Arrived] = []
        self._handles: list[Handle[Any]] = []
        self._lock = threading.Lock()

    def consume(self, folder: str) -> None:
        self.cell.consume(to=folder, done=self._done)

    def push(self, path: str, to: str | list[str], **how: Any) -> Moved:
        handle = self.cell.push_file(path, to, **how)
        return self._wait(handle)

    def offer(self, path: str, **how: Any) -> str:
        return self.cell.offer(path, **how).rid

    def pull(self, rid: str, owner: str, **how: Any) -> Moved:
        return self._wait(self.cell.pull(rid, owner, **how))

    def moved(self) -> list[int]:
        with self._lock:
            handles = list(self._handles)
        pulled = sum(handle.progress.done for handle in handles if isinstance(handle, PullHandle))
        return [sum(handle.progress.done for handle in handles) - pulled, pulled]

    def books(self) -> Books:
        statistics = self.cell.statistics()
        node = self.cell._node
        held: Counter[str] = Counter(transfer.kind for transfer in self.cell.transfers() if transfer.kind != "offer")
        held["assembling"] += node.assembly.assembling
        held["flows"] += node.flows.sending
        held["requests"] += statistics.open_requests
        held["retained"] += statistics.retained_bytes
        held["queued"] += statistics.queued_bytes
        return Books(counters=dict(statistics.counters), queued_peak=statistics.queued_peak, held=dict(+held))

    def _wait(self, handle: Handle[Any]) -> Moved:
        ends: Counter[str] = Counter()
        handle.add_done_callback(lambda _: ends.update(["end"]))
        with self._lock:
            self._handles.append(handle)
        error = handle.exception()
        done = handle.progress.done
        moved = Moved(code="ok", reason="", culprit="", ends=ends["end"], path="", done=done, fetched=0)
        if error is not None:
            moved["reason"] = str(error)
            moved["code"] = type(error).__name__
        if isinstance(error, TransferError):
            moved["code"], moved["culprit"] = str(error.code), error.culprit
        if isinstance(handle, PullHandle):
            moved["fetched"] = handle.fetched
            moved["path"] = str(handle.result()) if error is None else ""
        return moved

    def _done(self, received: Received) -> None:
        path = "" if received.path is None else str(received.path)
        arrived = Arrived(
            origin=received.origin, name=received.name, code=str(received.code), reason=received.reason,
            culprit=received.culprit, path=path,
        )  # fmt: skip
        with self._lock:
            self._received.append(arrived)


def moves(cell: Cell, commands: Commands) -> None:
    """A `--setup`; see the module."""
    mine = _Moves(cell)
    for verb in (mine.consume, mine.push, mine.offer, mine.pull, mine.moved, mine.books):
        commands[verb.__name__] = verb
    commands["received"] = lambda: list(mine._received)
    commands["assembling"] = lambda: cell._node.assembly.assembling
