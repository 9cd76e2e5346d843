"""What libzmq tells about the connections of a socket: accepted, refused, lost."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import zmq

DEALER_EVENTS: Final = (
    zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)
"""Worth knowing of a lane to the parent: it works, it was refused (libzmq gives up then), it is lost."""
LISTENER_EVENTS: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_ACCEPT_FAILED
)
"""Worth knowing of a listener. Events name no peer: a DISCONNECTED says only that one of them is to be probed."""
MAX_DRAINED: Final = 10_000
"""Events read in one `drain`: five times what libzmq holds, so it ends even while somebody floods the listener."""
_EVENT: Final = struct.Struct("=Hi")


@dataclass(frozen=True, slots=True)
class MonitorEvent:
    """One event. `value`: a descriptor, an errno or, for FAILED_AUTH, the status of the refusal (400)."""

    event: zmq.Event
    value: int
    endpoint: str


class Monitor:
    """The events of one socket. Drain it in every pass: libzmq's I/O thread stands still when 2,000 are waiting."""

    def __init__(self, socket: zmq.Socket[bytes], events: int) -> None:
        """`events`: the mask, e.g. `DEALER_EVENTS`."""
        self._watched = socket
        self.socket = socket.get_monitor_socket(events)
        """To be polled for input."""

    def drain(self) -> list[MonitorEvent]:
        """All events that wait, at most `MAX_DRAINED`. Never blocks."""
        found: list[MonitorEvent] = []
        while len(found) < MAX_DRAINED:
            try:
                head, endpoint = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            event, value = _EVENT.unpack(head)
            found.append(MonitorEvent(zmq.Event(event), value, endpoint.decode(errors="replace")))
        return found

    def close(self) -> None:
        """Stop watching. Call it before the watched socket is closed."""
        # First of all no more events: a monitor that is closed while events come blocks the I/O thread for good.
        if not self._watched.closed:
            self._watched.disable_monitor()
        self.socket.close(linger=0)
