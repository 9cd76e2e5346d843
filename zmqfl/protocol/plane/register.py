"""The root's own merge of what cells publish: in any order, any number of times, the same facts make the same register.

    known of the origin     comes                          effect
    nothing                 a fact                         kept
    a start                 a fact of an older start       dropped
    a start                 a fact of a newer start        whatever the older one said is over; kept
    a fact                  a floor above its number       over: its withdrawal is on the way, or was lost
    the place               a number not above its own     dropped
    the place               a higher number                kept in its stead
    not the place           a number up to the floor       dropped: it was withdrawn, and forgotten since

A withdrawn fact stays as a mark (no body) until the origin says by its floor that nothing older can still be valid. The
floor is the origin's word and part of each fact, so it does not depend on the order either. (A last-writer-wins map of
the CRDT literature, with the stamps of one writer per place.)
"""

from __future__ import annotations

from zmqfl.protocol.plane.facts import Fact, place_of, withdrawal_of


class _Origin:
    """What one start of one cell says."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.floor = 0
        self.facts: dict[tuple[str, str], Fact] = {}
        """By (topic, key); those without a body are marks."""
        self.size = 0


class Register:
    """See the module."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin] = {}

    def merge(self, fact: Fact) -> list[Fact]:
        """Take a fact in. Returns what is new to those who knew all before: facts, and withdrawals of what is over."""
        over = self.begin(fact.origin, fact.token)
        known = self._origins[fact.origin]
        if fact.token < known.token:
            return []
        over += _raise_floor(known, fact.floor)
        place = fact.topic, fact.key
        held = known.facts.get(place)
        if fact.number <= (held.number if held is not None else known.floor):
            return over
        known.facts[place] = fact
        known.size += fact.size - (held.size if held is not None else 0)
        if fact.body is None and (held is None or held.body is None):
            return over
        return [*(each for each in over if place_of(each) != place_of(fact)), fact]

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

    def digest(self, origin: str) -> tuple[int, int, int]:
        """(token, number of facts, sum of their numbers): enough to see whether an origin has more to say."""
        known = self._origins.get(origin)
        if known is None:
            return 0, 0, 0
        numbers = [fact.number for fact in known.facts.values() if fact.body is not None]
        return known.token, len(numbers), sum(numbers)

    def size(self, origin: str) -> int:
        """Bytes of what an origin has said, marks included, about."""
        known = self._origins.get(origin)
        return known.size if known is not None else 0

    def origins(self) -> list[str]:
        """Who has said something."""
        return list(self._origins)

    def facts(self) -> list[Fact]:
        """All of them, marks not."""
        return [fact for known in self._origins.values() for fact in known.facts.values() if fact.body is not None]

    def __repr__(self) -> str:
        return f"<Register {len(self.facts())} facts of {len(self._origins)} cells>"


def _raise_floor(known: _Origin, floor: int) -> list[Fact]:
    """Remove what stands under a number up to the floor; the withdrawals of those that were valid."""
    if floor <= known.floor:
        return []
    known.floor = floor
    old = [(place, fact) for place, fact in known.facts.items() if fact.number <= floor]
    for place, fact in old:
        del known.facts[place]
        known.size -= fact.size
    return [withdrawal_of(fact) for _, fact in old if fact.body is not None]
