"""Messages on their way: each link once, one hop less each time, and back to the origin where there is no way.

    the next hop is     its link is       then
    this cell           -                 `Deliver`
    a neighbour         up, stalled       `Send`, with the link's session and next number
    a neighbour         suspected         back to the origin: it keeps the message and tries again
    none                -                 back to the origin: unreachable; or, for a while after a restart, try again
    any                 -  (in circles)   back to the origin: unreachable

Only requests, probes and segments come back, as a RETURN, or as `GiveBack` where the origin is this cell; others are
dropped and counted. Source: design, decisions 4 and 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from zmqfl.config import CellConfig
from zmqfl.errors import DecodeError
from zmqfl.protocol.commands import Command, Deliver, GiveBack, Post, Send
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.wire.codec import decode_header, encode_header
from zmqfl.wire.messages import MAX_TARGETS, Flag, Lane, Packet, Probe, Request, Return, ReturnReason, Segment

RETURNED = (Request.KIND, Probe.KIND, Segment.KIND)
"""Kinds that come back."""


class Transit:
    """See the module. `me` gives (origin, fence, instance) as they are now; `born` is when this cell started."""

    def __init__(
        self, neighbours: Neighbours, config: CellConfig, me: Callable[[], tuple[str, int, int]], born: float
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._fqcn = neighbours.fqcn
        self._neighbours = neighbours
        self._config = config
        self._me = me
        self._born = born

    def forward(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        """Pass a message of another cell on."""
        if packet.hops <= 1 or self._fqcn in packet.route:
            self.counters["loops"] += 1
            return self.give_back(packet, targets, ReturnReason.UNREACHABLE, "the message goes in circles", now)
        self.counters["forwarded"] += 1
        onward = Packet(
            packet.kind, packet.header, packet.bodies, targets, packet.flags, packet.lane,
            packet.hops - 1, 0, packet.remaining, (*packet.route, self._fqcn),
        )  # fmt: skip
        return self._send(onward, targets, now)

    def post(self, post: Post, now: float) -> list[Command]:
        """Send a message of this cell's own."""
        if len(post.targets) > MAX_TARGETS:
            parts = [post.targets[i : i + MAX_TARGETS] for i in range(0, len(post.targets), MAX_TARGETS)]
            return [command for part in parts for command in self.post(replace(post, targets=part), now)]
        commands: list[Command] = []
        message, targets = post.message, post.targets
        packet = Packet(
            message.KIND, encode_header(message), post.bodies, targets, int(post.flags),
            self._lane(post), self._config.max_hops, 0, post.remaining, (self._fqcn,),
        )  # fmt: skip
        if self._fqcn in targets:
            targets = tuple(target for target in targets if target != self._fqcn)
            commands = [Deliver(packet)]
        return commands + self._send(packet, targets, now) if targets else commands

    def _send(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        """Each link once, with the targets behind it; what cannot go is given back."""
        commands: list[Command] = []
        for hop, behind in self._neighbours.split(targets).items():
            part = tuple(behind)
            if hop is None:
                commands += self._no_route(packet, part, now)
                continue
            link = self._neighbours.link_of(hop)
            if link is None or (way := link.lane(Lane(packet.lane))) is None:
                text = f"the link to {hop} is broken"
                commands += self.give_back(packet, part, ReturnReason.SUSPECTED, text, now)
                continue
            lane, conn = way
            bound = Packet(
                packet.kind, packet.header, packet.bodies, part, packet.flags, lane,
                packet.hops, link.session, packet.remaining, packet.route, link.next_number(lane),
            )  # fmt: skip
            commands.append(Send(conn, bound))
        return commands

    def _no_route(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        # A cell that has just started does not know its children yet. It asks to wait: whoever was talking to them a
        # moment ago (PATIENT), everybody if it succeeds a former start, and itself while it dials for the first time.
        # All others want to hear at once that there is nobody; and so do all where a child was here and has left.
        young = now - self._born < self._config.dead_after
        patient = packet.flags & Flag.PATIENT or any(self._neighbours.may_come_back(target) for target in targets)
        dialling = self._neighbours.is_dialling and packet.route == (self._fqcn,)
        wait = young and (patient or dialling) and not all(map(self._neighbours.has_left, targets))
        reason = ReturnReason.SUSPECTED if wait else ReturnReason.UNREACHABLE
        text = f"{self._fqcn} has no route to {targets[0] if len(targets) == 1 else 'it'}"
        return self.give_back(packet, targets, reason, text, now)

    def give_back(
        self, packet: Packet, targets: tuple[str, ...], reason: ReturnReason, text: str, now: float
    ) -> list[Command]:
        """To the origin: a RETURN if another cell's, else straight to our own requester."""
        if packet.kind not in RETURNED:
            self.counters["undeliverable"] += 1
            return []
        try:
            message = decode_header(packet.kind, packet.header)
        except DecodeError:  # another cell's; only here it is read to its end
            self.counters["malformed"] += 1
            return []
        assert isinstance(message, Request | Probe | Segment)
        self.counters["returned"] += 1
        attempt = (
            0 if isinstance(message, Probe) else message.offset if isinstance(message, Segment) else message.attempt
        )
        back = Return(
            *self._me(), message.id, message.instance, packet.kind, attempt, reason, text, list(targets)
        )  # fmt: skip
        if message.origin == self._fqcn:
            return [GiveBack(back)]
        return self.post(Post(back, (message.origin,)), now)

    def _lane(self, post: Post) -> Lane:
        if post.message.KIND == Segment.KIND:  # a flow is in order: its short last segment, too, stays on its lane
            return Lane.BULK
        long = bool(post.bodies) and sum(map(len, post.bodies)) > self._config.control_limit
        return Lane.BULK if long else Lane.CONTROL
