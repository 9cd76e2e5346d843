"""For tests of pulls: time that passes without waiting, and callbacks that remember."""

from __future__ import annotations

import threading
from typing import Any

from tests.system.federation import LONG
from zmqfl import Cell
from zmqfl.protocol.commands import Command


def pass_time(cell: Cell, seconds: float) -> None:
    """Have what `cell` offers be as if nothing had happened for some more seconds."""
    node, done = cell._node, threading.Event()

    def act(now: float) -> list[Command]:
        for entry in node.transfers.source._transactions.values():
            entry.active -= seconds
        done.set()
        return node.transfer(lambda transfers: transfers.handle_timeout(now), now)

    cell._submit(act)
    assert done.wait(LONG)
    cell.statistics()  # one pass later


class Calls:
    """The calls of a callback: (arguments, keyword arguments), in their order."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._changed = threading.Condition()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        with self._changed:
            self.calls.append((args, kwargs))
            self._changed.notify_all()

    def wait(self, number: int = 1) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Wait until there were so many, and no more."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= number, LONG), f"{len(self.calls)} calls"
        assert len(self.calls) == number
        return self.calls
