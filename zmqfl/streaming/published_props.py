"""Public sticky props of a process, on the plane: what is in the manager of its contexts, everybody can read.

    sticky prop that got to the manager     effect at all cells
    public, and it can travel               `cell.props.get(this cell, key)`
    public, and it cannot, or is too large  not there, nor its former value; a warning here names it
    private, or removed                     not there any more

Source: design, decision 26.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from zmqfl.cell.props import Props
from zmqfl.context.keys import NON_SERIALIZABLE_KEYS
from zmqfl.context.stickers import Stickers
from zmqfl.errors import ArgumentError, ClosedError, EncodeError

log = logging.getLogger("zmqfl.context")


class PublishedProps:
    """See the module. `props`: of the cell. Props of the same names that others set there are not withdrawn."""

    def __init__(self, props: Props, stickers: Stickers) -> None:
        self._props = props
        self._stickers = stickers
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def sync(self, keys: Iterable[str]) -> None:
        """These sticky props have changed. Raises nothing: what cannot be published costs a warning."""
        with self._lock:  # whoever comes last reads what was written last
            for key in keys:
                try:
                    self._sync(key)
                except ClosedError:
                    return  # with its cell everything that it said is over

    def _sync(self, key: str) -> None:
        prop = self._stickers.find(key)
        if prop is not None and not prop.private and key not in NON_SERIALIZABLE_KEYS:
            try:
                self._props.set(key, prop.value)
            except (ArgumentError, EncodeError) as error:
                log.warning("public prop %r is not published, make it private or change its value: %s", key, error)
            else:
                self._said.add(key)
                return
        if key in self._said:
            self._props.remove(key)
            self._said.discard(key)

    def __repr__(self) -> str:
        return f"<PublishedProps {', '.join(sorted(self._said)) or 'none'}>"
