"""Who a cell is and where it is, from what the user gave: addresses and keys."""

from __future__ import annotations

from pathlib import Path

from zmqfl.fqcn import FQCN
from zmqfl.transport import keys as key_files
from zmqfl.transport.endpoint import Endpoint, check_open
from zmqfl.transport.keys import Keys


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
