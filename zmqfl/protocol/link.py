"""A link: one neighbour as this cell sees it, and how alive it is. Both ends of a link keep one.

    state      event                        next       effect
    -          bound (HELLO / WELCOME)      up
    up         no message for 3 beats       stalled    no new work is expected of it, nothing fails
    stalled    any message                  up
    up,stalled connection broken            suspected  messages are held, nothing fails
    suspected  bound again, same instance   up         what was held goes out, what was out is probed
    suspected  `dead_after` over            gone       what waits for it fails
    any        bound, other instance        gone       ... and a new link is up
    any        BYE, launcher saw the exit   gone

A gone link is dropped; its session is never valid again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zmqfl.protocol.commands import Command, PeerState, Send
from zmqfl.protocol.window import SequenceWindow
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import Beat, Conn, Lane, Packet

STALL_BEATS = 3
"""Beats without a message until a connected peer counts as stalled: one may be late, two unlucky."""


@dataclass(slots=True)
class Link:
    """One neighbour. `heartbeat` and `dead_after` in seconds; all times are those of the caller's clock."""

    fqcn: str
    instance: int
    token: int
    session: int
    heartbeat: float
    dead_after: float
    heard: float
    control: Conn | None = None
    bulk: Conn | None = None
    state: PeerState = PeerState.UP
    since: float = 0.0
    """When the state was entered."""
    sent: list[int] = field(default_factory=lambda: [0, 0])
    """The last sequence number of each lane."""
    seen: list[SequenceWindow] = field(default_factory=lambda: [SequenceWindow(), SequenceWindow()])
    """The sequence numbers that have come on each lane."""
    _left: set[Lane] = field(default_factory=set)
    rtt: float | None = None
    """Seconds from a beat to its echo, without the time it was held."""
    _next_beat: float = 0.0
    _beats: int = 0
    _beat_sent: float = 0.0
    _beat_got: tuple[int, float] = (0, 0.0)

    def bind(self, instance: int, token: int, session: int, control: Conn, now: float) -> None:
        """A handshake has succeeded: a session on a control connection; the bulk one must attach again."""
        if session != self.session:  # else a WELCOME was repeated, and the numbers go on
            self.sent, self.seen = [0, 0], [SequenceWindow(), SequenceWindow()]
        self.instance, self.token, self.session = instance, token, session
        self.control, self.bulk = control, None
        self._left.clear()
        self.heard = self._next_beat = now
        self._enter(PeerState.UP, now)

    def leave(self, lane: Lane) -> bool:
        """The peer has said BYE on a lane. True when it has on all: nothing that it sent before is under way."""
        self._left.add(lane)
        return self.has_left and (self.bulk is None or Lane.BULK in self._left)

    @property
    def has_left(self) -> bool:
        """Whether the peer has said BYE on the control lane."""
        return Lane.CONTROL in self._left

    @property
    def lanes(self) -> list[tuple[Lane, Conn]]:
        """The connections that are bound."""
        both = ((Lane.CONTROL, self.control), (Lane.BULK, self.bulk))
        return [(lane, conn) for lane, conn in both if conn is not None]

    def hear(self, now: float) -> bool:
        """A valid message came. True when this ends a stall."""
        self.heard = now
        if self.state is not PeerState.STALLED:
            return False
        self._enter(PeerState.UP, now)
        return True

    def break_off(self, now: float) -> bool:
        """The control connection is lost. True when this is news."""
        if self.state in (PeerState.SUSPECTED, PeerState.GONE):
            return False
        self.control = self.bulk = None
        self._enter(PeerState.SUSPECTED, now)
        return True

    def end(self, now: float) -> None:
        """The peer is gone for good."""
        self.control = self.bulk = None
        self._enter(PeerState.GONE, now)

    def check(self, now: float) -> PeerState | None:
        """The state that time alone has led to, or None when nothing changed. A suspected peer is not ended here."""
        if self.state is PeerState.UP and now > self.heard + STALL_BEATS * self.heartbeat:
            self._enter(PeerState.STALLED, now)
            return PeerState.STALLED
        if self.state is PeerState.SUSPECTED and now >= self.since + self.dead_after:
            return PeerState.GONE
        return None

    @property
    def connected(self) -> bool:
        """Whether messages can go out now."""
        return self.control is not None

    def lane(self, wanted: Lane) -> tuple[Lane, Conn] | None:
        """The connection for a message: bulk falls back on control while no bulk connection is attached."""
        if wanted is Lane.BULK and self.bulk is not None:
            return Lane.BULK, self.bulk
        return (Lane.CONTROL, self.control) if self.control is not None else None

    def next_number(self, lane: Lane) -> int:
        """The sequence number of the message that goes out next on this lane."""
        self.sent[lane] += 1
        return self.sent[lane]

    def beat(self, now: float, vouches: bool = False) -> list[Command]:
        """The beat to send now; nothing when it is not due."""
        if self.control is None or now < self._next_beat:
            return []
        self._next_beat = now + self.heartbeat
        self._beats += 1
        self._beat_sent = now
        number, at = self._beat_got
        beat = Beat(self._beats, number, round((now - at) * 1000) if number else 0, int(vouches))
        return [Send(self.control, Packet(Beat.KIND, encode_header(beat), session=self.session))]

    def hasten(self, now: float) -> None:
        """The next beat is due now."""
        self._next_beat = now

    def receive_beat(self, beat: Beat, now: float) -> None:
        """Keep what the next beat echoes; measure the round trip when this one echoes our last. Number 0 is a touch."""
        if not beat.number:
            return
        self._beat_got = (beat.number, now)
        if beat.echo and beat.echo == self._beats:
            self.rtt = max(0.0, now - self._beat_sent - beat.held / 1000)

    @property
    def deadline(self) -> float | None:
        """When `check` or `beat` has something to do."""
        if self.state is PeerState.SUSPECTED:
            return self.since + self.dead_after
        if self.control is None:
            return None
        if self.state is PeerState.STALLED:
            return self._next_beat
        return min(self._next_beat, self.heard + STALL_BEATS * self.heartbeat + 0.001)

    def _enter(self, state: PeerState, now: float) -> None:
        self.state = state
        self.since = now
