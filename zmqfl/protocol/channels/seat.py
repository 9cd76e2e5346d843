"""One writer of a channel at the broker: what it has sent, how far that is in the buffers, and what it is told.

Its news are [place, granted bytes, taken items, flags (1 somebody reads, 2 refusals are to be told), refusals, end].
Granted counts from the beginning: what may be sent is what was taken, and a window more. Items that must wait, as a
reader wants them to, stay here; so they are bounded by the window, or by one item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.bond import Bond
from zmqfl.protocol.channels.items import Item, writer_of
from zmqfl.protocol.channels.news import Row
from zmqfl.protocol.commands import Call

if TYPE_CHECKING:
    from zmqfl.protocol.channels.channel import Channel

WRITER_WINDOW = 4 * 1024 * 1024
"""Bytes that a writer may send beyond what was taken."""
MOST_REFUSALS = 256
"""Refusals in one piece of news; more follow in the next."""


class Seat:
    """A writer of a channel at the broker."""

    def __init__(self, bond: Bond, place: int, channel: Channel) -> None:
        self.bond = bond
        self.place = place
        self.channel = channel
        self.writer = writer_of(bond.peer, place)
        self.received = self.taken = 0
        self.knows = 0
        """The flags that its writer knows for sure."""
        self.is_asked = False
        """Its writer waits to hear that all this is taken."""
        self.is_leaving = False
        """It goes when nothing of it waits."""
        self.closing: Call | None = None
        """Who is told then."""
        self.waiting: list[Item] = []
        self.refusals: list[list[Any]] = []
        """[number, reader]"""
        self._taken_size = self._told = 0

    @property
    def name(self) -> str:
        """The cell that writes."""
        return self.bond.peer

    def receive(self, items: list[Item]) -> None:
        """Items of its writer. Raises `DecodeError` where they do not follow those that came before."""
        for item in items:
            if item.number != self.received + 1 or item.writer != self.writer:
                raise DecodeError(f"item {item.number} of {item.writer} where {self.received + 1} is expected")
            self.received += 1
        self.waiting += items

    def row(self) -> Row:
        """The news for its writer."""
        self._told = self._taken_size
        flags = self.channel.is_active | self.channel.is_strict << 1
        self.knows &= flags  # what it is told from here on it may have heard at any time
        granted = self._taken_size + WRITER_WINDOW
        return [self.place, granted, self.taken, flags, self.refusals[:MOST_REFUSALS], self.channel.ending]

    def acked(self, row: Row) -> None:
        """Its writer knows."""
        self.knows = row[3]
        del self.refusals[: len(row[4])]

    def take(self, count: int) -> list[Item]:
        """The first `count` items go into the buffers."""
        items, self.waiting = self.waiting[:count], self.waiting[count:]
        self.taken += count
        self._taken_size += sum([item.size for item in items])
        return items

    @property
    def may_leave(self) -> bool:
        """Whether nothing of it waits any more, and its writer knows all."""
        return self.is_leaving and not self.waiting and (not self.refusals or bool(self.bond.lost))

    @property
    def is_worth_telling(self) -> bool:
        """Whether its writer should hear of the room that there is."""
        return self.is_asked or bool(self.refusals) or self._taken_size - self._told >= WRITER_WINDOW // 4

    def __repr__(self) -> str:
        return f"<Seat of {self.writer}: {self.taken} taken, {len(self.waiting)} waiting>"
