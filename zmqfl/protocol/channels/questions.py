"""What other cells ask of a broker. Each question names the bond (s); a channel (c) is named by its name or number.

    question                             answer
    create  name and options             its number; it ends with its owner, the cell that asked
    read    c, i (place), b (terms),     from now on items come, and its writers know; of a private channel only with
            last, row (credit)           its key
    write   c, i                         the first news; a channel with a single writer has its owner as that
    unread  i                            the last counts
    unwrite i                            when all that was put is in the buffers
    delete  c, why                       its readers get what is queued, and then the reason; for its owner only
    list; info c; clients                what may be seen: a private channel only by those who are in it

Whoever asks for a private channel without a proof, or for one that does not exist, is sent a number; of that and the
key it makes a proof. The owner, who alone knows the key, is asked whether the proof is right. So a key never travels,
and nobody learns whether there is such a channel. The broker's own cell may delete any channel.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Any

from zmqfl.errors import ArgumentError, CellReturnCode, DecodeError
from zmqfl.protocol.channels.bond import TO_CLIENT, Bond
from zmqfl.protocol.channels.broker import Broker
from zmqfl.protocol.channels.buffer import BufferTerms, Policy
from zmqfl.protocol.channels.channel import Channel, ChannelOptions
from zmqfl.protocol.channels.seat import WRITER_WINDOW, Seat
from zmqfl.protocol.channels.subscription import Subscription
from zmqfl.protocol.commands import Answer, Ask, Call, Command, Outcome
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC

MOST_CHANNELS = 4096
MOST_PLACES = 16384
"""Readers and writers of one cell."""
MOST_NONCES = 256
"""Questions of one cell that may be about to be proved at once."""
MAX_NAME = 256
PROVE = "prove"
PROVE_TIMEOUT = 10.0


class Refused(Exception):
    """A question is answered so; `why` names the kind of error at the other end."""

    def __init__(self, why: str, text: str, **headers: Any) -> None:
        super().__init__(text)
        code = {"denied": CellReturnCode.AUTHENTICATION_ERROR, "full": CellReturnCode.SERVICE_UNAVAILABLE}
        self.outcome = Outcome(
            code.get(why, CellReturnCode.INVALID_REQUEST), text, headers={"why": why, **headers}
        )  # fmt: skip


class Questions:
    """See the module. `random`: unguessable numbers of 63 bits."""

    def __init__(self, broker: Broker, random: Callable[[], int]) -> None:
        self._broker = broker
        self._random = random
        self._last_id = 0
        self._proofs = 0
        self._proving: dict[int, tuple[Bond, Call, Channel]] = {}
        self._topics = {
            "create": self._create, "read": self._come_in, "write": self._come_in, "unread": self._unread,
            "unwrite": self._unwrite, "delete": self._delete, "list": self._list, "info": self._info,
            "clients": self._clients,
        }  # fmt: skip

    def receive(self, bond: Bond, call: Call, now: float) -> list[Command]:
        """A question."""
        answer = self._topics.get(call.topic)
        try:
            if answer is None:
                raise Refused("argument", f"no topic {call.channel}:{call.topic}")
            return answer(bond, call, now)
        except Refused as refusal:
            return [Answer(call, refusal.outcome)]
        except (ArgumentError, DecodeError) as error:
            return [Answer(call, Refused("argument", str(error)).outcome)]

    def answered(self, number: int, outcome: Outcome, now: float) -> list[Command]:
        """An owner has said whether a proof is right, or cannot be asked."""
        bond, call, channel = self._proving.pop(number)
        if self._broker.bonds.get(bond.peer) is not bond:
            return []
        try:
            if outcome.code is not CellReturnCode.OK or channel.ending is not None:
                raise self._unknown(call)
            return self._admit(bond, call, channel, now)
        except Refused as refusal:
            return [Answer(call, refusal.outcome)]
        except (ArgumentError, DecodeError) as error:
            return [Answer(call, Refused("argument", str(error)).outcome)]

    # -- channels ------------------------------------------------------------------------------------------------------

    def _create(self, bond: Bond, call: Call, now: float) -> list[Command]:
        broker, options = self._broker, options_of(call.headers)
        if options.name in broker.names:
            text = f"there is a channel {options.name!r} at {broker.fqcn} already; choose another name"
            raise Refused("exists", text)
        if len(broker.channels) >= MOST_CHANNELS:
            raise Refused("full", f"{broker.fqcn} has {MOST_CHANNELS} channels already")
        kept = options.last_size if options.last else 0
        self._reserve(kept)
        self._last_id += 1
        expires = None if options.lifetime is None else now + options.lifetime
        channel = Channel(self._last_id, options, bond, expires)
        broker.open(channel)
        return _ok(call, id=channel.id)

    def _delete(self, bond: Bond, call: Call, now: float) -> list[Command]:
        channel = self._see(bond, call)
        if channel.owner is not bond and bond.peer != self._broker.fqcn:
            owner = channel.owner.peer
            raise Refused("denied", f"channel {channel.name!r} belongs to {owner}, who alone may delete it")
        reason = call.headers.get("why")
        self._broker.end(channel, reason[:MAX_NAME] if isinstance(reason, str) else "deleted")
        return _ok(call)

    # -- readers and writers -------------------------------------------------------------------------------------------

    def _come_in(self, bond: Bond, call: Call, now: float) -> list[Command]:
        channel = self._find(call)
        if channel is not None and (channel.options.public or channel.owner is bond):
            return self._admit(bond, call, channel, now)
        proof, nonce = call.headers.get("p"), call.headers.get("q")
        if not isinstance(proof, bytes) or not isinstance(nonce, bytes) or nonce not in bond.nonces:
            raise Refused("challenge", "prove that you know the key", nonce=self._new_nonce(bond))
        del bond.nonces[nonce]
        if channel is None:
            raise self._unknown(call)
        self._proofs += 1
        self._proving[self._proofs] = bond, call, channel
        headers = {"s": channel.owner.session, "c": channel.name, "w": bond.peer, "q": nonce, "p": proof}
        owner = (channel.owner.peer,)
        return [Ask(self, self._proofs, owner, TO_CLIENT, PROVE, headers, 0, (), PROVE_TIMEOUT, repeatable=True)]

    def _new_nonce(self, bond: Bond) -> bytes:
        nonce = self._random().to_bytes(8, "big") + self._random().to_bytes(8, "big")
        bond.nonces[nonce] = None
        if len(bond.nonces) > MOST_NONCES:
            del bond.nonces[next(iter(bond.nonces))]
        return nonce

    def _admit(self, bond: Bond, call: Call, channel: Channel, now: float) -> list[Command]:
        place = call.headers.get("i")
        if type(place) is not int or place in bond.places or len(bond.places) >= MOST_PLACES:
            raise Refused("argument", f"a cell has {MOST_PLACES} readers and writers at most, each at its own place")
        admit = self._admit_writer if call.topic == "write" else self._admit_reader
        return admit(bond, place, call, channel, now)

    def _admit_writer(self, bond: Bond, place: int, call: Call, channel: Channel, now: float) -> list[Command]:
        if channel.options.single and channel.owner is not bond:
            raise Refused("denied", f"channel {channel.name!r} has a single writer, its owner {channel.owner.peer}")
        if channel.options.single and channel.seats:
            raise Refused("denied", f"channel {channel.name!r} has its single writer already")
        self._reserve(WRITER_WINDOW)
        seat = Seat(bond, place, channel)
        channel.seats.append(seat)
        bond.places[place] = seat
        row = seat.row()
        seat.knows = row[3]
        return _ok(call, id=channel.id, name=channel.name, owner=channel.owner.peer, row=row)

    def _admit_reader(self, bond: Bond, place: int, call: Call, channel: Channel, now: float) -> list[Command]:
        terms, last = terms_of(call.headers.get("b")), call.headers.get("last")
        self._reserve(terms.size)
        before = channel.is_active, channel.is_strict
        reader = self._broker.add_reader(bond, place, channel, terms)
        if isinstance(row := call.headers.get("row"), list):
            reader.hear(row)
        channel.join(reader, last if type(last) is int and last > 0 else 0, now)
        self._broker.interest_changed(channel, before)
        self._broker.wake(bond, place)
        answers = _ok(call, id=channel.id, name=channel.name, owner=channel.owner.peer)
        return self._broker.when_known(channel, answers, now)

    def _unread(self, bond: Bond, call: Call, now: float) -> list[Command]:
        reader = bond.places.get(_place(call))
        if not isinstance(reader, Subscription):
            return _ok(call)
        reader.buffer.lose()
        self._broker.remove_reader(reader)
        return _ok(call, counts=_counts(reader))

    def _unwrite(self, bond: Bond, call: Call, now: float) -> list[Command]:
        seat = bond.places.get(_place(call))
        if not isinstance(seat, Seat) or seat.closing is not None:
            return _ok(call)
        self._broker.remove_seat(seat, call)
        return []

    # -- what may be seen ----------------------------------------------------------------------------------------------

    def _list(self, bond: Bond, call: Call, now: float) -> list[Command]:
        return _value(call, [each.describe(now) for each in self._broker.names.values() if self._may_see(bond, each)])

    def _info(self, bond: Bond, call: Call, now: float) -> list[Command]:
        channel = self._see(bond, call)
        readers = [{"reader": each.name, **_terms(each), **_counts(each)} for each in channel.readers]
        writers = [
            {"writer": each.name, "received": each.received, "taken": each.taken, "waiting": len(each.waiting)}
            for each in channel.seats
        ]
        return _value(call, {**channel.describe(now), "of_readers": readers, "of_writers": writers})

    def _clients(self, bond: Bond, call: Call, now: float) -> list[Command]:
        rows = []
        for each in self._broker.bonds.values():
            writers = sum(isinstance(place, Seat) for place in each.places.values())
            owned = sum(channel.owner is each for channel in self._broker.names.values())
            rows.append(
                {"name": each.peer, "channels": owned, "readers": len(each.places) - writers, "writers": writers}
            )
        return _value(call, rows)

    def _may_see(self, bond: Bond, channel: Channel) -> bool:
        inside = any(each.bond is bond for each in channel.readers) or any(each.bond is bond for each in channel.seats)
        return channel.options.public or channel.owner is bond or bond.peer == self._broker.fqcn or inside

    def _see(self, bond: Bond, call: Call) -> Channel:
        channel = self._find(call)
        if channel is None or not self._may_see(bond, channel):
            raise self._unknown(call)
        return channel

    def _find(self, call: Call) -> Channel | None:
        name = call.headers.get("c")
        if isinstance(name, str):
            return self._broker.names.get(name)
        channel = self._broker.channels.get(name) if type(name) is int else None
        return None if channel is None or channel.ending is not None else channel

    def _unknown(self, call: Call) -> Refused:
        name = str(call.headers.get("c"))[:MAX_NAME]
        return Refused("unknown", f"{self._broker.fqcn} has no channel {name!r}, or it is private and the key is wrong")

    def _reserve(self, size: int) -> None:
        if not self._broker.reserve(size):
            broker = self._broker
            raise Refused(
                "full", f"the buffers of {broker.fqcn} may hold {broker.budget} bytes, {broker.reserved} are reserved; "
                "ask for a smaller buffer (`size`), or raise `channel_budget` there",
            )  # fmt: skip


def proof_of(key: bytes, nonce: bytes, channel: str, who: str) -> bytes:
    """What shows that `who` knows the key of a private channel."""
    return digest(key, b"\0".join((b"zmqfl channel", nonce, channel.encode(), who.encode())), "sha256")


def is_proof(proof: bytes, key: bytes, nonce: bytes, channel: str, who: str) -> bool:
    """Whether it does. Takes as long when it does not."""
    return compare_digest(proof, proof_of(key, nonce, channel, who))


def key_of(key: str | bytes) -> bytes:
    """A key as bytes."""
    return sha256(key.encode() if isinstance(key, str) else key).digest()


def options_of(headers: dict[str, Any]) -> ChannelOptions:
    """What `create` asks for. Raises `ArgumentError`."""
    name, lifetime, last = headers.get("name"), headers.get("lifetime"), headers.get("last", 0)
    last_size = headers.get("last_size", 1)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise ArgumentError(f"the name of a channel must be a str of 1 to {MAX_NAME} characters, not {name!r:.80}")
    if lifetime is not None and not (type(lifetime) in (int, float) and lifetime > 0):
        raise ArgumentError(f"lifetime must be a number of seconds above 0, not {lifetime!r:.80}")
    if type(last) is not int or last < 0 or type(last_size) is not int or last_size < 1:
        raise ArgumentError("last must be a whole number of 0 or more, and last_size one of 1 or more")
    return ChannelOptions(
        name, headers.get("public") is not False, lifetime, headers.get("single") is not False, last, last_size
    )


def terms_of(row: object) -> BufferTerms:
    """The terms of a buffer as they travel: [policy, items, size, every, first, hz]. Raises `ArgumentError`."""
    if not isinstance(row, list) or len(row) != 6 or row[0] not in list(Policy):
        raise ArgumentError("the terms of a buffer are not [policy, items, size, every, first, hz]")
    return BufferTerms(Policy(row[0]), row[1], row[2], row[3], row[4] is True, row[5])


def _ok(call: Call, **headers: Any) -> list[Command]:
    return [Answer(call, Outcome(CellReturnCode.OK, headers=headers))]


def _value(call: Call, value: Any) -> list[Command]:
    return [Answer(call, Outcome(CellReturnCode.OK, codec=PAYLOAD_CODEC, bodies=tuple(payload.encode(value))))]


def _place(call: Call) -> int:
    place = call.headers.get("i")
    return place if type(place) is int else -1


def _terms(reader: Subscription) -> dict[str, Any]:
    t = reader.buffer.terms
    return {"policy": str(t.policy), "items": t.items, "size": t.size, "every": t.every, "first": t.first, "hz": t.hz}


def _counts(reader: Subscription) -> dict[str, int]:
    c = reader.buffer.statistics()
    return {
        "offered": c.offered, "decimated": c.decimated, "dropped": c.dropped, "delivered": c.delivered,
        "queued": c.queued, "bytes": c.bytes, "queued_bytes": c.queued_bytes, "high_water": c.high_water,
    }  # fmt: skip
