"""Channels on a simulated network: writers, readers and what became of every item.

`FanOut` is the application of all cells of a `Net`: it numbers what it puts, checks the order of what comes, and knows
the answers to what it asks. Readers take what comes at once, or only when told to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.harness import Host, Net
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.buffer import BufferTerms, Policy
from zmqfl.protocol.channels.inlet import Inlet
from zmqfl.protocol.channels.items import Item, cell_of
from zmqfl.protocol.channels.outlet import Placed, Put, WriterState
from zmqfl.protocol.channels.questions import key_of
from zmqfl.protocol.channels.subscription import Subscription
from zmqfl.protocol.commands import ChannelAnswered, ChannelEvent, ItemsCame, Outcome, WriterChanged
from zmqfl.wire import payload

TIMEOUT = 30.0


@dataclass(eq=False)
class Reader:
    """A reader, and what has come for it."""

    host: Host
    place: int
    is_slow: bool
    items: list[Item] = field(default_factory=list)
    waiting: list[Item] = field(default_factory=list)
    """Has come, and is not taken yet."""
    counts: tuple[int, int] = (0, 0)
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    end: str | None = None

    @property
    def bodies(self) -> list[bytes]:
        """What it has taken."""
        return [b"".join(bytes(frame) for frame in item.frames) for item in self.items]

    def numbers(self, writer: str) -> list[int]:
        """The numbers of what it has taken of one writer."""
        return [item.number for item in self.items if cell_of(item.writer) == writer]


@dataclass(eq=False)
class Writer:
    """A writer, and how it is with it."""

    host: Host
    place: int
    put: int = 0
    state: WriterState = field(default_factory=WriterState)
    placed: list[Placed] = field(default_factory=list)


class FanOut:
    """See the module."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.answers: dict[int, Outcome] = {}
        self.readers: list[Reader] = []
        self.writers: list[Writer] = []
        self._tickets = 0
        net.on_channel = self.hear

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def ask(self, who: str, broker: str, topic: str, **headers: Any) -> int:
        """Ask a broker; the ticket of the answer."""
        host, ticket = self.net.hosts[who], self._ticket()
        self.act(host, lambda client: client.ask(broker, topic, headers, ticket, TIMEOUT))
        return ticket

    def create(self, who: str, broker: str, name: str, key: str = "", **options: Any) -> int:
        """Make a channel."""
        host, ticket, secret = self.net.hosts[who], self._ticket(), key_of(key) if key else None
        headers = {"name": name, "public": not key, **options}
        self.act(host, lambda client: client.create(broker, headers, ticket, TIMEOUT, secret))
        return ticket

    def read(
        self, who: str, broker: str, channel: str, terms: BufferTerms, *, ahead: int = 1 << 16, slow: bool = False,
        key: str = "", last: int = 0,
    ) -> tuple[int, Reader]:  # fmt: skip
        """Read a channel; `ahead` 0: on demand, `slow`: take only when told to."""
        host, ticket = self.net.hosts[who], self._ticket()
        reader = Reader(host, host.node.channels.client.next_number(), slow)
        self.readers.append(reader)
        inlet = Inlet(reader.place, ahead)
        headers = {"c": channel, "b": row_of(terms), "last": last}
        proof = key_of(key) if key else None
        self.act(host, lambda client: client.read(broker, inlet, headers, ticket, TIMEOUT, proof))
        return ticket, reader

    def write(self, who: str, broker: str, channel: str, key: str = "") -> tuple[int, Writer]:
        """Write a channel."""
        host, ticket = self.net.hosts[who], self._ticket()
        writer = Writer(host, host.node.channels.client.next_number())
        self.writers.append(writer)
        proof = key_of(key) if key else None
        self.act(host, lambda client: client.write(broker, writer.place, {"c": channel}, ticket, TIMEOUT, proof))
        return ticket, writer

    def put(self, writer: Writer, count: int = 1, size: int = 0, ticket: bool = False) -> None:
        """Put so many items: their text is the number of the put."""
        puts = []
        for number in range(writer.put + 1, writer.put + count + 1):
            body = b"%d" % number
            puts.append(Put(1, (body.ljust(size, b"."),), number if ticket else None))
        writer.put += count
        self.act(writer.host, lambda client: client.put(writer.place, puts))

    def take(self, reader: Reader, count: int | None = None) -> None:
        """A slow reader takes what has come, and asks for more."""
        taken = reader.waiting[:count]
        del reader.waiting[: len(taken)]
        reader.items += taken
        client = reader.host.node.channels.client
        client.consume(reader.place, sum(item.size for item in taken))
        if not reader.waiting:
            client.demand(reader.place)
        self.net.obey(reader.host, [])

    def unread(self, reader: Reader) -> int:
        """Read no longer."""
        ticket = self._ticket()
        self.act(reader.host, lambda client: client.unread(reader.place, ticket, TIMEOUT))
        return ticket

    def unwrite(self, writer: Writer) -> int:
        """Write no longer, when all is in the buffers."""
        ticket = self._ticket()
        self.act(writer.host, lambda client: client.unwrite(writer.place, ticket, TIMEOUT, self.net.now))
        return ticket

    def act(self, host: Host, verb: Any) -> None:
        """What a cell does with a verb."""
        if host.alive:
            self.net.obey(host, host.node.channel(verb, self.net.now))

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer(self, ticket: int, limit: float = 60.0) -> Outcome:
        """Wait for the answer to a question."""
        self.net.run_until(lambda: ticket in self.answers, limit)
        return self.answers[ticket]

    def ok(self, ticket: int) -> Outcome:
        """Wait for the answer, which must be OK."""
        outcome = self.answer(ticket)
        assert outcome.code is CellReturnCode.OK, outcome
        return outcome

    def value(self, ticket: int) -> Any:
        """The value that the answer holds."""
        return payload.decode(self.ok(ticket).bodies)

    def why(self, ticket: int) -> str:
        """Why a question was refused."""
        outcome = self.answer(ticket)
        assert outcome.code is not CellReturnCode.OK
        return str(outcome.headers.get("why", outcome.code))

    def hear(self, host: Host, event: ChannelEvent) -> None:
        """What the machines tell."""
        match event:
            case ChannelAnswered(ticket, outcome):
                if ticket is not None:
                    assert ticket not in self.answers, "answered twice"
                    self.answers[ticket] = outcome
            case ItemsCame():
                reader = next(each for each in self.readers if (each.host, each.place) == (host, event.place))
                self._came(reader, event)
            case WriterChanged(place, state, placed):
                writer = next(each for each in self.writers if (each.host, each.place) == (host, place))
                writer.state = state
                writer.placed += placed

    def _came(self, reader: Reader, came: ItemsCame) -> None:
        assert reader.end is None, "something behind the end"
        reader.counts = came.counts or reader.counts
        reader.gaps += came.gaps
        reader.end = came.end
        if reader.is_slow:
            reader.waiting += came.items
            return
        reader.items += came.items
        client = reader.host.node.channels.client
        client.consume(reader.place, sum(item.size for item in came.items))
        client.demand(reader.place)

    def subscription(self, reader: Reader) -> Subscription:
        """The other end of a reader, at its broker."""
        for host in self.net.processes:
            bond = host.node.channels.broker.bonds.get(reader.host.fqcn)
            if bond is not None and isinstance(found := bond.places.get(reader.place), Subscription):
                return found
        raise AssertionError(f"nobody has a buffer for {reader}")

    def check_orders(self) -> None:
        """What came is in the order in which it was put, once each, and of the right content."""
        for reader in self.readers:
            last: Counter[str] = Counter()
            for item in [*reader.items, *reader.waiting]:
                assert item.number > last[item.writer], f"{item.number} of {item.writer} after {last[item.writer]}"
                last[item.writer] = item.number

    def check_counts(self) -> None:
        """offered = decimated + dropped + delivered + queued, at every broker, and what is delivered has come."""
        for host in self.net.processes:
            broker = host.node.channels.broker
            for bond in broker.bonds.values():
                for each in bond.places.values():
                    if isinstance(each, Subscription):
                        counts = each.buffer.statistics()
                        done = counts.decimated + counts.dropped + counts.delivered + counts.queued
                        assert counts.offered == done, counts

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets


def row_of(terms: BufferTerms) -> list[Any]:
    """Terms as they travel."""
    return [str(terms.policy), terms.items, terms.size, terms.every, terms.first, terms.hz]


ALL = BufferTerms(Policy.WAIT, None, 1 << 20)
"""Of a reader that wants everything."""
