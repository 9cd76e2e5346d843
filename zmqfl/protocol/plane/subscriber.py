"""What a cell hears of the plane, from its parent: first it subscribes, then it asks what stands, then it follows.

    state     event                                    next      effect
    apart     bound to a parent                        syncing   subscribe, with the numbers that are here
    syncing   update                                   syncing   kept until the snapshot is there; too many: ask again
    syncing   snapshot                                 live      its topics replaced; kept updates that go on from it
    syncing   the parent knows nothing itself yet      waiting
    live      update after the last of its topic       live      applied, and told on
    live      update, a number that was there          live      dropped
    live      update after another; heads ahead        syncing   subscribe again: what was lost is in the snapshot
    live      another epoch                            syncing   as above
    live      CHECK seconds without a subscribe        syncing   as above: the heads may have been lost as well
    waiting   a pause is over                          syncing
    any       unbound                                  apart     what is known stays: it may be old, and says so

So a late joiner, a lost update and a restarted root all end in the state of those who missed nothing.
Source: the Clone pattern of the ZeroMQ guide, chapter 5.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.commands import Ask, Command, Outcome, Unask
from zmqfl.protocol.plane.facts import Fact
from zmqfl.protocol.plane.replica import Replica
from zmqfl.protocol.plane.updates import CHANNEL, PlaneTopic, Snapshot, Update, decode_snapshot, encode_question

MOST_KEPT = 1024
MOST_KEPT_SIZE = 4 * 1024 * 1024
"""Updates, and bytes of them, kept while a snapshot is on its way."""
PAUSE = 0.5
TIMEOUT = 30.0
CHECK = 20.0


class SubscriberState(StrEnum):
    """The states of the table."""

    APART = "apart"
    SYNCING = "syncing"
    LIVE = "live"
    WAITING = "waiting"


class Subscriber:
    """See the module. `prefixes`: the topics that are wanted.

    `take` gives what has happened: facts for who watches here, and updates for the hub to tell on.
    """

    def __init__(self, prefixes: tuple[str, ...] = ("",)) -> None:
        self.state = SubscriberState.APART
        self.epoch = 0
        self.heads: dict[str, int] = {}
        self.replica = Replica()
        self.gaps = 0
        """Times that something was missing."""
        self.is_current = False
        """Whether nothing is known to be missing, and the parent is there to tell."""
        self._prefixes = prefixes
        self._parent = ""
        self._kept: list[Update] = []
        self._kept_size = 0
        self._due: float | None = None
        self._changed: list[Fact] = []
        self._passed: list[Update] = []
        self._replaced: set[str] = set()

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def bound(self, parent: str, now: float) -> list[Command]:
        """A parent has bound this cell anew."""
        self._parent = parent
        return [Unask(self), *self._subscribe(now)]

    def unbound(self) -> list[Command]:
        """The link to the parent is no more."""
        self.state = SubscriberState.APART
        self.is_current = False
        self._due = None
        return [Unask(self)]

    def take(self) -> tuple[list[Fact], list[Update], set[str]]:
        """Since it was last asked: what has changed, what is to be told on, and the topics that a snapshot changed."""
        taken = self._changed, self._passed, self._replaced
        self._changed, self._passed, self._replaced = [], [], set()
        return taken

    # -- doors ---------------------------------------------------------------------------------------------------------

    def update(self, update: Update, now: float) -> list[Command]:
        """The parent tells something new."""
        if not update.topic.startswith(self._prefixes):
            return []
        if self.state is SubscriberState.SYNCING:
            self._kept.append(update)
            self._kept_size += sum(fact.size for fact in update.facts)
            if len(self._kept) > MOST_KEPT or self._kept_size > MOST_KEPT_SIZE:
                self._drop_kept()  # the snapshot will leave a gap, which is mended
            return []
        if self.state is not SubscriberState.LIVE:
            return []
        if update.epoch == self.epoch and self._apply(update):
            return []
        return self._missed(now)

    def heads_are(self, epoch: int, heads: dict[str, int], now: float) -> list[Command]:
        """The parent says what the latest numbers are; 0: a topic is forgotten."""
        if self.state is not SubscriberState.LIVE:
            return []
        if epoch == self.epoch and not any(self._is_behind(topic, number) for topic, number in heads.items()):
            return []
        return self._missed(now)

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """The snapshot."""
        if self.state is not SubscriberState.SYNCING:
            return []
        try:
            snapshot = decode_snapshot(outcome.bodies) if outcome.code is CellReturnCode.OK else None
        except DecodeError:
            snapshot = None
        if snapshot is None:
            self.is_current = False
            self.state = SubscriberState.WAITING
            self._due = now + PAUSE
            return []
        self._take_in(snapshot)
        self.state = SubscriberState.LIVE
        self.is_current = True
        self._due = now + CHECK
        kept = list(self._kept)
        self._drop_kept()
        if all(update.epoch == self.epoch and self._apply(update) for update in kept):
            return []
        return self._missed(now)

    def handle_timeout(self, now: float) -> list[Command]:
        """The pause is over, or a check is due."""
        if self._due is None or now < self._due:
            return []
        return self._subscribe(now)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return self._due

    # -- within --------------------------------------------------------------------------------------------------------

    def _missed(self, now: float) -> list[Command]:
        self.gaps += 1
        self.is_current = False
        return self._subscribe(now)

    def _subscribe(self, now: float) -> list[Command]:
        self.state = SubscriberState.SYNCING
        self._due = None
        self._drop_kept()
        bodies = encode_question(self._prefixes, self.epoch, self.heads)
        return [
            Ask(
                self,
                "subscribe",
                (self._parent,),
                CHANNEL,
                PlaneTopic.SUBSCRIBE,
                {},
                0,
                bodies,
                TIMEOUT,
                repeatable=True,
            )
        ]

    def _is_behind(self, topic: str, number: int) -> bool:
        if not topic.startswith(self._prefixes):
            return False
        return number > self.heads.get(topic, 0) if number else topic in self.heads

    def _apply(self, update: Update) -> bool:
        """Apply what follows the last update of its topic, pass over one that was there; False for a gap."""
        head = self.heads.get(update.topic, 0)
        if update.number <= head:
            return True
        if update.after != head:
            return False
        self.heads[update.topic] = update.number
        self._changed += [fact for fact in update.facts if self.replica.apply(fact)]
        self._passed.append(update)
        return True

    def _take_in(self, snapshot: Snapshot) -> None:
        chosen = set(snapshot.topics)
        # Of another epoch nothing is known to be true, nor of a topic of which the parent says nothing any more.
        chosen.update(t for t in self.replica.topics() if snapshot.epoch != self.epoch or t not in snapshot.heads)
        facts: dict[str, list[Fact]] = {topic: [] for topic in sorted(chosen)}  # watchers hear it in the same order
        for fact in snapshot.facts:
            facts.setdefault(fact.topic, []).append(fact)
        for topic, each in facts.items():
            self._changed += self.replica.replace(topic, each)
        self._replaced |= facts.keys()
        self.epoch, self.heads = snapshot.epoch, dict(snapshot.heads)

    def _drop_kept(self) -> None:
        self._kept.clear()
        self._kept_size = 0

    def __repr__(self) -> str:
        return f"<Subscriber {self.state} of {self._parent or 'nobody'}, {len(self.replica)} facts>"
