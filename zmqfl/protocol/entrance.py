"""Everything that comes from a connection, and how far it gets.

    1  the connection is bound?           else only HELLO and ATTACH; a RESET, not too often
    2  its session is that of the link?   else dropped: the leftovers of a connection that was replaced
       its number was not seen?           else dropped: something repeats messages
    3  between neighbours?                uplink or acceptor
    4  its origin may come this way?      from below: the child itself or a cell below it, proven by the key;
                                          from above: neither this cell nor one below it
    5  its fence token is current?        else dropped: a replaced start; a child's must be the one it was issued
    6  for this cell?                     `arrivals`
    7  for others?                        transit

Everything that is dropped is counted under its reason in `counters`.
"""

from __future__ import annotations

from zmqfl.errors import DecodeError
from zmqfl.protocol.acceptor import is_greeting
from zmqfl.protocol.commands import Command, PeerChanged, PeerState
from zmqfl.protocol.interpreter import Interpreter
from zmqfl.protocol.link import Link
from zmqfl.protocol.machines import Machines
from zmqfl.wire.codec import decode_header, decode_origin, is_routed
from zmqfl.wire.messages import (
    Attach,
    Beat,
    Bye,
    ByeAck,
    Conn,
    Hello,
    LinkMessage,
    Packet,
    ReturnReason,
    RoutedMessage,
    Welcome,
)


class Entrance:
    """See the module."""

    def __init__(self, machines: Machines, interpreter: Interpreter) -> None:
        self._machines = machines
        self._interpreter = interpreter
        self._obey = interpreter.obey

    def receive(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        """See `Node.receive`."""
        m = self._machines
        link = m.neighbours.bound(conn)
        if conn[0] == "up" and not is_routed(packet.kind):
            return self._from_parent(link, packet, now)
        if link is None:
            if not (news := self._obey(m.acceptor.confirm(conn, packet, now), now)):
                return self._from_stranger(conn, packet, now, user)
            return news + self._heard_first(conn, packet, now, user)
        return self._heard(link, conn, packet, now, user)

    def undeliverable(self, packet: Packet, now: float) -> list[Command]:
        """See `Node.undeliverable`."""
        m = self._machines
        m.counters["budget_full"] += 1
        text = f"the send budget of {m.fqcn} is full"
        return self._obey(m.transit.give_back(packet, packet.targets, ReturnReason.BUSY, text, now), now)

    # -- 1 to 3 --------------------------------------------------------------------------------------------------------

    def _heard_first(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        """The message that has bound its connection. Should it be malformed, the binding is still news."""
        link = self._machines.neighbours.bound(conn)
        try:
            return [] if link is None else self._heard(link, conn, packet, now, user)
        except DecodeError:
            self._machines.counters["malformed"] += 1
            return []

    def _heard(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        """From a connection that is bound."""
        if packet.kind == Hello.KIND or packet.kind == Attach.KIND:
            return self._from_stranger(conn, packet, now, user)
        if packet.session != link.session:
            self._machines.counters["wrong_session"] += 1
            return []
        if is_routed(packet.kind) and not link.seen[packet.lane].admit(packet.sequence):
            self._machines.counters["repeated"] += 1
            return []
        commands = self._from_neighbour(link, conn, packet, now, user)  # first: nothing has changed if it is malformed
        if link.hear(now):
            commands = self._obey([PeerChanged(link.fqcn, PeerState.UP, link.instance)], now) + commands
        return commands

    def _from_stranger(self, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        m = self._machines
        if conn[0] == "up" or not is_greeting(packet):
            if conn[0] == "up":
                m.counters["unbound"] += 1
                return []
            return m.acceptor.reset(conn, packet, now)
        message = decode_header(packet.kind, packet.header)
        assert isinstance(message, Hello | Attach)
        if m.responder.closed:
            return []
        m.neighbours.forget_origins()
        greeted = m.acceptor.greet(conn, user, packet, message, m.welcome(), now, m.wall_ms(now))
        return self._obey(greeted, now)

    def _from_parent(self, link: Link | None, packet: Packet, now: float) -> list[Command]:
        m = self._machines
        assert m.uplink is not None
        message = decode_header(packet.kind, packet.header)
        commands: list[Command] = []
        if link is not None and packet.session == link.session:
            if link.hear(now):
                commands = self._obey([PeerChanged(link.fqcn, PeerState.UP, link.instance)], now)
            if isinstance(message, Beat):
                link.receive_beat(message, now)
        root, was_holder = m.neighbours.root, m.neighbours.is_holder
        commands += self._obey(m.uplink.receive(packet, _link_message(message), now), now)
        link = m.uplink.link
        if isinstance(message, Welcome) and link is not None and packet.session == link.session:
            m.fences.reset(link.fqcn, message.fence)  # the pinned parent's clock may have stepped back
        if m.neighbours.is_holder and not was_holder:
            m.acceptor.vouch(now)
            if link is not None:  # news for who waits until this cell is ready
                commands.append(PeerChanged(link.fqcn, PeerState.UP, link.instance, "this start holds the name"))
        if m.neighbours.root != root:
            commands += self._interpreter.learn_root(now)
        return commands

    def _from_neighbour(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        if is_routed(packet.kind):
            return self._pass(link, conn, packet, now, user)
        acceptor = self._machines.acceptor
        match decode_header(packet.kind, packet.header):
            case Beat() as beat:
                link.receive_beat(beat, now)
            case Bye() as bye:
                if not link.leave(acceptor.bindings[conn][1]):
                    return []
                return self._obey(acceptor.left(link, bye.text or "it has stopped", now), now)
            case ByeAck():
                return self._obey(acceptor.end(link.fqcn, "this cell has stopped", now), now)
        return []

    # -- 4 to 7 --------------------------------------------------------------------------------------------------------

    def _pass(self, link: Link, conn: Conn, packet: Packet, now: float, user: str | None) -> list[Command]:
        m = self._machines
        origin, fence, _, _ = decode_origin(packet.header)
        if not m.neighbours.may_come(conn, user, origin):
            m.counters["origin_refused"] += 1
            return []
        forged = origin == link.fqcn and conn[0] != "up" and fence != link.token  # a child has the token we issued
        if forged or not m.fences.admit(origin, fence):
            m.counters["stale_fence"] += 1
            return []
        commands: list[Command] = []
        others = packet.targets
        if m.fqcn in others:
            others = tuple(target for target in others if target != m.fqcn)
            commands = self._interpreter.deliver(packet, now)
        return commands + self._obey(m.transit.forward(packet, others, now), now) if others else commands


def _link_message(message: object) -> LinkMessage:
    assert isinstance(message, LinkMessage) and not isinstance(message, RoutedMessage)
    return message
