"""A site of the plan, as its supervisor has it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from zmqfl.launch.launcher import Job
from zmqfl.launch.run_state import SiteState
from zmqfl.launch.spec import SiteSpec


@dataclass(slots=True)
class Supervised:
    """See the module. `wanted`: it is to run."""

    spec: SiteSpec
    status: str = "waiting"
    job: Job | None = None
    exit: int | None = None
    started: float = 0.0
    restarts: int = 0
    in_a_row: int = 0
    wanted: bool = True
    endpoints: list[str] = field(default_factory=list)
    """Where it listens, once it has said so."""
    instance: int = 0
    bound: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[int] | None = None
    life: asyncio.Task[None] | None = None

    def state(self) -> SiteState:
        """As it is written down."""
        pid, mark = (self.job.id, self.job.mark) if self.job else (0, "")
        return SiteState(self.spec.fqcn, self.status, pid, mark, self.restarts, self.started, self.exit)

    def to_start(self, parent: Supervised | None) -> SiteSpec:
        """Its spec with the ports that are known by now: a restarted site must be found where it was."""
        spec = self.spec
        if spec.is_late and parent is not None:
            spec = spec.dialling(parent.endpoints)
        listen = tuple(
            replace(listener, bind=self.endpoints[i]) if self.endpoints and listener.bind.endswith(":*") else listener
            for i, listener in enumerate(spec.listen)
        )
        return replace(spec, listen=listen)


def depth(site: Supervised, sites: Mapping[str, Supervised]) -> int:
    """How many of the sites stand above it."""
    above, parent = 0, sites.get(site.spec.parent)
    while parent is not None:
        above, parent = above + 1, sites.get(parent.spec.parent)
    return above
