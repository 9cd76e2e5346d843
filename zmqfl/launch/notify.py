"""How a site tells whoever started it how it is: the protocol of systemd (sd_notify(3)), so that both understand.

One datagram of NAME=VALUE lines to the Unix socket that $NOTIFY_SOCKET names:

    READY=1               its sockets are bound and its endpoints file is written
    STOPPING=1            it ends on purpose, and is not to be started again
    X_ZMQFL_CELL=FQCN     which site says so
    X_ZMQFL_INSTANCE=N    which start of it
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"
PATIENCE: Final = 5.0
"""Seconds to wait where many sites start at once: the kernel queues a few datagrams only."""
MOST: Final = 4096
"""Bytes of a datagram that are read."""


def notify(**lines: object) -> None:
    """Send the lines, if anybody listens. Never raises: a site must live on when its launcher is gone."""
    if not (address := os.environ.get(VARIABLE)):
        return
    text = "\n".join(f"{name}={value}" for name, value in lines.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(PATIENCE)
        try:
            sender.sendto(text.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError:
            return  # whoever asked to be told has ended, and ends us too if it wants to


def open_receiver(path: Path) -> socket.socket:
    """A socket that receives notifications at `path`; without blocking."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        path.unlink(missing_ok=True)
        receiver.bind(str(path))
    except OSError:
        receiver.close()
        raise
    return receiver


def receive(receiver: socket.socket) -> dict[str, str] | None:
    """The next notification, None when there is none."""
    try:
        text = receiver.recv(MOST).decode(errors="replace")
    except BlockingIOError:
        return None
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
