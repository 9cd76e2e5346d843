"""One channel at its broker: its readers, its writers, and the items on their way from these to those.

    state    event                                    next     effect
    open     items of a writer                        open     into every reader's buffer, as far as those that WAIT
                                                               have room; what is left stays with the writer's seat
    open     a reader that WAITs has room again       open     the seats go on, by turns
    open     first reader, last reader                open     its writers are told: they begin, or send nothing
    open     deleted, expired, its owner is gone      ending   its writers are told; its name is free
    ending   no seat has anything left                ended    its readers are told, each behind its last item

A seat takes no more than its credit, so what waits there is bounded. `last` items are kept for readers that come later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zmqfl.protocol.channels.bond import Bond
from zmqfl.protocol.channels.buffer import Buffer, BufferTerms, Policy
from zmqfl.protocol.channels.items import Item
from zmqfl.protocol.channels.seat import Seat
from zmqfl.protocol.channels.subscription import Subscription


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """What the owner of a channel wants."""

    name: str
    public: bool = True
    """Listed for all; else only who knows its name and key gets in."""
    lifetime: float | None = None
    """Seconds until it ends by itself; None: it does not."""
    single: bool = True
    """Only one cell may write: the owner, until it lets another."""
    last: int = 0
    """Items that are kept for readers that come later."""
    last_size: int = 1024 * 1024
    """Bytes of them at most."""


@dataclass(eq=False)
class Channel:
    """See the module. `owner`: its bond; `expires`: when it ends by itself."""

    id: int
    options: ChannelOptions
    owner: Bond
    expires: float | None = None
    readers: list[Subscription] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    offered: int = 0
    """Items that its writers have put into it."""
    bytes: int = 0
    ending: str | None = None
    """Why it ends; None while it does not."""

    def __post_init__(self) -> None:
        o = self.options
        terms = BufferTerms(items=max(1, o.last), size=o.last_size)
        self._history: Buffer[Item] | None = Buffer(terms) if o.last else None

    @property
    def name(self) -> str:
        """Its name."""
        return self.options.name

    @property
    def kept(self) -> int:
        """Bytes that it may come to keep for readers that come later."""
        return self.options.last_size if self.options.last else 0

    @property
    def is_active(self) -> bool:
        """Whether its writers have anybody to write for."""
        return self.ending is None and (bool(self.readers) or self._history is not None)

    @property
    def is_unknown(self) -> bool:
        """Whether somebody reads, and a writer does not know it."""
        return self.is_active and any(not seat.knows & 1 and not seat.is_leaving for seat in self.seats)

    @property
    def is_strict(self) -> bool:
        """Whether a reader wants its writers to hear of what it refuses."""
        return any(reader.buffer.terms.policy is Policy.RAISE for reader in self.readers)

    @property
    def is_blocked(self) -> bool:
        """Whether items wait for room."""
        return any(seat.waiting for seat in self.seats)

    def join(self, reader: Subscription, last: int, now: float) -> None:
        """Somebody reads from now on, after the last items that are kept: at most `last`."""
        self.readers.append(reader)
        if last and self._history is not None:
            items = self._history.items()[-last:]
            reader.buffer.offer(items[: reader.buffer.room(items, now)], now)

    def drain(self, now: float) -> Iterator[Seat]:
        """Put what waits into the buffers, the seats by turns; gives the seats of which something went."""
        seats = list(self.seats)
        if len(seats) > 1 and self.is_blocked:
            self.seats.append(self.seats.pop(0))
        for seat in seats:
            if seat.waiting and self._drain(seat, now):
                yield seat

    def _drain(self, seat: Seat, now: float) -> bool:
        count = min((reader.buffer.room(seat.waiting, now) for reader in self.readers), default=len(seat.waiting))
        if not count:
            return False
        items = seat.take(count)
        self.offered += count
        self.bytes += sum([item.size for item in items])
        for reader in self.readers:
            seat.refusals += [[item.number, reader.name] for item in reader.buffer.offer(items, now)]
        if self._history is not None:
            self._history.offer(items, now)
        return True

    def finish(self) -> bool:
        """Whether it has ended: nothing waits any more. Its readers will be told."""
        if self.ending is None or self.is_blocked:
            return False
        for reader in self.readers:
            reader.end = self.ending
        return True

    def describe(self, now: float) -> dict[str, Any]:
        """What others may know."""
        o = self.options
        return {
            "id": self.id, "name": o.name, "owner": self.owner.peer, "public": o.public, "single": o.single,
            "lifetime": None if self.expires is None else max(0.0, self.expires - now), "last": o.last,
            "readers": len(self.readers), "writers": len(self.seats), "offered": self.offered, "bytes": self.bytes,
            "active": self.is_active,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<Channel {self.name!r} {len(self.readers)} readers, {len(self.seats)} writers, {self.offered} offered>"
