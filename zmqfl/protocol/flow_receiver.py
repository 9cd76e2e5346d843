"""The target's half of a flow: segments in order become the message that they carry.

    flow      event                               next      effect
    -         SEGMENT at 0, wanted, room for it   open      SEGMENTED
    -         SEGMENT at 0, otherwise             -         SEGMENTED refused
    -         SEGMENT further on                  -         SEGMENTED gap at 0: our memory of it is gone
    open      SEGMENT, the next one               open      SEGMENTED
    open      SEGMENT behind                      open      SEGMENTED again
    open      SEGMENT ahead                       open      SEGMENTED gap
    open      SEGMENT, the last one               complete  SEGMENTED complete; the message is delivered
    complete  SEGMENT again                       complete  SEGMENTED complete
    open      silence, or a newer start of it     -

What a peer announces is checked before memory is taken, and a page is used only when its bytes have come.
Copies per byte: one, into the body.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from zmqfl.config import CellConfig
from zmqfl.errors import DecodeError
from zmqfl.protocol.commands import Command, Deliver, FlowMoved, Post
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import (
    MAX_BODIES,
    NO_DEADLINE,
    Buffer,
    Fire,
    FlowState,
    Lane,
    Packet,
    Reply,
    Request,
    Segment,
    Segmented,
)

Carried = Request | Reply | Fire
MOST_FLOWS = 1024
"""Flows that may be open at once; each takes a few hundred bytes beside its body."""
MOST_COMPLETE = 4096
"""Flows remembered as complete, so that a segment which comes again does not begin them anew."""

Key = tuple[str, int, int]
"""(origin, instance, id)."""


@dataclass(slots=True)
class _Flow:
    """One message that is being put together."""

    message: Carried
    header: bytes
    flags: int
    remaining: int
    total: int
    bodies: list[bytearray]
    heard: float
    received: int = 0
    _at: tuple[int, int] = field(default=(0, 0))
    """Body and position in it where the next byte goes."""

    def take(self, bodies: tuple[Buffer, ...]) -> None:
        """Append the bytes of a segment."""
        which, position = self._at
        for body in bodies:
            view = memoryview(body)
            self.received += len(view)
            while len(view):
                room = len(self.bodies[which]) - position
                if not room:
                    which, position = which + 1, 0
                    continue
                part = view[:room]
                self.bodies[which][position : position + len(part)] = part
                position += len(part)
                view = view[room:]
        self._at = which, position


class FlowReceiver:
    """See the module. `me` gives (origin, fence, instance); `is_wanted` says whether a reply still has a taker."""

    def __init__(
        self, config: CellConfig, me: Callable[[], tuple[str, int, int]], is_wanted: Callable[[Reply], bool]
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.assembling = 0
        """Bytes of the messages that are open."""
        self._config = config
        self._me = me
        self._is_wanted = is_wanted
        self._open: dict[Key, _Flow] = {}
        self._complete: dict[Key, int] = {}
        self._next: float | None = None

    def receive(self, segment: Segment, remaining: int, bodies: tuple[Buffer, ...], now: float) -> list[Command]:
        """A SEGMENT for this cell. Raises `DecodeError` when it is not what it claims."""
        key = (segment.origin, segment.instance, segment.id)
        size = sum(map(len, bodies))
        if not size or segment.offset + size > segment.total:
            raise DecodeError(f"a segment of {size} bytes at {segment.offset} of {segment.total}")
        if (total := self._complete.get(key)) is not None:
            return [self._ack(segment, total, FlowState.COMPLETE)]
        flow = self._open.get(key)
        if flow is None:
            if segment.offset:
                return [self._ack(segment, 0, FlowState.GAP)]
            message = _carried(segment)
            if (refusal := self._refusal(segment, message)) is not None:
                self.counters["flows_refused"] += 1
                return [self._ack(segment, 0, *refusal)]
            flow = self._begin(key, segment, message, remaining, now)
        flow.heard = now
        if segment.offset != flow.received:
            ahead = segment.offset > flow.received
            self.counters["flow_gaps"] += ahead
            return [self._ack(segment, flow.received, FlowState.GAP if ahead else FlowState.OPEN)]
        flow.take(bodies)
        moved: list[Command] = [FlowMoved(flow.message, segment.origin)]
        if flow.received < flow.total:
            return [self._ack(segment, flow.received, FlowState.OPEN), *moved]
        self._end(key)
        self._remember(key, flow.total)
        packet = Packet(
            flow.message.KIND, flow.header, tuple(flow.bodies), (self._me()[0],), flow.flags, Lane.BULK,
            remaining=flow.remaining,
        )  # fmt: skip
        return [self._ack(segment, flow.total, FlowState.COMPLETE), *moved, Deliver(packet)]

    def forget_starts(self, origin: str, instance: int) -> None:
        """A newer start of `origin` was heard: nothing of those before it will be completed."""
        for key in [key for key in self._open if key[0] == origin and key[1] != instance]:
            self._end(key)

    def handle_timeout(self, now: float) -> list[Command]:
        """Forget flows that nothing was heard of."""
        silence = self._config.bulk_heartbeat_timeout + self._config.dead_after
        for key in [key for key, flow in self._open.items() if flow.heard + silence <= now]:
            self._end(key)
            self.counters["flows_dropped"] += 1
        self._next = min((flow.heard + silence for flow in self._open.values()), default=None)
        return []

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        return self._next

    @property
    def open(self) -> int:
        """Messages that are being put together."""
        return len(self._open)

    def _refusal(self, segment: Segment, message: Carried) -> tuple[FlowState, str] | None:
        me, total, limit = self._me()[0], segment.total, self._config.payload_limit
        if total > limit:
            return FlowState.TOO_BIG, f"a payload of {total} bytes is above the `payload_limit` of {me}, {limit} bytes"
        if self.assembling + total > self._config.assembly_budget or len(self._open) >= MOST_FLOWS:
            return FlowState.REFUSED, f"{me} has no room for a payload of {total} bytes now"
        if isinstance(message, Reply) and not self._is_wanted(message):
            return FlowState.REFUSED, f"{me} does not wait for this reply"
        return None

    def _begin(self, key: Key, segment: Segment, message: Carried, remaining: int, now: float) -> _Flow:
        bodies = [bytearray(length) for length in message.lengths]
        flow = _Flow(message, segment.header, segment.flags, remaining, segment.total, bodies, now)
        self._open[key] = flow
        self.assembling += flow.total
        if self._next is None:
            self._next = now + self._config.bulk_heartbeat_timeout + self._config.dead_after
        self.counters["flows"] += 1
        return flow

    def _end(self, key: Key) -> None:
        self.assembling -= self._open.pop(key).total

    def _remember(self, key: Key, total: int) -> None:
        self._complete[key] = total
        if len(self._complete) > MOST_COMPLETE:
            del self._complete[next(iter(self._complete))]

    def _ack(self, segment: Segment, received: int, state: FlowState, text: str = "") -> Command:
        ack = Segmented(*self._me(), segment.id, segment.instance, received, state, text)
        return Post(ack, (segment.origin,), remaining=NO_DEADLINE)


def _carried(segment: Segment) -> Carried:
    """The message that a flow begins to carry. Raises `DecodeError`."""
    message = decode_header(segment.kind, segment.header)
    if not isinstance(message, Request | Reply | Fire):
        raise DecodeError(f"a flow cannot carry kind {segment.kind}")
    if (message.origin, message.instance) != (segment.origin, segment.instance):
        raise DecodeError(f"a flow of {segment.origin} carries a message of {message.origin}")
    if len(message.lengths) > MAX_BODIES or sum(message.lengths) != segment.total:
        raise DecodeError(f"a flow of {segment.total} bytes carries bodies of {message.lengths!r:.60}")
    return message
