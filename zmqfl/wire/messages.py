"""The closed union of messages, and for each one how it is delivered. This file is the specification in code.

A message on the wire is frame 1, the hop header (`Packet`, read and changed by every cell on the way), frame 2,
the end-to-end header (one of the dataclasses below, a msgpack array in field order, immutable), and the bodies.

    kind      lane      who re-sends         dedupe key                bound
    HELLO     control   child, by timer      instance                  one open per link
    WELCOME   control   parent, per HELLO    session                   one per link
    ATTACH    bulk      child, by timer      session                   one open per link
    ATTACHED  bulk      parent, per ATTACH   session                   one per link
    RESET     as got    nobody               routing id                one per routing id and heartbeat
    BYE       control   nobody               -                         one per lane: leaving says it on both
    BYE_ACK   control   nobody               -                         one per BYE
    BEAT      control   nobody               -                         one per link and heartbeat
    REQUEST   by size   origin, DUP set      origin, instance, id      1,024 entries, 8 MiB per origin at the callee
    REPLY     by size   callee, per PROBE    caller instance, id       kept with its request
    FIRE      by size   nobody: may be lost  -                         send budget
    PROBE     control   origin, each beat    idempotent                256 ids
    PROBED    control   nobody               idempotent                256 states
    CANCEL    control   nobody               idempotent                one per request and target
    RETURN    control   nobody               attempt of the copy       one per message that cannot go on
    SEGMENT   bulk      origin, go-back-N    origin, instance, offset  the flow's window, see `protocol/flow_sender.py`
    SEGMENTED control   nobody: cumulative   idempotent                one per segment

Whatever has more body than fits one message travels as a flow: SEGMENTs, each acknowledged by SEGMENTED, are put
together by the target to the very message (REQUEST, REPLY or FIRE) that was too large.

Fields are appended, never changed or removed: a reader ignores fields it does not know and fills missing ones
with their defaults. Times are relative, in milliseconds. `docs/protocol.md` says what each field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum, IntFlag
from typing import Any, ClassVar

from zmqfl.wire.record import record

Buffer = bytes | bytearray | memoryview
Conn = tuple[Any, ...]
"""Names one connection of the transport, e.g. (listener, routing id, lane) or ("up", lane). Opaque here."""

VERSION_MIN = VERSION_MAX = 1
NO_DEADLINE = 0xFFFFFFFF
MAX_BODIES = 64
MAX_TARGETS = 4096
MAX_PROBED = 256
"""Ids in one PROBE; a callee answers no more."""
MAX_HEADER = 256 * 1024
"""Bytes of frame 2. Room for the headers that users add; a peer that is not bound yet gets 4 KiB (`MAX_GREETING`)."""
MAX_GREETING = 4096


class Kind(IntEnum):
    """The type byte of frame 1. Below 16: between two neighbours; from 16 on: routed by target."""

    HELLO = 1
    WELCOME = 2
    ATTACH = 3
    ATTACHED = 4
    RESET = 5
    BYE = 6
    BYE_ACK = 7
    BEAT = 8
    REQUEST = 16
    REPLY = 17
    FIRE = 18
    PROBE = 19
    PROBED = 20
    CANCEL = 21
    RETURN = 22
    SEGMENT = 23
    SEGMENTED = 24


FIRST_ROUTED = 16


class Flag(IntFlag):
    """Bits of frame 1."""

    NONE = 0
    DUP = 1
    """A copy of this message went out before and was not accounted for."""
    SEALED = 2
    REF = 4
    MORE_SEGMENTS = 8
    MUST_UNDERSTAND = 16
    """A cell that does not know this kind answers RETURN; without the bit it drops the message."""
    PATIENT = 32
    """The origin knows that the route broke a moment ago: a cell that has just started waits for its children."""
    REPEATABLE = 64
    """A request that may run more than once: the callee keeps no reply for it, and a lost one is sent again."""


class Feature(IntFlag):
    """Bits of `features` in HELLO and WELCOME: what the sender can do for its neighbour."""

    NONE = 0
    RELAY_CACHE = 1
    """Of a parent: it keeps chunks of pulls that pass it, for children that ask it instead of the owner."""


class Lane(IntEnum):
    """Which of the two connections of a link carries the message."""

    CONTROL = 0
    BULK = 1


@record
class Packet:
    """One message on one link: frame 1 decoded, frame 2 and the bodies as they are."""

    kind: int
    header: bytes
    bodies: tuple[Buffer, ...] = ()
    targets: tuple[str, ...] = ()
    flags: int = 0
    lane: int = Lane.CONTROL
    hops: int = 0
    session: int = 0
    remaining: int = NO_DEADLINE
    """Milliseconds until the message is worthless; each cell subtracts the time it held it."""
    route: tuple[str, ...] = ()
    """The cells it has passed, the origin first: the loop guard, and what `zmqfl route` shows."""
    sequence: int = 0
    """Number of a routed message on its lane and session, from 1; 48 bits."""

    @property
    def size(self) -> int:
        """Bytes that this packet holds in a queue."""
        return len(self.header) + sum(len(body) for body in self.bodies)


@record
class Hello:
    """A child asks to be bound. `token` is the fence token it holds, 0 after a fresh start."""

    KIND: ClassVar[Kind] = Kind.HELLO
    fqcn: str
    instance: int
    token: int
    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX
    features: int = 0


@record
class Welcome:
    """The parent binds the child; the packet carries the link session. `fence` is the parent's own token."""

    KIND: ClassVar[Kind] = Kind.WELCOME
    fqcn: str
    instance: int
    fence: int
    token: int
    version: int
    root: str
    segment: int
    features: int = 0
    plane: str = ""
    succeeds: int = 0
    """1: another start of the child was bound here before, so its children may be about to come back to it."""


@record
class Attach:
    """The child adds its bulk connection to the session in the packet."""

    KIND: ClassVar[Kind] = Kind.ATTACH


@record
class Attached:
    """The bulk connection is bound."""

    KIND: ClassVar[Kind] = Kind.ATTACHED


@record
class Reset:
    """The session in the packet is not known here: say HELLO again."""

    KIND: ClassVar[Kind] = Kind.RESET


class ByeReason(IntEnum):
    """Why a link ends."""

    LEAVING = 1
    """The sender stops."""
    REPLACED = 2
    """A newer start holds your name: exit with status 75 and stay away."""
    REFUSED = 3
    """You may not be bound; the text says why. Try again later."""


@record
class Bye:
    """The link ends here."""

    KIND: ClassVar[Kind] = Kind.BYE
    reason: int
    text: str = ""


@record
class ByeAck:
    """The BYE was read; nothing more will come."""

    KIND: ClassVar[Kind] = Kind.BYE_ACK


@record
class Beat:
    """The reactor of the sender is alive. `echo` is the last number heard, held for `held` ms: the round trip."""

    KIND: ClassVar[Kind] = Kind.BEAT
    number: int
    echo: int = 0
    held: int = 0
    vouches: int = 0
    """1: the sender holds its own name, so nobody hears another start of a child that it has bound."""


@record
class Request:
    """Run the handler of (channel, topic) at most once per (origin, instance, id)."""

    KIND: ClassVar[Kind] = Kind.REQUEST
    origin: str
    fence: int
    instance: int
    id: int
    to_instance: int
    """On a DUP the instance that said it never saw the request; else 0."""
    attempt: int
    done_below: int
    """The origin has ended every request below this id, except those in `still_open`."""
    still_open: list[int]
    timeout: int
    """Milliseconds that the handler may take, from its start."""
    channel: str
    topic: str
    codec: int
    lengths: list[int]
    headers: dict[str, Any] = field(default_factory=dict)
    traceparent: str = ""


@record
class Reply:
    """How the request (to_instance, id) ended at `origin`."""

    KIND: ClassVar[Kind] = Kind.REPLY
    origin: str
    fence: int
    instance: int
    id: int
    to_instance: int
    code: str
    error: str
    codec: int
    lengths: list[int]
    headers: dict[str, Any] = field(default_factory=dict)


@record
class Fire:
    """Run the handler; nobody waits. May be lost."""

    KIND: ClassVar[Kind] = Kind.FIRE
    origin: str
    fence: int
    instance: int
    id: int
    channel: str
    topic: str
    codec: int
    lengths: list[int]
    headers: dict[str, Any] = field(default_factory=dict)
    traceparent: str = ""


@record
class Probe:
    """The origin still waits for these requests: what became of them?"""

    KIND: ClassVar[Kind] = Kind.PROBE
    origin: str
    fence: int
    instance: int
    id: int
    """Number of this PROBE, so that its RETURN ends nothing but what it asked for."""
    ids: list[int]


class Fate(IntEnum):
    """What a callee knows about a request."""

    QUEUED = 1
    RUNNING = 2
    DONE = 3
    """The reply goes out again."""
    NEVER = 4
    """It did not arrive at this instance."""
    FORGOTTEN = 5
    """It may have arrived: its entry would be dropped by now."""


@record
class Probed:
    """Answer to PROBE: per id [id, fate, ms since the handler started].

    `uptime`: milliseconds since which no other start of the callee could have run a request.
    """

    KIND: ClassVar[Kind] = Kind.PROBED
    origin: str
    fence: int
    instance: int
    id: int
    to_instance: int
    uptime: int
    fates: list[list[int]]


@record
class Cancel:
    """The origin no longer waits for request `id`."""

    KIND: ClassVar[Kind] = Kind.CANCEL
    origin: str
    fence: int
    instance: int
    id: int


class ReturnReason(IntEnum):
    """Why a cell could not pass a message on."""

    UNREACHABLE = 1
    """No route from here, or the peer is gone."""
    SUSPECTED = 2
    """The link broke less than `dead_after` ago: keep it and try again."""
    BUSY = 3
    """The send budget here is full."""
    NOT_UNDERSTOOD = 4
    """The kind is unknown here."""


@record
class Return:
    """A message came back: `origin` could not pass (kind, id, attempt) on to `targets`."""

    KIND: ClassVar[Kind] = Kind.RETURN
    origin: str
    fence: int
    instance: int
    id: int
    to_instance: int
    kind: int
    attempt: int
    """That of a REQUEST; the offset of a SEGMENT; else 0."""
    reason: int
    text: str
    targets: list[str]


@record
class Segment:
    """Bytes [offset, offset + length of the bodies) of the bodies of one message, of `total` bytes in all."""

    KIND: ClassVar[Kind] = Kind.SEGMENT
    origin: str
    fence: int
    instance: int
    id: int
    """Number of the flow at its origin."""
    offset: int
    total: int
    kind: int
    """Of the message that is carried."""
    flags: int
    """Those of the message that is carried."""
    header: bytes
    """Frame 2 of the message that is carried; only at offset 0, else empty."""
    lengths: list[int]
    holders: dict[str, Any] = field(default_factory=dict)
    """Only with the last bytes of what must run once: the instance of each target that has those before them. Another
    start of it must not take them."""


class FlowState(IntEnum):
    """What the target of a flow says with each SEGMENTED."""

    OPEN = 0
    """Go on."""
    GAP = 1
    """A segment is missing: go back to `received`."""
    COMPLETE = 2
    """The message is whole."""
    REFUSED = 3
    """It is not wanted, or there is no room; the text says why."""
    TOO_BIG = 4
    """It never will be taken; the text says why."""


@record
class Segmented:
    """The target of flow `id` of instance `to_instance` has its first `received` bytes."""

    KIND: ClassVar[Kind] = Kind.SEGMENTED
    origin: str
    fence: int
    instance: int
    id: int
    to_instance: int
    received: int
    state: int
    text: str = ""


Greeting = Hello | Attach
LinkMessage = Hello | Welcome | Attach | Attached | Reset | Bye | ByeAck | Beat
RoutedMessage = Request | Reply | Fire | Probe | Probed | Cancel | Return | Segment | Segmented
Message = LinkMessage | RoutedMessage

CLASSES: Mapping[int, type[Message]] = {
    cls.KIND: cls
    for cls in (
        Hello, Welcome, Attach, Attached, Reset, Bye, ByeAck, Beat,
        Request, Reply, Fire, Probe, Probed, Cancel, Return, Segment, Segmented,
    )
}  # fmt: skip


@record
class Delivery:
    """One row of the table in the module docstring."""

    lane: Lane | None
    """None: control up to `control_limit` bytes of body, else bulk."""
    resent_by: str
    dedupe: str
    bound: str


DELIVERY: Mapping[Kind, Delivery] = {
    Kind.HELLO: Delivery(Lane.CONTROL, "child, by timer", "instance", "one open per link"),
    Kind.WELCOME: Delivery(Lane.CONTROL, "parent, per HELLO", "session", "one per link"),
    Kind.ATTACH: Delivery(Lane.BULK, "child, by timer", "session", "one open per link"),
    Kind.ATTACHED: Delivery(Lane.BULK, "parent, per ATTACH", "session", "one per link"),
    Kind.RESET: Delivery(None, "nobody", "routing id", "one per routing id and heartbeat"),
    Kind.BYE: Delivery(Lane.CONTROL, "nobody", "-", "one per lane: leaving says it on both"),
    Kind.BYE_ACK: Delivery(Lane.CONTROL, "nobody", "-", "one per BYE"),
    Kind.BEAT: Delivery(Lane.CONTROL, "nobody", "-", "one per link and heartbeat"),
    Kind.REQUEST: Delivery(
        None, "origin, DUP set", "origin, instance, id", "1,024 entries, 8 MiB per origin at the callee"
    ),
    Kind.REPLY: Delivery(None, "callee, per PROBE", "caller instance, id", "kept with its request"),
    Kind.FIRE: Delivery(None, "nobody: may be lost", "-", "send budget"),
    Kind.PROBE: Delivery(Lane.CONTROL, "origin, each beat", "idempotent", "256 ids"),
    Kind.PROBED: Delivery(Lane.CONTROL, "nobody", "idempotent", "256 states"),
    Kind.CANCEL: Delivery(Lane.CONTROL, "nobody", "idempotent", "one per request and target"),
    Kind.RETURN: Delivery(Lane.CONTROL, "nobody", "attempt of the copy", "one per message that cannot go on"),
    Kind.SEGMENT: Delivery(
        Lane.BULK,
        "origin, go-back-N",
        "origin, instance, offset",
        "the flow's window, see `protocol/flow_sender.py`",
    ),
    Kind.SEGMENTED: Delivery(Lane.CONTROL, "nobody: cumulative", "idempotent", "one per segment"),
}
