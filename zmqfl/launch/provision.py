"""What `zmqfl provision` does: for each site of a topology a folder with its own keys and card, and nothing of others'.

    OUT/FQCN/private/   its CURVE and sealing keys; mode 0600; nowhere else
    OUT/FQCN/public/    the public CURVE keys of itself, its parent and its children
    OUT/FQCN/cards/     its card
    OUT/FQCN/...        federation.key, revocations, revoked

A second run keeps the keys that are there, gives every site a new card, and makes what new sites need. It can do so
without the secret keys of a site whose folder was moved to its machine: the public key and the old card are enough.
Source: design, decision 11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from zmqfl.errors import DecodeError, KeyFileError
from zmqfl.topology import tree
from zmqfl.topology.schema import Topology
from zmqfl.transport import cards
from zmqfl.transport import keys as key_files
from zmqfl.transport.authority import DAY, Authority
from zmqfl.wire.card import Card, read_card
from zmqfl.wire.noise import KEY, public_of

Chance = Callable[[int], bytes]
"""Gives so many random bytes."""


@dataclass(slots=True)
class Provisioned:
    """What was done, by FQCN."""

    made: list[str] = field(default_factory=list)
    """New keys and a card."""
    renewed: list[str] = field(default_factory=list)
    """A new card for the keys that were there."""
    revoked: list[str] = field(default_factory=list)
    """No card: these keys are revoked. Remove the folder to have new ones made."""
    revocations: int = 0
    """Number of the newest list of revocations."""


def neighbours(topology: Topology) -> dict[str, list[str]]:
    """FQCN of each process -> those whose keys it needs: its parent and its children. Parents come first."""
    found: dict[str, list[str]] = {}
    for name in tree.top_down(topology):
        parent = topology.sites[name].parent
        above = [tree.fqcn(topology, parent, each) for each in tree.instances(topology, parent)] if parent else []
        for instance in tree.instances(topology, name):
            fqcn = tree.fqcn(topology, name, instance)
            found[fqcn] = list(above)
            for each in above:
                found[each].append(fqcn)
    return found


def provision(
    sites: dict[str, list[str]], folder_of: Callable[[str], Path], authority: Authority, not_after: int, chance: Chance
) -> Provisioned:
    """Make or renew what each of `sites` needs (see `neighbours`) in the folder of each. `not_after`: of the new cards,
    Unix time in seconds. Raises `KeyFileError`."""
    done = Provisioned(revocations=authority.revocations.number)
    issued: list[tuple[str, Card, bytes]] = []
    for fqcn in sites:
        keys = _existing(fqcn, folder_of(fqcn), authority.public)
        (done.renewed if keys else done.made).append(fqcn)
        curve, seal = keys or _make(fqcn, folder_of(fqcn), chance)
        if authority.is_revoked(curve):
            done.renewed.remove(fqcn)
            done.revoked.append(fqcn)
            continue
        issued.append((fqcn, *authority.issue(fqcn, curve, seal, not_after)))
    authority.save()
    for fqcn, card, signed in issued:
        about = f"Card {card.serial} of cell {fqcn}, valid until {card.until}."
        cards.write(cards.card_file(folder_of(fqcn), fqcn), signed, about)
    revoked = {key_files.spelled(card.curve): f"{card.fqcn}, card {card.serial}" for card in authority.revoked()}
    for fqcn, others in sites.items():
        for other in others:
            key_files.copy_public(other, folder_of(other), folder_of(fqcn))
        authority.write_public(folder_of(fqcn))
        key_files.revoke(folder_of(fqcn), revoked)
    return done


def not_after(now: float, days: float) -> int:
    """When cards end that are made now."""
    return round(now + days * DAY)


def _existing(fqcn: str, folder: Path, federation: bytes) -> tuple[bytes, bytes] | None:
    """(CURVE key, sealing key), public, of a site that has them; None for a new one."""
    file = cards.secret_file(folder, fqcn)
    has_curve = (folder / "private" / f"{fqcn}{key_files.SECRET}").exists()
    if file.exists() and has_curve:
        return key_files.raw(key_files.load_public(folder, fqcn)), public_of(cards.read(file, private=True))
    card = cards.card_file(folder, fqcn)
    if has_curve or not card.exists():
        return None
    try:
        old = read_card(cards.read(card), federation)
    except DecodeError as error:
        raise KeyFileError(str(error), file=str(card), remedy="bring back its keys, or remove its folder") from None
    if old.fqcn != fqcn or key_files.spelled(old.curve) != key_files.load_public(folder, fqcn):
        remedy = "bring back its keys, or remove its folder"
        raise KeyFileError(f"is no card of the public key of {fqcn}", file=str(card), remedy=remedy)
    return old.curve, old.seal


def _make(fqcn: str, folder: Path, chance: Chance) -> tuple[bytes, bytes]:
    """Make what is missing of the keys of a site. Returns both public ones."""
    if not (folder / "private" / f"{fqcn}{key_files.SECRET}").exists():
        key_files.generate(fqcn, folder)
    secret = chance(KEY)
    about = f"Secret sealing key of cell {fqcn}: give it to nobody."
    cards.write(cards.secret_file(folder, fqcn), secret, about, private=True)
    return key_files.raw(key_files.load_public(folder, fqcn)), public_of(secret)
