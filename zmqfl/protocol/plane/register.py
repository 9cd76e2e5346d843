"""The root's own merge of what cells publish: in any order, any number of times, the same facts make the same register.

    known of the origin     comes                          effect
    nothing                 a fact                         kept
    a start                 a fact of an older start       dropped
    a start                 a fact of a newer start        whatever the older one said is over; kept
    a fact                  a floor above its number       over: its withdrawal is on the way, or was lost
    the place               a number not above its own     dropped
    the place               a higher number                kept in its stead; told unless it says the same
    not the place           a number up to the floor       dropped: it was withdrawn, and forgotten since

A withdrawn fact stays as a mark (no body) until the origin says by its floor that nothing older can still be valid. The
floor is the origin's word and part of each fact, so it does not depend on the order either. (A last-writer-wins map of
the CRDT literature, with the stamps of one writer per place.)
"""

from __future__ import annotations

from zmqfl.protocol.plane.facts import CELL_FACTS, CELL_SIZE, Fact, place_of, withdrawal_of


class _Origin:
    """What one start of one cell says."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.floor = 0
        self.facts: dict[tuple[str, str], Fact] = {}
        """By (topic, key); those without a body are marks."""
        self.count = self.numbers = self.size = 0
        """Of those with a body: how many, and the sum of their numbers; bytes of all."""

    def keep(self, fact: Fact) -> None:
        self.remove(fact.topic, fact.key)
        self.facts[fact.topic, fact.key] = fact
        self._count(fact, 1)

    def remove(self, topic: str, key: str) -> None:
        if (fact := self.facts.pop((topic, key), None)) is not None:
            self._count(fact, -1)

    def _count(self, fact: Fact, sign: int) -> None:
        self.size += sign * fact.size
        if fact.body is not None:
            self.count += sign
            self.numbers += sign * fact.number


class Register:
    """See the module."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin] = {}

    def merge(self, fact: Fact) -> list[Fact]:
        """Take a fact in. Returns what is new to those who knew all before: facts, and withdrawals of what is over."""
        over = {place_of(each): each for each in self.begin(fact.origin, fact.token)}
        known = self._origins[fact.origin]
        if fact.token < known.token:
            return []
        held = known.facts.get((fact.topic, fact.key))
        over.update((place_of(each), each) for each in _raise_floor(known, fact.floor))
        if fact.number <= (held.number if held is not None else known.floor):
            return list(over.values())
        known.keep(fact)
        if held is not None and held.body == fact.body:  # only its number is new
            over.pop(place_of(fact), None)
        elif held is not None or fact.body is not None:
            over[place_of(fact)] = fact
        return list(over.values())

    def begin(self, origin: str, token: int) -> list[Fact]:
        """A start of a cell is heard of: whatever an older one said is over. Returns the withdrawals."""
        known = self._origins.get(origin)
        if known is not None and token <= known.token:
            return []
        over = self.drop(origin)
        self._origins[origin] = _Origin(token)
        return over

    def drop(self, origin: str) -> list[Fact]:
        """Forget a cell, as it is gone. Returns the withdrawals of what it said."""
        known = self._origins.pop(origin, None)
        facts = known.facts.values() if known is not None else ()
        return [withdrawal_of(fact) for fact in facts if fact.body is not None]

    def has_room(self, fact: Fact) -> bool:
        """Whether its origin may say this beside what it has said.

        There may be two marks to a fact (see `publisher`), and what they take is counted too.
        """
        known = self._origins.get(fact.origin, _Origin(0))
        held = known.facts.get((fact.topic, fact.key))
        count = known.count - (held is not None and held.body is not None) + (fact.body is not None)
        places = len(known.facts) + (held is None)
        size = known.size - (held.size if held is not None else 0) + fact.size
        return count <= CELL_FACTS and places <= 4 * CELL_FACTS and size <= 2 * CELL_SIZE

    def digest(self, origin: str) -> tuple[int, int, int]:
        """(token, number of facts, sum of their numbers): enough to see whether an origin has more to say."""
        known = self._origins.get(origin)
        return (known.token, known.count, known.numbers) if known is not None else (0, 0, 0)

    def origins(self) -> list[str]:
        """Who has said something."""
        return list(self._origins)

    def facts(self) -> list[Fact]:
        """All of them, marks not."""
        return [fact for known in self._origins.values() for fact in known.facts.values() if fact.body is not None]

    def __repr__(self) -> str:
        count = sum(known.count for known in self._origins.values())
        return f"<Register {count} facts of {len(self._origins)} cells>"


def _raise_floor(known: _Origin, floor: int) -> list[Fact]:
    """Remove what stands under a number up to the floor; the withdrawals of those that were valid."""
    if floor <= known.floor:
        return []
    known.floor = floor
    old = [fact for fact in known.facts.values() if fact.number <= floor]
    for fact in old:
        known.remove(fact.topic, fact.key)
    return [withdrawal_of(fact) for fact in old if fact.body is not None]
