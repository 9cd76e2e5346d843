"""What the readers and writers of this cell have going with their brokers, one bond with each.

verb      effect
ask       a question; its ticket comes back with the answer
read      the same, and what comes for this place goes to the reader
write     the same, and what is put at this place goes to the broker
put, consume, demand       go with the next pass
unread    nothing more comes for the place
unwrite   when all that was put has arrived, the broker is asked to say when all is in the buffers

event                                 effect
asked for a proof                     the same question again with a proof of the key
a bond is lost                        its readers and writers end; the next question makes another
the broker asks whether a proof is    answered, for channels of this cell that have a key
right
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.channels.bond import TO_BROKER, Bond
from zmqfl.protocol.channels.broker import AT_ONCE, MOVES
from zmqfl.protocol.channels.inlet import Inlet
from zmqfl.protocol.channels.items import Part, writer_of
from zmqfl.protocol.channels.news import Row
from zmqfl.protocol.channels.outlet import Outlet, Put
from zmqfl.protocol.channels.questions import PROVE, is_proof, proof_of
from zmqfl.protocol.commands import (
    Answer,
    Ask,
    Call,
    ChannelAnswered,
    Command,
    ItemsCame,
    Outcome,
    WriterChanged,
)


@dataclass(slots=True)
class _Question:
    """One that is not answered yet."""

    bond: Bond
    topic: str
    headers: dict[str, Any]
    ticket: Any
    timeout: float
    key: bytes | None = None
    place: int | None = None
    owns: bool = False
    """The key is of no use when there is no channel of it."""


class Client:
    """See the module. `random`: unguessable numbers of 63 bits."""

    def __init__(self, fqcn: str, random: Callable[[], int]) -> None:
        self.counters: Counter[str] = Counter()
        self.bonds: dict[str, Bond] = {}
        """By broker."""
        self.keys: dict[tuple[str, str], bytes] = {}
        """Of channels of this cell, by broker and name."""
        self._fqcn = fqcn
        self._random = random
        self._last = 0
        self._questions: dict[int, _Question] = {}
        self._homes: dict[int, Bond] = {}
        """Of each place."""
        self._closing: dict[int, tuple[Any, float]] = {}
        """Writers that leave when all has arrived: ticket, time-out."""
        self._active: dict[Bond, None] = {}
        self._is_due = False
        self._next: float | None = None

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        """A number that was not used here: a place, or a question."""
        self._last += 1
        return self._last

    def ask(self, broker: str, topic: str, headers: dict[str, Any], ticket: Any, timeout: float) -> list[Command]:
        """Ask a broker something."""
        return self._send(_Question(self._bond(broker), topic, headers, ticket, timeout))

    def create(
        self, broker: str, headers: dict[str, Any], ticket: Any, timeout: float, key: bytes | None
    ) -> list[Command]:
        """Ask for a channel of this cell; `key`: only who knows it may come in."""
        name = broker, str(headers["name"])
        owns = key is not None and name not in self.keys  # else there is one, and the broker says so
        if key is not None and owns:
            self.keys[name] = key
        return self._send(_Question(self._bond(broker), "create", headers, ticket, timeout, owns=owns))

    def read(
        self, broker: str, inlet: Inlet, headers: dict[str, Any], ticket: Any, timeout: float, key: bytes | None
    ) -> list[Command]:
        """Ask to read; `headers` name the channel and the terms."""
        bond = self._home(broker, inlet.place, inlet)
        asked = {**headers, "i": inlet.place, "row": inlet.row()}
        return self._send(_Question(bond, "read", asked, ticket, timeout, key, inlet.place))

    def write(
        self, broker: str, place: int, headers: dict[str, Any], ticket: Any, timeout: float, key: bytes | None
    ) -> list[Command]:
        """Ask to write."""
        outlet = Outlet(writer_of(self._fqcn, place))
        bond = self._home(broker, place, outlet)
        bond.carrier.add(place, outlet)
        return self._send(_Question(bond, "write", {**headers, "i": place}, ticket, timeout, key, place))

    def put(self, place: int, puts: Sequence[Put]) -> list[Command]:
        """Take what was put; it goes in its order."""
        outlet = self._at(place)
        if not isinstance(outlet, Outlet):
            return []
        outlet.put(puts)
        self._wake(self._homes[place], place)
        return self._changed(place, outlet)

    def consume(self, place: int, size: int) -> None:
        """The application has taken `size` bytes of what came."""
        if isinstance(inlet := self._at(place), Inlet) and inlet.consume(size):
            self._tell(place)

    def demand(self, place: int) -> None:
        """The application waits for something."""
        if isinstance(inlet := self._at(place), Inlet) and inlet.demand():
            self._tell(place)

    def unread(self, place: int, ticket: Any, timeout: float) -> list[Command]:
        """Read no longer."""
        bond = self._leave(place)
        if bond is None:
            return [ChannelAnswered(ticket, Outcome(CellReturnCode.OK))]
        return self._send(_Question(bond, "unread", {"i": place}, ticket, timeout))

    def unwrite(self, place: int, ticket: Any, timeout: float, now: float) -> list[Command]:
        """Write no longer, when all is in the buffers."""
        if not isinstance(self._at(place), Outlet):
            return [ChannelAnswered(ticket, Outcome(CellReturnCode.OK))]
        self._closing[place] = ticket, timeout
        return self._look_closing()

    # -- doors ---------------------------------------------------------------------------------------------------------

    def receive(self, call: Call, now: float) -> list[Command]:
        """Items, news or a question of a broker."""
        bond = self.bonds.get(call.origin)
        if bond is None or bond.session != call.headers.get("s"):
            text = f"{self._fqcn} does not know this session: it has started anew, or has left"
            return [Answer(call, Outcome(CellReturnCode.INVALID_SESSION, text))]
        if call.topic == PROVE:
            return [Answer(call, self._prove(bond, call.headers))]
        if call.topic not in MOVES:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"no topic {call.channel}:{call.topic}"))]
        commands, parts, rows = bond.receive(call)
        for part in parts:
            commands += self._came(bond, part)
        for row in rows:
            commands += self._heard(bond, row)
        return commands

    def answered(self, bond: Bond, tag: Any, outcome: Outcome, now: float) -> list[Command]:
        """A request of a bond has ended."""
        if self.bonds.get(bond.peer) is not bond:
            return []
        commands = bond.answered(tag, outcome, now)
        if bond.lost:
            return commands + self._lose(bond, f"{bond.peer} is gone: {bond.lost}")
        self._active[bond] = None
        self._is_due = True
        return commands

    def question_answered(self, number: int, outcome: Outcome, now: float) -> list[Command]:
        """A question has ended."""
        question = self._questions.pop(number)
        bond, why = question.bond, outcome.headers.get("why")
        if bond.lost:
            outcome = Outcome(CellReturnCode.COMM_ERROR, bond.lost)
        elif why == "challenge" and question.key is not None and isinstance(outcome.headers.get("nonce"), bytes):
            nonce = outcome.headers["nonce"]
            proof = proof_of(question.key, nonce, str(question.headers["c"]), self._fqcn)
            return self._send(replace(question, headers={**question.headers, "p": proof, "q": nonce}, key=None))
        elif why == "challenge":
            text = f"{bond.peer} has no channel {question.headers.get('c')!r}, or it is private; give its key"
            outcome = replace(outcome, error=text, headers={"why": "unknown"})
        failed = outcome.code is not CellReturnCode.OK
        if (failed and question.owns) or (not failed and question.topic == "delete"):
            self.keys.pop((bond.peer, str(question.headers.get("name", question.headers.get("c")))), None)
        if not failed or why:
            commands = bond.hold()
        else:
            commands = self._look_lost(bond, outcome)
        if question.topic == "unwrite" and question.place is not None:
            commands += self._left(question.place)
        elif question.place is not None:
            commands += self._entered(question, outcome)
        return [*commands, ChannelAnswered(question.ticket, outcome)]

    def handle_timeout(self, now: float) -> list[Command]:
        """Send what there is to send."""
        self._is_due = False
        for bond in self.bonds.values():
            if (deadline := bond.deadline) is not None and deadline <= now:
                self._active[bond] = None
        active, self._active = self._active, {}
        commands: list[Command] = []
        for bond in active:
            commands += bond.pump(now)
            for place, each in list(bond.places.items()):
                if isinstance(each, Outlet):
                    commands += self._changed(place, each)
        self._next = min((at for bond in self.bonds.values() if (at := bond.deadline) is not None), default=None)
        return commands + self._look_closing()

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return AT_ONCE if self._is_due else self._next

    # -- bonds ---------------------------------------------------------------------------------------------------------

    def _bond(self, broker: str) -> Bond:
        if (bond := self.bonds.get(broker)) is None:
            bond = self.bonds[broker] = Bond(
                self, self._fqcn, broker, TO_BROKER, self._random(), self._row, lambda bond, row: None
            )  # fmt: skip
        return bond

    def _home(self, broker: str, place: int, what: Inlet | Outlet) -> Bond:
        bond = self._homes[place] = self._bond(broker)
        bond.places[place] = what
        return bond

    def _at(self, place: int) -> Inlet | Outlet | None:
        bond = self._homes.get(place)
        return None if bond is None else bond.places.get(place)

    def _leave(self, place: int) -> Bond | None:
        bond = self._homes.pop(place, None)
        if bond is not None:
            bond.places.pop(place, None)
            bond.carrier.remove(place)
        return bond

    def _lose(self, bond: Bond, reason: str) -> list[Command]:
        """The broker is gone, or has started anew."""
        del self.bonds[bond.peer]
        self._active.pop(bond, None)
        self.keys = {name: key for name, key in self.keys.items() if name[0] != bond.peer}
        bond.lost = reason
        commands = bond.end(reason)
        for place, each in list(bond.places.items()):
            self._leave(place)
            commands += self._ended(place, each, reason)
        return commands

    def _look_lost(self, bond: Bond, outcome: Outcome) -> list[Command]:
        """A question could not be asked: a bond on which nothing hangs is given up."""
        asking = any(question.bond is bond for question in self._questions.values())
        if bond.is_held or asking or self.bonds.get(bond.peer) is not bond:
            return []
        return self._lose(bond, f"{outcome.code}: {outcome.error}")

    # -- questions -----------------------------------------------------------------------------------------------------

    def _send(self, question: _Question) -> list[Command]:
        number = self.next_number()
        self._questions[number] = question
        headers = {**question.headers, "s": question.bond.session}
        peer = (question.bond.peer,)
        return [Ask(self, number, peer, TO_BROKER, question.topic, headers, 0, (), question.timeout)]

    def _entered(self, question: _Question, outcome: Outcome) -> list[Command]:
        """A place has been taken at the broker, or not."""
        place, bond = question.place, question.bond
        assert place is not None
        if outcome.code is not CellReturnCode.OK:
            self._leave(place)
            if not bond.lost and "why" not in outcome.headers:  # it may have been taken all the same
                return self._send(_Question(bond, f"un{question.topic}", {"i": place}, None, question.timeout))
            return []
        if isinstance(bond.places.get(place), Outlet) and isinstance(outcome.headers.get("row"), list):
            return self._heard(bond, outcome.headers["row"])
        return []

    def _left(self, place: int) -> list[Command]:
        """All that a writer has put is in the buffers, and it writes no longer."""
        outlet = self._at(place)
        self._leave(place)
        return self._ended(place, outlet, "closed") if isinstance(outlet, Outlet) else []

    def _prove(self, bond: Bond, headers: dict[str, Any]) -> Outcome:
        """Whether somebody knows the key of a channel of this cell."""
        name, who, nonce, proof = (headers.get(field) for field in "cwqp")
        key = self.keys.get((bond.peer, str(name)))
        if key is None or not (isinstance(who, str) and isinstance(nonce, bytes) and isinstance(proof, bytes)):
            return Outcome(CellReturnCode.AUTHENTICATION_ERROR, "no")
        right = is_proof(proof, key, nonce, str(name), who)
        self.counters["proofs_right" if right else "proofs_wrong"] += 1
        return Outcome(CellReturnCode.OK if right else CellReturnCode.AUTHENTICATION_ERROR)

    # -- places --------------------------------------------------------------------------------------------------------

    def _row(self, bond: Bond, place: int) -> Row:
        inlet = bond.places.get(place)
        return inlet.row() if isinstance(inlet, Inlet) else [place]

    def _came(self, bond: Bond, part: Part) -> list[Command]:
        inlet = bond.places.get(part.place)
        if not isinstance(inlet, Inlet):
            self.counters["items_unwanted"] += len(part.items)
            return []
        came = inlet.take(part)
        if came.end is not None:
            self._leave(part.place)
        return [came]

    def _heard(self, bond: Bond, row: Row) -> list[Command]:
        outlet = bond.places.get(row[0])
        if not isinstance(outlet, Outlet):
            return []
        try:
            outlet.hear(row)
        except DecodeError as error:
            self.counters["malformed"] += 1
            return self._lose(bond, str(error))
        commands = self._changed(row[0], outlet)
        if outlet.state.end is not None:
            self._leave(row[0])
            return [*commands, *self._close_ended(row[0])]
        self._wake(bond, row[0])
        return commands

    def _ended(self, place: int, what: Inlet | Outlet, reason: str) -> list[Command]:
        if isinstance(what, Inlet):
            return [ItemsCame(place, [], end=reason, lost=True)]
        what.end(reason)
        return [*self._changed(place, what), *self._close_ended(place)]

    def _changed(self, place: int, outlet: Outlet) -> list[Command]:
        """What the face of a writer must hear."""
        if (news := outlet.news()) is None:
            return []
        return [WriterChanged(place, *news)]

    def _look_closing(self) -> list[Command]:
        commands: list[Command] = []
        for place, (ticket, timeout) in list(self._closing.items()):
            outlet = self._at(place)
            if isinstance(outlet, Outlet) and outlet.is_empty:
                del self._closing[place]
                bond = self._homes[place]
                commands += self._send(_Question(bond, "unwrite", {"i": place}, ticket, timeout, place=place))
        return commands

    def _close_ended(self, place: int) -> list[Command]:
        ticket = self._closing.pop(place, None)
        return [] if ticket is None else [ChannelAnswered(ticket[0], Outcome(CellReturnCode.OK))]

    def _tell(self, place: int) -> None:
        bond = self._homes[place]
        bond.news.tell(place)
        self._active[bond] = None
        self._is_due = True

    def _wake(self, bond: Bond, place: int) -> None:
        bond.carrier.wake(place)
        self._active[bond] = None
        self._is_due = True

    def __repr__(self) -> str:
        return f"<Client {self._fqcn} {len(self._homes)} readers and writers, {len(self.bonds)} brokers>"
