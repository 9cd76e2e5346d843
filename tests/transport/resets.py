"""A program for a test: what a peer may do to a socket that nobody reads. Writes how many messages could be read then.

argv: the socket (listener, control, bulk, outlet or inlet), and what follows the messages (ping or silence).

The peer speaks ZMTP 3.1 by hand. It sends more messages than a bounded queue would hold, and what follows, in one
packet, and then resets the connection. libzmq 4.3.5 aborts the process if that finds a queue full.
"""

from __future__ import annotations

import contextlib
import socket as unix
import struct
import sys
import time

import zmq

from zmqfl.config import CellConfig
from zmqfl.protocol.plane.publication import Ticket
from zmqfl.transport.authentication import LOOPBACK, LoopbackPolicy, ZapAnswerer
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.inlet import Inlet
from zmqfl.transport.outlet import Doorkeeper, Outlet
from zmqfl.transport.sockets import Context, Socket, open_dealer, open_listener
from zmqfl.wire.messages import Lane

MESSAGES = 300
"""Small enough together for one read of libzmq."""
WITHIN = 10
UNANSWERED = 2
"""Seconds until it is clear that libzmq does not read any more; several heartbeats. Never waited for where it reads."""
BEATS = CellConfig(heartbeat=0.1, dead_after=1.0, bulk_heartbeat_timeout=1.5)
"""Heartbeats of libzmq each 0.5 s at most."""
ANY = Endpoint.parse("tcp://127.0.0.1:*")
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
TYPES = {"listener": b"DEALER", "control": b"ROUTER", "bulk": b"ROUTER", "outlet": b"SUB", "inlet": b"PUB"}
"""What the peer says that it is."""


def frame(body: bytes, flags: int = 0) -> bytes:
    return bytes([flags, len(body)]) + body


def command(name: bytes, body: bytes) -> bytes:
    return frame(bytes([len(name)]) + name + body, 4)


def ready(kind: bytes) -> bytes:
    return command(b"READY", b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind)


def open_socket(role: str, context: Context, zap: ZapAnswerer) -> tuple[Socket, unix.socket]:
    """The socket of a cell, and the end of the peer of a connection to it."""
    if role == "listener":
        router, endpoint = open_listener(context, ANY, BEATS, None)
        return router, unix.create_connection((endpoint.host, endpoint.port))
    if role == "outlet":
        policy = Doorkeeper(LoopbackPolicy())
        zap.add_domain("plane", policy)
        outlet = Outlet(context, ANY, "plane", policy, BEATS, None, False, zmq.Poller())
        assert outlet.socket is not None
        return outlet.socket, unix.create_connection((outlet.endpoint.host, outlet.endpoint.port))
    with unix.create_server(("127.0.0.1", 0)) as server:
        endpoint = Endpoint.parse(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        if role == "inlet":
            socket = listen_at(endpoint, context)
        else:
            socket = open_dealer(context, endpoint, Lane[role.upper()], BEATS, None)
        return socket, server.accept()[0]


def listen_at(endpoint: Endpoint, context: Context) -> Socket:
    inlet = Inlet(context, endpoint, BEATS, None, zmq.Poller())
    inlet.listen(f"tcp:{endpoint.port}", Ticket("site-1", 1))
    assert inlet.socket is not None
    return inlet.socket


def shake_hands(peer: unix.socket, kind: bytes, monitor: Socket, zap: ZapAnswerer) -> None:
    peer.sendall(GREETING + ready(kind))
    deadline = time.monotonic() + WITHIN
    while not monitor.poll(10):
        zap.handle()
        assert time.monotonic() < deadline, "no handshake"
    monitor.recv_multipart()


def wait_for_pong(peer: unix.socket) -> None:
    said = b""
    peer.settimeout(UNANSWERED)
    with contextlib.suppress(TimeoutError):
        while b"\x04PONG" not in said:
            said += peer.recv(4096)


def reset(peer: unix.socket) -> None:
    peer.setsockopt(unix.SOL_SOCKET, unix.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def main(role: str, last: str) -> None:
    context: Context = zmq.Context()
    zap = ZapAnswerer(context)
    zap.add_domain(LOOPBACK, LoopbackPolicy())
    socket, peer = open_socket(role, context, zap)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    shake_hands(peer, TYPES[role], monitor, zap)
    body = b"\1topic" if role == "outlet" else b"x"
    if last == "ping":
        peer.sendall(frame(body) * MESSAGES + command(b"PING", bytes(2)))
        wait_for_pong(peer)  # an XPUB must not be polled: it would be read then
    else:
        peer.sendall(frame(body) * MESSAGES)
        assert socket.poll(WITHIN * 1000), "nothing came"  # what one packet holds is read at once
    reset(peer)
    monitor.poll(UNANSWERED * 1000)
    count = 0
    while socket.poll(0):
        socket.recv_multipart()
        count += 1
    sys.stdout.write(f"{count}\n")
    socket.disable_monitor()
    context.destroy(linger=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
