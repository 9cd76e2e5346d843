"""What the verbs about the broadcast plane have in common: a cell that knows what is said, and follows what is new."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, Final, Generic, TypeVar

from zmqfl.cell.cell import Cell
from zmqfl.cell.peers import CellAgent
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.federation import ATTACH, attached
from zmqfl.launch.run_state import RunState
from zmqfl.protocol.commands import PeerState

T = TypeVar("T")

HEARD: Final = 5.0
"""Seconds that a change may take from the site that says it to the cell of the command line."""


@contextmanager
def informed(state: RunState) -> Iterator[Cell]:
    """A cell in the network of a federation that knows what is said there. Raises `NotRunning`."""
    with attached(state) as cell:
        if not cell.props.wait_current(ATTACH):
            raise NotRunning(f"{state.door[0]!r} of {state.name!r} does not know yet what others say; try it again")
        yield cell


def heard(there: Event, site: str) -> None:
    """Wait until what `site` says has come back; say so where it does not. Call it while somebody watches."""
    if not there.wait(HEARD):
        sys.stderr.write(f"zmqfl: {site} has taken it, but it is not heard here yet; look at `zmqfl cells`\n")


class Events(Generic[T]):
    """What happens, in turn, until the federation has ended; `put` may be called from any thread."""

    def __init__(self, cell: Cell) -> None:
        self.put: Callable[[T], None]
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._queue.put
        self._cell = cell
        self._lost: float | None = None
        """When the parent was lost that may come back."""
        cell.set_cell_disconnected_cb(self._queue.put)
        cell.set_cell_connected_cb(self._queue.put)

    def next(self, timeout: float | None = None) -> T | None:
        """The next one; None when the federation has ended. Raises `TimeoutError`, `NotRunning` when it is lost."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            lost = None if self._lost is None else self._lost + self._cell.config.dead_after
            until = min((at for at in (end, lost) if at is not None), default=None)
            try:
                item = self._queue.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                if lost is not None and lost <= time.monotonic():
                    raise NotRunning("the federation does not answer any more; look at `zmqfl ps`") from None
                raise TimeoutError from None
            if not isinstance(item, CellAgent):
                return item  # type: ignore[no-any-return]
            if item.state is PeerState.GONE:
                return None
            self._lost = None if item.state is PeerState.UP else time.monotonic()
