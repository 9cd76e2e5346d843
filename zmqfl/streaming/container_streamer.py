"""Push: a container to one or more receivers at once, entry by entry; all get it, or none.

    receiver  ContainerStreamer.register_stream_processing(fl_ctx, channel, topic, stream_done_cb)
              stream_done_cb: ContainerStreamer.get_result(stream_ctx)
    owner     rc, ok = ContainerStreamer.stream_container(channel, topic, {}, ["site-1"], model, fl_ctx)

A dict, list, set, tuple, frozenset, OrderedDict, deque or defaultdict; the last one arrives without its factory. Ten
arrays of a gigabyte cost the owner a few chunks more than they take, and a receiver what they take.

Source: seed 001; reference "flare" 3.3, whose bugs (an int as time-out fails, an empty container is refused, a tuple
arrives nowhere, the peer names any class) are not copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from zmqfl.cell.callbacks import Callback, callback
from zmqfl.cell.container_streams import ContainerProducer
from zmqfl.cell.containers import SIZE_KEY, TYPE_KEY, check_container
from zmqfl.cell.packing import packer_for
from zmqfl.cell.registry import check_name
from zmqfl.cell.transfer_verbs import CHUNK
from zmqfl.config import CellConfig
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ArgumentError
from zmqfl.streaming.cell_streams import Arrival, CellStreamEngine, checked_callback
from zmqfl.streaming.container_objects import ContainerObjectFactory, ContainerObjectProducer
from zmqfl.streaming.container_receiver import RESULT_KEY, ContainerReceiver
from zmqfl.streaming.contracts import StreamableEngine, StreamContext
from zmqfl.streaming.file_streamer import checked_timeout, engine_of
from zmqfl.streaming.streamer_base import StreamerBase

ENTRY_TIMEOUT: Final = 60.0
"""Seconds that a chunk of an entry may be without progress (reference "flare" 3.3)."""


class ContainerStreamer(StreamerBase):
    """See the module."""

    @staticmethod
    def register_stream_processing(
        fl_ctx: FLContext, channel: str, topic: str, stream_done_cb: Any = None, **cb_kwargs: Any
    ) -> None:
        """Receive the containers of (channel, topic). Once per topic, before they come.

        `stream_done_cb(stream_ctx, fl_ctx, **cb_kwargs)`: called once per container, however it ended; ask `get_rc` and
        `get_result`. Raises `ArgumentError`, and `RuntimeError` where the engine of the context does not stream.
        """
        engine = engine_of(fl_ctx)
        check_name(channel, "channel")
        check_name(topic, "topic")
        done = checked_callback(stream_done_cb, "stream_done_cb")
        limit = _limit_of(engine)
        if isinstance(engine, CellStreamEngine):
            make = partial(_receiver, limit=limit, done=callback(done, cb_kwargs))
            engine.consume_streams(channel, topic, make)
        else:
            engine.register_stream_processing(channel, topic, ContainerObjectFactory(limit), done, **cb_kwargs)

    @staticmethod
    def stream_container(
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: str | Iterable[str] | None,
        container: Any,
        fl_ctx: FLContext,
        entry_timeout: float | None = None,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[ReturnCode, bool]:
        """Send a container to all targets at once, and wait. Returns (code, whether all have it).

        The code is OK, ERROR (the log names where it failed, and why) or TASK_ABORTED (by the abort signal of the run).
        `stream_ctx`: what the receivers' callbacks get to know besides; it is not changed. `container`: leave it, and
        what is in it, alone meanwhile: a change is found, and fails the send. `entry_timeout`: seconds without
        progress, and for receivers to register; 60 unless given. `optional`: a failure is no warning in the log.
        `secure`: seal it for the targets.
        Raises `ArgumentError` (a TypeError and a ValueError) for what is no container of the types above and for other
        arguments that cannot be, `EncodeError` naming the entry that cannot travel, `SourceChangedError` when the
        container was changed meanwhile, `RuntimeError` where the engine of the context does not stream.
        """
        engine = engine_of(fl_ctx)
        check_container(container)
        timeout = checked_timeout(entry_timeout or ENTRY_TIMEOUT, "entry_timeout")
        if stream_ctx is not None and not isinstance(stream_ctx, dict):
            raise ArgumentError(f"stream_ctx must be a dict, not {type(stream_ctx).__name__}")
        chunks = ContainerProducer(container, CHUNK, timeout)
        total = chunks.fix()
        chunks.packer = packer_for("auto", 1, total)
        facts = {**(stream_ctx or {}), **chunks.facts}
        if not isinstance(engine, CellStreamEngine):
            objects = ContainerObjectProducer(chunks, timeout)
            rc, result = engine.stream_objects(channel, topic, facts, targets, objects, fl_ctx, optional, secure)
            return rc, rc == ReturnCode.OK and bool(result)
        code = engine.push_stream(
            channel,
            topic,
            facts,
            targets,
            chunks,
            fl_ctx,
            timeout=timeout,
            total=total,
            optional=optional,
            secure=secure,
        )
        if code is ReturnCode.ERROR and chunks.error is not None:
            raise chunks.error
        return code, code is ReturnCode.OK

    @staticmethod
    def get_result(stream_ctx: StreamContext) -> Any:
        """The received container; None unless `get_rc` is OK. For the `stream_done_cb`."""
        return stream_ctx.get(RESULT_KEY)

    @staticmethod
    def get_type(stream_ctx: StreamContext) -> Any:
        """The name of its type, for example "dict". For the `stream_done_cb`."""
        return stream_ctx.get(TYPE_KEY)

    @staticmethod
    def get_size(stream_ctx: StreamContext) -> Any:
        """How many entries it has, as the owner says. For the `stream_done_cb`."""
        return stream_ctx.get(SIZE_KEY)


def _receiver(arrival: Arrival, limit: int, done: Callback | None) -> ContainerReceiver:
    return ContainerReceiver(arrival, limit, done)


def _limit_of(engine: StreamableEngine) -> int:
    """Bytes of a container that is received: what the settings of its cell say, where there is one."""
    get_cell = getattr(engine, "get_cell", None)
    config = CellConfig() if get_cell is None else get_cell().config
    limit: int = config.object_limit
    return limit
