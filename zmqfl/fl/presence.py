"""Whether clients are there, by a question to each that is answered only when its run has ended.

Nothing is sent meanwhile: the cells probe what waits at remote cells, and the question fails as soon as the network
knows that the client is gone, or was started anew. Source: design, decision 4.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ClosedError
from zmqfl.fl.run_messages import CHANNEL, FOREVER, PRESENCE, packed


class Presence:
    """See the module. `lost(name)` is called, on any thread, when the last question to a client has failed."""

    def __init__(self, cell: Cell, lost: Callable[[str], object]) -> None:
        self._cell = cell
        self._lost = lost
        self._lock = threading.Lock()
        self._watched: dict[str, RequestHandle] = {}

    def watch(self, name: str, fqcn: str) -> None:
        """A client is there: watch over it, in place of its former start."""
        try:
            handle = self._cell.request(fqcn, CHANNEL, PRESENCE, packed(Shareable()), FOREVER)
        except ClosedError:
            return
        with self._lock:
            former, self._watched[name] = self._watched.get(name), handle
        if former is not None:
            former.cancel()
        handle.add_done_callback(lambda _: self._ended(name, handle))

    def present(self) -> set[str]:
        """Clients that are there."""
        with self._lock:
            return set(self._watched)

    def forget(self, name: str) -> None:
        """A client has ended its run."""
        with self._lock:
            handle = self._watched.pop(name, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Watch over nobody."""
        for name in self.present():
            self.forget(name)

    def _ended(self, name: str, handle: RequestHandle) -> None:
        with self._lock:
            if self._watched.get(name) is not handle:
                return
            del self._watched[name]
        self._lost(name)
