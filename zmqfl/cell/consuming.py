"""Pushes of a cell, the targets' side: from a stream that begins to its consumer, and to its one end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zmqfl.cell.filters import Filters
from zmqfl.cell.identity import no_card
from zmqfl.cell.message import SEAL, Message, MessageHeaderKey
from zmqfl.cell.pushing import Submit
from zmqfl.cell.registry import Registry
from zmqfl.cell.streams import Chunk, Consumer, ConsumerFactory, Incoming
from zmqfl.cell.workers import Workers
from zmqfl.errors import CellReturnCode, ClosedError, InvalidSession, RequestFailed, told
from zmqfl.protocol.commands import Call, CloseStream, Command, Consume, OpenStream, Outcome, StreamKey
from zmqfl.protocol.node import Node
from zmqfl.protocol.push_receiver import PushReceiver
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC
from zmqfl.wire.messages import Buffer

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls

log = logging.getLogger("zmqfl.cell")
OK = CellReturnCode.OK


class Consuming:
    """See the module. A factory is found as a handler is: `channel:topic`, `channel:*`, `*:*`."""

    def __init__(
        self,
        node: Node,
        files: Workers,
        calls: Workers,
        filters: Filters,
        submit: Submit,
        clock: Callable[[], float],
        seals: SealedCalls | None = None,
    ) -> None:
        self._seals = seals
        self.factories: Registry[ConsumerFactory] = Registry()
        self._node = node
        self._files = files
        self._calls = calls
        self._filters = filters
        self._submit = submit
        self._clock = clock
        self._consumers: dict[StreamKey, Consumer] = {}

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def open(self, command: OpenStream) -> None:
        """Have the consumer made, on a worker: filters and factory are the application's code."""
        key, call = command.key, command.call
        bodies = call.bodies  # who gives up the request takes them away
        if call.revoked:
            self._report(key, lambda stream, now: stream.opened(_given_up(call), now))
            return

        def job() -> None:
            call.started = self._clock()
            try:
                outcome = self._make(key, call, bodies)
            except BaseException as error:  # noqa: BLE001  the owner must learn that it is refused
                outcome = _failed(error, f"{call.headers.get('c')}:{call.headers.get('o')}")
            if not self._report(key, lambda stream, now: stream.opened(outcome, now)):
                self.close()  # `reactor_ended` came too early for this one

        self._run(self._calls, key, job, lambda stream, now: stream.opened(_no_worker(), now))

    def consume(self, command: Consume) -> None:
        """Have a chunk taken."""
        key, call = command.key, command.call
        consumer = self._consumers[key]
        if call.revoked:
            self._report(key, lambda stream, now: stream.withdrawn(now))
            return
        headers = call.headers.get("h")
        chunk = Chunk(headers if isinstance(headers, dict) else {}, call.codec, call.bodies)

        def job() -> None:
            call.started = self._clock()
            try:
                go, outcome = consumer.consume(chunk)
            except BaseException as error:  # noqa: BLE001  as above
                go, outcome = False, _failed(error, f"a stream of {call.origin}")
            self._report(key, lambda stream, now: stream.consumed(outcome, go, now))

        workers = self._files if consumer.is_quick else self._calls
        self._run(workers, key, job, lambda stream, now: stream.consumed(_no_worker(), False, now))

    def end(self, command: CloseStream) -> None:
        """End the consumer, on a worker: `stream_done_cb` is the application's code."""
        consumer = self._consumers.pop(command.key)

        def job() -> None:
            try:
                outcome = consumer.close(command.code, command.reason, command.culprit)
            except BaseException as error:  # noqa: BLE001  as above
                outcome = _failed(error, f"the end of a stream of {command.key[0]}")
            self._report(command.key, lambda stream, now: stream.closed(outcome))

        if not self._calls.submit(job, 0, job):
            job()  # it must not depend on a worker: a file would be left behind

    def close(self) -> None:
        """Nothing will be told any more."""
        for key in list(self._consumers):
            if (consumer := self._consumers.pop(key, None)) is None:
                continue
            try:
                consumer.close(CellReturnCode.ABORT_RUN, f"{self._node.fqcn} has stopped", self._node.fqcn)
            except Exception:  # of one; the others must be closed too
                log.exception("the end of a stream of %s failed", key[0])

    # -- workers -------------------------------------------------------------------------------------------------------

    def _make(self, key: StreamKey, call: Call, bodies: tuple[Buffer, ...]) -> Outcome:
        channel, topic = str(call.headers.get("c", "")), str(call.headers.get("o", ""))
        context = _context(call.codec, bodies)
        if SEAL in context:
            return self._make_sealed(key, call, Incoming(call.origin, channel, topic, context, sealed=True))
        if (refusal := self._filtered(call, Incoming(call.origin, channel, topic, context))) is not None:
            return refusal
        factory = self.factories.find(channel, topic)
        if factory is None:
            return self._not_ready(channel, topic)
        self._consumers[key] = factory(Incoming(call.origin, channel, topic, context))
        return Outcome(OK)

    def _make_sealed(self, key: StreamKey, call: Call, incoming: Incoming) -> Outcome:
        """As above. What is not ready is asked again with the same wrap, so that is looked at first."""
        from zmqfl.cell import sealed_streams

        factory = self.factories.find(incoming.channel, incoming.topic)
        if factory is None:
            return self._not_ready(incoming.channel, incoming.topic)
        if self._seals is None:
            return Outcome(CellReturnCode.COMM_ERROR, no_card(self._node.fqcn))
        me = self._node.fqcn, self._node.instance
        try:
            facts, keys = sealed_streams.open_context(
                incoming.context, incoming, call.instance, me, self._seals.sealing.callee.open
            )
        except InvalidSession as error:
            return Outcome(error.code, error.reason, headers={"why": "seal_session"})
        incoming = replace(incoming, context=facts)
        try:
            if (refusal := self._filtered(call, incoming)) is not None:
                return sealed_streams.refusal(keys, refusal)
            self._consumers[key] = sealed_streams.SealedConsumer(factory(incoming), keys)
        except BaseException as error:  # noqa: BLE001  the owner must learn that it is refused, and nobody else why
            return sealed_streams.refusal(keys, _failed(error, f"{incoming.channel}:{incoming.topic}"))
        return Outcome(OK)

    def _not_ready(self, channel: str, topic: str) -> Outcome:
        text = f"no stream processing is registered for {channel}:{topic} at {self._node.fqcn}"
        return Outcome(CellReturnCode.SERVICE_UNAVAILABLE, text, headers={"not_ready": 1})

    def _filtered(self, call: Call, incoming: Incoming) -> Outcome | None:
        """What filters say against it, if they do."""
        request = Message(
            {
                MessageHeaderKey.MSG_TYPE: "req",
                MessageHeaderKey.ORIGIN: call.origin,
                MessageHeaderKey.DESTINATION: self._node.fqcn,
                MessageHeaderKey.CHANNEL: incoming.channel,
                MessageHeaderKey.TOPIC: incoming.topic,
                MessageHeaderKey.REQ_ID: call.id,
            },
            incoming.context,
        )
        if incoming.sealed:
            request.set_header(MessageHeaderKey.SECURE, True)
        refusal = self._filters.on_request(request, incoming.channel, incoming.topic)
        return Outcome(refusal.return_code, refusal.error) if refusal is not None and not refusal.ok else None

    def _run(
        self,
        workers: Workers,
        key: StreamKey,
        job: Callable[[], None],
        refused: Callable[[PushReceiver, float], list[Command]],
    ) -> None:
        def refuse() -> None:
            self._report(key, refused)

        if not workers.submit(job, 0, refuse):
            refuse()

    def _report(self, key: StreamKey, tell: Callable[[PushReceiver, float], list[Command]]) -> bool:
        """Whether it will be told."""

        def act(now: float) -> list[Command]:
            return self._node.transfer(lambda t: t.to_stream(key, lambda stream: tell(stream, now)), now)

        try:
            self._submit(act)
        except ClosedError:
            return False  # the cell has stopped; `close` ends the consumer
        return True


def _context(codec: int, bodies: tuple[Buffer, ...]) -> dict[str, Any]:
    context = payload.decode(bodies) if codec == PAYLOAD_CODEC else None
    if not isinstance(context, dict):
        raise RequestFailed("the context of a stream is a dict", code=CellReturnCode.INVALID_REQUEST)
    return context


def _given_up(call: Call) -> Outcome:
    return Outcome(CellReturnCode.ABORT_RUN, f"{call.origin} has given it up")


def _no_worker() -> Outcome:
    return Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "no free worker")


def _failed(error: BaseException, where: str) -> Outcome:
    if isinstance(error, RequestFailed):
        return Outcome(error.code, error.reason)
    log.warning("%s failed", where, exc_info=error)
    return Outcome(CellReturnCode.PROCESS_EXCEPTION, told(error))
