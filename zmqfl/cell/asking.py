"""The caller's side of a cell: from a verb to its handle.

Serialisation runs in the caller's thread, so the content is fixed when the verb returns. A reply is decoded by who
looks at its payload, not on the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from zmqfl.cell import filters
from zmqfl.cell.fetching import Fetch
from zmqfl.cell.filters import Filters
from zmqfl.cell.handles import BroadcastHandle, Handle, RequestHandle
from zmqfl.cell.identity import no_card
from zmqfl.cell.message import Message, MessageHeaderKey, make_reply, strip_reserved, user_headers
from zmqfl.cell.references import Encoded, References
from zmqfl.cell.sealed_asking import RequestSeal, SealedAsking, Terms
from zmqfl.cell.workers import Workers
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, ClosedError, DecodeError, RequestFailed
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Command, Finish, Outcome
from zmqfl.protocol.node import Node
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC, REFERENCE, SEALED
from zmqfl.wire.messages import Buffer
from zmqfl.wire.references import Table, decode_table, place_refs

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls, SealedMessage

_UNREAD = object()


class Reply(Message):
    """A reply that came in. Its payload is decoded when it is looked at first.

    `payload` raises `DecodeError` when the callee's bytes are not what they claim.
    """

    __slots__ = ("_bodies", "_codec", "_decode", "_value")

    def __init__(self, headers: dict[str, Any], codec: int, bodies: tuple[Buffer, ...]) -> None:
        self.headers = headers
        self._codec = codec
        self._bodies = bodies
        self._decode: Callable[[Sequence[Buffer]], Any] = payload.decode
        self._value: Any = _UNREAD

    def adopt(self, frames: list[Buffer]) -> None:
        """Its payload was pulled: these are the frames."""
        self._codec, self._bodies = PAYLOAD_CODEC, tuple(frames)
        self._decode = partial(payload.decode, adopt=True, most=len(frames))

    def pass_through(self) -> None:
        """Its payload is not pulled, but told where it is."""
        self._codec, self._decode = PAYLOAD_CODEC, _refs_of

    @property
    def payload(self) -> Any:  # a slot of the base, computed here
        """The value that the handler returned; None when it failed."""
        if self._value is _UNREAD:
            if not self._bodies:
                self._value = None
            elif self._codec != PAYLOAD_CODEC:
                raise DecodeError(f"payload codec {self._codec} of {self.origin} is not known here")
            else:
                self._value = self._decode(self._bodies)
            self._bodies = ()
        return self._value

    @payload.setter
    def payload(self, value: Any) -> None:
        self._value, self._bodies = value, ()

    def __repr__(self) -> str:
        about = f"{self.channel!r}:{self.topic!r} #{self.req_id} from {self.origin!r} {str(self.return_code)!r}"
        return f"<Reply to {about} {sum(map(len, self._bodies))} bytes to decode>"  # looking must not decode


@dataclass(slots=True)
class Outgoing:
    """A message as it leaves: filtered, encoded, within the limits."""

    channel: str
    topic: str
    headers: dict[str, Any]
    content: Encoded
    sealed: SealedMessage | None = None

    @property
    def codec(self) -> int:
        """How the bodies are to be read."""
        return self.content.codec

    @property
    def bodies(self) -> tuple[Buffer, ...]:
        """What travels of the content."""
        return self.content.bodies


@dataclass(slots=True)
class _Waiting:
    """One handle, by request id."""

    handle: RequestHandle | BroadcastHandle
    out: Outgoing
    missing: int
    passes_through: bool = False
    until: float | None = None
    """When it must have ended; None: no matter."""
    seal: RequestSeal | None = None


class Asking:
    """See the module. `submit` runs an action on the reactor; `error` makes what handles fail with at the end."""

    def __init__(
        self,
        node: Node,
        config: CellConfig,
        workers: Workers,
        call_filters: Filters,
        references: References,
        submit: Callable[[Callable[[float], list[Command]]], None],
        seals: SealedCalls | None,
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._config = config
        self._workers = workers
        self._filters = call_filters
        self._submit = submit
        self._waiting: dict[int, _Waiting] = {}
        self._references = references
        self._sealed = None if seals is None else SealedAsking(node, config, seals, submit, clock)
        self._clock = clock
        self._fetching: dict[Fetch, RequestHandle | BroadcastHandle] = {}
        """Replies whose payload is on its way."""

    # -- any thread ----------------------------------------------------------------------------------------------------

    def ask(
        self,
        handle: RequestHandle | BroadcastHandle,
        targets: tuple[str, ...],
        channel: str,
        topic: str,
        content: Any,
        timeout: float,
        deadline: float | None,
        secure: bool,
        copy: bool = False,
        pass_through: bool = False,
    ) -> None:
        """Send a request to each target; whatever comes of it ends up in the handle."""
        good = tuple(name for name in targets if not problem_of(name))
        for name in targets:
            if problem := problem_of(name):
                fail_all(handle, [name], CellReturnCode.INVALID_TARGET, problem)
        try:
            out = self.prepare(channel, topic, content, good, secure, copy, asks=True)
        except RequestFailed as error:
            fail_all(handle, good, error.code, error.reason)
            return
        if isinstance(out, Message):
            for name in good:
                deliver(handle, name, out)
        elif good and self._sealed is not None and out.sealed is not None:
            self._send_sealed(handle, good, out, self._sealed.terms(timeout, deadline))
        elif good:
            self._submit_or_free(
                out, lambda now: self._send(handle, good, out, timeout, deadline, pass_through, now)
            )  # fmt: skip

    def fire(
        self,
        handle: Handle[dict[str, str]],
        targets: tuple[str, ...],
        channel: str,
        topic: str,
        content: Any,
        secure: bool,
        copy: bool = False,
    ) -> None:
        """Send without a reply; the handle gets, per target, "" or why it did not leave."""
        bad = {name: f"{CellReturnCode.INVALID_TARGET}: {p}" for name in targets if (p := problem_of(name))}
        good = [name for name in targets if name not in bad]
        try:
            out = self.prepare(channel, topic, content, good, secure, copy, asks=False)
        except RequestFailed as error:
            handle._finish({**bad, **dict.fromkeys(good, f"{error.code}: {error.reason}")})
            return
        if isinstance(out, Message):
            handle._finish({**bad, **dict.fromkeys(good, "" if out.ok else f"{out.return_code}: {out.error}")})
            return

        if self._sealed is not None and out.sealed is not None:
            self._sealed.fire(out, good, lambda errors: handle._finish({**bad, **errors}), handle._fail)
            return

        def act(now: float) -> list[Command]:
            id = self._node.next_id()
            commands, errors = self._node.fire(id, good, channel, topic, out.codec, out.headers, out.bodies, now)
            if out.content.held is not None:
                out.content.held.lost(name for name, error in errors.items() if error)
            handle._finish({**bad, **errors})
            return commands

        self._submit_or_free(out, act)

    def cancel(self, handle: RequestHandle | BroadcastHandle) -> None:
        """The handle was cancelled."""

        def act(now: float) -> list[Command]:
            for fetch in [fetch for fetch, waiting in self._fetching.items() if waiting is handle]:
                fetch.abort()
            commands: list[Command] = []
            for id in [id for id, waiting in self._waiting.items() if waiting.handle is handle]:
                self._waiting.pop(id).out.content.free()
                commands += self._node.cancel(id, now)
            return commands  # none where it has not left yet: `_send` looks at the handle

        try:
            self._submit(act)
        except ClosedError:
            return  # closing has ended it as well

    def prepare(
        self,
        channel: str,
        topic: str,
        content: Any,
        targets: Sequence[str],
        secure: bool,
        copy: bool,
        asks: bool,
    ) -> Outgoing | Message:
        """Filter and encode; a Message is the reply of a filter, and nothing leaves. See `References.encode`.

        Raises `EncodeError` for what cannot travel, `RequestFailed` for what must not.
        """
        if secure and self._sealed is None:
            raise RequestFailed(no_card(self._node.fqcn), code=CellReturnCode.COMM_ERROR)
        message = content if isinstance(content, Message) else Message(payload=content)
        chain = self._filters.outgoing_request.matching(channel, topic)
        if chain:
            message = Message(message.headers, message.payload)  # a filter must not change the caller's own
            message.set_headers({MessageHeaderKey.CHANNEL: channel, MessageHeaderKey.TOPIC: topic})
            answer = filters.run(chain, message)
            if answer is not None:
                return answer
        headers = user_headers(message)
        encoded = self._references.encode(message.payload, "payload", () if secure else targets, copy=copy, asks=asks)
        if secure and self._sealed is not None:
            if encoded.codec == REFERENCE:
                text = "secure=True does not seal what a reference refers to; send the payload itself; nothing was sent"
                raise RequestFailed(text, code=CellReturnCode.COMM_ERROR)
            purpose = "request" if asks else "fire"
            sealed = self._sealed.seals.seal(
                purpose, channel, topic, PAYLOAD_CODEC, headers, encoded.bodies, tuple(targets)
            )  # fmt: skip
            return Outgoing(channel, topic, {}, Encoded(SEALED, sealed.parcel.bodies), sealed)
        if encoded.passes:
            headers[MessageHeaderKey.PASS_THROUGH] = True
        return Outgoing(channel, topic, headers, encoded)

    def _send_sealed(
        self, handle: RequestHandle | BroadcastHandle, targets: tuple[str, ...], out: Outgoing, terms: Terms
    ) -> None:
        """Send it as soon as there is a session with each target."""
        assert self._sealed is not None

        def failed(names: Iterable[str], error: RequestFailed) -> None:
            fail_all(handle, names, error.code, error.reason)

        def post(id: int, seal: RequestSeal, headers: dict[str, Any], left: float | None, now: float) -> list[Command]:
            if handle.done():
                return []
            self._waiting[id] = _Waiting(handle, out, len(seal.replies), seal=seal)
            return self._node.request(
                id,
                tuple(seal.replies),
                out.channel,
                out.topic,
                out.codec,
                headers,
                out.bodies,
                terms.timeout,
                now,
                left,
            )

        self._sealed.send(out, targets, terms, failed, handle._fail, post)

    def _submit_or_free(self, out: Outgoing, act: Callable[[float], list[Command]]) -> None:
        try:
            self._submit(act)
        except BaseException:
            out.content.free()
            raise

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def _send(
        self,
        handle: RequestHandle | BroadcastHandle,
        targets: tuple[str, ...],
        out: Outgoing,
        timeout: float,
        deadline: float | None,
        pass_through: bool,
        now: float,
    ) -> list[Command]:
        if handle.done():
            out.content.free()
            return []
        id = self._node.next_id()
        until = None if deadline is None else now + deadline
        self._waiting[id] = _Waiting(handle, out, len(targets), pass_through, until)
        return self._node.request(
            id, targets, out.channel, out.topic, out.codec, out.headers, out.bodies, timeout, now, deadline
        )

    def finish(self, finish: Finish) -> None:
        """A request has ended at one target."""
        waiting = self._waiting.get(finish.id)
        if waiting is None:
            return
        waiting.missing -= 1
        if not waiting.missing:
            del self._waiting[finish.id]
            waiting.out.content.free()
        if waiting.seal is not None:
            self._unseal(finish, waiting, waiting.seal)
        elif finish.outcome.codec == REFERENCE and finish.outcome.bodies:
            self._fetch(finish, waiting)
        else:
            self._received(finish, waiting)

    def _unseal(self, finish: Finish, waiting: _Waiting, seal: RequestSeal) -> None:
        assert self._sealed is not None

        def again(terms: Terms) -> None:
            try:
                self._send_sealed(waiting.handle, (finish.target,), waiting.out, terms)
            except ClosedError as error:
                waiting.handle._fail(error)

        def then(outcome: Outcome, is_proved: bool) -> None:
            self._received(replace(finish, outcome=outcome), waiting, is_proved=is_proved)

        self._sealed.open(seal, finish.target, waiting.out, finish.outcome, again, then)

    def _fetch(self, finish: Finish, waiting: _Waiting) -> None:
        """Have the payload of a reply pulled; its handle ends when it is there."""

        def done(frames: list[Buffer], error: Exception | None) -> None:
            self._fetching.pop(fetch, None)
            if isinstance(error, ClosedError):
                waiting.handle._fail(error)
            elif error is not None:
                self._lost(finish, waiting, error)
            else:
                self._received(finish, waiting, frames)

        try:
            table = self._table(finish)
            if waiting.passes_through:
                self._received(finish, waiting)
                return
            within = None if waiting.until is None else max(0.0, waiting.until - self._clock())
            fetch = self._references.fetch(finish.outcome.bodies, table, done, within)
            self._fetching[fetch] = waiting.handle
        except (RequestFailed, DecodeError) as error:
            self._lost(finish, waiting, error)
        except ClosedError as error:
            waiting.handle._fail(error)

    def _table(self, finish: Finish) -> Table:
        passes = bool(finish.outcome.headers.get(MessageHeaderKey.PASS_THROUGH))
        return self._references.read(finish.outcome.bodies, finish.target, passes)

    def _lost(self, finish: Finish, waiting: _Waiting, error: Exception) -> None:
        """The reply is here, its payload cannot be had."""
        code = error.code if isinstance(error, RequestFailed) else CellReturnCode.COMM_ERROR
        text = error.reason if isinstance(error, RequestFailed) else f"the reply of {finish.target}: {error}"
        self._received(replace(finish, outcome=Outcome(code, text)), waiting)

    def _received(
        self, finish: Finish, waiting: _Waiting, frames: list[Buffer] | None = None, is_proved: bool = False
    ) -> None:
        """A reply is here, and the frames of its payload if they were not in the message."""
        channel, topic = waiting.out.channel, waiting.out.topic
        reply = received(finish.target, finish.id, channel, topic, finish.outcome)
        if frames is not None:
            reply.adopt(frames)
        elif waiting.passes_through and finish.outcome.codec == REFERENCE:
            reply.pass_through()
        if is_proved:
            reply.set_header(MessageHeaderKey.SECURE, True)
        if not self._filters.reply_chain(channel, topic):
            deliver(waiting.handle, finish.target, reply)
            return

        def filtered() -> None:
            deliver(waiting.handle, finish.target, self._filtered(reply, waiting))

        def refused() -> None:
            text = "no free worker for the filters of the reply"
            deliver(waiting.handle, finish.target, make_reply(CellReturnCode.SERVICE_UNAVAILABLE, text))

        if not self._workers.submit(filtered, 0, refused):
            refused()

    def close(self) -> None:
        """Fail every handle that is left."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.out.content.free()
            each.handle._fail(ClosedError(f"cell {self._node.fqcn} was closed"))

    def _filtered(self, reply: Message, waiting: _Waiting) -> Message:
        try:
            return self._filters.on_reply(reply, waiting.out.channel, waiting.out.topic)
        except RequestFailed as error:
            return make_reply(error.code, error.reason)


def received(target: str, id: int, channel: str, topic: str, outcome: Outcome) -> Reply:
    """The outcome of a request as the caller sees it."""
    headers = strip_reserved(outcome.headers)
    headers[MessageHeaderKey.MSG_TYPE] = "reply"
    headers[MessageHeaderKey.RETURN_CODE] = outcome.code
    headers[MessageHeaderKey.ORIGIN] = target
    headers[MessageHeaderKey.CHANNEL] = channel
    headers[MessageHeaderKey.TOPIC] = topic
    headers[MessageHeaderKey.REQ_ID] = id
    if outcome.error:
        headers[MessageHeaderKey.ERROR] = outcome.error
    return Reply(headers, outcome.codec, outcome.bodies)


def _refs_of(bodies: Sequence[Buffer]) -> Any:
    """The payload of a reply that was passed through."""
    table, tree = bodies
    return place_refs(tree, decode_table(table))


def problem_of(target: object) -> str:
    """What is wrong with the name of a target; "" when nothing is. Blanks around it are: no cell has them."""
    return FQCN.validate(target) or ("blanks around it" if isinstance(target, str) and target != target.strip() else "")


def deliver(handle: RequestHandle | BroadcastHandle, target: str, reply: Message) -> None:
    """Tell the handle how the request ended at one target."""
    if isinstance(handle, BroadcastHandle):
        handle._answer(target, reply)
    else:
        handle._finish(reply)


def fail_all(handle: RequestHandle | BroadcastHandle, targets: Iterable[str], code: CellReturnCode, text: str) -> None:
    """The request ends before it was sent."""
    for target in targets:
        reply = make_reply(code, text)
        reply.set_header(MessageHeaderKey.ORIGIN, target)
        deliver(handle, target, reply)
