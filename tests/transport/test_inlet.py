"""Where a cell hears what its parent publishes, over real sockets. The parent is a raw XPUB."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.protocol.plane.publication import Ticket, encode_publication, encode_ticket
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.inlet import MAX_FRAME, MOST_READ, Inlet, place_of
from zmqfl.transport.keys import Keys
from zmqfl.transport.sockets import Context, Socket

CONFIG = CellConfig(reconnect_min=0.01, reconnect_max=0.02)
PARENT = Endpoint.parse("tcp://127.0.0.1:7000")
TICKET = Ticket("site-1", 7)
NUMBERS = {"e": 1, "s": 2, "a": 1}
WITHIN = 10


class Parent:
    """What a child dials, and the child."""

    def __init__(self, context: Context) -> None:
        self.poller = zmq.Poller()
        self.inlet = Inlet(context, PARENT, CONFIG, None, self.poller)
        self.context = context
        self.xpub = self.bind(0)

    def bind(self, port: int) -> Socket:
        xpub = self.context.socket(zmq.XPUB)
        xpub.linger = 0
        xpub.bind(f"tcp://127.0.0.1:{port or '*'}")
        return xpub

    @property
    def port(self) -> int:
        return int(self.xpub.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2])

    def listens(self) -> bytes:
        """What the child shows; from then on it hears all."""
        self.until(lambda: self.xpub.poll(0))
        return self.xpub.recv()

    def publish(self, *frames: bytes) -> None:
        """Only who has shown `TICKET` hears it: to a raw XPUB that is a topic, like any other."""
        self.xpub.send_multipart(frames)

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not is_so():
            assert time.monotonic() < deadline, "it never comes so"
            self.poller.poll(5)
            if self.inlet.socket is not None:
                self.inlet.socket.poll(0)

    def heard(self, count: int) -> list[tuple[dict[str, Any], tuple[bytes, ...]]]:
        """The next publications."""
        found: list[tuple[dict[str, Any], tuple[bytes, ...]]] = []

        def read() -> bool:
            found.extend((headers, tuple(map(bytes, bodies))) for headers, bodies in self.inlet.read())
            return len(found) >= count

        self.until(read)
        return found


@pytest.fixture
def parent(context: Context) -> Iterator[Parent]:
    parent = Parent(context)
    yield parent
    parent.inlet.close()


def topic() -> bytes:
    return encode_ticket(TICKET)[1:]


def test_it_shows_its_ticket_and_hears(parent: Parent) -> None:
    parent.inlet.listen(f"tcp:{parent.port}", TICKET)
    assert parent.listens() == encode_ticket(TICKET)
    frames = [bytes(frame) for frame in encode_publication("", NUMBERS, [b"one", b"two"])]
    parent.publish(topic(), *frames[1:])
    assert parent.heard(1) == [({**NUMBERS, "t": topic().decode()}, (b"one", b"two"))]
    assert repr(parent.inlet) == "<Inlet open, 1 heard>"


def test_what_is_malformed_is_counted_and_the_next_is_heard(parent: Parent) -> None:
    parent.inlet.listen(f"tcp:{parent.port}", TICKET)
    parent.listens()
    good = [bytes(frame) for frame in encode_publication("", NUMBERS, [b"one"])][1:]
    for bad in ([], [b""], [b"\xc1", b"x"], [b"\x90", b"x"]):
        parent.publish(topic(), *bad)
    parent.publish(topic() + b"\xff", *good)
    parent.publish(topic(), *good)
    assert len(parent.heard(1)) == 1
    assert (parent.inlet.counters["malformed"], parent.inlet.counters["heard"]) == (5, 6)


def test_a_frame_that_is_too_large_ends_it_and_the_parent_sees_the_end(parent: Parent) -> None:
    parent.inlet.listen(f"tcp:{parent.port}", TICKET)
    parent.listens()
    parent.publish(topic(), bytes(MAX_FRAME + 1))
    assert parent.listens() == b"\0" + topic()  # libzmq does not connect again after this; the link tells all


def test_a_pass_reads_no_more_than_its_share(parent: Parent) -> None:
    parent.inlet.listen(f"tcp:{parent.port}", TICKET)
    parent.listens()
    good = [bytes(frame) for frame in encode_publication("", NUMBERS, [b"one"])][1:]
    for _ in range(MOST_READ + 10):
        parent.publish(topic(), *good)
    found = parent.heard(MOST_READ + 10)
    assert len(found) == MOST_READ + 10


def test_a_parent_that_is_late_or_restarts_is_shown_the_ticket(parent: Parent) -> None:
    port = parent.port
    parent.xpub.close()
    parent.inlet.listen(f"tcp:{port}", TICKET)
    for _ in range(2):

        def is_bound() -> bool:
            try:
                parent.xpub = parent.bind(port)
            except zmq.ZMQError:
                return False
            return True

        parent.until(is_bound)
        assert parent.listens() == encode_ticket(TICKET)
        parent.xpub.close()


def test_it_listens_anew_with_another_ticket(parent: Parent) -> None:
    parent.inlet.listen(f"tcp:{parent.port}", TICKET)
    parent.listens()
    other = Ticket("site-1", 8)
    parent.inlet.listen(f"tcp:{parent.port}", other)
    assert {parent.listens(), parent.listens()} == {b"\0" + topic(), encode_ticket(other)}


def test_it_listens_nowhere_any_more(parent: Parent) -> None:
    parent.inlet.listen(f"tcp:{parent.port}", TICKET)
    parent.listens()
    parent.inlet.listen("", TICKET)
    assert parent.listens() == b"\0" + topic()
    assert (parent.inlet.socket, parent.poller.sockets) == (None, [])
    assert list(parent.inlet.read()) == []
    assert parent.inlet.counters["unknown"] == 0
    assert repr(parent.inlet) == "<Inlet closed, 0 heard>"


def test_where_a_parent_publishes_that_cannot_be_understood_is_nowhere(parent: Parent) -> None:
    parent.inlet.listen("http://somewhere", TICKET)
    assert (parent.inlet.socket, parent.inlet.counters["unknown"]) == (None, 1)


def test_without_the_key_of_the_parent_it_does_not_listen(parent: Parent) -> None:
    keys = Keys("site-1", *zmq.curve_keypair())
    inlet = Inlet(parent.context, PARENT, CONFIG, keys, parent.poller)
    with pytest.raises(UserError, match="the key of the parent is not known"):
        inlet.listen(f"tcp:{parent.port}", TICKET)
    assert inlet.socket is None


def test_only_the_parent_with_the_pinned_key_is_heard(parent: Parent) -> None:
    pinned, _ = zmq.curve_keypair()
    keys = Keys("site-1", *zmq.curve_keypair(), parent_public=pinned)
    inlet = Inlet(parent.context, PARENT, CONFIG, keys, parent.poller)
    inlet.listen(f"tcp:{parent.port}", TICKET)
    assert not parent.xpub.poll(100)  # it has no key at all
    inlet.close()


@pytest.mark.parametrize(
    ("dialled", "told", "place"),
    [
        ("tcp://relay.example:7000", "tcp:7001", "tcp://relay.example:7001"),
        ("tcp://[::1]:7000", "tcp:65535", "tcp://[::1]:65535"),
        ("tcp://relay.example:7000", "tcp:0", None),
        ("tcp://relay.example:7000", "tcp:65536", None),
        ("tcp://relay.example:7000", "tcp:+701", None),
        ("tcp://relay.example:7000", "tcp:\u0667\u0660\u0660\u0661", None),
        ("tcp://relay.example:7000", "tcp:7001\n", None),
        ("tcp://relay.example:7000", "tcp://elsewhere:7001", None),
        ("tcp://relay.example:7000", "ipc:.plane", None),
        ("tcp://relay.example:7000", "", None),
        ("ipc:///run/hub", "ipc:.plane", "ipc:///run/hub.plane"),
        ("ipc:///run/hub", "ipc:.other", None),
        ("ipc:///run/hub", "ipc:/../../etc", None),
        ("ipc:///run/hub", "tcp:7001", None),
        ("ipc:///" + "x" * 105, "ipc:.plane", None),
    ],
)
def test_a_parent_says_which_port_and_not_which_host(dialled: str, told: str, place: str | None) -> None:
    found = place_of(Endpoint.parse(dialled), told)
    assert found == (Endpoint.parse(place) if place else None)


def test_over_ipc(context: Context, tmp_path: Path) -> None:
    xpub = context.socket(zmq.XPUB)
    xpub.bind(f"ipc://{tmp_path}/hub.plane")
    poller = zmq.Poller()
    inlet = Inlet(context, Endpoint.parse(f"ipc://{tmp_path}/hub"), CONFIG, None, poller)
    inlet.listen("ipc:.plane", TICKET)
    assert xpub.poll(WITHIN * 1000)
    assert xpub.recv() == encode_ticket(TICKET)
    inlet.close()
