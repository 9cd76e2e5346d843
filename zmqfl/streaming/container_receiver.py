"""Containers that a `ContainerStreamer` receives: each is there when all receivers have it."""

from __future__ import annotations

from typing import Any, Final

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.container_streams import ContainerConsumer
from zmqfl.cell.streams import Chunk
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.cell_streams import Arrival, rc_of_failure
from zmqfl.streaming.contracts import StreamContextKey

RESULT_KEY: Final = "ContainerStreamer.result"
"""Where the context of the stream holds the container at its end."""


class ContainerReceiver:
    """The consumer of one container that is pushed. Raises `RequestFailed` for one that cannot be received."""

    is_quick = True

    def __init__(self, arrival: Arrival, limit: int, done: Callback | None) -> None:
        self._arrival = arrival
        self._done = done
        self._rc: ReturnCode | None = None
        """What went wrong here, if anything did."""
        arrival.check_running()
        arrival.stream_ctx[RESULT_KEY] = None
        self._container = ContainerConsumer(arrival.incoming, limit, ended=self._ended)

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """Take a chunk."""
        try:
            self._arrival.check_running()
            return self._container.consume(chunk)
        except BaseException as error:
            self._rc = rc_of_failure(error)
            raise

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """Put the container into the context, if it is whole everywhere, and tell the application."""
        container = self._container
        del self._container  # it refers to this one: a cycle would keep what was received until the collector comes
        return container.close(code, reason, culprit)

    def _ended(self, value: Any, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        stream_ctx = self._arrival.stream_ctx
        stream_ctx[RESULT_KEY] = value
        stream_ctx[StreamContextKey.RC] = self._rc or self._arrival.rc_of(code, culprit)
        with self._arrival.new_context() as fl_ctx:
            return self._arrival.call_done(self._done, fl_ctx)
