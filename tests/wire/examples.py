"""One representative message of each kind, and its frames as text.

The text is what `golden/KIND.txt` holds: a comment, then one line per frame, `name hex hex ...`; the hop header is
split where `zmqfl/wire/codec.py` says, so that a difference names its field.
"""

from __future__ import annotations

from itertools import pairwise

from zmqfl.wire.codec import encode_header, encode_packet
from zmqfl.wire.messages import (
    Attach,
    Attached,
    Beat,
    Buffer,
    Bye,
    ByeAck,
    ByeReason,
    Cancel,
    Fate,
    Fire,
    Flag,
    FlowState,
    Hello,
    Kind,
    Lane,
    Message,
    Packet,
    Probe,
    Probed,
    Reply,
    Request,
    Reset,
    Return,
    ReturnReason,
    Segment,
    Segmented,
    Welcome,
)

FIELDS = {
    "magic": 2, "major": 1, "kind": 1, "flags": 2, "hops": 1, "lane": 1, "session": 8, "remaining": 4,
    "targets_len": 4, "route_len": 2, "sequence": 6,
}  # fmt: skip
"""The hop header, in order, with sizes in bytes."""

SESSION = 0x1122334455667788
ME = ("relay-a.site-1", 1_700_000_000_123, 0x0102030405060708)
"""Origin, fence token, instance."""

MESSAGES: dict[Kind, Message] = {
    message.KIND: message
    for message in (
        Hello("relay-a.site-1", 0x0102030405060708, 1_700_000_000_123),
        Welcome("relay-a", 77, 1_700_000_000_001, 1_700_000_000_123, 1, "server", 1 << 20, 0, "tcp://10.0.0.1:8003", 1),
        Attach(),
        Attached(),
        Reset(),
        Bye(ByeReason.LEAVING, "relay-a has stopped"),
        ByeAck(),
        Beat(41, 40, 250, 1),
        Request(
            *ME, 300, 0, 1, 299, [7, 290], 60_000, "task", "train", 1, [5, 0], {"round": 3},
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        Reply("server", 1_700_000_000_001, 99, 300, ME[2], "process_exception", "ValueError: no", 1, [3], {"a": None}),
        Fire(*ME, 301, "log", "line", 1, [2], {}, ""),
        Probe(*ME, 0, [300, 302]),
        Probed(
            "server", 1_700_000_000_001, 99, 0, ME[2], 86_400_000, [[300, Fate.RUNNING, 1500], [302, Fate.NEVER, 0]]
        ),
        Cancel(*ME, 300),
        Return(
            "relay-a", 1_700_000_000_002, 77, 300, ME[2], Kind.REQUEST, 1, ReturnReason.SUSPECTED,
            "the link to server is broken", ["server", "site-4"],
        ),
        Segment(*ME, 12, 0, 9, Kind.FIRE, Flag.NONE, encode_header(Fire(*ME, 301, "log", "line", 1, [9], {}, "")), [5]),
        Segmented("server", 1_700_000_000_001, 99, 12, ME[2], 5, FlowState.GAP, ""),
    )
}  # fmt: skip

BODIES: dict[Kind, tuple[Buffer, ...]] = {
    Kind.REQUEST: (b"hello", b""),
    Kind.REPLY: (b"bye",),
    Kind.FIRE: (b"\x00\xff",),
    Kind.SEGMENT: (b"hello",),
}
FLAGS = {Kind.REQUEST: Flag.MUST_UNDERSTAND, Kind.PROBE: Flag.PATIENT}
BULK = (Kind.ATTACH, Kind.ATTACHED)


def example(kind: Kind) -> Packet:
    """The packet of that message on a link: a routed one has passed its origin."""
    header, bodies, flags = encode_header(MESSAGES[kind]), BODIES.get(kind, ()), FLAGS.get(kind, Flag.NONE)
    session = 0 if kind is Kind.HELLO else SESSION
    if kind < Kind.REQUEST:
        return Packet(kind, header, lane=Lane.BULK if kind in BULK else Lane.CONTROL, session=session)
    targets = ("server", "relay-b.site-3") if kind is Kind.REQUEST else ("server",)
    remaining = 30_000 if kind is Kind.REQUEST else 0xFFFFFFFF
    return Packet(
        kind, header, bodies, targets, flags, Lane.CONTROL, 16, session, remaining, ("relay-a.site-1",), 0x0102030405
    )


def text_of(kind: Kind) -> str:
    """The golden text of a kind."""
    hop, header, *bodies = (bytes(frame) for frame in encode_packet(example(kind)))
    ends = [sum([*FIELDS.values()][:i]) for i in range(len(FIELDS) + 1)]
    lines = [f"# {MESSAGES[kind]!r}"]
    lines += [f"hop.{name} {hop[a:b].hex()}" for name, (a, b) in zip(FIELDS, pairwise(ends), strict=True)]
    lines += [f"hop.names {hop[ends[-1] :].hex()}", f"header {header.hex()}"]
    lines += [f"body {body.hex()}" for body in bodies]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def frames_of(text: str) -> list[bytes]:
    """The frames that a golden text spells."""
    frames: list[bytes] = [b""]
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith("hop."):
            frames[0] += bytes.fromhex(value)
        elif name != "#":
            frames.append(bytes.fromhex(value))
    return frames
