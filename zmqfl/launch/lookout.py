"""Whether all sites have got through: what the network itself says, seen by a cell of the supervisor's own.

What a cell needs is imported when the first sites are on their way: it is half of all that a supervisor imports.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zmqfl.errors import RequestFailed
from zmqfl.launch.ending import USER_MISTAKE, StartFailed
from zmqfl.launch.log_stream import last_lines
from zmqfl.launch.plan import Plan
from zmqfl.launch.supervised import Supervised

if TYPE_CHECKING:
    from zmqfl.cell.cell import Cell

Links = dict[str, tuple[str, str]]
"""FQCN -> (how it is in the network, FQCN of its parent)."""

LOOK: Final = 0.05
"""Seconds between two looks at the network when all sockets are bound: cells do not report to a bystander."""
EARLY_LOOK: Final = 0.5
"""Most seconds between two looks before that: who starts needs the processor."""
SHOWN: Final = 3
"""Last lines of a log that a message repeats."""


class Lookout:
    """See the module. `cell` stays attached below the first site of this machine, once it has been."""

    def __init__(self, plan: Plan, sites: Mapping[str, Supervised]) -> None:
        self.cell: Cell | None = None
        self.seen: Links = {}
        """At the last look."""
        self._plan = plan
        self._sites = sites

    async def until_all_are_connected(self) -> None:
        """Look until all have been seen up. Raises `StartFailed` as soon as a site has failed for good."""
        from zmqfl.cell.cell import Cell
        from zmqfl.cell.net_agent import CHANNEL

        fqcn, url = self._plan.door
        door = self._sites[fqcn]
        await self._unless_failed(door.bound.wait())
        config = replace(door.spec.config, reconnect_min=0.05, reconnect_max=1.0)
        self.cell = Cell(f"{fqcn}.supervisor-{os.getpid()}", parent=url, config=config)
        self.cell.start()
        await self._unless_failed(self.cell.connected())
        while any(not self._is_up(site) and site.status != "done" for site in self._sites.values()):
            are_bound = all(site.bound.is_set() for site in self._sites.values())
            await self._unless_failed(asyncio.sleep(LOOK) if are_bound else self._until_bound(EARLY_LOOK))
            try:
                reply = await self.cell.request(door.spec.root, CHANNEL, "cells", deadline=1.0)
            except RequestFailed:
                continue
            self.seen.clear()
            self.seen.update((name, (state, parent)) for name, parent, state in reply.payload)

    def _is_up(self, site: Supervised) -> bool:
        return self.seen.get(site.spec.fqcn, ("", ""))[0] == "up"

    async def _until_bound(self, patience: float) -> None:
        """Wait until all have bound their sockets, but not for ever: one that is done may never have."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for site in self._sites.values():
                    await site.bound.wait()

    async def _unless_failed(self, event: Awaitable[Any]) -> None:
        """Wait for an event; raises `StartFailed` as soon as a site has failed for good."""
        waiting = asyncio.ensure_future(event)
        lives = {site.life for site in self._sites.values() if site.life is not None}
        try:
            while not waiting.done():
                if failed := next((site for site in self._sites.values() if site.status == "failed"), None):
                    raise StartFailed(self.last_words(failed), failed.exit if failed.exit == USER_MISTAKE else 1)
                going = {life for life in lives if not life.done()}
                await asyncio.wait([waiting, *going], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    def last_words(self, site: Supervised) -> list[str]:
        """What a failed site has said, for people."""
        lines = last_lines(Path(site.spec.log), SHOWN)
        if site.exit == USER_MISTAKE and lines:
            return [f"{site.spec.fqcn}: {lines[-1].removeprefix('zmqfl: ')}"]
        return [f"{site.spec.fqcn} failed with status {site.exit}; its last lines:", *(f"  {line}" for line in lines)]

    def missing(self, wait: float) -> Iterator[str]:
        """Who has not been seen within `wait` seconds, and what they say."""
        missing = [site for site in self._sites.values() if not self._is_up(site)]
        names = ", ".join(site.spec.fqcn for site in missing)
        yield f"not connected within {wait:g} s: {names}; all sites were stopped, look at their logs or --wait longer"
        for site in missing:
            state, _ = self.seen.get(site.spec.fqcn, ("", ""))
            state = state or ("bound, not connected" if site.bound.is_set() else site.status)
            yield f"  {site.spec.fqcn} ({state}):"
            yield from (f"    {line}" for line in last_lines(Path(site.spec.log), SHOWN))

    def tell_parent(self, site: Supervised, restarts: bool) -> None:
        """Its process has ended: whatever waits for it fails now, and not after `dead_after`.

        `restarts`: it will be started again, so what stands behind it may still wait for it.
        """
        if self.cell is not None and site.spec.parent and site.instance:
            from zmqfl.cell.net_agent import CHANNEL

            payload = {"fqcn": site.spec.fqcn, "instance": site.instance, "restarts": restarts}
            self.cell.fire(site.spec.parent, CHANNEL, "child_exited", payload)

    async def close(self) -> None:
        """Leave the network."""
        if self.cell is not None:
            await asyncio.to_thread(self.cell.close, 0)
