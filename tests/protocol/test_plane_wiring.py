"""How the plane is joined to the links of a node: in `zmqfl.protocol.interpreter`, `machines` and `node`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.cells import (
    AT,
    GONE,
    PARENT,
    PARENT_SESSION,
    TOKEN,
    UP,
    B,
    Peer,
    bind,
    hello,
    node,
    packet,
    relay,
    root,
    told,
)
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Command, FactsChanged, Listen, PeerChanged, Publish, Send
from zmqfl.protocol.node import Node
from zmqfl.protocol.plane.facts import Fact, bound_topic, props_topic
from zmqfl.protocol.plane.publisher import PublisherState
from zmqfl.protocol.plane.subscriber import SubscriberState
from zmqfl.protocol.plane.updates import CHANNEL, Snapshot, Update, encode_question, encode_snapshot, encode_update
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import Beat, Bye, ByeReason, Fire, Lane, Message, Reply, Request, Welcome


def messages(commands: list[Command], kind: type[Message]) -> list[tuple[tuple[str, ...], Any]]:
    """(targets, message) of each that is sent of this kind."""
    sends = [command.packet for command in commands if isinstance(command, Send)]
    found = [(each.targets, decode_header(each.kind, each.header)) for each in sends]
    return [(targets, message) for targets, message in found if isinstance(message, kind)]


def asked(commands: list[Command], topic: str) -> list[tuple[str, ...]]:
    """Who was asked for this by the plane."""
    return [
        targets
        for targets, message in messages(commands, Request)
        if (message.channel, message.topic) == (CHANNEL, topic)
    ]


def site(welcome_root: str = "server", plane: str = "tcp:7001") -> tuple[Node, list[Command]]:
    """relay-a.site-1, whose parent has bound it."""
    cell = node("relay-a.site-1", has_parent=True)
    cell.connected(Lane.CONTROL, AT)
    welcome = Welcome("relay-a", 90, 500, 700, 1, welcome_root, 1 << 20, plane=plane)
    return cell, told(cell, PARENT, welcome, PARENT_SESSION)


def plane_request(topic: str, bodies: tuple[bytes, ...], origin: str, id: int = 1, **headers: Any) -> Request:
    lengths = [len(body) for body in bodies]
    return Request(origin, TOKEN, 7, id, 0, 1, 1, [], 10_000, CHANNEL, topic, 0, lengths, headers)


def replies(commands: list[Command]) -> list[str]:
    return [message.code for _, message in messages(commands, Reply)]


# -- the parent --------------------------------------------------------------------------------------------------------


def test_with_the_link_the_plane_is_bound() -> None:
    cell, commands = site()
    assert PeerChanged("relay-a", UP, 90) in commands
    assert (asked(commands, "publish"), asked(commands, "subscribe")) == ([("server",)], [("relay-a",)])
    assert (cell.plane.parent, cell.plane.publisher.token) == ("relay-a", 700)


def test_while_the_root_is_not_known_the_plane_waits_for_its_name() -> None:
    cell, commands = site(welcome_root="")
    assert asked(commands, "subscribe") == []
    assert cell.plane.subscriber is not None
    assert cell.plane.subscriber.state is SubscriberState.APART
    again = Welcome("relay-a", 90, 500, 700, 1, "server", 1 << 20, plane="tcp:7001")
    commands = told(cell, PARENT, again, PARENT_SESSION)
    assert (asked(commands, "publish"), asked(commands, "subscribe")) == ([("server",)], [("relay-a",)])
    assert told(cell, PARENT, again, PARENT_SESSION) == [], "once"


def test_it_listens_where_the_parent_publishes_when_that_has_answered() -> None:
    cell, commands = site()
    assert not [command for command in commands if isinstance(command, Listen)]
    [id] = [m.id for _, m in messages(commands, Request) if m.topic == "subscribe"]
    bodies = tuple(bytes(body) for body in encode_snapshot(Snapshot(5, {}, (), ())))
    reply = Reply("relay-a", 500, 90, id, 1, "ok", "", 0, [len(body) for body in bodies])
    answered = Peer(cell, PARENT, PARENT_SESSION).sends(reply, "relay-a.site-1", bodies=bodies)
    assert [c for c in answered if isinstance(c, Listen)] == [Listen("tcp:7001", "relay-a.site-1", PARENT_SESSION)]
    assert cell.plane.is_current


@pytest.mark.parametrize("root_name", ["server", ""])
def test_when_the_parent_is_gone_the_plane_is_unbound_and_nobody_has_departed(root_name: str) -> None:
    cell, _ = site(welcome_root=root_name)
    for lane in Lane:
        commands = cell.receive(PARENT, packet(Bye(ByeReason.LEAVING, ""), session=PARENT_SESSION, lane=lane), AT)
        if any(isinstance(command, PeerChanged) and command.state is GONE for command in commands):
            break
    else:
        raise AssertionError("it stays")
    assert Listen("", "relay-a.site-1", 0) in commands
    assert not cell.plane.is_bound
    assert cell.plane.publisher.state is PublisherState.APART
    assert cell.plane._departed == {}


def test_a_root_is_bound_when_it_says_something() -> None:
    cell = node()
    before = cell.plane.is_bound
    commands = cell.publish([(props_topic("server"), "round", b"x")], AT)
    [changed] = [command for command in commands if isinstance(command, FactsChanged)]
    assert [(fact.origin, fact.token, fact.body) for fact in changed.facts] == [("server", cell.fence, b"x")]
    assert (before, cell.plane.is_bound) == (False, True)
    assert cell.requester.open == 0, "it has asked itself, and answered"


# -- children ----------------------------------------------------------------------------------------------------------


def subscribed(cell: Node, child: Peer, name: str = "site-1") -> list[Command]:
    bodies = tuple(bytes(body) for body in encode_question(("",), 0, {}))
    return child.sends(plane_request("subscribe", bodies, name), cell.fqcn, bodies=bodies)


def said(cell: Node, child: Peer, name: str = "site-1") -> None:
    """A child has a fact."""
    fact = Fact(name, TOKEN, 1, 0, props_topic(name), "round", b"x")
    cell.plane._root.take(name, TOKEN, [fact])  # type: ignore[union-attr]


def test_a_child_that_is_gone_is_told_no_more_and_what_it_said_is_over() -> None:
    cell, child = root()
    subscribed(cell, child)
    said(cell, child)
    commands = cell.child_exited("site-1", AT)
    [changed] = [command for command in commands if isinstance(command, FactsChanged)]
    assert [(fact.origin, fact.body) for fact in changed.facts] == [("site-1", None)]
    assert cell.plane.hub.subscribers == {}


def test_a_child_that_is_replaced_has_not_departed() -> None:
    cell, child = root()
    subscribed(cell, child)
    said(cell, child)
    cell.receive(B, hello("site-1", 8), AT)
    commands = told(cell, B, Beat(1), session=2)
    assert [c.replaced for c in commands if isinstance(c, PeerChanged) and c.state is GONE] == [True]
    assert not [command for command in commands if isinstance(command, FactsChanged)]
    assert [fact.origin for fact in cell.plane.replica.facts()] == ["site-1"]
    assert cell.plane.hub.subscribers == {}, "the new start subscribes itself"


def test_a_relay_tells_the_root_that_its_child_is_gone_unless_it_is_back() -> None:
    cell, _, _ = relay()
    assert asked(cell.child_exited("relay-a.site-1", AT), "departed") == [("server",)]
    assert cell.plane._telling != {}
    bind(cell, B, "relay-a.site-1", 8)
    assert cell.plane._telling == {}


def test_a_child_may_subscribe_and_another_cell_may_not() -> None:
    cell, child = root()
    assert replies(subscribed(cell, child)) == ["ok"]
    bodies = tuple(bytes(body) for body in encode_question(("",), 0, {}))
    foreign = plane_request("subscribe", bodies, "site-1.job", id=2)
    assert replies(child.sends(foreign, "server", bodies=bodies)) == [str(CellReturnCode.INVALID_REQUEST)]
    assert list(cell.plane.hub.subscribers) == ["site-1"]


def test_a_sibling_may_not_subscribe_at_a_relay() -> None:
    cell, parent, _ = relay()
    bodies = tuple(bytes(body) for body in encode_question(("",), 0, {}))
    commands = parent.sends(plane_request("subscribe", bodies, "site-4"), "relay-a", bodies=bodies)
    assert replies(commands) == [str(CellReturnCode.INVALID_REQUEST)]
    assert cell.plane.hub.subscribers == {}


@pytest.mark.parametrize("conn_of", ["parent", "child"])
@pytest.mark.parametrize("origin", ["server", "site-4", "relay-a.site-1"])
def test_only_what_the_parent_itself_tells_is_heard(conn_of: str, origin: str) -> None:
    cell, parent, child = relay()
    assert cell.plane.subscriber is not None
    cell.plane.subscriber.state, cell.plane.subscriber.epoch = SubscriberState.LIVE, 5
    fact = Fact("site-4", 1, 1, 0, props_topic("site-4"), "round", b"x")
    headers, encoded = encode_update(Update(5, props_topic("site-4"), 7, 0, (fact,)))
    bodies = tuple(bytes(body) for body in encoded)
    fire = Fire(origin, 500, 90, 1, CHANNEL, "update", 0, [len(body) for body in bodies], headers)
    sender = parent if conn_of == "parent" else child
    sender.sends(fire, "relay-a", bodies=bodies)
    assert len(cell.plane.replica) == (conn_of == "parent" and origin == "server")


# -- what is for one cell ----------------------------------------------------------------------------------------------


def told_updates(commands: list[Command]) -> list[tuple[str, ...]]:
    return [targets for targets, message in messages(commands, Fire) if message.topic == "update"]


def test_what_is_for_one_cell_goes_by_the_link_that_leads_there_and_is_never_published() -> None:
    cell, child = root()
    other = bind(cell, B, "relay-a", 8)
    subscribed(cell, child)
    subscribed(cell, other, "relay-a")
    cell.plane.hub.admit("site-1")
    cell.plane.hub.admit("relay-a")
    for receiver, hop in (
        ("relay-a.site-3", "relay-a"),
        ("relay-a", "relay-a"),
        ("site-1", "site-1"),
        ("server", None),
    ):
        commands = cell.publish([(bound_topic(receiver), "models/rid", b"x")], AT)
        assert not [command for command in commands if isinstance(command, Publish)]
        assert told_updates(commands) == ([] if hop is None else [(hop,)])
    commands = cell.publish([(props_topic("server"), "round", b"x")], AT)
    assert len([command for command in commands if isinstance(command, Publish)]) == 1
    assert told_updates(commands) == []
