"""A cell's own facts, on their way to the root until it has them all.

    state     event                                next      effect
    apart     set, withdraw                        apart     kept, to be told
    apart     bound to a parent                    telling   all there is, or that there is nothing
    idle      set, withdraw; something to tell     telling   publish: up to MOST_FACTS of them
    idle      CHECK seconds without a publish      asking    check: does the root know what we say?
    telling   answered OK                          idle      told, unless changed since; more: telling again
    telling   answered otherwise                   waiting   the cell hears of what the root refuses for good
    asking    answered                             idle      "differs": everything is to be told again
    waiting   a pause is over                      idle
    any       another root is heard of             the same  all there is is to be told
    any       unbound                              apart

The root takes a publish twice without harm (see `register`), so nothing here must be at most once. It may be a new
root: hence all there is. A withdrawn fact is remembered until the root knows; then the floor covers it. A fact that
stands for long would hold the floor down, and the root would keep a mark of each one withdrawn since: when there are
two marks to a fact, the oldest get new numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Ask, Command, Level, Note, Outcome, Unask
from zmqfl.protocol.plane.facts import CELL_FACTS, CELL_SIZE, Fact, Word, batches, encode_facts
from zmqfl.protocol.plane.updates import CHANNEL, PlaneTopic
from zmqfl.wire import payload

CHECK = 20.0
"""Seconds after which the root is asked whether it knows everything: what a cut behind a relay has undone is mended."""
REFUSED_CHECK = 300.0
"""The same after it has refused something: it does not know everything, and would refuse it again."""
MOST_MARKS = 256
"""Marks of withdrawn facts that the root may keep for this cell, beside two to a fact."""
PAUSE = 1.0
TIMEOUT = 10.0


class PublisherState(StrEnum):
    """The states of the table."""

    APART = "apart"
    IDLE = "idle"
    TELLING = "telling"
    ASKING = "asking"
    WAITING = "waiting"


class Publisher:
    """See the module. `token`: this start's; 0 until a parent has issued it."""

    def __init__(self, fqcn: str) -> None:
        self.fqcn = fqcn
        self.state = PublisherState.APART
        self.token = 0
        self._root = ""
        self._number = 0
        self._facts: dict[tuple[str, str], tuple[int, bytes | None]] = {}
        """(topic, key) -> (number, body), by number; None: withdrawn, and the root may not know it yet."""
        self._untold: dict[tuple[str, str], None] = {}
        self._under_way: dict[tuple[str, str], int] = {}
        self._sent: set[tuple[str, str]] = set()
        """Places of which the root may know something."""
        self._count = self._size = 0
        """Facts that are said, and their bytes."""
        self._due: float | None = None
        self._is_new = False
        """The root is to hear of this start even where there is nothing to tell: what a former one said is over."""
        self._is_refused = False

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def set(self, topic: str, key: str, body: bytes | None, now: float) -> list[Command]:
        """Say something under a topic and key from now on, or withdraw it. More than a cell may say is not said."""
        return self.set_all([(topic, key, body)], now)

    def set_all(self, words: Iterable[Word], now: float) -> list[Command]:
        """The same of several: they are told together."""
        notes = [note for word in words for note in self._say(*word)]
        return notes + (self._tell(now) if self._untold else [])

    def bound(self, root: str, token: int, now: float) -> list[Command]:
        """A parent has bound this cell anew."""
        self._root, self.token = root, token
        self.state = PublisherState.IDLE
        self._is_new = True
        return [Unask(self), *self._tell_all(now)]

    def unbound(self) -> list[Command]:
        """The link to the parent is no more."""
        self.state = PublisherState.APART
        self._due = None
        return [Unask(self)]

    def root_is_new(self, now: float) -> list[Command]:
        """The root has restarted, though the link of this cell has not: it knows nothing of what was told before."""
        self._untold = dict.fromkeys(self._facts)
        self._is_refused = False
        return self._tell(now)

    def own(self) -> list[Fact]:
        """What this cell says now."""
        floor = self._floor
        return [self._fact(place, floor) for place, (_, body) in self._facts.items() if body is not None]

    # -- doors ---------------------------------------------------------------------------------------------------------

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """The root has answered, or cannot be reached."""
        if tag == "check" and self.state is PublisherState.ASKING:
            self.state = PublisherState.IDLE
            if outcome.code is not CellReturnCode.OK:
                return self._pause(now)
            return self._tell(now) if outcome.headers.get("same") else self._tell_all(now)
        if tag != "publish" or self.state is not PublisherState.TELLING:
            return []
        if outcome.code not in (CellReturnCode.OK, CellReturnCode.INVALID_REQUEST):
            return self._pause(now)
        told, self._under_way = self._under_way, {}
        self._is_told(told)
        self._is_new = False
        self.state = PublisherState.IDLE
        if outcome.code is CellReturnCode.OK:
            return self._tell(now)
        self._is_refused = True  # for good: to tell it again would change nothing
        text = f"{self.fqcn}: the root refuses what this cell publishes: {outcome.error}"
        return [Note(Level.WARNING, text), *self._tell(now)]

    def handle_timeout(self, now: float) -> list[Command]:
        """The pause is over, or a check is due."""
        if self._due is None or now < self._due:
            return []
        self._due = None
        if self.state is PublisherState.WAITING:
            self.state = PublisherState.IDLE
            return self._tell(now)
        if self.state is not PublisherState.IDLE or not self._facts:
            return []
        self.state = PublisherState.ASKING
        live = [number for number, body in self._facts.values() if body is not None]
        digest = {"n": [self.token, len(live), sum(live)]}
        return [Ask(self, "check", (self._root,), CHANNEL, PlaneTopic.CHECK, digest, 0, (), TIMEOUT, repeatable=True)]

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return self._due

    # -- within --------------------------------------------------------------------------------------------------------

    def _say(self, topic: str, key: str, body: bytes | None) -> list[Command]:
        place = topic, key
        held = self._facts.get(place)
        if (held[1] if held is not None else None) == body:
            return []
        if body is not None and not self._has_room(place, body):
            text = f"{self.fqcn}: {key!r} is not published: a cell may say {CELL_FACTS} facts of {CELL_SIZE} bytes"
            return [Note(Level.WARNING, f"{text}; withdraw some, or offer what is large and announce it")]
        if body is None and place not in self._sent:  # it was never told: a cell that is alone must not grow by this
            self._remove(place)
            return []
        self._keep(place, body)
        while self._number - self._floor > 3 * len(self._facts) + MOST_MARKS:
            oldest = next(iter(self._facts))
            self._keep(oldest, self._facts[oldest][1])
        return []

    @property
    def _floor(self) -> int:
        """The number below all that stand or are being withdrawn."""
        return next(iter(self._facts.values()))[0] - 1 if self._facts else self._number

    def _has_room(self, place: tuple[str, str], body: bytes) -> bool:
        _, held = self._facts.get(place, (0, None))
        count = self._count + (held is None)
        return count <= CELL_FACTS and self._size - self._size_of(place, held) + self._size_of(place, body) <= CELL_SIZE

    def _keep(self, place: tuple[str, str], body: bytes | None) -> None:
        """Under the next number, as the last of all."""
        self._remove(place)
        self._number += 1
        self._facts[place] = self._number, body
        self._untold[place] = None
        self._count += body is not None
        self._size += self._size_of(place, body)

    def _remove(self, place: tuple[str, str]) -> None:
        self._untold.pop(place, None)
        if (held := self._facts.pop(place, None)) is not None:
            self._count -= held[1] is not None
            self._size -= self._size_of(place, held[1])

    def _size_of(self, place: tuple[str, str], body: bytes | None) -> int:
        return 0 if body is None else Fact(self.fqcn, 0, 0, 0, *place, body).size

    def _tell_all(self, now: float) -> list[Command]:
        self._untold = dict.fromkeys(self._facts)
        self._under_way = {}
        self._is_refused = False
        return self._tell(now)

    def _tell(self, now: float) -> list[Command]:
        if self.state is not PublisherState.IDLE:
            return []
        if not self._untold and not self._is_new:
            return self._rest(now + (REFUSED_CHECK if self._is_refused else CHECK))
        floor = self._floor
        facts = next(batches((self._fact(place, floor) for place in self._untold), lambda fact: fact.size), [])
        for fact in facts:
            del self._untold[fact.topic, fact.key]
            self._under_way[fact.topic, fact.key] = fact.number
            self._sent.add((fact.topic, fact.key))
        self.state = PublisherState.TELLING
        self._due = None
        bodies = tuple(payload.encode(encode_facts(facts)))
        return [
            Ask(
                self,
                "publish",
                (self._root,),
                CHANNEL,
                PlaneTopic.PUBLISH,
                {"k": self.token},
                0,
                bodies,
                TIMEOUT,
                repeatable=True,
            )
        ]

    def _is_told(self, told: dict[tuple[str, str], int]) -> None:
        for place, number in told.items():
            if self._facts.get(place) == (number, None):
                del self._facts[place]
                self._untold.pop(place, None)
                self._sent.discard(place)

    def _pause(self, now: float) -> list[Command]:
        self._untold = dict.fromkeys([*self._under_way, *self._untold])
        self._under_way = {}
        self.state = PublisherState.WAITING
        return self._rest(now + PAUSE)

    def _rest(self, until: float) -> list[Command]:
        self._due = until
        return []

    def _fact(self, place: tuple[str, str], floor: int) -> Fact:
        number, body = self._facts[place]
        return Fact(self.fqcn, self.token, number, floor, *place, body)

    def __repr__(self) -> str:
        return f"<Publisher {self.fqcn} {self.state}, {len(self._facts)} facts, {len(self._untold)} to tell>"
