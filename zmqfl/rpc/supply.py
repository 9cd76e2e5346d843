"""The items of a generator between the one who makes them and the one who asks. A machine without I/O.

    state      event                               next       commands
    idle       more, items here                    producing  Give them; Produce, if there is room for others
    idle       more, none here                     producing  Produce; the ask is held
    producing  more, items here                    producing  Give them
    producing  more, none here                     producing  the ask is held
    producing  produced, an ask is held            producing  Give it the item
    producing  produced, no ask, room              producing
    producing  produced, no ask, no room           idle
    producing  finished, an ask is held            closed     Give it the end, or the error; Forget
    producing  finished, no ask                    spent
    spent      more, items and an error here       spent      Give the items
    spent      more, otherwise                     closed     Give what is left and the end, or the error; Forget
    idle       close                               closed     CloseSource; Forget
    producing  close                               closing
    closing    produced                            closed     CloseSource; Forget
    closing    finished                            closed     Forget
    spent      close                               closed     Forget
    any        more while an ask is held           the same   Refuse the second

There is room for as many items as the last ask named, and `MOST_BYTES`. So a generator never runs further than one ask
ahead, each item leaves at once when somebody waits for it, and items that came meanwhile leave together.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

MOST_CREDIT: Final = 1024
"""Items that wait to be asked for."""
MOST_BYTES: Final = 1 << 20
"""Bytes of such items, as far as their sizes can be told without encoding them."""


class State(Enum):
    """What the generator does."""

    IDLE = auto()
    PRODUCING = auto()
    SPENT = auto()
    CLOSING = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Give:
    """Answer an ask: with items, and whether they are the last; or with the error that ended the generator."""

    ask: Hashable
    items: list[Any] = field(default_factory=list)
    is_ended: bool = False
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer an ask: another one is held."""

    ask: Hashable


@dataclass(frozen=True, slots=True)
class Produce:
    """Have items made, one by one; `produced` or `finished` after each, as long as `is_producing`."""


@dataclass(frozen=True, slots=True)
class CloseSource:
    """Close the generator."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing can be asked for any more."""


Command = Give | Refuse | Produce | CloseSource | Forget


class Supply:
    """See the module."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self._items: list[Any] = []
        self._bytes = 0
        self._credit = 0
        self._held: Hashable = None
        self._error: BaseException | None = None

    @property
    def is_producing(self) -> bool:
        """Whether one more item is wanted of who produces."""
        return self.state is State.PRODUCING

    def more(self, ask: Hashable, credit: int) -> list[Command]:
        """`ask` waits for items; room for `credit` others."""
        if self._held is not None or self.state in (State.CLOSING, State.CLOSED):
            return [Refuse(ask)]
        self._credit = max(1, min(credit, MOST_CREDIT))
        self._held = ask
        if self.state is State.SPENT:
            return self._give_end()
        given = self._give() if self._items else []
        if self.state is State.IDLE:
            self.state = State.PRODUCING
            return [*given, Produce()]
        return given

    def produced(self, item: Any, size: int) -> list[Command]:
        """The generator has given an item of about `size` bytes."""
        if self.state is State.CLOSING:
            return self._close(CloseSource())
        self._items.append(item)
        self._bytes += size
        if self._held is not None:
            return self._give()
        if len(self._items) >= self._credit or self._bytes >= MOST_BYTES:
            self.state = State.IDLE
        return []

    def finished(self, error: BaseException | None) -> list[Command]:
        """The generator has returned, or raised."""
        if self.state is State.CLOSING:
            return self._close()
        self.state = State.SPENT
        self._error = error
        return self._give_end() if self._held is not None else []

    def close(self) -> list[Command]:
        """Nobody wants items any more."""
        match self.state:
            case State.IDLE:
                return self._close(CloseSource())
            case State.SPENT:
                return self._close()
            case State.PRODUCING:
                self.state = State.CLOSING
        return []

    def _give(self) -> list[Command]:
        ask, items = self._held, self._items
        self._held, self._items, self._bytes = None, [], 0
        return [Give(ask, items)]

    def _give_end(self) -> list[Command]:
        if self._items and self._error is not None:
            return self._give()  # the error is for the next ask
        ask, items, error = self._held, self._items, self._error
        return [Give(ask, items, is_ended=error is None, error=error), *self._close()]

    def _close(self, *commands: Command) -> list[Command]:
        self.state = State.CLOSED
        self._items, self._held, self._error = [], None, None
        return [*commands, Forget()]

    def __repr__(self) -> str:
        return f"<Supply {self.state.name.lower()}, {len(self._items)} items here>"
