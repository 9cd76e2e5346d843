"""What a machine may ask for. The reactor obeys each of these and refuses anything else.

Post        (inside a node only) route a message to its targets; becomes Send
Deliver     (inside a node only) this message is for this cell
GiveBack    (inside a node only) what this cell sent found no way
FlowMoved   (inside a node only) some more of a message that travels as a flow has arrived
Ask         (inside a node only) a request of a machine; its `answered` is told how it ends at each target
Unask       (inside a node only) a machine waits no longer for any of its requests
Answer      (inside a node only) reply to a request that a machine has taken
Tell        (inside a node only) a message of the plane to children; it may be lost
Publish     a message of the plane to all children that listen where this cell publishes; it may be lost
Reopen      cut all who listen there: somebody must hear less, and the others listen again
Listen      hear what the parent publishes, or no longer
Send        hand a packet to one connection
FlowEnded   a message of this cell's own that was cut has ended its way to one target
Invoke      run the handler of a request; later `Node.reply`
Revoke      the caller no longer waits: stop the handler if it can be stopped
Finish      one target of one request has ended; its handle learns how
Produce     have the next chunk of a push made; later `Node.produced`
Settle      show a producer the replies of a round; later `Node.settled`
PushEnded   a push of this cell's own has ended; its handle learns how
OpenStream  make the consumer of a push that comes in; later `Node.stream_opened`
Consume     have it take a chunk; later `Node.stream_consumed`
CloseStream end it, well or not; later `Node.stream_closed`
Read        read a chunk of a file that is offered; later `Node.chunk_read`
Served      a receiver has a file that is offered, or has failed
Expired     a transaction has ended for want of activity
Prepare     open the sink of a pull; later `Node.pull_prepared`
Write       check and write a chunk; later `Node.chunk_written`
Commit      give the file its final name; later `Node.pull_committed`
Abandon     close the sink after a failure; later `Node.pull_abandoned`
PullEnded   a pull of this cell's own has ended; its handle learns how
ItemsCame   items of a channel have come for a reader of this cell
WriterChanged how it is with a writer of this cell
ChannelAnswered a broker has answered, or cannot
FactsChanged the plane says something new
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


class FlowFate(StrEnum):
    """How a flow ended at one target."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    TOO_BIG = "too_big"
    LOST = "lost"


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
    """A message of this cell's own found no way."""

    message: Return


@record
class FlowMoved:
    """Some more of `message` has arrived: of this cell's own at `peer`, or of `peer`'s here."""

    message: RoutedMessage
    peer: str


@record
class FlowEnded:
    """`message` of this cell's own was delivered to `target`, refused there, or lost on its way."""

    message: RoutedMessage
    target: str
    fate: FlowFate
    text: str = ""


@record
class Ask:
    """A request of `owner`, a machine of this node. `tag` comes back with each `answered`."""

    owner: Any
    tag: Any
    targets: tuple[str, ...]
    channel: str
    topic: str
    headers: dict[str, Any]
    codec: int
    bodies: tuple[Buffer, ...]
    timeout: float
    """Seconds that the target's side may take, from its start."""
    repeatable: bool = False


@record
class Unask:
    """`owner` does not wait for any of its requests any more."""

    owner: Any


@record
class Answer:
    """Reply to `call`."""

    call: Call
    outcome: Outcome


@record
class Tell:
    """Tell `targets`, children of this cell, something of the plane."""

    targets: tuple[str, ...]
    topic: str
    headers: dict[str, Any]
    bodies: tuple[Buffer, ...]


@record
class Publish:
    """Publish something of the plane under `topic`."""

    topic: str
    headers: dict[str, Any]
    bodies: tuple[Buffer, ...]


@record
class Reopen:
    """Close where this cell publishes and open it again: nobody who listened until now hears more."""


@record
class Listen:
    """Listen where the parent says that it publishes (WELCOME, field `plane`), as `fqcn` on link session `session`.

    `plane` "": nowhere any more.
    """

    plane: str
    fqcn: str
    session: int


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


StreamKey = tuple[str, int, int]
"""A push at one of its targets: (owner, instance of the owner, its number there)."""


@record
class Chunk:
    """One round of a push: what a producer makes and consumers take.

    `timeout`: seconds for this one. `stands_for`: bytes, where the bodies are packed.
    """

    headers: dict[str, Any]
    codec: int
    bodies: tuple[Buffer, ...]
    timeout: float | None = None
    stands_for: int | None = None


@record
class Produce:
    """Have the producer of push `id` make the next chunk, on a worker."""

    id: int


@record
class Settle:
    """Show the producer of push `id` the replies of the oldest round, on a worker."""

    id: int
    replies: dict[str, Outcome]


@record
class PushEnded:
    """Push `id` has ended: `culprit` is the target by whose fault, `targets` how each one ended that is known."""

    id: int
    code: CellReturnCode
    reason: str
    culprit: str
    result: Any
    targets: dict[str, Outcome]


@record
class OpenStream:
    """Make the consumer of a push that comes in; `call` holds its channel, topic and context."""

    key: StreamKey
    call: Call


@record
class Consume:
    """Have the consumer of a stream take chunk `index`, which `call` holds. One at a time per stream."""

    key: StreamKey
    index: int
    call: Call


@record
class CloseStream:
    """End a stream: with OK what was received is good, else it is to be removed. Comes once per stream."""

    key: StreamKey
    code: CellReturnCode
    reason: str
    culprit: str


@record
class Read:
    """Read `size` bytes at `offset` of `rid`, with their digest; index None: only see that it is unchanged."""

    call: Call
    rid: str
    index: int | None
    offset: int
    size: int


@record
class Served:
    """`receiver` has pulled `rid`: "success" or "failed"."""

    rid: str
    receiver: str
    status: str


@record
class Expired:
    """Nothing happened in a transaction for its time-out."""

    transaction: str


@record
class Prepare:
    """Open the sink of pull `id`: `size` bytes in chunks of `chunk`, of a source with this fingerprint and name."""

    id: int
    size: int
    chunk: int
    fingerprint: str
    name: str


@record
class Write:
    """Check the digest of a chunk of pull `id`, and write it."""

    id: int
    index: int
    offset: int
    bodies: tuple[Buffer, ...]
    digest: bytes


@record
class Commit:
    """All chunks of pull `id` are written."""

    id: int


@record
class Abandon:
    """Pull `id` has failed."""

    id: int


@record
class PullEnded:
    """Pull `id` has ended. `kind`: "source_changed", or "" for what the code says already."""

    id: int
    code: CellReturnCode
    reason: str
    value: Any
    kind: str = ""


@record
class ItemsCame:
    """Items for reader `place` of this cell. `counts`: what its buffer at the broker has left out until now, decimated
    and dropped; `gaps`: [writer, first, last] of what did not come; `end`: nothing more will come, and why; `lost`: its
    broker is gone, and did not say so itself."""

    place: int
    items: list[Any]
    counts: tuple[int, int] | None = None
    gaps: tuple[tuple[str, int, int], ...] = ()
    end: str | None = None
    lost: bool = False


@record
class WriterChanged:
    """How it is with writer `place` of this cell: its state, and what became of the puts that were asked for."""

    place: int
    state: Any
    placed: tuple[Any, ...] = ()


@record
class ChannelAnswered:
    """What a broker has answered to the question with this ticket."""

    ticket: Any
    outcome: Outcome


@record
class FactsChanged:
    """These facts are new, or (without a body) over, for those who watch here. None at all: the plane is current again,
    and says what it said before."""

    facts: tuple[Any, ...]


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


Command = (
    Post | Deliver | GiveBack | FlowMoved | Ask | Unask | Answer | Tell | Publish | Reopen | Listen
    | Send | FlowEnded | Invoke | Revoke | Finish
    | Produce | Settle | PushEnded | OpenStream | Consume | CloseStream
    | Read | Served | Expired | Prepare | Write | Commit | Abandon | PullEnded
    | ItemsCame | WriterChanged | ChannelAnswered
    | FactsChanged | PeerChanged | Redial | Hangup | Exit | Note
)  # fmt: skip

ChannelEvent = ItemsCame | WriterChanged | ChannelAnswered
"""What readers and writers of channels are told."""
Work = (
    Produce | Settle | PushEnded | OpenStream | Consume | CloseStream
    | Read | Served | Expired | Prepare | Write | Commit | Abandon | PullEnded | ChannelEvent
)  # fmt: skip
"""What goes up in order: transfers have it done on workers, channels hand it to their readers and writers."""

EXIT_REPLACED = 75
"""EX_TEMPFAIL of sysexits.h: a newer start of the same site holds the name."""
