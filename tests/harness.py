"""A federation of Nodes without sockets, threads or sleep: joined by a simulated network, moved by a seed.

`Net` keeps one clock and one queue of what will happen. Between a child and its parent there are two connections,
as in the transport: the parent knows each by a random routing id that is new after every break, and what was under
way on a broken connection may still arrive afterwards, as libzmq's ROUTER lets it.

Invariants are checked while it runs: each request executes at most once, each handle ends exactly once, no stale
start is heard. `Net.check_ended` asks the rest at the end.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import (
    Call,
    Command,
    Exit,
    Finish,
    Hangup,
    Invoke,
    Note,
    Outcome,
    PeerChanged,
    Redial,
    Revoke,
    Send,
)
from zmqfl.protocol.node import Node
from zmqfl.wire.codec import decode_packet, encode_packet
from zmqfl.wire.messages import Buffer, Conn, Lane, Packet

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, reconnect_min=0.1, reconnect_max=2.0)
WALL_MS = 1_700_000_000_000


@dataclass
class Weather:
    """What the network does to messages. Delays in seconds; the others are probabilities."""

    delay: tuple[float, float] = (0.001, 0.01)
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """A message takes up to ten times the longest delay, so later ones overtake it."""
    leftover: float = 0.5
    """What was under way on a broken connection still arrives."""


@dataclass
class Host:
    """One process of one cell: it crashes with all that it knows, and starts again as another instance."""

    fqcn: str
    node: Node
    handler_time: Callable[[], float]
    alive: bool = True
    exited: int | None = None
    changes: list[PeerChanged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Cable:
    """The way between a child's lane and its parent."""

    child: Host
    parent: str
    lane: Lane
    conn: Conn | None = None
    """The parent's name for the present connection; None while it is broken."""
    cut: bool = False
    frozen: bool = False


class Net:
    """The network and everything on it. `seed` decides all chances; `config` is that of every cell."""

    def __init__(self, seed: int = 0, *, config: CellConfig = CONFIG, weather: Weather | None = None) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        self.config = config
        self.weather = weather or Weather()
        self.hosts: dict[str, Host] = {}
        self.cables: list[Cable] = []
        self.executions: Counter[tuple[str, int, int, str]] = Counter()
        self.outcomes: dict[tuple[str, int, int, str], Outcome] = {}
        self.asked: set[tuple[str, int, int, str]] = set()
        self.delivered = 0
        self.wall_skew: dict[str, int] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._still = 0

    # -- building --------------------------------------------------------------------------------------------------

    def add(self, fqcn: str, parent: str = "", handler_time: Callable[[], float] = lambda: 0.0) -> Host:
        """Start a cell; it dials its parent at once."""
        wall = WALL_MS + self.wall_skew.get(fqcn, 0) + int(self.now * 1000)
        node = Node(
            fqcn,
            self.random.getrandbits(63) + 1,
            has_parent=bool(parent),
            config=self.config,
            sessions=lambda: self.random.getrandbits(63) + 1,
            wall_ms=wall,
            now=self.now,
        )
        host = Host(fqcn, node, handler_time)
        self.hosts[fqcn] = host
        if parent:
            for lane in Lane:
                cable = Cable(host, parent, lane)
                self.cables.append(cable)
                self.after(0.01, lambda cable=cable: self._dial(cable))
        return host

    def tree(self, *names: str, root: str = "server") -> None:
        """Start the root and these cells; parents are found by name."""
        self.add(root)
        for name in names:
            self.add(name, FQCN.get_parent(name) or root)

    def crash(self, fqcn: str) -> None:
        """kill -9: the process and its connections are gone; the neighbours' kernels notice soon."""
        host = self.hosts[fqcn]
        host.alive = False
        for cable in self._cables_of(host):
            self._break(cable)
        self.cables = [cable for cable in self.cables if cable.child is not host]

    def restart(self, fqcn: str) -> Host:
        """The same name again, as another instance that remembers nothing."""
        if self.hosts[fqcn].alive:
            self.crash(fqcn)
        old = self.hosts[fqcn]
        parent = "" if old.node.uplink is None else (FQCN.get_parent(fqcn) or self._root())
        return self.add(fqcn, parent, old.handler_time)

    def cut(self, child: str) -> None:
        """No packet passes between the child and its parent, and both learn it after a while."""
        for cable in self._cables_to_parent(child):
            cable.cut = True
            self._break(cable)

    def heal(self, child: str) -> None:
        """The link works again; the child dials."""
        for cable in self._cables_to_parent(child):
            cable.cut = False
            self.after(self.random.uniform(0.05, 0.3), lambda cable=cable: self._dial(cable))

    def freeze(self, child: str, frozen: bool = True) -> None:
        """The connection stays, but nothing passes (a hung process, a silent firewall)."""
        for cable in self._cables_to_parent(child):
            cable.frozen = frozen

    # -- acting ----------------------------------------------------------------------------------------------------

    def request(
        self, origin: str, targets: str | list[str], body: bytes = b"x", timeout: float = 60.0, **more: float
    ) -> int:
        """Send a request from one cell; returns its id."""
        host = self.hosts[origin]
        names = [targets] if isinstance(targets, str) else targets
        id = host.node.next_id()
        for name in names:
            self.asked.add((origin, host.node.instance, id, name))
        self.obey(host, host.node.request(id, names, "c", "t", 0, {}, (body,), timeout, self.now, **more))
        return id

    def outcome(self, origin: str, id: int, target: str) -> Outcome | None:
        """How a request of the cell's present instance has ended; None while it has not."""
        return self.outcomes.get((origin, self.hosts[origin].node.instance, id, target))

    def code(self, origin: str, id: int, target: str) -> CellReturnCode | None:
        """The return code of that outcome."""
        outcome = self.outcome(origin, id, target)
        return None if outcome is None else outcome.code

    def run(self, seconds: float) -> None:
        """Let this much simulated time pass."""
        end = self.now + seconds
        while self.step(end):
            pass
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float = 120.0) -> None:
        """Let time pass until the condition holds."""
        end = self.now + limit
        while not condition():
            if not self.step(end):
                raise AssertionError(f"not within {limit} s of simulated time: {self!r}")

    def step(self, end: float) -> bool:
        """The next thing that happens, if it happens before `end`."""
        timer = min(
            ((d, host.fqcn) for host in self._living() if (d := host.node.deadline) is not None), default=(end, "")
        )
        event = self._queue[0][0] if self._queue else end
        at = max(self.now, min(timer[0], event))
        if at >= end:
            return False
        self._still = self._still + 1 if at == self.now else 0
        assert self._still < 10_000, f"time stands still: {self!r}"
        self.now = at
        if event <= timer[0]:
            heapq.heappop(self._queue)[2]()
        else:
            host = self.hosts[timer[1]]
            self.obey(host, host.node.handle_timeout(self.now))
        return True

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this later."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self._count, action))

    # -- the interpreter -------------------------------------------------------------------------------------------

    def obey(self, host: Host, commands: list[Command]) -> None:
        """What the reactor does, on this network."""
        for command in commands:
            match command:
                case Send():
                    self._carry(host, command.conn, command.packet)
                case Invoke():
                    self._invoke(host, command.call)
                case Finish():
                    self._finish(host, command)
                case PeerChanged():
                    host.changes.append(command)
                case Redial():
                    for cable in self._cables_to_parent(host.fqcn):
                        if cable.lane is command.lane:
                            self._dial(cable)
                case Exit():
                    host.exited = command.status
                    self.after(0.0, lambda: self._end_process(host))
                case Note():
                    host.notes.append(command.text)
                case Revoke() | Hangup():
                    pass
                case _:
                    raise AssertionError(f"unexpected command {command}")

    def _invoke(self, host: Host, call: Call) -> None:
        key = (call.origin, call.instance, call.id, host.fqcn)
        self.executions[key] += 1
        assert self.executions[key] == 1, f"{key} was executed twice"
        call.started = self.now
        body = bytes(call.bodies[0]) if call.bodies else b""
        outcome = Outcome(CellReturnCode.OK, "", 0, {}, (b"re:" + body,))

        def ended() -> None:
            if host.alive:
                self.obey(host, host.node.reply(call, outcome, self.now))

        self.after(host.handler_time(), ended)

    def _finish(self, host: Host, finish: Finish) -> None:
        key = (host.fqcn, host.node.instance, finish.id, finish.target)
        assert key in self.asked, f"{key} was never asked"
        assert key not in self.outcomes, f"{key} has ended twice"
        self.outcomes[key] = finish.outcome

    def _end_process(self, host: Host) -> None:
        if host.alive and self.hosts.get(host.fqcn) is host:
            self.crash(host.fqcn)
        host.alive = False

    # -- the wire --------------------------------------------------------------------------------------------------

    def _carry(self, host: Host, conn: Conn, packet: Packet) -> None:
        cable = self._cable(host, conn)
        if cable is None or cable.conn is None or cable.frozen:
            return
        frames = encode_packet(packet)
        at_conn = cable.conn
        copies = 2 if self.random.random() < self.weather.duplicate else 1
        for _ in range(copies):
            if self.random.random() >= self.weather.loss:
                self.after(self._delay(), lambda: self._arrive(host, cable, at_conn, frames))

    def _arrive(self, sender: Host, cable: Cable, conn: Conn, frames: list[Buffer]) -> None:
        if cable.conn != conn and self.random.random() >= self.weather.leftover:
            return
        to_parent = sender is cable.child
        receiver = self.hosts.get(cable.parent) if to_parent else cable.child
        if receiver is None or not receiver.alive or cable.frozen or (not to_parent and cable.conn != conn):
            return
        self.delivered += 1
        at = conn if to_parent else ("up", cable.lane)
        self.obey(receiver, receiver.node.receive(at, decode_packet(frames), self.now))

    def _delay(self) -> float:
        low, high = self.weather.delay
        delay = self.random.uniform(low, high)
        return delay + self.random.uniform(0, 10 * high) if self.random.random() < self.weather.reorder else delay

    def _dial(self, cable: Cable) -> None:
        parent = self.hosts.get(cable.parent)
        if cable.conn is not None or cable.cut or not cable.child.alive or cable not in self.cables:
            return
        if parent is None or not parent.alive:
            self.after(self.random.uniform(0.1, 0.4), lambda: self._dial(cable))
            return
        cable.conn = ("in", self.random.getrandbits(64), cable.lane)
        self.obey(cable.child, cable.child.node.connected(cable.lane, self.now))

    def _break(self, cable: Cable) -> None:
        """Both ends learn of it, each in its own time; the child dials again."""
        conn, cable.conn = cable.conn, None
        if conn is None:
            return

        def parent_learns() -> None:
            parent = self.hosts.get(cable.parent)
            if parent is not None and parent.alive:
                self.obey(parent, parent.node.disconnected(conn, self.now))

        def child_learns() -> None:
            if cable.child.alive and cable.conn is None:
                self.obey(cable.child, cable.child.node.disconnected(("up", cable.lane), self.now))
                self._dial(cable)

        self.after(self.random.uniform(0.001, 0.1), parent_learns)
        self.after(self.random.uniform(0.001, 0.1), child_learns)

    def _cable(self, host: Host, conn: Conn) -> Cable | None:
        if conn[0] == "up":
            return next((c for c in self.cables if c.child is host and c.lane == conn[1]), None)
        return next((c for c in self.cables if c.conn == conn), None)

    def _cables_to_parent(self, child: str) -> list[Cable]:
        return [cable for cable in self.cables if cable.child is self.hosts[child]]

    def _cables_of(self, host: Host) -> list[Cable]:
        return [cable for cable in self.cables if cable.child is host or cable.parent == host.fqcn]

    def _living(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.alive]

    def _root(self) -> str:
        return next(host.fqcn for host in self.hosts.values() if host.node.uplink is None)

    # -- the end ---------------------------------------------------------------------------------------------------

    def is_formed(self) -> bool:
        """Whether every living cell is bound to its parent, both lanes, and both ends agree on the session."""
        for host in self._living():
            if host.node.uplink is None:
                continue
            link = host.node.uplink.link
            parent = next((c.parent for c in self.cables if c.child is host), "")
            other = self.hosts[parent].node.acceptor.children.get(host.fqcn) if parent in self.hosts else None
            if link is None or other is None or not host.node.is_bound:
                return False
            if link.session != other.session or link.bulk is None or other.bulk is None:
                return False
        return True

    def check_ended(self) -> None:
        """Every handle of a cell that still lives has ended, and nothing is kept for it."""
        for host in self._living():
            assert host.node.requester.open == 0, f"{host.node!r} still waits"
            assert host.node.requester.retained == 0
        living = {(host.fqcn, host.node.instance) for host in self._living()}
        missing = [key for key in self.asked if key[:2] in living and key not in self.outcomes]
        assert not missing, f"never ended: {missing}"

    def __repr__(self) -> str:
        return f"<Net t={self.now:.3f} {' '.join(repr(host.node) for host in self._living())}>"
