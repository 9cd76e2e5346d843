"""A whole cell without a socket: its machines, joined, and one door to all of them. Who knows one door knows all.

    verb(..., now)       request, fire, publish, cancel, reply, stop; connected, disconnected, refused; child_exited; of
                         transfers those that `transfers` has, by `transfer`
    receive(conn, ...)   a message came from a connection
    handle_timeout(now)  the deadline has passed
    deadline             when to call handle_timeout
    next_bulk(...)       the lanes have room: the next segments and chunks

    what                                               module
    the machines, and who this cell is to others       machines
    a message from a connection: how far it gets       entrance
    a message for this cell: which machine it is for   arrivals
    a command: which machine it is for, or out         interpreter

Everything that is dropped is counted under its reason in `counters`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.client import Client
from zmqfl.protocol.commands import Call, Command, Outcome, Post, Send
from zmqfl.protocol.entrance import Entrance
from zmqfl.protocol.interpreter import Interpreter
from zmqfl.protocol.machines import Machines
from zmqfl.protocol.plane.door import Door
from zmqfl.protocol.plane.facts import Word
from zmqfl.protocol.plane.hub import Rule
from zmqfl.protocol.transfers import Transfers
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import Beat, Buffer, Bye, ByeReason, Conn, Fire, Lane, Packet

READ_AHEAD = 8
"""Part of the send budget that chunks may have which are read for one connection: half of what it may queue."""


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
        machines = self._machines = Machines(fqcn, instance, has_parent, config, sessions, wall_ms, now)
        self._interpreter = Interpreter(machines)
        self._obey = self._interpreter.obey
        self._entrance = Entrance(machines, self._interpreter)
        self.fqcn, self.instance, self.config = fqcn, instance, config
        self.counters, self.fences = machines.counters, machines.fences
        self.uplink, self.acceptor, self.neighbours = machines.uplink, machines.acceptor, machines.neighbours
        self.transit, self.flows, self.assembly = machines.transit, machines.flows, machines.assembly
        self.requester, self.responder = machines.requester, machines.responder
        self.transfers, self.asks, self.plane = machines.transfers, machines.asks, machines.plane
        self.channels = machines.channels
        self.door = Door(machines, self._obey)

    # -- verbs ---------------------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """The id of the next request or fire; ids rise."""
        return self._machines.next_id()

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
        message = Fire(*self._machines.me(), id, channel, topic, codec, [len(b) for b in bodies], dict(headers))
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

    def channel(self, act: Callable[[Client], list[Command]], now: float) -> list[Command]:
        """A verb of a reader or writer of channels."""
        return self._obey(act(self.channels.client), now)

    def publish(self, words: Iterable[Word], now: float) -> list[Command]:
        """Say something to everybody on the plane, or withdraw it. What is said at once is told together."""
        bound = self._interpreter.bind_plane(now) if self.uplink is None else []
        return bound + self._obey(self.plane.set_all(words, now), now)

    def set_rule(self, rule: Rule, now: float) -> list[Command]:
        """Which topics each child may hear from now on; who hears more than that is cut."""
        return self._obey(self.plane.set_rule(rule, now), now)

    def next_bulk(self, blocked: Container[Conn], now: float) -> list[Command]:
        """The next segment of a flow and the next chunks to read, where the lane is not in `blocked`.

        Call it again until it gives nothing: what is not asked for yet takes no memory.
        """
        if not self.flows.sending and not self.transfers.waiting:
            return []

        def is_free(target: str) -> bool:
            link = self.neighbours.link_of(self.neighbours.hop_to(target) or "")
            way = link.lane(Lane.BULK) if link is not None else None
            return way is None or way[1] not in blocked  # without a way: it comes back at once, and waits there

        def may_read(target: str) -> bool:
            """Workers are quick: what they read is not in the lane yet, and must find room there."""
            hop = self.neighbours.hop_to(target)
            reading = self.transfers.source.reading.items()
            size = sum(size for call, size in reading if self.neighbours.hop_to(call.origin) == hop)
            return size < self.config.send_budget // READ_AHEAD and is_free(target)

        commands = self._obey(self.transfers.next_reads(may_read, now), now)
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
        return self._machines.fence

    @property
    def is_quiet(self) -> bool:
        """After `stop`: whether every neighbour has answered."""
        return not any(link.connected for link in self.neighbours.links())

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        return self._machines.deadline

    def handle_timeout(self, now: float) -> list[Command]:
        """Whatever is due."""
        commands: list[Command] = []
        for machine in self._machines.due(now):
            commands += self._obey(machine.handle_timeout(now), now)
        return commands

    # -- receive ---------------------------------------------------------------------------------------------------

    def receive(self, conn: Conn, packet: Packet, now: float, user: str | None = None) -> list[Command]:
        """A message from a connection; `user` is the name that its key proves, None without keys.

        Raises `DecodeError` when the header is not what it claims: the caller drops the message and counts it.
        """
        return self._entrance.receive(conn, packet, now, user)

    def undeliverable(self, packet: Packet, now: float) -> list[Command]:
        """The send budget has no room for this packet."""
        return self._entrance.undeliverable(packet, now)

    def __repr__(self) -> str:
        links = ", ".join(f"{link.fqcn} {link.state}" for link in self.neighbours.links()) or "no links"
        return f"<Node {self.fqcn} [{links} | {self.requester.open} open, {self.responder.running} running]>"
