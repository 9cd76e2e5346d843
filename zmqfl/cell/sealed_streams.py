"""Pushes, sealed: around any producer and consumer, so that the machines of a push do not know of it.

    owner    OPEN    the context, sealed, and the wraps of all targets
             ROUND   a chunk: headers, codec and bodies, sealed once for all
             ROUND   END: for each target how many chunks there were and their root digest, sealed for it alone
    target   OPEN    `not ready` is said in clear, and before the wrap is opened: the same OPEN comes again
             ROUND   what the consumer says, sealed for the owner; "no more" is held back until END
             END     checked; only then the push may end well here, and the consumer hears that it is over
             close   what the consumer says at last, sealed: the owner believes no other success

All targets know the content key, so a target that works together with a relay could change chunks for another one.
Until
END that one cannot tell; but it hands nothing over before. Reasons of failures go to all targets in clear, so they are
"sealed": the owner and who failed know more.

A consumer that wants no more gets no more; one whose producer has ended by its replies learns it with END.
Source: design, decisions 12, 17 and 18.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from zmqfl.cell.message import SEAL
from zmqfl.cell.sealing import Found, Session
from zmqfl.cell.streams import Chunk, Consumer, Incoming, Producer
from zmqfl.errors import AuthenticationError, CellReturnCode, DecodeError, EncodeError, RequestFailed, told
from zmqfl.protocol.commands import Outcome, PushEnded
from zmqfl.wire import payload
from zmqfl.wire.codecs import SEALED
from zmqfl.wire.messages import Buffer
from zmqfl.wire.noise import KEY
from zmqfl.wire.seal import Facts, RootDigest, Seals, check_room, digest_of, read_header, seal_header

log = logging.getLogger("zmqfl.cell")

HEAD: Final = "s"
"""Header of a sealed chunk: its sealed head."""
END: Final = "e"
"""Header of the last chunk of a sealed push: per target, what it is to check."""
HIDDEN: Final = "the reason is sealed"
TOKEN: Final = 16
OK: Final = CellReturnCode.OK


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """What the owner of a sealed push and one target have in common. `transfer`: random, names the push."""

    owner: str
    instance: int
    target: str
    target_instance: int
    channel: str
    topic: str
    transfer: bytes
    content_key: bytes
    reply_key: bytes

    def to_targets(self, purpose: str) -> Seals:
        """Seals what goes to all targets, or with "end" to this one."""
        key = self.reply_key if purpose == "end" else self.content_key
        return Seals(key, Facts(purpose, self.owner, self.instance, self.channel, self.topic, self.transfer))

    def to_owner(self, purpose: str) -> Seals:
        """Seals what this target says."""
        facts = Facts(purpose, self.target, self.target_instance, self.channel, self.topic, self.transfer)
        return Seals(self.reply_key, facts)


# --------------------------------------------------------------------------------------------------------------- owner


@dataclass(frozen=True, slots=True)
class PlainContext:
    """What a sealed push begins with, encoded."""

    channel: str
    topic: str
    bodies: tuple[Buffer, ...]


def seal_context(
    plain: PlainContext,
    owner: tuple[str, int],
    sessions: Found,
    wraps: Callable[[Mapping[str, Session], int, bytes, bytes, Mapping[str, bytes]], Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, StreamKeys]]:
    """(the context that travels, the keys of each target). `owner`: name and instance; `wraps`: as of `Sealing`.

    Raises `RequestFailed` for too many targets.
    """
    try:
        check_room(0, sessions)
    except EncodeError as error:
        raise RequestFailed(str(error), code=CellReturnCode.MSG_TOO_BIG) from None
    content_key, transfer = os.urandom(KEY), os.urandom(TOKEN)
    keys = {
        name: StreamKeys(
            *owner, name, session.instance, plain.channel, plain.topic, transfer, content_key, os.urandom(KEY)
        )
        for name, session in sessions.items()
    }
    parcel = next(iter(keys.values())).to_targets("context").seal(0, None, plain.bodies)
    replies = {name: each.reply_key for name, each in keys.items()}
    made = wraps(sessions, 0, parcel.digest(), content_key, replies)
    header = seal_header(parcel.head, dict(made))
    return {SEAL: {**header, "t": transfer, "b": list(parcel.bodies)}}, keys


class SealedProducer:
    """Seals what `inner` makes, for the targets that `keys` are of. It closes `inner`."""

    public_error = HIDDEN
    """What the targets hear when `inner` fails."""

    def __init__(self, inner: Producer, keys: dict[str, StreamKeys]) -> None:
        self.looks_ahead = inner.looks_ahead
        self.judges = inner.judges
        self.is_quick = inner.is_quick
        self.size = 0
        """Bytes of plain bodies so far."""
        self._inner = inner
        self._keys = keys
        self._seals = next(iter(keys.values())).to_targets("chunk")
        self._root = RootDigest()
        self._replies = {name: each.to_owner("taken") for name, each in keys.items()}
        self._settled = 0
        self._is_over = self._has_ended = False
        self._content: set[str] = set()
        """Targets whose consumer wants no more."""
        self._held: dict[str, Outcome] | None = None
        """Replies of the last round of `inner`, which are shown to it with what comes of END."""
        self._result: Any = None
        self._error = ""

    def produce(self) -> Chunk | None:
        """The next chunk, sealed; after the last one END. Raises what `inner` raises."""
        if self._has_ended:
            return None
        try:
            chunk = None if self._is_over else self._inner.produce()
        except BaseException as error:
            self._error = told(error)
            raise
        if chunk is None:
            self._has_ended = True
            return self._end()
        parcel = self._seals.seal(self._root.count, [chunk.codec, dict(chunk.headers)], chunk.bodies)
        self._root.add(parcel.head, parcel.bodies)
        self.size += sum(map(len, chunk.bodies))
        return Chunk({HEAD: parcel.head}, SEALED, parcel.bodies, chunk.timeout)

    def settle(self, replies: Mapping[str, Outcome]) -> Any:
        """Show `inner` what its consumers say. Raises `AuthenticationError` for a reply that is not theirs."""
        index, self._settled = self._settled, self._settled + 1
        if self._has_ended and index == self._root.count:
            return self._settle_end(replies)
        opened = {name: self._taken(name, index, reply) for name, reply in replies.items()}
        shown = {name: reply for name, (reply, _) in opened.items() if name not in self._content}
        self._content |= {name for name, (_, goes_on) in opened.items() if not goes_on}
        if len(self._content) == len(self._keys):
            self._held, self._is_over = shown, True
            return None
        result = self._inner.settle(shown)
        if result is None or not result:
            return result
        self._result, self._is_over = result, True
        return None

    def close(self) -> None:
        """It is over."""
        self._inner.close()

    def prove(self, ended: PushEnded) -> PushEnded:
        """How the push has ended, as its targets have sealed it: a success that one of them does not prove is none."""
        opened = {name: self._opened(name, outcome) for name, outcome in ended.targets.items()}
        targets = {name: outcome for name, outcome in opened.items() if outcome is not None}
        if ended.code is OK:
            for name in self._keys:
                if (outcome := targets.get(name)) is None or outcome.code is not OK:
                    reason = f"{name} has not proved that it has everything"
                    return replace(ended, code=CellReturnCode.COMM_ERROR, reason=reason, culprit=name, targets=targets)
            return replace(ended, targets=targets)
        reason = ended.reason
        if (outcome := targets.get(ended.culprit)) is not None and outcome.error:
            reason = outcome.error
        elif reason == HIDDEN and self._error:
            reason = self._error
        return replace(ended, reason=reason, targets={**ended.targets, **targets})

    def _end(self) -> Chunk:
        says = [self._root.count, self._root.value()]
        ends = {name: each.to_targets("end").seal(0, says).head for name, each in self._keys.items()}
        return Chunk({END: ends}, SEALED, ())

    def _taken(self, target: str, index: int, reply: Outcome) -> tuple[Outcome, bool]:
        try:
            (code, error, codec, headers, goes_on), bodies = _open(self._replies[target], index, reply, 5)
        except DecodeError as problem:
            raise AuthenticationError(f"what {target} says of chunk {index} was refused: {problem}") from None
        return Outcome(CellReturnCode(code), error, codec, headers, bodies), bool(goes_on)

    def _settle_end(self, replies: Mapping[str, Outcome]) -> Any:
        if self._held is None:
            return self._result
        merged = {}
        for name, held in self._held.items():
            _, count = replies[name].headers.get("end", (0, 0))
            sealed = replies[name].bodies[len(replies[name].bodies) - count :]
            end = self._opened(name, Outcome(OK, codec=SEALED, bodies=sealed))
            if end is None:
                raise AuthenticationError(f"what {name} says at the end was refused")
            headers = {**held.headers, "end": [end.codec, len(end.bodies)]}
            merged[name] = Outcome(held.code, held.error, held.codec, headers, (*held.bodies, *end.bodies))
        return self._inner.settle(merged)

    def _opened(self, target: str, outcome: Outcome) -> Outcome | None:
        """What a target says at its end; None when it is not proved."""
        for purpose in ("closed", "refused"):
            try:
                (code, error, codec, headers), bodies = _open(self._keys[target].to_owner(purpose), 0, outcome, 4)
                return Outcome(CellReturnCode(code), error, codec, headers, bodies)
            except (DecodeError, ValueError):
                continue
        return None


# -------------------------------------------------------------------------------------------------------------- target


def open_context(
    context: Mapping[str, Any],
    incoming: Incoming,
    instance: int,
    me: tuple[str, int],
    open_wrap: Callable[[str, int, Any, int, bytes], tuple[bytes, bytes]],
) -> tuple[dict[str, Any], StreamKeys]:
    """(the context that was sealed, the keys of the push). `instance`: of its owner; `me`: name and instance of this
    cell; `open_wrap`: as of `SealCallee`. Raises `InvalidSession`, `AuthenticationError`."""
    try:
        head, wrap = read_header(context[SEAL], me[0])
        match context[SEAL]:
            case {"t": bytes() as transfer, "b": list() as bodies} if all(isinstance(body, bytes) for body in bodies):
                pass
            case _:
                raise DecodeError("is no context of a sealed push")
        content_key, reply_key = open_wrap(incoming.origin, instance, wrap, 0, digest_of(head, bodies))
        keys = StreamKeys(
            incoming.origin, instance, *me, incoming.channel, incoming.topic, transfer, content_key, reply_key
        )
        _, plain = keys.to_targets("context").open(0, head, bodies)
        facts = payload.decode(plain)
    except DecodeError as error:
        raise AuthenticationError(f"a sealed stream of {incoming.origin} was refused: {error}") from None
    if not isinstance(facts, dict):
        raise AuthenticationError(f"a sealed stream of {incoming.origin} was refused: its context is no dict")
    return facts, keys


class SealedConsumer:
    """Opens what comes for `inner`. `keys`: from `open_context`."""

    def __init__(self, inner: Consumer, keys: StreamKeys) -> None:
        self.is_quick = inner.is_quick
        self._inner = inner
        self._keys = keys
        self._seals = keys.to_targets("chunk")
        self._replies = keys.to_owner("taken")
        self._root = RootDigest()
        self._is_content = False
        self._is_proved = False

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Open a chunk, and have it consumed. Raises `AuthenticationError`, whose text is no secret."""
        if chunk.codec != SEALED:
            raise AuthenticationError(f"a chunk of the sealed stream {self._keys.topic} is not sealed")
        if END in chunk.headers:
            return False, self._end(chunk)
        index = self._root.count
        try:
            head, bodies = self._seals.open(index, chunk.headers.get(HEAD), chunk.bodies)
        except DecodeError as error:
            raise AuthenticationError(f"chunk {index} was refused: {error}") from None
        self._root.add(chunk.headers[HEAD], chunk.bodies)
        if self._is_content:
            return True, self._say(index, False, Outcome(OK))
        codec, headers = _pair(head)
        try:
            goes_on, outcome = self._inner.consume(Chunk(headers, codec, bodies))
        except BaseException as error:  # noqa: BLE001  the owner must learn why, and nobody else
            goes_on, outcome = False, _outcome_of(error, self._keys)
        if outcome.code is not OK:
            return False, refusal(self._keys, outcome)
        self._is_content = not goes_on
        return True, self._say(index, goes_on, outcome)

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Tell `inner` that it is over: well only if END was there."""
        if code is OK and not self._is_proved:
            code, culprit = CellReturnCode.AUTHENTICATION_ERROR, self._keys.owner
            reason = f"the end of the stream was not sealed by {culprit}"
        try:
            outcome = self._inner.close(code, reason, culprit)
        except BaseException as error:  # noqa: BLE001  as above
            outcome = _outcome_of(error, self._keys)
        if code is CellReturnCode.AUTHENTICATION_ERROR and outcome.code is OK:
            outcome = Outcome(code, reason)
        return _sealed(self._keys.to_owner("closed"), 0, outcome)

    def _end(self, chunk: Chunk) -> Outcome:
        ends = chunk.headers[END]
        mine = ends.get(self._keys.target) if isinstance(ends, dict) else None
        try:
            says, _ = self._keys.to_targets("end").open(0, mine)
        except DecodeError as error:
            raise AuthenticationError(f"the end of the stream was refused: {error}") from None
        if says != [self._root.count, self._root.value()]:
            raise AuthenticationError(f"what came is not what {self._keys.owner} has sealed for {self._keys.target}")
        self._is_proved = True
        return Outcome(OK)

    def _say(self, index: int, goes_on: bool, outcome: Outcome) -> Outcome:
        return _sealed(self._replies, index, outcome, int(goes_on))


def refusal(keys: StreamKeys, outcome: Outcome) -> Outcome:
    """Why this target refuses or fails the push: the code is for all, the reason for the owner."""
    sealed = _sealed(keys.to_owner("refused"), 0, outcome)
    return replace(sealed, error=HIDDEN)


def _outcome_of(error: BaseException, keys: StreamKeys) -> Outcome:
    if isinstance(error, RequestFailed):
        return Outcome(error.code, error.reason)
    log.warning("a stream of %s failed", keys.owner, exc_info=error)
    return Outcome(CellReturnCode.PROCESS_EXCEPTION, told(error))


def _sealed(seals: Seals, index: int, outcome: Outcome, *more: Any) -> Outcome:
    head = [str(outcome.code), outcome.error, outcome.codec, outcome.headers, *more]
    parcel = seals.seal(index, head, outcome.bodies)
    return Outcome(outcome.code, "", SEALED, {}, (parcel.head, *parcel.bodies))


def _open(seals: Seals, index: int, outcome: Outcome, fields: int) -> tuple[list[Any], tuple[Buffer, ...]]:
    if outcome.codec != SEALED or not outcome.bodies:
        raise DecodeError("it is not sealed")
    head, bodies = seals.open(index, bytes(outcome.bodies[0]), outcome.bodies[1:])
    if not isinstance(head, list) or len(head) != fields:
        raise DecodeError("its head is not that of a reply")
    return head, bodies


def _pair(head: Any) -> tuple[int, dict[str, Any]]:
    match head:
        case [int() as codec, dict() as headers]:
            return codec, headers
    raise AuthenticationError("a chunk has another head than it should")


def plain_context(channel: str, topic: str, context: Mapping[str, Any]) -> PlainContext:
    """Encode the context of a push. Raises `EncodeError`."""
    return PlainContext(channel, topic, tuple(payload.encode(dict(context))))
