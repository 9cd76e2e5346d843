"""All channels of a broker, and what moves through them. Any cell is one as soon as somebody asks (see `questions`).

    event                                    effect
    items of a writer                        into the buffers of the channel, as far as those that WAIT have room
    items of nobody who may write            counted, dropped; the sender is told that there is no such writer
    items that do not follow                 the bond with their sender ends
    news of a reader                         more may go to it
    items have arrived at a reader's cell    they are delivered; a reader that was told of the end is forgotten
    a bond is lost                           all that hangs on it ends: readers, writers, channels
    the lifetime of a channel is over        it ends, "expired"

What is to be done with items is done when `handle_timeout` is called, which is due at once: what comes in one pass goes
out together.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.channels.bond import ATTEND, TO_CLIENT, Bond
from zmqfl.protocol.channels.buffer import BufferTerms
from zmqfl.protocol.channels.carrier import ITEMS
from zmqfl.protocol.channels.channel import Channel
from zmqfl.protocol.channels.items import Part
from zmqfl.protocol.channels.news import NEWS, Row
from zmqfl.protocol.channels.seat import WRITER_WINDOW, Seat
from zmqfl.protocol.channels.subscription import Subscription
from zmqfl.protocol.commands import Answer, Call, Command, Outcome

AT_ONCE = 0.0
"""A deadline that has passed."""
PATIENCE = 1.0
"""Seconds that a reader waits until the writers know of it: one that stands still must not hold it up for ever."""
MOVES = (ITEMS, NEWS, ATTEND)
"""Topics that need a bond that is there already."""


class Broker:
    """See the module. `budget`: bytes that all buffers together may come to hold."""

    def __init__(self, fqcn: str, budget: int) -> None:
        self.fqcn = fqcn
        self.counters: Counter[str] = Counter()
        self.channels: dict[int, Channel] = {}
        """Those that are open, and those that end."""
        self.names: dict[str, Channel] = {}
        """Those that are open."""
        self.bonds: dict[str, Bond] = {}
        """By the cell that they are with."""
        self.budget = budget
        self.reserved = 0
        self._active: dict[Bond, None] = {}
        """Those that may have something to send."""
        self._moving: dict[int, Channel] = {}
        """Channels in which items wait, or that end."""
        self._is_due = False
        self._next: float | None = None
        """When something is due by itself: as of the last time that it was looked at, after whatever has changed it."""

        self._postponed: list[tuple[float, Channel, list[Command]]] = []
        """Answers that wait until the writers of a channel know that somebody reads, or until then."""

    # -- bonds ---------------------------------------------------------------------------------------------------------

    def bond_of(self, call: Call) -> tuple[Bond | None, list[Command]]:
        """The bond that a message belongs to; a question makes one where there is none."""
        session = call.headers.get("s")
        bond = self.bonds.get(call.origin)
        if bond is not None and (bond.session, bond.instance) == (session, call.instance):
            return bond, []
        if call.topic in MOVES or type(session) is not int:
            return None, []
        commands = [] if bond is None else self.lose(bond, f"{call.origin} has started anew")
        bond = self.bonds[call.origin] = Bond(self, self.fqcn, call.origin, TO_CLIENT, session, _row, self._acked)
        bond.instance = call.instance
        return bond, [*commands, *bond.hold()]

    def receive(self, bond: Bond, call: Call) -> list[Command]:
        """Items, news, or the question whether this cell is there."""
        commands, parts, rows = bond.receive(call)
        try:
            for part in parts:
                self._take(bond, part)
            for row in rows:
                if isinstance(reader := bond.places.get(row[0]), Subscription):
                    reader.hear(row)
                    self.wake(bond, row[0])
        except DecodeError as error:
            self.counters["malformed"] += 1
            return commands + self.lose(bond, str(error))
        return commands

    def answered(self, bond: Bond, tag: Any, outcome: Outcome, now: float) -> list[Command]:
        """A request of a bond has ended."""
        if self.bonds.get(bond.peer) is not bond:
            return []
        commands = bond.answered(tag, outcome, now)
        if bond.lost:
            return commands + self.lose(bond, f"{bond.peer} is gone: {bond.lost}")
        self._active[bond] = None
        self._is_due = True
        return commands

    def lose(self, bond: Bond, reason: str) -> list[Command]:
        """All that hangs on this bond ends."""
        del self.bonds[bond.peer]
        self._active.pop(bond, None)
        for each in list(bond.places.values()):
            if isinstance(each, Subscription):
                each.buffer.lose()
                self.remove_reader(each)
            elif isinstance(each, Seat):
                self.remove_seat(each)
        for channel in [each for each in self.names.values() if each.owner is bond]:
            self.end(channel, f"its owner {bond.peer} is gone")
        return bond.end(reason)

    # -- time ----------------------------------------------------------------------------------------------------------

    def handle_timeout(self, now: float) -> list[Command]:
        """Move items, send what there is to send, end what has expired."""
        for channel in [each for each in self.names.values() if each.expires is not None and each.expires <= now]:
            self.end(channel, "expired")
        for bond in self.bonds.values():
            if (deadline := bond.deadline) is not None and deadline <= now:
                self._active[bond] = None
        commands: list[Command] = []
        while True:  # what goes makes room for what waits
            for channel in list(self._moving.values()):
                commands += self._move(channel, now)
            if not self._active:
                break
            active, self._active = self._active, {}
            for bond in active:
                commands += bond.pump(now)
        commands += self._answer_postponed(now)
        self._is_due = False
        times: list[float | None] = [until for until, _, _ in self._postponed]
        times += [channel.expires for channel in self.names.values()]
        times += [bond.deadline for bond in self.bonds.values()]
        self._next = min((at for at in times if at is not None), default=None)
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return AT_ONCE if self._is_due else self._next

    def wake(self, bond: Bond, place: int) -> None:
        """There may be something to send for this place."""
        bond.carrier.wake(place)
        self._active[bond] = None
        self._is_due = True

    # -- items ---------------------------------------------------------------------------------------------------------

    def _take(self, bond: Bond, part: Part) -> None:
        seat = bond.places.get(part.place)
        if not isinstance(seat, Seat) or seat.is_leaving or seat.channel.ending is not None:
            self.counters["items_refused"] += len(part.items)
            self.tell(bond, part.place)
            return
        seat.receive(part.items)
        seat.is_asked = seat.is_asked or part.waits
        self._moving[seat.channel.id] = seat.channel
        self._is_due = True

    def _move(self, channel: Channel, now: float) -> list[Command]:
        """Items go into the buffers as far as they may; who has waited for that is told."""
        moved = list(channel.drain(now))
        for seat in moved:
            if seat.is_worth_telling:
                seat.is_asked = seat.is_asked and bool(seat.waiting)
                self.tell(seat.bond, seat.place)
        for reader in channel.readers if moved else ():
            self.wake(reader.bond, reader.place)
        commands: list[Command] = []
        for seat in [each for each in channel.seats if each.may_leave]:
            commands += self._remove_seat(seat)
        if not channel.is_blocked:
            self._moving.pop(channel.id, None)
        if channel.id in self.channels and channel.finish():
            del self.channels[channel.id]
            self.release(channel.kept)
            for reader in channel.readers:
                self.wake(reader.bond, reader.place)
        return commands

    def tell(self, bond: Bond, place: int) -> None:
        """A writer is to hear how things are."""
        bond.news.tell(place)
        self._active[bond] = None
        self._is_due = True

    # -- channels, readers and writers ---------------------------------------------------------------------------------

    def reserve(self, size: int) -> bool:
        """Take some of the budget; False when there is not as much."""
        if self.reserved + size > self.budget:
            return False
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        """Give it back."""
        self.reserved -= size

    def open(self, channel: Channel) -> None:
        """There is a channel from now on."""
        self.channels[channel.id] = channel
        self.names[channel.name] = channel
        self._is_due = True

    def end(self, channel: Channel, reason: str) -> None:
        """A channel ends: its name is free at once, its readers are told behind the last item."""
        channel.ending = reason
        del self.names[channel.name]
        self._moving[channel.id] = channel
        for seat in channel.seats:
            self.tell(seat.bond, seat.place)
        self._is_due = True

    def add_reader(self, bond: Bond, place: int, channel: Channel, terms: BufferTerms) -> Subscription:
        """Somebody reads from now on; `Channel.join` gives it what comes. Its bytes are reserved."""
        reader = Subscription(bond, place, channel, terms, self._reader_told)
        bond.places[place] = reader
        bond.carrier.add(place, reader)
        return reader

    def when_known(self, channel: Channel, answers: list[Command], now: float) -> list[Command]:
        """These answers to a reader, now or when the writers know of it: what is put after them comes to it."""
        if not channel.is_unknown:
            return answers
        self._postponed.append((now + PATIENCE, channel, answers))
        return []

    def _answer_postponed(self, now: float) -> list[Command]:
        ready = [each for each in self._postponed if each[0] <= now or not each[1].is_unknown]
        self._postponed = [each for each in self._postponed if each not in ready]
        return [command for _, _, answers in ready for command in answers]

    def remove_reader(self, reader: Subscription) -> None:
        """It reads no longer."""
        reader.bond.places.pop(reader.place, None)
        reader.bond.carrier.remove(reader.place)
        self.release(reader.buffer.terms.size)
        channel = reader.channel
        if reader in channel.readers:
            before = channel.is_active, channel.is_strict
            channel.readers.remove(reader)
            self.interest_changed(channel, before)
            if channel.is_blocked:
                self._moving[channel.id] = channel
                self._is_due = True

    def interest_changed(self, channel: Channel, before: tuple[bool, bool]) -> None:
        """Tell the writers if another one reads now, or nobody."""
        if before != (channel.is_active, channel.is_strict):
            for seat in channel.seats:
                self.tell(seat.bond, seat.place)

    def remove_seat(self, seat: Seat, closing: Call | None = None) -> None:
        """It writes no longer; what of it waits still goes into the buffers, and then `closing` is answered."""
        seat.is_leaving, seat.closing = True, closing
        self._moving[seat.channel.id] = seat.channel
        self._is_due = True

    def _remove_seat(self, seat: Seat) -> list[Command]:
        seat.channel.seats.remove(seat)
        seat.bond.places.pop(seat.place, None)
        self.release(WRITER_WINDOW)
        return [] if seat.closing is None else [Answer(seat.closing, Outcome(CellReturnCode.OK))]

    def _acked(self, bond: Bond, row: Row) -> None:
        """A writer knows how things are; one that knows of the end is forgotten."""
        seat = bond.places.get(row[0])
        if not isinstance(seat, Seat) or len(row) == 1:
            return
        seat.acked(row)
        self._is_due = True
        if seat.refusals:
            self.tell(bond, seat.place)
        elif seat.is_leaving or row[-1] is not None:
            self.remove_seat(seat, seat.closing)

    def _reader_told(self, reader: Subscription) -> None:
        """It knows that the channel has ended."""
        reader.bond.places.pop(reader.place, None)
        reader.bond.carrier.remove(reader.place)
        reader.channel.readers.remove(reader)
        self.release(reader.buffer.terms.size)

    def __repr__(self) -> str:
        about = f"{len(self.names)} channels, {len(self.bonds)} cells, {self.reserved} bytes reserved"
        return f"<Broker {self.fqcn} {about}>"


def _row(bond: Bond, place: int) -> Row:
    seat = bond.places.get(place)
    return seat.row() if isinstance(seat, Seat) else [place]
