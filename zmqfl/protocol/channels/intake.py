"""Batches from one other cell: in the order of their numbers, each once.

state    event                     next      effect
waits    the next number           waits     it goes on, and those after it that are here
waits    a number ahead            waits     kept: a longer one is on the slower lane
waits    a number that was here    waits     nothing: it was sent again
waits    a number far ahead        waits     refused: a carrier never has as many under way
"""

from __future__ import annotations

from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.items import Part

MOST_AHEAD = 256
"""Batches: a carrier has no more under way than its window."""


class Intake:
    """See the module."""

    def __init__(self) -> None:
        self._next = 1
        self._ahead: dict[int, list[Part]] = {}

    def receive(self, number: int, parts: list[Part]) -> list[Part]:
        """The parts that go on now. Raises `DecodeError` for a number that cannot be."""
        if number >= self._next + MOST_AHEAD:
            raise DecodeError(f"batch {number} where {self._next} is expected")
        if number >= self._next:
            self._ahead[number] = parts
        ready: list[Part] = []
        while (found := self._ahead.pop(self._next, None)) is not None:
            ready += found
            self._next += 1
        return ready

    def __repr__(self) -> str:
        return f"<Intake waits for {self._next}, {len(self._ahead)} ahead>"
