"""The machines of one cell, who it is to others, and when one of them has something to do.

They are made here, once, and joined: each is given what it asks of another as a function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from zmqfl.config import CellConfig
from zmqfl.protocol.acceptor import Acceptor
from zmqfl.protocol.asks import Asks
from zmqfl.protocol.channels.channels import Channels
from zmqfl.protocol.commands import Command
from zmqfl.protocol.fence import FenceTable
from zmqfl.protocol.flow_receiver import FlowReceiver
from zmqfl.protocol.flows import Flows
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.protocol.plane.plane import Plane
from zmqfl.protocol.requester import Requester
from zmqfl.protocol.responder import Responder
from zmqfl.protocol.transfers import Transfers
from zmqfl.protocol.transit import Transit
from zmqfl.protocol.uplink import Uplink
from zmqfl.protocol.ways import Ways
from zmqfl.wire.messages import VERSION_MAX, Feature, Reply, Request, Welcome


class Timed(Protocol):
    """A machine with a deadline."""

    @property
    def deadline(self) -> float | None:
        """When it has something to do."""

    def handle_timeout(self, now: float) -> list[Command]:
        """Do it."""


class Machines:
    """See the module; the arguments are those of `Node`."""

    def __init__(
        self,
        fqcn: str,
        instance: int,
        has_parent: bool,
        config: CellConfig,
        sessions: Callable[[], int],
        wall_ms: int,
        now: float,
    ) -> None:
        self.fqcn = fqcn
        self.instance = instance
        self.config = config
        self.counters: Counter[str] = Counter()
        self.fences = FenceTable()
        self.uplink = Uplink(fqcn, instance, config) if has_parent else None
        self.acceptor = Acceptor(fqcn, not has_parent, config, self.fences, sessions)
        self.neighbours = Neighbours(fqcn, self.uplink, self.acceptor)
        self.transit = Transit(self.neighbours, config, self.me, now)
        self.flows = Flows(config, self.me)
        self.requester = Requester(config, self.me, lambda id, name: self.flows.is_open(Request.KIND, id, name))
        self.responder = Responder(
            config,
            self.me,
            lambda: now if self.uplink is None else self.uplink.held_since,
            lambda id, instance, name: self.flows.is_open(Reply.KIND, id, name, instance),
        )
        self.assembly = FlowReceiver(
            config, self.me,
            lambda reply: reply.to_instance == instance and self.requester.is_waiting(reply.id, reply.origin),
        )  # fmt: skip
        self.transfers = Transfers(fqcn, instance, config, Ways(self.neighbours))
        self.asks = Asks(self.requester)
        self.channels = Channels(fqcn, config.channel_budget, sessions)
        self.plane = Plane(fqcn, instance, has_parent, config.heartbeat)
        self.fence = 0 if has_parent else self.fences.issue(fqcn, wall_ms)
        """The fence token of this start; 0 until a parent has issued it."""
        self._born = now
        self._wall_at_birth = wall_ms
        self._last_id = 0
        timed: tuple[Timed, ...] = (
            self.acceptor, self.requester, self.responder, self.flows, self.assembly, self.transfers, self.plane,
            self.channels,
        )  # fmt: skip
        self._timed = timed if self.uplink is None else (self.uplink, *timed)

    def next_id(self) -> int:
        """The id of the next request or fire; ids rise."""
        self._last_id += 1
        return self._last_id

    def me(self) -> tuple[str, int, int]:
        """(origin, fence, instance) as they are now."""
        return self.fqcn, self.fence, self.instance

    def wall_ms(self, now: float) -> int:
        """The clock of the machine, by that of the node."""
        return self._wall_at_birth + int((now - self._born) * 1000)

    def welcome(self) -> Welcome:
        """What children are told; each gets its own token."""
        features = Feature.RELAY_CACHE if self.config.relay_cache else Feature.NONE
        return Welcome(
            self.fqcn, self.instance, self.fence, 0, VERSION_MAX, self.neighbours.root, self.config.segment,
            int(features),
        )  # fmt: skip

    def due(self, now: float) -> Iterator[Timed]:
        """Those whose deadline has passed; each is asked when its turn comes, as one may make another due."""
        for machine in self._timed:
            if (deadline := machine.deadline) is not None and deadline <= now:
                yield machine

    @property
    def deadline(self) -> float | None:
        """When `due` names one; may be early."""
        times = (machine.deadline for machine in self._timed)
        return min((at for at in times if at is not None), default=None)
