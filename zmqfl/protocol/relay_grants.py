"""Who may take one file from a cache: each receiver by a word of the owner, which is asked for again while it takes.

    receiver   event                              next      effect
    -          asks for a chunk                   asking    GRANT to the owner; its requests are held
    asking     the owner grants it                granted   what was held is served
    asking     the owner does not, or is silent   -         what was held is refused: it asks the owner itself
    granted    asks                               granted   served
    granted    `pause` later, was active          granted   GRANT again, in one for all of them: the owner's clock
    granted    the owner does not grant it again  -         what it still asks for is refused
    granted    was silent, its word is stale      asking    GRANT at its next request
    granted    done                               granted   the owner is not asked again before it is active again

The owner decides alone; nothing is served to anybody for whom it has not been asked a moment ago.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from zmqfl.protocol.commands import Call

TOUCH = 3.0
"""Seconds after which the owner is asked again for a receiver that is active; sooner for a short transaction."""
TOUCHES = 3
"""Times that the owner is asked in the time-out of its transaction."""
FRESH = 10.0
"""Seconds that a word of the owner holds. Also: how long its answer may take."""
MOST_RECEIVERS = 4096
"""Receivers of one file."""
MOST_HELD = 64
"""Requests of one receiver that wait for its grant."""


@dataclass(slots=True)
class _Receiver:
    """One that takes, or wants to. `by`: (neighbour, its instance) that asks for it: itself, or a relay above it."""

    by: tuple[str, int]
    heard: float
    asked: float
    """When the owner was asked for it last."""
    is_granted: bool = False
    is_asking: bool = True
    told: float = 0.0
    """When it last heard whether its chunks move."""
    held: list[Call] = field(default_factory=list)


class Grants:
    """See the module; one for each file."""

    def __init__(self) -> None:
        self.pause = TOUCH
        self._receivers: dict[str, _Receiver] = {}
        self._next: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether no more receivers can be told apart."""
        return len(self._receivers) >= MOST_RECEIVERS

    @property
    def held(self) -> list[Call]:
        """All requests that wait."""
        return [call for entry in self._receivers.values() for call in entry.held]

    def knows(self, receiver: str) -> bool:
        """Whether it has asked for something, and was not denied."""
        return receiver in self._receivers

    def is_asking(self, receiver: str) -> bool:
        """Whether the owner is being asked for it."""
        entry = self._receivers.get(receiver)
        return entry is not None and entry.is_asking

    def hear(self, receiver: str, call: Call, now: float) -> bool:
        """It asks for something by this call. Returns whether it may be served."""
        entry = self._receivers.get(receiver)
        if entry is None:
            return False
        entry.by = (call.origin, call.instance)
        self._heard(entry, now)
        return entry.is_granted and (entry.is_asking or now < entry.asked + FRESH)

    def ask(self, receiver: str, call: Call, now: float) -> None:
        """The owner is asked for it, as its word is stale, or it never was."""
        self._receivers[receiver] = _Receiver((call.origin, call.instance), now, now)

    def hold(self, receiver: str, call: Call) -> bool:
        """Keep a request until the owner has answered; False when too many are kept."""
        held = self._receivers[receiver].held
        if len(held) >= MOST_HELD:
            return False
        held.append(call)
        return True

    def grant(self, names: Iterable[str]) -> list[Call]:
        """The owner says that they may have it: their requests that were held."""
        calls: list[Call] = []
        for name in names:
            if (entry := self._receivers.get(name)) is not None:
                entry.is_granted, entry.is_asking = True, False
                self._heard(entry, entry.heard)
                calls += entry.held
                entry.held = []
        return calls

    def deny(self, names: Iterable[str]) -> list[Call]:
        """It does not, any more or at all: their requests that were held."""
        gone = [entry for name in names if (entry := self._receivers.pop(name, None)) is not None]
        return [call for entry in gone for call in entry.held]

    def rest(self, receiver: str) -> None:
        """It has all, for now: the owner need not be told that it is active."""
        if (entry := self._receivers.get(receiver)) is not None:
            entry.heard = entry.asked

    def moved(self, neighbour: str, instance: int, now: float) -> None:
        """A chunk is on its way to this neighbour: whoever takes by it is active."""
        for entry in self._receivers.values():
            if entry.by == (neighbour, instance):
                self._heard(entry, now)

    def has_news(self, receiver: str, moved: float, now: float) -> bool:
        """Whether what came last, at `moved`, came since this receiver was told; it is told now."""
        entry = self._receivers.get(receiver)
        if entry is None or not entry.is_granted:
            return False
        told, entry.told = entry.told, now
        return moved > told

    def due(self, now: float) -> list[str]:
        """For whom the owner is to be asked again."""
        names = [name for name, entry in self._receivers.items() if self._due(entry) <= now]
        for name in names:
            self._receivers[name].is_asking, self._receivers[name].asked = True, now
        self._next = min((at for entry in self._receivers.values() if (at := self._due(entry)) < inf), default=None)
        return names

    @property
    def deadline(self) -> float | None:
        """When `due` names somebody; may be early."""
        return self._next

    def _heard(self, entry: _Receiver, now: float) -> None:
        entry.heard = now
        if (at := self._due(entry)) < inf:
            self._next = at if self._next is None else min(self._next, at)

    def _due(self, entry: _Receiver) -> float:
        is_active = entry.is_granted and not entry.is_asking and entry.heard > entry.asked
        return entry.asked + self.pause if is_active else inf

    def __len__(self) -> int:
        return len(self._receivers)
