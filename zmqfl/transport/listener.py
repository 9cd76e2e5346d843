"""One bound socket for children: a ROUTER, its monitor, and a queue per connection."""

from __future__ import annotations

from typing import Final

import zmq

from zmqfl.config import CellConfig
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.frames import send_frames
from zmqfl.transport.keys import Keys
from zmqfl.transport.monitor import LISTENER_EVENTS, Monitor
from zmqfl.transport.outbox import ByteBudget, Outbox
from zmqfl.transport.sockets import Context, close_listener, open_listener
from zmqfl.wire.messages import Buffer, Conn

TOUCHES: Final = (0.0, 0.02, 0.2)
"""Seconds after a lost connection at which all children are touched. The monitor does not say whose it was, and
libzmq may need a moment until a send to it fails."""


class Listener:
    """See the module. `index` makes its connections differ from those of other listeners of the cell."""

    def __init__(
        self,
        context: Context,
        endpoint: Endpoint,
        index: int,
        config: CellConfig,
        keys: Keys | None,
        budget: ByteBudget,
        trusted_network: bool,
    ) -> None:
        self.index = index
        self.has_keys = keys is not None
        self.outboxes: dict[Conn, Outbox] = {}
        self.socket, self.endpoint = open_listener(context, endpoint, config, keys, trusted_network=trusted_network)
        self.monitor = Monitor(self.socket, LISTENER_EVENTS)
        self.failed_handshakes = 0
        self.lost_connections = 0
        """Of children, and of strangers that spoke another protocol: libzmq does not tell which."""
        self._budget = budget
        self._touch_at: list[float] = []
        self._not_before = 0.0

    def drain(self, now: float) -> None:
        """Read the monitor; a lost connection makes the children to be touched."""
        events = self.monitor.drain()
        lost = sum(event.event == zmq.EVENT_DISCONNECTED for event in events)
        if lost:  # strangers who come and go must not have all children touched in each pass
            self._touch_at = [max(now, self._not_before) + wait for wait in TOUCHES]
        self.lost_connections += lost
        self.failed_handshakes += len(events) - lost

    def is_touch_due(self, now: float) -> bool:
        """Whether to send something to every child now, to learn whose connection is lost."""
        due = bool(self._touch_at) and self._touch_at[0] <= now
        if due:
            self._touch_at = [at for at in self._touch_at if at > now]
            self._not_before = now + TOUCHES[1]
        return due

    @property
    def deadline(self) -> float | None:
        """When `is_touch_due` is True next."""
        return self._touch_at[0] if self._touch_at else None

    def conn(self, routing_id: bytes) -> Conn:
        """The name of a connection."""
        return ("in", self.index, routing_id)

    def outbox(self, conn: Conn) -> Outbox:
        """The queue of a connection."""
        box = self.outboxes.get(conn)
        if box is None:
            box = self.outboxes[conn] = Outbox(self._budget)
        return box

    def forget(self, conn: Conn) -> None:
        """Drop the queue of a connection."""
        if (box := self.outboxes.pop(conn, None)) is not None:
            box.clear()

    def send(self, conn: Conn, frames: list[Buffer]) -> bool:
        """Hand one message to libzmq; False when this connection is full. Raises `ZMQError` EHOSTUNREACH when lost."""
        try:
            send_frames(self.socket, [conn[2], *frames])
        except zmq.Again:
            return False
        return True

    def close(self, linger: float) -> None:
        """Give what is queued in libzmq `linger` seconds."""
        for conn in list(self.outboxes):
            self.forget(conn)
        self.monitor.close()
        close_listener(self.socket, self.endpoint, linger)
