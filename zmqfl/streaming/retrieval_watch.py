"""How a retriever sees the streams that it has asked for: by an engine that stands between it and the real one.

What is registered there gets only streams that a retrieval waits for, and each chunk of them tells the retrieval that
there is progress. Streamers notice nothing of it, so a retriever can be made of any.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from zmqfl.cell.callbacks import callback
from zmqfl.cell.streams import Chunk, Consumer, Producer
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode, return_code_of
from zmqfl.context.shareable import Shareable
from zmqfl.errors import CellReturnCode, told
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.cell_streams import Arrival, CellStreamEngine, StreamFactory, checked_callback
from zmqfl.streaming.contracts import (
    ConsumerFactory,
    ObjectConsumer,
    ObjectProducer,
    StreamableEngine,
    StreamContext,
    StreamContextKey,
)
from zmqfl.streaming.receiving import ReceivingObjects
from zmqfl.streaming.retrievals import ID_KEY, Retrieval, Retrievals

_LOST = "its stream has ended here without a result"


def watched(engine: StreamableEngine, retrievals: Retrievals) -> StreamableEngine:
    """`engine`, with streams that come in watched for `retrievals`."""
    if isinstance(engine, CellStreamEngine):
        return WatchedCellEngine(engine, retrievals)
    return WatchedEngine(engine, retrievals)


class WatchedEngine(StreamableEngine):
    """See the module. All that is not about streams that come in is the real engine's."""

    def __init__(self, engine: Any, retrievals: Retrievals) -> None:
        self._engine = engine
        self._retrievals = retrievals

    def register_stream_processing(
        self,
        channel: str,
        topic: str,
        factory: ConsumerFactory,
        stream_done_cb: Any = None,
        consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """Receive the streams of a topic that a retrieval waits for."""
        if consumed_cb is not None:  # FLARE's contract of an engine does not name it
            cb_kwargs["consumed_cb"] = consumed_cb
        watching = WatchedFactory(factory, self._retrievals)
        self._engine.register_stream_processing(channel, topic, watching, stream_done_cb, **cb_kwargs)

    def stream_objects(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext,
        targets: str | Iterable[str] | None,
        producer: ObjectProducer,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[ReturnCode, Any]:
        """As the real engine does."""
        result: tuple[ReturnCode, Any] = self._engine.stream_objects(
            channel, topic, stream_ctx, targets, producer, fl_ctx, optional, secure
        )
        return result

    def shutdown_streamer(self) -> None:
        """As the real engine does."""
        self._engine.shutdown_streamer()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class WatchedCellEngine(WatchedEngine, CellStreamEngine):
    """The same for streams of raw bytes."""

    def push_stream(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext,
        targets: str | Iterable[str] | None,
        producer: Producer,
        fl_ctx: FLContext,
        *,
        timeout: float = CHUNK_TIMEOUT,
        total: int = 0,
        optional: bool = False,
        secure: bool = False,
    ) -> ReturnCode:
        """As the real engine does."""
        code: ReturnCode = self._engine.push_stream(
            channel, topic, stream_ctx, targets, producer, fl_ctx,
            timeout=timeout, total=total, optional=optional, secure=secure,
        )  # fmt: skip
        return code

    def register_stream_processing(
        self,
        channel: str,
        topic: str,
        factory: ConsumerFactory,
        stream_done_cb: Any = None,
        consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """Receive objects as raw chunks are received: only so it shows why a stream failed."""
        done = callback(checked_callback(stream_done_cb, "stream_done_cb"), cb_kwargs)
        consumed = callback(checked_callback(consumed_cb, "consumed_cb"), cb_kwargs)
        self.consume_streams(channel, topic, lambda arrival: ReceivingObjects(arrival, factory, done, consumed))

    def consume_streams(self, channel: str, topic: str, factory: StreamFactory) -> None:
        """Receive the streams of a topic that a retrieval waits for."""
        self._engine.consume_streams(channel, topic, partial(self._make, factory))

    def _make(self, factory: StreamFactory, arrival: Arrival) -> Consumer:
        retrieval = self._retrievals.admit(arrival.stream_ctx.get(ID_KEY), arrival.incoming.origin)
        try:
            return WatchedConsumer(factory(arrival), retrieval)
        except BaseException as error:
            retrieval.refuse(ReturnCode.EXECUTION_EXCEPTION, told(error))
            raise


class WatchedConsumer:
    """A cell's consumer whose chunks are progress of a retrieval."""

    def __init__(self, consumer: Consumer, retrieval: Retrieval) -> None:
        self._consumer = consumer
        self._retrieval = retrieval

    @property
    def is_quick(self) -> bool:
        """As of the consumer itself."""
        return self._consumer.is_quick

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Have a chunk taken. Raises `AbortRun` when nobody waits for it any more."""
        self._retrieval.check()
        self._retrieval.touch()
        answer = self._consumer.consume(chunk)
        self._retrieval.touch(sum(memoryview(body).nbytes for body in chunk.bodies))
        return answer

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Have it ended: as a failure, when it comes too late."""
        if not self._retrieval.begin_end():
            code, reason, culprit = CellReturnCode.ABORT_RUN, "nobody waits for it any more", ""
        elif code is not CellReturnCode.OK:
            rc = ReturnCode.TASK_ABORTED if code is CellReturnCode.ABORT_RUN else return_code_of(code)
            self._retrieval.failure = rc, reason
        try:
            return self._consumer.close(code, reason, culprit)
        finally:  # the stream_done_cb has ended it, unless something went wrong
            self._retrieval.end(ReturnCode.EXECUTION_EXCEPTION, _LOST)


class WatchedFactory(ConsumerFactory):
    """Makes consumers of objects for streams that a retrieval waits for."""

    def __init__(self, factory: ConsumerFactory, retrievals: Retrievals) -> None:
        self._factory = factory
        self._retrievals = retrievals

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        """A consumer. Raises `InvalidRequest` for a stream that nobody waits for."""
        retrieval = self._retrievals.admit(stream_ctx.get(ID_KEY), origin_of(fl_ctx))
        try:
            return WatchedObjects(self._factory.get_consumer(stream_ctx, fl_ctx), retrieval)
        except BaseException as error:
            retrieval.refuse(ReturnCode.EXECUTION_EXCEPTION, told(error))
            raise

    def return_consumer(self, consumer: ObjectConsumer, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        """Give it back."""
        assert isinstance(consumer, WatchedObjects)
        consumer.retrieval.end(ReturnCode.EXECUTION_EXCEPTION, _LOST)  # unless the stream_done_cb has
        self._factory.return_consumer(consumer.consumer, stream_ctx, fl_ctx)


class WatchedObjects(ObjectConsumer):
    """A consumer of objects whose chunks are progress of a retrieval."""

    def __init__(self, consumer: ObjectConsumer, retrieval: Retrieval) -> None:
        self.consumer = consumer
        self.retrieval = retrieval

    def consume(
        self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext
    ) -> tuple[bool, Shareable | None]:
        """Have a chunk taken. Raises `AbortRun` when nobody waits for it any more."""
        self.retrieval.check()
        self.retrieval.touch()
        answer = self.consumer.consume(shareable, stream_ctx, fl_ctx)
        self.retrieval.touch()
        return answer

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        """Have it ended: as a failure, when it comes too late."""
        if not self.retrieval.begin_end():
            stream_ctx[StreamContextKey.RC] = ReturnCode.TASK_ABORTED
        self.consumer.finalize(stream_ctx, fl_ctx)


def origin_of(fl_ctx: FLContext) -> str:
    """The cell that a message or stream came from; what its sender calls itself where the engine does not say."""
    peer = fl_ctx.get_peer_context()
    known: str = fl_ctx.get_prop(FLContextKey.PEER_FQCN) or (peer.get_identity_name() if peer is not None else "")
    return known
