"""Requests, fires and their replies, sealed: between `Asking` and `Serving`, which know only plain ones, and the wire.

    caller   seal          what leaves, in the caller's thread: the content is fixed then
             address       the wraps, on the reactor: they are bound to the number of the request
    callee   open_call     on a worker, before anything looks at it
             seal_outcome  also of a handler that failed: its text may tell what was sent
    caller   open_outcome  a reply that is OK is sealed for this very request, or it is none

What the network itself says (no route, time-out, no free worker) is not sealed, and never OK.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from zmqfl.cell.message import SEAL
from zmqfl.cell.sealing import SEAL_SESSION, WHY, Found, Sealing, Session
from zmqfl.errors import AuthenticationError, CellReturnCode, DecodeError, EncodeError, InvalidSession, RequestFailed
from zmqfl.protocol.commands import Call, Outcome
from zmqfl.protocol.node import Node
from zmqfl.wire.codecs import SEALED
from zmqfl.wire.messages import Buffer
from zmqfl.wire.noise import KEY
from zmqfl.wire.seal import Facts, Parcel, Seals, check_room, digest_of, read_header, seal_header

REQUEST: Final = "request"
FIRE: Final = "fire"
REPLY: Final = "reply"


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A request or fire that is sealed, and has no targets yet."""

    key: bytes
    parcel: Parcel
    digest: bytes


@dataclass(frozen=True, slots=True)
class ReplySeal:
    """How the caller opens the reply of one target."""

    session: Session
    key: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """What was sealed."""

    headers: dict[str, Any]
    codec: int
    bodies: tuple[Buffer, ...]
    reply_key: bytes


class SealedCalls:
    """See the module. All threads may use it."""

    def __init__(self, node: Node, sealing: Sealing) -> None:
        self.sealing = sealing
        self._node = node

    # -- caller --------------------------------------------------------------------------------------------------------

    def seal(
        self, purpose: str, channel: str, topic: str, codec: int, headers: Mapping[str, Any],
        bodies: tuple[Buffer, ...], targets: tuple[str, ...],
    ) -> SealedMessage:  # fmt: skip
        """Seal a request or fire for these targets. Raises `RequestFailed` for what is too big for so many."""
        key = os.urandom(KEY)
        facts = Facts(purpose, self._node.fqcn, self._node.instance, channel, topic)
        try:
            parcel = Seals(key, facts).seal(0, [codec, dict(headers)], bodies)
            check_room(len(parcel.head), targets)
        except EncodeError as error:
            raise RequestFailed(str(error), code=CellReturnCode.MSG_TOO_BIG) from error
        return SealedMessage(key, parcel, parcel.digest())

    def address(self, message: SealedMessage, sessions: Found, id: int) -> tuple[dict[str, Any], dict[str, ReplySeal]]:
        """(headers of the request `id`, how to open the reply of each target)."""
        replies = {name: ReplySeal(session, os.urandom(KEY)) for name, session in sessions.items()}
        keys = {name: reply.key for name, reply in replies.items()}
        wraps = self.sealing.wraps(sessions, id, message.digest, message.key, keys)
        return {SEAL: seal_header(message.parcel.head, wraps)}, replies

    def open_outcome(self, reply: ReplySeal, channel: str, topic: str, outcome: Outcome) -> tuple[Outcome, bool]:
        """How the request has ended, and whether its target has proved it; what was forged is `comm_error`."""
        target = reply.session.target
        if outcome.codec != SEALED:
            if outcome.code is not CellReturnCode.OK:
                return Outcome(outcome.code, outcome.error), False
            return _untrue(f"{target} was asked with secure=True, and its reply is not sealed")
        facts = Facts(REPLY, target, reply.session.instance, channel, topic)
        try:
            head, bodies = Seals(reply.key, facts).open(0, outcome.headers.get(SEAL), outcome.bodies)
            code, error, codec, headers = _reply_of(head)
        except DecodeError as error_:
            return _untrue(f"the reply of {target} was refused: {error_}")
        if code is not outcome.code:
            return _untrue(f"the reply of {target} was refused: its code was changed on its way")
        return Outcome(code, error, codec, headers, bodies), True

    def is_forgotten(self, reply: ReplySeal, outcome: Outcome) -> bool:
        """Whether the target is said not to know the session. It is not used any more then."""
        if outcome.code is not CellReturnCode.INVALID_SESSION or outcome.headers.get(WHY) != SEAL_SESSION:
            return False
        self.sealing.drop(reply.session)
        return outcome.codec != SEALED

    # -- callee --------------------------------------------------------------------------------------------------------

    def open_call(self, call: Call) -> Opened:
        """What a sealed request or fire holds. Raises `InvalidSession`, `AuthenticationError`."""
        try:
            head, wrap = read_header(call.headers.get(SEAL), self._node.fqcn)
            digest = digest_of(head, call.bodies)
            key, reply_key = self.sealing.callee.open(call.origin, call.instance, wrap, call.id, digest)
            purpose = REQUEST if call.expects_reply else FIRE
            facts = Facts(purpose, call.origin, call.instance, call.channel, call.topic)
            values, bodies = Seals(key, facts).open(0, head, call.bodies)
        except DecodeError as error:
            raise AuthenticationError(f"a sealed message of {call.origin} was refused: {error}") from None
        match values:
            case [int() as codec, dict() as headers]:
                return Opened(headers, codec, bodies, reply_key)
        raise AuthenticationError(f"a sealed message of {call.origin} has another head than it should")

    def forgotten(self, call: Call, error: InvalidSession) -> Outcome:
        """The answer to a message of a session that is not known here; whoever sent a FIRE is told by another one."""
        if not call.expects_reply:
            _, wrap = read_header(call.headers.get(SEAL), self._node.fqcn)
            self.sealing.forget_at(call.origin, wrap.session)
        return Outcome(error.code, error.reason, headers={WHY: SEAL_SESSION})

    def seal_outcome(self, call: Call, reply_key: bytes, outcome: Outcome) -> Outcome:
        """A reply that only the caller can open, and take for nothing but the reply to this request."""
        facts = Facts(REPLY, self._node.fqcn, self._node.instance, call.channel, call.topic)
        head = [str(outcome.code), outcome.error, outcome.codec, outcome.headers]
        parcel = Seals(reply_key, facts).seal(0, head, outcome.bodies)
        return Outcome(outcome.code, "", SEALED, {SEAL: parcel.head}, parcel.bodies)


def _reply_of(head: Any) -> tuple[CellReturnCode, str, int, dict[str, Any]]:
    match head:
        case [str() as code, str() as error, int() as codec, dict() as headers] if code in set(CellReturnCode):
            return CellReturnCode(code), error, codec, headers
    raise DecodeError("its head is not that of a reply")


def _untrue(text: str) -> tuple[Outcome, bool]:
    return Outcome(CellReturnCode.COMM_ERROR, text), False
