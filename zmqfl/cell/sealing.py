"""Sealed sessions of a cell with others, end to end: whoever passes their messages on can neither read nor change them.

    caller                                   callee
    CARD                               ->
                                       <-    its card and instance; the caller keeps both
    HELLO: own card, handshake, 1 of 2 ->    checks the card
                                       <-    handshake, 2 of 2
    wrap, wrap, ...                    ->    each counter once, see `seal_callee`
    FORGET                             <-    (to a FIRE, which nobody answers) this session is not known here

The prologue of the handshake binds both names and instances. A session goes one way, from the caller's start to the
callee's, for an hour or 2**40 messages: the caller then makes a new one. It ends with either start, and when a card of
it is revoked. Long messages have one of their own, as short ones may overtake them by more than a window holds.

All threads may use it. Handshakes run on the workers for files, as they never wait. Source: design, decision 12.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from zmqfl.cell.pushing import Submit
from zmqfl.cell.seal_callee import LIFE, MOST_SESSIONS, SealCallee, keep, prologue, session_id
from zmqfl.cell.seal_trust import Trust
from zmqfl.errors import AuthenticationError, CellReturnCode, ClosedError, DecodeError, InvalidSession, RequestFailed
from zmqfl.protocol.commands import Ask, Call, Command, Outcome
from zmqfl.protocol.node import Node
from zmqfl.protocol.transfers import SEAL
from zmqfl.transport.cards import SealingKeys
from zmqfl.wire.card import Card
from zmqfl.wire.noise import KEY, Cipher, Handshake
from zmqfl.wire.seal import Belonging, Wrap, make_wrap

CARD: Final = "card"
HELLO: Final = "hello"
FORGET: Final = "forget"
WHY: Final = "why"
SEAL_SESSION: Final = "seal_session"
"""Why a sealed message was refused: the callee does not know this session (any more)."""
MOST_MESSAGES: Final = 2**40
OK: Final = CellReturnCode.OK

Found = dict[str, "Session"]
Failed = dict[str, RequestFailed]
Then = Callable[[Found, Failed], None]
"""Is told what came of it, by name of the target."""
Way = tuple[str, bool]
"""(target, for long messages)."""


@dataclass(eq=False, slots=True)
class Session:
    """From this cell to one start of another."""

    target: str
    instance: int
    id: int
    cipher: Cipher = field(repr=False)
    card: Card
    until: float
    counter: int = 0
    old: int = 0
    """The session that it is to take the place of, if the target was said to have forgotten that one."""
    was_forgotten: bool = False
    """Whether the target itself says so."""

    def replaces(self, former: Session) -> bool:
        """Whether the target has proved that it does not know `former`: what was sent by it was not executed."""
        return self.old == former.id and self.was_forgotten


@dataclass(eq=False, slots=True)
class _Gathering:
    """One verb that waits for sessions."""

    missing: set[str]
    until: float
    then: Then
    found: Found = field(default_factory=dict)
    failed: Failed = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Attempt:
    """One session that is being made."""

    way: Way
    timeout: float
    fresh: bool = False
    """Whether the card was asked for just now."""
    old: int = 0
    instance: int = 0
    card: Card | None = None
    handshake: Handshake | None = None

    @property
    def target(self) -> str:
        """With whom."""
        return self.way[0]


class Sealing:
    """See the module. `run(job)`: on a worker. `clock`: the node's."""

    def __init__(
        self,
        node: Node,
        trust: Trust,
        submit: Submit,
        run: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.callee = SealCallee(node.fqcn, node.instance, trust, clock)
        self.run = run
        self._node = node
        self._trust = trust
        self._submit = submit
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[Way, Session] = OrderedDict()
        self._cards: OrderedDict[str, tuple[Card, int]] = OrderedDict()
        self._waiting: dict[Way, list[_Gathering]] = {}
        self._hellos = 0
        self._closed = False

    # -- the caller's side, any thread ---------------------------------------------------------------------------------

    def sessions(
        self,
        targets: Iterable[str],
        is_long: bool,
        timeout: float,
        then: Then,
        is_new: bool = False,
        former: Session | None = None,
    ) -> None:
        """Have `then` told the sessions with these cells: at once where all are there, else later, by a worker.

        `timeout`: seconds without an answer of a target. `is_new`: make new ones, which the targets know for sure.
        `former`: one that its target is said to have forgotten; it is asked whether that is so, see `Session.replaces`.
        Raises `ClosedError`, and `RequestFailed` when our own card is of no use.
        """
        self._trust.check_own()
        now = self._clock()
        gathering = _Gathering(set(), now + timeout, then)
        begin: list[_Attempt] = []
        with self._lock:
            if self._closed:
                raise ClosedError(f"cell {self._node.fqcn} is closed")
            for name in dict.fromkeys(targets):
                way = (name, is_long)
                session = None if is_new else self._usable(way, now)
                if session is not None and (former is None or session.replaces(former)):
                    gathering.found[name] = session
                    continue
                gathering.missing.add(name)
                if way not in self._waiting:
                    self._waiting[way] = []
                    begin.append(_Attempt(way, timeout, old=0 if former is None else former.id))
                self._waiting[way].append(gathering)
            is_ready = not gathering.missing
        if is_ready:
            then(gathering.found, gathering.failed)
        for attempt in begin:
            self._begin(attempt)

    def wraps(
        self, sessions: Mapping[str, Session], id: int, digest: bytes, content_key: bytes, replies: Mapping[str, bytes]
    ) -> dict[str, Wrap]:
        """A wrap for each target: with the content key, and its own of the reply keys."""
        made: dict[str, Wrap] = {}
        for name, session in sessions.items():
            with self._lock:
                counter, session.counter = session.counter, session.counter + 1
            belonging = Belonging(name, session.instance, session.id, id, digest)
            made[name] = make_wrap(session.cipher, counter, belonging, content_key, replies[name])
        return made

    def drop(self, session: Session) -> None:
        """The target does not know this session: never use it again."""
        self._drop_where(lambda each: each is session)

    # -- the callee's side ---------------------------------------------------------------------------------------------

    def serve(self, call: Call, reply: Callable[[Call, Outcome], None]) -> None:
        """Answer a request of another cell's `Sealing`; later, by a worker."""

        def job() -> None:
            try:
                outcome = self._answer(call)
            except DecodeError as error:
                outcome = Outcome(CellReturnCode.AUTHENTICATION_ERROR, f"{self._node.fqcn}: {error}")
            except InvalidSession as error:
                outcome = Outcome(error.code, error.reason, headers={WHY: SEAL_SESSION})
            except RequestFailed as error:
                outcome = Outcome(error.code, error.reason)
            if call.expects_reply:
                reply(call, outcome)

        self.run(job)

    def forget_at(self, origin: str, session: int) -> None:
        """Tell a caller whose message nobody answers that its session is not known here. It may get lost."""

        def act(now: float) -> list[Command]:
            return self._node.fire(self._node.next_id(), [origin], SEAL, FORGET, 0, {"s": session}, (), now)[0]

        try:
            self._submit(act)
        except ClosedError:
            return

    def _answer(self, call: Call) -> Outcome:
        match call.topic, call.headers:
            case "card", _:
                return Outcome(OK, headers={"card": self._trust.keys.signed, "instance": self._node.instance})
            case "hello", {"card": bytes() as signed, "to": int() as to, "m": bytes() as message}:
                answer = self.callee.accept(call.origin, call.instance, signed, to, message, os.urandom(KEY))
                return Outcome(OK, headers={"m": answer})
            case "forget", {"s": int() as session}:
                self._drop_where(lambda each: each.target == call.origin and each.id == session)
                return Outcome(OK)
        return Outcome(CellReturnCode.INVALID_REQUEST, f"no topic {call.channel}:{call.topic}")

    # -- cards ---------------------------------------------------------------------------------------------------------

    def reload(self, keys: SealingKeys) -> None:
        """Use these keys and lists from now on; sessions of cards that are believed no more end.

        Raises `KeyFileError` for a list of revocations that is older than the one in use.
        """
        other = self._trust.reload(keys)
        self._end_where(lambda card: other or bool(self._trust.problem(card, card.fqcn)))

    def refuse(self, name: str) -> None:
        """Believe no card of this cell until the next `reload`, and end the sessions with it."""
        self._trust.refuse(name)
        self._end_where(lambda card: card.fqcn == name)

    def close(self) -> None:
        """The cell has stopped: whoever waits for a session fails."""
        with self._lock:
            self._closed = True
            gatherings = {id(each): each for waiting in self._waiting.values() for each in waiting}
            self._waiting.clear()
        error = RequestFailed(f"cell {self._node.fqcn} was closed", code=CellReturnCode.COMM_ERROR)
        for each in gatherings.values():
            each.failed.update(dict.fromkeys(each.missing, error))
            each.then(each.found, each.failed)

    def __repr__(self) -> str:
        card = self._trust.keys.card
        counts = f"{len(self._sessions)} sessions out, {self.callee.open_sessions} in"
        return f"<Sealing {card.fqcn}, card {card.serial}, {counts}>"

    # -- making a session: reactor and workers -------------------------------------------------------------------------

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A request of this cell's has ended (the node says so, on the reactor)."""
        self.run(lambda: self._go_on(tag, outcome))
        return []

    def _begin(self, attempt: _Attempt) -> None:
        with self._lock:
            known = self._cards.get(attempt.target)
        if known is not None and not attempt.fresh:
            attempt.card, attempt.instance = known
            self.run(lambda: self._step(attempt, lambda: self._say_hello(attempt)))
        else:
            attempt.fresh = True
            self._step(attempt, lambda: self._ask(attempt, CARD, {}))

    def _go_on(self, attempt: _Attempt, outcome: Outcome) -> None:
        """An answer has come."""
        if outcome.headers.get(WHY) == SEAL_SESSION and not attempt.fresh:  # it has restarted since we have its card
            with self._lock:
                self._cards.pop(attempt.target, None)
            self._begin(_Attempt(attempt.way, attempt.timeout, fresh=True, old=attempt.old))
        elif outcome.code is not OK:
            why = f"no sealed session with {attempt.target}: {outcome.error or outcome.code}"
            self._end(attempt, RequestFailed(why, code=outcome.code))
        elif attempt.handshake is None:
            self._step(attempt, lambda: self._take_card(attempt, outcome.headers))
        else:
            self._step(attempt, lambda: self._take_answer(attempt, outcome.headers))

    def _step(self, attempt: _Attempt, step: Callable[[], None]) -> None:
        try:
            step()
        except RequestFailed as error:
            self._end(attempt, error)
        except DecodeError as error:
            self._end(attempt, AuthenticationError(f"no sealed session with {attempt.target}: {error}"))
        except ClosedError as error:
            self._end(attempt, RequestFailed(str(error), code=CellReturnCode.COMM_ERROR))

    def _take_card(self, attempt: _Attempt, headers: Mapping[str, Any]) -> None:
        match headers:
            case {"card": bytes() as signed, "instance": int() as instance} if instance >= 0:
                pass
            case _:
                raise DecodeError("it sent no card")
        attempt.card, attempt.instance = self._trust.believed(signed, attempt.target), instance
        with self._lock:
            self._cards[attempt.target] = attempt.card, instance
            keep(self._cards, MOST_SESSIONS)
        self._say_hello(attempt)

    def _say_hello(self, attempt: _Attempt) -> None:
        assert attempt.card is not None
        self._trust.check(attempt.card, attempt.target)
        keys = self._trust.keys
        with self._lock:
            self._hellos += 1
            number = self._hellos
        attempt.handshake = Handshake(
            initiator=True,
            static=keys.secret,
            peer=attempt.card.seal,
            prologue=prologue(self._node.fqcn, self._node.instance, attempt.target, attempt.instance),
            ephemeral=os.urandom(KEY),
        )
        message = attempt.handshake.write(msgpack.packb([number, attempt.old]))
        self._ask(attempt, HELLO, {"card": keys.signed, "to": attempt.instance, "m": message})

    def _take_answer(self, attempt: _Attempt, headers: Mapping[str, Any]) -> None:
        assert attempt.handshake is not None
        assert attempt.card is not None
        answer = headers.get("m")
        if not isinstance(answer, bytes):
            raise DecodeError("it sent no handshake")
        is_known = attempt.handshake.read(answer) != msgpack.packb(False)
        cipher, id = Cipher(attempt.handshake.split()[0]), session_id(attempt.handshake)
        until = self._clock() + LIFE
        session = Session(attempt.target, attempt.instance, id, cipher, attempt.card, until)
        session.old, session.was_forgotten = attempt.old, not is_known
        self._end(attempt, session)

    def _end(self, attempt: _Attempt, result: Session | RequestFailed) -> None:
        """It is there, or it has failed: tell who waits. Whoever still has time does not fail by another's time-out."""
        now, ready, again = self._clock(), list[_Gathering](), list[_Gathering]()
        with self._lock:
            waiting = self._waiting.pop(attempt.way, [])
            if isinstance(result, Session):
                self.counters["sessions"] += 1
                self._sessions[attempt.way] = result
                keep(self._sessions, MOST_SESSIONS)
            elif result.code is CellReturnCode.TIMEOUT:
                again = [each for each in waiting if each.until > now]
            if again:
                self._waiting[attempt.way] = again
            for each in waiting:
                if each not in again:
                    _note(each, attempt.target, result)
                    ready += [] if each.missing else [each]
        if again:
            self._begin(_Attempt(attempt.way, max(each.until for each in again) - now, old=attempt.old))
        for each in ready:
            each.then(each.found, each.failed)

    def _ask(self, attempt: _Attempt, topic: str, headers: dict[str, Any]) -> None:
        ask = Ask(self, attempt, (attempt.target,), SEAL, topic, headers, 0, (), attempt.timeout)
        self._submit(lambda now: self._node.transfer(lambda _: [ask], now))

    # -- within --------------------------------------------------------------------------------------------------------

    def _usable(self, way: Way, now: float) -> Session | None:
        session = self._sessions.get(way)
        if session is None:
            return None
        if session.counter >= MOST_MESSAGES or now >= session.until or not self._trust.is_valid(session.card):
            del self._sessions[way]
            return None
        self._sessions.move_to_end(way)
        return session

    def _drop_where(self, is_bad: Callable[[Session], bool]) -> None:
        with self._lock:
            for way in [way for way, session in self._sessions.items() if is_bad(session)]:
                del self._sessions[way]

    def _end_where(self, is_bad: Callable[[Card], bool]) -> None:
        self._drop_where(lambda session: is_bad(session.card))
        with self._lock:
            for name in [name for name, (card, _) in self._cards.items() if is_bad(card)]:
                del self._cards[name]
        self.callee.end(is_bad)


def _note(gathering: _Gathering, target: str, result: Session | RequestFailed) -> None:
    gathering.missing.discard(target)
    if isinstance(result, Session):
        gathering.found[target] = result
    else:
        gathering.failed[target] = result
