"""What the verbs of transfers have in common: their defaults, who they are for, and what an offer is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from zmqfl.cell.offering import Transaction
from zmqfl.config import MIB
from zmqfl.errors import ArgumentError, CellReturnCode
from zmqfl.fqcn import parse
from zmqfl.protocol.commands import Outcome
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC

CHUNK: Final = 1 * MIB
"""Bytes of a chunk (seed 000)."""
CHUNK_TIMEOUT: Final = 30.0
"""Seconds that a transfer may be without progress."""
OFFER_TIMEOUT: Final = 3600.0
"""Seconds without activity after which an offer ends."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A file or an object that others may pull. `withdraw` ends it."""

    rid: str
    owner: str
    name: str
    size: int
    transaction: Transaction

    def withdraw(self) -> None:
        """Offer it no longer; who is pulling it gets an error."""
        self.transaction.end()

    def __enter__(self) -> Offer:
        return self

    def __exit__(self, *_: object) -> None:
        self.withdraw()


def targets_of(to: str | Iterable[str]) -> tuple[str, ...]:
    """The names in `to`, each once. Raises `ArgumentError` when there are none, `FqcnError` for what is no name."""
    names = (to,) if isinstance(to, str) else tuple(dict.fromkeys(to))
    if not names:
        raise ArgumentError("there are no targets; name at least one cell")
    return tuple(parse(name, "to") for name in names)


def check_chunk(size: int) -> int:
    """`size`, if it is that of a chunk. Raises `ArgumentError`."""
    if size <= 0:
        raise ArgumentError(f"chunk_size must be a number of bytes above 0, not {size}")
    return size


def reply_of(value: Any) -> Outcome:
    """What a callback at the end of a stream has given, for the owner. Raises `EncodeError`."""
    bodies = () if value is None else tuple(payload.encode(value))
    return Outcome(CellReturnCode.OK, "", PAYLOAD_CODEC, {}, bodies)
