"""The contracts of streams, and their names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tests.streaming.sites import Collectors
from zmqfl.context.fl_context import FLContext
from zmqfl.streaming import contracts
from zmqfl.streaming.contracts import (
    ConsumerFactory,
    ObjectConsumer,
    ObjectProducer,
    StreamableEngine,
    StreamContext,
    StreamContextKey,
    consumed_cb_signature,
    stream_done_cb_signature,
)


def test_a_stream_context_is_a_dict() -> None:
    assert vars(contracts)["StreamContext"] is dict
    assert StreamContext() == {}


def test_the_values_of_the_keys() -> None:
    names = {name: value for name, value in vars(StreamContextKey).items() if name.isupper()}
    assert names == {
        "CHANNEL": "__channel__", "TOPIC": "__topic__", "RC": "__RC__", "END_STREAM": "__end_stream__",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("contract", "methods"),
    [
        (ObjectProducer, {"produce", "process_replies"}),
        (ObjectConsumer, {"consume", "finalize"}),
        (ConsumerFactory, {"get_consumer"}),
        (StreamableEngine, {"stream_objects", "register_stream_processing", "shutdown_streamer"}),
    ],
)
def test_what_a_subclass_must_have(contract: Any, methods: set[str]) -> None:
    assert contract.__abstractmethods__ == methods
    with pytest.raises(TypeError, match="abstract"):
        contract()


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (ObjectProducer.produce, ["self", "stream_ctx", "fl_ctx"]),
        (ObjectProducer.process_replies, ["self", "replies", "stream_ctx", "fl_ctx"]),
        (ObjectConsumer.consume, ["self", "shareable", "stream_ctx", "fl_ctx"]),
        (ObjectConsumer.finalize, ["self", "stream_ctx", "fl_ctx"]),
        (ConsumerFactory.get_consumer, ["self", "stream_ctx", "fl_ctx"]),
        (ConsumerFactory.return_consumer, ["self", "consumer", "stream_ctx", "fl_ctx"]),
        (stream_done_cb_signature, ["stream_ctx", "fl_ctx", "kwargs"]),
        (consumed_cb_signature, ["reply", "stream_ctx", "fl_ctx", "kwargs"]),
        (
            StreamableEngine.stream_objects,
            ["self", "channel", "topic", "stream_ctx", "targets", "producer", "fl_ctx", "optional", "secure"],
        ),
        (
            StreamableEngine.register_stream_processing,
            ["self", "channel", "topic", "factory", "stream_done_cb", "consumed_cb", "cb_kwargs"],
        ),
    ],
)
def test_the_signatures(function: Any, names: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == names


def test_a_factory_need_not_take_its_consumers_back() -> None:
    factory, fl_ctx = Collectors(), FLContext()
    ConsumerFactory.return_consumer(factory, factory.get_consumer({}, fl_ctx), {}, fl_ctx)
    assert factory.log == []
