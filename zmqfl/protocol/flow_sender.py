"""The origin's half of a flow: one message that is too large for one frame, to one or several targets.

Per target:

    state   event                                next    effect
    open    room in its window                   open    SEGMENT
    open    SEGMENTED, more than before          open    the window slides, the pace learns
    open    SEGMENTED gap                        open    back to what it has (go-back-N), once per hole
    open    RETURN suspected                     held    back to what it has
    open    RETURN busy                          held    the same, and half the window
    open    silence for longer than its patience open    back to what it has; twice the patience
    held    a beat has passed, or the link is up open
    any     SEGMENTED complete                   ended   delivered
    any     SEGMENTED refused                    ended   refused
    any     RETURN unreachable, or it is gone    ended   lost
    any     no progress for `limit` seconds      ended   lost
    any     back to 0, though the end was sent   ended   lost, where the message must not arrive twice

The last row: another start of the target may have it whole already. Who waits for the request then asks (PROBE).

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
    hole: int = -1
    """The gap that was answered last by a step back."""
    backoffs: int = 0
    sent: deque[tuple[int, float, int]] = field(default_factory=deque)
    """Per segment under way: its end, when it went, and what was acknowledged then."""

    def go_back(self, to: int) -> None:
        """Send again from `to` on."""
        self.acked = self.next = to
        self.sent.clear()

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
            pace = pace_of(name)
            self.ways[name] = Way(pace, now, now + self._patience(pace, 0))

    def next_segment(
        self, me: tuple[str, int, int], is_free: Callable[[str], bool], share: int, now: float
    ) -> Post | None:
        """The next SEGMENT, to all targets that can take the same one; None when none can take any.

        `is_free(target)`: the lane there has room. `share`: bytes that each target may have under way.
        """
        ready = [name for name, way in self.ways.items() if self._may_send(way, share) and is_free(name)]
        if not ready:
            return None
        offset = min(self.ways[name].next for name in ready)  # who lags gets on first, and then shares again
        names = tuple(name for name in ready if self.ways[name].next == offset)
        size = min(min(self.ways[name].pace.segment for name in names), self.total - offset)
        for name in names:
            way = self.ways[name]
            way.next = offset + size
            way.furthest = max(way.furthest, way.next)
            way.sent.append((way.next, now, way.acked))
            way.look_at = max(way.look_at, now + self._patience(way.pace, way.under_way) * 2**way.backoffs)
        bodies = self._cut(offset, size)
        segment = Segment(
            *me, self.id, offset, self.total, self.message.KIND, int(self._post.flags),
            b"" if offset else self._header, [len(body) for body in bodies],
        )  # fmt: skip
        return Post(segment, names, bodies, remaining=self._post.remaining)

    def receive_segmented(self, ack: Segmented, now: float) -> tuple[bool, FlowFate | None]:
        """(whether it has more now, how it ended there or None)."""
        way = self.ways[ack.origin]
        received = min(ack.received, self.total)
        moved = received > way.acked
        if moved:
            self._advance(way, received, now)
        if (fate := _FATES.get(ack.state)) is not None:
            del self.ways[ack.origin]
            return moved, fate
        if ack.state == FlowState.GAP and received < way.next and received != way.hole:
            way.hole = received
            if not self._step_back(ack.origin, received):
                return moved, FlowFate.LOST
        return moved, None

    def hold(self, name: str, busy: bool, now: float) -> FlowFate | None:
        """A cell on the way could not pass a segment on, but may be able to soon. LOST when it may not go out again."""
        way = self.ways[name]
        way.held, way.hole = True, -1
        way.look_at = now + self._heartbeat
        if busy:
            way.pace.shrink(now)
        return None if self._step_back(name, way.acked) else FlowFate.LOST

    def resume(self, name: str, now: float) -> FlowFate | None:
        """The link to it is up again: whatever was under way may be lost. LOST when it may not go out again."""
        way = self.ways[name]
        way.held, way.hole = False, -1
        way.progress = now
        way.look_at = now + self._patience(way.pace, 0)
        return None if self._step_back(name, way.acked) else FlowFate.LOST

    def drop(self, name: str) -> None:
        """It is not sent there any more."""
        self.ways.pop(name, None)

    def handle_timeout(self, now: float) -> list[str]:
        """Step back where nothing was heard; returns the targets that are lost."""
        lost = [name for name, way in self.ways.items() if now >= way.progress + self._limit]
        for name, way in list(self.ways.items()):
            if way.look_at > now or name in lost:
                continue
            if not way.held:
                way.backoffs = min(way.backoffs + 1, 6)
            way.held, way.hole = False, -1
            way.look_at = now + self._patience(way.pace, way.pace.segment) * 2**way.backoffs
            if way.under_way and not self._step_back(name, way.acked):
                lost.append(name)
        for name in lost:
            self.ways.pop(name, None)
        return lost

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return min((min(way.look_at, way.progress + self._limit) for way in self.ways.values()), default=None)

    def _step_back(self, name: str, to: int) -> bool:
        """Send again from `to` on; False, and it is dropped, when another start of the target might run it twice."""
        way = self.ways[name]
        if to == 0 and self._once and way.furthest == self.total:
            del self.ways[name]
            return False
        way.go_back(to)
        return True

    def _may_send(self, way: Way, share: int) -> bool:
        if way.held or way.next >= self.total:
            return False
        room = min(way.pace.window, max(share, way.pace.segment))
        return way.under_way == 0 or way.under_way + min(way.pace.segment, self.total - way.next) <= room

    def _advance(self, way: Way, received: int, now: float) -> None:
        size, way.acked = received - way.acked, received
        way.next = max(way.next, received)  # it had more than we thought when we went back
        way.progress, way.backoffs = now, 0
        newest = None
        while way.sent and way.sent[0][0] <= received:
            newest = way.sent.popleft()
        if newest is not None:
            way.pace.acknowledged(size, received - newest[2], newest[1], now)
        way.look_at = now + self._patience(way.pace, way.under_way)

    def _patience(self, pace: Pace, under_way: int) -> float:
        rate = max(pace.rate / 4, SLOWEST)
        return 2 * self._heartbeat + (under_way + pace.segment) / rate

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
