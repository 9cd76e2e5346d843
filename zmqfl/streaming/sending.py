"""An ObjectProducer as the producer of a push: its Shareables are chunks, what comes back are Shareables again."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from zmqfl.cell.streams import Chunk
from zmqfl.context.aux_payload import failed
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply, shareable_of
from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.contracts import END_RESULT, ObjectProducer, StreamContext
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC


class SendingObjects:
    """See the module. `names`: per cell, what its targets are called by the caller.

    `error`: what the producer raised. `result`: what `process_replies` gave at last.
    """

    is_quick = False
    judges = True

    def __init__(
        self, producer: ObjectProducer, stream_ctx: StreamContext, fl_ctx: FLContext, names: Mapping[str, list[str]]
    ) -> None:
        self.looks_ahead = bool(producer.looks_ahead)
        self.error: BaseException | None = None
        self.result: Any = None
        self._producer = producer
        self._stream_ctx = stream_ctx
        self._fl_ctx = fl_ctx
        self._names = names

    def produce(self) -> Chunk | None:
        """The next Shareable as a chunk."""
        try:
            made: object = self._producer.produce(self._stream_ctx, self._fl_ctx)
            if not isinstance(made, tuple) or len(made) != 2:
                raise ArgumentError(f"produce must return (Shareable or None, seconds), not {made!r:.200}")
            shareable, timeout = made
            return None if shareable is None else self._chunk(shareable, timeout)
        except BaseException as error:
            self.error = error
            raise

    def settle(self, replies: Mapping[str, Outcome]) -> Any:
        """Have the producer look at the replies."""
        try:
            named = {name: _reply(outcome) for cell, outcome in replies.items() for name in self._names[cell]}
            self.result = self._producer.process_replies(named, self._stream_ctx, self._fl_ctx)
        except BaseException as error:
            self.error = error
            raise
        return self.result

    def close(self) -> None:
        """Nothing is held."""

    def _chunk(self, shareable: object, timeout: object) -> Chunk:
        if not isinstance(shareable, Shareable):
            raise ArgumentError(f"produce must return a Shareable or None, not {type(shareable).__name__}")
        if isinstance(timeout, bool) or not isinstance(timeout, Real) or not float(timeout) > 0:
            raise ArgumentError(f"the time-out of a chunk must be a number of seconds above 0, not {timeout!r}")
        # Without looking ahead the next chunk is made when all have this one, so arrays need no copy.
        bodies = tuple(payload.encode(shareable.to_payload(), copy=self.looks_ahead))
        return Chunk({}, PAYLOAD_CODEC, bodies, float(timeout))


def _reply(outcome: Outcome) -> Shareable:
    """What one receiver said; with its last word, if it is there (see `zmqfl.protocol.push_sender`)."""
    end_codec, end_count = outcome.headers.get("end", (0, 0))
    cut = len(outcome.bodies) - end_count
    try:
        reply = shareable_of(payload.decode(outcome.bodies[:cut])) if cut else make_reply(ReturnCode.OK)
        if end_count and end_codec == PAYLOAD_CODEC:
            reply.set_header(END_RESULT, payload.decode(outcome.bodies[cut:]))
    except DecodeError as error:
        return failed(ReturnCode.ERROR, f"the reply cannot be read: {error}")
    return reply
