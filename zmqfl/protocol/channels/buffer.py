"""The buffer of one reader of a channel: what is thinned out, what is kept, and what gives way when it is full.

Each item that is offered is first thinned out, then meets the policy:

    full?   policy   effect
    no      any      queued
    yes     RING     the oldest give way, the new one is queued
    yes     CLEAR    all give way, only the new one is queued
    yes     SKIP     the new one is dropped
    yes     WAIT     it must not be offered yet: `room` tells how many may be; the writer waits
    yes     RAISE    the new one is dropped, and its writer hears of it

Full is above `items` items or above `size` bytes. An item above `size` alone is dropped under each policy, and its
writer hears of it. Thinned out by count: of items 1, 2, 3, ... those stay whose number is a multiple of `every`
(`first`: 1, every + 1, ...). By frequency: one stays when the last that stayed is 1/hz seconds old. What is thinned out
or dropped costs nothing further on. The counts rise for ever, and at each moment

    offered = decimated + dropped + delivered + queued

where what was taken counts as queued until it is settled. Source: reference "channels" A4, R1-R9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Generic, Protocol, TypeVar

from zmqfl.errors import ArgumentError

DEFAULT_ITEMS = 100
DEFAULT_SIZE = 8 * 1024 * 1024
ITEM_COST = 128
"""Bytes that an item counts beside its content, so that a million empty ones are not free."""


class Sized(Protocol):
    """What a buffer holds."""

    @property
    def size(self) -> int:
        """Bytes that it counts."""


T = TypeVar("T", bound=Sized)


class Policy(StrEnum):
    """What happens to an item that meets a full buffer; see the module."""

    RING = "ring"
    CLEAR = "clear"
    SKIP = "skip"
    WAIT = "wait"
    RAISE = "raise"


@dataclass(frozen=True, slots=True)
class BufferTerms:
    """What a reader asks for. Raises `ArgumentError` naming the field when it cannot be had."""

    policy: Policy = Policy.RING
    items: int | None = DEFAULT_ITEMS
    """Items at most; None: as many as there are bytes for."""
    size: int = DEFAULT_SIZE
    """Bytes at most; each item counts its content and 128 more."""
    every: int = 1
    """One item in so many stays."""
    first: bool = False
    """Of `every` items the first one stays, not the last."""
    hz: float | None = None
    """Items that stay in a second, at most; None: all."""

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Policy):
            raise ArgumentError(f"policy must be one of {', '.join(Policy)}, not {self.policy!r}")
        for name in ("size", "every") if self.items is None else ("items", "size", "every"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ArgumentError(f"{name} must be a whole number of 1 or more, not {value!r}")
        if self.hz is not None and not (type(self.hz) in (int, float) and 0 < self.hz < inf):
            raise ArgumentError(f"hz must be a number above 0, not {self.hz!r}")

    @property
    def thins(self) -> bool:
        """Whether not all items stay."""
        return self.every > 1 or self.hz is not None


@dataclass(frozen=True, slots=True)
class BufferStatistics:
    """The counts of a buffer at one moment: offered = decimated + dropped + delivered + queued."""

    offered: int
    decimated: int
    dropped: int
    delivered: int
    queued: int
    bytes: int
    """Bytes that were delivered."""
    queued_bytes: int
    high_water: int
    """Most items that were ever queued."""


class Buffer(Generic[T]):
    """See the module. Only for one thread."""

    def __init__(self, terms: BufferTerms) -> None:
        self.terms = terms
        self.offered = self.decimated = self.dropped = self.delivered = 0
        self.bytes = self.held = self.high_water = 0
        """Bytes delivered; bytes held now, what is taken and not settled included; most items."""
        self._queue: deque[T] = deque()
        self._queued = 0
        self._taken = 0
        self._most = inf if terms.items is None else terms.items
        self._next = -inf
        """When the next item may stay, by frequency."""

    def offer(self, items: Sequence[T], now: float) -> list[T]:
        """Offer items in order; returns those whose writer must hear that they were dropped. Under WAIT, offer no more
        than `room` said."""
        if not self.terms.thins:
            size = sum([item.size for item in items])
            if len(self._queue) + len(items) <= self._most and self._queued + size <= self.terms.size:
                self.offered += len(items)
                self._queue.extend(items)
                self._grow(size)
                return []
        return [item for item in items if not self._offer(item, now)]

    def room(self, items: Sequence[T], now: float) -> int:
        """How many of these, from the first on, may be offered: all of them unless the policy is WAIT."""
        if self.terms.policy is not Policy.WAIT:
            return len(items)
        count, size, after, offered = len(self._queue), self._queued, self._next, self.offered
        for index, item in enumerate(items):
            offered += 1
            if not self._stays(offered, after, now):
                continue
            if item.size <= self.terms.size:
                count, size = count + 1, size + item.size
                if count > self._most or size > self.terms.size:
                    return index
            after = self._after(now)
        return len(items)

    def take(self, size: float = inf, most: float = inf) -> list[T]:
        """The oldest items: as many as `size` bytes hold, `most` at most; at least one if there is any."""
        taken: list[T] = []
        total = 0
        queue = self._queue
        while queue and len(taken) < most:
            total += queue[0].size
            if total > size and taken:
                total -= queue[0].size
                break
            taken.append(queue.popleft())
        self._queued -= total
        self._taken += len(taken)
        return taken

    def settle(self, count: int, size: int) -> None:
        """So many of the items that were taken have been delivered, `size` bytes together."""
        self._taken -= count
        self.delivered += count
        self.bytes += size
        self.held -= size

    def clear(self) -> int:
        """Drop all that is queued; returns how many."""
        count = len(self._queue)
        self._queue.clear()
        self.held -= self._queued
        self._queued = 0
        self.dropped += count
        return count

    def lose(self) -> None:
        """The reader is gone: what is queued, or taken and not settled, is dropped."""
        self.clear()
        self.dropped += self._taken
        self._taken = self.held = 0

    def statistics(self) -> BufferStatistics:
        """The counts at this moment."""
        return BufferStatistics(
            self.offered, self.decimated, self.dropped, self.delivered, self.queued, self.bytes, self.held,
            self.high_water,
        )  # fmt: skip

    @property
    def queued(self) -> int:
        """Items that are neither delivered nor dropped: in the queue, or on their way."""
        return len(self._queue) + self._taken

    @property
    def in_queue(self) -> int:
        """Bytes that `take` can give."""
        return self._queued

    @property
    def oldest(self) -> T | None:
        """The item that `take` gives first."""
        return self._queue[0] if self._queue else None

    def items(self) -> list[T]:
        """What is in the queue, oldest first."""
        return list(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    def __repr__(self) -> str:
        return (
            f"<Buffer {self.terms.policy} {len(self)} items, {self._queued} bytes; {self.offered} offered, "
            f"{self.decimated} decimated, {self.dropped} dropped, {self.delivered} delivered>"
        )

    # -- within --------------------------------------------------------------------------------------------------------

    def _offer(self, item: T, now: float) -> bool:
        self.offered += 1
        if not self._stays(self.offered, self._next, now):
            self.decimated += 1
            return True
        self._next = self._after(now)
        if item.size > self.terms.size:
            self.dropped += 1
            return False
        if len(self._queue) + 1 > self._most or self._queued + item.size > self.terms.size:
            match self.terms.policy:
                case Policy.RING:
                    self._make_room(item.size)
                case Policy.CLEAR:
                    self.clear()
                case Policy.SKIP:
                    self.dropped += 1
                    return True
                case Policy.WAIT | Policy.RAISE:
                    self.dropped += 1
                    return False
        self._queue.append(item)
        self._grow(item.size)
        return True

    def _grow(self, size: int) -> None:
        self._queued += size
        self.held += size
        self.high_water = max(self.high_water, len(self._queue))

    def _make_room(self, size: int) -> None:
        while self._queue and (len(self._queue) + 1 > self._most or self._queued + size > self.terms.size):
            old = self._queue.popleft()
            self._queued -= old.size
            self.held -= old.size
            self.dropped += 1

    def _stays(self, number: int, after: float, now: float) -> bool:
        phase = 1 if self.terms.first else 0
        return number % self.terms.every == phase % self.terms.every and now >= after

    def _after(self, now: float) -> float:
        return -inf if self.terms.hz is None else now + 1 / self.terms.hz
