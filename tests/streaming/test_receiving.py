"""An ObjectConsumer as the consumer of a push."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streaming.sites import Collectors, Ends
from tests.streaming.test_cell_streams import arrive
from zmqfl.cell.callbacks import callback
from zmqfl.cell.streams import Chunk
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import AbortRun, CellReturnCode, InvalidRequest
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, StreamContext
from zmqfl.streaming.receiving import ReceivingObjects
from zmqfl.wire import payload

OK = CellReturnCode.OK


class Scripted(ObjectConsumer, ConsumerFactory):
    """Answers as told; an error is raised."""

    def __init__(self, answer: Any = (True, None), at_end: BaseException | None = None) -> None:
        self.answer = answer
        self.at_end = at_end
        self.calls: list[str] = []

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        return self

    def consume(self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        self.calls.append(f"finalize {stream_ctx['__RC__']}")
        if self.at_end is not None:
            raise self.at_end

    def return_consumer(self, consumer: ObjectConsumer, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        self.calls.append("return")
        raise KeyError("return")

    def done(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        self.calls.append(f"done {stream_ctx['__RC__']}")


def chunk(**content: Any) -> Chunk:
    return Chunk({}, 1, tuple(payload.encode(Shareable(content).to_payload())))


def receiving(script: Scripted, consumed: Any = None, signal: Signal | None = None) -> ReceivingObjects:
    return ReceivingObjects(arrive(signal=signal), script, callback(script.done), callback(consumed))


def test_chunks_are_shareables_and_replies_too() -> None:
    factory = Collectors()
    one = ReceivingObjects(arrive(), factory, None, None)
    go, outcome = one.consume(chunk(n=0, last=False))
    assert (go, outcome.code, payload.decode(outcome.bodies)["got"]) == (True, OK, 0)
    assert one.consume(chunk(n=1, last=True))[0] is False
    assert one.close(OK, "", "").code is OK
    assert factory.log == [0, 1, "finalize OK", "returned"]


@pytest.mark.parametrize("reply", [None, {}, ""])
def test_no_reply_is_ok(reply: Any) -> None:
    go, outcome = receiving(Scripted((True, reply))).consume(chunk())
    assert (go, outcome.code, outcome.bodies) == (True, OK, ())


def test_the_consumed_callback_gets_what_consume_returned() -> None:
    heard: list[Any] = []
    script = Scripted((True, make_reply("OK")))
    receiving(script, lambda reply, stream_ctx, fl_ctx: heard.append((reply, stream_ctx["__topic__"]))).consume(chunk())
    assert heard == [(script.answer, "best")]


@pytest.mark.parametrize("answer", [None, True, (True,), (True, 3), (False, {"a": 1})])
def test_what_is_no_answer_is_an_exception(answer: Any) -> None:
    script = Scripted(answer)
    one = receiving(script)
    with pytest.raises(TypeError, match="consume must"):
        one.consume(chunk())
    one.close(CellReturnCode.PROCESS_EXCEPTION, "", "")
    assert script.calls == ["finalize EXECUTION_EXCEPTION", "done EXECUTION_EXCEPTION", "return"]


def test_the_consumed_callback_may_fail_the_stream() -> None:
    script = Scripted()

    def fail(reply: Any, stream_ctx: Any, fl_ctx: Any) -> None:
        raise KeyError("consumed")

    one = receiving(script, fail)
    with pytest.raises(KeyError):
        one.consume(chunk())
    one.close(CellReturnCode.PROCESS_EXCEPTION, "", "")
    assert script.calls[0] == "finalize EXECUTION_EXCEPTION"


def test_an_error_reply_is_for_the_producer_while_more_is_expected() -> None:
    go, outcome = receiving(Scripted((True, make_reply(ReturnCode.BAD_TASK_DATA)))).consume(chunk())
    assert (go, outcome.code) == (True, OK)
    assert payload.decode(outcome.bodies)["__headers__"]["__rc__"] == "BAD_TASK_DATA"


@pytest.mark.parametrize(("rc", "seen"), [("EMPTY_RESULT", "EMPTY_RESULT"), ("MINE", "ERROR")])
def test_an_error_reply_that_ends_the_stream_fails_it(rc: str, seen: str) -> None:
    script = Scripted((False, make_reply(rc, {"__error__": "no room"})))
    one = receiving(script)
    go, outcome = one.consume(chunk())
    assert (go, outcome.code) == (False, CellReturnCode.PROCESS_EXCEPTION)
    assert outcome.error == f"the consumer ended with {rc}: no room"
    one.close(CellReturnCode.PROCESS_EXCEPTION, "", "")
    assert script.calls[:2] == [f"finalize {seen}", f"done {seen}"]


@pytest.mark.parametrize("bad", [Chunk({}, 2, (b"x",)), Chunk({}, 1, (b"\xc1",)), Chunk({}, 1, (b"\x03",))])
def test_a_chunk_that_is_no_shareable(bad: Chunk) -> None:
    script = Scripted()
    one = receiving(script)
    with pytest.raises(InvalidRequest):
        one.consume(bad)
    one.close(CellReturnCode.INVALID_REQUEST, "", "")
    assert script.calls[0] == "finalize BAD_REQUEST_DATA"


def test_a_finalize_that_fails_is_the_end_that_all_hear_of(caplog: pytest.LogCaptureFixture) -> None:
    script = Scripted(at_end=OSError("disk"))
    outcome = receiving(script).close(OK, "", "")
    assert (outcome.code, outcome.error) == (CellReturnCode.PROCESS_EXCEPTION, "OSError: disk")
    assert script.calls == ["finalize OK", "done EXECUTION_EXCEPTION", "return"]
    assert "finalize of a stream of best failed" in caplog.text
    assert "return_consumer of a stream of best failed" in caplog.text


def test_push_P16_the_end_result_goes_back() -> None:
    one = ReceivingObjects(arrive(), Collectors(), callback(lambda stream_ctx, fl_ctx: {"x": 1}), None)
    assert payload.decode(one.close(OK, "", "").bodies) == {"x": 1}


@pytest.mark.parametrize("made", [None, 3])
def test_a_factory_that_makes_no_consumer(made: Any) -> None:
    class Bad(Collectors):
        def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
            return made

    with pytest.raises(TypeError, match="not an ObjectConsumer"):
        ReceivingObjects(arrive(), Bad(), None, None)


def test_an_aborted_run_takes_nothing() -> None:
    signal = Signal()
    script = Scripted((True, None))
    one = receiving(script, lambda *_: signal.trigger(), signal)
    with pytest.raises(AbortRun):
        one.consume(chunk())
    with pytest.raises(AbortRun):
        receiving(Scripted(), signal=signal)
    one.close(CellReturnCode.ABORT_RUN, "", "")
    assert script.calls == ["finalize TASK_ABORTED", "done TASK_ABORTED", "return"]


def test_each_callback_has_a_context_that_is_finalised() -> None:
    ends = Ends()
    arrival = arrive({"__peer_props__": {"__identity_name__": "server"}})

    def keep(reply: Any, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        fl_ctx.set_prop("seen", 1)

    one = ReceivingObjects(arrival, Collectors(), callback(ends), callback(keep))
    one.consume(chunk(n=0, last=True))
    assert arrival.new_context().get_prop("seen") == 1
    one.close(OK, "", "")
    assert ends.peers == ["server"]
