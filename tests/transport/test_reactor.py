"""The thread that owns the sockets, with a node that does as it is told."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import zmq

from tests.system.federation import start_zero_copy
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, ClosedError, DecodeError, UserError
from zmqfl.protocol.commands import (
    Call,
    Command,
    Exit,
    Finish,
    FlowEnded,
    FlowFate,
    Hangup,
    Invoke,
    Level,
    Listen,
    Note,
    Outcome,
    PeerChanged,
    PeerState,
    Produce,
    Publish,
    Redial,
    Reopen,
    Revoke,
    Send,
    Work,
)
from zmqfl.protocol.node import Node
from zmqfl.protocol.plane.publication import Ticket
from zmqfl.transport import reactor as module
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import Keys
from zmqfl.transport.outbox import SHARES
from zmqfl.transport.reactor import Reactor
from zmqfl.wire.codec import encode_packet
from zmqfl.wire.messages import Conn, Fire, Kind, Lane, Packet

CONFIG = CellConfig(heartbeat=0.2, dead_after=2, reconnect_min=0.01, reconnect_max=0.02, send_budget=12_000_000)
ANY = Endpoint.parse("tcp://127.0.0.1:*")
LONG = 20.0


@pytest.fixture(scope="module", autouse=True)
def _zero_copy() -> None:
    start_zero_copy()


CALL = Call("site-1", 1, 1, "test", "topic", 1, {}, (), 1.0, True)


class ToldNode:
    """Writes down what it is asked, and answers with `answers[name]`."""

    def __init__(self) -> None:
        self.fqcn = "server"
        self.deadline: float | None = None
        self.calls: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.answers: dict[str, Callable[..., list[Command]]] = {}

    def __getattr__(self, name: str) -> Callable[..., list[Command]]:
        def call(*arguments: Any) -> list[Command]:
            self.calls.put((name, *arguments))
            answer = self.answers.get(name)
            return [] if answer is None else answer(*arguments)

        return call

    def next(self, name: str) -> tuple[Any, ...]:
        """The arguments of the next call of `name`."""
        while True:
            called, *arguments = self.calls.get(timeout=LONG)
            if called == name:
                return tuple(arguments)


class ToldEdges:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.accept = True

    def invoke(self, call: Call) -> bool:
        self.told.put(("invoke", call))
        return self.accept

    def revoke_call(self, call: Call) -> None:
        self.told.put(("revoke", call))

    def finish(self, finish: Finish) -> None:
        self.told.put(("finish", finish))

    def flow_ended(self) -> None:
        self.told.put(("flow",))

    def work(self, command: Work) -> None:
        self.told.put(("work", command))

    def facts_changed(self, facts: tuple[Any, ...]) -> None:
        self.told.put(("facts", facts))

    def peer_changed(self, change: PeerChanged) -> None:
        self.told.put(("peer", change))

    def reactor_ended(self) -> None:
        self.told.put(("ended",))

    def exit_process(self, status: int, reason: str) -> None:
        self.told.put(("exit", status, reason))

    def next(self) -> tuple[Any, ...]:
        return self.told.get(timeout=LONG)


@pytest.fixture
def node() -> ToldNode:
    return ToldNode()


@pytest.fixture
def edges() -> ToldEdges:
    return ToldEdges()


def make(node: ToldNode, edges: ToldEdges, **options: Any) -> Reactor:
    options = {"listen": [ANY], "parent": None, "keys": None, **options}
    return Reactor(cast(Node, node), CONFIG, edges, **options)


@pytest.fixture
def reactor(node: ToldNode, edges: ToldEdges) -> Iterator[Reactor]:
    reactor = make(node, edges)
    reactor.start()
    yield reactor
    assert reactor.stop()


@pytest.fixture
def dealer(reactor: Reactor) -> Iterator[zmq.Socket[bytes]]:
    """A child."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(str(reactor.ports.listeners[0].endpoint))
    yield dealer
    dealer.close()
    context.term()


def run(reactor: Reactor, *commands: Command) -> None:
    """Have the reactor obey; returns when it has."""
    done = threading.Event()
    reactor.submit(lambda now: list(commands))
    reactor.submit(do(done.set))
    assert done.wait(LONG)


def do(function: Callable[..., object], *arguments: object) -> Callable[..., list[Command]]:
    """An action, or an answer of the node, that calls `function` and commands nothing."""

    def act(*_: object) -> list[Command]:
        function(*arguments)
        return []

    return act


def packet(body: bytes = b"", kind: int = Kind.FIRE) -> Packet:
    return Packet(kind, b"\x90", (body,) if body else (), ("server",))


def conn_of(dealer: zmq.Socket[bytes], node: ToldNode) -> Conn:
    """What the reactor calls the connection of `dealer`."""
    dealer.send_multipart(encode_packet(packet()))
    conn: Conn = node.next("receive")[0]
    return conn


# ---------------------------------------------------------------------------------------------------------- submission


def test_what_is_submitted_runs_on_the_reactor_in_order(reactor: Reactor) -> None:
    seen: list[tuple[int, bool]] = []
    done = threading.Event()

    def note(number: int) -> None:
        seen.append((number, reactor.is_current()))

    for number in range(1000):
        reactor.submit(do(note, number))
    reactor.submit(do(done.set))
    assert done.wait(LONG)
    assert seen == [(number, True) for number in range(1000)]
    assert not reactor.is_current()


def test_after_stop_nothing_can_be_submitted_and_before_it_nothing_is_lost(node: ToldNode, edges: ToldEdges) -> None:
    for _ in range(20):
        reactor = make(node, edges)
        reactor.start()
        ran: list[int] = []
        accepted: list[int] = []

        def submit(reactor: Reactor = reactor, ran: list[int] = ran, accepted: list[int] = accepted) -> None:
            try:
                for number in range(100_000):
                    reactor.submit(do(ran.append, number))
                    accepted.append(number)
            except ClosedError:
                pass

        thread = threading.Thread(target=submit)
        thread.start()
        while not ran:
            threading.Event().wait(0.0001)
        assert reactor.stop()
        thread.join()
        assert ran == accepted
        with pytest.raises(ClosedError, match="server is stopped"):
            reactor.submit(lambda now: [])


def test_a_bug_in_a_verb_costs_that_verb(reactor: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    def fail(now: float) -> list[Command]:
        raise KeyError("bug")

    reactor.submit(fail)
    run(reactor)
    assert reactor.counters["bugs"] == 1
    assert "a verb failed because of a bug" in caplog.text


def test_a_reactor_that_dies_says_so_and_runs_what_was_submitted(
    node: ToldNode, edges: ToldEdges, caplog: pytest.LogCaptureFixture
) -> None:
    reactor = make(node, edges)
    ran: list[int] = []
    reactor.submit(lambda now: [cast(Command, "no command")])
    for number in range(300):
        reactor.submit(do(ran.append, number))
    reactor.start()
    assert edges.next() == ("ended",)
    assert ran == list(range(300))
    assert reactor.is_closed
    with pytest.raises(ClosedError):
        reactor.submit(lambda now: [])
    assert reactor.stop()
    assert "unexpected command" in caplog.text


def test_one_that_was_never_started_is_stopped_as_well(node: ToldNode, edges: ToldEdges) -> None:
    reactor = make(node, edges)
    assert not reactor.is_started
    assert reactor.stop()
    assert reactor.is_closed


def test_what_cannot_be_opened_leaves_nothing(node: ToldNode, edges: ToldEdges, reactor: Reactor) -> None:
    taken = reactor.ports.listeners[0].endpoint
    with pytest.raises(UserError, match="taken"):
        make(node, edges, listen=[ANY, taken])
    with pytest.raises(UserError, match="key of the parent"):
        make(node, edges, parent=taken, keys=Keys("site-1", *zmq.curve_keypair()))


# ------------------------------------------------------------------------------------------------------------ commands


def test_each_command_is_obeyed(reactor: Reactor, node: ToldNode, edges: ToldEdges, caplog: Any) -> None:
    finish = Finish(1, "site-1", Outcome(CellReturnCode.OK))
    change = PeerChanged("site-1", PeerState.UP, 7)
    caplog.set_level(logging.INFO)
    run(reactor, finish, Invoke(CALL), Revoke(CALL), change, Exit(75, "why"), Note(Level.INFO, "noted"))
    assert [edges.next() for _ in range(5)] == [
        ("finish", finish), ("invoke", CALL), ("revoke", CALL), ("peer", change), ("exit", 75, "why"),
    ]  # fmt: skip
    assert "noted" in caplog.text


def test_a_call_that_no_worker_takes_is_refused(reactor: Reactor, node: ToldNode, edges: ToldEdges) -> None:
    edges.accept = False
    node.answers["refuse"] = lambda call, now: [Exit(1, "refused")]
    run(reactor, Invoke(CALL))
    assert node.next("refuse")[0] is CALL
    assert [edges.next()[0] for _ in range(2)] == ["invoke", "exit"]


def test_a_deadline_wakes_it(reactor: Reactor, node: ToldNode) -> None:
    def ended(now: float) -> list[Command]:
        node.deadline = None
        return []

    node.answers["handle_timeout"] = ended
    due = reactor.now() + 0.02
    node.deadline = due
    run(reactor)
    (now,) = node.next("handle_timeout")
    assert now >= due


# ------------------------------------------------------------------------------------------------------------ messages


def test_a_message_goes_to_the_node_and_its_answer_back(
    reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes]
) -> None:
    node.answers["receive"] = lambda conn, packet, now, user: [Send(conn, packet)]
    frames = encode_packet(packet(b"body"))
    dealer.send_multipart(frames)
    conn, received, _, user = node.next("receive")
    assert (conn[:2], received.bodies, user) == (("in", 0), (b"body",), None)
    assert dealer.poll(round(LONG * 1000))
    assert dealer.recv_multipart() == frames


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1])
def test_big_frames_are_not_copied(reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes], size: int) -> None:
    dealer.send_multipart(encode_packet(packet(bytes(size))))
    (body,) = node.next("receive")[1].bodies
    assert isinstance(body, bytes) == (size <= 64 * 1024)
    assert len(body) == size


def test_a_message_that_is_none_and_a_bug_cost_that_message(
    reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    answers: Iterator[Exception] = iter([DecodeError("bad header"), KeyError("bug")])

    def fail(*_: Any) -> list[Command]:
        raise next(answers)

    node.answers["receive"] = fail
    for _ in range(3):
        dealer.send(b"garbage")
    for _ in range(2):
        dealer.send_multipart(encode_packet(packet()))
    for _ in range(2):
        node.next("receive")
    node.answers.clear()
    assert conn_of(dealer, node)
    assert (reactor.counters["malformed"], reactor.counters["bugs"]) == (4, 1)
    assert caplog.text.count("dropped a malformed message") == 1


def test_it_takes_no_more_at_once_than_it_may_and_loses_nothing(
    reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MESSAGES", 2)
    passes: list[int] = []
    receive = reactor._receive

    def counting(ready: set[object], now: float) -> None:
        before = node.calls.qsize()
        receive(ready, now)
        passes.append(node.calls.qsize() - before)

    monkeypatch.setattr(reactor, "_receive", counting)
    held = threading.Event()
    reactor.submit(do(held.wait, LONG))
    for number in range(50):
        dealer.send_multipart(encode_packet(packet(b"%d" % number)))
    held.set()
    bodies = [node.next("receive")[1].bodies[0] for _ in range(50)]
    assert bodies == [b"%d" % number for number in range(50)]
    assert max(passes) <= 2


# -------------------------------------------------------------------------------------------------------------- queues


def test_what_a_connection_does_not_take_waits_and_what_exceeds_the_budget_is_given_back(
    reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes]
) -> None:
    conn = conn_of(dealer, node)
    given_back = threading.Event()
    node.answers["undeliverable"] = do(given_back.set)
    sent = 0
    body = bytes(1_000_000)
    while not given_back.is_set():  # the child reads nothing
        run(reactor, Send(conn, packet(body)))
        sent += 1
        assert reactor.ports.budget.used <= CONFIG.send_budget // SHARES
    assert len(reactor.ports.listeners[0].outboxes[conn]) == 2  # and a third one does not fit
    for _ in range(sent - 1):
        assert dealer.poll(round(LONG * 1000))
        assert len(dealer.recv_multipart()[2]) == len(body)
    run(reactor)
    assert reactor.ports.budget.used == 0
    run(reactor, Send(conn, packet(b"again")))
    assert dealer.recv_multipart()[2] == b"again"


def test_bulk_goes_where_nothing_is_queued(reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes]) -> None:
    conn = conn_of(dealer, node)
    segments = [packet(b"%d" % number) for number in range(20)]
    passed: list[int] = []

    def next_bulk(blocked: set[Conn], now: float) -> list[Command]:
        if not segments or conn in blocked:
            return []
        passed.append(len(blocked))
        return [Send(conn, segments.pop(0))]

    node.answers["next_bulk"] = next_bulk
    run(reactor)
    assert [dealer.recv_multipart()[2] for _ in range(20)] == [b"%d" % number for number in range(20)]
    body, sent = bytes(1_000_000), 0
    while conn not in reactor.ports.blocked:  # the child reads nothing
        run(reactor, Send(conn, packet(body)))
        sent += 1
    segments.append(packet(b"last"))
    run(reactor)
    assert len(segments) == 1 or conn not in reactor.ports.blocked  # the kernel may have found room for more
    assert [len(dealer.recv_multipart()[2]) for _ in range(sent)] == [len(body)] * sent
    assert dealer.recv_multipart()[2] == b"last"
    assert not any(passed)


def test_flows_that_have_ended_and_work_are_told(reactor: Reactor, edges: ToldEdges) -> None:
    fire = Fire("server", 1, 2, 3, "c", "t", 0, [])
    run(reactor, FlowEnded(fire, "site-1", FlowFate.DELIVERED), Produce(3))
    assert [edges.next(), edges.next()] == [("flow",), ("work", Produce(3))]


def test_a_lost_connection_is_told_and_its_queue_dropped(
    reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes]
) -> None:
    conn = conn_of(dealer, node)
    given_back = threading.Event()
    node.answers["undeliverable"] = do(given_back.set)
    while not given_back.is_set():
        run(reactor, Send(conn, packet(bytes(1_000_000))))
    # A dying connection may still swallow what was queued; what is sent to it afterwards tells.
    node.answers["touch"] = lambda *_: [Send(conn, packet(b"touch"))]
    dealer.close()
    assert node.next("disconnected")[0] == conn
    del node.answers["touch"]
    run(reactor)
    assert reactor.ports.budget.used == 0
    run(reactor, Send(conn, packet(b"too late")))
    assert node.next("disconnected")[0] == conn


def test_a_hangup_drops_what_waits(reactor: Reactor, node: ToldNode, dealer: zmq.Socket[bytes]) -> None:
    conn = conn_of(dealer, node)
    given_back = threading.Event()
    node.answers["undeliverable"] = do(given_back.set)
    while not given_back.is_set():
        run(reactor, Send(conn, packet(bytes(1_000_000))))
    run(reactor, Hangup(conn))
    assert reactor.ports.budget.used == 0
    assert conn not in reactor.ports.listeners[0].outboxes


# -------------------------------------------------------------------------------------------------------------- lanes


def test_the_node_hears_of_its_lanes(node: ToldNode, edges: ToldEdges) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as parent:
        parent.linger = 0
        parent.bind("tcp://127.0.0.1:*")
        url = parent.get_string(zmq.LAST_ENDPOINT)
        reactor = make(node, edges, listen=[], parent=Endpoint.parse(url))
        run_early = packet(b"early")
        reactor.submit(lambda now: [Send(("up", Lane.CONTROL), run_early)])  # before there is a connection
        reactor.start()
        assert {node.next("connected")[0] for _ in range(2)} == {Lane.CONTROL, Lane.BULK}
        assert parent.poll(round(LONG * 1000))
        assert parent.recv_multipart()[3] == b"early"
        run(reactor, Redial(Lane.BULK))
        assert node.next("connected")[0] == Lane.BULK
        parent.close()
        assert {node.next("disconnected")[0] for _ in range(2)} == {("up", Lane.CONTROL), ("up", Lane.BULK)}
        assert reactor.stop()


def test_keys_that_are_allowed_later_are_let_in(node: ToldNode, edges: ToldEdges) -> None:
    server, site = zmq.curve_keypair(), zmq.curve_keypair()
    reactor = make(node, edges, keys=Keys("server", *server))
    reactor.start()
    url = reactor.ports.listeners[0].endpoint
    child_node = ToldNode()
    child = make(child_node, edges, listen=[], parent=url, keys=Keys("site-1", *site, parent_public=server[0]))
    child.start()
    assert child_node.next("refused")[0] in Lane
    reactor.set_allowed({"site-1": site[0]})
    assert node.next("set_allowed")[0] == {"site-1": site[0]}
    child.submit(lambda now: [Redial(Lane.CONTROL), Redial(Lane.BULK)])
    assert child_node.next("connected")[0] in Lane
    child.submit(lambda now: [Send(("up", Lane.CONTROL), packet(b"x"))])
    assert node.next("receive")[3] == "site-1"  # the name that the key proves
    assert child.stop()
    assert reactor.stop()


# --------------------------------------------------------------------------------------------------------- the plane


class ToldDoor:
    """Writes down who listens and what is heard; everybody may hear everything."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.fails = False

    def admit(self, ticket: Ticket, user: str | None) -> tuple[str, ...]:
        self.told.put(("admit", ticket.name, ticket.session, user))
        return ("",)

    def dismiss(self, name: str) -> None:
        self.told.put(("dismiss", name))

    def heard(self, headers: Any, bodies: tuple[Any, ...], now: float) -> list[Command]:
        self.told.put(("heard", headers, tuple(map(bytes, bodies))))
        if self.fails:
            raise KeyError("bug")
        return [Note(Level.WARNING, "heard")]

    def next(self) -> tuple[Any, ...]:
        return self.told.get(timeout=LONG)


@pytest.fixture
def planes(edges: ToldEdges) -> Iterator[tuple[Reactor, Reactor, ToldDoor, ToldDoor]]:
    """A parent, a child that listens, and what each is told."""
    doors = ToldDoor(), ToldDoor()
    parent = make(ToldNode(), edges, plane=doors[0])
    parent.start()
    child = make(ToldNode(), edges, listen=[], parent=parent.ports.listeners[0].endpoint, plane=doors[1])
    child.start()
    run(child, Listen(parent.ports.plane.told(0), "site-1", 7))
    assert doors[0].next() == ("admit", "site-1", 7, None)
    yield parent, child, *doors
    assert child.stop()
    assert parent.stop()


UPDATE = Publish("props/a/", {"e": 1, "t": "props/a/", "s": 1, "a": 0}, (b"facts",))


def test_what_a_parent_publishes_its_child_hears(
    planes: tuple[Reactor, Reactor, ToldDoor, ToldDoor], caplog: pytest.LogCaptureFixture
) -> None:
    parent, child, _, door = planes
    run(parent, UPDATE)
    assert door.next() == ("heard", UPDATE.headers, (b"facts",))
    run(child)
    assert "heard" in caplog.text


def test_who_listens_is_cut_and_listens_again(planes: tuple[Reactor, Reactor, ToldDoor, ToldDoor]) -> None:
    parent, _, above, door = planes
    run(parent, Reopen())
    assert [above.next(), above.next()] == [("dismiss", "site-1"), ("admit", "site-1", 7, None)]
    run(parent, UPDATE)
    assert door.next()[0] == "heard"


def test_who_listens_no_longer_is_dismissed(planes: tuple[Reactor, Reactor, ToldDoor, ToldDoor]) -> None:
    _, child, above, _ = planes
    run(child, Listen("", "site-1", 0))
    assert above.next() == ("dismiss", "site-1")


def test_a_bug_in_what_is_heard_costs_what_is_heard(
    planes: tuple[Reactor, Reactor, ToldDoor, ToldDoor], caplog: pytest.LogCaptureFixture
) -> None:
    parent, child, _, door = planes
    door.fails = True
    run(parent, UPDATE)
    assert door.next()[0] == "heard"
    run(child)
    assert child.counters["bugs"] == 1
    door.fails = False
    run(parent, UPDATE)
    assert door.next()[0] == "heard"


def test_without_a_plane_nothing_is_published(node: ToldNode, reactor: Reactor) -> None:
    assert reactor.ports.plane.told(0) == ""
    run(reactor, UPDATE, Listen("tcp:7001", "server", 1))
    assert reactor.ports.plane.outlets == {}


def test_a_revoked_key_is_cut_off_where_it_listens(edges: ToldEdges, monkeypatch: pytest.MonkeyPatch) -> None:
    door, told = ToldDoor(), threading.Event()
    keys = Keys("server", *zmq.curve_keypair(), allowed={"site-1": zmq.curve_keypair()[0]})
    reactor = make(ToldNode(), edges, keys=keys, plane=door)
    monkeypatch.setattr(reactor.ports.plane, "set_allowed", lambda names, door, now: told.set())
    reactor.start()
    reactor.set_allowed({})
    assert told.wait(LONG)
    assert reactor.stop()
