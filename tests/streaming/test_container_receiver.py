"""A container that is received: when it is there, and what the application hears."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.cell.callbacks import callback
from zmqfl.cell.container_streams import ContainerProducer
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.context.fl_context import FLContextManager
from zmqfl.context.keys import ReservedKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.signal import Signal
from zmqfl.errors import AbortRun, CellReturnCode, InvalidRequest
from zmqfl.streaming.cell_streams import Arrival
from zmqfl.streaming.container_receiver import RESULT_KEY, ContainerReceiver
from zmqfl.streaming.contracts import StreamContextKey

OK = CellReturnCode.OK


class Site:
    """Receives one container; `ends` are the results and codes that its callback hears."""

    def __init__(self, container: Any, **context: Any) -> None:
        self.signal = Signal()
        self.ends: list[tuple[Any, Any]] = []
        producer = ContainerProducer(container, 4096)
        self.chunks = list(iter(producer.produce, None))
        self.incoming = Incoming("server", "models", "best", {**context, **producer.facts})

    def new_context(self) -> Any:
        fl_ctx = FLContextManager(None, "site-1").new_context()
        fl_ctx.put(ReservedKey.RUN_ABORT_SIGNAL, self.signal, private=True, sticky=False)
        return fl_ctx

    def receiver(self) -> ContainerReceiver:
        def done(stream_ctx: Any, fl_ctx: Any) -> str:
            self.ends.append((stream_ctx[RESULT_KEY], stream_ctx[StreamContextKey.RC]))
            return "seen"

        self.arrival = Arrival(self.incoming, "site-1", self.new_context)
        return ContainerReceiver(self.arrival, 1 << 20, callback(done))


def test_it_is_there_when_all_have_it() -> None:
    site = Site([1, "a"], **{RESULT_KEY: "forged"})
    receiver = site.receiver()
    assert receiver.is_quick
    assert site.arrival.stream_ctx[RESULT_KEY] is None
    for chunk in site.chunks:
        receiver.consume(chunk)
    assert site.arrival.stream_ctx[RESULT_KEY] is None
    answer = receiver.close(OK, "", "")
    assert site.ends == [([1, "a"], ReturnCode.OK)]
    assert answer.bodies


@pytest.mark.parametrize(
    ("code", "culprit", "rc"),
    [
        (CellReturnCode.PROCESS_EXCEPTION, "site-2", ReturnCode.TASK_ABORTED),
        (CellReturnCode.COMM_ERROR, "server", ReturnCode.COMMUNICATION_ERROR),
        (CellReturnCode.TIMEOUT, "site-1", ReturnCode.TIMEOUT),
    ],
)
def test_what_failed_elsewhere_gives_nothing(code: CellReturnCode, culprit: str, rc: ReturnCode) -> None:
    site = Site([1])
    receiver = site.receiver()
    for chunk in site.chunks:
        receiver.consume(chunk)
    receiver.close(code, "why", culprit)
    assert site.ends == [(None, rc)]


def test_a_bad_chunk_is_bad_request_data() -> None:
    site = Site([1])
    receiver = site.receiver()
    with pytest.raises(InvalidRequest):
        receiver.consume(Chunk({}, 99, ()))
    receiver.close(CellReturnCode.INVALID_REQUEST, "", "site-1")
    assert site.ends == [(None, ReturnCode.BAD_REQUEST_DATA)]


def test_an_aborted_run_receives_nothing() -> None:
    site = Site([1])
    receiver = site.receiver()
    site.signal.trigger()
    with pytest.raises(AbortRun):
        receiver.consume(site.chunks[0])
    receiver.close(CellReturnCode.ABORT_RUN, "", "site-1")
    assert site.ends == [(None, ReturnCode.TASK_ABORTED)]
    with pytest.raises(AbortRun):
        site.receiver()
