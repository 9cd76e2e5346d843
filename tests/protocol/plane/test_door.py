"""Who may listen, and what was published: `zmqfl.protocol.plane.door`, on whole nodes."""

from __future__ import annotations

import pytest

from tests.protocol.cells import AT, PARENT_SESSION, B, bind, hello, node, relay, root
from zmqfl.protocol.commands import Command, FactsChanged, Send
from zmqfl.protocol.node import Node
from zmqfl.protocol.plane.facts import Fact, props_topic
from zmqfl.protocol.plane.publication import Ticket
from zmqfl.protocol.plane.updates import Update, encode_update
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import Fire


def listeners(cell: Node) -> dict[str, tuple[str, ...]]:
    return cell.plane.hub.listeners


def fires(commands: list[Command]) -> list[Fire]:
    sends = [command for command in commands if isinstance(command, Send)]
    messages = [decode_header(send.packet.kind, send.packet.header) for send in sends]
    return [message for message in messages if isinstance(message, Fire)]


def test_a_child_that_shows_the_session_of_its_link_is_admitted_by_the_rule() -> None:
    cell, child = root()
    cell.set_rule(lambda name: ("props/",) if name == "site-1" else ("",), AT)
    assert cell.door.admit(Ticket("site-1", child.session), None) == ("props/",)
    assert listeners(cell) == {"site-1": ("props/",)}
    cell.door.dismiss("site-1")
    assert listeners(cell) == {}


def test_to_whom_the_rule_grants_nothing_is_not_admitted() -> None:
    cell, child = root()
    cell.set_rule(lambda name: (), AT)
    assert cell.door.admit(Ticket("site-1", child.session), None) == ()
    assert listeners(cell) == {}


@pytest.mark.parametrize(
    ("name", "session", "user"),
    [
        ("site-1", 0, None),  # no session
        ("site-1", 99, None),
        ("site-10", 1, None),  # another name with a session that is known
        ("server", 1, None),
        ("site-1", 1, "site-1"),  # a key where there are none
    ],
)
def test_no_other_ticket_is_good(name: str, session: int, user: str | None) -> None:
    cell, child = root()
    assert child.session == 1
    assert cell.door.admit(Ticket(name, session), user) == ()
    assert listeners(cell) == {}


@pytest.mark.parametrize(("user", "granted"), [("site-1", ("",)), ("site-2", ()), (None, ()), ("site-10", ())])
def test_where_there_are_keys_the_key_must_be_that_of_the_link(user: str | None, granted: tuple[str, ...]) -> None:
    cell = node()
    cell.set_allowed(["site-1", "site-2", "site-10"], AT)
    child = bind(cell, user="site-1")
    assert cell.door.admit(Ticket("site-1", child.session), user) == granted


def test_the_ticket_of_a_former_session_is_good_no_longer() -> None:
    cell, child = root()
    cell.disconnected(child.conn, AT)
    again = bind(cell, B, "site-1", child.session + 6)
    assert again.session != child.session
    assert cell.door.admit(Ticket("site-1", child.session), None) == ()
    assert cell.door.admit(Ticket("site-1", again.session), None) == ("",)


def test_before_a_child_is_bound_its_ticket_is_not_good() -> None:
    cell = node()
    [send] = cell.receive(B, hello("site-1"), AT)
    assert isinstance(send, Send)
    assert cell.door.admit(Ticket("site-1", send.packet.session), None) == ()


def test_what_the_parent_has_published_is_known_and_told_on_like_what_its_link_brings() -> None:
    cell, _, child = relay()
    subscriber, hub = cell.plane.subscriber, cell.plane.hub
    assert subscriber is not None
    assert cell.plane.parent == "server"
    subscriber.state, subscriber.epoch = type(subscriber.state).LIVE, 5
    hub.subscribers["relay-a.site-1"] = ("",)
    topic = props_topic("site-4")
    fact = Fact("site-4", 1, 1, 0, topic, "round", b"x")
    commands = cell.door.heard(*encode_update(Update(5, topic, 7, 0, (fact,))), AT)
    assert FactsChanged((fact,)) in commands
    [fire] = fires(commands)
    assert (fire.channel, fire.topic, fire.headers["s"], fire.headers["t"]) == ("zmqfl.plane", "update", 7, topic)
    assert list(cell.plane.replica.facts()) == [fact]
    assert child.session != PARENT_SESSION
    again = cell.door.heard(*encode_update(Update(5, topic, 7, 0, (fact,))), AT)
    assert not [command for command in again if isinstance(command, FactsChanged)]


def test_what_is_published_and_cannot_be_read_is_dropped_and_counted() -> None:
    cell, _, _ = relay()
    assert cell.door.heard({"e": 1}, (b"\xc1",), AT) == []
    assert cell.plane.dropped == 1
