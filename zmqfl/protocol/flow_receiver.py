"""The target's half of a flow: segments in order become the message that they carry.

    flow      event                               next      effect
    -         SEGMENT at 0, wanted, room for it   open      SEGMENTED
    -         SEGMENT at 0, otherwise             -         SEGMENTED refused
    -         SEGMENT further on                  -         SEGMENTED gap at 0: our memory of it is gone
    open      SEGMENT, the next one               open      SEGMENTED
    open      SEGMENT behind                      open      SEGMENTED again
    open      SEGMENT ahead                       open      SEGMENTED gap
    open      SEGMENT, meant for another start    -         SEGMENTED gap at 0
    open      SEGMENT, the last one               complete  SEGMENTED complete; the message is delivered
    open      SEGMENT of an unwanted reply        -         SEGMENTED refused
    complete  SEGMENT again                       complete  SEGMENTED complete
    open      a later flow of the same message    -         its origin has given this one up
    open      CANCEL of the request that it is    -
    open      silence, or a newer start of it     -

What a peer announces is checked before memory is taken, and memory is taken as its bytes come.
Copies per byte: one, into the body; up to 32 MiB it may be moved once or twice while it grows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from zmqfl.config import MIB, CellConfig
from zmqfl.errors import DecodeError
from zmqfl.protocol.commands import Command, Deliver, FlowMoved, Post
from zmqfl.protocol.pace import SILENCE
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import (
    MAX_BODIES,
    NO_DEADLINE,
    Buffer,
    Cancel,
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
STEP = 8 * MIB
"""Bytes by which a body grows: to clear a gigabyte at once would hold up the cell for a second."""

Key = tuple[str, int, int]
"""(origin, instance, id)."""
MessageKey = tuple[str, int, int, int, int]
"""(origin, instance, kind, id, instance that it answers or 0)."""


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
        for piece in bodies:
            view = memoryview(piece)
            self.received += len(view)
            while len(view):
                body, length = self.bodies[which], self.message.lengths[which]
                if position == length:
                    which, position = which + 1, 0
                    continue
                if position == len(body):
                    body += bytes(min(STEP, length - position))
                part = view[: len(body) - position]
                body[position : position + len(part)] = part
                position += len(part)
                view = view[len(part) :]
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
        self._silence = SILENCE * config.bulk_heartbeat_timeout
        self._me = me
        self._is_wanted = is_wanted
        self._open: dict[Key, _Flow] = {}
        self._of_message: dict[MessageKey, Key] = {}
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
            if self._is_given_up(segment, message):
                return []
            if (refusal := self._refusal(segment, message)) is not None:
                self.counters["flows_refused"] += 1
                return [self._ack(segment, 0, *refusal)]
            flow = self._begin(key, segment, message, remaining, now)
        elif isinstance(flow.message, Reply) and not self._is_wanted(flow.message):
            self._end(key)
            return [self._ack(segment, 0, FlowState.REFUSED, f"{self._me()[0]} does not wait for this reply any more")]
        elif segment.holders.get(self._me()[0], self._me()[2]) != self._me()[2]:
            self._end(key)
            return [self._ack(segment, 0, FlowState.GAP)]
        if segment.total != flow.total:
            raise DecodeError(f"a segment of {segment.total} bytes in all, in a flow of {flow.total}")
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

    def receive_cancel(self, cancel: Cancel) -> None:
        """Nobody waits for a request: if it is only half here, the rest will not come."""
        key = self._of_message.get((cancel.origin, cancel.instance, Request.KIND, cancel.id, 0))
        if key is not None:
            self._end(key)

    def handle_timeout(self, now: float) -> list[Command]:
        """Forget flows that nothing was heard of."""
        for key in [key for key, flow in self._open.items() if flow.heard + self._silence <= now]:
            self._end(key)
            self.counters["flows_dropped"] += 1
        self._next = min((flow.heard + self._silence for flow in self._open.values()), default=None)
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
        bodies = [bytearray() for _ in message.lengths]
        flow = _Flow(message, segment.header, segment.flags, remaining, segment.total, bodies, now)
        self._open[key], self._of_message[_message_key(message)] = flow, key
        self.assembling += flow.total
        if self._next is None:
            self._next = now + self._silence
        self.counters["flows"] += 1
        return flow

    def _end(self, key: Key) -> None:
        flow = self._open.pop(key)
        self.assembling -= flow.total
        del self._of_message[_message_key(flow.message)]

    def _is_given_up(self, segment: Segment, message: Carried) -> bool:
        """Whether its origin has begun to send this message once more; what it has given up for this one ends."""
        origin, instance = segment.origin, segment.instance
        for key in [key for key in self._open if key[0] == origin and key[1] != instance]:
            self._end(key)
        if (other := self._of_message.get(_message_key(message))) is not None:
            if other[2] > segment.id:
                return True
            self._end(other)
        return False

    def _remember(self, key: Key, total: int) -> None:
        self._complete[key] = total
        if len(self._complete) > MOST_COMPLETE:
            del self._complete[next(iter(self._complete))]

    def _ack(self, segment: Segment, received: int, state: FlowState, text: str = "") -> Command:
        ack = Segmented(*self._me(), segment.id, segment.instance, received, state, text)
        return Post(ack, (segment.origin,), remaining=NO_DEADLINE)


def _message_key(message: Carried) -> MessageKey:
    answers = message.to_instance if isinstance(message, Reply) else 0
    return message.origin, message.instance, message.KIND, message.id, answers


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
