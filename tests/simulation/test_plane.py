"""The broadcast plane of whole cells on the simulated network: whatever happens, in the end all know the same.

`Planes` is a `Net` that also publishes: where a parent does, a child shows its ticket some time after it was told to
listen, and hears what is published from then on, or a part of it. Whether a connection of this kind lives has nothing
to do with the links: it may outlive them, or end by itself. It keeps, beside the cells, what each process has said and
what those who watch it were told, and checks at each change that what is for one cell only goes nowhere else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from tests.harness import CONFIG, Cable, Host, Net, Weather
from zmqfl.protocol.commands import Command, FactsChanged, Listen, Publish, Reopen
from zmqfl.protocol.plane.facts import BOUND, bound_topic, concerns, props_topic, rids_topic
from zmqfl.protocol.plane.hub import REMINDERS
from zmqfl.protocol.plane.publication import Ticket, decode_publication, encode_publication
from zmqfl.wire.codec import decode_packet
from zmqfl.wire.messages import Buffer, Kind

TREE = (
    "relay-a", "relay-a.relay-c", "relay-a.relay-c.site-1", "relay-a.relay-c.site-2", "relay-a.site-3", "relay-b",
    "relay-b.site-4", "site-5",
)  # fmt: skip
SMALL = ("relay-a", "relay-a.site-1", "relay-a.site-2", "site-3")
STORM = Weather(delay=(0.001, 0.05), loss=0.05, duplicate=0.05, reorder=0.1)
REPAIRED = 60.0
"""Seconds after which the slowest repair is done: two checks, one behind the other, and what they bring."""
SEEDS_SHARE = 4

Place = tuple[str, str, str]
Said = dict[Place, bytes]


class Everywhere(dict[object, str]):
    """What a WELCOME says of where its cell publishes, at whatever connection."""

    def get(self, conn: object, default: object = None) -> str:
        return "tcp:7000"


class Planes(Net):
    """See the module. `publishes`: how many publications are lost; None: nothing is published, links tell all."""

    def __init__(self, seed: int = 0, weather: Weather | None = None, publishes: float | None = None) -> None:
        super().__init__(seed, weather=weather)
        self.publishes = publishes
        self.said: dict[Host, Said] = {}
        self.watched: dict[Host, Said] = {}
        self.listening: dict[Host, dict[Host, tuple[str, ...]]] = {}
        """Who publishes -> who hears it, and what of it."""
        self.published = 0
        self.heard: Counter[str] = Counter()

    def add(self, fqcn: str, parent: str = "", handler_time: object = None) -> Host:
        host = super().add(fqcn, parent)
        if self.publishes is not None:
            host.node.acceptor.published = Everywhere()
        self.said[host], self.watched[host], self.listening[host] = {}, {}, {}
        return host

    def _transmit(self, sender: Host, cable: Cable, frames: list[Buffer]) -> None:
        """What makes a link is not lost: a connection that stands loses nothing, and neighbours rely on it."""
        weather = self.weather
        if decode_packet(frames).kind in (Kind.HELLO, Kind.WELCOME, Kind.BYE):
            self.weather = replace(weather, loss=0.0)
        super()._transmit(sender, cable, frames)
        self.weather = weather

    def say(self, who: str | Host, topic: str, key: str, body: bytes | None) -> None:
        """Publish, or withdraw, in the name of a process."""
        host = self._process(who)
        place = host.fqcn, topic, key
        if body is None:
            self.said[host].pop(place, None)
        else:
            self.said[host][place] = body
        self.obey(host, host.node.publish([(topic, key, body)], self.now))

    def set(self, who: str | Host, key: str, body: bytes | None) -> None:
        """Set a prop."""
        self.say(who, props_topic(self._process(who).fqcn), key, body)

    def _obey(self, host: Host, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case FactsChanged():
                    self._changed(host, command)
                case Listen():
                    self._listen(host, command)
                case Publish():
                    self._publish(host, command)
                case Reopen():
                    self._reopen(host)
                case _:
                    super()._obey(host, [command])

    def _changed(self, host: Host, command: FactsChanged) -> None:
        for fact in command.facts:
            assert not host.parent or concerns(fact.topic, host.fqcn), f"{host.fqcn} hears of {fact.topic}"
            place = fact.origin, fact.topic, fact.key
            if fact.body is None:
                self.watched[host].pop(place, None)
            else:
                self.watched[host][place] = fact.body

    # -- publication ---------------------------------------------------------------------------------------------------

    def _listen(self, host: Host, command: Listen) -> None:
        for hearers in self.listening.values():
            if hearers.pop(host, None) is not None:
                self.after(self.random.uniform(0.0, 0.3), partial(self._dismiss, host))
        if command.plane:
            ticket = Ticket(command.fqcn, command.session)
            self.after(self.random.choice((0.01, self.random.uniform(0.0, 3.0))), partial(self._show, host, ticket))

    def _show(self, host: Host, ticket: Ticket) -> None:
        parent = self._listener(host.parent)
        if parent is None or not host.alive:
            return
        if granted := parent.node.door.admit(ticket, None):
            self.listening[parent][host] = granted
            parent.deadline = parent.node.deadline

    def _dismiss(self, host: Host) -> None:
        parent = self._listener(host.parent)
        if parent is not None and not any(other.fqcn == host.fqcn for other in self.listening[parent]):
            parent.node.door.dismiss(host.fqcn)

    def _publish(self, host: Host, command: Publish) -> None:
        assert not command.topic.startswith(BOUND), "what is for one cell is never published"
        self.published += 1
        frames = encode_publication(command.topic, command.headers, command.bodies)
        for hearer, granted in self.listening[host].items():
            if command.topic.startswith(granted) and self.random.random() >= (self.publishes or 0.0):
                self.after(self.random.uniform(0.001, 0.05), partial(self._hear, hearer, frames))

    def _hear(self, host: Host, frames: list[Buffer]) -> None:
        if host.alive:
            self.heard[host.fqcn] += 1
            self.obey(host, host.node.door.heard(*decode_publication(frames), self.now))

    def _reopen(self, host: Host) -> None:
        hearers, self.listening[host] = self.listening[host], {}
        for hearer in hearers:
            host.node.door.dismiss(hearer.fqcn)
            link = hearer.node.uplink.link if hearer.node.uplink is not None else None
            if hearer.alive and link is not None:  # its socket connects again and shows the ticket that it has
                self.after(
                    self.random.uniform(0.0, 0.1), partial(self._show, hearer, Ticket(hearer.fqcn, link.session))
                )

    def drop_listener(self) -> None:
        """The connection of somebody who listens breaks, and comes back."""
        hearings = [(host, hearer) for host, hearers in self.listening.items() for hearer in hearers]
        if hearings:
            host, hearer = self.random.choice(hearings)
            del self.listening[host][hearer]
            if host.alive:
                host.node.door.dismiss(hearer.fqcn)
            link = hearer.node.uplink.link if hearer.node.uplink is not None else None
            if link is not None:
                self.after(
                    self.random.uniform(0.0, 2.0), partial(self._show, hearer, Ticket(hearer.fqcn, link.session))
                )

    # -- the end -------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Repair everything, and wait until nothing is left to mend."""
        self.weather = Weather()
        if self.publishes is not None:
            self.publishes = 0.0
        self.run(1)  # who stops has left
        self.repair()
        self.run_until(lambda: self.names_are_held_once() and self.is_formed(), 120)
        end = self.now + REPAIRED
        while not self.is_settled() or self.differences():
            assert self.now < end, self.differences() or repr(self)
            self.run(1)
        self.run(5)  # and so it stays

    def names_are_held_once(self) -> bool:
        """Whether there are no twins."""
        return len({host.fqcn for host in self.processes}) == len(self.processes)

    def differences(self) -> list[str]:
        """Who does not know what the living say; what is for one cell only those on the way to it should."""
        whole = {place: body for host in self.processes for place, body in self.said[host].items()}
        found: list[str] = []
        for host in self.processes:
            mine = {place: body for place, body in whole.items() if self._reaches(place[1], host)}
            known = {(f.origin, f.topic, f.key): f.body for f in host.node.plane.replica.facts()}
            found += [f"{host.fqcn} knows {known}, not {mine}"] if known != mine else []
            found += [f"who watches {host.fqcn} was told otherwise"] if self.watched[host] != mine else []
        return found

    def check(self) -> None:
        """Nobody knows anything else."""
        assert not self.differences()

    @staticmethod
    def _reaches(topic: str, host: Host) -> bool:
        return not host.parent or concerns(topic, host.fqcn)


def supervised(net: Planes) -> None:
    """Whoever ends by itself and was not replaced is started again."""

    def ended(host: Host) -> None:
        if host.exited != 75:
            net.twin(host)

    net.when_ended = ended


def say_something(net: Planes) -> None:
    """Some process says something, or withdraws it."""
    chance = net.random
    host = chance.choice(net.processes)
    body = None if chance.random() < 0.3 else chance.randbytes(chance.choice((1, 8, 2000)))
    match chance.randrange(4):
        case 0:
            net.say(host, rids_topic(f"models-{chance.randrange(2)}"), f"rid-{chance.randrange(3)}", body)
        case 1:
            receiver = chance.choice(sorted(net.hosts))
            net.say(host, bound_topic(receiver), f"models/rid-{chance.randrange(3)}", body)
        case _:
            net.set(host, f"key-{chance.randrange(4)}", body)


PUBLISHES = pytest.mark.parametrize("publishes", [None, 0.2], ids=["links", "pubsub"])


@PUBLISHES
def test_after_sets_and_losses(seed: int, publishes: float | None) -> None:
    net = Planes(seed, STORM, publishes)
    net.tree(*SMALL)
    for _ in range(25):
        if net.processes:
            say_something(net)
        net.run(net.random.choice((0.0, 0.01, 0.3)))
    net.settle()
    net.check()


@PUBLISHES
def test_after_anything_all_know_the_same(seed: int, publishes: float | None) -> None:
    net = Planes(seed, STORM, publishes)
    supervised(net)
    net.tree(*TREE)
    chance = net.random
    names = [*TREE, "server"]
    for _ in range(40):
        if not net.processes:
            net.restart("server")
        match chance.randrange(16):
            case 0:
                chance.choice((net.cut, net.freeze))(chance.choice(net.processes))
            case 1:
                net.repair()
            case 2:
                net.restart(chance.choice(names))
            case 3 if net.names_are_held_once():  # an older start that is left alone is a stranger to all who knew the
                net.crash(chance.choice(net.processes))  # newer one
            case 4 if net.names_are_held_once():
                net.stop(chance.choice(net.processes))
            case 5 if len(net.processes) < 12:
                net.twin(chance.choice(TREE))
            case 6:
                net.drop_listener()
            case _:
                say_something(net)
        net.run(chance.choice((0.0, 0.01, 0.1, 1.0, 4.0)))
    net.settle()
    net.check()


# -- what happens to single cells --------------------------------------------------------------------------------------


@PUBLISHES
def test_plane_S01_who_joins_late_knows_what_is_announced(publishes: float | None) -> None:
    net = Planes(publishes=publishes)
    net.tree("relay-a", "site-3")
    net.run(3)
    net.say("site-3", rids_topic("models"), "rid-1", b"model")
    net.say("site-3", rids_topic("models"), "rid-2", b"model")
    net.say("site-3", rids_topic("models"), "rid-1", None)
    net.run(5)
    late = net.add("relay-a.site-1", "relay-a")
    net.run(3)
    assert net.watched[late] == {("site-3", rids_topic("models"), "rid-2"): b"model"}
    net.settle()
    net.check()


def test_plane_S02_a_gap_is_seen_by_the_next_number_and_repaired() -> None:
    net = Planes(publishes=0.0)
    net.tree(*SMALL)
    net.run(5)
    lost = net.hosts["relay-a.site-1"]
    net.set("site-3", "a", b"1")
    net.run(1)
    net.publishes = 1.0
    for number in range(1000):
        net.set("site-3", f"{number}", b"lost")
    net.run(0.2)  # before the heads
    net.publishes = 0.0
    net.set("site-3", "a", b"2")
    net.run(0.3)
    assert lost.node.plane.subscriber is not None
    assert lost.node.plane.subscriber.gaps == 1
    assert len(net.watched[lost]) == 1001
    net.check()


def test_plane_S02_what_was_lost_last_is_seen_by_the_heads() -> None:
    net = Planes(publishes=0.0)
    net.tree(*SMALL)
    net.run(5)
    net.publishes = 1.0
    net.set("site-3", "a", b"1")
    net.run(3 * CONFIG.heartbeat)
    net.check()


@PUBLISHES
@pytest.mark.parametrize("restarted", ["server", "relay-a", "site-3"])
def test_plane_S04_a_restart_leaves_nothing_that_is_over(publishes: float | None, restarted: str) -> None:
    """The numbers begin anew at a root that restarts; what another cell said before its restart it must say again."""
    net = Planes(publishes=publishes)
    net.tree(*SMALL)
    net.run(5)
    for host in list(net.processes):
        for key in ("a", "b"):
            net.set(host, key, host.fqcn.encode())
    net.run(1)
    epoch = net.hosts["site-3"].node.plane._position[0]
    again = net.restart(restarted)
    net.run(2)
    net.set(again, "a", b"again")
    net.run(REPAIRED)
    assert (net.hosts["site-3"].node.plane._position[0] == epoch) is (restarted != "server")
    net.check()


@PUBLISHES
def test_what_is_for_one_cell_goes_only_there(publishes: float | None) -> None:
    net = Planes(publishes=publishes)
    net.tree(*TREE)
    net.run(5)
    place = "site-5", bound_topic("relay-a.relay-c.site-1"), "models/rid-1"
    net.say(*place, b"secret")
    net.run(REPAIRED)
    knowing = {host.fqcn for host in net.processes if place in net.watched[host]}
    assert knowing == {"server", "relay-a", "relay-a.relay-c", "relay-a.relay-c.site-1"}
    named = {host.fqcn for host in net.processes if place[1] in host.node.plane._position[1]}
    assert named == knowing, "not even its name"
    net.check()
    net.restart("relay-a")
    net.restart("relay-a.relay-c.site-1")
    net.settle()
    net.check()
    net.say(*place, None)
    net.run(2)
    assert not any(place in net.watched[host] for host in net.processes)


@PUBLISHES
def test_a_partition_heals(seed: int, publishes: float | None) -> None:
    """Both sides go on; the one without the root sees nothing new, and says later what it has to say."""
    net = Planes(seed, publishes=publishes)
    net.tree(*TREE)
    net.run(3)
    for host in list(net.processes):
        net.set(host, "before", host.fqcn.encode())
    net.run(1)
    net.cut("relay-a")
    net.run(net.random.uniform(0, 2 * CONFIG.dead_after))
    for host in list(net.processes):
        net.set(host, net.random.choice(("before", "after")), net.random.choice((None, b"meanwhile")))
    net.run(net.random.uniform(0, 2 * CONFIG.dead_after))
    net.heal("relay-a")
    net.settle()
    net.check()


def tree_of(relays: int, sites: int) -> list[str]:
    relayed = [f"relay-{r}.site-{s}" for r in range(relays) for s in range(sites)]
    return [*(f"relay-{r}" for r in range(relays)), *relayed]


@pytest.mark.parametrize("publishes", [None, 0.0], ids=["links", "pubsub"])
def test_two_hundred_cells__messages_per_set_grow_with_links(publishes: float | None) -> None:
    net = Planes(publishes=publishes)
    names = tree_of(9, 21)
    net.tree(*names, "site-a")
    assert len(net.processes) == 200
    net.run_until(net.is_settled)
    net.run(3)
    for number, host in enumerate(net.random.sample(net.processes, 20)):
        net.set(host, "number", b"%d" % number)
    net.run(4.5)  # after the heads
    net.check()
    before = Counter(net.traffic), sum(net.heard.values())
    net.set("relay-3.site-7", "round", b"1")
    net.run(0.4)  # before the heads
    net.check()
    told = Counter[int]()
    for (_, _, kind), count in (net.traffic - before[0]).items():
        told[kind] += count
    links = len(net.processes) - 1
    assert told[Kind.FIRE] + sum(net.heard.values()) - before[1] == links
    assert told[Kind.FIRE] == (links if publishes is None else 0)
    assert (told[Kind.REQUEST], told[Kind.REPLY]) == (2, 2), "up to the root, and its answer"
    net.run(4.5)
    heads = sum(count for (_, _, kind), count in (net.traffic - before[0]).items() if kind == Kind.FIRE)
    assert heads - told[Kind.FIRE] == REMINDERS * links


def test_every_child_listens_where_its_parent_publishes_however_slow_the_links_are(seed: int) -> None:
    """A ticket that comes before the parent has bound the child would be refused, and is shown once only."""
    net = Planes(seed, Weather(delay=(0.001, 0.5)), publishes=0.0)
    net.tree(*SMALL)
    net.run_until(net.is_settled)
    net.run(5)
    assert {hearer.fqcn for hearers in net.listening.values() for hearer in hearers} == set(SMALL)
    net.check()
