"""Cards: what the federation's offline key says of a cell, and which of these words it has taken back.

    card          [1, FQCN, CURVE key, sealing key, serial, not after]     keys: 32 bytes; not after: Unix time, s
    revocations   [1, number, [serial, ...]]                               numbers rise; serials rise
    signed        [body, signature]                                        Ed25519 over what it is, and the body

Each is a msgpack array, and only one spelling of it is read: who has the same card has the same bytes. A serial is used
once, so a revoked one stays so. Signing is for `zmqfl provision`; cells only read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from zmqfl.errors import DecodeError
from zmqfl.fqcn import FQCN
from zmqfl.wire.noise import KEY
from zmqfl.wire.record import record

VERSION: Final = 1
MAX_CARD: Final = 1024
"""Bytes of a signed card: a name has at most 255."""
MAX_REVOKED: Final = 100_000
"""Serials in one list."""
LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999."""
_CARD: Final = b"zmqfl card\0"
_LIST: Final = b"zmqfl revocations\0"
_SIGNATURE: Final = 64


@record
class Card:
    """Cell `fqcn` has these public keys, until `not_after` (Unix time, seconds) or until `serial` is revoked."""

    fqcn: str
    curve: bytes
    seal: bytes
    serial: int
    not_after: int

    def problem(self, fqcn: str, now: float, revocations: Revocations) -> str:
        """Why this is not a valid card of cell `fqcn` at Unix time `now`; "" when it is."""
        if self.fqcn != fqcn:
            return f"the card is that of {self.fqcn}, not of {fqcn}"
        if self.serial in revocations.serials:
            return f"card {self.serial} of {fqcn} is revoked (list {revocations.number})"
        if now > self.not_after:
            return f"card {self.serial} of {fqcn} has expired: it was valid until {self.until}; renew it"
        return ""

    @property
    def until(self) -> str:
        """`not_after` for people."""
        return datetime.fromtimestamp(self.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")


@record
class Revocations:
    """The serials that are valid no more, as of list `number`; 0 is the empty list before the first."""

    number: int = 0
    serials: frozenset[int] = frozenset()


def sign_card(card: Card, authority: bytes) -> bytes:
    """A card as bytes, signed with the secret Ed25519 key of the federation."""
    return _sign(_CARD, [VERSION, card.fqcn, card.curve, card.seal, card.serial, card.not_after], authority)


def read_card(data: bytes, federation: bytes) -> Card:
    """The card in `data`, signed by the holder of the public key `federation`. Whether it is valid: see `Card.problem`.

    Raises `DecodeError` for anything else.
    """
    if len(data) > MAX_CARD:
        raise DecodeError(f"a card of {len(data)} bytes; at most {MAX_CARD}")
    match _verified(_CARD, data, federation, "card"):
        case [1, str() as fqcn, bytes() as curve, bytes() as seal, int() as serial, int() as not_after]:
            card = Card(fqcn, curve, seal, serial, not_after)
        case _:
            raise DecodeError(f"is no card of version {VERSION}")
    if problem := FQCN.validate(card.fqcn):
        raise DecodeError(f"the card's name {card.fqcn!r:.80} is none: {problem}")
    if len(curve) != KEY or len(seal) != KEY:
        raise DecodeError(f"the card of {fqcn} has keys of {len(curve)} and {len(seal)} bytes, not of {KEY}")
    if not (_is_serial(serial) and _is_count(not_after) and not_after <= LAST_SECOND):
        raise DecodeError(f"the card of {fqcn} has a serial or an end that cannot be")
    return card


def sign_revocations(revocations: Revocations, authority: bytes) -> bytes:
    """A list as bytes, signed with the secret Ed25519 key of the federation."""
    return _sign(_LIST, [VERSION, revocations.number, sorted(revocations.serials)], authority)


def read_revocations(data: bytes, federation: bytes) -> Revocations:
    """The list in `data`, signed by the holder of the public key `federation`. Raises `DecodeError`."""
    match _verified(_LIST, data, federation, "list of revocations"):
        case [1, int() as number, list() as serials] if len(serials) <= MAX_REVOKED:
            pass
        case _:
            raise DecodeError(f"is no list of revocations of version {VERSION}")
    if not _is_serial(number) or not all(_is_serial(each) for each in serials) or serials != sorted(set(serials)):
        raise DecodeError("is a list of revocations whose numbers are out of order")
    return Revocations(number, frozenset(serials))


def _sign(kind: bytes, values: list[Any], authority: bytes) -> bytes:
    body = msgpack.packb(values)
    signature = Ed25519PrivateKey.from_private_bytes(authority).sign(kind + body)
    signed: bytes = msgpack.packb([body, signature])
    return signed


def _verified(kind: bytes, data: bytes, federation: bytes, what: str) -> Any:
    """The values in `data`, if the federation has signed them as this kind of thing."""
    match _unpack(data, what):
        case [bytes() as body, bytes() as signature] if len(signature) == _SIGNATURE:
            pass
        case _:
            raise DecodeError(f"is no signed {what}")
    try:
        Ed25519PublicKey.from_public_bytes(federation).verify(signature, kind + body)
    except ValueError:
        raise DecodeError(f"a federation key of {len(federation)} bytes is none") from None
    except InvalidSignature:
        raise DecodeError(f"this {what} is not signed by the key of this federation") from None
    return _unpack(body, what)


def _unpack(data: bytes, what: str) -> Any:
    try:
        values = msgpack.unpackb(data)
    except Exception as error:  # noqa: BLE001  msgpack raises six types
        raise DecodeError(f"is no {what}: {type(error).__name__}") from None
    if msgpack.packb(values) != data:
        raise DecodeError(f"is no {what}: it is spelled in another way")
    return values


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_serial(value: object) -> bool:
    return type(value) is int and 0 < value < 2**63
