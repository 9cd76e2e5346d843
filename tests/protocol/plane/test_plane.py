"""Planes of a tree of cells, joined by a network that loses, cuts and restarts: in the end all know the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Answer, Ask, Call, Command, FactsChanged, Listen, Note, Outcome, Tell, Unask
from zmqfl.protocol.plane.facts import Fact, props_topic
from zmqfl.protocol.plane.plane import PAUSE, Plane
from zmqfl.protocol.plane.updates import (
    CHANNEL,
    PlaneTopic,
    Snapshot,
    Update,
    decode_heads,
    encode_heads,
    encode_question,
    encode_snapshot,
    encode_update,
)

ROOT = "server"
BEAT = 2.0


class Tree:
    """Cells by name. `loss`: of messages down; requests fail while a link on their way is cut."""

    def __init__(self, names: list[str], seed: int, loss: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self.tokens = dict.fromkeys([ROOT, *names], 0)
        self.planes: dict[str, Plane] = {}
        self.cut: set[str] = set()
        self.watched: dict[str, dict[tuple[str, str, str], bytes]] = {}
        self.messages = 0
        self._epochs = iter(range(1, 1_000_000))
        self._queue: list[tuple[float, int, object]] = []
        self._asked: list[tuple[str, Ask]] = []
        for name in [ROOT, *names]:
            self.start(name)

    # -- what happens --------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """A fresh start, the first or another one."""
        self.tokens[name] += 1
        self.planes[name] = Plane(name, next(self._epochs), name != ROOT, BEAT)
        self.watched[name] = {}
        self._asked = [(who, ask) for who, ask in self._asked if who != name]
        if name == ROOT:
            self.obey(name, self.planes[name].bound("", ROOT, self.tokens[name], self.now))
            for child in self.children(ROOT):
                self.obey(child, self.planes[child].unbound())
                self.join(child)
        else:
            for child in self.children(name):
                self.obey(child, self.planes[child].unbound())
            if name not in self.cut:
                self.join(name)
            for child in self.children(name):
                if child not in self.cut:
                    self.join(child)

    def join(self, name: str) -> None:
        parent = self.parent(name)
        self.planes[parent].child_bound(name)
        self.obey(name, self.planes[name].bound(parent, ROOT, self.tokens[name], self.now))

    def sever(self, name: str) -> None:
        self.cut.add(name)
        self.obey(name, self.planes[name].unbound())
        self.obey(self.parent(name), self.planes[self.parent(name)].child_gone(name, self.now))

    def heal(self, name: str) -> None:
        self.cut.discard(name)
        self.join(name)

    def set(self, name: str, key: str, body: bytes | None) -> None:
        self.obey(name, self.planes[name].set_all([(props_topic(name), key, body)], self.now))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            times = [at for plane in self.planes.values() if (at := plane.deadline) is not None]
            self.now = min([end, *(max(at, self.now) for at in times)])
            for name, plane in list(self.planes.items()):
                if plane.deadline is not None and plane.deadline <= self.now:
                    self.obey(name, plane.handle_timeout(self.now))
            self.deliver()

    # -- the network ---------------------------------------------------------------------------------------------------

    def obey(self, name: str, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Ask():
                    self._asked.append((name, command))
                case Unask():
                    self._asked = [(who, ask) for who, ask in self._asked if ask.owner is not command.owner]
                case Tell():
                    for target in command.targets:
                        self._tell(name, target, command)
                case FactsChanged():
                    self._watch(name, command.facts)
                case Note() | Listen():
                    pass
                case _:
                    raise AssertionError(command)

    def deliver(self) -> None:
        while self._asked:
            name, ask = self._asked.pop(self.random.randrange(len(self._asked)))
            plane = self.planes[name]
            outcome = self._ask(name, ask)
            assert plane.has(ask.owner)
            self.obey(name, plane.machine_answered(ask.owner, ask.tag, ask.targets[0], outcome, self.now))

    def _ask(self, name: str, ask: Ask) -> Outcome:
        (target,) = ask.targets
        self.messages += 1
        if not self._reaches(name, target):
            return Outcome(CellReturnCode.COMM_ERROR, "cut")
        call = Call(name, 1, 1, ask.channel, ask.topic, ask.codec, ask.headers, ask.bodies, ask.timeout, True)
        answered: list[Outcome] = []
        commands = self.planes[target].receive(call, self.now)
        for command in commands:
            if isinstance(command, Answer):
                answered.append(command.outcome)
        self.obey(target, [command for command in commands if not isinstance(command, Answer)])
        (outcome,) = answered
        return outcome if self.random.random() >= self.loss else Outcome(CellReturnCode.COMM_ERROR, "lost")

    def _tell(self, name: str, target: str, tell: Tell) -> None:
        self.messages += 1
        if target in self.cut or self.random.random() < self.loss:
            return
        plane = self.planes[target]
        self.obey(target, plane.heard(name, tell.topic, tell.headers, tell.bodies, self.now))

    def _reaches(self, name: str, target: str) -> bool:
        while name != target:
            if name in self.cut:
                return False
            name = self.parent(name)
        return True

    def _watch(self, name: str, facts: tuple[Fact, ...]) -> None:
        watched = self.watched[name]
        for fact in facts:
            place = fact.origin, fact.topic, fact.key
            if fact.body is None:
                watched.pop(place, None)
            else:
                watched[place] = fact.body

    def parent(self, name: str) -> str:
        return FQCN.get_parent(name) or ROOT

    def children(self, name: str) -> list[str]:
        return [each for each in self.planes if each != ROOT and self.parent(each) == name]

    # -- checks --------------------------------------------------------------------------------------------------------

    def said(self) -> dict[tuple[str, str, str], bytes]:
        return {
            (fact.origin, fact.topic, fact.key): fact.body
            for plane in self.planes.values()
            for fact in plane.publisher.own()
            if fact.body is not None
        }

    def check_all_know_all(self) -> None:
        said = self.said()
        for name, plane in self.planes.items():
            known = {(f.origin, f.topic, f.key): f.body for f in plane.replica.facts()}
            assert known == said, name
            assert self.watched[name] == said, name
            assert plane.is_current, name


def names_of(relays: int, sites: int) -> list[str]:
    relayed = [f"relay-{r}.site-{s}" for r in range(relays) for s in range(sites)]
    return [*(f"relay-{r}" for r in range(relays)), *relayed, "site-a", "site-b"]


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree(names_of(2, 2), seed=1)
    tree.run(5)
    yield tree
    tree.run(60)
    tree.check_all_know_all()


def test_what_one_sets_all_know(tree: Tree) -> None:
    tree.set("relay-0.site-0", "round", b"1")
    tree.run(1)
    tree.check_all_know_all()


def test_a_set_costs_a_request_and_a_message_per_link(tree: Tree) -> None:
    before = tree.messages
    tree.set("relay-0.site-0", "round", b"1")
    tree.run(0.1)
    assert tree.messages - before == 1 + len(tree.planes) - 1


def test_what_is_withdrawn_all_forget(tree: Tree) -> None:
    tree.set("site-a", "round", b"1")
    tree.set("site-a", "phase", b"2")
    tree.run(1)
    tree.set("site-a", "round", None)
    tree.run(1)
    tree.check_all_know_all()
    assert len(tree.planes["relay-1.site-1"].replica) == 1


def test_a_late_joiner_knows_all(tree: Tree) -> None:
    tree.set("site-a", "round", b"1")
    tree.run(1)
    tree.start("relay-0.site-0")
    tree.run(1)
    tree.check_all_know_all()


def test_the_last_update_lost_is_seen_by_the_heads(tree: Tree) -> None:
    tree.loss = 1.0
    tree.obey(ROOT, tree.planes[ROOT].set_all([(props_topic(ROOT), "round", b"1")], tree.now))
    tree.deliver()
    tree.loss = 0.0
    tree.run(3 * BEAT)
    tree.check_all_know_all()


def test_what_a_gone_cell_said_is_over_and_valid_again_when_it_is_back(tree: Tree) -> None:
    tree.set("relay-0.site-0", "round", b"1")
    tree.run(1)
    tree.sever("relay-0")
    tree.run(1)
    assert len(tree.planes["site-a"].replica) == 0
    tree.heal("relay-0")
    tree.run(30)
    tree.check_all_know_all()
    assert len(tree.planes["site-a"].replica) == 1


def test_a_restarted_root_learns_all_again(tree: Tree) -> None:
    for name in tree.planes:
        tree.set(name, "round", name.encode())
    tree.run(1)
    tree.start(ROOT)
    tree.run(40)
    tree.set(ROOT, "round", b"new")
    tree.run(1)
    tree.check_all_know_all()


def test_a_cell_may_not_speak_for_another(tree: Tree) -> None:
    fact = Fact("site-b", 99, 1, 0, props_topic("site-b"), "round", b"forged")
    root = tree.planes[ROOT]
    outcome, updates = root._root.take("site-a", 1, [fact])  # type: ignore[union-attr]
    assert (outcome.code, updates) == (CellReturnCode.INVALID_REQUEST, [])


def test_a_cell_may_not_say_that_its_sibling_is_gone(tree: Tree) -> None:
    tree.set("site-b", "round", b"1")
    tree.run(1)
    call = Call("site-a", 1, 1, "zmqfl.plane", "departed", 0, {"c": "site-b"}, (), 1.0, True)
    (answer,) = tree.planes[ROOT].receive(call, tree.now)
    assert isinstance(answer, Answer)
    assert answer.outcome.code is CellReturnCode.INVALID_REQUEST


def test_after_anything_all_know_the_same(seed: int) -> None:
    tree = Tree(names_of(3, 3), seed, loss=0.2)
    rng = tree.random
    names = list(tree.planes)
    for _ in range(60):
        name = rng.choice(names)
        match rng.randrange(8):
            case 0 if name != ROOT and name not in tree.cut:
                tree.sever(name)
            case 1 if tree.cut:
                tree.heal(rng.choice(sorted(tree.cut)))
            case 2:
                tree.start(name)
            case _:
                body = None if rng.random() < 0.3 else rng.randbytes(4)
                tree.set(name, f"key-{rng.randrange(4)}", body)
        tree.run(rng.choice([0.0, 0.1, 1.0, 5.0]))
    for name in sorted(tree.cut):
        tree.heal(name)
    tree.loss = 0.0
    tree.run(120)
    tree.check_all_know_all()


# -- one plane ---------------------------------------------------------------------------------------------------------


def relay() -> Plane:
    plane = Plane("relay", 1, True, BEAT)
    plane.bound("server", ROOT, 1, 0.0)
    return plane


def call(topic: str, origin: str, bodies: tuple[Any, ...] = (), **headers: Any) -> Call:
    return Call(origin, 1, 1, CHANNEL, topic, 0, headers, bodies, 1.0, True)


def answered(plane: Plane, code: CellReturnCode) -> list[Command]:
    """The parent answers the question of the subscriber."""
    bodies = encode_snapshot(Snapshot(5, {}, (), ())) if code is CellReturnCode.OK else ()
    return plane.machine_answered(plane.subscriber, "subscribe", "server", Outcome(code, bodies=bodies), 0.0)


def departures(commands: list[Command]) -> list[Ask]:
    return [command for command in commands if isinstance(command, Ask) and command.topic == PlaneTopic.DEPARTED]


def test_where_the_parent_publishes_it_listens_as_long_as_it_is_bound() -> None:
    """But not before it is bound at the other end, too, where its ticket would be refused."""
    plane = Plane("site-1", 1, True, BEAT)
    commands = plane.bound("server", ROOT, 1, 0.0, "tcp:7001", 99)
    commands += answered(plane, CellReturnCode.SERVICE_UNAVAILABLE)
    commands += plane.handle_timeout(10.0)
    assert not any(isinstance(command, Listen) for command in commands)
    assert answered(plane, CellReturnCode.OK)[0] == Listen("tcp:7001", "site-1", 99)
    plane.heard("server", PlaneTopic.HEADS, {}, encode_heads(6, {}), 0.0)
    assert not any(isinstance(command, Listen) for command in answered(plane, CellReturnCode.OK)), "once"
    assert Listen("", "site-1", 0) in plane.unbound()
    assert answered(plane, CellReturnCode.OK) == []
    assert not any(isinstance(command, Listen) for command in Plane(ROOT, 1, False, BEAT).bound("", ROOT, 1, 0.0))


@pytest.mark.parametrize("origin", ["server", "site-1", "relay", "relay.site-1.job", "relay-2.site-1"])
def test_only_children_may_subscribe(origin: str) -> None:
    plane = relay()
    (answer,) = plane.receive(call(PlaneTopic.SUBSCRIBE, origin, encode_question(("",), 0, {})), 0.0)
    assert isinstance(answer, Answer)
    assert answer.outcome == Outcome(CellReturnCode.INVALID_REQUEST, f"{origin} is no child of relay")
    assert plane.hub.subscribers == {}


@pytest.mark.parametrize(("name", "root"), [("relay", "relay.site-1"), (ROOT, "site-1"), (ROOT, "server.admin-7")])
def test_children_may_subscribe(name: str, root: str) -> None:
    plane = relay() if name == "relay" else Plane(ROOT, 1, False, BEAT)
    plane.receive(call(PlaneTopic.SUBSCRIBE, root, encode_question(("",), 0, {})), 0.0)
    assert list(plane.hub.subscribers) == [root]


@pytest.mark.parametrize("topic", [PlaneTopic.PUBLISH, PlaneTopic.CHECK, PlaneTopic.DEPARTED, "other"])
def test_what_only_the_root_does(topic: str) -> None:
    (answer,) = relay().receive(call(topic, "relay.site-1"), 0.0)
    assert isinstance(answer, Answer)
    assert answer.outcome.error == "relay is not the root"


@pytest.mark.parametrize(
    ("origin", "topic", "headers", "bodies"),
    [
        ("site-1", PlaneTopic.HEADS, {}, encode_heads(1, {})),
        ("server", "other", {}, ()),
        ("server", PlaneTopic.HEADS, {}, (b"\xc1",)),
        ("server", PlaneTopic.UPDATE, {"e": 1}, ()),
    ],
)
def test_what_the_parent_would_not_tell_is_dropped(
    origin: str, topic: str, headers: dict[str, Any], bodies: tuple[Any, ...]
) -> None:
    plane = relay()
    assert plane.heard(origin, topic, headers, bodies, 0.0) == []
    assert plane.dropped == 1


def test_what_a_snapshot_and_updates_change_together_the_children_hear_of_both() -> None:
    plane, a, b = relay(), props_topic("a"), props_topic("b")
    facts = {topic: Fact(topic[6:-1], 1, 1, 0, topic, "k", b"1") for topic in (a, b)}
    plane.receive(call(PlaneTopic.SUBSCRIBE, "relay.site-1", encode_question(("",), 0, {})), 0.0)
    plane.heard("server", PlaneTopic.UPDATE, *encode_update(Update(5, b, 4, 0, (facts[b],))), 0.0)
    bodies = encode_snapshot(Snapshot(5, {a: 3}, (a,), (facts[a],)))
    assert plane.subscriber is not None
    outcome = Outcome(CellReturnCode.OK, bodies=bodies)
    listen, tell, changed = plane.machine_answered(plane.subscriber, "subscribe", "server", outcome, 0.0)
    assert isinstance(listen, Listen)
    assert isinstance(tell, Tell)
    assert tell.headers["t"] == b
    assert changed == FactsChanged((facts[a], facts[b]))
    (heads,) = plane.hub.handle_timeout(5, {a: 3, b: 4}, 0.0)
    assert isinstance(heads, Tell)
    assert decode_heads(heads.bodies) == (5, {a: 3})


def test_the_root_is_told_again_of_who_is_gone_until_it_knows() -> None:
    plane = relay()
    (ask,) = departures(plane.child_gone("relay.site-1", 0.0))
    assert plane.answered(ask.tag, ROOT, Outcome(CellReturnCode.TIMEOUT), 1.0) == []
    assert departures(plane.handle_timeout(1.0)) == []
    (again,) = departures(plane.handle_timeout(1.0 + PAUSE))
    plane.answered(again.tag, ROOT, Outcome(CellReturnCode.OK), 4.0)
    assert departures(plane.handle_timeout(100.0)) == []


def test_who_is_gone_twice_is_told_twice_whatever_becomes_of_the_first() -> None:
    plane = relay()
    (first,) = departures(plane.child_gone("relay.site-1", 0.0))
    plane.child_bound("relay.site-1")
    (second,) = departures(plane.child_gone("relay.site-1", 1.0))
    plane.answered(first.tag, ROOT, Outcome(CellReturnCode.OK), 2.0)
    plane.answered(second.tag, ROOT, Outcome(CellReturnCode.TIMEOUT), 2.0)
    assert len(departures(plane.handle_timeout(2.0 + PAUSE))) == 1


def test_who_is_back_is_not_told_to_be_gone() -> None:
    plane = relay()
    (ask,) = departures(plane.child_gone("relay.site-1", 0.0))
    plane.child_bound("relay.site-1")
    plane.answered(ask.tag, ROOT, Outcome(CellReturnCode.TIMEOUT), 1.0)
    assert departures(plane.handle_timeout(100.0)) == []


def test_while_it_is_apart_nobody_can_be_told() -> None:
    plane = relay()
    plane.unbound()
    assert departures(plane.child_gone("relay.site-1", 0.0)) == []
    assert plane.deadline is None
    assert len(departures(plane.bound("server", ROOT, 1, 5.0))) == 1


def test_who_may_hear_more_is_told_what_it_lacks_and_who_may_hear_less_nothing_more(tree: Tree) -> None:
    root, site = tree.planes[ROOT], tree.planes["site-a"]
    tree.obey(ROOT, root.set_rule(lambda child: ("rids/",) if child == "site-a" else ("",), tree.now))
    tree.set(ROOT, "round", b"1")
    tree.run(1)
    assert (len(site.replica), len(tree.planes["relay-0"].replica)) == (0, 1)
    tree.obey(ROOT, root.set_rule(lambda child: ("",), tree.now))
    tree.run(1)
    tree.check_all_know_all()


def test_a_snapshot_of_nothing_is_told_for_who_waits_to_be_current() -> None:
    plane, empty = relay(), encode_snapshot(Snapshot(5, {}, (), ()))
    assert plane.subscriber is not None
    for expected in ([FactsChanged(())], []):  # a later one changes nothing
        outcome = Outcome(CellReturnCode.OK, bodies=empty)
        commands = plane.machine_answered(plane.subscriber, "subscribe", "server", outcome, 0.0)
        assert [command for command in commands if not isinstance(command, Listen)] == expected
        plane.handle_timeout(30.0)


def test_when_the_root_behind_its_parent_has_restarted_it_tells_all_again() -> None:
    """Its own link has not changed: only the epoch says so."""
    plane = relay()
    plane.set_all([(props_topic("relay"), "round", b"1")], 0.0)
    plane.machine_answered(plane.publisher, "publish", ROOT, Outcome(CellReturnCode.OK), 0.0)
    plane.machine_answered(plane.publisher, "publish", ROOT, Outcome(CellReturnCode.OK), 0.0)
    for epoch, told in ((5, 0), (5, 0), (6, 1)):
        plane.heard("server", PlaneTopic.HEADS, {}, encode_heads(epoch, {props_topic("x"): 9}), 1.0)
        bodies = encode_snapshot(Snapshot(epoch, {}, (), ()))
        commands = plane.machine_answered(
            plane.subscriber, "subscribe", "server", Outcome(CellReturnCode.OK, bodies=bodies), 1.0
        )
        publishes = [c for c in commands if isinstance(c, Ask) and c.topic == PlaneTopic.PUBLISH]
        assert len(publishes) == told
