"""Files for `secure=True`: a site's sealing key and card, and what it believes cards by. `zmqfl provision` makes them.

    FOLDER/private/NAME.seal_secret   secret X25519 key; mode 0600; never leaves the machine
    FOLDER/cards/NAME.card            what the federation says of NAME: see `zmqfl.wire.card`
    FOLDER/federation.key             public Ed25519 key of the federation
    FOLDER/revocations                the newest list of cards that are valid no more

Each file is base64 text of the bytes; lines that begin with `#` are for people. The cell gets the cards of others from
them, when it needs them: only its own is in its folder.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zmqfl.errors import DecodeError, KeyFileError
from zmqfl.transport.keys import load_revoked, malformed, read_text, write_file
from zmqfl.wire.card import Card, Revocations, read_card, read_revocations
from zmqfl.wire.noise import KEY, public_of

REMEDY: Final = "run `zmqfl provision` again, and copy the site's folder anew"
_COLUMNS: Final = 76


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """What a cell proves itself by end to end, and judges the cards of others by. Keys are 32 bytes."""

    card: Card
    signed: bytes
    """The card as it is shown to others."""
    secret: bytes = field(repr=False)
    federation: bytes
    revocations: Revocations
    refused: frozenset[str] = frozenset()
    """Names and CURVE keys (Z85) of cells that are not believed, whatever their cards say."""


def card_file(folder: Path, name: str) -> Path:
    """Where the card of `name` is."""
    return folder / "cards" / f"{name}.card"


def secret_file(folder: Path, name: str) -> Path:
    """Where the sealing key of `name` is."""
    return folder / "private" / f"{name}.seal_secret"


def federation_file(folder: Path) -> Path:
    """Where the public key of the federation is."""
    return folder / "federation.key"


def revocations_file(folder: Path) -> Path:
    """Where the newest list of revocations is."""
    return folder / "revocations"


def load(folder: Path, name: str, curve: bytes) -> SealingKeys:
    """The sealing key and card of cell `name`, whose CURVE key this is. Raises `KeyFileError`.

    A card that has expired or is revoked is no error here: the cell works, but `secure=True` does not.
    """
    secret = _key(secret_file(folder, name), private=True)
    federation = load_federation(folder)
    file = card_file(folder, name)
    signed = read(file)
    try:
        card = read_card(signed, federation)
    except DecodeError as error:
        raise KeyFileError(str(error), file=str(file), remedy=REMEDY) from None
    if card.fqcn != name:
        raise KeyFileError(f"is the card of {card.fqcn!r}", file=str(file), remedy="give it its own name again")
    for what, mine, theirs in (("CURVE", curve, card.curve), ("sealing", public_of(secret), card.seal)):
        if mine != theirs:
            raise KeyFileError(f"was made for another {what} key of {name}", file=str(file), remedy=REMEDY)
    return SealingKeys(
        card, signed, secret, federation, load_revocations(folder, federation), load_revoked(folder)
    )  # fmt: skip


def load_federation(folder: Path) -> bytes:
    """The public key of the federation. Raises `KeyFileError`."""
    return _key(federation_file(folder))


def load_revocations(folder: Path, federation: bytes) -> Revocations:
    """The list in FOLDER/revocations. Raises `KeyFileError`, also when there is none: without it all were valid."""
    file = revocations_file(folder)
    try:
        return read_revocations(read(file), federation)
    except DecodeError as error:
        raise KeyFileError(str(error), file=str(file), remedy=REMEDY) from None


def read(file: Path, private: bool = False) -> bytes:
    """The bytes in such a file. Raises `KeyFileError`."""
    try:
        text = read_text(file, private)
    except KeyFileError as error:
        if file.exists():
            raise
        raise KeyFileError(error.problem, file=error.file, remedy=REMEDY) from None
    lines = [line.strip() for line in text.splitlines()]
    try:
        return base64.b64decode("".join(line for line in lines if not line.startswith("#")), validate=True)
    except binascii.Error:
        raise malformed(file, "is no base64 text") from None


def write(file: Path, data: bytes, about: str, *, private: bool = False, replace_old: bool = True) -> None:
    """Write such a file, whole or not at all; `about` is for people. Raises `KeyFileError`."""
    text = base64.b64encode(data).decode()
    lines = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if private:
            file.parent.chmod(0o700)
        write_file(file, "\n".join([f"# {about}", *lines, ""]), 0o600 if private else 0o644, replace_old=replace_old)
    except OSError as error:
        remedy = "name a folder that you may write to"
        raise KeyFileError(f"cannot be written: {error.strerror}", file=str(file), remedy=remedy) from None


def _key(file: Path, private: bool = False) -> bytes:
    key = read(file, private)
    if len(key) != KEY:
        raise malformed(file, f"is a key of {len(key)} bytes, not of {KEY}")
    return key
