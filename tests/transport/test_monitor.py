from __future__ import annotations

import socket
import time
from collections import Counter

import pytest
import zmq

from zmqfl.transport.monitor import DEALER_EVENTS, Monitor, MonitorEvent
from zmqfl.transport.sockets import Context

FLOOD = 3000


def await_event(monitor: Monitor, event: int) -> MonitorEvent:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        monitor.socket.poll(100)
        if found := [one for one in monitor.drain() if one.event == event]:
            return found[0]
    raise AssertionError(f"no {event!r}")


def test_connect_and_disconnect_are_told(context: Context) -> None:
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind("tcp://127.0.0.1:*")
    url = router.get_string(zmq.LAST_ENDPOINT)
    monitor = Monitor(dealer, DEALER_EVENTS)
    assert monitor.drain() == []
    dealer.connect(url)
    assert await_event(monitor, zmq.EVENT_HANDSHAKE_SUCCEEDED).endpoint == url
    router.close(linger=0)
    assert await_event(monitor, zmq.EVENT_DISCONNECTED).event is zmq.Event.DISCONNECTED
    monitor.close()
    assert monitor.socket.closed


def test_only_masked_events_come(context: Context) -> None:
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind("tcp://127.0.0.1:*")
    monitor = Monitor(dealer, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    dealer.connect(router.get_string(zmq.LAST_ENDPOINT))
    await_event(monitor, zmq.EVENT_HANDSHAKE_SUCCEEDED)
    router.close(linger=0)
    dealer.disconnect(dealer.get_string(zmq.LAST_ENDPOINT))
    assert monitor.drain() == []
    monitor.close()


def test_close_after_the_watched_socket(context: Context) -> None:
    dealer = context.socket(zmq.DEALER)
    monitor = Monitor(dealer, DEALER_EVENTS)
    dealer.close(linger=0)
    monitor.close()
    assert monitor.socket.closed


def test_one_drain_is_bounded(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqfl.transport.monitor.MAX_DRAINED", 2)
    router = context.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    monitor = Monitor(router, zmq.EVENT_ACCEPTED)
    port = int(router.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    found: list[int] = []
    while sum(found) < 3:
        assert monitor.socket.poll(10_000)
        found.append(len(monitor.drain()))
        assert found[-1] <= 2
    for client in clients:
        client.close()
    monitor.close()


def flood(port: int) -> None:
    """More connections than events that libzmq holds for a monitor."""
    for _ in range(FLOOD):
        with socket.socket() as client:
            client.settimeout(30)
            client.connect(("127.0.0.1", port))


def test_a_flood_is_drained_and_the_listener_lives_again(context: Context) -> None:
    """Undrained, the I/O thread of libzmq stands still."""
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.backlog = 4096
    router.bind("tcp://127.0.0.1:*")
    monitor = Monitor(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
    url = router.get_string(zmq.LAST_ENDPOINT)
    started = time.monotonic()
    flood(int(url.rpartition(":")[2]))
    dealer.connect(url)
    dealer.send(b"alive?")
    seen: Counter[zmq.Event] = Counter()
    while not router.poll(10):
        assert time.monotonic() < started + 60, f"stuck after {seen}"
        seen.update(event.event for event in monitor.drain())
    assert seen[zmq.Event.ACCEPTED] > 1000
    monitor.close()


def test_after_close_nobody_need_drain(context: Context) -> None:
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.backlog = 4096
    router.bind("tcp://127.0.0.1:*")
    url = router.get_string(zmq.LAST_ENDPOINT)
    Monitor(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED).close()
    flood(int(url.rpartition(":")[2]))
    dealer.connect(url)
    dealer.send(b"alive?")
    assert router.poll(30_000)
