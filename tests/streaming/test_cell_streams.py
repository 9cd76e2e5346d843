"""What a receiver knows of a stream."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streaming.sites import Ends
from zmqfl.cell.callbacks import callback
from zmqfl.cell.streams import Incoming
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import FLContextKey, ReservedKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.signal import Signal
from zmqfl.errors import AbortRun, ArgumentError, CellReturnCode, InvalidRequest
from zmqfl.streaming.cell_streams import PEER_PROPS, Arrival, checked_callback, rc_of_failure
from zmqfl.wire import payload


def arrive(context: dict[str, Any] | None = None, signal: Signal | None = None) -> Arrival:
    """A stream from "server" to "site-1"."""
    manager = FLContextManager(None, "site-1", "job-1")

    def new_context() -> FLContext:
        fl_ctx = manager.new_context()
        fl_ctx.put(ReservedKey.RUN_ABORT_SIGNAL, signal, private=True, sticky=False)
        return fl_ctx

    return Arrival(Incoming("server", "models", "best", context or {}), "site-1", new_context)


def test_the_context_is_the_owners_with_channel_and_topic() -> None:
    given = {"round": 3, PEER_PROPS: {"site": "a"}, "__RC__": "OK", "__topic__": "forged", "__end_stream__": 1}
    arrival = arrive(given)
    assert arrival.stream_ctx == {"round": 3, "__channel__": "models", "__topic__": "best"}
    assert given["__RC__"] == "OK"  # it is a copy


def test_contexts_have_the_owner_as_peer() -> None:
    with arrive({PEER_PROPS: {"site": "a", ReservedKey.ENGINE: "forged"}}).new_context() as fl_ctx:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        assert (peer.get_prop("site"), peer.get_engine(), peer.is_frozen) == ("a", None, True)
        assert fl_ctx.get_prop(FLContextKey.PEER_FQCN) == "server"
        assert fl_ctx.get_identity_name() == "site-1"


def test_an_owner_without_props_is_a_peer_of_whom_nothing_is_known() -> None:
    peer = arrive().new_context().get_peer_context()
    assert peer is not None
    assert peer.get_prop_keys() == []


@pytest.mark.parametrize("props", [None, 3, ["a"], {1: 2}])
def test_props_that_are_none_refuse_the_stream(props: Any) -> None:
    with pytest.raises(InvalidRequest, match="props"):
        arrive({PEER_PROPS: props})


@pytest.mark.parametrize(
    ("code", "culprit", "rc"),
    [
        ("ok", "", "OK"),
        ("ok", "site-1", "OK"),
        ("process_exception", "", "TASK_ABORTED"),  # the producer failed
        ("process_exception", "site-2", "TASK_ABORTED"),
        ("timeout", "site-2", "TASK_ABORTED"),
        ("timeout", "site-1", "TIMEOUT"),
        ("comm_error", "server", "COMMUNICATION_ERROR"),
        ("comm_error", "site-2", "TASK_ABORTED"),
        ("process_exception", "server", "TASK_ABORTED"),  # the owner is one of its own receivers
        ("abort_run", "", "TASK_ABORTED"),
        ("abort_run", "site-1", "TASK_ABORTED"),
        ("abort_run", "server", "TASK_ABORTED"),
    ],
)
def test_how_a_stream_ended(code: str, culprit: str, rc: str) -> None:
    assert arrive().rc_of(CellReturnCode(code), culprit) == rc


@pytest.mark.parametrize(
    ("error", "rc"),
    [(AbortRun(), "TASK_ABORTED"), (InvalidRequest(), "BAD_REQUEST_DATA"), (KeyError(), "EXECUTION_EXCEPTION")],
)
def test_what_a_failure_is_called(error: BaseException, rc: str) -> None:
    assert rc_of_failure(error) is ReturnCode(rc)


def test_the_signal_of_the_run_stops_it() -> None:
    signal = Signal()
    arrival = arrive(signal=signal)
    arrival.check_running()
    signal.trigger()
    with pytest.raises(AbortRun, match="site-1"):
        arrival.check_running()
    arrive().check_running()  # without a signal


def test_what_the_last_callback_returns_goes_back() -> None:
    arrival, ends = arrive({PEER_PROPS: {ReservedKey.IDENTITY_NAME: "server"}}), Ends({"loss": 0.5})
    with arrival.new_context() as fl_ctx:
        outcome = arrival.call_done(callback(ends, {"a": 1}), fl_ctx)
        assert payload.decode(outcome.bodies) == {"loss": 0.5}
        assert arrival.call_done(callback(Ends()), fl_ctx).bodies == ()
        assert arrival.call_done(None, fl_ctx).code is CellReturnCode.OK
    assert (ends.kwargs, ends.peers) == ([{"a": 1}], ["server"])


@pytest.mark.parametrize("answer", [object(), None])
def test_a_last_callback_that_fails_changes_nothing(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(stream_ctx: Any, fl_ctx: Any) -> Any:
        if answer is None:
            raise KeyError("x")
        return answer  # it cannot travel

    arrival = arrive()
    outcome = arrival.call_done(callback(fail), arrival.new_context())
    assert (outcome.code, outcome.bodies) == (CellReturnCode.OK, ())
    assert "stream_done_cb of best failed" in caplog.text


def test_callbacks_are_checked() -> None:
    assert checked_callback(None, "cb") is None
    assert checked_callback(print, "cb") is print
    with pytest.raises(ArgumentError, match="cb must be callable, not int"):
        checked_callback(3, "cb")
