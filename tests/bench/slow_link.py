"""A slow link for one listener: `python -m tests.bench.slow_link PORT MEGABITS MILLISECONDS`; prints its own port.

Everything that passes one way shares the rate, whatever connection it is on, and arrives half the round trip after it
has left; so it is the application that sees the link, while TCP sees loopback and loses nothing. Who sends faster than
the rate is held up by TCP, with about as much in between as a router would keep.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
from dataclasses import dataclass, field
from time import monotonic

from tests.bench.peers.transfer_ends import play

PIECE = 16 * 1024
"""Bytes that leave at once: what a small message may have to wait for."""
ROUTER = 512 * 1024
"""Bytes of receive buffer: about what 100 Mbit/s times 50 ms come to."""
LATE = 0.005
"""Seconds that a late wake-up is made good for, so that the rate is reached."""
IN_TRANSIT = 4096
"""Pieces on the way of one connection. More than fit; a receiver that stops reading fills it."""

Pieces = queue.Queue[tuple[float, bytes]]


@dataclass
class Direction:
    """One way of the link: a clock that says when the next byte may leave."""

    bytes_per_second: float
    delay: float
    free: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def leave(self, size: int) -> float:
        """When these bytes have left, on the monotonic clock."""
        with self.lock:
            self.free = max(monotonic() - LATE, self.free) + size / self.bytes_per_second
            return self.free


def main(port: int, megabits: float, milliseconds: float) -> None:
    there, back = (Direction(megabits * 1e6 / 8, milliseconds / 2000) for _ in range(2))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROUTER // 2)  # the kernel doubles it
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def accept() -> None:
            while True:
                near, _ = listener.accept()
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROUTER // 2)
                far.connect(("127.0.0.1", port))
                _carry(near, far, there)
                _carry(far, near, back)

        threading.Thread(target=accept, daemon=True).start()
        play(listener.getsockname()[1], {})


def _carry(origin: socket.socket, destination: socket.socket, direction: Direction) -> None:
    destination.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pieces: Pieces = queue.Queue(IN_TRANSIT)
    threading.Thread(target=_send, args=(origin, pieces, direction), daemon=True).start()
    threading.Thread(target=_arrive, args=(destination, pieces), daemon=True).start()


def _send(origin: socket.socket, pieces: Pieces, direction: Direction) -> None:
    piece = b"."
    while piece:
        try:
            piece = origin.recv(PIECE)
        except OSError:
            piece = b""  # reset: the end, too
        _wait_until(direction.leave(len(piece)))
        pieces.put((monotonic() + direction.delay, piece))


def _arrive(destination: socket.socket, pieces: Pieces) -> None:
    with contextlib.suppress(OSError):  # the other side is gone, and its own direction says so
        while True:
            due, piece = pieces.get()
            _wait_until(due)
            if not piece:
                destination.shutdown(socket.SHUT_WR)
                return
            destination.sendall(piece)


def _wait_until(moment: float) -> None:
    if (seconds := moment - monotonic()) > 0:
        threading.Event().wait(seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
