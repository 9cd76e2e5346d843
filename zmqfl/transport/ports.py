"""All sockets of one cell, and what waits for them: listeners, the lanes to the parent, ZAP, the poller.

Only for the reactor's thread, but for the constructor: errors of an address are errors of who gave it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

import zmq

from zmqfl.config import CellConfig
from zmqfl.transport.authentication import (
    CURVE,
    LOOPBACK,
    SAME_USER,
    TRUSTED,
    CurvePolicy,
    LoopbackPolicy,
    SameUserPolicy,
    TrustedPolicy,
    ZapAnswerer,
)
from zmqfl.transport.dialer import Dialer
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import Keys
from zmqfl.transport.listener import Listener
from zmqfl.transport.outbox import ByteBudget
from zmqfl.transport.plane_ports import PlanePorts
from zmqfl.transport.sockets import open_context
from zmqfl.wire.messages import Buffer, Conn, Lane

TERM_WATCHDOG: Final = 5.0
"""Seconds after which a context that does not terminate is left behind."""


class Ports:
    """See the module. `wakeup`: a descriptor to watch, too. Raises `UserError`; nothing is left open then.

    `plane_port`: where this cell publishes (see `PlanePorts.open`); None: it does not, and hears nobody who does.
    """

    def __init__(
        self,
        config: CellConfig,
        listen: list[Endpoint],
        parent: Endpoint | None,
        keys: Keys | None,
        trusted_network: bool,
        wakeup: int,
        plane_port: int | None = None,
    ) -> None:
        self.budget = ByteBudget(config.send_budget)
        self.listeners: list[Listener] = []
        self.dialers: dict[Lane, Dialer] = {}
        self.blocked: set[Conn] = set()
        """Connections whose queue is not empty."""
        self.curve = CurvePolicy(keys.allowed if keys is not None else {})
        self._context = open_context(config)
        self._poller = zmq.Poller()
        self.plane = PlanePorts(self._poller)
        self.zap = ZapAnswerer(self._context)
        try:
            self._answer_zap(keys)
            self._open(config, listen, parent, keys, trusted_network)
            if plane_port is not None:
                bound = [listener.endpoint for listener in self.listeners]
                zap, curve = self.zap, self.curve
                self.plane.open(self._context, zap, curve, config, bound, parent, keys, trusted_network, plane_port)
        except BaseException:
            self.close(0.0, "")
            raise
        self._poller.register(wakeup, zmq.POLLIN)
        self._poller.register(self.zap.socket, zmq.POLLIN)
        for port in self.all():
            self._poller.register(port.socket, zmq.POLLIN)
            self._poller.register(port.monitor.socket, zmq.POLLIN)

    def all(self) -> list[Listener | Dialer]:
        """The ports that messages come from."""
        return [*self.dialers.values(), *self.listeners]

    def poll(self, patience: int) -> set[object]:
        """Wait at most `patience` milliseconds; the sockets and descriptors where something happened."""
        return {item for item, _ in self._poller.poll(patience)}

    def send(self, conn: Conn, frames: list[Buffer], size: int, now: float) -> bool:
        """Send or queue a message; False: the budget of the cell is full.

        Raises `ZMQError` when the connection is lost.
        """
        if conn[0] == "up":
            dialer = self.dialers[conn[1]]
            if not dialer.outbox and dialer.send(frames):
                return True
            queued = dialer.outbox.put(frames, size, now)
        else:
            listener = self.listeners[conn[1]]
            if not listener.outboxes.get(conn) and listener.send(conn, frames):
                return True
            queued = listener.outbox(conn).put(frames, size, now)
        if queued:
            self._block(conn)
        return queued

    def flush(self, now: float) -> Iterator[tuple[Conn, zmq.ZMQError]]:
        """Send what libzmq takes now; yields the connections that turn out to be lost."""
        for conn in list(self.blocked):
            try:
                if self._flush_one(conn, now):
                    self._unblock(conn)
            except zmq.ZMQError as error:
                yield conn, error

    @property
    def is_full(self) -> bool:
        """Whether a connection of a ROUTER has a queue: it cannot be polled for, only tried again."""
        return any(conn[0] == "in" for conn in self.blocked)

    def forget(self, conn: Conn) -> None:
        """What is queued was for a connection that is no more."""
        if conn in self.blocked:
            self._unblock(conn)
        if conn[0] == "in":
            self.listeners[conn[1]].forget(conn)
        else:
            self.dialers[conn[1]].outbox.clear()

    def close(self, linger: float, name: str) -> bool:
        """Give what is in libzmq `linger` seconds, and close all. False: libzmq did not let go in time.

        Monitors, then sockets, ZAP last: a handshake that nobody answers would hold up the rest.
        """
        for port in self.all():
            port.close(linger)
        self.plane.close(linger)
        self.zap.close()
        # term() waits for the linger; should libzmq ever hang, a daemon thread is left behind and not this one.
        watchdog = threading.Thread(target=self._context.term, name=f"zmqfl-term:{name}", daemon=True)
        watchdog.start()
        watchdog.join(TERM_WATCHDOG)
        return not watchdog.is_alive()

    def _answer_zap(self, keys: Keys | None) -> None:
        self.zap.add_domain(CURVE, self.curve)
        self.zap.add_domain(SAME_USER, SameUserPolicy())
        self.zap.add_domain(LOOPBACK, LoopbackPolicy())
        self.zap.add_domain(TRUSTED, TrustedPolicy())
        if keys is not None:
            self.zap.self_test()

    def _open(
        self,
        config: CellConfig,
        listen: list[Endpoint],
        parent: Endpoint | None,
        keys: Keys | None,
        trusted_network: bool,
    ) -> None:
        for index, endpoint in enumerate(listen):
            own = None if endpoint.is_ipc else keys  # over ipc the kernel proves the user
            self.listeners.append(Listener(self._context, endpoint, index, config, own, self.budget, trusted_network))
        if parent is not None:
            own = None if parent.is_ipc else keys
            for lane in Lane:
                self.dialers[lane] = Dialer(self._context, parent, lane, config, own, self.budget)

    def _flush_one(self, conn: Conn, now: float) -> bool:
        if conn[0] == "up":
            dialer = self.dialers[conn[1]]
            dialer.outbox.flush(dialer.send, now)
            return not dialer.outbox
        listener = self.listeners[conn[1]]
        box = listener.outboxes.get(conn)
        if box is None:
            return True
        box.flush(lambda frames: listener.send(conn, frames), now)
        return not box

    def _block(self, conn: Conn) -> None:
        self.blocked.add(conn)
        if conn[0] == "up":  # a DEALER can be polled; a ROUTER says only that some peer can take something
            self._poller.register(self.dialers[conn[1]].socket, zmq.POLLIN | zmq.POLLOUT)

    def _unblock(self, conn: Conn) -> None:
        self.blocked.discard(conn)
        if conn[0] == "up":
            self._poller.register(self.dialers[conn[1]].socket, zmq.POLLIN)
