"""An ObjectConsumer as the consumer of a push: chunks are Shareables again, and each thing is called in its turn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.streams import Chunk
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, shareable_of
from zmqfl.errors import CellReturnCode, DecodeError, InvalidRequest
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.cell_streams import Arrival, rc_of_failure
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, StreamContextKey
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC

log = logging.getLogger("zmqfl.streaming")
OK = CellReturnCode.OK


class ReceivingObjects:
    """See the module. Raises what `get_consumer` raises, and `TypeError` when it gives no ObjectConsumer."""

    is_quick = False

    def __init__(
        self, arrival: Arrival, factory: ConsumerFactory, done: Callback | None, consumed: Callback | None
    ) -> None:
        self._arrival = arrival
        self._factory = factory
        self._done = done
        self._consumed = consumed
        self._rc: ReturnCode | None = None
        """What went wrong here, if anything did."""
        arrival.check_running()
        with arrival.new_context() as fl_ctx:
            consumer: object = factory.get_consumer(arrival.stream_ctx, fl_ctx)
        if not isinstance(consumer, ObjectConsumer):
            raise TypeError(f"get_consumer returned {type(consumer).__name__}, not an ObjectConsumer")
        self._consumer = consumer

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Have a chunk taken, and the callback told."""
        try:
            return self._consume(_shareable(chunk))
        except BaseException as error:
            self._rc = rc_of_failure(error)
            raise

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Finalize, then tell the application, then give the consumer back: each whatever the others do."""
        stream_ctx = self._arrival.stream_ctx
        stream_ctx[StreamContextKey.RC] = self._rc or self._arrival.rc_of(code, culprit)
        error = self._attempt("finalize", self._consumer.finalize)
        if error is not None:
            stream_ctx[StreamContextKey.RC] = ReturnCode.EXECUTION_EXCEPTION
        with self._arrival.new_context() as fl_ctx:
            answer = self._arrival.call_done(self._done, fl_ctx)
        self._attempt("return_consumer", self._factory.return_consumer, self._consumer)
        if error is not None:
            return Outcome(CellReturnCode.PROCESS_EXCEPTION, f"{type(error).__name__}: {error}")
        return answer

    def _consume(self, shareable: Shareable) -> tuple[bool, Outcome]:
        self._arrival.check_running()
        stream_ctx = self._arrival.stream_ctx
        with self._arrival.new_context() as fl_ctx:
            answer: Any = self._consumer.consume(shareable, stream_ctx, fl_ctx)
            go, reply = _checked(answer)
            if self._consumed is not None:
                self._consumed.run(answer, stream_ctx, fl_ctx)
        self._arrival.check_running()
        if reply is None:
            return go, Outcome(OK)
        if not go and (rc := reply.get_return_code()) != ReturnCode.OK:
            self._rc = ReturnCode(rc) if rc in list(ReturnCode) else ReturnCode.ERROR
            text = f"the consumer ended with {rc}: {reply.get_header(ReservedHeaderKey.ERROR, '')}"
            return False, Outcome(CellReturnCode.PROCESS_EXCEPTION, text)
        return go, Outcome(OK, "", PAYLOAD_CODEC, {}, tuple(payload.encode(reply.to_payload())))

    def _attempt(self, what: str, call: Callable[..., object], *args: object) -> Exception | None:
        """Call with a context; what it raises goes to the log, and is returned."""
        try:
            with self._arrival.new_context() as fl_ctx:
                call(*args, self._arrival.stream_ctx, fl_ctx)
        except Exception as error:  # it must not keep the rest from being called
            log.exception("%s of a stream of %s failed", what, self._arrival.incoming.topic)
            return error
        return None


def _shareable(chunk: Chunk) -> Shareable:
    if chunk.codec != PAYLOAD_CODEC:
        raise InvalidRequest("this topic takes objects, and this is no chunk of one")
    try:
        return shareable_of(payload.decode(chunk.bodies))
    except DecodeError as error:
        raise InvalidRequest(f"a chunk cannot be read: {error}") from error


def _checked(answer: object) -> tuple[bool, Shareable | None]:
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise TypeError(f"consume must return (bool, Shareable or None), not {type(answer).__name__}")
    go, reply = answer
    if not reply:
        return bool(go), None
    if not isinstance(reply, Shareable):
        raise TypeError(f"consume must reply with a Shareable or None, not {type(reply).__name__}")
    return bool(go), reply
