"""The sticky props that all contexts of one manager share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Prop:
    """A value in a context, with its attributes."""

    value: Any
    private: bool
    sticky: bool

    @property
    def attributes(self) -> str:
        """The attributes as text, e.g. `private, sticky`."""
        return f"{'private' if self.private else 'public'}, {'sticky' if self.sticky else 'non-sticky'}"

    def is_alike(self, other: Prop) -> bool:
        """Whether both have the same attributes."""
        return (self.private, self.sticky) == (other.private, other.sticky)


class Stickers:
    """Sticky props by name. Safe in threads; a name in both arguments is private."""

    def __init__(self, public: Mapping[str, Any], private: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._props = {key: Prop(value, private=False, sticky=True) for key, value in public.items()}
        self._props |= {key: Prop(value, private=True, sticky=True) for key, value in private.items()}

    def __len__(self) -> int:
        return len(self._props)

    def find(self, key: str) -> Prop | None:
        """The prop of this name."""
        with self._lock:
            return self._props.get(key)

    def snapshot(self) -> dict[str, Prop]:
        """All of them, as they are at one moment."""
        with self._lock:
            return dict(self._props)

    def write(self, changes: Mapping[str, Prop]) -> list[str]:
        """Add or replace props, all in one step. Returns the names refused: they are here with another visibility."""
        refused: list[str] = []
        replaced: list[Prop | None] = []  # the old values go when the lock is free: they are the user's objects
        with self._lock:
            for key, prop in changes.items():
                old = self._props.get(key)
                if old is not None and old.private != prop.private:
                    refused.append(key)
                else:
                    replaced.append(old)
                    self._props[key] = prop
        return refused

    def remove(self, key: str) -> bool:
        """Remove a prop, for contexts made from now on; whether it was there."""
        with self._lock:
            old = self._props.pop(key, None)
        return old is not None

    def __repr__(self) -> str:
        return f"<Stickers {', '.join(self.snapshot()) or 'none'}>"
