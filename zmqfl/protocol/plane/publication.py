"""What goes between the XPUB of a cell and the XSUBs of its children: tickets up, publications down.

    ticket       1, "zmqfl/SESSION/NAME"                one frame; 0 instead of 1: it is given back
    publication  topic, numbers, facts ...              numbers: the headers of an update without its topic

A ticket takes the place of a subscription. The session is that of the child's link, 16 hex digits that nobody knows but
the two: so it proves membership also where no keys do. What the child may hear the parent decides, not the ticket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from zmqfl.errors import DecodeError
from zmqfl.fqcn import FQCN
from zmqfl.wire import payload
from zmqfl.wire.messages import Buffer
from zmqfl.wire.record import record

MAX_TICKET = 512
"""Bytes: the longest name, the session, and some room."""
_TICKET: Final = re.compile(rb"([\x00\x01])zmqfl/([0-9a-f]{16})/([A-Za-z0-9_.~-]+)")


@record
class Ticket:
    """A child shows where it is bound. `is_given_back`: it listens no longer, or its connection has ended."""

    name: str
    session: int
    is_given_back: bool = False


def encode_ticket(ticket: Ticket) -> bytes:
    """The frame."""
    return b"%czmqfl/%016x/%s" % (0 if ticket.is_given_back else 1, ticket.session, ticket.name.encode())


def decode_ticket(frame: bytes) -> Ticket | None:
    """The ticket in a frame; None for anything else."""
    match = _TICKET.fullmatch(frame)
    if match is None or FQCN.validate(name := match[3].decode()):
        return None
    return Ticket(name, int(match[2], 16), match[1] == b"\0")


def encode_publication(topic: str, headers: Mapping[str, Any], bodies: Sequence[Buffer]) -> list[Buffer]:
    """The frames. Subscriptions compare the first bytes of the first one, so it is the topic and nothing else."""
    numbers = {name: value for name, value in headers.items() if name != "t"}
    return [topic.encode(), *payload.encode(numbers), *bodies]


def decode_publication(frames: Sequence[Buffer]) -> tuple[dict[str, Any], tuple[Buffer, ...]]:
    """Headers, the topic among them, and bodies. Raises `DecodeError`."""
    if len(frames) < 3:
        raise DecodeError(f"a publication of {len(frames)} frames; at least 3")
    try:
        topic = bytes(frames[0]).decode()
    except UnicodeDecodeError:
        raise DecodeError("the topic of a publication is not UTF-8") from None
    match payload.decode(frames[1:2]):
        case dict(numbers):
            return {**numbers, "t": topic}, tuple(frames[2:])
    raise DecodeError("a publication has no numbers")
