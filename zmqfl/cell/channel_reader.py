"""A reader of a channel, as the application has it.

    for item in reader: ...                 items until the channel ends
    async for item in reader: ...           the same in a coroutine
    reader.get().result(1.0)                the next item; `await reader.get()` in a coroutine
    reader.take(100)                        what is here now, without waiting
    reader.buffer                           what is here, to be looked at, cleared, counted

What comes goes into a buffer here, by its own policy, and who waits is served first; the thread that brings it never
waits. A reader on demand has nothing here until it asks: see `zmqfl.protocol.channels.inlet`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.channel_edges import ChannelEdges, Question
from zmqfl.cell.channel_items import ChannelItem
from zmqfl.cell.handles import Handle
from zmqfl.cell.item_buffer import ItemBuffer
from zmqfl.cell.serial import SerialQueue
from zmqfl.errors import ChannelEndedError, ClosedError, ZmqflError
from zmqfl.protocol.channels.buffer import BufferStatistics, BufferTerms, Policy
from zmqfl.protocol.channels.client import Client
from zmqfl.protocol.channels.items import cell_of
from zmqfl.protocol.commands import Command, ItemsCame, Outcome

CLOSE_TIMEOUT = 10.0
"""Seconds that a broker gets to let a reader go."""
MOST_GAPS = 1000
"""Gaps that are remembered."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Items of a writer, from `first` to `last`, that did not come."""

    writer: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ReaderStatistics:
    """How it is with a reader."""

    received: int
    """Items that have come to this cell."""
    decimated: int
    """Items that were thinned out at the broker, as far as it has told."""
    dropped: int
    """Items that its buffer at the broker has dropped, as far as it has told."""
    missing: int
    """Items that did not come, by their numbers: thinned out, dropped, or lost."""
    local: BufferStatistics
    """The buffer in this cell."""


class ChannelReader:
    """See the module; `cell.subscribe` makes it.

    `ahead`: bytes that may come before they are asked for; 0: on demand. `local`: what becomes of them here; under WAIT
    no more comes than it has room for.
    """

    def __init__(
        self,
        edges: ChannelEdges,
        place: int,
        channel: str,
        broker: str,
        ahead: int,
        local: BufferTerms,
        on_drop: Callback | None,
        on_gap: Callback | None,
    ) -> None:
        self.channel = channel
        self.broker = broker
        self.end: str | None = None
        """Why nothing more comes; None while more may."""
        self.place = place
        self.buffer: ItemBuffer[ChannelItem] = ItemBuffer(local)
        """What has come and is not taken."""
        self.gaps: deque[Gap] = deque(maxlen=MOST_GAPS)
        """What did not come, the latest of it."""
        self._edges = edges
        self._ahead = ahead
        self._local_waits = local.policy is Policy.WAIT
        self._lock = threading.Lock()
        self._waiting: deque[Handle[ChannelItem]] = deque()
        self._lost = False
        self._closed: BaseException | None = None
        self._taken = 0
        """Bytes that were taken, and of which the machine was not told."""
        self._received = self._missing = 0
        self._counts = (0, 0)
        self._told_drops = 0
        self._on_drop = on_drop
        self._on_gap = on_gap
        self._calls = SerialQueue(edges.workers)

    # -- any thread ----------------------------------------------------------------------------------------------------

    def get(self) -> Handle[ChannelItem]:
        """The next item. The handle raises `ChannelEndedError` when there is none and will be none, `ClosedError`.

        A handle that is cancelled, as by a time-out of `asyncio.wait_for`, takes nothing.
        """
        handle: Handle[ChannelItem] = Handle(
            on_cancel=lambda: self._give_up(handle), on_reactor=self._edges.on_reactor
        )  # fmt: skip
        with self._lock:
            item = self._pop() if not self._waiting else None
            if item is None and self.end is None and self._closed is None:
                self._waiting.append(handle)
        if item is not None:
            self._took(item.size)
            handle._finish(item)
        elif self.end is not None or self._closed is not None:
            handle._fail(self._closed or self._ended())
        else:
            self._demand()
        return handle

    def take(self, most: int = 1 << 30) -> list[ChannelItem]:
        """What is here now, at most so many items; a reader on demand asks for more when there is nothing."""
        items = self.buffer.take(most)
        if items:
            self._took(sum([item.size for item in items]))
        elif self.end is None:
            self._demand()
        return items

    def close(self) -> Handle[dict[str, int]]:
        """Read no longer. The handle gives the last counts of the buffer at the broker; what is here can be taken."""
        handle: Handle[dict[str, int]] = Handle(on_cancel=_nothing, on_reactor=self._edges.on_reactor)
        with self._lock:
            again, self.end = self.end is not None, self.end or "closed"
            waiting, self._waiting = list(self._waiting), deque()
        for each in waiting:
            each._fail(self._ended())
        if again:
            handle._finish({})
            return handle
        question = Question(handle, self.channel, self.broker, _counts)

        def act(client: Client, question: Question, now: float) -> list[Command]:
            self._edges.forget(self.place)
            return client.unread(self.place, question, CLOSE_TIMEOUT)

        self._edges.ask(question, act)
        return handle

    def statistics(self) -> ReaderStatistics:
        """How it is now."""
        with self._lock:
            return ReaderStatistics(self._received, *self._counts, self._missing, self.buffer.statistics())

    def __iter__(self) -> Iterator[ChannelItem]:
        return self

    def __next__(self) -> ChannelItem:
        """The next item. Stops when the channel has ended; raises `ChannelEndedError` when the broker is gone."""
        with self._lock:
            item = self._pop() if not self._waiting else None
        if item is not None:
            self._took(item.size)
            return item
        try:
            return self.get().result()
        except ChannelEndedError:
            if self._lost:
                raise
            raise StopIteration from None

    def __aiter__(self) -> AsyncIterator[ChannelItem]:
        return self

    async def __anext__(self) -> ChannelItem:
        """As `__next__`."""
        try:
            return await self.get()
        except ChannelEndedError:
            if self._lost:
                raise
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ZmqflError):
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ZmqflError):
            await self.close()

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def hear(self, came: ItemsCame) -> None:
        """Items have come, or the end."""
        items = [ChannelItem(self.channel, item) for item in came.items]
        served: list[tuple[Handle[ChannelItem], ChannelItem]] = []
        with self._lock:
            if self._closed is not None or self.end == "closed":
                return
            self._received += len(items)
            if came.counts is not None:
                self._counts = came.counts
            gaps = [Gap(cell_of(writer), first, last) for writer, first, last in came.gaps]
            self.gaps.extend(gaps)
            self._missing += sum(gap.last - gap.first + 1 for gap in gaps)
            while items and self._waiting:
                handle = self._waiting.popleft()
                if not handle.done():
                    served.append((handle, items.pop(0)))
            self.buffer.put(items)
            if came.end is not None:
                self.end, self._lost = came.end, came.lost
            is_over = self.end is not None
            unserved = list(self._waiting) if is_over else []
            if is_over:
                self._waiting.clear()
            wants_more = bool(self._waiting) and not self._ahead
        if not self._local_waits:
            self._consumed(sum(item.size for item in came.items))
        for handle, item in served:
            if self._local_waits:
                self._took(item.size)
            handle._finish(item)
        for handle in unserved:
            handle._fail(self._ended())
        if wants_more:
            self._demand()
        self._report(gaps)

    def close_with(self, error: BaseException) -> None:
        """The cell is closed."""
        with self._lock:
            self._closed = error
            waiting, self._waiting = list(self._waiting), deque()
        for handle in waiting:
            handle._fail(error)

    # -- within --------------------------------------------------------------------------------------------------------

    def _pop(self) -> ChannelItem | None:
        items = self.buffer.take(1)
        return items[0] if items else None

    def _took(self, size: int) -> None:
        if not self._local_waits or not self._ahead:
            return
        with self._lock:
            self._taken += size
            if self._taken < self._ahead // 8:
                return
            taken, self._taken = self._taken, 0
        self._consumed(taken)

    def _consumed(self, size: int) -> None:
        if self._ahead and size:
            self._tell(lambda client: client.consume(self.place, size))

    def _demand(self) -> None:
        if not self._ahead:
            self._tell(lambda client: client.demand(self.place))

    def _tell(self, act: Callable[[Client], None]) -> None:
        try:
            self._edges.submit(lambda client, now: act(client))
        except ClosedError as error:
            self.close_with(error)

    def _give_up(self, handle: Handle[ChannelItem]) -> None:
        with self._lock:
            if handle in self._waiting:
                self._waiting.remove(handle)

    def _report(self, gaps: list[Gap]) -> None:
        """Tell the application what is missing, one call at a time."""
        dropped = self._counts[1] + self.buffer.statistics().dropped
        if self._on_drop is not None and dropped > self._told_drops:
            on_drop, new = self._on_drop, dropped - self._told_drops
            self._told_drops = dropped
            self._calls.put(partial(on_drop.run, new, dropped))
        if self._on_gap is not None and gaps:
            on_gap = self._on_gap
            for gap in gaps:
                self._calls.put(partial(on_gap.run, gap))

    def _ended(self) -> ChannelEndedError:
        return ChannelEndedError(self.end or "", channel=self.channel, broker=self.broker)

    def __repr__(self) -> str:
        how = "open" if self.end is None else f"ended ({self.end})"
        return f"<ChannelReader {self.channel!r} at {self.broker} {how}, {len(self.buffer)} here>"


def _counts(outcome: Outcome) -> dict[str, int]:
    counts = outcome.headers.get("counts", {})
    return dict(counts) if isinstance(counts, dict) else {}


def _nothing() -> None:
    """It cannot be given up."""
