"""Planes of a federation over real sockets: updates are published, and all the rest goes from hand to hand.

`Cell` is what a reactor and a node do for the plane: some lines each. The control lane is a call: it never fails, so
whatever is lost was lost where it is published.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zmq

from zmqfl.config import CellConfig
from zmqfl.fqcn import tree_parent
from zmqfl.protocol.commands import Answer, Ask, Call, Command, FactsChanged, Listen, Note, Publish, Reopen, Tell, Unask
from zmqfl.protocol.plane.facts import props_topic, rids_topic
from zmqfl.protocol.plane.hub import Rule, everything
from zmqfl.protocol.plane.plane import Plane
from zmqfl.protocol.plane.publication import Ticket, encode_publication, encode_ticket
from zmqfl.protocol.plane.updates import CHANNEL, PlaneTopic
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import Keys, generate, load
from zmqfl.transport.outlet import SNDHWM
from zmqfl.transport.ports import Ports
from zmqfl.transport.wakeup import Wakeup
from zmqfl.wire.messages import Buffer

CONFIG = CellConfig(heartbeat=0.2, dead_after=2, reconnect_min=0.01, reconnect_max=0.02)
ANY = Endpoint.parse("tcp://127.0.0.1:*")
BEAT = 0.05
WITHIN = 20
ROOT = "server"
numbers = count(1)


class Cell:
    """A plane and its sockets."""

    def __init__(
        self, tree: Tree, name: str, listen: list[Endpoint], parent: Endpoint | None, keys: Keys | None, rule: Rule
    ) -> None:
        self.name = name
        self.plane = Plane(name, next(numbers), parent is not None, BEAT, rule)
        self.sessions: dict[str, int] = {}
        """Child -> session of its link."""
        self.fired: list[str] = []
        """Topics of updates that went by a link."""
        self.published: list[list[Buffer]] = []
        """Whatever was handed to an XPUB."""
        self._tree = tree
        self._keys = keys
        self._wakeup = Wakeup()
        self.ports = Ports(CONFIG, listen, parent, keys, False, self._wakeup.fd, 0)

    # -- what the node does: `PlaneDoor` -----------------------------------------------------------------------------

    def admit(self, ticket: Ticket, user: str | None) -> tuple[str, ...]:
        if self.sessions.get(ticket.name) != ticket.session or (self._keys is not None and user != ticket.name):
            return ()
        return self.plane.hub.admit(ticket.name)

    def dismiss(self, name: str) -> None:
        self.plane.hub.dismiss(name)

    def heard(self, headers: Mapping[str, Any], bodies: tuple[Buffer, ...], now: float) -> list[Command]:
        parent = tree_parent(self.name, ROOT)
        return self.plane.heard(parent, PlaneTopic.UPDATE, headers, bodies, now)

    # -- what the reactor does ---------------------------------------------------------------------------------------

    def step(self) -> None:
        ready = self.ports.poll(0)
        now = time.monotonic()
        for port in self.ports.all():
            port.monitor.drain()
        self.ports.zap.handle()
        for commands in self.ports.plane.read(ready, self, now):
            self.obey(commands)
        self.ports.plane.handle_timeout(now)
        if (at := self.plane.deadline) is not None and at <= now:
            self.obey(self.plane.handle_timeout(now))

    def obey(self, commands: list[Command]) -> None:
        now = time.monotonic()
        for command in commands:
            match command:
                case Publish():
                    self.published.append(encode_publication(command.topic, command.headers, command.bodies))
                    self.ports.plane.publish(command)
                case Listen():
                    self.ports.plane.listen(command)
                case Reopen():
                    self.ports.plane.reopen(self, now)
                case Tell():
                    if command.topic == PlaneTopic.UPDATE:
                        self.fired += [str(command.headers["t"])] * len(command.targets)
                    for target in command.targets:
                        self._tree.tell(self.name, target, command)
                case Ask():
                    self._tree.ask(self, command)
                case Unask() | FactsChanged() | Note():
                    pass
                case _:
                    raise AssertionError(command)

    def close(self) -> None:
        assert self.ports.close(0.0, self.name)
        self._wakeup.close()


class Tree:
    """Cells by name; a step is a pass of each."""

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}

    def start(
        self,
        name: str,
        listen: list[Endpoint] | None = None,
        keys: Keys | None = None,
        rule: Rule = everything,
        index: int = 0,
    ) -> Cell:
        """`index`: of the listener of the parent that it dials."""
        above = self.cells.get(tree_parent(name, ROOT))
        parent = above.ports.listeners[index].endpoint if above is not None else None
        cell = self.cells[name] = Cell(self, name, listen or [], parent, keys, rule)
        if above is None:
            cell.obey(cell.plane.bound("", ROOT, 1, time.monotonic()))
        else:
            self.join(name, index)
        return cell

    def join(self, name: str, index: int = 0) -> None:
        above = self.cells[tree_parent(name, ROOT)]
        session = above.sessions[name] = random.getrandbits(64)
        above.plane.child_bound(name)
        told = above.ports.plane.told(index)
        cell = self.cells[name]
        cell.obey(cell.plane.bound(above.name, ROOT, 1, time.monotonic(), told, session))

    def leave(self, name: str) -> None:
        """The link of a cell ends; the cell itself does not notice."""
        above = self.cells[tree_parent(name, ROOT)]
        del above.sessions[name]
        above.obey(above.plane.child_gone(name, time.monotonic()))

    def tell(self, origin: str, target: str, tell: Tell) -> None:
        cell = self.cells[target]
        cell.obey(cell.plane.heard(origin, tell.topic, tell.headers, tell.bodies, time.monotonic()))

    def ask(self, cell: Cell, ask: Ask) -> None:
        now = time.monotonic()
        target = self.cells[ask.targets[0]]
        call = Call(cell.name, 1, 1, ask.channel, ask.topic, ask.codec, ask.headers, ask.bodies, ask.timeout, True)
        commands = target.plane.receive(call, now)
        target.obey([command for command in commands if not isinstance(command, Answer)])
        (answer,) = [command for command in commands if isinstance(command, Answer)]
        cell.obey(cell.plane.machine_answered(ask.owner, ask.tag, target.name, answer.outcome, now))

    def set(self, name: str, key: str, body: bytes | None, topic: str = "") -> None:
        cell = self.cells[name]
        cell.obey(cell.plane.set_all([(topic or props_topic(name), key, body)], time.monotonic()))

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not is_so():
            assert time.monotonic() < deadline, "it never comes so"
            for cell in list(self.cells.values()):
                cell.step()

    def until_listening(self, *names: str) -> None:
        self.until(lambda: all(n in self.cells[tree_parent(n, ROOT)].plane.hub.listeners for n in names))

    def known(self, name: str) -> dict[tuple[str, str, str], bytes | None]:
        return {(f.origin, f.topic, f.key): f.body for f in self.cells[name].plane.replica.facts()}

    def all_know_all(self) -> bool:
        own = [fact for cell in self.cells.values() for fact in cell.plane.publisher.own()]
        said = {(fact.origin, fact.topic, fact.key): fact.body for fact in own}
        return all(self.known(name) == said for name in self.cells)

    def close(self) -> None:
        for cell in reversed(self.cells.values()):
            cell.close()


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree()
    yield tree
    tree.close()


def keys_of(folder: Path, *names: str) -> dict[str, Keys]:
    for name in names:
        generate(name, folder)
    return {name: load(folder, name, tree_parent(name, ROOT) or None) for name in names}


@pytest.mark.parametrize("with_keys", [False, True])
def test_an_update_is_published_once_and_all_hear_it(tree: Tree, tmp_path: Path, with_keys: bool) -> None:
    names = [ROOT, "relay", "site-1", "site-2", "relay.site-3"]
    keys = keys_of(tmp_path, *names) if with_keys else {}
    root = tree.start(ROOT, [ANY], keys.get(ROOT))
    relay = tree.start("relay", [ANY], keys.get("relay"))
    for name in names[2:]:
        tree.start(name, None, keys.get(name))
    tree.until_listening(*names[1:])
    fired = list(root.fired)
    tree.set("site-1", "round", b"1")
    tree.until(tree.all_know_all)
    tree.set("relay.site-3", "round", b"2")
    tree.until(tree.all_know_all)
    assert [len(cell.published) for cell in (root, relay)] == [2, 2]
    assert root.fired == fired
    assert relay.fired == []
    assert all(tree.cells[name].plane.subscriber.gaps == 0 for name in names[1:])  # type: ignore[union-attr]


def test_who_does_not_listen_is_told_by_its_link(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    tree.start("site-1")
    deaf = tree.start("site-2")
    tree.until_listening("site-1", "site-2")
    deaf.ports.plane.listen(Listen("", "site-2", 0))
    tree.until(lambda: "site-2" not in root.plane.hub.listeners)
    tree.set("site-1", "round", b"1")
    tree.until(tree.all_know_all)
    assert root.fired == [props_topic("site-1")]
    assert len(root.published) == 1


def test_over_ipc_and_tcp_at_once(tree: Tree, tmp_path: Path) -> None:
    root = tree.start(ROOT, [ANY, Endpoint.parse(f"ipc://{tmp_path}/run/hub")])
    tree.start("site-1", index=0)
    tree.start("site-2", index=1)
    tree.until_listening("site-1", "site-2")
    tree.set("site-1", "round", b"1")
    tree.until(tree.all_know_all)
    assert (len(root.published), root.fired) == (1, [])


def test_beside_a_path_that_is_too_long_the_links_tell_all(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = f"{folder}/{'x' * (104 - len(str(folder)))}"
    root = tree.start(ROOT, [Endpoint.parse(f"ipc://{path}")])
    assert root.ports.plane.told(0) == ""
    tree.start("site-1")
    tree.set(ROOT, "round", b"1")
    tree.until(tree.all_know_all)
    assert root.fired == [props_topic(ROOT)]


def test_a_child_that_listens_late_has_missed_nothing(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    tree.start("site-1")
    for number in range(50):
        tree.set(ROOT, f"key-{number}", b"1")  # some by its link, some published, as it comes
        tree.cells["site-1"].step()
        root.step()
    tree.until(tree.all_know_all)
    tree.until_listening("site-1")


def test_what_is_lost_is_repaired_by_the_heads(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    tree.start("site-1")
    tree.until_listening("site-1")
    outlet = root.ports.plane.outlets[0]
    publish, outlet.publish = outlet.publish, lambda frames: None  # type: ignore[method-assign]
    tree.set(ROOT, "round", b"1")
    outlet.publish = publish  # type: ignore[method-assign]
    tree.until(tree.all_know_all)
    assert tree.cells["site-1"].plane.subscriber.gaps == 1  # type: ignore[union-attr]


def test_more_than_a_queue_holds_is_repaired(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    tree.start("site-1")
    tree.until_listening("site-1")
    for number in range(20 * SNDHWM):  # nobody reads meanwhile
        tree.set(ROOT, f"key-{number % 8}", bytes(20_000) + b"%d" % number)
    tree.until(tree.all_know_all)
    assert len(root.published) == 20 * SNDHWM


def test_an_outlet_that_opens_again_is_found_again(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    names = ["site-1", "site-2", "site-3"]
    for name in names:
        tree.start(name)
    tree.until_listening(*names)
    root.obey([Reopen()])
    assert root.plane.hub.listeners == {}
    tree.set(ROOT, "round", b"1")  # by the links
    tree.until(tree.all_know_all)
    assert len(root.fired) == 3
    tree.until_listening(*names)
    tree.set(ROOT, "round", b"2")
    tree.until(tree.all_know_all)
    assert len(root.fired) == 3
    assert root.ports.plane.deadline is None


def test_a_narrowed_rule_cuts_and_what_is_no_longer_granted_is_not_heard(tree: Tree) -> None:
    granted = {"site-1": ("",), "site-10": ("",)}
    root = tree.start(ROOT, [ANY], rule=lambda child: granted[child])
    tree.start("site-1")
    tree.start("site-10")
    tree.until_listening("site-1", "site-10")
    granted["site-1"] = (props_topic("site-1"),)
    root.obey(root.plane.hub.check_rules())
    assert root.plane.hub.listeners == {}
    tree.until_listening("site-1", "site-10")
    recorder = Recorder(tree, "site-1")
    tree.set("site-10", "round", b"10")
    tree.set("site-1", "round", b"1")
    tree.until(lambda: recorder.topics() == [props_topic("site-1")])
    tree.until(lambda: len(tree.known("site-10")) == 2)
    assert set(tree.known("site-1")) == {("site-1", props_topic("site-1"), "round")}
    recorder.close()


def test_who_is_revoked_hears_nothing_more(tree: Tree, tmp_path: Path) -> None:
    keys = keys_of(tmp_path, ROOT, "site-1", "site-2")
    root = tree.start(ROOT, [ANY], keys[ROOT])
    for name in ("site-1", "site-2"):
        tree.start(name, None, keys[name])
    tree.until_listening("site-1", "site-2")
    allowed = keys[ROOT].without("site-2").allowed
    root.ports.curve.replace(allowed)
    root.ports.plane.set_allowed(allowed, root, time.monotonic())
    tree.leave("site-2")
    tree.set(ROOT, "round", b"1")
    tree.until(lambda: tree.known("site-1") and root.ports.zap.refused["plane-0"])
    tree.until_listening("site-1")
    tree.set(ROOT, "round", b"2")
    tree.until(lambda: b"2" in tree.known("site-1").values())
    assert tree.known("site-2") == {}
    assert tree.cells["site-2"].ports.plane.inlet.counters["heard"] == 0  # type: ignore[union-attr]


def test_who_is_no_child_any_more_and_listens_still_is_cut(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqfl.protocol.plane.hub.LEAVE", 0.1)
    root = tree.start(ROOT, [ANY])
    tree.start("site-1")
    tree.start("site-2")
    tree.until_listening("site-1", "site-2")
    tree.leave("site-2")
    tree.until(lambda: root.ports.plane.outlets[0].counters["reopened"])
    tree.until_listening("site-1")
    tree.until(lambda: root.ports.plane.outlets[0].counters["refused"])
    assert set(root.plane.hub.listeners) == {"site-1"}


def test_a_child_that_is_bound_anew_listens_with_its_new_session(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    site = tree.start("site-1")
    tree.until_listening("site-1")
    tree.leave("site-1")
    site.obey(site.plane.unbound())
    tree.join("site-1")
    tree.until(lambda: root.ports.plane.outlets[0].counters["granted"] == 2)
    tree.set(ROOT, "round", b"1")
    tree.until(tree.all_know_all)
    tree.until_listening("site-1")
    assert root.ports.plane.outlets[0].counters["reopened"] == 0


def test_nothing_is_published_but_updates_of_what_is_public(tree: Tree) -> None:
    """The recorder holds a ticket for everything, and sees frames as they are."""
    root = tree.start(ROOT, [ANY])
    tree.start("site-1")
    tree.until_listening("site-1")
    recorder = Recorder(tree, "site-2")
    tree.set("site-1", "round", b"1")
    tree.set("site-1", "rid-1", b"offer", rids_topic("models"))
    call = Call("site-1", 1, 1, CHANNEL, PlaneTopic.SUBSCRIBE, 0, {}, (), 1.0, True)
    root.plane.receive(call, time.monotonic())
    tree.until(tree.all_know_all)
    tree.until(lambda: root.plane.hub.deadline is None)  # all heads are told, by the links
    topics = [props_topic("site-1"), rids_topic("models")]
    tree.until(lambda: len(recorder.frames) >= 2 or recorder.topics() == topics)
    assert recorder.topics() == topics
    assert [list(map(bytes, frames)) for frames in root.published] == recorder.frames
    recorder.close()


def test_what_a_parent_publishes_that_cannot_be_read_is_dropped(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    site = tree.start("site-1")
    tree.until_listening("site-1")
    root.ports.plane.publish(Publish("props/site-1/", {"e": 1}, (b"\xc1",)))
    tree.until(lambda: site.plane.dropped == 1)
    tree.set(ROOT, "round", b"1")
    tree.until(tree.all_know_all)


def test_a_parent_that_cannot_be_listened_to_is_as_one_that_does_not_publish(
    tree: Tree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = keys_of(tmp_path, ROOT, "site-1")
    tree.start(ROOT, [ANY], keys[ROOT])
    site = tree.start("site-1", None, keys["site-1"])
    assert site.ports.plane.inlet is not None
    site.ports.plane.inlet._keys = keys[ROOT]  # one that knows no parent
    site.obey([Listen("tcp:7001", "site-1", 1)])
    assert "cannot listen to what its parent publishes" in caplog.text
    tree.set(ROOT, "round", b"1")
    tree.until(tree.all_know_all)


def test_a_root_listens_to_nobody(tree: Tree) -> None:
    root = tree.start(ROOT, [ANY])
    root.obey([Listen("tcp:7001", ROOT, 1)])
    assert root.ports.plane.inlet is None


def test_after_anything_all_know_the_same(tree: Tree, seed: int) -> None:
    rng = random.Random(seed)
    root = tree.start(ROOT, [ANY])
    tree.start("relay", [ANY])
    names = ["relay", "site-1", "site-2", "relay.site-3", "relay.site-4"]
    for name in names[1:]:
        tree.start(name)
    for _ in range(60):
        name = rng.choice(names)
        above = tree.cells[tree_parent(name, ROOT)]
        match rng.randrange(12):
            case 0:
                above.obey([Reopen()])
            case 1:
                cell = tree.cells[name]
                tree.leave(name)
                cell.obey(cell.plane.unbound())
                tree.join(name)
            case 2:
                tree.cells[name].ports.plane.listen(Listen("", name, 0))
            case 3:
                for cell in tree.cells.values():
                    cell.step()
            case _:
                body = None if rng.random() < 0.3 else rng.randbytes(4)
                tree.set(rng.choice([ROOT, *names]), f"key-{rng.randrange(4)}", body)
    monkey = [cell.plane.publisher for cell in tree.cells.values()]
    tree.until(lambda: all(not publisher._untold and not publisher._under_way for publisher in monkey))
    for cell in tree.cells.values():  # what a departure has undone is mended by the next check, which is 20 s away
        cell.obey(cell.plane.publisher.bound(ROOT, 1, time.monotonic()))
    tree.until(tree.all_know_all)
    assert root.ports.plane.outlets[0].counters["garbage"] == 0


SEEDS_SHARE = 6


class Recorder:
    """A raw socket that is let in under the name of a child, which need not run."""

    def __init__(self, tree: Tree, name: str) -> None:
        root = tree.cells[ROOT]
        root.sessions.setdefault(name, 5)
        self.frames: list[list[bytes]] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XSUB)
        self._socket.linger = 0
        self._socket.connect(str(root.ports.plane.outlets[0].endpoint))
        granted = root.ports.plane.outlets[0].counters["granted"]
        self._socket.send(encode_ticket(Ticket(name, root.sessions[name])))
        tree.until(lambda: root.ports.plane.outlets[0].counters["granted"] > granted)

    def topics(self) -> list[str]:
        """Of all that was heard."""
        while self._socket.poll(0):
            self.frames.append(self._socket.recv_multipart())
        return [frames[0].decode() for frames in self.frames]

    def close(self) -> None:
        self._socket.close()
        self._context.term()
