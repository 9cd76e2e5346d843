"""A writer of a channel, as the application has it.

    writer.put(value)                            at once: the handle has ended when there is room for it here
    writer.put(value).result(5.0)                waits for that; `await writer.put(value)` in a coroutine
    writer.put(value, confirm=True).result()     until it is in the buffer of every reader
    writer.put(value, wait_for_active=True)      until somebody reads; without it, what nobody reads is skipped
    writer.close().result()                      when all that was put is in the buffers

    the put                                         its handle gives
    nobody reads                                    False: skipped, nothing went
    it goes                                         True, when this cell has room for it
    with confirm                                    True, when it is in the buffers; `BufferFullError` if one refused it
    the channel has ended, or ends before it went   `ChannelEndedError`

While a reader has policy RAISE, each put is confirmed, unless `confirm=False`. Room here is a window of bytes; behind
it the broker has one for each writer, and grants more as readers that WAIT take theirs.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.channel_edges import ChannelEdges, Question
from zmqfl.cell.channel_items import encode_item
from zmqfl.cell.handles import Handle
from zmqfl.cell.serial import SerialQueue
from zmqfl.errors import BufferFullError, ChannelEndedError, EncodeError, ServiceUnavailable, ZmqflError
from zmqfl.protocol.channels.client import Client
from zmqfl.protocol.channels.outlet import Placed, Put, WriterState
from zmqfl.protocol.commands import Command, WriterChanged
from zmqfl.wire.compression import CodecName

ROOM = 4 * 1024 * 1024
"""Bytes that a writer may have here, or one item that is longer."""
MOST_WAITING = 1024
"""Puts that may wait for room or readers at once: who puts more does not wait for their handles."""
CLOSE_TIMEOUT = 3600.0
"""Seconds that readers get to take what a writer has put before it closed."""


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """How it is with a writer: put = skipped + sent + queued."""

    put: int
    skipped: int
    sent: int
    taken: int
    """Of those sent: they are in the buffers of the readers, as far as the broker has told."""
    refused: int
    """Times that a reader's buffer has refused one and its writer was to know."""
    queued: int


@dataclass(eq=False, slots=True)
class _Waiting:
    """A put that has not gone."""

    put: Put
    handle: Handle[bool]
    confirm: bool


class ChannelWriter:
    """See the module; `cell.write_channel` and `Channel.writer` make it. `on_active(bool)`: somebody reads now, or
    nobody."""

    def __init__(
        self,
        edges: ChannelEdges,
        place: int,
        channel: str,
        broker: str,
        pack: CodecName | None,
        most: int,
        on_active: Callback | None,
    ) -> None:
        self.channel = channel
        self.broker = broker
        self.place = place
        self.end: str | None = None
        """Why nothing more goes; None while it does."""
        self._edges = edges
        self._pack = pack
        self._most = most
        self._on_active = on_active
        self._lock = threading.Lock()
        self._state = WriterState()
        self._put = self._skipped = self._ticket = 0
        self._gone = 0
        """Of the puts that the machine has: sent or skipped."""
        self._sizes: deque[int] = deque()
        """Of those that the machine has, or will have, and that have not gone."""
        self._size = 0
        self._outgoing: list[Put] = []
        """Not handed to the machine yet."""
        self._scheduled = False
        self._waiting: deque[_Waiting] = deque()
        self._confirming: dict[int, Handle[bool]] = {}
        self._activity: list[Handle[bool]] = []
        self._closing = False
        self._closed: BaseException | None = None
        self._calls = SerialQueue(edges.workers)

    # -- any thread ----------------------------------------------------------------------------------------------------

    def put(self, value: Any, *, confirm: bool | None = None, wait_for_active: bool = False) -> Handle[bool]:
        """Put one item; its content is fixed when this returns. See the module for what the handle gives.

        Raises `EncodeError` for what cannot travel or is too long, `ServiceUnavailable` where more than 1,024 puts wait
        already, `ClosedError`.
        """
        handle: Handle[bool] = Handle(on_cancel=lambda: self._give_up(handle), on_reactor=self._edges.on_reactor)
        if self._closed is not None:
            raise self._closed
        if not wait_for_active and self._skips():
            handle._finish(False)
            return handle
        put = Put(*encode_item(value, self._pack))
        if put.size > self._most:
            raise EncodeError(f"an item of {put.size} bytes is above the `payload_limit` of {self._edges.fqcn}")
        with self._lock:
            confirms = self._state.strict if confirm is None else confirm
            waiting = _Waiting(put, handle, confirms)
            if self.end is not None:
                handle._fail(self._ended())
                return handle
            must_wait = self._waiting or not self._has_room(put) or not self._state.active
            if must_wait and len(self._waiting) >= MOST_WAITING:
                raise ServiceUnavailable(f"{MOST_WAITING} puts wait on {self.channel!r}: wait for their handles")
            self._put += 1
            if must_wait:
                self._waiting.append(waiting)
                return handle
            self._queue(waiting)
            schedule = not self._scheduled
            self._scheduled = True
        if schedule:
            self._edges.submit(self._hand_over)
        if not confirms:
            handle._finish(True)
        return handle

    def wait_active(self) -> Handle[bool]:
        """Ends when somebody reads; at once when somebody does. Raises `ChannelEndedError`."""
        handle: Handle[bool] = Handle(on_cancel=_nothing, on_reactor=self._edges.on_reactor)
        with self._lock:
            active, end = self._state.active, self.end
            if not active and end is None:
                self._activity.append(handle)
        if active:
            handle._finish(True)
        elif end is not None:
            handle._fail(self._ended())
        return handle

    def close(self) -> Handle[None]:
        """Write no longer: what was put still goes, and the handle ends when all of it is in the readers' buffers.

        Puts that wait for room or readers are refused. Again does nothing.
        """
        handle: Handle[None] = Handle(on_cancel=_nothing, on_reactor=self._edges.on_reactor)
        with self._lock:
            again, self._closing = self._closing or self.end is not None, True
            self.end = self.end or "closed"
            waiting, self._waiting = list(self._waiting), deque()
        for each in waiting:
            each.handle._fail(self._ended())
        if again:
            handle._finish(None)
            return handle
        question = Question(handle, self.channel, self.broker, lambda outcome: None)

        def act(client: Client, question: Question, now: float) -> list[Command]:
            return self._hand_over(client, now) + client.unwrite(self.place, question, CLOSE_TIMEOUT, now)

        self._edges.ask(question, act)
        return handle

    @property
    def active(self) -> bool:
        """Whether somebody reads, as far as the broker has told."""
        return self._state.active

    def statistics(self) -> WriterStatistics:
        """How it is now."""
        with self._lock:
            state = self._state
            skipped = self._skipped + state.skipped
            queued = self._put - skipped - state.sent
            return WriterStatistics(self._put, skipped, state.sent, state.taken, state.refused, queued)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(ZmqflError):
            handle = self.close()
            if kind is None:
                handle.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(ZmqflError):
            handle = self.close()
            if kind is None:
                await handle

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def hear(self, event: WriterChanged) -> None:
        """How it is now."""
        state: WriterState = event.state
        activity: list[Handle[bool]] = []
        done: list[_Waiting] = []
        refused: list[_Waiting] = []
        with self._lock:
            was_active, self._state = self._state.active, state
            self._let_go(state.sent + state.skipped)
            if state.end is not None:
                self.end = self.end or state.end
                refused, self._waiting = list(self._waiting), deque()
            while self._waiting and state.active and self._has_room(self._waiting[0].put):
                waiting = self._waiting.popleft()
                if not waiting.handle.done():
                    self._queue(waiting)
                    done.append(waiting)
            if state.active or state.end is not None:
                activity, self._activity = self._activity, []
            schedule = bool(self._outgoing) and not self._scheduled
            self._scheduled = self._scheduled or schedule
            confirmed = [(self._confirming.pop(each.ticket, None), each) for each in event.placed]
        for waiting in done:
            if not waiting.confirm:
                waiting.handle._finish(True)
        for waiting in refused:
            waiting.handle._fail(self._ended())
        for handle, placed in confirmed:
            if handle is not None:
                self._confirm(handle, placed)
        for handle in activity:
            handle._finish(True) if state.active else handle._fail(self._ended())
        if schedule:
            self._edges.submit(self._hand_over)
        if self._on_active is not None and was_active != state.active:
            on_active = self._on_active
            self._calls.put(partial(on_active.run, state.active))

    def close_with(self, error: BaseException) -> None:
        """The cell is closed."""
        with self._lock:
            self._closed = error
            self.end = self.end or "its cell was closed"
            waiting, self._waiting = [each.handle for each in self._waiting], deque()
            waiting += [*self._confirming.values(), *self._activity]
            self._confirming.clear()
            self._activity.clear()
        for handle in waiting:
            handle._fail(error)

    # -- within --------------------------------------------------------------------------------------------------------

    def _skips(self) -> bool:
        """Whether nobody reads: then there is nothing to encode."""
        with self._lock:
            if self._state.active or self.end is not None or self._waiting:
                return False
            self._put += 1
            self._skipped += 1
            return True

    def _has_room(self, put: Put) -> bool:
        return not self._size or self._size + put.size <= ROOM

    def _queue(self, waiting: _Waiting) -> None:
        put = waiting.put
        if waiting.confirm:
            self._ticket += 1
            put = Put(put.codec, put.frames, self._ticket)
            self._confirming[self._ticket] = waiting.handle
        self._outgoing.append(put)
        self._sizes.append(put.size)
        self._size += put.size

    def _hand_over(self, client: Client, now: float) -> list[Command]:
        with self._lock:
            puts, self._outgoing = self._outgoing, []
            self._scheduled = False
        return client.put(self.place, puts) if puts else []

    def _let_go(self, gone: int) -> None:
        while self._gone < gone and self._sizes:
            self._gone += 1
            self._size -= self._sizes.popleft()

    def _confirm(self, handle: Handle[bool], placed: Placed) -> None:
        if placed.refused:
            names = ", ".join(placed.refused)
            text = f"item {placed.number} was refused by the buffer of {names}"
            handle._fail(
                BufferFullError(text, channel=self.channel, broker=self.broker, readers=placed.refused)
            )  # fmt: skip
        elif placed.number or self.end is None:
            handle._finish(bool(placed.number))
        else:
            handle._fail(self._ended())

    def _give_up(self, handle: Handle[bool]) -> None:
        with self._lock:
            for waiting in [each for each in self._waiting if each.handle is handle]:
                self._waiting.remove(waiting)
                self._skipped += 1

    def _ended(self) -> BaseException:
        return self._closed or ChannelEndedError(self.end or "", channel=self.channel, broker=self.broker)

    def __repr__(self) -> str:
        how = "active" if self._state.active else "idle"
        how = how if self.end is None else f"ended ({self.end})"
        return f"<ChannelWriter {self.channel!r} at {self.broker} {how}, {len(self._sizes)} queued>"


def _nothing() -> None:
    """It cannot be given up."""
