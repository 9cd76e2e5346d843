"""What a machine may ask for. The reactor obeys each of these and refuses anything else.

Post        (inside a node only) route a message to its targets; becomes Send
Deliver     (inside a node only) this message is for this cell
GiveBack    (inside a node only) a request or probe of this cell's own found no way
Send        hand a packet to one connection
Invoke      run the handler of a request; later `Node.reply`
Revoke      the caller no longer waits: stop the handler if it can be stopped
Finish      one target of one request has ended; its handle learns how
PeerChanged a neighbour is up, suspected, stalled or gone
Redial      make the connection of a lane anew: libzmq never retries after a refusal
Hangup      forget a connection: nothing that still comes from it counts
Exit        the process must end, with this status
Note        one line for the log
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.wire.messages import NO_DEADLINE, Buffer, Conn, Lane, Packet, Return, RoutedMessage
from zmqfl.wire.record import record


class PeerState(StrEnum):
    """How a neighbour is doing (design, decision 4)."""

    UP = "up"
    SUSPECTED = "suspected"
    STALLED = "stalled"
    GONE = "gone"


@dataclass(eq=False, slots=True)
class Call:
    """One request at its callee, from arrival to reply. Compared by identity.

    `started` is the one field that another thread writes: the worker sets it, once, when the handler begins.
    """

    origin: str
    instance: int
    id: int
    channel: str
    topic: str
    codec: int
    headers: dict[str, Any]
    bodies: tuple[Buffer, ...]
    timeout: float
    """Seconds that the handler may take, from its start."""
    expects_reply: bool
    traceparent: str = ""
    started: float | None = None
    revoked: bool = False
    """The caller cancelled or is past its time-out: do not begin, do not bother to reply."""

    @property
    def size(self) -> int:
        """Bytes of payload that wait with this call."""
        return sum(len(body) for body in self.bodies)


@record
class Outcome:
    """How one target of a request ended."""

    code: CellReturnCode
    error: str = ""
    codec: int = 0
    headers: dict[str, Any] = field(default_factory=dict)
    bodies: tuple[Buffer, ...] = ()


@record
class Post:
    """Route `message` to `targets`. The node turns it into `Send`, or gives it back where there is no way."""

    message: RoutedMessage
    targets: tuple[str, ...]
    bodies: tuple[Buffer, ...] = ()
    flags: int = 0
    remaining: int = NO_DEADLINE


@record
class Deliver:
    """This message is for this cell."""

    packet: Packet


@record
class GiveBack:
    """A request or probe of this cell's own found no way."""

    message: Return


@record
class Send:
    """Hand `packet` to connection `conn`. What does not fit the budget comes back by `Node.undeliverable`."""

    conn: Conn
    packet: Packet


@record
class Invoke:
    """Run the handler for `call` on a worker. Call `Node.reply` with the same object when it has ended."""

    call: Call


@record
class Revoke:
    """Nobody waits for `call` any more."""

    call: Call


@record
class Finish:
    """Request `id` has ended at `target`. Comes exactly once per request and target."""

    id: int
    target: str
    outcome: Outcome


@record
class PeerChanged:
    """A neighbour changed its state. `instance` is the one that this is about."""

    fqcn: str
    state: PeerState
    instance: int
    reason: str = ""
    replaced: bool = False
    """Gone, but another start of the same name takes over: what stands behind it may still be there."""


@record
class Redial:
    """Disconnect and connect the lane again."""

    lane: Lane


@record
class Hangup:
    """The connection is replaced or refused."""

    conn: Conn


@record
class Exit:
    """End the process with this status; a launcher does not restart status 75."""

    status: int
    reason: str


class Level(IntEnum):
    """Numbers of the standard library's logging levels, which this floor does not import."""

    DEBUG = 10
    INFO = 20
    WARNING = 30


@record
class Note:
    """One line for the log."""

    level: Level
    text: str


Command = Post | Deliver | GiveBack | Send | Invoke | Revoke | Finish | PeerChanged | Redial | Hangup | Exit | Note

EXIT_REPLACED = 75
"""EX_TEMPFAIL of sysexits.h: a newer start of the same site holds the name."""
