"""A whole cell without a socket: it joins the machines, and routes. Who knows one door knows all.

    verb(..., now)       request, fire, cancel, reply, stop; connected, disconnected, refused; child_exited
    receive(conn, ...)   a message came from a connection
    handle_timeout(now)  the deadline has passed
    deadline             when to call handle_timeout

What a message goes through, in this order:

    1  the connection is bound?           else only HELLO and ATTACH; one RESET
    2  its session is that of the link?   else dropped: the leftovers of a connection that was replaced
       its number was not seen?           else dropped: something repeats messages
    3  between neighbours?                uplink or acceptor
    4  its origin may come this way?      from below: the child itself or a cell below it, proven by the key;
                                          from above: neither this cell nor one below it
    5  its fence token is current?        else dropped: a replaced start
    6  for this cell?                     requester or responder
    7  for others?                        each link once, one hop less; no way: RETURN to the origin

Everything that is dropped is counted under its reason in `counters`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.fqcn import tree_is_below
from zmqfl.protocol.acceptor import Acceptor, is_greeting
from zmqfl.protocol.commands import Call, Command, Outcome, PeerChanged, PeerState, Post, Send
from zmqfl.protocol.fence import MAX_TOKEN, FenceTable
from zmqfl.protocol.link import Link
from zmqfl.protocol.requester import Requester
from zmqfl.protocol.responder import Responder
from zmqfl.protocol.routing import is_on_path, next_hop, split
from zmqfl.protocol.uplink import Uplink, UplinkState
from zmqfl.wire.codec import check_lengths, decode_header, decode_origin, encode_header, is_routed
from zmqfl.wire.messages import (
    CLASSES,
    VERSION_MAX,
    Attach,
    Beat,
    Buffer,
    Bye,
    ByeAck,
    ByeReason,
    Cancel,
    Conn,
    Fire,
    Flag,
    Hello,
    Lane,
    LinkMessage,
    Packet,
    Probe,
    Probed,
    Reply,
    Request,
    Return,
    ReturnReason,
    RoutedMessage,
    Welcome,
)

RETURNED = (Request.KIND, Probe.KIND)
"""Kinds that come back to their origin when they cannot go on; others are dropped and counted."""


class Node:
    """See the module. A root has no parent (`has_parent` False). Time is in seconds of any monotonic clock.

    `instance`: a random number of this start. `sessions`: gives unguessable 64-bit numbers.
    `wall_ms`: the clock of the machine when the node is made, for fence tokens only.
    """

    def __init__(
        self,
        fqcn: str,
        instance: int,
        *,
        has_parent: bool,
        config: CellConfig,
        sessions: Callable[[], int],
        wall_ms: int,
        now: float,
    ) -> None:
        self.fqcn = fqcn
        self.instance = instance
        self.config = config
        self.counters: Counter[str] = Counter()
        self.fences = FenceTable()
        self.uplink = Uplink(fqcn, instance, config) if has_parent else None
        self.acceptor = Acceptor(fqcn, not has_parent, config, self.fences, sessions)
        self.requester = Requester(config, self._me)
        self.responder = Responder(config, self._me, now)
        self._own_fence = 0 if has_parent else self.fences.issue(fqcn, wall_ms)
        self._born = now
        self._wall_at_birth = wall_ms
        self._last_id = 0
        self._origins: dict[tuple[Conn, str | None, str], bool] = {}

    # -- verbs ---------------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """The id of the next request or fire; ids rise."""
        self._last_id += 1
        return self._last_id

    def request(
        self,
        id: int,
        targets: Iterable[str],
        channel: str,
        topic: str,
        codec: int,
        headers: Mapping[str, Any],
        bodies: tuple[Buffer, ...],
        timeout: float,
        now: float,
        deadline: float | None = None,
        traceparent: str = "",
    ) -> list[Command]:
        """Send a request to each target; one `Finish` comes for each. `id` comes from `next_id`."""
        return self._obey(
            self.requester.request(
                id, targets, channel, topic, codec, dict(headers), bodies, timeout, deadline, traceparent, now
            ),
            now,
        )

    def fire(
        self,
        id: int,
        targets: Iterable[str],
        channel: str,
        topic: str,
        codec: int,
        headers: Mapping[str, Any],
        bodies: tuple[Buffer, ...],
        now: float,
    ) -> tuple[list[Command], dict[str, str]]:
        """Send without waiting. Returns also, per target, "" or why it could not leave this cell."""
        errors: dict[str, str] = {}
        for target in dict.fromkeys(targets):
            errors[target] = self.obstacle(target)
        ways = tuple(target for target, error in errors.items() if not error)
        if not ways:
            return [], errors
        message = Fire(*self._me(), id, channel, topic, codec, [len(b) for b in bodies], dict(headers))
        return self._obey([Post(message, ways, bodies)], now), errors

    def cancel(self, id: int, now: float) -> list[Command]:
        """Nobody waits for this request any more; no `Finish` will come."""
        return self._obey(self.requester.cancel(id), now)

    def reply(self, call: Call, outcome: Outcome, now: float) -> list[Command]:
        """The handler of an `Invoke` has ended."""
        return self._obey(self.responder.reply(call, outcome, now), now)

    def refuse(self, call: Call, now: float) -> list[Command]:
        """No worker can take the call of an `Invoke`: it was not executed."""
        return self.reply(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, f"{self.fqcn} has no free worker"), now)

    def touch(self) -> list[Command]:
        """Something to each child: a send to a lost connection fails, which the monitor's event only hints at."""
        beat = encode_header(Beat(0))
        return [
            Send(conn, Packet(Beat.KIND, beat, lane=lane, session=link.session))
            for conn, (link, lane) in self.acceptor.bindings.items()
        ]

    def connected(self, lane: Lane, now: float) -> list[Command]:
        """A lane to the parent works."""
        assert self.uplink is not None
        return self._obey(self.uplink.connected(lane, now), now)

    def disconnected(self, conn: Conn, now: float) -> list[Command]:
        """A connection is lost: a lane to the parent or a child's."""
        if self.uplink is not None and conn[0] == "up":
            return self._obey(self.uplink.disconnected(conn[1], now), now)
        return self._obey(self.acceptor.disconnected(conn, now), now)

    def refused(self, lane: Lane, now: float) -> list[Command]:
        """The parent does not accept our key on this lane."""
        assert self.uplink is not None
        return self._obey(self.uplink.refused(lane, now), now)

    def child_exited(self, fqcn: str, now: float) -> list[Command]:
        """A launcher saw the process of this child end."""
        return self._obey(self.acceptor.end(fqcn, "its process has ended", now), now)

    def set_allowed(self, names: Iterable[str] | None, now: float) -> list[Command]:
        """Names whose keys may be bound from now on; None on a cell without keys."""
        self._origins.clear()
        return self._obey(self.acceptor.set_allowed(None if names is None else frozenset(names), now), now)

    def drain(self) -> None:
        """Accept nothing new: requests are refused unexecuted, HELLOs are not answered."""
        self.responder.closed = True

    def stop(self, now: float, reason: str = "") -> list[Command]:
        """Say BYE to all neighbours; `is_quiet` tells when they have answered."""
        self.drain()
        text = reason or f"{self.fqcn} has stopped"
        packet = Packet(Bye.KIND, encode_header(Bye(ByeReason.LEAVING, text)))
        return [
            Send(link.control, replace(packet, session=link.session))
            for link in self.links()
            if link.control is not None
        ]

    # -- what it knows ---------------------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The name of the root; "" until the parent has told it."""
        return self.fqcn if self.uplink is None else self.uplink.root

    @property
    def parent(self) -> str:
        """The name of the parent; "" for the root, or while there is no link to it."""
        return self.uplink.link.fqcn if self.uplink is not None and self.uplink.link is not None else ""

    @property
    def fence(self) -> int:
        """The fence token of this start; 0 until a parent has issued it."""
        return self._own_fence

    @property
    def is_bound(self) -> bool:
        """Whether the link to the parent is up; a root always is."""
        return self.uplink is None or (self.uplink.state is UplinkState.BOUND and self.uplink.link is not None)

    @property
    def is_quiet(self) -> bool:
        """After `stop`: whether every neighbour has answered."""
        return not any(link.connected for link in self.links())

    def links(self) -> list[Link]:
        """All neighbours, the parent first."""
        own = [self.uplink.link] if self.uplink is not None and self.uplink.link is not None else []
        return own + list(self.acceptor.children.values())

    def link_of(self, fqcn: str) -> Link | None:
        """The link to a neighbour."""
        if fqcn and fqcn == self.parent and self.uplink is not None:
            return self.uplink.link
        return self.acceptor.children.get(fqcn)

    def hop_to(self, target: str) -> str | None:
        """The neighbour on the way to `target`, itself for this cell, None when there is no way."""
        return next_hop(target, self.fqcn, self.parent, self.acceptor.children)

    def obstacle(self, target: str) -> str:
        """Why a message to `target` cannot leave this cell now; "" when it can."""
        hop = self.hop_to(target)
        if hop is None:
            return f"{self.fqcn} has no route to {target}"
        if hop != self.fqcn and (link := self.link_of(hop)) is not None and not link.connected:
            return f"the link to {hop} is broken"
        return ""

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        times = [self.acceptor.deadline, self.requester.deadline, self.responder.deadline]
        if self.uplink is not None:
            times.append(self.uplink.deadline)
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: float) -> list[Command]:
        """Whatever is due."""
        commands: list[Command] = []
        for machine in (self.uplink, self.acceptor, self.requester, self.responder):
            if machine is not None and (deadline := machine.deadline) is not None and deadline <= now:
                commands += self._obey(machine.handle_timeout(now), now)
        return commands

    # -- receive ---------------------------------------------------------------------------------------------------

    def receive(self, conn: Conn, packet: Packet, now: float, user: str | None = None) -> list[Command]:
        """A message from a connection; `user` is the name that its key proves, None without keys.

        Raises `DecodeError` when the header is not what it claims: the caller drops the message and counts it.
        """
        from_above = conn[0] == "up"
        link = self._bound(conn, from_above)
        if from_above and not is_routed(packet.kind):
            return self._from_parent(link, packet, now)
        if link is None:
            if not (news := self._obey(self.acceptor.confirm(conn, packet, now), now)):
                return self._from_stranger(conn, packet, now, user)
            link = self._bound(conn, from_above)
            return news + self._heard(link, conn, packet, now, user) if link is not None else news
        return self._heard(link, conn, packet, now, user)

    def _heard(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        """From a connection that is bound."""
        if packet.kind == Hello.KIND or packet.kind == Attach.KIND:
            return self._from_stranger(conn, packet, now, user)
        if packet.session != link.session:
            self.counters["wrong_session"] += 1
            return []
        if is_routed(packet.kind) and not link.seen[packet.lane].admit(packet.sequence):
            self.counters["repeated"] += 1
            return []
        if link.hear(now):
            news: list[Command] = [PeerChanged(link.fqcn, PeerState.UP, link.instance)]
            return self._obey(news, now) + self._from_neighbour(link, conn, packet, now, user)
        return self._from_neighbour(link, conn, packet, now, user)

    def undeliverable(self, packet: Packet, now: float) -> list[Command]:
        """The send budget has no room for this packet."""
        self.counters["budget_full"] += 1
        return self._give_back(
            packet, packet.targets, ReturnReason.BUSY, f"the send budget of {self.fqcn} is full", now
        )

    def _bound(self, conn: Conn, from_above: bool) -> Link | None:
        if from_above:
            return self.uplink.link if self.uplink is not None else None
        bound = self.acceptor.bindings.get(conn)
        return bound[0] if bound else None

    def _from_stranger(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        if conn[0] == "up" or not is_greeting(packet):
            if conn[0] == "up":
                self.counters["unbound"] += 1
                return []
            return self.acceptor.reset(conn, packet)
        message = decode_header(packet.kind, packet.header)
        assert isinstance(message, Hello | Attach)
        if self.responder.closed:
            return []
        if isinstance(message, Hello) and self.uplink is None and self._own_fence <= message.token < MAX_TOKEN:
            # The root issues its own token. If its clock stepped back, a former start had a higher one.
            self._own_fence = self.fences.issue(self.fqcn, message.token)
        wall_ms = self._wall_at_birth + int((now - self._born) * 1000)
        self._origins.clear()
        return self._obey(self.acceptor.greet(conn, user, packet, message, self._welcome(), now, wall_ms), now)

    def _from_parent(self, link: Link | None, packet: Packet, now: float) -> list[Command]:
        assert self.uplink is not None
        message = decode_header(packet.kind, packet.header)
        commands: list[Command] = []
        if link is not None and packet.session == link.session:
            if link.hear(now):
                commands = self._obey([PeerChanged(link.fqcn, PeerState.UP, link.instance)], now)
            if isinstance(message, Beat):
                link.receive_beat(message, now)
        if isinstance(message, Welcome):
            self.fences.reset(message.fqcn, message.fence)  # the pinned parent's clock may have stepped back
        return commands + self._obey(self.uplink.receive(packet, _link_message(message), now), now)

    def _from_neighbour(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        if is_routed(packet.kind):
            return self._pass(conn, packet, now, user)
        match decode_header(packet.kind, packet.header):
            case Beat() as beat:
                link.receive_beat(beat, now)
            case Bye() as bye:
                ack = Send(conn, Packet(ByeAck.KIND, encode_header(ByeAck()), session=link.session))
                gone = self.acceptor.end(link.fqcn, bye.text or "it has stopped", now)
                return [ack, *self._obey(gone, now)]
            case ByeAck():
                return self._obey(self.acceptor.end(link.fqcn, "this cell has stopped", now), now)
        return []

    def _pass(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        origin, fence, _, _ = decode_origin(packet.header)
        if not self._may_come(conn, user, origin):
            self.counters["origin_refused"] += 1
            return []
        if not self.fences.admit(origin, fence):
            self.counters["stale_fence"] += 1
            return []
        commands: list[Command] = []
        others = packet.targets
        if self.fqcn in others:
            others = tuple(target for target in others if target != self.fqcn)
            commands = self._deliver(packet, now)
        return commands + self._forward(packet, others, now) if others else commands

    def _may_come(self, conn: Conn, user: str | None, origin: str) -> bool:
        """Checked for each message; the answer is kept until the allow list or a binding changes."""
        key = (conn, user, origin)
        if (known := self._origins.get(key)) is not None:
            return known
        if conn[0] == "up":
            answer = origin != self.fqcn and not tree_is_below(origin, self.fqcn, self.root)
        else:
            answer = self.acceptor.may_speak(conn, user, origin)
        if len(self._origins) > 65536:
            self._origins.clear()
        self._origins[key] = answer
        return answer

    # -- routing ---------------------------------------------------------------------------------------------------

    def _forward(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        if packet.hops <= 1 or self.fqcn in packet.route:
            self.counters["loops"] += 1
            return self._give_back(packet, targets, ReturnReason.UNREACHABLE, "the message goes in circles", now)
        self.counters["forwarded"] += 1
        onward = Packet(
            packet.kind, packet.header, packet.bodies, targets, packet.flags, packet.lane,
            packet.hops - 1, 0, packet.remaining, (*packet.route, self.fqcn),
        )  # fmt: skip
        return self._send(onward, targets, now)

    def _post(self, post: Post, now: float) -> list[Command]:
        """A message of this cell's own."""
        commands: list[Command] = []
        message, targets = post.message, post.targets
        packet = Packet(
            message.KIND, encode_header(message), post.bodies, targets, int(post.flags),
            self._lane(post.bodies), self.config.max_hops, 0, post.remaining, (self.fqcn,),
        )  # fmt: skip
        if self.fqcn in targets:
            targets = tuple(target for target in targets if target != self.fqcn)
            commands = self._deliver(packet, now)
        return commands + self._send(packet, targets, now) if targets else commands

    def _send(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        """Each link once, with the targets behind it; what cannot go is given back."""
        commands: list[Command] = []
        for hop, behind in split(targets, self.fqcn, self.parent, self.acceptor.children).items():
            part = tuple(behind)
            if hop is None:
                commands += self._no_route(packet, part, now)
                continue
            link = self.link_of(hop)
            if link is None or (way := link.lane(Lane(packet.lane))) is None:
                text = f"the link to {hop} is broken"
                commands += self._give_back(packet, part, ReturnReason.SUSPECTED, text, now)
                continue
            lane, conn = way
            bound = Packet(
                packet.kind, packet.header, packet.bodies, part, packet.flags, lane,
                packet.hops, link.session, packet.remaining, packet.route, link.next_number(lane),
            )  # fmt: skip
            commands.append(Send(conn, bound))
        return commands

    def _no_route(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        # A cell that has just started does not know its children yet. Who was talking to them a moment ago (PATIENT)
        # should wait for them to come back; others want to hear at once that there is nobody.
        # Neither does one that dials its parent for the first time: what is its own waits until it is through.
        young = now - self._born < self.config.dead_after
        dialling = self.uplink is not None and not self.root and packet.route == (self.fqcn,)
        wait = young and (packet.flags & Flag.PATIENT or dialling)
        reason = ReturnReason.SUSPECTED if wait else ReturnReason.UNREACHABLE
        text = f"{self.fqcn} has no route to {', '.join(targets)}"
        return self._give_back(packet, targets, reason, text, now)

    def _give_back(
        self, packet: Packet, targets: tuple[str, ...], reason: ReturnReason, text: str, now: float
    ) -> list[Command]:
        """To the origin: a RETURN if another cell's, else straight to our own requester."""
        if packet.kind not in RETURNED:
            self.counters["undeliverable"] += 1
            return []
        self.counters["returned"] += 1
        message = decode_header(packet.kind, packet.header)
        assert isinstance(message, Request | Probe)
        attempt = message.attempt if isinstance(message, Request) else 0
        back = Return(
            *self._me(), message.id, message.instance, packet.kind, attempt, reason, text, list(targets)
        )  # fmt: skip
        if message.origin == self.fqcn:
            return self._obey(self.requester.receive_return(back, now), now)
        return self._post(Post(back, (message.origin,)), now)

    def _deliver(self, packet: Packet, now: float) -> list[Command]:
        """A message for this cell."""
        if packet.kind not in CLASSES:
            return self._not_understood(packet, now)
        message = decode_header(packet.kind, packet.header)
        match message:
            case Request() | Fire() | Reply():
                check_lengths(message.lengths, packet.bodies)
        match message:
            case Request():
                return self._obey(
                    self.responder.receive_request(message, packet.flags, packet.remaining, packet.bodies, now), now
                )
            case Reply() if message.to_instance == self.instance:
                return self._obey(self.requester.receive_reply(message, packet.bodies, now), now)
            case Fire():
                return self._obey(self.responder.receive_fire(message, packet.bodies, now), now)
            case Probe():
                return self._obey(self.responder.receive_probe(message, now), now)
            case Probed() if message.to_instance == self.instance:
                return self._obey(self.requester.receive_probed(message, now), now)
            case Cancel():
                return self._obey(self.responder.receive_cancel(message, now), now)
            case Return() if message.to_instance == self.instance:
                return self._returned(message, now)
            case _:
                self.counters["other_instance"] += 1
                return []

    def _returned(self, back: Return, now: float) -> list[Command]:
        """Only a cell on the way may say that it could not pass a message on."""
        on_path = [target for target in back.targets if is_on_path(back.origin, self.fqcn, target, self.root)]
        if len(on_path) != len(back.targets):
            self.counters["forged_return"] += 1
        return self._obey(self.requester.receive_return(replace(back, targets=on_path), now), now)

    def _not_understood(self, packet: Packet, now: float) -> list[Command]:
        self.counters["unknown_kind"] += 1
        if not packet.flags & Flag.MUST_UNDERSTAND:
            return []
        origin, _, instance, id = decode_origin(packet.header)
        text = f"{self.fqcn} does not know message kind {packet.kind}"
        reason = ReturnReason.NOT_UNDERSTOOD
        back = Return(*self._me(), id, instance, packet.kind, 0, reason, text, [self.fqcn])
        return self._post(Post(back, (origin,)), now)

    # -- commands --------------------------------------------------------------------------------------------------

    def _obey(self, commands: list[Command], now: float) -> list[Command]:
        """Route what the machines post, and let them hear of neighbours; the rest goes out."""
        out: list[Command] = []
        for command in commands:
            match command:
                case Post():
                    out += self._post(command, now)
                case PeerChanged():
                    out.append(command)
                    out += self._peer_changed(command, now)
                case _:
                    out.append(command)
        return out

    def _peer_changed(self, change: PeerChanged, now: float) -> list[Command]:
        self._origins.clear()
        peer = change.fqcn
        if change.state is PeerState.UP:
            news: list[Command] = []
            if self.uplink is not None and peer == self.parent:
                self._own_fence = self.uplink.token
                news = self.acceptor.welcome_again(self._welcome())
            return news + self._obey(self.requester.link_up(lambda name: self.hop_to(name) == peer, now), now)
        if change.state is not PeerState.GONE:
            return []
        text = f"{peer} is gone: {change.reason}"
        if change.replaced:  # what stands behind it is probed as soon as the new link is up
            return self._obey(self.requester.peer_gone(lambda name: name == peer, text, now), now)
        return self._obey(self.requester.peer_gone(lambda name: self._was_behind(name, change), text, now), now)

    def _was_behind(self, target: str, gone: PeerChanged) -> bool:
        if target == gone.fqcn:
            return True
        if tree_is_below(gone.fqcn, self.fqcn, self.root) or self.uplink is None:
            return tree_is_below(target, gone.fqcn, self.root)
        return self.hop_to(target) is None  # the parent is gone: all that has no other way

    def _lane(self, bodies: tuple[Buffer, ...]) -> Lane:
        return Lane.BULK if bodies and sum(map(len, bodies)) > self.config.control_limit else Lane.CONTROL

    def _me(self) -> tuple[str, int, int]:
        return self.fqcn, self._own_fence, self.instance

    def _welcome(self) -> Welcome:
        return Welcome(
            self.fqcn, self.instance, self._own_fence, 0, VERSION_MAX, self.root, self.config.segment
        )  # fmt: skip

    def __repr__(self) -> str:
        links = ", ".join(f"{link.fqcn} {link.state}" for link in self.links()) or "no links"
        return f"<Node {self.fqcn} [{links} | {self.requester.open} open, {self.responder.running} running]>"


def _link_message(message: object) -> LinkMessage:
    assert isinstance(message, LinkMessage) and not isinstance(message, RoutedMessage)
    return message
