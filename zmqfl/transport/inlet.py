"""Where a cell hears what its parent publishes: an XSUB that shows the ticket of its link.

It is open as long as the link is bound, anew for each session. Whether it is connected matters to nobody here: until
the parent has seen the ticket, and when it has seen the end of the connection, the link tells everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import zmq

from zmqfl.config import KIB, CellConfig
from zmqfl.errors import DecodeError
from zmqfl.protocol.plane.publication import Ticket, decode_publication, encode_ticket
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.frames import recv_frames
from zmqfl.transport.keys import Keys
from zmqfl.transport.outlet import SUFFIX, keep_alive, place_beside
from zmqfl.transport.sockets import CONNECT, RCVHWM, Context, Socket, pin
from zmqfl.wire.messages import Buffer

MOST_READ: Final = 64
"""Publications read in a pass."""
MAX_FRAME: Final = 128 * KIB
"""Bytes: more than twice what facts of one message have."""


class Inlet:
    """See the module. `parent`: where the link is dialled. `poller`: watches it while it is open."""

    def __init__(
        self, context: Context, parent: Endpoint, config: CellConfig, keys: Keys | None, poller: zmq.Poller
    ) -> None:
        self.socket: Socket | None = None
        self.counters: Counter[str] = Counter()
        self._context = context
        self._parent = parent
        self._config = config
        self._keys = keys
        self._poller = poller

    def listen(self, told: str, ticket: Ticket) -> None:
        """Listen where the parent has told (`Outlet.told`); "" or what makes no sense: nowhere."""
        self.close()
        endpoint = place_of(self._parent, told)
        if endpoint is None:
            self.counters["unknown"] += bool(told)
            return
        socket = self._context.socket(zmq.XSUB)
        try:
            socket.linger = 0
            socket.rcvhwm = RCVHWM
            socket.maxmsgsize = MAX_FRAME
            socket.ipv6 = endpoint.is_ipv6
            socket.reconnect_ivl = round(self._config.reconnect_min * 1000)
            socket.reconnect_ivl_max = round(self._config.reconnect_max * 1000)
            socket.connect_timeout = round(CONNECT * 1000)
            keep_alive(socket, self._config)
            if self._keys is not None:
                pin(socket, endpoint, self._keys)
            socket.connect(str(endpoint))
            socket.send(encode_ticket(ticket), zmq.NOBLOCK)  # libzmq sends it again with each connection
        except BaseException:
            socket.close(linger=0)
            raise
        self._poller.register(socket, zmq.POLLIN)
        self.socket = socket

    def read(self) -> Iterator[tuple[dict[str, Any], tuple[Buffer, ...]]]:
        """What the parent has published, some of it: headers and bodies. What is malformed is counted."""
        for _ in range(MOST_READ):
            if self.socket is None:
                return
            try:
                frames = recv_frames(self.socket)
            except zmq.Again:
                return
            self.counters["heard"] += 1
            try:
                publication = decode_publication([frame.bytes for frame in frames])
            except DecodeError:
                self.counters["malformed"] += 1
                continue
            yield publication

    def close(self) -> None:
        """Listen no longer."""
        if self.socket is not None:
            self._poller.unregister(self.socket)
            self.socket.close(linger=0)
            self.socket = None

    def __repr__(self) -> str:
        return f"<Inlet {'open' if self.socket is not None else 'closed'}, {self.counters['heard']} heard>"


def place_of(parent: Endpoint, told: str) -> Endpoint | None:
    """Where a parent publishes that is dialled at `parent`; None for what no parent says."""
    if parent.is_ipc:
        return place_beside(parent, 0) if told == f"ipc:{SUFFIX}" else None
    match = re.fullmatch(r"tcp:([0-9]{1,5})", told)
    return replace(parent, port=int(match[1])) if match and 0 < int(match[1]) <= 65535 else None
