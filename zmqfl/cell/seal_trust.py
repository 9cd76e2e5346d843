"""Which cards a cell believes, and its own.

A card is believed when the federation has signed it, it names the very cell, it is neither expired nor revoked, and it
has the CURVE key that this cell knows of the other one, if it knows one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zmqfl.errors import AuthenticationError, CellReturnCode, KeyFileError, RequestFailed
from zmqfl.transport.cards import SealingKeys
from zmqfl.transport.keys import spelled
from zmqfl.wire.card import Card, read_card

REMEDY: Final = "run `zmqfl provision` again, and reload the keys"


class Trust:
    """See the module. `known(name)`: the CURVE key (Z85) that this cell has of another, if it has one. `wall`: Unix
    time in seconds. All threads may use it: what it refers to is replaced, never changed."""

    def __init__(
        self, fqcn: str, keys: SealingKeys, known: Callable[[str], bytes | None], wall: Callable[[], float]
    ) -> None:
        self.keys = keys
        self._fqcn = fqcn
        self._known = known
        self._wall = wall
        self._refused: frozenset[str] = frozenset()

    def believed(self, signed: bytes, name: str) -> Card:
        """The card of cell `name`. Raises `DecodeError` for what the federation did not sign, `AuthenticationError`."""
        card = read_card(signed, self.keys.federation)
        self.check(card, name)
        return card

    def check(self, card: Card, name: str) -> None:
        """Raise `AuthenticationError` unless this card of cell `name` is believed now."""
        if problem := self.problem(card, name):
            raise AuthenticationError(f"{self._fqcn} does not believe {name}: {problem}")

    def problem(self, card: Card, name: str) -> str:
        """Why it is not believed; "" when it is."""
        if problem := card.problem(name, self._wall(), self.keys.revocations):
            return problem
        key = spelled(card.curve)
        if name in self._refused or not self.keys.refused.isdisjoint((name, key.decode())):
            return "its keys are revoked here"
        if (known := self._known(name)) is not None and known != key:
            return "its card has another CURVE key than the one that is known here"
        return ""

    def is_valid(self, card: Card) -> bool:
        """Whether a card that was believed has not expired since."""
        return self._wall() <= card.not_after

    def check_own(self) -> None:
        """Raise `RequestFailed` when our own card is of no use."""
        card = self.keys.card
        if problem := card.problem(self._fqcn, self._wall(), self.keys.revocations):
            text = f"secure=True needs a valid card: {problem}; {REMEDY}"
            raise RequestFailed(text, code=CellReturnCode.COMM_ERROR)

    def reload(self, keys: SealingKeys) -> bool:
        """Use these keys and lists from now on; returns whether they make us another one: all sessions end then.

        Raises `KeyFileError` for a list of revocations that is older than the one in use.
        """
        old, new = self.keys.revocations.number, keys.revocations.number
        if new < old:
            problem = f"is list {new}, and list {old} is in use already"
            raise KeyFileError(problem, file="revocations", remedy="copy the newest one")
        other = (keys.federation, keys.secret) != (self.keys.federation, self.keys.secret)
        self.keys, self._refused = keys, frozenset()
        return other

    def refuse(self, name: str) -> None:
        """Believe no card of this cell until the next `reload`."""
        self._refused |= {name}
