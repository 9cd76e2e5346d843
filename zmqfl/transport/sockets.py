"""The sockets of a cell: a context, listeners (ROUTER) and the two connections to the parent (DEALER).

Options follow the reference "channels-and-zeromq" C8. Times of libzmq are whole milliseconds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket as unix
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import zmq

from zmqfl.config import KIB, CellConfig
from zmqfl.errors import UserError
from zmqfl.transport.authentication import domain_of, enforce
from zmqfl.transport.endpoint import Endpoint, check_open
from zmqfl.transport.keys import Keys
from zmqfl.wire.messages import MAX_HEADER, Lane

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

HWM: Final = {Lane.CONTROL: 64, Lane.BULK: 2}
"""Messages to the parent that libzmq holds per connection, a backstop: budgets and credit are what holds memory.
Bulk: two segments keep a link busy while the next one is made."""
ROUTER_HWM: Final = 16
"""The same towards a child. A ROUTER has one number for both lanes, and what a child that stands still leaves in it is
in no budget: 16 segments, and the small messages that no longer fit wait in the outbox."""
RCVHWM: Final = 0
"""Messages that libzmq may have received and nobody has read: any number, for every socket of a cell.

With a bound, whoever may connect can end the process [run, 4.3.5; libzmq issue 4364]. libzmq stops reading a connection
whose queue is full; if that is reset then, it writes to it all the same, and aborts: with its own next heartbeat, or to
answer a PING that it had read behind the last message. Not to send heartbeats mends only the first.

So TCP pushes nobody back while a handler keeps the interpreter. What may come then is bounded by who sends it: requests
by the payloads that their origin keeps, replies by what a callee keeps, flows and pulls by their windows; `fire` by
nothing. A peer that means harm could fill the memory before, with one message of endless frames.
"""
FRAME_ROOM: Final = 64 * KIB
"""Bytes by which a frame may exceed the longest segment or header; libzmq cuts the connection above it."""
HANDSHAKE: Final = 5.0
"""Seconds until a connection that does not prove itself is dropped (libzmq: 30): it costs memory meanwhile."""
CONNECT: Final = 2.0
"""Seconds that an attempt to connect may take: the kernel doubles its pauses up to half a minute, and would find a
parent that is back after `dead_after`."""
MIN_TIMEOUT: Final = 1.0
"""Seconds of silence that a busy machine is always forgiven."""
MISSED_BEATS: Final = 3
"""Heartbeats without an answer after which the control connection is broken."""
RECYCLED: Final = 32 * 1024 * KIB - 64 * KIB
"""Bytes of the largest block that glibc will learn from, less what a page or two of its own take."""
MAX_NOFILE: Final = 1 << 20
"""Some hosts allow a billion descriptors; programs that close them all in a loop would never start."""


def raise_nofile() -> int:
    """Allow this process as many descriptors as it may have (one per connection). Returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_NOFILE if hard == resource.RLIM_INFINITY else min(hard, MAX_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def keep_freed_memory() -> None:
    """Have the allocator use the memory of segments again rather than return it to the system after each.

    glibc learns from what is freed: a block of 32 MiB raises its threshold for blocks of their own to that, and for
    what it returns to twice as much, as in any program that has freed one array of this size. Without it each segment
    costs 256 page faults at either end, a third of the whole transfer [run]. No page of the block is touched.
    """
    bytearray(RECYCLED)


def open_context(config: CellConfig) -> Context:
    """A context for one cell, never shared: whoever terminates it ends all its sockets."""
    raise_nofile()
    keep_freed_memory()
    context: Context = zmq.Context(io_threads=config.io_threads)
    context.set(zmq.BLOCKY, 0)  # a forgotten socket must not hang the exit of the process
    return context


def open_listener(
    context: Context, endpoint: Endpoint, config: CellConfig, keys: Keys | None, *, trusted_network: bool = False
) -> tuple[Socket, Endpoint]:
    """Bind a ROUTER for the children; returns it and where it listens (the port that was free).

    `keys`: children must prove theirs (CURVE); None: `domain_of` says who may come. The `ZapAnswerer` must have that
    domain. Close it with `close_listener`. Raises `UserError` where it cannot be bound, or would be open to others.
    """
    check_open(endpoint, keys is not None, trusted_network)
    router = context.socket(zmq.ROUTER)
    try:
        _set_common(router, endpoint, config)
        router.router_mandatory = True
        router.sndhwm = ROUTER_HWM
        router.handshake_ivl = _ms(HANDSHAKE)
        _set_patience(router, config.bulk_heartbeat_timeout, config.dead_after)  # one socket for both lanes
        enforce(router, domain_of(endpoint, keys, trusted_network), keys)
        return router, bind(router, endpoint)
    except BaseException:
        router.close(linger=0)
        raise


def close_listener(router: Socket, endpoint: Endpoint, linger: float = 0.0) -> None:
    """Close it, giving what is queued `linger` seconds, and remove its ipc file: libzmq leaves it behind."""
    if router.closed:
        return
    if endpoint.is_ipc:  # before the close: afterwards it may be somebody else's
        Path(endpoint.path).unlink(missing_ok=True)
    router.close(linger=_ms(linger))


def open_dealer(
    context: Context, endpoint: Endpoint, lane: Lane, config: CellConfig, keys: Keys | None, *, dialled: bool = True
) -> Socket:
    """Dial the parent for one lane; returns at once, libzmq tries until it is there.

    `keys`: prove ours, and accept only a parent with the pinned key. To learn how it goes, open it without
    `dialled`, attach a `Monitor`, and then `dial`. Raises `UserError` when the address cannot be dialled at all.
    """
    dealer = context.socket(zmq.DEALER)
    try:
        _set_common(dealer, endpoint, config)
        dealer.immediate = True
        dealer.sndhwm = HWM[lane]
        dealer.reconnect_ivl = _ms(config.reconnect_min)
        dealer.reconnect_ivl_max = _ms(config.reconnect_max)
        dealer.connect_timeout = _ms(CONNECT)
        _set_patience(dealer, heartbeat_timeout(lane, config), config.dead_after)
        if keys is not None:
            pin(dealer, endpoint, keys)
        if dialled:
            dial(dealer, endpoint)
    except BaseException:
        dealer.close(linger=0)
        raise
    return dealer


def pin(socket: Socket, endpoint: Endpoint, keys: Keys) -> None:
    """Prove our key, and accept only a parent with the pinned one. Raises `UserError` where that is not known."""
    if keys.parent_public is None:
        remedy = f"give {keys.name} the public key of its parent"
        raise UserError(f"cannot dial {endpoint}: the key of the parent is not known", remedy=remedy)
    socket.curve_serverkey = keys.parent_public
    socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret


def redial(dealer: Socket, endpoint: Endpoint) -> None:
    """Make the connection anew, and drop what is queued in the old one: after a refusal libzmq never tries again."""
    dealer.disconnect(str(endpoint))
    dial(dealer, endpoint)


def heartbeat_timeout(lane: Lane, config: CellConfig) -> float:
    """Seconds of silence that end a connection of this lane."""
    if lane is Lane.BULK:
        return config.bulk_heartbeat_timeout
    return max(MIN_TIMEOUT, min(MISSED_BEATS * config.heartbeat, config.dead_after))


def _set_common(socket: Socket, endpoint: Endpoint, config: CellConfig) -> None:
    socket.linger = 0  # whoever closes it on purpose says otherwise
    socket.rcvhwm = RCVHWM
    socket.maxmsgsize = max(config.segment, MAX_HEADER) + FRAME_ROOM
    socket.ipv6 = endpoint.is_ipv6


def _set_patience(socket: Socket, silence: float, unacknowledged: float) -> None:
    """Seconds of silence, and of bytes that the peer's kernel does not acknowledge, that end a connection.

    The first finds a process that stands still, the second a machine that is gone, sooner and without cutting a slow
    link. HEARTBEAT_TTL, by which a child could ask for less, is not used: whatever comes after a PING, a PONG too,
    disarms it, so it works by chance [run]; and above 65.5 s it overflows (libzmq issue 4226).
    """
    socket.heartbeat_ivl = _ms(silence / MISSED_BEATS)
    socket.heartbeat_timeout = _ms(silence)
    socket.tcp_maxrt = _ms(unacknowledged)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000)) if seconds else 0


def dial(dealer: Socket, endpoint: Endpoint) -> None:
    """Begin to connect. Raises `UserError` when the address cannot be dialled at all."""
    if not endpoint.is_ipc and (endpoint.host == "*" or not endpoint.port):
        raise UserError(f"nobody can dial {endpoint}", remedy="name the host and the port of the parent")
    dealer.connect(str(endpoint))


_BIND_ERRORS: Final = {
    errno.EADDRINUSE: ("the port is taken", "stop who has it, or give another port"),
    errno.EACCES: ("not permitted", "give a port above 1023, or a folder that you may write to"),
    errno.ENODEV: ("this machine has no such interface", "give one of its IP addresses, or * for all"),
    errno.EADDRNOTAVAIL: ("this machine has no such address", "give one of its IP addresses, or * for all"),
}


def bind(socket: Socket, endpoint: Endpoint) -> Endpoint:
    """Bind there, and return where that is (the port that was free). Raises `UserError`."""
    if endpoint.is_ipc:
        with _reserved(Path(endpoint.path)):
            _bind(socket, endpoint)
        return endpoint
    _bind(socket, endpoint)
    return replace(endpoint, port=int(socket.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2]))


def _bind(router: Socket, endpoint: Endpoint) -> None:
    try:
        router.bind(str(endpoint))
    except zmq.ZMQError as error:
        problem, remedy = _BIND_ERRORS.get(error.errno or 0, (str(error), ""))
        raise UserError(f"cannot listen at {endpoint}: {problem}", remedy=remedy) from None


@contextmanager
def _reserved(path: Path) -> Iterator[None]:
    """Hold `path` free for a bind: libzmq would silently take it from a live listener.

    Makes the folder (0700). Raises `UserError` if somebody listens there, or others may enter the folder.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        remedy = "give a path in a folder of your own"
        raise UserError(f"cannot use the folder {path.parent}: {error.strerror}", remedy=remedy) from None
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            remedy = f"chmod 700 {path.parent}, or give a path in a folder of your own"
            raise UserError(f"cannot listen at ipc://{path}: others may enter its folder", remedy=remedy)
        fcntl.flock(folder, fcntl.LOCK_EX)  # between the look and the bind; released with the descriptor
        _remove_stale(path)
        yield
    finally:
        os.close(folder)


def _remove_stale(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise UserError(f"cannot listen at ipc://{path}: there is a file", remedy="remove it, or give another path")
    if _is_alive(path):
        raise UserError(f"cannot listen at ipc://{path}: a cell is listening there", remedy="stop it first")
    path.unlink()


def _is_alive(path: Path) -> bool:
    with unix.socket(unix.AF_UNIX, unix.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN means that its backlog is full: alive. Only a refusal says that nobody listens.
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED
