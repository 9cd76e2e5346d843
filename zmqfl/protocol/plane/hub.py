"""What a cell tells its children; at the root also the numbers under which everybody hears it.

    from      comes                                 effect
    child     subscribe, its rule grants something  it hears of those topics from now on; the snapshot
    child     subscribe, before this cell is ready  service_unavailable: it asks again
    child     listens where this cell publishes     updates under what it may hear reach it that way, others by its link
    within    updates, as the subscriber heard them told on unchanged; kept for the next snapshots by the replica
    within    an update that is for one cell        told by the link that leads there; never published
    clock     a beat after something was told       heads by link, for those who lost the last update
    above     the rule grants a listener less       all who listen are cut, and listen again
    root      publish, the origin's own facts       merged; what is new gets the next number of its topic, and is told
    root      check                                 whether the register holds what the origin says it should
    root      departed, by a cell above             what the departed and those below it said is withdrawn

A child that stops reading loses updates, like anybody whose queue is full; it repairs itself by heads and snapshot when
it reads again, and costs the hub a name and a few prefixes until then. One that is gone and listens still is cut, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Answer, Call, Command, Outcome, Publish, Reopen, Tell
from zmqfl.protocol.plane.facts import (
    BOUND,
    CELL_FACTS,
    CELL_SIZE,
    MAX_NUMBER,
    MOST_BYTES,
    OVERHEAD,
    Fact,
    batches,
    byte_length,
    concerns,
    decode_facts,
)
from zmqfl.protocol.plane.register import Register
from zmqfl.protocol.plane.replica import Replica
from zmqfl.protocol.plane.updates import (
    MOST_TOPICS,
    PlaneTopic,
    Snapshot,
    Update,
    decode_question,
    encode_heads,
    encode_snapshot,
    encode_update,
)
from zmqfl.wire import payload

REMINDERS = 3
"""Beats after an update in which heads are told."""
EMPTY_TOPICS = 256
"""Topics without facts whose numbers the root remembers."""
LEAVE = 10.0
"""Seconds in which a child that is gone stops to listen, or is cut: its connection ends with it, as a rule."""

Rule = Callable[[str], tuple[str, ...]]
"""Which topics (prefixes) a child may hear of."""


def everything(child: str) -> tuple[str, ...]:
    """The rule where none is given."""
    return ("",)


class Hub:
    """See the module. `beat`: seconds. `rule`: asked at each subscription, and again by `check_rules`."""

    def __init__(self, fqcn: str, beat: float, rule: Rule = everything) -> None:
        self.fqcn = fqcn
        self.rule = rule
        self.subscribers: dict[str, tuple[str, ...]] = {}
        """Child -> the topics that it hears of, by prefix."""
        self.listeners: dict[str, tuple[str, ...]] = {}
        """Child -> the topics that it hears where this cell publishes, by prefix."""
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._left: dict[str, float] = {}
        """Listeners that are no children any more -> when they are cut."""
        self._beat = beat
        self._recent: dict[str, tuple[int, float]] = {}
        """Topics of which heads are to be told -> how often still, and not before."""
        self._next: float | None = None

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def tell(self, updates: Iterable[Update], now: float) -> list[Command]:
        """Tell the children, each what it may hear of."""
        commands: list[Command] = []
        for update in updates:
            # Not before half a beat: what is published may still be on its way when the heads are there.
            self._recent[update.topic] = REMINDERS, now + self._beat / 2
            names = self._hearers(update.topic)
            linked = tuple(name for name in names if not self._listens(name, update.topic))
            if names:
                headers, bodies = encode_update(update)
                if linked != names:
                    commands.append(Publish(update.topic, headers, bodies))
                if linked:
                    commands.append(Tell(linked, PlaneTopic.UPDATE, headers, bodies))
        if self._recent and self._next is None:
            self._next = now + self._beat
        return commands

    def remind_of(self, topics: Iterable[str], now: float) -> None:
        """The numbers of these have changed without updates: heads are to be told at once."""
        self._recent.update(dict.fromkeys(topics, (REMINDERS, now)))
        self._next = now if self._recent else self._next

    def forget(self, child: str, now: float) -> None:
        """A child is gone."""
        self.subscribers.pop(child, None)
        self._wanted.pop(child, None)
        if child in self.listeners:
            self._left[child] = now + LEAVE

    def check_rules(self) -> list[Command]:
        """The rule may have changed. Who may hear of less hears of less from now on, also where it listens."""
        for child, wanted in self._wanted.items():
            self.subscribers[child] = _granted(wanted, self.rule(child))
        for child, granted in self.listeners.items():
            allowed = self.rule(child)
            if not all(prefix.startswith(allowed) for prefix in granted):
                return [Reopen()]
        return []

    def admit(self, child: str) -> tuple[str, ...]:
        """A child that is bound wants to hear what is published here. Returns the prefixes that it may hear."""
        granted = _granted(("",), self.rule(child))
        if granted:
            self.listeners[child] = granted
            self._left.pop(child, None)
        return granted

    def dismiss(self, child: str) -> None:
        """It does not listen any more."""
        self.listeners.pop(child, None)
        self._left.pop(child, None)

    # -- doors ---------------------------------------------------------------------------------------------------------

    def subscribe(self, call: Call, replica: Replica, epoch: int, heads: Mapping[str, int]) -> list[Command]:
        """A child wants to hear. `epoch` 0: nothing is known here yet."""
        try:
            wanted, its_epoch, its_heads = decode_question(call.bodies)
        except DecodeError as error:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, str(error)))]
        granted = _granted(wanted, self.rule(call.origin))
        self._wanted[call.origin] = wanted
        self.subscribers[call.origin] = granted  # first: what comes from now on is told, the snapshot holds the rest
        if not epoch:
            text = f"{self.fqcn} does not know the plane itself yet"
            return [Answer(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, text))]
        seen = {t: number for t, number in heads.items() if t.startswith(granted) and concerns(t, call.origin)}
        topics = [t for t, number in seen.items() if its_epoch != epoch or its_heads.get(t, 0) != number]
        chosen = set(topics)
        facts = tuple(fact for fact in replica.facts() if fact.topic in chosen)
        snapshot = Snapshot(epoch, seen, tuple(topics), facts)
        return [Answer(call, Outcome(CellReturnCode.OK, bodies=encode_snapshot(snapshot)))]

    def handle_timeout(self, epoch: int, heads: Mapping[str, int], now: float) -> list[Command]:
        """Tell the latest numbers of what was told a moment ago; cut who should have gone."""
        commands: list[Command] = []
        if any(at <= now for at in self._left.values()):
            self._left.clear()
            commands.append(Reopen())
        if self._next is None or now < self._next:
            return commands
        due = [topic for topic, (_, at) in self._recent.items() if at <= now]
        for names, topics in self._groups(due).items():
            for batch in batches(topics, _head_size):
                bodies = encode_heads(epoch, {topic: heads.get(topic, 0) for topic in batch})
                commands.append(Tell(names, PlaneTopic.HEADS, {}, bodies))
        for topic in due:
            left, _ = self._recent.pop(topic)
            if left > 1:
                self._recent[topic] = left - 1, now
        self._next = now + self._beat if self._recent else None
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = [*self._left.values(), *([] if self._next is None else [self._next])]
        return min(times, default=None)

    # -- within --------------------------------------------------------------------------------------------------------

    def _hearers(self, topic: str) -> tuple[str, ...]:
        hearers = (child for child, granted in self.subscribers.items() if topic.startswith(granted))
        return tuple(child for child in hearers if concerns(topic, child))

    def _listens(self, child: str, topic: str) -> bool:
        return topic.startswith(self.listeners.get(child, ())) and not topic.startswith(BOUND)

    def _groups(self, topics: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
        """Topics by who hears of them."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for topic in topics:
            if names := self._hearers(topic):
                groups.setdefault(names, []).append(topic)
        return groups

    def __repr__(self) -> str:
        return f"<Hub {self.fqcn} of {len(self.subscribers)} subscribers>"


class RootHub:
    """The numbers: the root's register, its replica, and what each change is told as. `epoch`: of this start."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.heads: dict[str, int] = {}
        self.replica = Replica()
        self._register = Register()
        self._number = 0
        self._empty: dict[str, None] = {}
        """Topics without facts, the longest empty first."""

    def publish(self, call: Call) -> tuple[Outcome, list[Update]]:
        """An origin's own facts."""
        token = call.headers.get("k")
        if type(token) is not int or not 0 <= token <= MAX_NUMBER or call.size > 2 * MOST_BYTES:
            text = f"a publish has a token, and at most {MOST_BYTES} bytes of facts"
            return Outcome(CellReturnCode.INVALID_REQUEST, text), []
        try:
            facts = decode_facts(payload.decode(call.bodies))
        except DecodeError as error:
            return Outcome(CellReturnCode.INVALID_REQUEST, str(error)), []
        return self.take(call.origin, token, facts)

    def take(self, origin: str, token: int, facts: Iterable[Fact]) -> tuple[Outcome, list[Update]]:
        """Merge what the start `token` of `origin` says."""
        changed = self._register.begin(origin, token)
        problem = ""
        for fact in facts:
            if (fact.origin, fact.token) != (origin, token):
                problem = f"{origin} may not publish under the name of {fact.origin}, or of another start"
            elif fact.topic not in self.heads and len(self.heads) >= MOST_TOPICS:
                problem = f"there are {MOST_TOPICS} topics already"
            elif not self._register.has_room(fact):
                problem = f"{origin} publishes more than {CELL_FACTS} facts or {CELL_SIZE} bytes"
            else:
                changed += self._register.merge(fact)
        outcome = Outcome(CellReturnCode.INVALID_REQUEST if problem else CellReturnCode.OK, problem)
        return outcome, self._updates(changed)

    def check(self, call: Call) -> Outcome:
        """Whether the register holds what the origin says it should."""
        same = call.headers.get("n") == list(self._register.digest(call.origin))
        return Outcome(CellReturnCode.OK, headers={"same": int(same)})

    def departed(self, name: str) -> list[Update]:
        """A cell is gone, and whoever is below it cannot be reached: what they said is over until they say it again."""
        gone = [origin for origin in self._register.origins() if origin == name or FQCN.is_ancestor(name, origin)]
        return self._updates([fact for origin in gone for fact in self._register.drop(origin)])

    def _updates(self, changed: Iterable[Fact]) -> list[Update]:
        by_topic: dict[str, list[Fact]] = {}
        for fact in changed:
            self.replica.apply(fact)
            by_topic.setdefault(fact.topic, []).append(fact)
        updates: list[Update] = []
        for topic, facts in by_topic.items():
            for batch in batches(facts, lambda fact: fact.size):
                self._number += 1
                updates.append(Update(self.epoch, topic, self._number, self.heads.get(topic, 0), tuple(batch)))
                self.heads[topic] = self._number
            self._empty.pop(topic, None)
            if not self.replica.has(topic):
                self._empty[topic] = None
        while len(self._empty) > EMPTY_TOPICS:
            topic = next(iter(self._empty))
            del self._empty[topic], self.heads[topic]
        return updates


def _head_size(topic: str) -> int:
    return byte_length(topic) + OVERHEAD


def _granted(wanted: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The narrower of each two prefixes that fit together."""
    both = {w if w.startswith(a) else a for w in wanted for a in allowed if w.startswith(a) or a.startswith(w)}
    return tuple(sorted(both))
