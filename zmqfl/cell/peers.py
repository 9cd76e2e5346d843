"""Who is told when a neighbour comes and goes.

    state seen before      state now              callback
    not connected          up                     connected
    up, stalled            suspected, gone        disconnected
    anything else                                 none: a stall or its end is not a change of connection

Callbacks run on a worker, one after another, in the order of what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zmqfl.cell.serial import SerialQueue
from zmqfl.cell.workers import Workers
from zmqfl.protocol.commands import PeerState

Callback = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CellAgent:
    """A neighbour, as callbacks get it."""

    fqcn: str
    state: PeerState
    instance: int
    reason: str = ""

    def get_fqcn(self) -> str:
        """Its name (FLARE's way of asking)."""
        return self.fqcn


class PeerCallbacks:
    """See the module. `tell` is for the reactor's thread."""

    def __init__(self, workers: Workers) -> None:
        self.on_connected: Callback | None = None
        self.on_disconnected: Callback | None = None
        self._queue = SerialQueue(workers)
        self._connected: set[str] = set()

    def tell(self, agent: CellAgent) -> None:
        """A neighbour changed its state."""
        if agent.state is PeerState.UP and agent.fqcn not in self._connected:
            self._connected.add(agent.fqcn)
            self._call(lambda: self.on_connected, agent)
        elif agent.state in (PeerState.SUSPECTED, PeerState.GONE) and agent.fqcn in self._connected:
            self._connected.discard(agent.fqcn)
            self._call(lambda: self.on_disconnected, agent)

    def _call(self, get: Callable[[], Callback | None], agent: CellAgent) -> None:
        def run() -> None:
            if (callback := get()) is not None:
                cb, args, kwargs = callback
                cb(agent, *args, **kwargs)

        self._queue.put(run)
