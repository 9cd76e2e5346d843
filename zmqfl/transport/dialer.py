"""The two connections of a cell to its parent: control and bulk, each with its monitor and its queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zmq

from zmqfl.config import CellConfig
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.frames import send_frames
from zmqfl.transport.keys import Keys
from zmqfl.transport.monitor import DEALER_EVENTS, Monitor
from zmqfl.transport.outbox import ByteBudget, Outbox
from zmqfl.transport.sockets import Context, dial, open_dealer, redial
from zmqfl.wire.messages import Buffer, Lane

REFUSED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)
"""After any of these libzmq may never try again: the lane must be dialled anew."""


class Dialer:
    """One lane to the parent."""

    def __init__(
        self,
        context: Context,
        endpoint: Endpoint,
        lane: Lane,
        config: CellConfig,
        keys: Keys | None,
        budget: ByteBudget,
    ) -> None:
        self.lane = lane
        self.conn = ("up", lane)
        self.outbox = Outbox(budget)
        self.socket = open_dealer(context, endpoint, lane, config, keys, dialled=False)
        # Before it is dialled: over ipc the handshake may be over sooner than a monitor is there to tell of it.
        self.monitor = Monitor(self.socket, DEALER_EVENTS)
        self._endpoint = endpoint
        try:
            dial(self.socket, endpoint)
        except BaseException:
            self.close(linger=0)
            raise

    def events(self) -> Iterator[bool | None]:
        """What the monitor tells: True connected, False lost, None refused."""
        for event in self.monitor.drain():
            if event.event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                yield True
            elif event.event == zmq.EVENT_DISCONNECTED:
                yield False
            elif event.event in REFUSED:
                yield None

    def send(self, frames: list[Buffer]) -> bool:
        """Hand one message to libzmq; False when there is no connection or it is full."""
        try:
            send_frames(self.socket, frames)
        except zmq.Again:
            return False
        return True

    def redial(self) -> None:
        """Disconnect and connect again."""
        redial(self.socket, self._endpoint)

    def close(self, linger: float) -> None:
        """Give what is queued in libzmq `linger` seconds."""
        self.outbox.clear()
        self.monitor.close()
        self.socket.close(linger=round(linger * 1000))
