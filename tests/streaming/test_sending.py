"""An ObjectProducer as the producer of a push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.streaming.sites import Judge, Numbers
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.errors import ArgumentError, CellReturnCode, EncodeError
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.contracts import END_RESULT, ObjectProducer, StreamContext
from zmqfl.streaming.sending import SendingObjects
from zmqfl.wire import payload

OK = CellReturnCode.OK


class Gives(ObjectProducer):
    """Produces just this."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        return self.made

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        raise KeyError("replies")


class Eager(Gives):
    looks_ahead = True


def sending(producer: ObjectProducer, names: Mapping[str, list[str]] | None = None) -> SendingObjects:
    return SendingObjects(producer, {}, FLContext(), names or {})


def test_a_shareable_is_a_chunk() -> None:
    shareable = Shareable({"w": np.arange(3)})
    shareable.set_header("round", 2)
    chunk = sending(Gives((shareable, 5))).produce()  # check line P04: an int is a time
    assert chunk is not None
    assert (chunk.codec, chunk.headers, chunk.timeout) == (1, {}, 5.0)
    value = payload.decode(chunk.bodies)
    assert (value["w"].tolist(), value["__headers__"]) == ([0, 1, 2], {"round": 2})


def test_none_is_the_end() -> None:
    assert sending(Gives((None, 0))).produce() is None


@pytest.mark.parametrize("timeout", [0, -1, 0.0, None, "5", True, float("nan")])
def test_a_time_that_is_none(timeout: Any) -> None:
    one = sending(Gives((Shareable(), timeout)))
    with pytest.raises(ArgumentError, match="time-out of a chunk"):
        one.produce()
    assert isinstance(one.error, ArgumentError)


@pytest.mark.parametrize("made", [None, Shareable(), ({}, 1.0), (Shareable(), 1.0, 2), (3, 1.0)])
def test_what_is_no_chunk(made: Any) -> None:
    with pytest.raises(ArgumentError, match="produce must return"):
        sending(Gives(made)).produce()


def test_what_cannot_travel() -> None:
    with pytest.raises(EncodeError, match="object"):
        sending(Gives((Shareable({"x": object()}), 1.0))).produce()


@pytest.mark.parametrize("kind", [Gives, Eager])
def test_arrays_are_copied_for_those_who_look_ahead(kind: type[Gives]) -> None:
    array = np.zeros(10_000)
    one = sending(kind((Shareable({"w": array}), 1.0)))
    chunk = one.produce()
    assert chunk is not None
    array += 1
    assert payload.decode(chunk.bodies)["w"][0] == (0 if one.looks_ahead else 1)


def reply(end: Any = None, **content: Any) -> Outcome:
    bodies = tuple(payload.encode(Shareable(content).to_payload())) if content else ()
    last = () if end is None else tuple(payload.encode(end))
    headers = {"go": 0, "end": [1, len(last)]}
    return Outcome(OK, "", 1, headers, (*bodies, *last))


def test_replies_come_by_the_callers_names() -> None:
    producer = Numbers(1)
    assert sending(producer, {"site-1": ["a", "b"]}).settle({"site-1": reply(x=1)}) is None
    assert {name: each["x"] for name, each in producer.replies[0].items()} == {"a": 1, "b": 1}


def test_a_reply_of_nothing_is_ok() -> None:
    producer = Numbers(1)
    sending(producer, {"s": ["s"]}).settle({"s": Outcome(OK, headers={"go": 1})})
    assert producer.replies[0]["s"] == make_reply("OK")


@pytest.mark.parametrize("content", [{}, {"x": 1}])
def test_push_P16_the_end_result_is_a_header(content: dict[str, Any]) -> None:
    producer = Judge(1, result="done")
    one = sending(producer, {"s": ["s"]})
    assert one.settle({"s": reply(end={"loss": np.arange(2000)}, **content)}) == one.result == "done"
    answer = producer.replies[0]["s"]
    assert answer.get_header(END_RESULT)["loss"][1999] == 1999
    assert answer.get("x") == content.get("x")


def test_a_reply_that_cannot_be_read_is_an_error() -> None:
    producer = Numbers(1)
    sending(producer, {"s": ["s"]}).settle({"s": Outcome(OK, "", 1, {}, (b"\xc1",))})
    assert producer.replies[0]["s"].get_return_code() == "ERROR"


def test_what_process_replies_raises_is_kept() -> None:
    one = sending(Gives(None), {"s": ["s"]})
    with pytest.raises(KeyError, match="replies"):
        one.settle({"s": reply(x=1)})
    assert isinstance(one.error, KeyError)
