from __future__ import annotations

from typing import Any

import pytest

from tests.system.federation import LONG, until
from zmqfl import Cell, Message, make_reply
from zmqfl.errors import ArgumentError, DecodeError, InvalidRequest, RemoteError, RequestFailed, RpcTimeout
from zmqfl.rpc.caller import Caller, check_timeout
from zmqfl.rpc.names import ASKS, CALLS, STREAM
from zmqfl.rpc.remote_stream import RemoteStream


@pytest.fixture
def caller(server: Cell, site: Cell) -> Caller:
    return Caller(server, "site-1", LONG, secure=False)


def outcome(caller: Caller, site: Cell, reply: Any) -> Any:
    """What the caller makes of a reply."""
    site.register_request_cb(CALLS, "*", lambda message: reply)
    return caller.call("x", (), {}, LONG).result(LONG)


def test_a_call_is_its_arguments_and_who_calls(caller: Caller, server: Cell, site: Cell) -> None:
    site.register_request_cb(CALLS, "*", lambda message: Message(payload=[message.topic, message.payload]))
    assert caller.call("calc.add", (1, "x"), {"c": (2,)}, LONG).result(LONG) == [
        "calc.add", [[1, "x"], {"c": (2,)}, server.instance]
    ]  # fmt: skip


def test_what_a_reply_says(caller: Caller, site: Cell) -> None:
    assert outcome(caller, site, Message(payload=None)) is None
    with pytest.raises(RpcTimeout, match="x took longer than 30 s"):
        outcome(caller, site, make_reply("timeout", "it was slow"))
    with pytest.raises(InvalidRequest, match="site-1: invalid_request: what"):
        outcome(caller, site, make_reply("invalid_request", "what"))
    with pytest.raises(ValueError, match="w"):
        outcome(caller, site, make_reply("process_exception", "e", ["ValueError", ["w"], "w", ""]))
    with pytest.raises(RemoteError, match="site-1: process_exception: boom"):
        outcome(caller, site, make_reply("process_exception", "boom"))
    with pytest.raises(RequestFailed, match="comm_error"):
        outcome(caller, site, make_reply("comm_error", "gone"))


@pytest.mark.parametrize("payload", [None, [], [[], False], [[1]], ["ab", True], [[1], 1], {"items": []}])
def test_items_that_are_none(caller: Caller, site: Cell, payload: Any) -> None:
    site.register_request_cb(ASKS, "more", lambda message: Message(payload=payload))
    stream = outcome(caller, site, Message({STREAM: "id"}))
    assert isinstance(stream, RemoteStream)
    with pytest.raises(DecodeError, match="site-1 sent no items of x"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_stream_asks_for_its_items_and_closes(caller: Caller, site: Cell) -> None:
    asked: list[Any] = []

    def more(message: Message) -> Message:
        asked.append(message.payload)
        return Message(payload=[[len(asked)], False])

    closed: list[Any] = []
    site.register_request_cb(ASKS, "more", more)
    site.register_request_cb(ASKS, "close", lambda message: closed.append(message.payload))
    stream = outcome(caller, site, Message({STREAM: "id"}))
    assert [next(stream), next(stream)] == [1, 2]
    assert asked[0] == ["id", 64]
    stream.close()
    until(lambda: closed == ["id"])


@pytest.mark.parametrize("value", [0.1, 1, 1e9])
def test_times(value: float) -> None:
    assert check_timeout(value, "tto") == value


@pytest.mark.parametrize("value", [0, -1, None, "1", True, float("nan"), float("inf")])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(ArgumentError, match="tto must be a number of seconds above 0"):
        check_timeout(value, "tto")
