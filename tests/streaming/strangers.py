"""Requests of the push machines that no machine sent, for tests of what a receiver makes of them."""

from __future__ import annotations

import threading
from typing import Any

from tests.system.federation import LONG
from zmqfl import Cell
from zmqfl.protocol.commands import Ask, Command, Outcome
from zmqfl.protocol.push_sender import CHANNEL


class Stranger:
    """Asks in the place of a push machine."""

    deadline = None

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._ended = threading.Event()
        self._outcome: Outcome | None = None

    def ask(self, target: str, topic: str, headers: dict[str, Any], bodies: tuple[bytes, ...] = ()) -> Outcome:
        """Send one request, and wait for its answer."""
        self._ended.clear()
        ask = Ask(self, topic, (target,), CHANNEL, topic, headers, 1 if bodies else 0, bodies, LONG)
        node = self.cell._node
        self.cell._submit(lambda now: node.transfer(lambda transfers: [ask], now))
        assert self._ended.wait(LONG), "no answer"
        assert self._outcome is not None
        return self._outcome

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        self._outcome = outcome
        self._ended.set()
        return []

    def handle_timeout(self, now: float) -> list[Command]:
        return []
