"""The slow way: a proxy on loopback. Times are lower bounds only, which no busy machine can break."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.net.delay import CHUNK, DelayProxy
from tests.system.federation import LONG, Federation, until

SLACK = 0.9
"""Part of a time that the clocks of two threads may disagree about."""


class Wire:
    """A proxy, and both ends of a connection through it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(LONG)
        self.proxy = stack.enter_context(DelayProxy(f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"))

    def dial(self) -> socket.socket:
        port = int(self.proxy.url.rpartition(":")[2])
        return self._ready(socket.create_connection(("127.0.0.1", port), LONG))

    def accept(self) -> socket.socket:
        return self._ready(self._listener.accept()[0])

    def pair(self) -> tuple[socket.socket, socket.socket]:
        return self.dial(), self.accept()

    def stop_listening(self) -> None:
        self._listener.close()

    def _ready(self, end: socket.socket) -> socket.socket:
        self._stack.enter_context(closing(end))
        end.settimeout(LONG)
        return end


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


def read(end: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer when the other end has ended."""
    data = b""
    while len(data) < size and (part := end.recv(size - len(data))):
        data += part
    return data


def seconds(act: Callable[[], object]) -> float:
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def test_bytes_pass_both_ways_and_so_does_the_end(wire: Wire) -> None:
    near, far = wire.pair()
    body = bytes(range(256)) * 4096
    thread = threading.Thread(target=near.sendall, args=(body,))
    thread.start()
    assert read(far, len(body)) == body
    thread.join()
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    far.sendall(b"back")
    assert read(near, 4) == b"back"
    far.close()
    assert near.recv(1) == b""
    assert (wire.proxy.up.passed, wire.proxy.down.passed) == (len(body), 4)
    until(lambda: wire.proxy.connections == 0)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_delay_is_that_of_one_way(wire: Wire, way: str) -> None:
    source, sink = wire.pair() if way == "up" else wire.pair()[::-1]
    getattr(wire.proxy, way).delay = 0.2
    source.sendall(b"a")
    assert seconds(lambda: read(sink, 1)) > 0.2 * SLACK
    getattr(wire.proxy, way).delay = 0
    source.sendall(b"b")
    assert read(sink, 1) == b"b"


def test_many_bytes_are_under_way_at_once(wire: Wire) -> None:
    near, far = wire.pair()
    wire.proxy.up.delay = 0.5
    chunks = 32
    thread = threading.Thread(target=near.sendall, args=(bytes(chunks * CHUNK),))
    thread.start()
    assert 0.5 * SLACK < seconds(lambda: read(far, chunks * CHUNK)) < chunks * 0.5  # or they went one by one
    thread.join()


def test_a_rate_is_shared_by_the_connections(wire: Wire) -> None:
    pairs = [wire.pair(), wire.pair()]
    wire.proxy.up.rate = 400_000
    begin = time.monotonic()
    for near, _ in pairs:
        near.sendall(bytes(10_000))
    for _, far in pairs:
        read(far, 10_000)
    assert time.monotonic() - begin > 20_000 * 8 / 400_000 * SLACK
    wire.proxy.up.rate = 0
    pairs[0][0].sendall(bytes(1_000_000))
    assert len(read(pairs[0][1], 1_000_000)) == 1_000_000


def test_a_small_message_does_not_wait_for_a_big_one_of_another_connection(wire: Wire) -> None:
    (big, _), (small, far) = wire.pair(), wire.pair()
    wire.proxy.up.rate = 80_000
    big.sendall(bytes(20_000))
    small.sendall(b"quick")
    assert read(far, 5) == b"quick"
    assert wire.proxy.up.passed < 20_000


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_blackhole_keeps_what_it_swallows(wire: Wire, way: str) -> None:
    near, far = wire.pair()
    source, sink = (near, far) if way == "up" else (far, near)
    getattr(wire.proxy, way).blackhole = True
    assert getattr(wire.proxy, way).blackhole
    source.sendall(b"kept")
    sink.sendall(b"other way")
    assert read(source, 9) == b"other way"
    sink.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sink.recv(1)
    sink.settimeout(LONG)
    getattr(wire.proxy, way).blackhole = False
    assert read(sink, 4) == b"kept"


def test_no_connection_comes_about_in_a_blackhole(wire: Wire) -> None:
    wire.proxy.down.blackhole = True
    near = wire.dial()
    near.sendall(b"hello")
    near.settimeout(0.1)
    with pytest.raises(TimeoutError):
        near.recv(1)
    assert wire.proxy.connections == 0
    wire.proxy.down.blackhole = False
    assert read(wire.accept(), 5) == b"hello"


def test_a_cut_resets_both_ends_and_lets_new_connections_through(wire: Wire) -> None:
    near, far = wire.pair()
    near.sendall(b"x")
    read(far, 1)
    wire.proxy.cut()
    for end in (near, far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    assert wire.proxy.connections == 0
    near, far = wire.pair()
    near.sendall(b"y")
    assert read(far, 1) == b"y"


def test_a_cut_loses_what_is_under_way(wire: Wire) -> None:
    near, far = wire.pair()
    near.sendall(b"x")
    read(far, 1)
    wire.proxy.up.delay = LONG
    near.sendall(b"lost")
    wire.proxy.cut()
    with pytest.raises(ConnectionResetError):
        far.recv(1)


def test_a_target_that_does_not_listen_is_a_reset(wire: Wire) -> None:
    wire.stop_listening()
    with pytest.raises(ConnectionResetError):
        wire.dial().recv(1)  # a reset that is quick enough is seen by the dial already


def test_closed_twice_it_leaves_nothing(wire: Wire) -> None:
    near, _ = wire.pair()
    wire.proxy.close()
    wire.proxy.close()
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    with pytest.raises(ConnectionRefusedError):
        wire.dial()


# ------------------------------------------------------------------------------------------------------- cells through


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()


def test_a_cell_behind_a_delay(federation: Federation) -> None:
    server = federation.start("server")
    with DelayProxy(server.url) as proxy:
        site = federation.start("site-1", proxy.url, None)
        proxy.up.delay = proxy.down.delay = 0.1
        reply: list[object] = []
        ask = site.request("server", "_net_manager", "echo", "far")
        assert seconds(lambda: reply.append(ask.result(LONG).payload)) > 0.2 * SLACK
        assert reply == ["far"]


def test_a_cell_whose_connections_are_reset_goes_on(federation: Federation) -> None:
    server = federation.start("server")
    with DelayProxy(server.url) as proxy:
        site = federation.start("site-1", proxy.url, None)
        for number in range(3):
            ask = site.request("server", "_net_manager", "echo", number)
            proxy.cut()
            assert ask.result(LONG).payload == number
