"""What a cell tells of itself: immutable, made on the reactor in one piece, so that its numbers fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from zmqfl.cell.references import References
from zmqfl.cell.workers import WorkersStatistics
from zmqfl.transport.reactor import Reactor


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """One neighbour."""

    fqcn: str
    state: str
    instance: int
    since: float
    """Seconds in this state."""
    rtt: float | None
    """Seconds from a beat to its echo; None until one came back."""
    lanes: int
    """Connections that are bound: 2 when all is well."""


@dataclass(frozen=True, slots=True)
class CellStatistics:
    """One cell at one moment."""

    fqcn: str
    instance: int
    fence: int
    is_bound: bool
    links: tuple[LinkStatistics, ...]
    open_requests: int
    running_calls: int
    retained_bytes: int
    """Payload kept for sending again."""
    queued_bytes: int
    """Messages that wait for a connection."""
    queued_peak: int
    references: int
    """Large payloads that are held here for those who are to pull them."""
    reference_bytes: int
    counters: Mapping[str, int]
    """Events since the start, by name: what was sent again, dropped and why, refused, late."""
    workers: WorkersStatistics

    def to_dict(self) -> dict[str, Any]:
        """For JSON and for the wire."""
        return {
            **{name: getattr(self, name) for name in self.__slots__ if name not in ("links", "counters", "workers")},
            "links": [asdict(link) for link in self.links],
            "counters": dict(self.counters),
            "workers": asdict(self.workers),
        }


def collect(reactor: Reactor, workers: WorkersStatistics, references: References, now: float) -> CellStatistics:
    """Read the numbers. Only on the reactor's thread."""
    node = reactor.node
    links = tuple(
        LinkStatistics(
            link.fqcn, str(link.state), link.instance, now - link.since, link.rtt,
            (link.control is not None) + (link.bulk is not None),
        )
        for link in node.neighbours.links()
    )  # fmt: skip
    counters: Counter[str] = Counter()
    parts = (
        reactor, node, node.transit, node.acceptor, node.requester, node.responder,
        node.flows, node.assembly, node.transfers, node.transfers.source, node.channels.broker, node.channels.client,
    )  # fmt: skip
    for part in parts:
        counters.update(part.counters)
    for listener in reactor.ports.listeners:
        counters["failed_handshakes"] += listener.failed_handshakes
        counters["lost_connections"] += listener.lost_connections
    return CellStatistics(
        node.fqcn, node.instance, node.fence, node.neighbours.is_bound, links,
        node.requester.open, node.responder.running, node.requester.retained,
        reactor.ports.budget.used, reactor.ports.budget.peak, references.open, references.bytes,
        MappingProxyType(dict(counters)), workers,
    )  # fmt: skip
