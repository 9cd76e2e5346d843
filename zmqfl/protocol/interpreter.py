"""Obeys what the machines of a cell ask of each other; what is for the reactor goes out.

    Post                     transit; as a flow when it is long
    Deliver, GiveBack        arrivals: a message of this cell to itself, or one that found no way
    Invoke, internal         transfers, channels or plane: a request, or a fire, for a machine of this node
    Ask, Unask, Answer       requester and responder, for those machines; their Finish goes back to who has asked
    Tell                     transit, as a fire
    FlowMoved, FlowEnded     whoever waits for what a flow carries
    PeerChanged              whoever waits for that neighbour, or for what stands behind it
    any other                out, to the reactor

Each may lead to more, which is obeyed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from zmqfl.fqcn import FQCN
from zmqfl.protocol.arrivals import Arrivals
from zmqfl.protocol.channels.channels import CHANNELS
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
    PeerChanged,
    PeerState,
    Post,
    Tell,
    Unask,
)
from zmqfl.protocol.machines import Machines
from zmqfl.protocol.plane.updates import CHANNEL as PLANE
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.protocol.relay_file import RelayFile
from zmqfl.protocol.transfers import INTERNAL, SEAL
from zmqfl.wire.messages import Cancel, Fire, Packet, Reply, Request


class Interpreter:
    """See the module."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._arrivals = Arrivals(machines)

    def obey(self, commands: list[Command], now: float) -> list[Command]:
        """Route what the machines post, and let them hear of what comes of it; the rest goes out."""
        m = self._machines
        out: list[Command] = []
        for command in commands:
            match command:
                case Post():
                    out += self._post(command, now)
                case Deliver():
                    out += self.deliver(command.packet, now)
                case GiveBack():
                    out += self.obey(self._arrivals.come_back(command.message, now), now)
                case FlowMoved():
                    self._flow_moved(command, now)
                case FlowEnded():
                    out += [command, *self._flow_ended(command, now)]
                case Invoke() if command.call.channel == PLANE:
                    out += self._take_plane(command.call, now)
                case Invoke() if command.call.channel in CHANNELS:
                    out += self.obey(m.channels.receive(command.call, now), now)
                case Invoke() if command.call.channel.startswith(INTERNAL) and command.call.channel != SEAL:
                    out += self.obey(m.transfers.receive(command.call, now), now)
                case Ask():
                    out += self.obey(m.asks.ask(m.next_id(), command, now), now)
                case Unask():
                    out += self.obey(m.asks.unask(command), now)
                case Answer():
                    out += self.obey(m.responder.reply(command.call, command.outcome, now), now)
                case Tell():
                    out += self._tell(command, now)
                case Finish() if command.id in m.asks:
                    out += self._answered(command, now)
                case PeerChanged():
                    out.append(command)
                    out += self._peer_changed(command, now)
                case _:
                    out.append(command)
        return out

    def deliver(self, packet: Packet, now: float) -> list[Command]:
        """A message for this cell. Raises `DecodeError`."""
        return self.obey(self._arrivals.deliver(packet, now), now)

    def learn_root(self, now: float) -> list[Command]:
        """The parent has told the name of the root: our children wait for it, too."""
        self._machines.neighbours.forget_origins()
        return self._machines.acceptor.welcome_again(self._machines.welcome()) + self.bind_plane(now)

    def bind_plane(self, now: float) -> list[Command]:
        """The plane goes by the link that is bound now; nothing happens when it does already."""
        m = self._machines
        if m.uplink is None:
            return self.obey(m.plane.bound("", m.fqcn, m.fence, now), now)
        link = m.uplink.link
        if link is None or not m.neighbours.is_bound or not m.uplink.root:
            return []
        bound = m.plane.bound(link.fqcn, m.uplink.root, m.fence, now, m.uplink.plane, link.session)
        return self.obey(bound, now)

    # -- messages and flows --------------------------------------------------------------------------------------------

    def _post(self, post: Post, now: float) -> list[Command]:
        """Route it; what is long goes as a flow, but not to this cell itself."""
        m = self._machines
        if isinstance(post.message, Cancel):
            stopped = self.obey(m.flows.stop(Request.KIND, post.message.id, post.targets), now)
            return stopped + self.obey(m.transit.post(post, now), now)
        if not m.flows.carries(post, now):
            return self.obey(m.transit.post(post, now), now)
        others = tuple(name for name in post.targets if name != m.fqcn)
        if others:
            m.flows.open(replace(post, targets=others), now)
        if len(others) == len(post.targets):
            return []
        return self.obey(m.transit.post(replace(post, targets=(m.fqcn,)), now), now)

    def _flow_moved(self, moved: FlowMoved, now: float) -> None:
        m = self._machines
        match moved.message:
            case Request() if moved.peer != moved.message.origin:
                m.requester.flow_moved(moved.message.id, moved.peer, now)
            case Reply() if moved.peer == moved.message.origin:
                m.requester.flow_moved(moved.message.id, moved.peer, now)
                if isinstance(owner := m.asks.owner_of(moved.message.id), PullReceiver | RelayFile):
                    owner.moved(now)
            case Reply() as reply:
                m.transfers.moved(moved.peer, reply.to_instance, now)

    def _flow_ended(self, ended: FlowEnded, now: float) -> list[Command]:
        m = self._machines
        match ended.message:
            case Request() as request:
                return self.obey(m.requester.flow_ended(request.id, ended.target, ended.fate, ended.text, now), now)
            case Reply() as reply:
                return self.obey(m.responder.flow_ended(reply, ended.target, ended.fate, ended.text), now)
        return []

    def _answered(self, finish: Finish, now: float) -> list[Command]:
        """A request of one of this node's own machines has ended at one target."""
        if (ask := self._machines.asks.finish(finish)) is None:
            return []
        m = self._machines
        if m.plane.has(ask.owner):
            return self.obey(m.plane.machine_answered(ask.owner, ask.tag, finish.target, finish.outcome, now), now)
        if m.channels.has(ask.owner):
            return self.obey(m.channels.answered(ask.owner, ask.tag, finish.outcome, now), now)
        return self.obey(m.transfers.answered(ask.owner, ask.tag, finish.target, finish.outcome, now), now)

    # -- the plane -----------------------------------------------------------------------------------------------------

    def _take_plane(self, call: Call, now: float) -> list[Command]:
        plane = self._machines.plane
        if call.expects_reply:
            return self.obey(plane.receive(call, now), now)
        return self.obey(plane.heard(call.origin, call.topic, call.headers, call.bodies, now), now)

    def _tell(self, tell: Tell, now: float) -> list[Command]:
        m = self._machines
        lengths = [len(body) for body in tell.bodies]
        fire = Fire(*m.me(), m.next_id(), PLANE, tell.topic, 0, lengths, tell.headers)
        return self.obey([Post(fire, tell.targets, tell.bodies)], now)

    # -- neighbours ----------------------------------------------------------------------------------------------------

    def _peer_changed(self, change: PeerChanged, now: float) -> list[Command]:
        m = self._machines
        m.neighbours.forget_origins()
        peer, around = change.fqcn, m.neighbours
        text = f"{peer} is gone: {change.reason}"
        match change.state:
            case PeerState.UP:
                news = self._bound_to(peer, now)
                behind = lambda name: around.hop_to(name) == peer  # noqa: E731
                m.responder.link_up(behind)
                news += self.obey(m.flows.link_up(behind, now), now)
                return news + self.obey(m.requester.link_up(behind, now), now) + self._join_plane(peer, now)
            case PeerState.GONE if change.replaced:  # what stands behind it is probed as soon as the new link is up
                return self._lose(lambda name: name == peer, text, now) + self._leave_plane(change, now)
            case PeerState.GONE:
                lost = self._lose(lambda name: around.was_behind(name, peer), text, now)
                return lost + self._leave_plane(change, now)
        return []

    def _join_plane(self, peer: str, now: float) -> list[Command]:
        m = self._machines
        if m.uplink is not None and peer == m.neighbours.parent:
            return self.bind_plane(now)
        m.plane.child_bound(peer)
        return []

    def _leave_plane(self, change: PeerChanged, now: float) -> list[Command]:
        """A parent's link, or a child. One that is replaced is not gone: its next start says itself what is over."""
        m = self._machines
        if m.uplink is not None and not FQCN.is_ancestor(m.fqcn, change.fqcn):  # the plane may not go by it yet
            return self.obey(m.plane.unbound(), now)
        return self.obey(m.plane.child_gone(change.fqcn, now, change.replaced), now)

    def _lose(self, reaches: Callable[[str], bool], text: str, now: float) -> list[Command]:
        """These cells are gone, or the only way to them."""
        m = self._machines
        commands = self.obey(m.flows.peer_gone(reaches, text), now)
        commands += self.obey(m.requester.peer_gone(reaches, text, now), now)
        return commands + self.obey(m.transfers.owner_lost(reaches, text, now), now)

    def _bound_to(self, peer: str, now: float) -> list[Command]:
        """What a new binding says about our own token."""
        m = self._machines
        if m.uplink is not None and peer == m.neighbours.parent:
            m.fence = m.uplink.token
            return m.acceptor.welcome_again(m.welcome())
        token = m.acceptor.children[peer].token
        if m.uplink is None and token >= m.fence and token > m.wall_ms(now) + 1:
            # The root issues its own. The clock was ahead of what it is now: a former start of ours had a higher one.
            m.fence = m.fences.issue(m.fqcn, token)
            return self.bind_plane(now) if m.plane.is_bound else []
        return []
