"""A cell's own facts, on their way to the root until it has them all.

    state     event                                next      effect
    apart     set, withdraw                        apart     kept, to be told
    apart     bound to a parent                    telling   all there is, or that there is nothing: the root may be a new one
    idle      set, withdraw; something to tell     telling   publish: up to MOST_FACTS of them
    idle      CHECK seconds without a publish      asking    check: does the root know what we say?
    telling   answered OK                          idle      told, unless changed since; more: telling again
    telling   answered otherwise                   waiting   the cell hears of what the root refuses for good
    asking    answered "differs"                   idle      everything is to be told again
    waiting   a pause is over                      idle
    any       unbound                              apart

The root takes a publish twice without harm (see `register`), so nothing here must be at most once. A withdrawn fact is
remembered until the root knows; then the floor covers it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Ask, Command, Level, Note, Outcome, Unask
from zmqfl.protocol.plane.facts import MOST_BYTES, Fact, encode_facts
from zmqfl.protocol.plane.updates import CHANNEL, PlaneTopic
from zmqfl.wire import payload

MOST_FACTS = 256
"""Facts of one publish."""
CHECK = 20.0
"""Seconds after which the root is asked whether it knows everything: what a cut behind a relay has undone is mended."""
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
        """(topic, key) -> (number, body); None: withdrawn, and the root may not know it yet."""
        self._untold: dict[tuple[str, str], None] = {}
        self._under_way: dict[tuple[str, str], int] = {}
        self._due: float | None = None
        self._is_new = False
        """The root is to hear of this start even where there is nothing to tell: what a former one said is over."""

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def set(self, topic: str, key: str, body: bytes | None, now: float) -> list[Command]:
        """Say something under a topic and key from now on, or withdraw it."""
        place = topic, key
        held = self._facts.get(place)
        if (held[1] if held is not None else None) == body:
            return []
        self._number += 1
        self._facts[place] = self._number, body
        self._untold.pop(place, None)
        self._untold[place] = None
        return self._tell(now)

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

    def own(self) -> list[Fact]:
        """What this cell says now."""
        return [self._fact(place) for place, (_, body) in self._facts.items() if body is not None]

    # -- doors ---------------------------------------------------------------------------------------------------------

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """The root has answered, or cannot be reached."""
        if tag == "check" and self.state is PublisherState.ASKING:
            self.state = PublisherState.IDLE
            if outcome.code is CellReturnCode.OK and outcome.headers.get("same"):
                return self._rest(now + CHECK)
            return self._tell_all(now) if outcome.code is CellReturnCode.OK else self._pause(now)
        if tag != "publish" or self.state is not PublisherState.TELLING:
            return []
        told, self._under_way = self._under_way, {}
        if outcome.code is CellReturnCode.OK:
            self._is_told(told)
            self._is_new = False
            self.state = PublisherState.IDLE
            return self._tell(now)
        if outcome.code is CellReturnCode.INVALID_REQUEST:  # for good: to tell it again would change nothing
            self._is_told(told)
            self._is_new = False
            text = f"{self.fqcn}: the root refuses what this cell publishes: {outcome.error}"
            self.state = PublisherState.IDLE
            return [Note(Level.WARNING, text), *self._tell(now)]
        return self._pause(now)

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

    def _tell_all(self, now: float) -> list[Command]:
        self._untold = dict.fromkeys(sorted(self._facts, key=lambda place: self._facts[place][0]))
        self._under_way = {}
        return self._tell(now)

    def _tell(self, now: float) -> list[Command]:
        if self.state is not PublisherState.IDLE:
            return []
        if not self._untold and not self._is_new:
            return self._rest(now + CHECK)
        facts: list[Fact] = []
        size = 0
        for place in list(self._untold):
            fact = self._fact(place)
            size += fact.size
            if facts and (size > MOST_BYTES or len(facts) >= MOST_FACTS):
                break
            facts.append(fact)
            del self._untold[place]
            self._under_way[place] = fact.number
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

    def _pause(self, now: float) -> list[Command]:
        self._untold = dict.fromkeys([*self._under_way, *self._untold])
        self._under_way = {}
        self.state = PublisherState.WAITING
        return self._rest(now + PAUSE)

    def _rest(self, until: float) -> list[Command]:
        self._due = until
        return []

    def _fact(self, place: tuple[str, str]) -> Fact:
        number, body = self._facts[place]
        floor = min(number for number, _ in self._facts.values()) - 1
        return Fact(self.fqcn, self.token, number, floor, *place, body)

    def __repr__(self) -> str:
        return f"<Publisher {self.fqcn} {self.state}, {len(self._facts)} facts, {len(self._untold)} to tell>"
