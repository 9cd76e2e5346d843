"""Whole cells for the tests of what a node is made of: a root or a relay, and neighbours that talk to it."""

from __future__ import annotations

from itertools import count
from typing import Any

from zmqfl.config import CellConfig
from zmqfl.protocol.commands import (
    Call,
    Command,
    Invoke,
    PeerChanged,
    PeerState,
    Send,
)
from zmqfl.protocol.node import Node
from zmqfl.protocol.uplink import up
from zmqfl.wire.codec import decode_header, encode_header
from zmqfl.wire.messages import (
    Beat,
    Conn,
    Hello,
    Lane,
    LinkMessage,
    Message,
    Packet,
    Request,
    RoutedMessage,
    Welcome,
)

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, send_budget=10_000)
AT = 100.0
WALL = 1_000_000
UP, SUSPECTED, STALLED, GONE = PeerState.UP, PeerState.SUSPECTED, PeerState.STALLED, PeerState.GONE
A: Conn = ("in", "a")
B: Conn = ("in", "b")
C: Conn = ("in", "c")
PARENT = up(Lane.CONTROL)
PARENT_SESSION = 1000
TOKEN = WALL + 1
"""What the root gives to its first child."""


def node(fqcn: str = "server", **more: Any) -> Node:
    numbers = count(1)
    return Node(
        fqcn,
        more.get("instance", 1),
        has_parent=more.get("has_parent", False),
        config=more.get("config", CONFIG),
        sessions=lambda: next(numbers),
        wall_ms=WALL,
        now=AT,
    )


def packet(message: Message, *targets: str, session: int = 0, sequence: int = 0, **more: Any) -> Packet:
    return Packet(message.KIND, encode_header(message), targets=targets, session=session, sequence=sequence, **more)


def hello(name: str = "site-1", instance: int = 7, token: int = 0) -> Packet:
    return packet(Hello(name, instance, token))


def told(cell: Node, conn: Conn, message: LinkMessage, session: int, now: float = AT) -> list[Command]:
    return cell.receive(conn, packet(message, session=session), now)


class Peer:
    """A neighbour of the cell under test: it sends with the right session and numbers."""

    def __init__(self, cell: Node, conn: Conn, session: int, user: str | None = None) -> None:
        self.cell, self.conn, self.session, self.user = cell, conn, session, user
        self.numbers = count(1)

    def sends(self, message: RoutedMessage, *targets: str, now: float = AT, **more: Any) -> list[Command]:
        number, bodies, conn = next(self.numbers), more.pop("bodies", ()), more.pop("conn", self.conn)
        default: dict[str, Any] = {"hops": 16, "route": (message.origin,), "session": self.session, "sequence": number}
        return self.cell.receive(conn, packet(message, *targets, bodies=bodies, **(default | more)), now, self.user)


def bind(cell: Node, conn: Conn = A, name: str = "site-1", instance: int = 7, user: str | None = None) -> Peer:
    """A child says HELLO and a first beat."""
    send = cell.receive(conn, hello(name, instance), AT, user)[-1]
    assert isinstance(send, Send)
    session = send.packet.session
    assert PeerChanged(name, UP, instance) in cell.receive(conn, packet(Beat(0), session=session), AT, user)
    return Peer(cell, conn, session, user)


def root(**more: Any) -> tuple[Node, Peer]:
    cell = node(**more)
    return cell, bind(cell)


def relay(name: str = "relay-a") -> tuple[Node, Peer, Peer]:
    """relay-a below the server, with a child; both links are up."""
    cell = node(name, has_parent=True)
    cell.connected(Lane.CONTROL, AT)
    told(cell, PARENT, Welcome("server", 90, 500, 700, 1, "server", 1 << 20), PARENT_SESSION)
    return cell, Peer(cell, PARENT, PARENT_SESSION), bind(cell, name=f"{name}.site-1")


def request(origin: str = "site-1", fence: int = TOKEN, id: int = 1, instance: int = 7, **more: Any) -> Request:
    lengths = more.get("lengths", [])
    return Request(origin, fence, instance, id, 0, 1, 1, [], 10_000, "c", "t", 0, lengths)


def sent(commands: list[Command]) -> list[tuple[Conn, Message]]:
    """What goes where."""
    return [(c.conn, decode_header(c.packet.kind, c.packet.header)) for c in commands if isinstance(c, Send)]


def calls(commands: list[Command]) -> list[Call]:
    return [command.call for command in commands if isinstance(command, Invoke)]


def asked(cell: Node, target: str = "site-1") -> int:
    id = cell.next_id()
    cell.request(id, [target], "c", "t", 0, {}, (), 10.0, AT)
    return id
