"""The facts that a cell knows, as its hub has told them: a plain map, changed in the order of the hub's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zmqfl.protocol.plane.facts import Fact, Place, place_of, withdrawal_of


class Replica:
    """See the module. Two replicas are equal when they hold the same facts."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[Place, Fact]] = {}
        self.size = 0
        """Bytes of all facts, about."""

    def apply(self, fact: Fact) -> bool:
        """Keep a fact in the place of the one before it, or remove that; whether anything has changed."""
        facts = self._topics.setdefault(fact.topic, {})
        place = place_of(fact)
        old = facts.pop(place, None)
        if old is not None:
            self.size -= old.size
        if fact.body is not None:
            facts[place] = fact
            self.size += fact.size
        if not facts:
            del self._topics[fact.topic]
        return old != fact and (old is not None or fact.body is not None)

    def replace(self, topic: str, facts: Iterable[Fact]) -> list[Fact]:
        """Make the facts of a topic these and no others. Returns what has changed, withdrawals too."""
        wanted = {place_of(fact): fact for fact in facts}
        over = [withdrawal_of(old) for place, old in self._topics.get(topic, {}).items() if place not in wanted]
        return [fact for fact in [*over, *wanted.values()] if self.apply(fact)]

    def find(self, place: Place) -> Fact | None:
        """The fact at a place, if it is there."""
        return self._topics.get(place[1], {}).get(place)

    def facts(self, prefix: str = "") -> Iterator[Fact]:
        """All facts whose topic begins with `prefix`."""
        for topic, facts in self._topics.items():
            if topic.startswith(prefix):
                yield from facts.values()

    def has(self, topic: str) -> bool:
        """Whether there are facts under a topic."""
        return topic in self._topics

    def topics(self) -> list[str]:
        """Those that have facts."""
        return list(self._topics)

    def __len__(self) -> int:
        return sum(map(len, self._topics.values()))

    def __eq__(self, other: object) -> bool:
        return self._topics == other._topics if isinstance(other, Replica) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Replica {len(self)} facts under {len(self._topics)} topics>"
