"""Streams of raw bytes between cells, for streamers that do without Shareables, and what a receiver knows of one.

`FileStreamer` uses them where the engine is a `CellStreamEngine`: chunks of a file then go from the disk to the wire as
they are.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.streams import Consumer, Incoming, Producer
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT, reply_of
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.peer_context import peer_context_of
from zmqfl.context.return_code import ReturnCode, return_code_of
from zmqfl.errors import AbortRun, ArgumentError, CellReturnCode, DecodeError, InvalidRequest
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.contracts import StreamableEngine, StreamContext, StreamContextKey

log = logging.getLogger("zmqfl.streaming")

PEER_PROPS: Final = "__peer_props__"
"""Where the owner's public props travel beside its stream context."""
_OWN_KEYS = (StreamContextKey.RC, StreamContextKey.END_STREAM)
"""What an owner has no say in."""


class Arrival:
    """A stream that comes in. `me`: the cell it comes to. Raises `InvalidRequest` for props that cannot be the owner's.

    `incoming`: as the cell tells it. `stream_ctx`: the owner's context, and channel and topic.
    """

    def __init__(self, incoming: Incoming, me: str, new_context: Callable[[], FLContext]) -> None:
        self.incoming = incoming
        self.stream_ctx: StreamContext = {
            key: value for key, value in incoming.context.items() if key not in (PEER_PROPS, *_OWN_KEYS)
        }
        self.stream_ctx[StreamContextKey.CHANNEL] = incoming.channel
        self.stream_ctx[StreamContextKey.TOPIC] = incoming.topic
        self._me = me
        self._new_context = new_context
        try:
            self._peer = peer_context_of(incoming.context.get(PEER_PROPS, {}))
        except DecodeError as error:
            raise InvalidRequest(str(error)) from error
        self._abort_signal = new_context().get_run_abort_signal()

    def new_context(self) -> FLContext:
        """A context for one callback, to be used in a `with` block: its peer is the owner."""
        fl_ctx = self._new_context()
        fl_ctx.set_peer_context(self._peer)
        fl_ctx.put(FLContextKey.PEER_FQCN, self.incoming.origin, private=True, sticky=False)
        return fl_ctx

    def check_running(self) -> None:
        """Raises `AbortRun` when the run is aborted here."""
        if self._abort_signal is not None and self._abort_signal.triggered:
            raise AbortRun(f"the run is aborted at {self._me}")

    def rc_of(self, code: CellReturnCode, culprit: str) -> ReturnCode:
        """How a stream ended that was well here: what went wrong elsewhere is TASK_ABORTED.

        What happened to this cell in the eyes of the owner (TIMEOUT), or to the owner (COMMUNICATION_ERROR), has a
        name of its own.
        """
        if code is CellReturnCode.OK:
            return ReturnCode.OK
        mine = culprit == self._me and code is not CellReturnCode.ABORT_RUN
        owner_is_gone = culprit == self.incoming.origin and code is CellReturnCode.COMM_ERROR
        return return_code_of(code) if mine or owner_is_gone else ReturnCode.TASK_ABORTED

    def call_done(self, done: Callback | None, fl_ctx: FLContext) -> Outcome:
        """Call the `stream_done_cb`; what it returns, for the owner."""
        if done is None:
            return Outcome(CellReturnCode.OK)
        try:
            return reply_of(done.run(self.stream_ctx, fl_ctx))
        except Exception:  # the stream has ended; this cannot change how
            log.exception("%s: the stream_done_cb of %s failed", self._me, self.incoming.topic)
            return Outcome(CellReturnCode.OK)


def rc_of_failure(error: BaseException) -> ReturnCode:
    """What the failure of a consumer is called where it happened."""
    match error:
        case AbortRun():
            return ReturnCode.TASK_ABORTED
        case InvalidRequest():
            return ReturnCode.BAD_REQUEST_DATA
    return ReturnCode.EXECUTION_EXCEPTION


StreamFactory = Callable[[Arrival], Consumer]
"""Makes the consumer of a stream that begins. What it raises refuses the stream."""


class CellStreamEngine(StreamableEngine):
    """An engine whose streams go through a cell, and which lets a streamer have the cell's own."""

    @abstractmethod
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
        """Send what a cell's producer makes, and wait; see `ObjectStreamer.push_stream`."""

    @abstractmethod
    def consume_streams(self, channel: str, topic: str, factory: StreamFactory) -> None:
        """Receive the streams of a topic by a cell's consumers; see `ObjectStreamer.consume_streams`."""


def checked_callback(function: Any, name: str) -> Any:
    """`function`, when it is None or can be called. Raises `ArgumentError`."""
    if function is not None and not callable(function):
        raise ArgumentError(f"{name} must be callable, not {type(function).__name__}")
    return function
