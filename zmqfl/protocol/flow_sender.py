"""The origin's half of a flow: one message that is too large for one frame, to one or several targets.

Per target:

    state   event                                next    effect
    open    room in its window                   open    SEGMENT
    open    SEGMENTED, more than before          open    the window slides, the pace learns
    open    SEGMENTED gap                        open    back to what it has (go-back-N), once per hole
    open    RETURN suspected                     held    back to what it has
    open    RETURN busy                          held    back to what came back; half the window
    open    silence for longer than its patience open    back to what it has; a taste, twice the patience
    held    a beat has passed, or the link is up open
    any     SEGMENTED complete                   ended   delivered
    any     SEGMENTED refused                    ended   refused
    any     RETURN unreachable, or it is gone    ended   lost
    any     no progress for `limit` seconds      ended   lost; no clock runs while it waits for its turn
    any     back to 0, though the end was sent   ended   lost, where the message must not arrive twice
    any     another start, though the end ...    ended   the same

The last rows: another start of the target may have it whole already. Who waits for the request then asks (PROBE). Nor
must one that has the beginning get the end of it while a later start gets all: so the end names who has the beginning.

Targets that are at the same place share their segments, so each link is crossed once; one that lags gets its own.
Copies per byte: none here; a segment is a view of the caller's body. Source: design, decision 7.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from zmqfl.protocol.commands import FlowFate, Post
from zmqfl.protocol.pace import Pace
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import Buffer, Fire, Flag, FlowState, Request, Segment, Segmented

SLOWEST = 32 * 1024
"""Bytes per second: what may still be under way at this rate is not sent again."""
TRIES = 20
"""How often at least it is sent again before a target is lost, however patient the sender has become."""
TASTE = 1024
"""Bytes that go again after a silence: enough to learn what the target has, and too few to fill a queue."""

_FATES: Final[dict[int, FlowFate]] = {
    FlowState.COMPLETE: FlowFate.DELIVERED,
    FlowState.REFUSED: FlowFate.REFUSED,
    FlowState.TOO_BIG: FlowFate.TOO_BIG,
}


@dataclass(slots=True)
class Way:
    """A flow to one target. Offsets in bytes, times in seconds."""

    pace: Pace
    progress: float
    """When it was last acknowledged further."""
    look_at: float
    """When to go back without having heard."""
    acked: int = 0
    next: int = 0
    held: bool = False
    furthest: int = 0
    begun: int = 0
    """How often its beginning was sent."""
    holder: int = 0
    """The start of the target that has what is acknowledged."""
    hole: int = -1
    """The gap that was answered last by a step back."""
    backoffs: int = 0
    sent: deque[tuple[int, float, int]] = field(default_factory=deque)
    """Per segment that went for the first time: its end, when, and what was acknowledged then. What went again measures
    nothing: one cannot tell which of the two was acknowledged."""

    def go_back(self, to: int) -> None:
        """Send again from `to` on."""
        self.acked = self.next = to

    @property
    def is_waited_for(self) -> bool:
        """Whether the clocks run: there is something to be heard of."""
        return self.held or self.next > self.acked

    @property
    def under_way(self) -> int:
        """Bytes that are not acknowledged yet."""
        return self.next - self.acked


class FlowSender:
    """See the module. `post`: the message that is carried; `limit`: seconds without progress until a target is lost."""

    def __init__(
        self, id: int, post: Post, pace_of: Callable[[str], Pace], heartbeat: float, limit: float, now: float
    ) -> None:
        self.id = id
        self.message = post.message
        self.ways: dict[str, Way] = {}
        self.total = sum(map(len, post.bodies))
        self._post = post
        self._views = [memoryview(body).cast("B") for body in post.bodies if len(body)]
        self._header = encode_header(post.message)
        self._heartbeat = heartbeat
        self._limit = limit
        self._once = _must_not_arrive_twice(post)
        for name in post.targets:
            self.ways[name] = Way(pace_of(name), now, now)

    def next_segment(
        self, me: tuple[str, int, int], is_free: Callable[[str], bool], share: Callable[[str], int], now: float
    ) -> Post | None:
        """The next SEGMENT, to all targets that can take the same one; None when none can take any.

        `is_free(target)`: the lane there has room. `share(target)`: bytes that this flow may have under way there.
        """
        ready = [name for name, way in self.ways.items() if self._may_send(way, share(name)) and is_free(name)]
        if not ready:
            return None
        offset = min(self.ways[name].next for name in ready)  # who lags gets on first, and then shares again
        names = tuple(name for name in ready if self.ways[name].next == offset)
        size = min(min(self._length(self.ways[name]) for name in names), self.total - offset)
        for name in names:
            way = self.ways[name]
            if way.furthest <= way.acked:  # all was acknowledged: it has waited for its turn, and not for the target
                way.progress = now
            way.next = offset + size
            way.begun += not offset
            if way.next > way.furthest:
                way.furthest = way.next
                way.sent.append((way.next, now, way.acked))
            way.look_at = now + self._patience(way)
        bodies = self._cut(offset, size)
        is_end = self._once and offset + size == self.total
        holders = {name: self.ways[name].holder for name in names if self.ways[name].acked} if is_end else {}
        segment = Segment(
            *me, self.id, offset, self.total, self.message.KIND, int(self._post.flags),
            b"" if offset else self._header, [len(body) for body in bodies], holders,
        )  # fmt: skip
        return Post(segment, names, bodies, remaining=self._post.remaining)

    def receive_segmented(self, ack: Segmented, now: float) -> tuple[bool, FlowFate | None]:
        """(whether it has more now, how it ended there or None). Who is told a fate drops the way, here and below."""
        way = self.ways[ack.origin]
        received = min(ack.received, self.total)
        moved = received > way.acked
        if moved:
            self._advance(way, received, now)
        if (fate := _FATES.get(ack.state)) is not None:
            return moved, fate
        former, way.holder = way.holder, ack.instance
        if self._once and former not in (0, ack.instance) and way.furthest == self.total:
            return moved, FlowFate.LOST
        if ack.state == FlowState.GAP and received < way.next and received != way.hole:
            way.hole = received
            return moved, self._step_back(ack.origin, received)
        return moved, None

    def hold(self, name: str, offset: int | None, now: float) -> FlowFate | None:
        """A cell on the way could not pass a segment on, but may be able to soon. `offset`: of the segment, where there
        was only no room for it; None: a link is broken, and what went before it may be lost, too."""
        way = self.ways[name]
        if offset is not None and not way.acked <= offset < way.next:
            return None  # it goes again already
        way.held, way.hole = True, -1
        way.look_at = now + self._heartbeat
        if offset is None:
            way.sent.clear()
            return self._step_back(name, way.acked)
        way.pace.shrink(now)
        if offset == 0:
            return self._step_back(name, 0)
        way.next = offset
        return None

    def resume(self, name: str, now: float) -> FlowFate | None:
        """The link to it is up again: whatever was under way may be lost, and the wait measures nothing."""
        way = self.ways[name]
        way.held, way.hole = False, -1
        way.progress = now
        way.sent.clear()
        return self._step_back(name, way.acked)

    def may_be_whole(self, name: str, missing: int) -> bool:
        """Whether the target may have it all, though the segment at offset `missing` did not get there."""
        way = self.ways[name]
        return way.furthest == self.total and not (missing == 0 and way.begun == 1)

    def handle_timeout(self, now: float) -> list[str]:
        """Step back where nothing was heard; returns the targets that are lost."""
        lost: list[str] = []
        for name, way in list(self.ways.items()):
            if not way.is_waited_for:
                continue
            fate: FlowFate | None = None
            if now >= way.progress + self._limit:
                fate = FlowFate.LOST
            elif now >= way.look_at and way.held:
                way.held = False
                way.look_at = now + self._patience(way)
            elif now >= way.look_at:
                way.backoffs += 1
                way.hole = -1
                way.pace.restart()
                fate = self._step_back(name, way.acked)
            if fate is not None:
                lost.append(name)
        return lost

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        waited_for = [way for way in self.ways.values() if way.is_waited_for]
        return min((min(way.look_at, way.progress + self._limit) for way in waited_for), default=None)

    def _step_back(self, name: str, to: int) -> FlowFate | None:
        """Send again from `to` on; LOST where another start of the target might run it a second time."""
        way = self.ways[name]
        if to == 0 and self._once and way.furthest == self.total:
            return FlowFate.LOST
        way.go_back(to)
        return None

    def _may_send(self, way: Way, share: int) -> bool:
        if way.held or way.next >= self.total:
            return False
        size = min(way.pace.segment, self.total - way.next)
        return way.under_way == 0 or (not way.backoffs and way.under_way + size <= min(share, way.pace.window))

    def _length(self, way: Way) -> int:
        return min(way.pace.segment, TASTE) if way.backoffs else way.pace.segment

    def _advance(self, way: Way, received: int, now: float) -> None:
        size, way.acked = received - way.acked, received
        way.next = max(way.next, received)  # it had more than we thought when we went back
        way.progress, way.backoffs = now, 0
        newest = None
        while way.sent and way.sent[0][0] <= received:
            newest = way.sent.popleft()
        if newest is not None:
            way.pace.acknowledged(size, received - newest[2], newest[1], now)
        if not way.held:
            way.look_at = now + self._patience(way)

    def _patience(self, way: Way) -> float:
        """Seconds: twice what acknowledgements took, or what is under way needs at a quarter of the known rate."""
        took = (way.under_way + way.pace.segment) / max(way.pace.rate / 4, SLOWEST)
        patience = 2 * self._heartbeat + max(took, 2 * way.pace.delay)
        return min(patience * 2.0**way.backoffs, max(patience, self._limit / TRIES))

    def _cut(self, offset: int, size: int) -> tuple[Buffer, ...]:
        parts: list[Buffer] = []
        for view in self._views:
            if offset < len(view):
                parts.append(view[offset : offset + size])
                size -= len(parts[-1])
                offset = len(view)
            if not size:
                break
            offset -= len(view)
        return tuple(parts)


def _must_not_arrive_twice(post: Post) -> bool:
    """Whether two starts of one target must not both get the message whole."""
    match post.message:
        case Request() as request:
            return not request.to_instance and not post.flags & Flag.REPEATABLE
        case Fire():
            return True
    return False
