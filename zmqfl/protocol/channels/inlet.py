"""What comes for a reader of this cell, and how much more may come.

    mode     the broker may send
    credit   up to a window beyond what the application has taken: a reader that wants all
    demand   one batch whenever the application finds nothing here: a reader that wants what is new

Its news are [place, mode, granted]: bytes from the beginning on, or how often it has asked. A number of a writer that
is left out is a gap: its reader hears which items did not come. See `subscription`, the other end.
"""

from __future__ import annotations

from zmqfl.protocol.channels.items import Item, Part
from zmqfl.protocol.channels.news import Row
from zmqfl.protocol.channels.subscription import CREDIT, DEMAND
from zmqfl.protocol.commands import ItemsCame


class Inlet:
    """See the module. `ahead`: bytes of the window; 0: on demand only."""

    def __init__(self, place: int, ahead: int) -> None:
        self.place = place
        self.ended = False
        self._ahead = ahead
        self._consumed = self._told = 0
        self._demanded = 0
        self._is_asking = False
        self._numbers: dict[str, int] = {}
        """Per writer the number that comes next."""

    def row(self) -> Row:
        """The news for the broker."""
        if not self._ahead:
            return [self.place, DEMAND, self._demanded]
        self._told = self._consumed
        return [self.place, CREDIT, self._consumed + self._ahead]

    def consume(self, size: int) -> bool:
        """The application has taken `size` bytes; returns whether the broker should hear of it."""
        self._consumed += size
        return bool(self._ahead) and self._consumed - self._told >= self._ahead // 4

    def demand(self) -> bool:
        """The application waits for something; returns whether the broker should hear of it."""
        if self._ahead or self._is_asking:
            return False
        self._is_asking = True
        self._demanded += 1
        return True

    def take(self, part: Part) -> ItemsCame:
        """What has come."""
        self._is_asking = self._is_asking and not part.items
        self.ended = part.end is not None
        return ItemsCame(self.place, part.items, part.counts, self._gaps(part.items), part.end)

    def _gaps(self, items: list[Item]) -> tuple[tuple[str, int, int], ...]:
        if not items:
            return ()
        first, last = items[0], items[-1]
        follows = last.number - first.number == len(items) - 1 and self._numbers.get(first.writer) == first.number
        if follows and {item.writer for item in items} == {first.writer}:
            self._numbers[first.writer] = last.number + 1
            return ()
        gaps: list[tuple[str, int, int]] = []
        for item in items:
            expected = self._numbers.get(item.writer, item.number)
            if item.number > expected:
                gaps.append((item.writer, expected, item.number - 1))
            self._numbers[item.writer] = item.number + 1
        return tuple(gaps)

    def __repr__(self) -> str:
        return f"<Inlet {self.place} {'ended' if self.ended else 'open'}, {self._consumed} bytes consumed>"
