"""What is sealed passes relays that nobody trusts: they read nothing; what they change, repeat or forge is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cell.sealed import CardedFederation, Numbers, Taker
from tests.system.federation import LONG, Gate, until
from tests.system.spy import Spy, changed, is_of
from zmqfl import Cell, CellReturnCode, Message
from zmqfl.cell import sealed_streams
from zmqfl.cell.message import SEAL
from zmqfl.cell.sealed_streams import HEAD, StreamKeys
from zmqfl.cell.streams import Incoming
from zmqfl.errors import TransferError
from zmqfl.protocol.push_sender import CHANNEL as PUSH
from zmqfl.wire import payload
from zmqfl.wire.messages import Fire, Packet, Reply, Request

OK = CellReturnCode.OK
SECRET = b"only for the eyes of the server"


@dataclass
class Tree:
    """server <- (relay <- relay.site-1), site-2. `seen`: what the handler of the server got."""

    federation: CardedFederation
    server: Cell
    relay: Cell
    site: Cell
    other: Cell
    spy: Spy
    seen: list[Message]

    def ask(self, value: Any = SECRET, timeout: float = LONG, **options: Any) -> Message:
        """A sealed request of the site behind the relay."""
        return self.site.request("server", "test", "take", value, timeout, secure=True, **options).reply(LONG)

    def wait_passed(self) -> None:
        """Until what was passed on before is through: a later request has overtaken nothing."""
        assert self.site.request("server", "test", "echo", 1, LONG).result(LONG).payload == 1


@pytest.fixture
def tree() -> Iterator[Tree]:
    federation = CardedFederation()
    cells = federation.tree()
    made = Tree(federation, *cells, spy=Spy(cells[1]), seen=[])
    serve(made.server, made.seen)
    yield made
    federation.close()


def serve(cell: Cell, seen: list[Message]) -> None:
    def take(message: Message) -> Message:
        seen.append(message)
        return Message({"note": "reply header 4711"}, b"reply: " + SECRET)

    cell.register_request_cb("test", "take", take)
    cell.register_request_cb("test", "echo", lambda message: message.payload)


# ---------------------------------------------------------------------------------------------------- what a relay sees


def test_cell_N09_requests_broadcasts_and_fires_go_sealed(tree: Tree) -> None:
    reply = tree.ask(Message({"note": "request header 4711"}, SECRET))
    assert (reply.payload, reply.get_header("note")) == (b"reply: " + SECRET, "reply header 4711")
    assert reply.sealed
    assert reply.origin == "server"
    (message,) = tree.seen
    assert (message.payload, message.get_header("note"), message.origin) == (
        SECRET,
        "request header 4711",
        "relay.site-1",
    )
    assert message.sealed
    serve(tree.other, tree.seen)
    replies = tree.site.broadcast(["server", "site-2"], "test", "take", SECRET, secure=True).result(LONG)
    assert {name: reply.payload for name, reply in replies.items()} == dict.fromkeys(replies, b"reply: " + SECRET)
    assert tree.site.fire(["server", "site-2"], "test", "take", SECRET, secure=True).result(LONG) == {
        "server": "", "site-2": "",
    }  # fmt: skip
    until(lambda: len(tree.seen) == 5)
    assert all(message.sealed and message.payload == SECRET for message in tree.seen)
    assert len(tree.spy.of(Request, "test")) == 2
    for text in (SECRET, b"header 4711", b"reply: "):
        assert not tree.spy.holds(text)


def test_cell_N09_an_error_of_the_handler_is_sealed(tree: Tree) -> None:
    def fail(message: Message) -> None:
        raise ValueError(f"not {SECRET.decode()}")

    tree.server.register_request_cb("test", "take", fail)
    reply = tree.ask()
    assert reply.return_code is CellReturnCode.PROCESS_EXCEPTION
    assert SECRET.decode() in reply.error
    assert not tree.spy.holds(SECRET)


def test_cell_N09_in_clear_everything_is_seen(tree: Tree) -> None:
    reply = tree.site.request("server", "test", "take", SECRET).result(LONG)
    assert not reply.sealed
    assert not tree.seen[0].sealed
    assert tree.spy.holds(SECRET)


def test_cell_N09_replies_that_come_later(tree: Tree) -> None:
    def later(message: Message) -> None:
        held.append(message)

    held: list[Message] = []
    tree.server.register_request_cb("test", "take", later)
    secure = tree.site.request("server", "test", "take", SECRET, secure=True)
    clear = tree.site.request("server", "test", "take", SECRET)
    until(lambda: len(held) == 2)
    ids = {message.sealed: message.req_id for message in held}
    assert "did not come with secure=True" in tree.server.send_reply(1, "relay.site-1", [ids[False]], secure=True)
    assert tree.server.send_reply(SECRET, "relay.site-1", [ids[True]], secure=True) == ""
    assert secure.result(LONG).payload == SECRET
    tree.spy.packets = [packet for packet in tree.spy.packets if packet.kind == Reply.KIND]
    assert not tree.spy.holds(SECRET)
    assert tree.server.send_reply(1, "relay.site-1", [ids[False]]) == ""
    assert not clear.result(LONG).sealed


def test_cell_N09_long_messages_and_many_frames(tree: Tree) -> None:
    tree.server.register_request_cb("test", "take", lambda message: message.payload)
    value: dict[str, Any] = {"long": SECRET * 100_000, "arrays": [np.full(2000, number, "i8") for number in range(80)]}
    reply = tree.ask(value)
    assert reply.payload["long"] == value["long"]
    assert all(np.array_equal(one, other) for one, other in zip(reply.payload["arrays"], value["arrays"], strict=True))
    assert not tree.spy.holds(SECRET)


# ------------------------------------------------------------------------------------------------- what a relay changes


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def in_wrap(place: int, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def act(headers: dict[str, Any]) -> dict[str, Any]:
        seal = headers[SEAL]
        wrap = list(seal["w"]["server"])
        wrap[place] = change(wrap[place])
        return {SEAL: {**seal, "w": {"server": wrap}}}

    return act


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "instance": ("instance", lambda value: value ^ 1),
    "id": ("id", lambda value: value + 1000),
    "channel": ("channel", lambda value: "tes"),
    "topic": ("topic", lambda value: "echo"),
    "codec": ("codec", lambda value: 1),
    "head": ("headers", lambda value: {SEAL: {**value[SEAL], "h": flip(value[SEAL]["h"])}}),
    "no wrap": ("headers", lambda value: {SEAL: {**value[SEAL], "w": {}}}),
    "no seal": ("headers", lambda value: {}),
    "session": ("headers", in_wrap(0, lambda value: value ^ 1)),
    "counter": ("headers", in_wrap(1, lambda value: value + 1)),
    "wrap": ("headers", in_wrap(2, flip)),
}


@pytest.mark.parametrize("what", CHANGES)
def test_cell_N09_a_changed_header_is_never_taken(tree: Tree, what: str) -> None:
    tree.ask()  # the session is there
    tree.seen.clear()
    name, change = CHANGES[what]

    def touch(packet: Packet, message: Any) -> Packet | None:
        if packet.kind != Request.KIND or not is_of(message, "test"):
            return packet
        return changed(packet, message, **{name: change(getattr(message, name))})

    tree.spy.touch = touch
    reply = tree.ask(timeout=0.5)
    assert not reply.ok
    tree.spy.touch = lambda packet, message: packet
    tree.wait_passed()
    assert tree.seen == []


def test_cell_N09_a_changed_body_is_never_taken(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: (
        replace(packet, bodies=(flip(bytes(packet.bodies[0])),))
        if packet.kind == Request.KIND and is_of(message, "test") else packet
    )  # fmt: skip
    reply = tree.ask()
    assert reply.return_code is CellReturnCode.AUTHENTICATION_ERROR
    assert "a sealed message of relay.site-1 was refused" in reply.error
    assert tree.seen == []
    assert tree.server._seals is not None
    assert tree.server._seals.sealing.callee.counters["forged"] == 1


REPLIES: dict[str, Callable[[Packet, Reply], Packet]] = {
    "code": lambda packet, reply: changed(packet, reply, code="timeout"),
    "head": lambda packet, reply: changed(packet, reply, headers={SEAL: flip(reply.headers[SEAL])}),
    "no head": lambda packet, reply: changed(packet, reply, headers={}),
    "codec": lambda packet, reply: changed(packet, reply, codec=1),
    "body": lambda packet, reply: replace(packet, bodies=(flip(bytes(packet.bodies[0])),)),
    "no body": lambda packet, reply: replace(changed(packet, reply, lengths=[]), bodies=()),
    "made up": lambda packet, reply: replace(
        changed(packet, reply, codec=1, headers={}, lengths=[len(payload.encode(13)[0])]),
        bodies=tuple(payload.encode(13)),
    ),
}


@pytest.mark.parametrize("what", REPLIES)
def test_cell_N09_a_changed_reply_is_never_taken(tree: Tree, what: str) -> None:
    tree.spy.touch = lambda packet, message: (
        REPLIES[what](packet, message) if isinstance(message, Reply) and is_of(message) else packet
    )
    reply = tree.ask()
    assert reply.return_code in (CellReturnCode.COMM_ERROR, CellReturnCode.TIMEOUT)
    assert reply.payload is None
    assert not reply.sealed


def test_cell_N09_swapped_replies_are_refused(tree: Tree) -> None:
    gate = Gate(SECRET)
    tree.server.register_request_cb("test", "take", gate)
    handles = [tree.site.request("server", "test", "take", number, secure=True) for number in range(2)]
    gate.wait_entered(2)
    first, second = (message.id for _, message in tree.spy.of(Request, "test"))
    tree.spy.touch = lambda packet, message: (
        changed(packet, message, id=first + second - message.id)
        if isinstance(message, Reply) and is_of(message)
        else packet
    )
    gate.open()
    for handle in handles:
        reply = handle.reply(LONG)
        assert reply.return_code is CellReturnCode.COMM_ERROR
        assert "the reply of server was refused" in reply.error


# ------------------------------------------------------------------------------------------------- what a relay repeats


def test_cell_N09_a_replay_is_refused(tree: Tree) -> None:
    tree.ask()
    tree.site.fire("server", "test", "take", SECRET, secure=True).result(LONG)
    until(lambda: len(tree.seen) == 2)
    (request, asked), (fire, _) = tree.spy.of(Request, "test")[0], tree.spy.of(Fire, "test")[0]
    for packet in (request, changed(request, asked, id=asked.id + 1000), fire, fire):
        tree.spy.send(packet)
    tree.wait_passed()
    until(lambda: tree.server._seals.sealing.callee.counters["replays"] == 2)  # type: ignore[union-attr]
    assert len(tree.seen) == 2


def test_cell_N09_a_replay_after_a_restart_is_refused(tree: Tree) -> None:
    tree.server.register_request_cb(
        "test", "ask", lambda message: tree.server.request("relay.site-1", *message.payload)
    )
    serve(tree.site, tree.seen)
    tree.server.request("relay.site-1", "test", "take", SECRET, secure=True).result(LONG)
    tree.server.fire("relay.site-1", "test", "take", SECRET, secure=True).result(LONG)
    until(lambda: len(tree.seen) == 2)
    old = [tree.spy.of(Request, "test")[0][0], tree.spy.of(Fire, "test")[0][0]]
    tree.site.close(drain=0)
    again = tree.federation.start("relay.site-1", tree.relay, None)
    serve(again, tree.seen)
    for packet in old:
        tree.spy.send(packet)
    assert tree.server.request("relay.site-1", "test", "echo", 1).result(LONG).payload == 1
    until(lambda: again._seals.sealing.callee.counters["unknown_sessions"] == 2)  # type: ignore[union-attr]
    assert len(tree.seen) == 2


def test_cell_N09_a_restarted_callee_is_asked_once_more_by_itself(tree: Tree) -> None:
    serve(tree.site, tree.seen)
    tree.server.request("relay.site-1", "test", "take", SECRET, secure=True).result(LONG)
    tree.site.close(drain=0)
    serve(tree.federation.start("relay.site-1", tree.relay, None), tree.seen)
    reply = tree.server.request("relay.site-1", "test", "take", SECRET, secure=True).result(LONG)
    assert reply.payload == b"reply: " + SECRET
    assert len(tree.seen) == 2


def test_cell_N09_who_lies_about_a_session_has_nothing_executed_twice(tree: Tree) -> None:
    def touch(packet: Packet, message: Any) -> Packet | None:
        if not isinstance(message, Reply) or not is_of(message):
            return packet
        lie = changed(packet, message, code="invalid_session", codec=0, lengths=[], headers={"why": "seal_session"})
        return replace(lie, bodies=())

    tree.ask()
    tree.spy.touch = touch
    reply = tree.ask()
    assert reply.return_code is CellReturnCode.COMM_ERROR
    assert "outcome unknown" in reply.error
    tree.spy.touch = lambda packet, message: packet
    tree.wait_passed()
    assert len(tree.seen) == 2


def test_a_fire_with_a_forgotten_session_is_lost_and_the_next_one_is_not(tree: Tree) -> None:
    serve(tree.site, tree.seen)

    def fire() -> None:
        tree.server.fire("relay.site-1", "test", "take", SECRET, secure=True).result(LONG)

    fire()
    until(lambda: len(tree.seen) == 1)
    tree.site.close(drain=0)
    serve(tree.federation.start("relay.site-1", tree.relay, None), tree.seen)
    fire()
    until(lambda: not tree.server._seals.sealing._sessions)  # type: ignore[union-attr]
    fire()
    until(lambda: len(tree.seen) == 2)


# ----------------------------------------------------------------------------------------------------- who is not meant


def test_cell_N09_no_card_no_secure(tree: Tree) -> None:
    plain = tree.federation.start(
        "site-1", tree.server, None, keys=replace(tree.federation.keys_of("site-1"), sealing=None)
    )
    mine = plain.request("server", "test", "take", SECRET, secure=True).reply(LONG)
    assert "secure=True needs a card, and site-1 has none" in mine.error
    theirs = tree.site.request("site-1", "test", "take", SECRET, secure=True).reply(LONG)
    assert theirs.return_code is CellReturnCode.COMM_ERROR
    assert "no sealed session with site-1: secure=True needs a card, and site-1 has none" in theirs.error
    errors = tree.site.fire(["site-1", "server"], "test", "take", SECRET, secure=True).result(LONG)
    assert "needs a card" in errors["site-1"]
    assert errors["server"] == ""
    assert not tree.spy.holds(SECRET)


def test_who_was_revoked_is_refused_at_once(tree: Tree) -> None:
    tree.ask()
    tree.server.revoke("relay.site-1")
    reply = tree.ask()
    assert reply.return_code is CellReturnCode.AUTHENTICATION_ERROR
    assert "server does not believe relay.site-1: its keys are revoked here" in reply.error
    assert len(tree.seen) == 1


def test_nobody_who_is_unreachable_holds_up_the_others(tree: Tree) -> None:
    replies = tree.site.broadcast(["server", "nobody", "a..b"], "test", "take", 1, secure=True).result(LONG)
    assert replies["server"].ok
    assert replies["nobody"].return_code is CellReturnCode.COMM_ERROR
    assert replies["a..b"].return_code is CellReturnCode.INVALID_TARGET


def test_a_secure_request_can_be_cancelled_before_it_leaves(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: None
    handle = tree.site.request("server", "test", "take", SECRET, secure=True)
    assert handle.cancel()
    tree.spy.touch = lambda packet, message: packet
    assert tree.ask().ok
    assert len(tree.seen) == 1


def test_a_deadline_holds_for_the_handshake_too(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: None
    reply = tree.ask(deadline=0.2)
    assert reply.return_code is CellReturnCode.TIMEOUT


def test_a_closed_cell_fails_those_that_wait_for_a_session(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: None
    handle = tree.site.request("server", "test", "take", SECRET, secure=True)
    tree.site.close(drain=0)
    assert handle.done()


# --------------------------------------------------------------------------------------------------------------- pushes


@dataclass
class Inbox:
    """Where pushed files arrive, and how each push ended there."""

    folder: Path
    ends: list[Any]


def receive(cell: Cell, folder: Path) -> Inbox:
    folder.mkdir()
    inbox = Inbox(folder, [])

    def done(received: Any) -> str:
        inbox.ends.append(received)
        return f"thanks of {cell.fqcn} 4711"

    cell.consume("files", folder, done=done)
    return inbox


@pytest.fixture
def inboxes(tree: Tree, tmp_path: Path) -> list[Inbox]:
    return [receive(tree.server, tmp_path / "server"), receive(tree.other, tmp_path / "other")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "named-4711.bin"
    path.write_bytes(SECRET * 10_000)
    return path


def push(tree: Tree, file: Path, **options: Any) -> Any:
    options = {"chunk_size": 65536, "codec": "none", "timeout": LONG, **options}
    return tree.site.push_file(file, ["server", "site-2"], secure=True, context={"a": "context 4711"}, **options)


@pytest.mark.parametrize("window", [1, 4])
def test_push_N09_a_file_goes_sealed(tree: Tree, inboxes: list[Inbox], file: Path, window: int) -> None:
    report = push(tree, file, window=window).result(LONG)
    assert report.size == file.stat().st_size
    assert {name: target.reply for name, target in report.targets.items()} == {
        "server": "thanks of server 4711", "site-2": "thanks of site-2 4711",
    }  # fmt: skip
    for inbox in inboxes:
        (received,) = inbox.ends
        assert received.path.read_bytes() == file.read_bytes()
        assert received.path.name == file.name
        assert received.context == {"a": "context 4711"}
    assert not tree.spy.holds(SECRET)
    assert not tree.spy.holds(b"4711")


def test_push_N09_an_object_goes_sealed(tree: Tree) -> None:
    got: list[Any] = []
    tree.server.consume_objects("objects", lambda received: got.append(received))
    value: dict[str, Any] = {"weights": np.arange(100_000, dtype="f4"), "text": SECRET}
    report = tree.site.push_object(value, "server", secure=True, timeout=LONG).result(LONG)
    assert report.ok
    assert got[0].value["text"] == SECRET
    assert np.array_equal(got[0].value["weights"], value["weights"])
    assert not tree.spy.holds(SECRET)


def test_push_N09_why_a_target_refuses_is_told_to_the_owner_alone(tree: Tree, inboxes: list[Inbox], file: Path) -> None:
    def refuse(index: int, size: int) -> None:
        raise ValueError("disk 4711 is full")

    tree.server.consume("files", inboxes[0].folder, chunk_taken=refuse)
    with pytest.raises(TransferError, match=r"server: .*disk 4711 is full"):
        push(tree, file).result(LONG)
    until(lambda: inboxes[1].ends)
    assert inboxes[1].ends[0].reason == "the reason is sealed"
    assert not tree.spy.holds(b"4711")


def test_push_N09_why_the_owner_fails_is_told_to_nobody(tree: Tree, inboxes: list[Inbox], file: Path) -> None:
    class Failing:
        looks_ahead, judges, is_quick = True, False, True

        def produce(self) -> Any:
            raise ValueError("source 4711 is broken")

        def settle(self, replies: Any) -> Any: ...
        def close(self) -> None: ...

    facts = {"__file_name__": "x", "__file_size__": 1}
    handle = tree.site.push("files", "files", Failing(), ["server", "site-2"], facts, secure=True)
    with pytest.raises(TransferError, match="source 4711 is broken"):
        handle.result(LONG)
    assert not tree.spy.holds(b"4711")


def _given(taker: Taker, incoming: Incoming) -> Taker:
    assert incoming.origin == "relay.site-1"
    return taker


@pytest.mark.parametrize(
    ("verdicts", "most", "result", "made"),
    [
        ({}, 1000, None, 5),
        ({2: "content"}, 2, "content", 2),
        ({3: "enough"}, 1000, "enough", 3),
        ({1: False}, 9, False, 1),
    ],
)
@pytest.mark.parametrize("secure", [False, True])
def test_push_N09_producers_that_look_at_replies(
    tree: Tree, secure: bool, verdicts: dict[int, Any], most: int, result: Any, made: int
) -> None:
    """Sealed or not, a producer and its consumers see the same."""
    takers = {"server": Taker(most), "site-2": Taker(most)}
    for cell, taker in ((tree.server, takers["server"]), (tree.other, takers["site-2"])):
        cell.consume_streams("numbers", "numbers", partial(_given, taker))
    producer = Numbers(5, verdicts)
    handle = tree.site.push("numbers", "numbers", producer, ["server", "site-2"], {}, timeout=LONG, secure=secure)
    report = handle.report(LONG)
    assert (report.ok, report.result) == (result is not False, result)
    assert (producer.made, producer.closed) == (made, 1)
    shown = [{name: reply.headers["took"] for name, reply in replies.items()} for replies in producer.settled]
    assert shown == [dict.fromkeys(takers, number + 1) for number in range(made)]
    if "content" in verdicts.values():
        assert producer.settled[-1]["server"].bodies == (b"took 2", b"bye")
    for taker in takers.values():
        assert [chunk.bodies[0] for chunk in taker.taken] == [b"chunk %d" % number for number in range(1, made + 1)]
        assert [end[0] for end in taker.ends] == [OK if result is not False else CellReturnCode.PROCESS_EXCEPTION]


def is_round(message: Any, index: int) -> bool:
    return (
        isinstance(message, Request)
        and message.channel == PUSH
        and message.topic == "round"
        and message.headers["i"] == index
    )


@pytest.mark.parametrize("what", ["head", "body", "header", "swapped"])
def test_push_N09_a_changed_chunk_fails_the_push_for_all(
    tree: Tree, inboxes: list[Inbox], file: Path, what: str
) -> None:
    def touch(packet: Packet, message: Any) -> Packet | None:
        if not is_round(message, 1):
            return packet
        hidden = message.headers["h"]
        match what:
            case "head":
                return changed(packet, message, headers={**message.headers, "h": {HEAD: flip(hidden[HEAD])}})
            case "header":
                return changed(packet, message, headers={**message.headers, "h": {}})
            case "body":
                return replace(packet, bodies=(flip(bytes(packet.bodies[0])), *packet.bodies[1:]))
        (other, before) = next((p, m) for p, m in tree.spy.of(Request, PUSH) if is_round(m, 0))
        return replace(changed(packet, message, headers={**before.headers, "i": 1}), bodies=other.bodies)

    tree.spy.touch = touch
    with pytest.raises(TransferError, match="chunk 1 was refused"):
        push(tree, file).result(LONG)
    for inbox in inboxes:
        until(lambda inbox=inbox: inbox.ends)  # type: ignore[misc]
        assert inbox.ends[0].path is None
        assert list(inbox.folder.iterdir()) == []


def test_push_N09_another_target_that_forges_a_chunk_is_found_out(
    tree: Tree, inboxes: list[Inbox], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, StreamKeys] = {}
    original = sealed_streams.seal_context

    def leak(*arguments: Any) -> Any:
        context, made = original(*arguments)
        keys.update(made)
        return context, made

    monkeypatch.setattr(sealed_streams, "seal_context", leak)

    def touch(packet: Packet, message: Any) -> Packet | None:
        if not is_round(message, 1):
            return packet
        seals = keys["site-2"].to_targets("chunk")  # what site-2 knows, too
        (codec, headers), bodies = seals.open(1, message.headers["h"][HEAD], packet.bodies)
        from zmqfl.cell.packing import digest_of

        forged = (b"forged" + bodies[0][6:],)
        parcel = seals.seal(1, [codec, {**headers, "d": digest_of(forged)}], forged)
        return replace(
            changed(packet, message, headers={**message.headers, "h": {HEAD: parcel.head}}), bodies=parcel.bodies
        )

    tree.spy.touch = touch
    with pytest.raises(TransferError, match=r"what came is not what relay\.site-1 has sealed"):
        push(tree, file).result(LONG)
    for inbox in inboxes:
        until(lambda inbox=inbox: inbox.ends)  # type: ignore[misc]
        assert inbox.ends[0].path is None
        assert list(inbox.folder.iterdir()) == []


def test_push_N09_a_relay_that_ends_a_push_early_delivers_nothing(
    tree: Tree, inboxes: list[Inbox], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers for the targets, and tells them to commit after the first chunk."""

    def touch(packet: Packet, message: Any) -> Packet | None:
        if is_round(message, 1):
            headers = {"t": message.headers["t"], "rc": "ok", "n": 1}
            return replace(changed(packet, message, topic="end", headers=headers, codec=0, lengths=[]), bodies=())
        return packet

    tree.spy.touch = touch
    with caplog.at_level(logging.CRITICAL), pytest.raises(TransferError):
        push(tree, file).result(LONG)
    for inbox in inboxes:
        until(lambda inbox=inbox: inbox.ends)  # type: ignore[misc]
        assert inbox.ends[0].path is None
        assert "the end of the stream was not sealed by relay.site-1" in inbox.ends[0].reason
        assert list(inbox.folder.iterdir()) == []


def test_push_N09_a_success_that_a_relay_makes_up_is_none(tree: Tree, inboxes: list[Inbox], file: Path) -> None:
    ends: list[int] = []

    def touch(packet: Packet, message: Any) -> Packet | None:
        if isinstance(message, Request) and message.channel == PUSH and message.topic == "end":
            ends.append(message.id)
        if isinstance(message, Reply) and message.id in ends:
            return replace(changed(packet, message, codec=0, lengths=[]), bodies=())
        return packet

    tree.spy.touch = touch
    with pytest.raises(TransferError, match="has not proved that it has everything"):
        push(tree, file).result(LONG)


def test_push_N09_a_replayed_push_is_refused(tree: Tree, inboxes: list[Inbox], file: Path) -> None:
    push(tree, file).result(LONG)
    ((packet, message),) = [(p, m) for p, m in tree.spy.of(Request, PUSH) if m.topic == "open"]
    again = {**message.headers, "t": message.headers["t"] + 1000}
    tree.spy.send(changed(packet, message, id=message.id + 1000, headers=again))
    until(lambda: tree.server._seals.sealing.callee.counters["replays"] == 1)  # type: ignore[union-attr]
    assert [len(inbox.ends) for inbox in inboxes] == [1, 1]


def test_push_N09_to_who_is_not_ready_yet_and_to_who_has_restarted(tree: Tree, tmp_path: Path, file: Path) -> None:
    handle = tree.server.push_file(file, ["relay.site-1", "site-2"], secure=True, timeout=LONG)
    first = receive(tree.site, tmp_path / "site")
    other = receive(tree.other, tmp_path / "other")
    assert handle.result(LONG).ok
    tree.site.close(drain=0)
    again = tree.federation.start("relay.site-1", tree.relay, None)
    second = receive(again, tmp_path / "again")
    assert tree.server.push_file(file, ["relay.site-1", "site-2"], secure=True, timeout=LONG).result(LONG).ok
    assert [len(inbox.ends) for inbox in (first, second, other)] == [1, 1, 2]
    assert tree.server._seals is not None
    assert tree.server._seals.sealing.counters["sessions"] == 4


def test_push_N09_to_one_that_has_restarted(tree: Tree, tmp_path: Path, file: Path) -> None:
    receive(tree.site, tmp_path / "site")
    assert tree.server.push_file(file, "relay.site-1", secure=True, timeout=LONG).result(LONG).ok
    tree.site.close(drain=0)
    inbox = receive(tree.federation.start("relay.site-1", tree.relay, None), tmp_path / "again")
    assert tree.server.push_file(file, "relay.site-1", secure=True, timeout=LONG).result(LONG).ok
    assert [received.code for received in inbox.ends] == [OK]


def test_a_secure_push_without_a_card_or_way(tree: Tree, inboxes: list[Inbox], file: Path) -> None:
    plain = tree.federation.start(
        "site-1", tree.server, None, keys=replace(tree.federation.keys_of("site-1"), sealing=None)
    )
    with pytest.raises(TransferError, match="site-1: comm_error: secure=True needs a card, and site-1 has none"):
        plain.push_file(file, "server", secure=True).result(LONG)
    with pytest.raises(TransferError, match="no sealed session with nobody"):
        tree.site.push_file(file, ["server", "nobody"], secure=True).result(LONG)
    assert not inboxes[0].ends


def test_a_secure_push_can_be_given_up_before_it_begins(tree: Tree, file: Path) -> None:
    tree.spy.touch = lambda packet, message: None
    handle = push(tree, file)
    handle.abort()
    assert handle.report(LONG).code is CellReturnCode.ABORT_RUN
    cancelled = push(tree, file)
    assert cancelled.cancel()
