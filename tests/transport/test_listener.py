"""A bound socket for children."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
import zmq

from zmqfl.config import CellConfig
from zmqfl.transport.authentication import LOOPBACK, LoopbackPolicy, ZapAnswerer
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import Keys
from zmqfl.transport.listener import TOUCHES, Listener
from zmqfl.transport.outbox import ByteBudget
from zmqfl.transport.sockets import Context, Socket

CONFIG = CellConfig(heartbeat=0.2, dead_after=2, reconnect_min=0.01, reconnect_max=0.02)
WITHIN = 10_000
"""Milliseconds that nothing here may take."""


@pytest.fixture
def answerer(context: Context) -> Iterator[ZapAnswerer]:
    answerer = ZapAnswerer(context)
    answerer.add_domain(LOOPBACK, LoopbackPolicy())
    yield answerer
    answerer.close()


@pytest.fixture
def listener(context: Context, answerer: ZapAnswerer) -> Iterator[Listener]:
    listener = Listener(context, Endpoint.parse("tcp://127.0.0.1:*"), 3, CONFIG, None, ByteBudget(100_000), False)
    yield listener
    listener.close(0)


def wait(listener: Listener, answerer: ZapAnswerer, what: Socket) -> None:
    """Until there is something to be read; questions are answered meanwhile."""
    for _ in range(WITHIN // 10):
        answerer.handle()
        if what.poll(10):
            return
    raise AssertionError("nothing comes")


def child(context: Context, listener: Listener, answerer: ZapAnswerer) -> tuple[Socket, bytes]:
    """A child that is connected, and its routing id."""
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(str(listener.endpoint))
    dealer.send(b"hello")
    wait(listener, answerer, listener.socket)
    return dealer, listener.socket.recv_multipart()[0]


def test_it_knows_its_port_and_names_its_connections(listener: Listener) -> None:
    assert listener.endpoint.port
    assert not listener.has_keys
    assert listener.conn(b"abc") == ("in", 3, b"abc")


def test_it_sends_to_the_connection_that_is_named(context: Context, listener: Listener, answerer: ZapAnswerer) -> None:
    one, first = child(context, listener, answerer)
    other, second = child(context, listener, answerer)
    assert listener.send(listener.conn(second), [b"a", b"b"])
    wait(listener, answerer, other)
    assert other.recv_multipart() == [b"a", b"b"]
    assert one.poll(0) == 0
    assert first != second


def test_a_connection_that_is_lost_or_never_was_is_an_error(
    context: Context, listener: Listener, answerer: ZapAnswerer
) -> None:
    dealer, routing_id = child(context, listener, answerer)
    with pytest.raises(zmq.ZMQError) as caught:
        listener.send(listener.conn(b"nobody"), [b"x"])
    assert caught.value.errno == errno.EHOSTUNREACH
    dealer.close()
    wait(listener, answerer, listener.monitor.socket)
    listener.drain(100.0)

    def is_lost() -> bool:
        listener.socket.poll(10)  # what a reactor does: only so libzmq learns of the end
        try:
            listener.send(listener.conn(routing_id), [b"x"])
        except zmq.ZMQError as error:
            return error.errno == errno.EHOSTUNREACH
        return False

    assert any(is_lost() for _ in range(WITHIN // 10))


def test_a_connection_that_is_full_takes_nothing_and_is_no_error(
    context: Context, listener: Listener, answerer: ZapAnswerer
) -> None:
    _, routing_id = child(context, listener, answerer)  # it never reads
    body = bytes(1_000_000)
    assert any(not listener.send(listener.conn(routing_id), [body]) for _ in range(1000))


def test_a_lost_connection_makes_the_children_to_be_touched(
    context: Context, listener: Listener, answerer: ZapAnswerer
) -> None:
    dealer, _ = child(context, listener, answerer)
    assert not listener.is_touch_due(100.0)
    dealer.close()
    wait(listener, answerer, listener.monitor.socket)
    listener.drain(100.0)
    for touch in TOUCHES:
        assert listener.deadline == 100.0 + touch
        assert listener.is_touch_due(100.0 + touch)
        assert not listener.is_touch_due(100.0 + touch)
    assert not listener.is_touch_due(1000.0)
    assert listener.failed_handshakes == 0


def test_touches_that_are_overdue_are_one(context: Context, listener: Listener, answerer: ZapAnswerer) -> None:
    dealer, _ = child(context, listener, answerer)
    dealer.close()
    wait(listener, answerer, listener.monitor.socket)
    listener.drain(100.0)
    assert listener.is_touch_due(200.0)
    assert not listener.is_touch_due(200.0)


def test_strangers_that_come_and_go_have_the_children_touched_now_and_then_only(
    context: Context, listener: Listener, answerer: ZapAnswerer
) -> None:
    touched = 0
    for number in range(20):
        with socket.create_connection((listener.endpoint.host, listener.endpoint.port)) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            wait(listener, answerer, listener.monitor.socket)
        listener.drain(100.0 + number / 1000)  # one each millisecond
        touched += listener.is_touch_due(100.0 + number / 1000)
    assert listener.lost_connections >= 20
    assert touched == 1
    assert listener.is_touch_due(101.0)


def test_failed_handshakes_are_counted(context: Context, answerer: ZapAnswerer) -> None:
    keys = Keys("server", *zmq.curve_keypair())  # and nobody has added its domain
    listener = Listener(context, Endpoint.parse("tcp://127.0.0.1:*"), 0, CONFIG, keys, ByteBudget(1000), False)
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
    dealer.curve_serverkey = keys.public
    dealer.connect(str(listener.endpoint))
    while not listener.failed_handshakes:
        wait(listener, answerer, listener.monitor.socket)
        listener.drain(0.0)
    assert listener.has_keys
    listener.close(0)


def test_each_connection_has_a_queue_until_it_is_forgotten(listener: Listener) -> None:
    conn = listener.conn(b"abc")
    box = listener.outbox(conn)
    assert listener.outbox(conn) is box
    assert box.put([bytes(40), b"x" * 5000], 5000, 0.0)
    listener.forget(conn)
    listener.forget(conn)
    assert listener.outboxes == {}
    assert len(box) == 0
