"""Files through an engine that knows no cells."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.sites import CHUNK, SIZES, write
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.errors import InvalidRequest, RequestFailed, SinkError
from zmqfl.streaming.contracts import (
    ConsumerFactory,
    ObjectConsumer,
    ObjectProducer,
    StreamableEngine,
    StreamContext,
    StreamContextKey,
)
from zmqfl.streaming.file_objects import DATA, FileObjectFactory
from zmqfl.streaming.file_streamer import FileStreamer


class Loop(StreamableEngine):
    """Streams to itself, in one thread. `spoil` changes what is on its way."""

    def __init__(self, spoil: Any = None) -> None:
        self.manager = FLContextManager(self, "loop")
        self.spoil = spoil
        self.registered: tuple[ConsumerFactory, Any, Any, dict[str, Any]] | None = None
        self.arguments: tuple[Any, ...] = ()

    def stream_objects(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext,
        targets: str | Iterable[str] | None,
        producer: ObjectProducer,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[ReturnCode, Any]:
        self.arguments = targets, optional, secure
        assert self.registered is not None
        factory, done, consumed, kwargs = self.registered
        theirs = {**stream_ctx, StreamContextKey.CHANNEL: channel, StreamContextKey.TOPIC: topic}
        consumer = factory.get_consumer(theirs, fl_ctx)
        rc, result = self._send(producer, consumer, consumed, stream_ctx, theirs, fl_ctx)
        theirs[StreamContextKey.RC] = rc
        try:
            consumer.finalize(theirs, fl_ctx)
        except SinkError:
            theirs[StreamContextKey.RC] = rc = ReturnCode.EXECUTION_EXCEPTION
        done(theirs, fl_ctx, **kwargs)
        return rc, result

    def _send(
        self,
        producer: ObjectProducer,
        consumer: ObjectConsumer,
        consumed: Any,
        ours: StreamContext,
        theirs: StreamContext,
        fl_ctx: FLContext,
    ) -> tuple[ReturnCode, Any]:
        while True:
            chunk, _ = producer.produce(ours, fl_ctx)
            if chunk is None:
                return ReturnCode.OK, None
            if self.spoil is not None:
                self.spoil(chunk)
            try:
                answer = consumer.consume(Shareable.from_bytes(chunk.to_bytes()), theirs, fl_ctx)
            except RequestFailed:
                return ReturnCode.ERROR, False
            if consumed is not None:
                consumed(answer, theirs, fl_ctx)
            assert answer[1] is not None
            result = producer.process_replies({"me": answer[1]}, ours, fl_ctx)
            if result is not None:
                return (ReturnCode.OK if result else ReturnCode.ERROR), result

    def register_stream_processing(
        self,
        channel: str,
        topic: str,
        factory: ConsumerFactory,
        stream_done_cb: Any = None,
        consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        self.registered = factory, stream_done_cb, consumed_cb, cb_kwargs

    def shutdown_streamer(self) -> None:
        self.registered = None


def loop_file(loop: Loop, path: Path, folder: Path, **options: Any) -> tuple[tuple[ReturnCode, bool], StreamContext]:
    ends: list[StreamContext] = []
    fl_ctx = loop.manager.new_context()

    def done(stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> None:
        assert kwargs == {"a": 1}
        ends.append(stream_ctx)

    FileStreamer.register_stream_processing(fl_ctx, "c", "t", str(folder), done, a=1, **options)
    answer = FileStreamer.stream_file("c", "t", {"round": 1}, ["x"], str(path), fl_ctx, CHUNK, 5, optional=True)
    [context] = ends
    return answer, context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.mark.parametrize("size", SIZES)
def test_a_file_goes_through_any_engine(tmp_path: Path, folder: Path, size: int) -> None:
    loop, path = Loop(), write(tmp_path, size)
    answer, context = loop_file(loop, path, folder)
    assert answer == (ReturnCode.OK, True)
    assert loop.arguments == (["x"], True, False)
    assert Path(FileStreamer.get_file_location(context)).read_bytes() == path.read_bytes()
    assert (FileStreamer.get_file_name(context), FileStreamer.get_file_size(context)) == ("model.pt", size)
    assert (context["round"], FileStreamer.get_rc(context)) == (1, "OK")


def test_chunks_are_counted(tmp_path: Path, folder: Path) -> None:
    heard: list[bool] = []

    def taken(reply: Any, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        heard.append(reply[0])

    loop_file(Loop(), write(tmp_path, 3 * CHUNK), folder, chunk_consumed_cb=taken)
    assert heard == [True, True, False]


def test_a_damaged_chunk_fails_it(tmp_path: Path, folder: Path) -> None:
    def spoil(chunk: Shareable) -> None:
        chunk[DATA] = b"x" + chunk[DATA][1:]

    answer, context = loop_file(Loop(spoil), write(tmp_path, 3 * CHUNK), folder)
    assert answer == (ReturnCode.ERROR, False)
    assert FileStreamer.get_file_location(context) is None
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_named_fails_it(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", _fail)
    answer, context = loop_file(Loop(), write(tmp_path, 10), folder)
    assert answer == (ReturnCode.EXECUTION_EXCEPTION, False)
    assert FileStreamer.get_file_location(context) is None


def _fail(fd: int) -> None:
    raise OSError(5, "broken disk")


@pytest.mark.parametrize("content", [{}, {DATA: "text"}, {DATA: b"x"}])
def test_what_is_no_chunk_of_a_file(folder: Path, content: dict[str, Any]) -> None:
    stream_ctx: StreamContext = {}
    consumer = FileObjectFactory(folder).get_consumer(stream_ctx, FLContext())
    with pytest.raises(InvalidRequest):
        consumer.consume(Shareable(content), stream_ctx, FLContext())
    stream_ctx[StreamContextKey.RC] = ReturnCode.BAD_REQUEST_DATA
    consumer.finalize(stream_ctx, FLContext())
    assert list(folder.iterdir()) == []


def test_a_send_that_raises_closes_the_file(tmp_path: Path) -> None:
    loop = Loop()  # nothing is registered, so `stream_objects` fails
    with pytest.raises(AssertionError):
        FileStreamer.stream_file("c", "t", {}, ["x"], str(write(tmp_path, 9)), loop.manager.new_context())
