"""The table of `zmqfl.protocol.plane.register`, and that no order of what comes makes a difference."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Ask, Command, Outcome
from zmqfl.protocol.plane.facts import CELL_FACTS, Fact, decode_facts, place_of, props_topic, rids_topic, withdrawal_of
from zmqfl.protocol.plane.publisher import Publisher
from zmqfl.protocol.plane.register import Register
from zmqfl.wire import payload

CELLS = ["site-1", "site-10", "relay.site-2"]


def fact(
    number: int, body: bytes | None = b"x", key: str = "round", token: int = 1, floor: int = 0, origin: str = "site-1"
) -> Fact:
    return Fact(origin, token, number, floor, props_topic(origin), key, body)


def test_a_fact_is_kept_and_told() -> None:
    register = Register()
    assert register.merge(fact(1)) == [fact(1)]
    assert register.facts() == [fact(1)]
    assert register.merge(fact(1)) == []
    assert repr(register) == "<Register 1 facts of 1 cells>"


def test_an_older_start_is_dropped() -> None:
    register = Register()
    register.merge(fact(1, token=2))
    assert register.merge(fact(9, b"old", token=1)) == []
    assert register.facts() == [fact(1, token=2)]


def test_a_newer_start_ends_what_the_older_one_said() -> None:
    register = Register()
    register.merge(fact(5, key="a"))
    register.merge(fact(6, key="b"))
    changes = register.merge(fact(1, b"new", key="b", token=2))
    assert changes == [withdrawal_of(fact(5, key="a")), fact(1, b"new", key="b", token=2)]


def test_a_newer_start_that_withdraws_what_the_older_one_said_tells_so_once() -> None:
    register = Register()
    register.merge(fact(5))
    assert register.merge(fact(1, None, token=2)) == [withdrawal_of(fact(5))]


def test_a_newer_start_that_says_nothing_ends_it_too() -> None:
    register = Register()
    register.merge(fact(5))
    assert register.begin("site-1", 2) == [withdrawal_of(fact(5))]
    assert register.begin("site-1", 2) == []
    assert register.begin("site-1", 1) == []
    assert register.digest("site-1") == (2, 0, 0)


def test_a_floor_ends_what_is_below_it() -> None:
    register = Register()
    register.merge(fact(1, key="a"))
    register.merge(fact(2, key="b"))
    assert register.merge(fact(3, key="c", floor=1)) == [withdrawal_of(fact(1, key="a")), fact(3, key="c", floor=1)]
    assert register.merge(fact(1, key="a")) == []
    assert register.digest("site-1") == (1, 2, 5)


def test_a_lower_number_is_dropped() -> None:
    register = Register()
    register.merge(fact(3, b"new"))
    assert register.merge(fact(2, b"old")) == []
    assert register.facts() == [fact(3, b"new")]


def test_a_withdrawal_is_told_once_and_stays_as_a_mark_until_the_floor() -> None:
    register = Register()
    register.merge(fact(1))
    assert register.merge(fact(2, None)) == [fact(2, None)]
    assert register.merge(fact(1)) == []  # it comes late
    assert register.merge(fact(3, None)) == []
    assert register.facts() == []
    assert register.merge(fact(9, key="a", floor=8)) == [fact(9, key="a", floor=8)]
    assert register.merge(fact(2, b"late")) == []


def test_a_withdrawal_of_what_was_never_there_is_not_told() -> None:
    assert Register().merge(fact(1, None)) == []


def test_a_new_number_for_the_same_words_is_not_told() -> None:
    register = Register()
    register.merge(fact(1, b"same"))
    assert register.merge(fact(5, b"same", floor=4)) == []
    assert register.digest("site-1") == (1, 1, 5)
    assert register.merge(fact(1, b"same")) == []


def test_a_cell_that_is_gone() -> None:
    register = Register()
    register.merge(fact(1))
    register.merge(fact(2, None, key="mark"))
    register.merge(fact(1, origin="site-10"))
    assert register.drop("site-1") == [withdrawal_of(fact(1))]
    assert register.drop("site-1") == []
    assert register.origins() == ["site-10"]
    assert register.digest("site-1") == (0, 0, 0)


def test_the_room_of_a_cell() -> None:
    register = Register()
    for number in range(1, CELL_FACTS + 1):
        assert register.has_room(fact(number, key=f"{number}"))
        register.merge(fact(number, key=f"{number}"))
    assert not register.has_room(fact(9999, key="more"))
    assert register.has_room(fact(9999, b"other", key="7"))  # in the stead of what is there
    assert register.has_room(fact(9999, None, key="7"))
    register.merge(fact(9999, None, key="7"))
    assert register.has_room(fact(10_000, key="more"))
    assert register.has_room(fact(1, origin="site-10"))


def test_marks_take_room_too() -> None:
    register = Register()
    number = 0
    while register.has_room(mark := fact(number + 1, None, key=f"{number}")):
        number += 1
        register.merge(mark)
    assert number == 4 * CELL_FACTS
    large = Register()
    number = 0
    while large.has_room(one := fact(number + 1, bytes(32_000), key=f"{number}")):
        number += 1
        large.merge(one)
    assert number < 300


# -- any order ---------------------------------------------------------------------------------------------------------


class World:
    """Cells that start, say things and withdraw them.

    `published`: all that any of them ever sent, facts and (name, token) of the start that sent them.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.published: list[Fact | tuple[str, int]] = []
        self.publishers: dict[str, Publisher] = {}
        self.tokens = dict.fromkeys(CELLS, 0)
        self._asked: list[tuple[Publisher, Ask]] = []
        for cell in CELLS:
            self.start(cell)

    def start(self, cell: str) -> None:
        self.tokens[cell] += 1
        publisher = self.publishers[cell] = Publisher(cell)
        self._asked = [(who, ask) for who, ask in self._asked if who.fqcn != cell]
        self.obey(publisher, publisher.bound("server", self.tokens[cell], 0.0))

    def obey(self, publisher: Publisher, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Ask):
                self.published.append((publisher.fqcn, command.headers["k"]))
                self.published += decode_facts(payload.decode(command.bodies))
                self._asked.append((publisher, command))

    def step(self) -> None:
        cell = self.random.choice(CELLS)
        publisher = self.publishers[cell]
        match self.random.randrange(10):
            case 0:
                self.start(cell)
            case 1 | 2 | 3 if self._asked:
                self.answer(CellReturnCode.OK if self.random.random() < 0.7 else CellReturnCode.TIMEOUT)
            case _:
                topic = self.random.choice([props_topic(cell), rids_topic("models")])
                body = None if self.random.random() < 0.4 else self.random.randbytes(1)
                self.obey(publisher, publisher.set(topic, f"{self.random.randrange(5)}", body, 0.0))

    def answer(self, code: CellReturnCode) -> None:
        publisher, ask = self._asked.pop(self.random.randrange(len(self._asked)))
        self.obey(publisher, publisher.answered(ask.tag, "server", Outcome(code), 0.0))
        self.obey(publisher, publisher.handle_timeout(10.0))

    def finish(self) -> None:
        while self._asked:
            self.answer(CellReturnCode.OK)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_order_and_any_duplication_makes_the_same_register(seed: int) -> None:
    world = World(seed)
    for _ in range(80):
        world.step()
    world.finish()
    said = {(f.origin, f.topic, f.key): f.body for p in world.publishers.values() for f in p.own()}
    results = set()
    for _ in range(3):
        published = world.published + world.random.choices(world.published, k=len(world.published))
        world.random.shuffle(published)
        register = Register()
        told: dict[tuple[str, str, str], bytes | None] = {}
        for each in published:
            for change in register.merge(each) if isinstance(each, Fact) else register.begin(*each):
                told[place_of(change)] = change.body
        results.add(frozenset(replace(known, floor=0) for known in register.facts()))
        assert {place: body for place, body in told.items() if body is not None} == said
        for cell in CELLS:
            numbers = [known.number for known in register.facts() if known.origin == cell]
            assert register.digest(cell) == (world.tokens[cell], len(numbers), sum(numbers))
    assert len(results) == 1
    assert {place_of(known): known.body for known in results.pop()} == said
