"""The caller's side of a cell: from a verb to its handle.

Serialisation runs in the caller's thread, so the content is fixed when the verb returns. A reply is decoded by who
looks at its payload, not on the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from zmqfl.cell import filters
from zmqfl.cell.filters import Filters
from zmqfl.cell.handles import BroadcastHandle, Handle, RequestHandle
from zmqfl.cell.message import Message, MessageHeaderKey, make_reply, strip_reserved, user_headers
from zmqfl.cell.workers import Workers
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, ClosedError, DecodeError, RequestFailed
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Command, Finish, Outcome
from zmqfl.protocol.node import Node
from zmqfl.wire import payload
from zmqfl.wire.messages import Buffer

PAYLOAD_CODEC = 1
"""Number of `zmqfl.wire.payload` in the headers of requests and replies."""
_UNREAD = object()


class Reply(Message):
    """A reply that came in. Its payload is decoded when it is looked at first.

    `payload` raises `DecodeError` when the callee's bytes are not what they claim.
    """

    __slots__ = ("_bodies", "_codec", "_value")

    def __init__(self, headers: dict[str, Any], codec: int, bodies: tuple[Buffer, ...]) -> None:
        self.headers = headers
        self._codec = codec
        self._bodies = bodies
        self._value: Any = _UNREAD

    @property
    def payload(self) -> Any:  # a slot of the base, computed here
        """The value that the handler returned; None when it failed."""
        if self._value is _UNREAD:
            if not self._bodies:
                self._value = None
            elif self._codec != PAYLOAD_CODEC:
                raise DecodeError(f"payload codec {self._codec} of {self.origin} is not known here")
            else:
                self._value = payload.decode(self._bodies)
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
    bodies: tuple[Buffer, ...]


@dataclass(slots=True)
class _Waiting:
    """One handle, by request id."""

    handle: RequestHandle | BroadcastHandle
    channel: str
    topic: str
    missing: int


class Asking:
    """See the module. `submit` runs an action on the reactor; `error` makes what handles fail with at the end."""

    def __init__(
        self,
        node: Node,
        config: CellConfig,
        workers: Workers,
        call_filters: Filters,
        submit: Callable[[Callable[[float], list[Command]]], None],
    ) -> None:
        self._node = node
        self._config = config
        self._workers = workers
        self._filters = call_filters
        self._submit = submit
        self._waiting: dict[int, _Waiting] = {}

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
    ) -> None:
        """Send a request to each target; whatever comes of it ends up in the handle."""
        good = tuple(name for name in targets if not problem_of(name))
        for name in targets:
            if problem := problem_of(name):
                fail_all(handle, [name], CellReturnCode.INVALID_TARGET, problem)
        try:
            out = self.prepare(channel, topic, content, secure)
        except RequestFailed as error:
            fail_all(handle, good, error.code, error.reason)
            return
        if isinstance(out, Message):
            for name in good:
                deliver(handle, name, out)
        elif good:
            self._submit(lambda now: self._send(handle, good, out, timeout, deadline, now))

    def fire(
        self,
        handle: Handle[dict[str, str]],
        targets: tuple[str, ...],
        channel: str,
        topic: str,
        content: Any,
        secure: bool,
    ) -> None:
        """Send without a reply; the handle gets, per target, "" or why it did not leave."""
        bad = {name: f"{CellReturnCode.INVALID_TARGET}: {p}" for name in targets if (p := problem_of(name))}
        good = [name for name in targets if name not in bad]
        try:
            out = self.prepare(channel, topic, content, secure)
        except RequestFailed as error:
            handle._finish({**bad, **dict.fromkeys(good, f"{error.code}: {error.reason}")})
            return
        if isinstance(out, Message):
            handle._finish({**bad, **dict.fromkeys(good, "" if out.ok else f"{out.return_code}: {out.error}")})
            return

        def act(now: float) -> list[Command]:
            id = self._node.next_id()
            commands, errors = self._node.fire(id, good, channel, topic, PAYLOAD_CODEC, out.headers, out.bodies, now)
            handle._finish({**bad, **errors})
            return commands

        self._submit(act)

    def cancel(self, handle: RequestHandle | BroadcastHandle) -> None:
        """The handle was cancelled."""

        def act(now: float) -> list[Command]:
            for id in [id for id, waiting in self._waiting.items() if waiting.handle is handle]:
                del self._waiting[id]
                return self._node.cancel(id, now)
            return []  # it has not left yet: `_send` looks at the handle

        try:
            self._submit(act)
        except ClosedError:
            return  # closing has ended it as well

    def prepare(self, channel: str, topic: str, content: Any, secure: bool = False) -> Outgoing | Message:
        """Filter and encode; a Message is the reply of a filter, and nothing leaves.

        Raises `EncodeError` for what cannot travel, `RequestFailed` for what must not.
        """
        if secure:
            text = "secure=True needs sealing keys, which this version does not have; nothing was sent"
            raise RequestFailed(text, code=CellReturnCode.COMM_ERROR)
        message = content if isinstance(content, Message) else Message(payload=content)
        chain = self._filters.outgoing_request.matching(channel, topic)
        if chain:
            message = Message(message.headers, message.payload)  # a filter must not change the caller's own
            message.set_headers({MessageHeaderKey.CHANNEL: channel, MessageHeaderKey.TOPIC: topic})
            answer = filters.run(chain, message)
            if answer is not None:
                return answer
        bodies = tuple(payload.encode(message.payload))
        if (size := sum(len(body) for body in bodies)) > self._config.payload_limit:
            text = (
                f"the payload of {size} bytes is above `payload_limit` of {self._node.fqcn}, "
                f"{self._config.payload_limit} bytes; send it in parts, or raise the limit at both ends"
            )
            raise RequestFailed(text, code=CellReturnCode.MSG_TOO_BIG)
        return Outgoing(channel, topic, user_headers(message), bodies)

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def _send(
        self,
        handle: RequestHandle | BroadcastHandle,
        targets: tuple[str, ...],
        out: Outgoing,
        timeout: float,
        deadline: float | None,
        now: float,
    ) -> list[Command]:
        if handle.done():
            return []
        id = self._node.next_id()
        self._waiting[id] = _Waiting(handle, out.channel, out.topic, len(targets))
        return self._node.request(
            id, targets, out.channel, out.topic, PAYLOAD_CODEC, out.headers, out.bodies, timeout, now, deadline
        )

    def finish(self, finish: Finish) -> None:
        """A request has ended at one target."""
        waiting = self._waiting.get(finish.id)
        if waiting is None:
            return
        waiting.missing -= 1
        if not waiting.missing:
            del self._waiting[finish.id]
        reply = received(finish.target, finish.id, waiting.channel, waiting.topic, finish.outcome)
        if not self._filters.reply_chain(waiting.channel, waiting.topic):
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
            each.handle._fail(ClosedError(f"cell {self._node.fqcn} was closed"))

    def _filtered(self, reply: Message, waiting: _Waiting) -> Message:
        try:
            return self._filters.on_reply(reply, waiting.channel, waiting.topic)
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
