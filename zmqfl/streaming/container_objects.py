"""Containers as streams of objects, for engines that know no cells: the same bytes and checks, in Shareables.

A chunk's Shareable holds its bytes; its header "chunk" is that of the raw one (see `zmqfl.cell.container_streams`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zmqfl.cell.container_streams import LAST, ContainerConsumer, ContainerProducer
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.errors import CellReturnCode, InvalidRequest
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.container_receiver import RESULT_KEY
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, ObjectProducer, StreamContext, StreamContextKey
from zmqfl.streaming.file_objects import CHUNK, DATA
from zmqfl.wire.codecs import RECORDS


class ContainerObjectProducer(ObjectProducer):
    """Chunks of a container as Shareables."""

    def __init__(self, chunks: ContainerProducer, timeout: float) -> None:
        self._chunks = chunks
        self._timeout = timeout
        self._is_done = False

    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable | None, float]:
        """The next chunk."""
        chunk = self._chunks.produce()
        if chunk is None:
            return None, self._timeout
        self._is_done = LAST in chunk.headers
        shareable = Shareable({DATA: b"".join(chunk.bodies)})
        shareable.set_header(CHUNK, chunk.headers)
        return shareable, self._timeout

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        """Go on while all receivers say OK."""
        if not replies or any(reply.get_return_code() != ReturnCode.OK for reply in replies.values()):
            return False
        return True if self._is_done else None


class ContainerObjectConsumer(ObjectConsumer):
    """Builds a container of them. Raises `RequestFailed` for a type that is not in the table."""

    def __init__(self, stream_ctx: StreamContext, origin: str, limit: int) -> None:
        channel, topic = str(stream_ctx.get(StreamContextKey.CHANNEL)), str(stream_ctx.get(StreamContextKey.TOPIC))
        stream_ctx[RESULT_KEY] = None
        self._container = ContainerConsumer(Incoming(origin, channel, topic, dict(stream_ctx)), limit, ended=self._end)
        self._value: Any = None

    def consume(self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[bool, Shareable]:
        """Take a chunk."""
        data, headers = shareable.get(DATA), shareable.get_header(CHUNK)
        if not isinstance(data, bytes) or not isinstance(headers, dict):
            raise InvalidRequest("this is no chunk of a container")
        go, _ = self._container.consume(Chunk(headers, RECORDS, (data,)))
        return go, make_reply(ReturnCode.OK)

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        """Put the container into the context, if it is whole everywhere."""
        ok = stream_ctx.get(StreamContextKey.RC) == ReturnCode.OK
        self._container.close(CellReturnCode.OK if ok else CellReturnCode.ABORT_RUN, "", "")
        stream_ctx[RESULT_KEY] = self._value

    def _end(self, value: Any, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        self._value = value
        return Outcome(CellReturnCode.OK)


class ContainerObjectFactory(ConsumerFactory):
    """Makes them. `limit`: bytes of a container."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        """A consumer for one container."""
        origin = str(fl_ctx.get_prop(FLContextKey.PEER_FQCN, ""))
        return ContainerObjectConsumer(stream_ctx, origin, self._limit)
