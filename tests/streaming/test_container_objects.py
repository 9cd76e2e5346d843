"""Containers through an engine that knows no cells: chunk by chunk, and what is no chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.streaming.test_file_objects import Loop
from tests.wire.values import assert_same
from zmqfl.cell.container_streams import ContainerProducer
from zmqfl.cell.containers import SIZE_KEY, TYPE_KEY
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.errors import InvalidRequest, RequestFailed
from zmqfl.streaming.container_objects import ContainerObjectFactory, ContainerObjectProducer
from zmqfl.streaming.container_receiver import RESULT_KEY
from zmqfl.streaming.contracts import StreamContextKey
from zmqfl.streaming.file_objects import CHUNK, DATA

FL_CTX = Loop().manager.new_context()
CONTAINER = {"w": np.arange(3000.0), "n": 1}


def consumer(stream_ctx: Any) -> Any:
    return ContainerObjectFactory(1 << 20).get_consumer(stream_ctx, FL_CTX)


@pytest.mark.parametrize("rc", [ReturnCode.OK, ReturnCode.TASK_ABORTED])
def test_chunks_put_together_are_the_container(rc: ReturnCode) -> None:
    chunks = ContainerProducer(CONTAINER, 10_000)
    producer = ContainerObjectProducer(chunks, 9.0)
    stream_ctx = {**chunks.facts, RESULT_KEY: "forged"}
    into = consumer(stream_ctx)
    assert stream_ctx[RESULT_KEY] is None
    results = []
    while (made := producer.produce({}, FL_CTX))[0] is not None:
        shareable, timeout = made
        assert timeout == 9.0
        go, reply = into.consume(shareable, stream_ctx, FL_CTX)
        results.append((go, producer.process_replies({"me": reply}, {}, FL_CTX)))
    assert results == [(True, None)] * 2 + [(False, True)]
    stream_ctx[StreamContextKey.RC] = rc
    into.finalize(stream_ctx, FL_CTX)
    if rc is ReturnCode.OK:
        assert_same(stream_ctx[RESULT_KEY], CONTAINER)
    else:
        assert stream_ctx[RESULT_KEY] is None


def test_a_reply_that_is_not_ok_fails_it() -> None:
    producer = ContainerObjectProducer(ContainerProducer([1], 100), 9.0)
    for replies in {}, {"a": make_reply(ReturnCode.OK), "b": make_reply(ReturnCode.ERROR)}:
        assert producer.process_replies(replies, {}, FL_CTX) is False


@pytest.mark.parametrize("chunk", [{}, {DATA: "text"}, {DATA: b"x"}])
def test_what_is_no_chunk_is_refused(chunk: Any) -> None:
    shareable = Shareable(chunk)
    stream_ctx = {TYPE_KEY: "list", SIZE_KEY: 1}
    with pytest.raises(InvalidRequest, match="no chunk of a container"):
        consumer(stream_ctx).consume(shareable, stream_ctx, FL_CTX)
    shareable.set_header(CHUNK, {"d": bytes(16)})
    with pytest.raises(InvalidRequest, match=r"no chunk of a container|damaged"):
        consumer(stream_ctx).consume(shareable, stream_ctx, FL_CTX)


def test_push_P20_a_forged_type_is_refused() -> None:
    with pytest.raises(RequestFailed, match=r"container of type 'os.system'"):
        consumer({TYPE_KEY: "os.system", SIZE_KEY: 1})
