"""A whole cell without a socket: it joins the machines, and routes. Who knows one door knows all.

    verb(..., now)       request, fire, cancel, reply, stop; connected, disconnected, refused; child_exited; of
                         transfers those that `transfers` has, by `transfer`
    receive(conn, ...)   a message came from a connection
    handle_timeout(now)  the deadline has passed
    deadline             when to call handle_timeout
    next_bulk(...)       the lanes have room: the next segments and chunks

What a message goes through, in this order:

    1  the connection is bound?           else only HELLO and ATTACH; a RESET, not too often
    2  its session is that of the link?   else dropped: the leftovers of a connection that was replaced
       its number was not seen?           else dropped: something repeats messages
    3  between neighbours?                uplink or acceptor
    4  its origin may come this way?      from below: the child itself or a cell below it, proven by the key;
                                          from above: neither this cell nor one below it
    5  its fence token is current?        else dropped: a replaced start; a child's must be the one it was issued
    6  for this cell?                     requester or responder, flows; or `transfers`, for internal channels
    7  for others?                        transit

Everything that is dropped is counted under its reason in `counters`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.acceptor import Acceptor, is_greeting
from zmqfl.protocol.asks import Asks
from zmqfl.protocol.commands import (
    Answer,
    Ask,
    Call,
    Command,
    Deliver,
    Finish,
    FlowEnded,
    FlowMoved,
    GiveBack,
    Invoke,
    Outcome,
    PeerChanged,
    PeerState,
    Post,
    Send,
    Unask,
)
from zmqfl.protocol.fence import FenceTable
from zmqfl.protocol.flow_receiver import FlowReceiver
from zmqfl.protocol.flows import Flows
from zmqfl.protocol.link import Link
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.protocol.requester import Requester
from zmqfl.protocol.responder import Responder
from zmqfl.protocol.routing import is_on_path
from zmqfl.protocol.transfers import INTERNAL, Transfers
from zmqfl.protocol.transit import Transit
from zmqfl.protocol.uplink import Uplink
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
    Segment,
    Segmented,
    Welcome,
)


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
        self.neighbours = Neighbours(fqcn, self.uplink, self.acceptor)
        self.transit = Transit(self.neighbours, config, self._me, now)
        self.flows = Flows(config, self._me)
        self.requester = Requester(config, self._me, lambda id, name: self.flows.is_open(Request.KIND, id, name))
        self.responder = Responder(
            config,
            self._me,
            lambda: now if self.uplink is None else self.uplink.held_since,
            lambda id, instance, name: self.flows.is_open(Reply.KIND, id, name, instance),
        )
        self.assembly = FlowReceiver(
            config, self._me,
            lambda reply: reply.to_instance == instance and self.requester.is_waiting(reply.id, reply.origin),
        )  # fmt: skip
        self.transfers = Transfers(fqcn, instance, config)
        self.asks = Asks(self.requester)
        self._own_fence = 0 if has_parent else self.fences.issue(fqcn, wall_ms)
        self._machines: tuple[_Timed, ...] = (
            self.acceptor, self.requester, self.responder, self.flows, self.assembly, self.transfers
        )  # fmt: skip
        self._born = now
        self._wall_at_birth = wall_ms
        self._last_id = 0

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
            errors[target] = self.neighbours.obstacle(target)
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

    def transfer(self, act: Callable[[Transfers], list[Command]], now: float) -> list[Command]:
        """A verb of the user's, or the result of work, for one of the machines that push and pull."""
        return self._obey(act(self.transfers), now)

    def next_bulk(self, blocked: Container[Conn], now: float) -> list[Command]:
        """The next segment of a flow and the next chunks to read, where the lane is not in `blocked`.

        Call it again until it gives nothing: what is not asked for yet takes no memory.
        """
        if not self.flows.sending and not self.transfers.source.waiting:
            return []

        def is_free(target: str) -> bool:
            link = self.neighbours.link_of(self.neighbours.hop_to(target) or "")
            way = link.lane(Lane.BULK) if link is not None else None
            return way is None or way[1] not in blocked  # without a way: it comes back at once, and waits there

        commands = self._obey(self.transfers.source.next_reads(is_free, now), now)
        segment = self.flows.next_segment(is_free, now)
        return commands if segment is None else commands + self._obey(self.transit.post(segment, now), now)

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

    def child_exited(self, fqcn: str, now: float, restarts: bool = False) -> list[Command]:
        """A launcher saw the process of this child end. `restarts`: it will start again, so what is behind it waits."""
        if restarts:
            return self._obey(self.acceptor.exited(fqcn, now), now)
        return self._obey(self.acceptor.end(fqcn, "its process has ended", now), now)

    def set_allowed(self, names: Iterable[str] | None, now: float) -> list[Command]:
        """Names whose keys may be bound from now on; None on a cell without keys."""
        self.neighbours.forget_origins()
        return self._obey(self.acceptor.set_allowed(None if names is None else frozenset(names), now), now)

    def drain(self) -> None:
        """Accept nothing new: requests are refused unexecuted, HELLOs are not answered."""
        self.responder.closed = True

    def stop(self, now: float, reason: str = "") -> list[Command]:
        """Say BYE to all neighbours; `is_quiet` tells when they have answered."""
        self.drain()
        ended = self._obey(self.transfers.close(f"{self.fqcn} stops", now), now)
        text = reason or f"{self.fqcn} has stopped"
        packet = Packet(Bye.KIND, encode_header(Bye(ByeReason.LEAVING, text)))
        # On each lane, behind all that was sent on it before.
        return ended + [
            Send(conn, replace(packet, session=link.session, lane=lane))
            for link in self.neighbours.links()
            for lane, conn in link.lanes
        ]

    # -- what it knows ---------------------------------------------------------------------------------------------

    @property
    def fence(self) -> int:
        """The fence token of this start; 0 until a parent has issued it."""
        return self._own_fence

    @property
    def is_quiet(self) -> bool:
        """After `stop`: whether every neighbour has answered."""
        return not any(link.connected for link in self.neighbours.links())

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        times = [machine.deadline for machine in self._machines]
        if self.uplink is not None:
            times.append(self.uplink.deadline)
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: float) -> list[Command]:
        """Whatever is due."""
        commands: list[Command] = []
        for machine in (self.uplink, *self._machines):
            if machine is not None and (deadline := machine.deadline) is not None and deadline <= now:
                commands += self._obey(machine.handle_timeout(now), now)
        return commands

    # -- receive ---------------------------------------------------------------------------------------------------

    def receive(self, conn: Conn, packet: Packet, now: float, user: str | None = None) -> list[Command]:
        """A message from a connection; `user` is the name that its key proves, None without keys.

        Raises `DecodeError` when the header is not what it claims: the caller drops the message and counts it.
        """
        link = self.neighbours.bound(conn)
        if conn[0] == "up" and not is_routed(packet.kind):
            return self._from_parent(link, packet, now)
        if link is None:
            if not (news := self._obey(self.acceptor.confirm(conn, packet, now), now)):
                return self._from_stranger(conn, packet, now, user)
            return news + self._heard_first(conn, packet, now, user)
        return self._heard(link, conn, packet, now, user)

    def _heard_first(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        """The message that has bound its connection. Should it be malformed, the binding is still news."""
        link = self.neighbours.bound(conn)
        try:
            return [] if link is None else self._heard(link, conn, packet, now, user)
        except DecodeError:
            self.counters["malformed"] += 1
            return []

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
        commands = self._from_neighbour(link, conn, packet, now, user)  # first: nothing has changed if it is malformed
        if link.hear(now):
            commands = self._obey([PeerChanged(link.fqcn, PeerState.UP, link.instance)], now) + commands
        return commands

    def undeliverable(self, packet: Packet, now: float) -> list[Command]:
        """The send budget has no room for this packet."""
        self.counters["budget_full"] += 1
        text = f"the send budget of {self.fqcn} is full"
        return self._obey(self.transit.give_back(packet, packet.targets, ReturnReason.BUSY, text, now), now)

    def _from_stranger(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        if conn[0] == "up" or not is_greeting(packet):
            if conn[0] == "up":
                self.counters["unbound"] += 1
                return []
            return self.acceptor.reset(conn, packet, now)
        message = decode_header(packet.kind, packet.header)
        assert isinstance(message, Hello | Attach)
        if self.responder.closed:
            return []
        self.neighbours.forget_origins()
        greeted = self.acceptor.greet(conn, user, packet, message, self._welcome(), now, self._wall_ms(now))
        return self._obey(greeted, now)

    def _from_parent(self, link: Link | None, packet: Packet, now: float) -> list[Command]:
        assert self.uplink is not None
        message = decode_header(packet.kind, packet.header)
        commands: list[Command] = []
        if link is not None and packet.session == link.session:
            if link.hear(now):
                commands = self._obey([PeerChanged(link.fqcn, PeerState.UP, link.instance)], now)
            if isinstance(message, Beat):
                link.receive_beat(message, now)
        root, was_holder = self.neighbours.root, self.neighbours.is_holder
        commands += self._obey(self.uplink.receive(packet, _link_message(message), now), now)
        link = self.uplink.link
        if isinstance(message, Welcome) and link is not None and packet.session == link.session:
            self.fences.reset(link.fqcn, message.fence)  # the pinned parent's clock may have stepped back
        if self.neighbours.is_holder and not was_holder:
            self.acceptor.vouch(now)
            if link is not None:  # news for who waits until this cell is ready
                commands.append(PeerChanged(link.fqcn, PeerState.UP, link.instance, "this start holds the name"))
        if self.neighbours.root != root:
            commands += self._learn_root()
        return commands

    def _from_neighbour(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        if is_routed(packet.kind):
            return self._pass(link, conn, packet, now, user)
        match decode_header(packet.kind, packet.header):
            case Beat() as beat:
                link.receive_beat(beat, now)
            case Bye() as bye:
                if not link.leave(self.acceptor.bindings[conn][1]):
                    return []
                return self._obey(self.acceptor.left(link, bye.text or "it has stopped", now), now)
            case ByeAck():
                return self._obey(self.acceptor.end(link.fqcn, "this cell has stopped", now), now)
        return []

    def _pass(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        origin, fence, _, _ = decode_origin(packet.header)
        if not self.neighbours.may_come(conn, user, origin):
            self.counters["origin_refused"] += 1
            return []
        forged = origin == link.fqcn and conn[0] != "up" and fence != link.token  # a child has the token we issued
        if forged or not self.fences.admit(origin, fence):
            self.counters["stale_fence"] += 1
            return []
        commands: list[Command] = []
        others = packet.targets
        if self.fqcn in others:
            others = tuple(target for target in others if target != self.fqcn)
            commands = self._deliver(packet, now)
        return commands + self._obey(self.transit.forward(packet, others, now), now) if others else commands

    def _deliver(self, packet: Packet, now: float) -> list[Command]:
        """A message for this cell."""
        if packet.kind not in CLASSES:
            return self._not_understood(packet, now)
        message = decode_header(packet.kind, packet.header)
        match message:
            case Request() | Fire() | Reply() | Segment():
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
                return self._obey(self.responder.receive_probe(message, now, packet.flags), now)
            case Probed() if message.to_instance == self.instance:
                return self._obey(self.requester.receive_probed(message, now), now)
            case Cancel():
                self.assembly.receive_cancel(message)
                return self._obey(self.responder.receive_cancel(message, now), now)
            case Return() if message.to_instance == self.instance:
                return self._returned(message, now)
            case Segment():
                return self._obey(self.assembly.receive(message, packet.remaining, packet.bodies, now), now)
            case Segmented() if message.to_instance == self.instance:
                return self._obey(self.flows.receive_segmented(message, now), now)
            case _:
                self.counters["other_instance"] += 1
                return []

    def _returned(self, back: Return, now: float) -> list[Command]:
        """Only a cell on the way may say that it could not pass a message on."""
        on_path = [
            target for target in back.targets if is_on_path(back.origin, self.fqcn, target, self.neighbours.root)
        ]
        if len(on_path) != len(back.targets):
            self.counters["forged_return"] += 1
        return self._come_back(replace(back, targets=on_path), now)

    def _come_back(self, back: Return, now: float) -> list[Command]:
        if back.kind == Segment.KIND:
            return self._obey(self.flows.receive_return(back, now), now)
        return self._obey(self.requester.receive_return(back, now), now)

    def _not_understood(self, packet: Packet, now: float) -> list[Command]:
        self.counters["unknown_kind"] += 1
        if not packet.flags & Flag.MUST_UNDERSTAND:
            return []
        origin, _, instance, id = decode_origin(packet.header)
        text = f"{self.fqcn} does not know message kind {packet.kind}"
        reason = ReturnReason.NOT_UNDERSTOOD
        back = Return(*self._me(), id, instance, packet.kind, 0, reason, text, [self.fqcn])
        return self._obey([Post(back, (origin,))], now)

    # -- commands --------------------------------------------------------------------------------------------------

    def _obey(self, commands: list[Command], now: float) -> list[Command]:
        """Route what the machines post, and let them hear of what comes of it; the rest goes out."""
        out: list[Command] = []
        for command in commands:
            match command:
                case Post():
                    out += self._post(command, now)
                case Deliver():
                    out += self._deliver(command.packet, now)
                case GiveBack():
                    out += self._come_back(command.message, now)
                case FlowMoved():
                    self._flow_moved(command, now)
                case FlowEnded():
                    out += [command, *self._flow_ended(command, now)]
                case Invoke() if command.call.channel.startswith(INTERNAL):
                    out += self._obey(self.transfers.receive(command.call, now), now)
                case Ask():
                    out += self._obey(self.asks.ask(self.next_id(), command, now), now)
                case Unask():
                    out += self._obey(self.asks.unask(command), now)
                case Answer():
                    out += self._obey(self.responder.reply(command.call, command.outcome, now), now)
                case Finish() if command.id in self.asks:
                    out += self._answered(command, now)
                case PeerChanged():
                    out.append(command)
                    out += self._peer_changed(command, now)
                case _:
                    out.append(command)
        return out

    def _post(self, post: Post, now: float) -> list[Command]:
        """Route it; what is long goes as a flow, but not to this cell itself."""
        if isinstance(post.message, Cancel):
            stopped = self._obey(self.flows.stop(Request.KIND, post.message.id, post.targets), now)
            return stopped + self._obey(self.transit.post(post, now), now)
        if not self.flows.carries(post, now):
            return self._obey(self.transit.post(post, now), now)
        others = tuple(name for name in post.targets if name != self.fqcn)
        if others:
            self.flows.open(replace(post, targets=others), now)
        if len(others) == len(post.targets):
            return []
        return self._obey(self.transit.post(replace(post, targets=(self.fqcn,)), now), now)

    def _flow_moved(self, moved: FlowMoved, now: float) -> None:
        match moved.message:
            case Request() if moved.peer != moved.message.origin:
                self.requester.flow_moved(moved.message.id, moved.peer, now)
            case Reply() if moved.peer == moved.message.origin:
                self.requester.flow_moved(moved.message.id, moved.peer, now)
                if isinstance(owner := self.asks.owner_of(moved.message.id), PullReceiver):
                    owner.moved(now)
            case Reply() as reply:
                self.transfers.source.moved(moved.peer, reply.to_instance, now)

    def _flow_ended(self, ended: FlowEnded, now: float) -> list[Command]:
        match ended.message:
            case Request() as request:
                return self._obey(
                    self.requester.flow_ended(request.id, ended.target, ended.fate, ended.text, now), now
                )  # fmt: skip
            case Reply() as reply:
                return self._obey(self.responder.flow_ended(reply, ended.target, ended.fate, ended.text), now)
        return []

    def _answered(self, finish: Finish, now: float) -> list[Command]:
        """A request of one of this node's own machines has ended at one target."""
        if (ask := self.asks.finish(finish)) is None:
            return []
        return self._obey(self.transfers.answered(ask.owner, ask.tag, finish.target, finish.outcome, now), now)

    def _peer_changed(self, change: PeerChanged, now: float) -> list[Command]:
        self.neighbours.forget_origins()
        peer, around = change.fqcn, self.neighbours
        text = f"{peer} is gone: {change.reason}"
        match change.state:
            case PeerState.UP:
                news = self._bound_to(peer, now)
                behind = lambda name: around.hop_to(name) == peer  # noqa: E731
                self.responder.link_up(behind)
                news += self._obey(self.flows.link_up(behind, now), now)
                return news + self._obey(self.requester.link_up(behind, now), now)
            case PeerState.GONE if change.replaced:  # what stands behind it is probed as soon as the new link is up
                return self._lose(lambda name: name == peer, text, now)
            case PeerState.GONE:
                return self._lose(lambda name: around.was_behind(name, peer), text, now)
        return []

    def _lose(self, reaches: Callable[[str], bool], text: str, now: float) -> list[Command]:
        """These cells are gone, or the only way to them."""
        commands = self._obey(self.flows.peer_gone(reaches, text), now)
        commands += self._obey(self.requester.peer_gone(reaches, text, now), now)
        return commands + self._obey(self.transfers.owner_lost(reaches, text, now), now)

    def _bound_to(self, peer: str, now: float) -> list[Command]:
        """What a new binding says about our own token."""
        if self.uplink is not None and peer == self.neighbours.parent:
            self._own_fence = self.uplink.token
            return self.acceptor.welcome_again(self._welcome())
        token = self.acceptor.children[peer].token
        if self.uplink is None and token >= self._own_fence and token > self._wall_ms(now) + 1:
            # The root issues its own. The clock was ahead of what it is now: a former start of ours had a higher one.
            self._own_fence = self.fences.issue(self.fqcn, token)
        return []

    def _me(self) -> tuple[str, int, int]:
        return self.fqcn, self._own_fence, self.instance

    def _wall_ms(self, now: float) -> int:
        return self._wall_at_birth + int((now - self._born) * 1000)

    def _learn_root(self) -> list[Command]:
        """The parent has told the name of the root: our children wait for it, too."""
        self.neighbours.forget_origins()
        return self.acceptor.welcome_again(self._welcome())

    def _welcome(self) -> Welcome:
        return Welcome(
            self.fqcn, self.instance, self._own_fence, 0, VERSION_MAX, self.neighbours.root, self.config.segment
        )  # fmt: skip

    def __repr__(self) -> str:
        links = ", ".join(f"{link.fqcn} {link.state}" for link in self.neighbours.links()) or "no links"
        return f"<Node {self.fqcn} [{links} | {self.requester.open} open, {self.responder.running} running]>"


class _Timed(Protocol):
    """A machine with a deadline."""

    @property
    def deadline(self) -> float | None:
        """When it has something to do."""

    def handle_timeout(self, now: float) -> list[Command]:
        """Do it."""


def _link_message(message: object) -> LinkMessage:
    assert isinstance(message, LinkMessage) and not isinstance(message, RoutedMessage)
    return message
