"""What a cell tells its children; at the root also the numbers under which everybody hears it.

    from      comes                                 effect
    child     subscribe, its rule grants something  it hears of those topics from now on; the snapshot
    child     subscribe, before this cell is ready  service_unavailable: it asks again
    within    updates, as the subscriber heard them told on unchanged; kept for the next snapshots by the replica
    clock     a beat after something was told       heads, for those who lost the last update
    root      publish, the origin's own facts       merged; what is new gets the next number of its topic, and is told
    root      check                                 whether the register holds what the origin says it should
    root      departed, by a cell above             what the departed and those below it said is withdrawn

A child that stops reading loses updates, like anybody whose queue is full; it repairs itself by heads and snapshot when
it reads again, and costs the hub a name and a few prefixes until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Answer, Call, Command, Outcome, Tell
from zmqfl.protocol.plane.facts import Fact, decode_facts
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

MOST_FACTS = 4096
MOST_SIZE = 4 * 1024 * 1024
"""Facts, and bytes of them, that one cell may publish."""
REMINDERS = 3
"""Beats after an update in which heads are told."""

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
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._beat = beat
        self._recent: dict[str, int] = {}
        """Topics of which heads are to be told -> how often still."""
        self._next: float | None = None

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def tell(self, updates: Iterable[Update], now: float) -> list[Command]:
        """Tell the children, each what it may hear of."""
        commands: list[Command] = []
        for update in updates:
            self._recent[update.topic] = REMINDERS
            if names := self._hearers(update.topic):
                commands.append(Tell(names, PlaneTopic.UPDATE, *encode_update(update)))
        if self._recent and self._next is None:
            self._next = now + self._beat
        return commands

    def remind_of(self, topics: Iterable[str], now: float) -> None:
        """The numbers of these have changed without updates: heads are to be told."""
        self._recent.update(dict.fromkeys(topics, REMINDERS))
        self._next = now if self._recent else self._next

    def forget(self, child: str) -> None:
        """A child is gone."""
        self.subscribers.pop(child, None)
        self._wanted.pop(child, None)

    def check_rules(self) -> list[str]:
        """The rule may have changed: those who hear of less from now on."""
        cut = []
        for child, wanted in self._wanted.items():
            granted = _granted(wanted, self.rule(child))
            if granted != self.subscribers.get(child, ()):
                cut.append(child)
                self.subscribers[child] = granted
        return cut

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
        seen = {topic: number for topic, number in heads.items() if topic.startswith(granted)}
        topics = [t for t, number in seen.items() if its_epoch != epoch or its_heads.get(t, 0) != number]
        chosen = set(topics)
        facts = tuple(fact for fact in replica.facts() if fact.topic in chosen)
        snapshot = Snapshot(epoch, seen, tuple(topics), facts)
        return [Answer(call, Outcome(CellReturnCode.OK, bodies=encode_snapshot(snapshot)))]

    def handle_timeout(self, epoch: int, heads: Mapping[str, int], now: float) -> list[Command]:
        """Tell the latest numbers of what was told a moment ago."""
        if self._next is None or now < self._next:
            return []
        commands: list[Command] = []
        for names, topics in self._groups().items():
            bodies = encode_heads(epoch, {topic: heads[topic] for topic in topics if topic in heads})
            commands.append(Tell(names, PlaneTopic.HEADS, {}, bodies))
        self._recent = {topic: left - 1 for topic, left in self._recent.items() if left > 1}
        self._next = now + self._beat if self._recent else None
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return self._next

    # -- within --------------------------------------------------------------------------------------------------------

    def _hearers(self, topic: str) -> tuple[str, ...]:
        return tuple(child for child, granted in self.subscribers.items() if topic.startswith(granted))

    def _groups(self) -> dict[tuple[str, ...], list[str]]:
        """Recent topics by who hears of them."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for topic in self._recent:
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

    def publish(self, call: Call) -> tuple[Outcome, list[Update]]:
        """An origin's own facts."""
        try:
            facts = decode_facts(payload.decode(call.bodies))
        except DecodeError as error:
            return Outcome(CellReturnCode.INVALID_REQUEST, str(error)), []
        token = call.headers.get("k")
        return self.take(call.origin, token if type(token) is int else 0, facts)

    def take(self, origin: str, token: int, facts: Iterable[Fact]) -> tuple[Outcome, list[Update]]:
        """Merge what the start `token` of `origin` says."""
        changed = self._register.begin(origin, token)
        problem = ""
        for fact in facts:
            if fact.origin != origin:
                problem = f"{origin} may not publish under the name of {fact.origin}"
            elif fact.body is not None and not self._has_room(fact):
                problem = f"{origin} publishes more than {MOST_FACTS} facts or {MOST_SIZE} bytes"
            else:
                changed += self._register.merge(fact)
        outcome = Outcome(CellReturnCode.INVALID_REQUEST if problem else CellReturnCode.OK, problem)
        return outcome, self._number(changed)

    def check(self, call: Call) -> Outcome:
        """Whether the register holds what the origin says it should."""
        same = call.headers.get("n") == list(self._register.digest(call.origin))
        return Outcome(CellReturnCode.OK, headers={"same": int(same)})

    def departed(self, name: str) -> list[Update]:
        """A cell is gone, and whoever is below it cannot be reached: what they said is over until they say it again."""
        gone = [origin for origin in self._register.origins() if origin == name or FQCN.is_ancestor(name, origin)]
        return self._number([fact for origin in gone for fact in self._register.drop(origin)])

    def _has_room(self, fact: Fact) -> bool:
        if fact.topic not in self.heads and len(self.heads) >= MOST_TOPICS:
            return False
        _, count, _ = self._register.digest(fact.origin)
        return count < MOST_FACTS and self._register.size(fact.origin) + fact.size <= MOST_SIZE

    def _number(self, changed: Iterable[Fact]) -> list[Update]:
        by_topic: dict[str, list[Fact]] = {}
        for fact in changed:
            self.replica.apply(fact)
            by_topic.setdefault(fact.topic, []).append(fact)
        updates = []
        for topic, facts in by_topic.items():
            self.heads[topic] = self.heads.get(topic, 0) + 1
            updates.append(Update(self.epoch, topic, self.heads[topic], tuple(facts)))
        return updates


def _granted(wanted: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The narrower of each two prefixes that fit together."""
    both = {w if w.startswith(a) else a for w in wanted for a in allowed if w.startswith(a) or a.startswith(w)}
    return tuple(sorted(both))
