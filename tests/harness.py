"""A federation of Nodes without sockets, threads or sleep: joined by a simulated network, moved by a seed.

`Net` keeps one clock and one queue of what will happen. Between a child and its parent there are two connections, as
in the transport, and they behave as those of libzmq do, or worse:

- the parent knows each by a random routing id that is new after every break;
- what was under way on a broken connection may still arrive, at either end, mixed with what the new one brings;
- both ends hear of a break late, the parent perhaps long after the child is back;
- the child's connection is made anew before its reactor has heard of the break, so that messages of the old session
  go out on the new connection, before the HELLO;
- a frozen connection keeps what is sent until it thaws or breaks.

Several processes may hold one name (twins). The one that started first listens at the address of the name.

Checked while it runs: each request executes at most once, each handle ends exactly once, and once a start of a cell
was heard no older one is. `Net.check_ended` asks the rest at the end.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf

from tests.works import Offer, Pull, Push, Works
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import (
    Call,
    ChannelAnswered,
    ChannelEvent,
    Command,
    Exit,
    FactsChanged,
    Finish,
    FlowEnded,
    Hangup,
    Invoke,
    ItemsCame,
    Listen,
    Note,
    Outcome,
    PeerChanged,
    Redial,
    Revoke,
    Send,
    Work,
    WriterChanged,
)
from zmqfl.protocol.node import Node
from zmqfl.transport.outbox import ByteBudget, Outbox
from zmqfl.wire.codec import decode_packet, encode_packet
from zmqfl.wire.messages import Buffer, Conn, Lane, Packet

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, reconnect_min=0.1, reconnect_max=2.0)
WALL_MS = 1_700_000_000_000
BYE_TIME = 0.5
"""Seconds that a process which stops waits for its neighbours' answers."""
LATE = 0.2
"""How often a parent hears of a break long after it."""

Key = tuple[str, int, int, str]
"""One target of one request: (origin, instance, id, target)."""


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


@dataclass(eq=False)
class Host:
    """One process of one cell: it crashes with all that it knows, and starts again as another instance."""

    fqcn: str
    parent: str
    node: Node
    handler_time: Callable[[], float]
    budget: ByteBudget
    alive: bool = True
    deadline: float | None = None
    """That of the node: it changes only when the node is told something."""
    exited: int | None = None
    changes: list[PeerChanged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    revoked: list[Call] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)
    """Per origin the fence token of the newest start that ran something here."""


@dataclass(eq=False)
class Cable:
    """The way between one lane of a child and its parent."""

    child: Host
    parent: str
    lane: Lane
    conn: Conn | None = None
    """The parent's name for the present connection; None while it is broken."""
    listener: Host | None = None
    """The process at the other end of `conn`."""
    cut: bool = False
    frozen: bool = False
    dialling: bool = False
    is_known: bool = False
    """The child's reactor has heard that it is connected, and not yet that it is no more."""
    told: float = 0.0
    """When the child hears of the last change; changes keep their order."""
    queued: list[list[Buffer]] = field(default_factory=list)
    """Sent by a child that does not know of the break: the next connection brings them."""
    ice: deque[Callable[[], None]] = field(default_factory=deque)
    """Arrivals on a frozen connection."""
    last: dict[Host, float] = field(default_factory=dict)
    """When the last message of each end arrives: a connection keeps their order."""
    rate: float = inf
    """Bytes per second, each way."""
    room: int | None = None
    """Messages that libzmq and the kernel take from each end; the others wait in its outbox. None: all."""
    inside: Counter[Host] = field(default_factory=Counter)
    """How many they hold."""
    through: dict[Host, float] = field(default_factory=dict)
    """When what each end has sent is through, at this rate."""
    outboxes: dict[Host, Outbox] = field(default_factory=dict)


Who = str | Host
"""A process, or the name of a cell: its newest process."""


class Net:
    """The network and everything on it. `seed` decides all chances; `config` is that of every cell."""

    def __init__(self, seed: int = 0, *, config: CellConfig = CONFIG, weather: Weather | None = None) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        self.config = config
        self.weather = weather or Weather()
        self.hosts: dict[str, Host] = {}
        """The newest process of each name."""
        self.processes: list[Host] = []
        """All that live, in the order in which they were started."""
        self.cables: list[Cable] = []
        self.executions: Counter[Key] = Counter()
        self.outcomes: dict[Key, Outcome] = {}
        self.asked: dict[Key, float] = {}
        """When each was sent."""
        self.ended: dict[Key, float] = {}
        self.delivered = 0
        self.traffic: Counter[tuple[str, str, int]] = Counter()
        """Messages sent, by (from, to, kind)."""
        self.wall_skew: dict[str, int] = {}
        """Milliseconds by which the clock of a cell that starts from now on is wrong."""
        self.when_ended: Callable[[Host], None] = lambda host: None
        """Told of each process that ended by itself, with its status in `exited`."""
        self.on_channel: Callable[[Host, ChannelEvent], None] = lambda host, event: None
        """Told what readers and writers of channels are."""
        self.works = Works(self)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._still = 0

    # -- building --------------------------------------------------------------------------------------------------

    def add(self, fqcn: str, parent: str = "", handler_time: Callable[[], float] = lambda: 0.0) -> Host:
        """Start a process; it dials its parent at once."""
        node = Node(
            fqcn,
            self.random.getrandbits(63) + 1,
            has_parent=bool(parent),
            config=self.config,
            sessions=lambda: self.random.getrandbits(63) + 1,
            wall_ms=WALL_MS + self.wall_skew.get(fqcn, 0) + int(self.now * 1000),
            now=self.now,
        )
        host = Host(fqcn, parent, node, handler_time, ByteBudget(self.config.send_budget))
        self.hosts[fqcn] = host
        self.processes.append(host)
        if parent:
            for lane in Lane:
                cable = Cable(host, parent, lane)
                self.cables.append(cable)
                self._dial_after(0.01, cable)
        return host

    def tree(self, *names: str, root: str = "server") -> None:
        """Start the root and these cells; parents are found by name."""
        self.add(root)
        for name in names:
            self.add(name, FQCN.get_parent(name) or root)

    def form(self, *names: str) -> Net:
        """Start this tree, wait until all are bound, and a little longer than a round trip."""
        self.tree(*names)
        self.run_until(self.is_formed, 60)
        self.run(1)
        return self

    def crash(self, who: Who) -> None:
        """kill -9: the process and its connections are gone; the neighbours' kernels notice soon."""
        host = self._process(who)
        if not host.alive:
            return
        host.alive = False
        self.processes.remove(host)
        for cable in self.cables:
            if cable.child is host or cable.listener is host:
                self.break_off(cable)
        self.cables = [cable for cable in self.cables if cable.child is not host]

    def stop(self, who: Who) -> None:
        """The process says BYE and ends."""
        host = self._process(who)
        self.obey(host, host.node.stop(self.now))
        self.after(BYE_TIME, lambda: self.crash(host))

    def restart(self, who: Who) -> Host:
        """The same name again, as another instance that remembers nothing."""
        self.crash(who)
        return self.twin(who)

    def twin(self, who: Who) -> Host:
        """The same name once more, beside the process that holds it."""
        host = self._process(who)
        return self.add(host.fqcn, host.parent, host.handler_time)

    def cut(self, who: Who) -> None:
        """No packet passes between the child and its parent, and both learn it after a while."""
        for cable in self._cables_to_parent(who):
            cable.cut = True
            self.break_off(cable)

    def heal(self, who: Who) -> None:
        """The link works again; the child dials."""
        for cable in self._cables_to_parent(who):
            cable.cut = False
            self._dial_after(self.random.uniform(0.05, 0.3), cable)

    def freeze(self, who: Who) -> None:
        """The connection stays, but nothing passes (a hung process, a silent firewall)."""
        for cable in self._cables_to_parent(who):
            cable.frozen = True

    def thaw(self, who: Who) -> None:
        """What was frozen passes, in its order."""
        for cable in self._cables_to_parent(who):
            cable.frozen = False
            while cable.ice:
                self.after(0.0, cable.ice.popleft())

    def repair(self) -> None:
        """Start what is dead, heal what is cut, thaw what is frozen."""
        for name, host in list(self.hosts.items()):
            if not host.alive and self._listener(name) is None:
                self.restart(name)
        for process in self.processes:
            self.heal(process)
            self.thaw(process)

    # -- acting ----------------------------------------------------------------------------------------------------

    def request(
        self,
        origin: Who,
        targets: str | list[str],
        body: bytes = b"x",
        timeout: float = 60.0,
        deadline: float | None = None,
    ) -> int:
        """Send a request from one cell; returns its id."""
        host = self._process(origin)
        names = [targets] if isinstance(targets, str) else targets
        id = host.node.next_id()
        for name in names:
            self.asked[host.fqcn, host.node.instance, id, name] = self.now
        self.obey(host, host.node.request(id, names, "c", "t", 0, {}, (body,), timeout, self.now, deadline))
        return id

    def cancel(self, origin: Who, id: int) -> None:
        """Nobody waits for this request any more."""
        host = self._process(origin)
        for key in [k for k in self.asked if k[:3] == (host.fqcn, host.node.instance, id) and k not in self.outcomes]:
            del self.asked[key]
        self.obey(host, host.node.cancel(id, self.now))

    def outcome(self, origin: Who, id: int, target: str) -> Outcome | None:
        """How a request of the cell's present instance has ended; None while it has not."""
        host = self._process(origin)
        return self.outcomes.get((host.fqcn, host.node.instance, id, target))

    def code(self, origin: Who, id: int, target: str) -> CellReturnCode | None:
        """The return code of that outcome."""
        outcome = self.outcome(origin, id, target)
        return None if outcome is None else outcome.code

    def push(
        self,
        origin: Who,
        targets: str | list[str],
        chunks: list[bytes],
        *,
        window: int = 1,
        looks_ahead: bool = True,
        judges: bool = True,
        knows_end: bool = True,
        timeout: float = 10.0,
        stops: dict[str, int] | None = None,
    ) -> Push:
        """Push chunks from one cell to others."""
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        return self.works.push(
            self._process(origin), names, chunks, window, looks_ahead, judges, knows_end, timeout, stops or {}
        )  # fmt: skip

    def offer(
        self, owner: Who, content: bytes, chunk: int = 10, timeout: float = 60.0, to: list[str] | None = None
    ) -> Offer:
        """Let others pull a file."""
        return self.works.offer(self._process(owner), content, chunk, timeout, to)

    def pull(
        self, receiver: Who, offer: Offer, *, timeout: float = 10.0, keep: bool = False, rid: str | None = None
    ) -> Pull:
        """Pull what is offered, or what another `rid` names."""
        return self.works.pull(self._process(receiver), offer.host.fqcn, rid or offer.rid, timeout, keep)

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
        at, host = end, None
        for process in self.processes:
            if process.deadline is not None and process.deadline < at:
                at, host = process.deadline, process
        event = self._queue[0][0] if self._queue else end
        at = max(self.now, min(at, event))
        if at >= end:
            return False
        self._still = self._still + 1 if at == self.now else 0
        assert self._still < 10_000, f"time stands still: {self!r}"
        self.now = at
        if host is None or event <= at:
            heapq.heappop(self._queue)[2]()
        else:
            self.obey(host, host.node.handle_timeout(self.now))
        return True

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do this later."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self._count, action))

    # -- the interpreter -------------------------------------------------------------------------------------------

    def obey(self, host: Host, commands: list[Command]) -> None:
        """What the reactor does, on this network; then whatever the lanes have room for."""
        self._obey(host, commands)
        while host.alive and (bulk := host.node.next_bulk(self._blocked(host), self.now)):
            self._obey(host, bulk)
        host.deadline = host.node.deadline

    def _obey(self, host: Host, commands: list[Command]) -> None:
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
                    for cable in self._cables_to_parent(host):
                        if cable.lane is command.lane:
                            self._dial_after(0.0, cable)
                case Exit():
                    host.exited = command.status
                    self.after(0.0, partial(self._end_process, host))
                case FlowEnded() | FactsChanged():
                    pass  # who closes a cell waits for it; who watches the plane is told
                case Listen():
                    assert not command.plane, "nothing is published here: the links tell all"
                case Note():
                    host.notes.append(command.text)
                case Revoke():
                    host.revoked.append(command.call)
                case Hangup():
                    pass  # nothing waits for a connection here
                case ItemsCame() | WriterChanged() | ChannelAnswered():
                    self.on_channel(host, command)
                case _ if isinstance(command, Work):
                    self.works.obey(host, command)
                case _:
                    raise AssertionError(f"unexpected command {command}")

    def _invoke(self, host: Host, call: Call) -> None:
        key = (call.origin, call.instance, call.id, host.fqcn)
        self.executions[key] += 1
        assert self.executions[key] == 1, f"{key} was executed twice"
        self._check_newest(host, call)
        call.started = self.now
        outcome = self.answer(host, call)

        def ended() -> None:
            if host.alive:
                self.obey(host, host.node.reply(call, outcome, self.now))

        self.after(host.handler_time(), ended)

    def answer(self, host: Host, call: Call) -> Outcome:
        """What the handler returns."""
        return Outcome(CellReturnCode.OK, bodies=(b"re:" + (bytes(call.bodies[0]) if call.bodies else b""),))

    def _check_newest(self, host: Host, call: Call) -> None:
        caller = next((p for p in self.processes if p.node.instance == call.instance), None)
        if caller is not None and host.parent != call.origin:  # the parent's token may go back, as its clock may
            newest = host.heard.get(call.origin, 0)
            assert caller.node.fence >= newest, f"{host.fqcn} hears an old start of {call.origin}"
            host.heard[call.origin] = caller.node.fence

    def _finish(self, host: Host, finish: Finish) -> None:
        key = (host.fqcn, host.node.instance, finish.id, finish.target)
        assert key in self.asked, f"{key} was never asked, or cancelled"
        assert key not in self.outcomes, f"{key} has ended twice"
        self.outcomes[key] = finish.outcome
        self.ended[key] = self.now

    def _end_process(self, host: Host) -> None:
        if host.alive:
            self.crash(host)
            self.when_ended(host)

    # -- the wire --------------------------------------------------------------------------------------------------

    def _carry(self, host: Host, conn: Conn, packet: Packet) -> None:
        frames = encode_packet(packet)
        if conn[0] != "up":
            cable = next((c for c in self.cables if c.conn == conn), None)
            if cable is not None:  # else it is broken, and the parent does not know it yet
                self.traffic[host.fqcn, cable.child.fqcn, packet.kind] += 1
                self._hand_over(host, cable, packet, frames)
            return
        self.traffic[host.fqcn, host.parent, packet.kind] += 1
        cable = next(c for c in self.cables if c.child is host and c.lane == conn[1])
        if cable.conn is not None:
            self._hand_over(host, cable, packet, frames)
        elif cable.is_known:
            cable.queued.append(frames)

    def limit(self, who: Who, rate: float = inf, room: int | None = 4) -> None:
        """From now on the lanes between this cell and its parent are no faster, and take no more messages at once."""
        for cable in self._cables_to_parent(who):
            cable.rate, cable.room = rate, room

    def _hand_over(self, sender: Host, cable: Cable, packet: Packet, frames: list[Buffer]) -> None:
        """To the connection, or to its queue, or back to the node."""
        box = cable.outboxes.get(sender)
        if not box and self._take_in(sender, cable, frames):
            return
        if box is None:
            box = cable.outboxes[sender] = Outbox(sender.budget)
        if not box.put(frames, packet.size, self.now):
            self._obey(sender, sender.node.undeliverable(packet, self.now))

    def _take_in(self, sender: Host, cable: Cable, frames: list[Buffer]) -> bool:
        """What a send to libzmq does; False: it would block."""
        if cable.room is None:
            self._transmit(sender, cable, frames)
            return True
        if cable.inside[sender] >= cable.room:
            return False
        cable.inside[sender] += 1
        took = sum(map(len, frames)) / cable.rate
        cable.through[sender] = max(self.now, cable.through.get(sender, 0.0)) + took
        self.after(cable.through[sender] - self.now, partial(self._let_through, sender, cable, cable.conn, frames))
        return True

    def _let_through(self, sender: Host, cable: Cable, conn: Conn | None, frames: list[Buffer]) -> None:
        """This message has left its end, which has room for another now."""
        if cable.conn != conn:
            return
        if cable.frozen:
            cable.ice.append(partial(self._let_through, sender, cable, conn, frames))
            return
        self._transmit(sender, cable, frames)
        cable.inside[sender] -= 1
        if (box := cable.outboxes.get(sender)) is not None:
            box.flush(partial(self._take_in, sender, cable), self.now)
        if sender.alive:
            self.obey(sender, [])

    def _blocked(self, host: Host) -> set[Conn]:
        """The connections of a process whose queue is not empty."""
        return {
            ("up", cable.lane) if cable.child is host else cable.conn
            for cable in self.cables
            if cable.outboxes and cable.conn is not None and cable.outboxes.get(host)
        }

    def _transmit(self, sender: Host, cable: Cable, frames: list[Buffer]) -> None:
        assert cable.conn is not None
        copies = 2 if self.random.random() < self.weather.duplicate else 1
        for _ in range(copies):
            if self.random.random() >= self.weather.loss:
                assert cable.listener is not None
                receiver = cable.listener if sender is cable.child else cable.child
                self.after(self._delay(sender, cable), partial(self._arrive, receiver, cable, cable.conn, frames))

    def _arrive(self, receiver: Host, cable: Cable, conn: Conn, frames: list[Buffer], *, late: bool = False) -> None:
        if not receiver.alive:
            return
        if cable.conn != conn and not late:
            if self.random.random() < self.weather.leftover:
                again = partial(self._arrive, receiver, cable, conn, frames, late=True)
                self.after(self.random.choice((0.0, self.random.uniform(0.0, 1.0))), again)
            return
        if cable.conn == conn and cable.frozen:
            cable.ice.append(partial(self._arrive, receiver, cable, conn, frames))
            return
        self.delivered += 1
        at = ("up", cable.lane) if receiver is cable.child else conn
        self.obey(receiver, receiver.node.receive(at, decode_packet(frames), self.now))

    def _delay(self, sender: Host, cable: Cable) -> float:
        low, high = self.weather.delay
        at = self.now + self.random.uniform(low, high)
        if self.random.random() < self.weather.reorder:
            return at + self.random.uniform(0, 10 * high) - self.now
        at = cable.last[sender] = max(at, cable.last.get(sender, 0.0))
        return at - self.now

    def _dial_after(self, seconds: float, cable: Cable) -> None:
        if not cable.dialling:
            cable.dialling = True
            self.after(seconds, partial(self._dial, cable))

    def _dial(self, cable: Cable) -> None:
        cable.dialling = False
        if cable.conn is not None or cable.cut or not cable.child.alive:
            return
        cable.listener = self._listener(cable.parent)
        if cable.listener is None:
            self._dial_after(self.random.uniform(0.1, 0.4), cable)
            return
        cable.conn = ("in", self.random.getrandbits(64), cable.lane)
        for frames in cable.queued:
            self._transmit(cable.child, cable, frames)
        cable.queued.clear()
        self._tell(cable, True)

    def break_off(self, cable: Cable) -> None:
        """Both ends learn of it, each in its own time; the child dials again."""
        conn, cable.conn = cable.conn, None
        if conn is None:
            return
        while cable.ice:
            self.after(0.0, cable.ice.popleft())  # as leftovers
        for box in cable.outboxes.values():
            box.clear()
        cable.outboxes.clear()
        cable.inside.clear()
        cable.through.clear()
        parent = cable.listener
        assert parent is not None

        def parent_learns() -> None:
            if parent.alive:
                self.obey(parent, parent.node.disconnected(conn, self.now))

        late = self.random.random() < LATE
        self.after(self.random.uniform(0.1, 3.0) if late else self.random.uniform(0.001, 0.1), parent_learns)
        self._tell(cable, False)
        self._dial_after(self.random.uniform(0.001, 0.2), cable)

    def _tell(self, cable: Cable, connected: bool) -> None:
        """The child's reactor hears what its monitor says."""
        cable.told = max(cable.told, self.now + self.random.uniform(0.0, 0.1))

        def learn() -> None:
            if not cable.child.alive:
                return
            cable.is_known = connected
            node = cable.child.node
            if connected:
                self.obey(cable.child, node.connected(cable.lane, self.now))
            else:
                cable.queued.clear()
                self.obey(cable.child, node.disconnected(("up", cable.lane), self.now))

        self.after(cable.told - self.now, learn)

    def _cables_to_parent(self, who: Who) -> list[Cable]:
        host = self._process(who)
        return [cable for cable in self.cables if cable.child is host]

    def _process(self, who: Who) -> Host:
        return self.hosts[who] if isinstance(who, str) else who

    def _listener(self, name: str) -> Host | None:
        return next((host for host in self.processes if host.fqcn == name), None)

    # -- the end ---------------------------------------------------------------------------------------------------

    def is_formed(self) -> bool:
        """Whether every living cell is bound to its parent."""
        return all(self.is_bound(host) for host in self.processes if host.parent)

    def is_settled(self) -> bool:
        """Whether, beside this, no cell asks another one anything: all know the plane."""
        return self.is_formed() and all(host.node.plane.is_current and not host.node.asks for host in self.processes)

    def is_bound(self, who: Who) -> bool:
        """Whether this cell and its parent agree that it is bound, both lanes, and that the name is its own."""
        host = self._process(who)
        link, parent = host.node.neighbours.link_of(host.node.neighbours.parent), self._listener(host.parent)
        if link is None or parent is None or not host.node.neighbours.is_bound or not host.node.neighbours.is_holder:
            return False
        other = parent.node.acceptor.children.get(host.fqcn)
        ends = (link, other) if other is not None else ()
        return len({end.session for end in ends}) == 1 and all(end.control and end.bulk for end in ends)

    @property
    def open(self) -> int:
        """Requests of living cells that have not ended."""
        return sum(host.node.requester.open for host in self.processes)

    def check_ended(self) -> None:
        """Every handle of a cell that still lives has ended, and nothing is kept for it."""
        for host in self.processes:
            of_plane = sum(host.node.plane.has(asked.ask.owner) for asked in host.node.asks._asked.values())
            assert host.node.requester.open == of_plane, f"{host.node!r} still waits"  # a plane asks now and then
            assert of_plane or host.node.requester.retained == 0
        living = {(host.fqcn, host.node.instance) for host in self.processes}
        missing = [key for key in self.asked if key[:2] in living and key not in self.outcomes]
        assert not missing, f"never ended: {missing}"

    def __repr__(self) -> str:
        return f"<Net t={self.now:.3f} {' '.join(repr(host.node) for host in self.processes)}>"
