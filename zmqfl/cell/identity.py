"""Who a cell is and where it is, from what the user gave: addresses and keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Command
from zmqfl.protocol.node import Node
from zmqfl.transport import keys as key_files
from zmqfl.transport.endpoint import Endpoint, check_open
from zmqfl.transport.keys import Keys

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls


def endpoint_of(url: str, field: str, secured: bool, trusted_network: bool) -> Endpoint:
    """The address in `url`. Raises `UserError` for a bad one, and for one that would be open to others."""
    endpoint = Endpoint.parse(url, field)
    check_open(endpoint, secured, trusted_network, field)
    return endpoint


def keys_of(fqcn: str, keys: Keys | str | Path | None, parent: Endpoint | None) -> Keys | None:
    """The keys themselves, or those in a folder. Raises `KeyFileError`."""
    if keys is None or isinstance(keys, Keys):
        return keys
    above = None if parent is None else FQCN.get_parent(fqcn) or FQCN.ROOT_SERVER
    return key_files.load(Path(keys), fqcn, above)


def known_key(keys: Keys | None, name: str, parent: str) -> bytes | None:
    """The CURVE key (Z85) that a cell with these keys, below `parent`, has of another."""
    if keys is None:
        return None
    return keys.allowed.get(name) or (keys.parent_public if name == parent else None)


def seals_of(
    node: Node,
    keys: Keys | None,
    known: Callable[[str], bytes | None],
    submit: Callable[[Callable[[float], list[Command]]], None],
    run: Callable[[Callable[[], None]], None],
    clock: Callable[[], float],
    wall: Callable[[], float],
) -> SealedCalls | None:
    """What seals the messages of a cell; None without a card. See `Sealing` and `Trust` for the arguments."""
    if keys is None or keys.sealing is None:
        return None
    from zmqfl.cell.seal_trust import Trust  # these cost 8 MiB, and most cells need none of it
    from zmqfl.cell.sealed_calls import SealedCalls
    from zmqfl.cell.sealing import Sealing

    trust = Trust(node.fqcn, keys.sealing, known, wall)
    return SealedCalls(node, Sealing(node, trust, submit, run, clock))


def no_card(fqcn: str) -> str:
    """What is said to who wants something sealed by a cell without a card."""
    return f"secure=True needs a card, and {fqcn} has none: make it by `zmqfl provision`; nothing was sent"
