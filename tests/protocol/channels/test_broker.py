"""Broker, questions and client: what two cells say to each other, message by message, without a network.

`Pair` joins the machines of a broker and a client by hand: each Ask of one is a Call of the other. What federations do
with channels is in `tests/simulation/test_channels.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.channels import Channels
from zmqfl.protocol.channels.inlet import Inlet
from zmqfl.protocol.channels.outlet import Put
from zmqfl.protocol.channels.questions import MOST_CHANNELS, MOST_NONCES, key_of
from zmqfl.protocol.commands import (
    Answer,
    Ask,
    Call,
    ChannelAnswered,
    Command,
    ItemsCame,
    Outcome,
    Unask,
    WriterChanged,
)

OK = CellReturnCode.OK
BUDGET = 32 << 20
RING = ["ring", 100, 1 << 20, 1, False, None]


@dataclass(eq=False)
class Pair:
    """A broker called `server` and a client called `site-1`, and all that the client's user is told."""

    now: float = 1.0
    events: list[Any] = field(default_factory=list)
    budget: int = BUDGET

    def __post_init__(self) -> None:
        numbers = iter(range(1, 1 << 30))
        self.server = Channels("server", self.budget, lambda: next(numbers))
        self.site = Channels("site-1", self.budget, lambda: next(numbers))
        self._calls: dict[Call, tuple[Channels, Ask | None]] = {}
        self._ids = iter(range(1, 1 << 30))

    def act(self, verb: Any) -> None:
        """A verb of the client."""
        self.obey(self.site, verb(self.site.client))
        self.settle()

    def settle(self) -> None:
        """Whatever is due, at both ends, until nothing is."""
        while due := [
            each for each in (self.server, self.site) if (at := each.deadline) is not None and at <= self.now
        ]:
            for each in due:
                self.obey(each, each.handle_timeout(self.now))

    def obey(self, me: Channels, commands: list[Command]) -> None:
        other = self.site if me is self.server else self.server
        for command in commands:
            match command:
                case Ask():
                    name = "site-1" if me is self.site else "server"
                    call = Call(
                        name, 5, next(self._ids), command.channel, command.topic, 0, dict(command.headers),
                        command.bodies, command.timeout, expects_reply=True,
                    )  # fmt: skip
                    self._calls[call] = me, command
                    self.obey(other, other.receive(call, self.now))
                case Answer():
                    asker, ask = self._calls.pop(command.call, (self.site, None))
                    if ask is not None:  # else nobody waits any more
                        self.obey(asker, asker.answered(ask.owner, ask.tag, command.outcome, self.now))
                case Unask():
                    for call in [
                        call
                        for call, each in self._calls.items()
                        if each[1] is not None and each[1].owner is command.owner
                    ]:
                        del self._calls[call]
                case ChannelAnswered() | ItemsCame() | WriterChanged():
                    self.events.append(command)
                case _:
                    raise AssertionError(command)

    def ask(self, topic: str, **headers: Any) -> Outcome:
        self.act(lambda client: client.ask("server", topic, headers, "t", 10.0))
        return self.outcome()

    def outcome(self) -> Outcome:
        return [each for each in self.events if isinstance(each, ChannelAnswered)][-1].outcome

    def create(self, name: str = "c", key: bytes | None = None, **headers: Any) -> Outcome:
        options = {"name": name, "public": key is None, **headers}
        self.act(lambda client: client.create("server", options, "t", 10.0, key))
        return self.outcome()

    def read(self, place: int, channel: Any = "c", terms: Any = RING, ahead: int = 1 << 20, key: Any = None) -> Outcome:
        headers = {"c": channel, "b": terms, "last": 0}
        self.act(lambda client: client.read("server", Inlet(place, ahead), headers, "t", 10.0, key))
        return self.outcome()

    def write(self, place: int, channel: Any = "c", key: Any = None) -> Outcome:
        self.act(lambda client: client.write("server", place, {"c": channel}, "t", 10.0, key))
        return self.outcome()

    def put(self, place: int, *bodies: bytes) -> None:
        puts = [Put(1, (body,)) for body in bodies]
        self.act(lambda client: client.put(place, puts))

    @property
    def got(self) -> list[bytes]:
        return [
            bytes(item.frames[0]) for each in self.events if isinstance(each, ItemsCame) for item in each.items
        ]  # fmt: skip


def test_from_a_writer_to_a_reader() -> None:
    pair = Pair()
    assert pair.create().headers == {"id": 1}
    assert pair.write(1).headers["owner"] == "site-1"
    assert pair.read(2).code is OK
    pair.put(1, b"a", b"b")
    pair.put(1, b"c")
    assert pair.got == [b"a", b"b", b"c"]
    assert pair.server.broker.names["c"].offered == 3
    assert repr(pair.server.broker.names["c"]) == "<Channel 'c' 1 readers, 1 writers, 3 offered>"


def test_chan_R23_nothing_is_due_when_nothing_is_to_be_done() -> None:
    pair = Pair()
    pair.create()
    pair.write(1)
    pair.read(2)
    assert pair.server.deadline is pair.site.deadline is None


def test_chan_R9_buffers_are_reserved_and_given_back() -> None:
    pair = Pair(budget=8 << 20)
    pair.create(last=5, last_size=1000)
    pair.write(1)
    reserved = pair.server.broker.reserved
    assert pair.read(2, terms=["ring", 1, 3 << 20, 1, False, None]).code is OK
    outcome = pair.read(3, terms=["ring", 1, 3 << 20, 1, False, None])
    assert (outcome.code, outcome.headers["why"]) == (CellReturnCode.SERVICE_UNAVAILABLE, "full")
    assert "`channel_budget`" in outcome.error
    pair.act(lambda client: client.unread(2, "t", 10.0))
    assert pair.server.broker.reserved == reserved
    pair.act(lambda client: client.unwrite(1, "t", 10.0, pair.now))
    pair.ask("delete", c="c")
    assert pair.server.broker.reserved == 0


def test_a_lifetime() -> None:
    pair = Pair()
    pair.create(lifetime=5.0)
    pair.read(2)
    assert pair.server.deadline == 6.0
    pair.now = 6.0
    pair.settle()
    assert pair.events[-1].end == "expired"
    assert pair.server.deadline is None


def test_there_are_so_many_channels_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqfl.protocol.channels.questions.MOST_CHANNELS", 2)
    pair = Pair()
    assert [pair.create(name).code for name in "abc"] == [OK, OK, CellReturnCode.SERVICE_UNAVAILABLE]
    assert MOST_CHANNELS > 2


def test_nonces_are_good_once_and_few_are_kept() -> None:
    pair = Pair()
    for _ in range(MOST_NONCES + 5):
        assert pair.read(1, "nothing").headers["why"] == "unknown"
    [bond] = pair.server.broker.bonds.values()
    assert len(bond.nonces) == MOST_NONCES


def test_a_key_of_a_channel_that_was_not_made_is_forgotten() -> None:
    pair = Pair()
    pair.create("c", key_of("one"))
    assert pair.create("c", key_of("two")).headers["why"] == "exists"
    assert pair.site.client.keys == {("server", "c"): key_of("one")}
    assert pair.read(2, key=key_of("two")).code is OK  # the owner needs none
    assert pair.create("", key_of("three")).headers["why"] == "argument"
    pair.ask("delete", c="c")
    assert pair.site.client.keys == {}


def test_items_that_do_not_follow_end_the_bond() -> None:
    pair = Pair()
    pair.create()
    pair.write(1)
    pair.read(2)
    [seat] = pair.server.broker.names["c"].seats
    seat.received = 5
    pair.put(1, b"a")
    assert pair.server.broker.counters["malformed"] == 1
    assert pair.server.broker.bonds == {}
    ends = [each for each in pair.events if isinstance(each, ItemsCame) and each.end]
    assert len(ends) == 1
    assert ends[0].lost
    assert pair.create("d").code is OK  # the next question makes another bond


def test_a_client_that_starts_anew_ends_what_it_had() -> None:
    pair = Pair()
    pair.create()
    pair.read(2)
    call = Call("site-1", 6, 99, "zmqfl.channels", "list", 0, {"s": 1234}, (), 10.0, expects_reply=True)
    answers = [each for each in pair.server.receive(call, pair.now) if isinstance(each, Answer) and each.call is call]
    assert answers[0].outcome.code is OK
    pair.server.handle_timeout(pair.now)
    assert pair.server.broker.names == {}
    [bond] = pair.server.broker.bonds.values()
    assert bond.instance == 6
    assert repr(bond).startswith("<Bond with site-1 held, 0 places")


def test_places_are_the_clients_own() -> None:
    pair = Pair()
    pair.create()
    pair.read(2)
    call = Call(
        "site-1", 5, 99, "zmqfl.channels", "read", 0, {"s": pair.site.client.bonds["server"].session, "i": 2, "c": "c",
        "b": RING}, (), 10.0, expects_reply=True,
    )  # fmt: skip
    [answer] = [each for each in pair.server.receive(call, 1.0) if isinstance(each, Answer)]
    assert answer.outcome.headers["why"] == "argument"
