"""The federation's own folder: it signs cards and revokes them. It stays offline; no site needs it.

    DIR/federation.secret   secret Ed25519 key; mode 0600; whoever has it can be every site
    DIR/federation.key      its public key; a copy is in the folder of each site
    DIR/revocations         the newest list
    DIR/issued              one line per card ever signed: serial, FQCN, not after, CURVE key

A serial is used once. All keys of a revoked card stay revoked: a site that lost its keys gets new ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from zmq.utils import z85

from zmqfl.errors import KeyFileError, UserError
from zmqfl.transport import cards
from zmqfl.transport.keys import malformed, read_text, write_file
from zmqfl.wire.card import Card, Revocations, sign_card, sign_revocations
from zmqfl.wire.noise import KEY

DAY: Final = 86_400
"""Seconds."""


class Authority:
    """Opens the folder, or makes it with a new key: `chance` is 32 random bytes for that. Raises `KeyFileError`."""

    def __init__(self, folder: Path, chance: bytes) -> None:
        self.folder = folder
        file = folder / "federation.secret"
        if file.exists():
            self._secret = cards.read(file, private=True)
            if len(self._secret) != KEY:
                raise malformed(file, f"is a key of {len(self._secret)} bytes, not of {KEY}")
        elif cards.federation_file(folder).exists() or self._register.exists():
            remedy = "bring it back from where you keep it: a new one would not be believed"
            raise KeyFileError("the secret key of this federation is not here", file=str(file), remedy=remedy)
        else:
            self._secret = chance
            about = "Secret key of the federation: keep it offline, and give it to nobody."
            cards.write(file, chance, about, private=True, replace_old=False)
        self.public = Ed25519PrivateKey.from_private_bytes(self._secret).public_key().public_bytes_raw()
        self.issued = self._read_register()
        """All cards ever signed; their sealing keys are not kept."""
        if cards.revocations_file(folder).exists():
            self.revocations = cards.load_revocations(folder, self.public)
        else:
            self.revocations = Revocations(1)
            self._write_revocations()
        self.write_public(folder)

    @property
    def _register(self) -> Path:
        return self.folder / "issued"

    def issue(self, fqcn: str, curve: bytes, seal: bytes, not_after: int) -> tuple[Card, bytes]:
        """A card for these keys, and the same signed. `not_after`: Unix time, seconds. `save` must follow."""
        serial = max((card.serial for card in self.issued), default=0) + 1
        card = Card(fqcn, curve, seal, serial, not_after)
        self.issued.append(card)
        return card, sign_card(card, self._secret)

    def save(self) -> None:
        """Write down what was issued, before any card is used: a serial must not come twice."""
        lines = [f"{c.serial} {c.fqcn} {c.not_after} {z85.encode(c.curve).decode()}" for c in self.issued]
        self._write(self._register, "\n".join(["# serial, name, not after, CURVE key", *lines, ""]))

    def revoke(self, names: Iterable[str]) -> list[Card]:
        """Take back all cards of these cells, by the next list. Returns those cards; raises `UserError`."""
        wanted = set(names)
        if unknown := sorted(wanted - {card.fqcn for card in self.issued}):
            remedy = f"cards have: {', '.join(sorted({card.fqcn for card in self.issued})[:10]) or 'none yet'}"
            raise UserError(f"no card was ever made for {unknown[0]!r}", field="--revoke", remedy=remedy)
        taken = [card for card in self.issued if card.fqcn in wanted]
        serials = self.revocations.serials | {card.serial for card in taken if not self.is_revoked(card.curve)}
        if serials != self.revocations.serials:
            self.revocations = Revocations(self.revocations.number + 1, serials)
            self._write_revocations()
        return taken

    def is_revoked(self, curve: bytes) -> bool:
        """Whether a card with this CURVE key was revoked: no other is made for it."""
        return any(card.curve == curve and card.serial in self.revocations.serials for card in self.issued)

    def revoked(self) -> list[Card]:
        """The cards that were taken back."""
        return [card for card in self.issued if card.serial in self.revocations.serials]

    def write_public(self, folder: Path) -> None:
        """What every site must have of the federation: its public key, and the newest list."""
        cards.write(cards.federation_file(folder), self.public, "Public key of the federation.")
        if folder != self.folder:
            self._write_list(folder)

    def _write_revocations(self) -> None:
        self._write_list(self.folder)

    def _write_list(self, folder: Path) -> None:
        about = f"List {self.revocations.number} of revoked cards: {len(self.revocations.serials)} of them."
        cards.write(cards.revocations_file(folder), sign_revocations(self.revocations, self._secret), about)

    def _read_register(self) -> list[Card]:
        found: list[Card] = []
        for number, line in enumerate(read_text(self._register, missing="").splitlines(), start=1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                serial, fqcn, not_after, curve = line.split()
                found.append(Card(fqcn, z85.decode(curve), b"", int(serial), int(not_after)))
            except (ValueError, KeyError):
                raise malformed(self._register, f"line {number} is no card") from None
        return found

    def _write(self, file: Path, text: str) -> None:
        try:
            write_file(file, text, 0o600, replace_old=True)
        except OSError as error:
            remedy = "name a folder that you may write to"
            raise KeyFileError(f"cannot be written: {error.strerror}", file=str(file), remedy=remedy) from None

    def __repr__(self) -> str:
        return f"<Authority {self.folder}: {len(self.issued)} cards, list {self.revocations.number}>"
