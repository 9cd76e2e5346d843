"""Whose keys a cell accepts, and no longer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zmqfl.errors import UserError
from zmqfl.transport import keys as key_files
from zmqfl.transport.keys import Keys

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls
    from zmqfl.transport.reactor import Reactor


class KeyVerbs:
    """Mixed into `Cell`."""

    if TYPE_CHECKING:
        fqcn: str
        _keys: Keys | None
        _key_folder: Path | None
        _seals: SealedCalls | None
        _reactor: Reactor

    def reload_keys(self, folder: str | Path | None = None, names: Iterable[str] | None = None) -> None:
        """Read the allow list again; peers whose key is no longer in it are cut off at once.

        `folder`: where, if not in the folder that the cell was made with. `names`: the only ones to be let in; None =
        all whose keys are in the folder. Raises `KeyFileError`, and `UserError`.
        """
        if self._keys is None:
            raise UserError(f"cell {self.fqcn} has no keys", field="keys")
        folder = self._key_folder if folder is None else Path(folder)
        if folder is None:
            raise UserError(f"cell {self.fqcn} was given keys, not their folder", field="keys", remedy="name a folder")
        allowed, chosen = key_files.load_allowed(folder), None if names is None else set(names)
        sealing = key_files.load_sealing(folder, self.fqcn, self._keys.public)
        if self._seals is not None and sealing is not None:
            self._seals.sealing.reload(sealing)
        self._keys = replace(
            self._keys, allowed={name: key for name, key in allowed.items() if chosen is None or name in chosen}
        )
        self._reactor.set_allowed(self._keys.allowed)

    def revoke(self, name: str) -> None:
        """Accept the key of `name` no longer: it is cut off at once and not bound again."""
        if self._keys is None:
            raise UserError(f"cell {self.fqcn} has no keys", field="keys")
        self._keys = self._keys.without(name)
        if self._seals is not None:
            self._seals.sealing.refuse(name)
        self._reactor.set_allowed(self._keys.allowed)
