from __future__ import annotations

import errno
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.transport import resets
from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.transport.authentication import (
    CURVE,
    LOOPBACK,
    SAME_USER,
    TRUSTED,
    CurvePolicy,
    LoopbackPolicy,
    SameUserPolicy,
    ZapAnswerer,
)
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import Keys
from zmqfl.transport.monitor import DEALER_EVENTS, Monitor
from zmqfl.transport.sockets import (
    MAX_NOFILE,
    Context,
    Socket,
    close_listener,
    heartbeat_timeout,
    open_context,
    open_dealer,
    open_listener,
    raise_nofile,
    redial,
)
from zmqfl.wire.messages import MAX_HEADER, Lane

CONFIG = CellConfig()
SERVER = Keys("server", *zmq.curve_keypair())
SITE = Keys("site-1", *zmq.curve_keypair(), parent_public=SERVER.public)
LOCAL = Endpoint.parse("tcp://127.0.0.1:*")
WITHIN = 10


@pytest.fixture
def answerer(context: Context) -> Iterator[ZapAnswerer]:
    answerer = ZapAnswerer(context)
    answerer.add_domain(CURVE, CurvePolicy({"site-1": SITE.public}))
    answerer.add_domain(SAME_USER, SameUserPolicy())
    answerer.add_domain(LOOPBACK, LoopbackPolicy())
    yield answerer
    answerer.close()


def receive(router: Socket, answerer: ZapAnswerer) -> list[bytes]:
    """The next message; questions are answered meanwhile."""
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(answerer.socket, zmq.POLLIN)
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        ready = dict(poller.poll(100))
        answerer.handle()
        if router in ready:
            return router.recv_multipart()
    raise AssertionError("nothing came")


def send(dealer: Socket, answerer: ZapAnswerer, frame: bytes) -> None:
    """Wait for the connection: IMMEDIATE takes nothing before."""
    deadline = time.monotonic() + WITHIN
    while not dealer.poll(20, zmq.POLLOUT):
        answerer.handle()
        assert time.monotonic() < deadline, "no connection"
    dealer.send(frame, zmq.NOBLOCK)


@pytest.mark.parametrize("keys", [(SERVER, SITE), (None, None)])
@pytest.mark.parametrize("kind", ["tcp", "tcp6", "ipc"])
def test_messages_go_both_ways_on_both_lanes(
    context: Context, answerer: ZapAnswerer, tmp_path: Path, kind: str, keys: tuple[Keys | None, Keys | None]
) -> None:
    if kind == "tcp6" and not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    url = {"tcp": "tcp://127.0.0.1:*", "tcp6": "tcp://[::1]:*", "ipc": f"ipc://{tmp_path}/run/hub"}[kind]
    router, endpoint = open_listener(context, Endpoint.parse(url), CONFIG, keys[0])
    assert endpoint.is_ipc or endpoint.port
    for lane in Lane:
        dealer = open_dealer(context, endpoint, lane, CONFIG, keys[1])
        send(dealer, answerer, b"up")
        sender, frame = receive(router, answerer)
        assert frame == b"up"
        router.send_multipart([sender, b"down"], zmq.NOBLOCK)
        assert dealer.poll(WITHIN * 1000)
        assert dealer.recv() == b"down"
    close_listener(router, endpoint)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_listener_options(context: Context) -> None:
    config = CellConfig(heartbeat=1.5, bulk_heartbeat_timeout=45.0, segment=2 * 1024 * 1024)
    router, _ = open_listener(context, LOCAL, config, SERVER)
    assert router.maxmsgsize == 2 * 1024 * 1024 + 64 * 1024
    assert (router.heartbeat_ivl, router.heartbeat_timeout, router.heartbeat_ttl) == (15000, 45000, 0)
    assert router.tcp_maxrt == 10000
    assert (router.handshake_ivl, router.linger, router.ipv6) == (5000, 0, False)
    assert (router.sndhwm, router.rcvhwm) == (16, 0)
    assert (router.zap_domain, router.getsockopt(zmq.ZAP_ENFORCE_DOMAIN)) == (b"curve", 1)
    assert (router.mechanism, router.curve_server) == (zmq.CURVE, 1)
    with pytest.raises(zmq.ZMQError) as caught:  # MANDATORY
        router.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_dealer_options(context: Context) -> None:
    config = CellConfig(heartbeat=1.5, dead_after=20.0, reconnect_min=0.2, reconnect_max=7.0)
    control, bulk = (open_dealer(context, Endpoint.parse("tcp://127.0.0.1:9"), lane, config, SITE) for lane in Lane)
    assert (control.heartbeat_ivl, control.heartbeat_timeout) == (1500, 4500)
    assert (bulk.heartbeat_ivl, bulk.heartbeat_timeout) == (20000, 60000)
    assert (control.sndhwm, bulk.sndhwm) == (64, 2)
    for dealer in (control, bulk):
        assert dealer.rcvhwm == 0
        assert (dealer.immediate, dealer.reconnect_ivl, dealer.reconnect_ivl_max) == (1, 200, 7000)
        assert (dealer.heartbeat_ttl, dealer.tcp_maxrt) == (0, 20000)
        assert dealer.connect_timeout == 2000  # the kernel's own attempts are further and further apart
        assert dealer.mechanism == zmq.CURVE
        with pytest.raises(zmq.Again):  # IMMEDIATE: there is nobody yet
            dealer.send(b"x", zmq.NOBLOCK)


@pytest.mark.parametrize(
    ("role", "last"),
    [*((role, "ping") for role in resets.TYPES), *((role, "silence") for role in ("listener", "control", "bulk"))],
)
def test_a_reset_while_nobody_reads_does_not_end_the_process(role: str, last: str) -> None:
    """Neither with heartbeats of our own, nor after a PING that any peer may send. In- and outlet have none."""
    command = [sys.executable, "-m", "tests.transport.resets", role, last]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if role not in ("control", "bulk"):  # what came from a parent is dropped with the connection: IMMEDIATE
        goodbye = role == "outlet"  # the end of a subscription
        assert int(done.stdout) == resets.MESSAGES + goodbye


def test_a_frame_may_hold_the_longest_header_even_with_small_segments(context: Context) -> None:
    router, _ = open_listener(context, LOCAL, CellConfig(segment=4096, control_limit=4096), None)
    assert int(router.maxmsgsize) > MAX_HEADER


@pytest.mark.parametrize(("heartbeat", "dead_after", "control"), [(2.0, 10.0, 6.0), (2.0, 4.0, 4.0), (0.05, 0.2, 1.0)])
def test_heartbeat_timeouts(heartbeat: float, dead_after: float, control: float) -> None:
    config = CellConfig(heartbeat=heartbeat, dead_after=dead_after)
    assert heartbeat_timeout(Lane.CONTROL, config) == control
    assert heartbeat_timeout(Lane.BULK, config) == config.bulk_heartbeat_timeout


def test_all_interfaces_and_the_free_port(context: Context) -> None:
    _, endpoint = open_listener(context, Endpoint.parse("tcp://*:*"), CONFIG, SERVER)
    assert endpoint.host == "*"
    assert endpoint.port
    with pytest.raises(UserError, match="nobody can dial"):
        open_dealer(context, endpoint, Lane.CONTROL, CONFIG, SITE)
    with pytest.raises(UserError, match="nobody can dial"):
        open_dealer(context, LOCAL, Lane.CONTROL, CONFIG, SITE)


def test_a_dealer_with_keys_needs_the_key_of_its_parent(context: Context) -> None:
    with pytest.raises(UserError, match="public key of its parent"):
        open_dealer(context, Endpoint.parse("tcp://127.0.0.1:9"), Lane.CONTROL, CONFIG, SERVER)


def test_a_taken_port(context: Context) -> None:
    _, endpoint = open_listener(context, LOCAL, CONFIG, None)
    with pytest.raises(UserError, match=rf"cannot listen at {endpoint}: the port is taken; stop who has it"):
        open_listener(context, endpoint, CONFIG, None)


@pytest.mark.parametrize("url", ["tcp://192.0.2.1:*", "tcp://no-such-interface:8102"])
def test_an_address_of_another_machine(context: Context, url: str) -> None:
    with pytest.raises(UserError, match=r"this machine has no such .*; give one of its IP addresses"):
        open_listener(context, Endpoint.parse(url), CONFIG, SERVER)


def test_an_open_listener_needs_a_trusted_network(context: Context) -> None:
    everywhere = Endpoint.parse("tcp://*:*")
    with pytest.raises(UserError, match="open to anybody"):
        open_listener(context, everywhere, CONFIG, None)
    router, _ = open_listener(context, everywhere, CONFIG, None, trusted_network=True)
    assert (router.zap_domain, router.mechanism) == (TRUSTED.encode(), zmq.NULL)


def test_a_failed_listener_is_closed(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Socket] = []
    make = zmq.Context.socket

    def record(context: Context, kind: int) -> Socket:
        made.append(make(context, kind))
        return made[-1]

    monkeypatch.setattr(zmq.Context, "socket", record)
    with pytest.raises(UserError):
        open_listener(context, Endpoint.parse("tcp://192.0.2.1:*"), CONFIG, SERVER)
    with pytest.raises(UserError):
        open_dealer(context, LOCAL, Lane.BULK, CONFIG, None)
    assert [one.closed for one in made] == [True, True]


def test_ipc_folder_and_file(context: Context, tmp_path: Path) -> None:
    endpoint = Endpoint.parse(f"ipc://{tmp_path}/run/hub")
    router, real = open_listener(context, endpoint, CONFIG, None)
    assert real == endpoint
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert (tmp_path / "run" / "hub").is_socket()
    close_listener(router, real)
    close_listener(router, real)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_live_ipc_listener_is_not_robbed(context: Context, answerer: ZapAnswerer, tmp_path: Path) -> None:
    endpoint = Endpoint.parse(f"ipc://{tmp_path}/hub")
    router, _ = open_listener(context, endpoint, CONFIG, None)
    with pytest.raises(UserError, match="a cell is listening there; stop it first"):
        open_listener(context, endpoint, CONFIG, None)
    send(open_dealer(context, endpoint, Lane.CONTROL, CONFIG, None), answerer, b"still there?")
    assert receive(router, answerer)[1] == b"still there?"
    close_listener(router, endpoint)


def test_a_live_listener_with_a_full_backlog_counts_as_alive(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "hub"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))
        with pytest.raises(UserError, match="a cell is listening there"):
            open_listener(context, Endpoint.parse(f"ipc://{path}"), CONFIG, None)


def test_a_stale_ipc_file_is_replaced(context: Context, tmp_path: Path) -> None:
    """What a killed cell leaves behind."""
    path = tmp_path / "hub"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    router, endpoint = open_listener(context, Endpoint.parse(f"ipc://{path}"), CONFIG, None)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
    close_listener(router, endpoint)


def test_a_file_that_is_no_socket_is_kept(context: Context, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("precious")
    with pytest.raises(UserError, match="there is a file"):
        open_listener(context, Endpoint.parse(f"ipc://{tmp_path}/hub"), CONFIG, None)
    assert (tmp_path / "hub").read_text() == "precious"


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o777])
def test_a_folder_that_others_may_enter(context: Context, tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UserError, match=f"others may enter its folder; chmod 700 {folder}"):
        open_listener(context, Endpoint.parse(f"ipc://{folder}/hub"), CONFIG, None)


def test_a_folder_that_cannot_be_made(context: Context, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot use the folder"):
        open_listener(context, Endpoint.parse(f"ipc://{tmp_path}/file/hub"), CONFIG, None)


def test_redial_after_a_refusal(context: Context, answerer: ZapAnswerer) -> None:
    """libzmq gives up when its key is refused; once it is allowed, a redial gets in."""
    policy = CurvePolicy({})
    answerer.add_domain(CURVE, policy)
    router, endpoint = open_listener(context, LOCAL, CONFIG, SERVER)
    dealer = open_dealer(context, endpoint, Lane.CONTROL, CONFIG, SITE)
    monitor = Monitor(dealer, DEALER_EVENTS)
    deadline = time.monotonic() + WITHIN
    while zmq.EVENT_HANDSHAKE_FAILED_AUTH not in {event.event for event in monitor.drain()}:
        answerer.socket.poll(10)
        answerer.handle()
        assert time.monotonic() < deadline
    policy.replace({"site-1": SITE.public})
    redial(dealer, endpoint)
    send(dealer, answerer, b"hello")
    assert receive(router, answerer)[1] == b"hello"
    monitor.close()


def test_context_and_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 20000)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, limit: limits.append(limit))
    context = open_context(CellConfig(io_threads=3))
    assert limits[-1] == (20000, 20000)
    assert (context.get(zmq.IO_THREADS), context.get(zmq.BLOCKY)) == (3, 0)
    context.term()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((4096, 4096), (4096, 4096)),
        ((1024, resource.RLIM_INFINITY), (MAX_NOFILE, resource.RLIM_INFINITY)),
        ((1024, 1 << 30), (MAX_NOFILE, 1 << 30)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)),
    ],
)
def test_raise_nofile(monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: tuple[int, int]) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, limit: limits.append(limit))
    assert raise_nofile() == after[0]
    assert limits[-1] == after


def test_os_limits_are_really_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(soft, 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    try:
        assert raise_nofile() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, MAX_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
