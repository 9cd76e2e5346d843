"""The callee's side of sealed sessions: who has said HELLO, and which of its wraps have come.

    event                                             answer
    HELLO of a believed card, newer than the last     a session
    HELLO for another start of this cell              InvalidSession: the caller asks for the card again
    HELLO that came before                            AuthenticationError
    wrap of a session that is known, first time       its keys
    wrap of a session that is not known               InvalidSession: nothing was executed
    wrap whose counter was taken, or is too old       AuthenticationError: it may be a replay
    wrap that does not open                           AuthenticationError

InvalidSession is not sealed, so anybody on the way can say it. The caller makes a new session then, and asks in its
HELLO, which is sealed, whether this cell knows the old one: only if it does not, the message goes out again.

A caller's start has a few sessions at once: of two kinds, and older ones whose messages are on their way. Of all
callers the one unheard for longest goes.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from zmqfl.cell.seal_trust import Trust
from zmqfl.errors import AuthenticationError, DecodeError, InvalidSession
from zmqfl.wire.card import Card
from zmqfl.wire.noise import Cipher, Handshake
from zmqfl.wire.seal import WINDOW, Belonging, ReplayWindow, Wrap, open_wrap

MOST_SESSIONS: Final = 4096
"""In each direction; the one unused for longest goes."""
MOST_PER_CALLER: Final = 64
"""Sessions of one start of a caller: one that is gone is taken for one that never was."""
LIFE: Final = 3600.0
"""Seconds after which a caller makes a new session."""
GRACE: Final = 600.0
"""Seconds more that the callee knows it: messages are on their way."""


@dataclass(eq=False, slots=True)
class _Incoming:
    """A session from one start of another cell."""

    cipher: Cipher = field(repr=False)
    card: Card
    until: float
    window: ReplayWindow = field(default_factory=ReplayWindow)


@dataclass(eq=False, slots=True)
class _Caller:
    """One start of a caller."""

    number: int = 0
    """Of its newest HELLO: an older one is a replay."""
    sessions: OrderedDict[int, _Incoming] = field(default_factory=OrderedDict)


class SealCallee:
    """See the module. All threads may use it. `clock`: seconds."""

    def __init__(self, fqcn: str, instance: int, trust: Trust, clock: Callable[[], float]) -> None:
        self.counters: Counter[str] = Counter()
        self._fqcn = fqcn
        self._instance = instance
        self._trust = trust
        self._clock = clock
        self._lock = threading.Lock()
        self._callers: OrderedDict[tuple[str, int], _Caller] = OrderedDict()

    def accept(self, origin: str, caller: int, signed: bytes, to: int, message: bytes, chance: bytes) -> bytes:
        """Answer the HELLO of start `caller` of `origin` to start `to`. `chance`: 32 random bytes.

        Raises `InvalidSession`, `AuthenticationError`, `DecodeError`.
        """
        if to != self._instance:
            raise InvalidSession(f"{self._fqcn} has restarted")
        card = self._trust.believed(signed, origin)
        handshake = Handshake(
            initiator=False,
            static=self._trust.keys.secret,
            peer=card.seal,
            prologue=prologue(origin, caller, self._fqcn, self._instance),
            ephemeral=chance,
        )
        number, old = _question(handshake.read(message))
        with self._lock:
            known = self._callers.setdefault((origin, caller), _Caller())
            if number <= known.number:
                self.counters["replays"] += 1
                raise AuthenticationError(f"a handshake of {origin} was refused: it came before")
            known.number = number
            answer = handshake.write(msgpack.packb(old in known.sessions))
            session = _Incoming(Cipher(handshake.split()[0]), card, self._clock() + LIFE + GRACE)
            known.sessions[session_id(handshake)] = session
            keep(known.sessions, MOST_PER_CALLER)
            self._callers.move_to_end((origin, caller))
            keep(self._callers, MOST_SESSIONS)
        return answer

    def open(self, origin: str, caller: int, wrap: Wrap, id: int, digest: bytes) -> tuple[bytes, bytes]:
        """(content key, reply key) of a message that came from this start of `origin`; each wrap once.

        Raises `InvalidSession`, `AuthenticationError`.
        """
        with self._lock:
            known = self._callers.get((origin, caller))
            session = known.sessions.get(wrap.session) if known is not None else None
            if session is None or not self._is_alive(session):
                self.counters["unknown_sessions"] += 1
                raise InvalidSession(f"{self._fqcn} does not know this sealed session")
            self._callers.move_to_end((origin, caller))
            belonging = Belonging(self._fqcn, self._instance, wrap.session, id, digest)
            try:
                keys = open_wrap(session.cipher, wrap, belonging)
            except DecodeError as error:
                self.counters["forged"] += 1
                raise AuthenticationError(f"a sealed message of {origin} was refused: {error}") from None
            if session.window.is_old(wrap.counter):
                self.counters["overtaken"] += 1
                raise AuthenticationError(f"a sealed message of {origin} was refused: {WINDOW} others overtook it")
            if not session.window.take(wrap.counter):
                self.counters["replays"] += 1
                raise AuthenticationError(f"a sealed message of {origin} was refused: it came before")
        return keys

    def end(self, is_bad: Callable[[Card], bool]) -> None:
        """End the sessions with cells of such cards."""
        with self._lock:
            for caller in self._callers.values():
                for id in [id for id, session in caller.sessions.items() if is_bad(session.card)]:
                    del caller.sessions[id]

    @property
    def open_sessions(self) -> int:
        """How many there are."""
        return sum(len(caller.sessions) for caller in self._callers.values())

    def _is_alive(self, session: _Incoming) -> bool:
        return self._clock() < session.until and self._trust.is_valid(session.card)


def prologue(caller: str, caller_instance: int, callee: str, callee_instance: int) -> bytes:
    """What both sides of a handshake must agree on."""
    packed: bytes = msgpack.packb(["zmqfl seal 1", caller, caller_instance, callee, callee_instance])
    return packed


def session_id(handshake: Handshake) -> int:
    """Names the session that comes of a handshake, on both sides."""
    return int.from_bytes(handshake.hash[:8], "big")


def keep(entries: OrderedDict[Any, Any], most: int) -> None:
    """Let the oldest go."""
    while len(entries) > most:
        entries.popitem(last=False)


def _question(payload: bytes) -> tuple[int, int]:
    """(number of the HELLO, session that the caller asks about)."""
    try:
        values = msgpack.unpackb(payload)
    except Exception:  # noqa: BLE001  msgpack raises six types
        values = None
    match values:
        case [int() as number, int() as old] if number > 0:
            return number, old
    raise DecodeError("a handshake without a number")
