"""The two lanes to the parent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from zmqfl.config import CellConfig
from zmqfl.transport.authentication import LoopbackPolicy, ZapAnswerer
from zmqfl.transport.dialer import Dialer
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.outbox import ByteBudget
from zmqfl.transport.sockets import Context, Socket
from zmqfl.wire.codec import encode_packet
from zmqfl.wire.messages import Kind, Lane, Packet

CONFIG = CellConfig(heartbeat=0.2, dead_after=2, reconnect_min=0.01, reconnect_max=0.02)
WITHIN = 10_000
"""Milliseconds that nothing here may take."""


@pytest.fixture
def parent(context: Context) -> Socket:
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    router.bind("tcp://127.0.0.1:*")
    return router


@pytest.fixture
def dialer(context: Context, parent: Socket) -> Iterator[Dialer]:
    endpoint = Endpoint.parse(parent.get_string(zmq.LAST_ENDPOINT))
    dialer = Dialer(context, endpoint, Lane.CONTROL, CONFIG, None, ByteBudget(1000))
    yield dialer
    dialer.close(0)


def next_event(dialer: Dialer) -> bool | None:
    """The next thing that its monitor tells."""
    while True:
        assert dialer.monitor.socket.poll(WITHIN), "nothing happens"
        for event in dialer.events():
            return event


def test_it_tells_when_it_is_connected_and_when_no_more(dialer: Dialer, parent: Socket) -> None:
    assert next_event(dialer) is True
    parent.close()
    assert next_event(dialer) is False


def test_it_sends_when_it_is_connected(dialer: Dialer, parent: Socket) -> None:
    assert next_event(dialer) is True
    assert dialer.send([b"one", b"two"])
    assert parent.poll(WITHIN)
    routing_id, *frames = parent.recv_multipart()
    assert frames == [b"one", b"two"]
    assert dialer.conn == ("up", Lane.CONTROL)
    parent.send_multipart([routing_id, b"back"])
    assert dialer.socket.poll(WITHIN)


def test_it_takes_nothing_without_a_connection(context: Context) -> None:
    dialer = Dialer(context, Endpoint.parse("tcp://127.0.0.1:1"), Lane.BULK, CONFIG, None, ByteBudget(1000))
    assert not dialer.send([b"one"])
    assert dialer.conn == ("up", Lane.BULK)
    dialer.close(0)


def test_a_refusal_is_told_and_dialled_anew(context: Context) -> None:
    parent = context.socket(zmq.ROUTER)
    parent.linger = 0
    parent.zap_domain = b"nobody answers"
    parent.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    parent.bind("tcp://127.0.0.1:*")
    url = parent.get_string(zmq.LAST_ENDPOINT)
    answerer = ZapAnswerer(context)
    dialer = Dialer(context, Endpoint.parse(url), Lane.CONTROL, CONFIG, None, ByteBudget(1000))
    while not dialer.monitor.socket.poll(10):
        answerer.handle()
    assert next_event(dialer) is None
    answerer.add_domain("nobody answers", LoopbackPolicy())
    dialer.redial()
    while not dialer.send([b"one"]):
        answerer.handle()
    assert parent.poll(WITHIN)
    dialer.close(0)
    answerer.close()


def test_its_queue_gives_its_bytes_back_when_it_closes(context: Context) -> None:
    budget = ByteBudget(10_000)
    dialer = Dialer(context, Endpoint.parse("tcp://127.0.0.1:1"), Lane.BULK, CONFIG, None, budget)
    assert dialer.outbox.put(encode_packet(Packet(Kind.FIRE, b"", (bytes(2000),))), 2000, 0.0)
    assert budget.used > 0
    dialer.close(0)
    assert budget.used == 0
