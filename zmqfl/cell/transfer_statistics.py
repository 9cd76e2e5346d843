"""What a cell moves now: immutable, made on the reactor in one piece.

    kind      peer                         name             done, of total
    push      a target; a row for each     the source's     bytes that it has consumed
    receive   who pushes                   the owner's      bytes that were consumed here
    pull      the owner                    the owner's      bytes that are verified and written here
    offer     who may pull it, "" = all    the source's     0: who pulls it knows how far it is
    relay     the owner                    the owner's      bytes that are kept here for cells below

Reference ids are not told: who knows one may pull.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from zmqfl.blobs.paths import safe_name
from zmqfl.cell.file_streams import NAME_KEY, SIZE_KEY, FileConsumer, FileProducer
from zmqfl.cell.transfer_edges import TransferEdges
from zmqfl.protocol.pull_source import BELOW
from zmqfl.protocol.transfers import Transfers


@dataclass(frozen=True, slots=True)
class TransferStatistics:
    """One transfer; see the module."""

    kind: Literal["push", "receive", "pull", "offer", "relay"]
    peer: str
    name: str
    """For people; of a stream that is no file: channel:topic."""
    state: str
    """That of its machine."""
    done: int
    total: int
    """Bytes; 0 while that is not known."""
    seconds: float
    """Since it began; of an offer: until it ends, when nobody asks for it."""

    @property
    def rate(self) -> float:
        """Bytes per second so far; 0 of an offer."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON and for the wire."""
        return {**asdict(self), "rate": self.rate}


def collect_transfers(transfers: Transfers, edges: TransferEdges, now: float) -> tuple[TransferStatistics, ...]:
    """Read the numbers. Only on the reactor's thread."""
    return (
        *_pushes(transfers, edges, now),
        *_streams(transfers, edges, now),
        *_pulls(transfers, edges, now),
        *_offers(transfers, edges, now),
        *_relays(transfers, now),
    )


def _pushes(transfers: Transfers, edges: TransferEdges, now: float) -> Iterator[TransferStatistics]:
    for id, sender in transfers.pushes.items():
        if (push := edges.pushing._pushes.get(id)) is None:
            continue  # it has ended; only its END is not answered by all
        producer = push.producer
        name = producer.source.name if isinstance(producer, FileProducer) else f"{sender._channel}:{sender._topic}"
        for target, done in sender.acknowledged.items():
            seconds = now - push.handle.begin
            yield TransferStatistics("push", target, name, str(sender.state), done, push.handle._total, seconds)


def _streams(transfers: Transfers, edges: TransferEdges, now: float) -> Iterator[TransferStatistics]:
    for key, stream in transfers.streams.items():
        consumer = edges.consuming._consumers.get(key)
        context = consumer.incoming.context if isinstance(consumer, FileConsumer) else {}
        name = safe_name(str(context[NAME_KEY])) if NAME_KEY in context else f"{stream.channel}:{stream.topic}"
        size = context.get(SIZE_KEY)
        total = size if type(size) is int else 0
        yield TransferStatistics(
            "receive", key[0], name, str(stream.state), stream.received, total, now - stream.begun
        )  # fmt: skip


def _pulls(transfers: Transfers, edges: TransferEdges, now: float) -> Iterator[TransferStatistics]:
    for id, machine in transfers.pulls.items():
        if (pull := edges.pulling._pulls.get(id)) is None:
            continue
        name = safe_name(pull.handle.name) if pull.handle.name else ""
        progress = pull.handle.progress
        seconds = now - pull.handle.begin
        yield TransferStatistics(
            "pull", machine.owner, name, str(machine.state), progress.done, progress.total, seconds
        )


def _offers(transfers: Transfers, edges: TransferEdges, now: float) -> Iterator[TransferStatistics]:
    source = transfers.source
    for reference in source._references.values():
        if edges.offering.is_twin(reference.rid):
            continue
        group = source._transactions[reference.transaction]
        receivers = ", ".join(sorted(name for name in reference.receivers or () if not name.endswith(BELOW)))
        left = max(0.0, group.active + group.timeout - now)
        state = "changed" if reference.changed else "offered"
        yield TransferStatistics("offer", receivers, reference.name, state, 0, reference.size, left)


def _relays(transfers: Transfers, now: float) -> Iterator[TransferStatistics]:
    relay = transfers.relay
    for file in relay.files.values():
        if (grid := file.grid) is None:
            continue  # its owner has not said yet whether anybody here may have it
        owner, _, _ = file.key
        state = "fetching" if file.asked or file.wanted else "kept"
        name, done = safe_name(grid.name), relay.store.bytes_of(file.key)
        yield TransferStatistics("relay", owner, name, state, done, grid.size, now - file.began)
