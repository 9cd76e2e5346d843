"""Whom a pull asks for its chunks: the parent, where it keeps chunks of what comes from the owner, or the owner itself.

Each is told with every GET and HAVE what it is still expected to send. A chunk that the cache gave damaged is asked of
the owner; after some of those, and whenever the cache refuses or is silent, everything is.
"""

from __future__ import annotations

from typing import Any

from zmqfl.protocol.commands import Ask, Command
from zmqfl.protocol.pull_source import CHANNEL, DONE, FOREVER, GET, HAVE

MOST_DAMAGED = 3
"""Damaged chunks after which a cache is left."""


class PullAsks:
    """See the module. `machine`: who is told of the answers; `id`: its number."""

    def __init__(self, machine: Any, id: int, owner: str, rid: str) -> None:
        self.cache = ""
        """The parent that is asked for what follows; "": the owner is."""
        self.fingerprint = ""
        """Of the content that is wanted, and no other by the same reference."""
        self.asked: dict[int, bool] = {}
        """Chunk -> whether the cache was asked for it."""
        self._machine = machine
        self._id = id
        self._owner = owner
        self._rid = rid
        self._used = ""
        """The cache that was ever asked."""
        self._damaged: set[int] = set()

    def get(self, index: int) -> Command:
        """Ask for a chunk."""
        is_cached = bool(self.cache) and index not in self._damaged
        if is_cached:
            self._used = self.cache
        self.asked[index] = is_cached
        headers = {"i": index, "w": self._waits_for(is_cached), "z": 1}
        return self._ask(index, is_cached, GET, headers, FOREVER)

    def have(self, timeout: float) -> list[Command]:
        """Say what is waited for to everybody of whom that is."""
        return [
            self._ask("have", is_cached, HAVE, {"w": self._waits_for(is_cached)}, timeout)
            for is_cached in dict.fromkeys(self.asked.values())
        ]

    def done(self, status: str, timeout: float) -> list[Command]:
        """Tell the owner how it has ended; a cache need not keep anything for us, and whether it hears is all one."""
        said: list[Command] = [self._ask("done", False, DONE, {"s": status}, timeout)]
        return [*said, self._ask("left", True, DONE, {"s": status}, timeout)] if self._used else said

    def forget(self, index: int) -> bool:
        """This request has ended. Returns whether it was of the cache."""
        return self.asked.pop(index)

    def take_back(self) -> list[int]:
        """Nothing is waited for any more: the chunks that were."""
        chunks = list(self.asked)
        self.asked.clear()
        return chunks

    def damage(self, index: int) -> None:
        """What the cache gave is not the chunk."""
        self._damaged.add(index)
        if len(self._damaged) > MOST_DAMAGED:
            self.cache = ""

    @property
    def waits_for_cache(self) -> bool:
        """Whether something was asked of the cache."""
        return any(self.asked.values())

    def _waits_for(self, cached: bool) -> list[int]:
        return [index for index, is_cached in self.asked.items() if is_cached == cached]

    def _ask(self, tag: int | str, cached: bool, topic: str, more: dict[str, Any], timeout: float) -> Command:
        target, headers = self._owner, {"r": self._rid, "p": self._id, "f": self.fingerprint, **more}
        if cached:
            target, headers["o"] = self._used, self._owner
        repeatable = topic != DONE
        return Ask(self._machine, tag, (target,), CHANNEL, topic, headers, 0, (), timeout, repeatable=repeatable)
