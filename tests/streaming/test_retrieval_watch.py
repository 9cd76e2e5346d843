"""Retrievals through an engine that knows no streams of cells, and what stands between a retriever and its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.streaming.retrievers import Asking, Countdown, Plain, pair, start
from tests.streaming.sites import Numbers, Sites, write
from tests.system.federation import LONG, Gate, until
from zmqfl import Message
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import AbortRun, CellReturnCode, InvalidRequest, SinkError
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.cell_streams import Arrival, CellStreamEngine
from zmqfl.streaming.container_retriever import ContainerRetriever
from zmqfl.streaming.file_retriever import FileRetriever
from zmqfl.streaming.retrieval_watch import WatchedCellEngine, WatchedConsumer, WatchedEngine, watched
from zmqfl.streaming.retrievals import ID_KEY, Retrieval, Retrievals, Retrieved

OK = ReturnCode.OK


class Consumer:
    """Writes down what it is told."""

    is_quick = True

    def __init__(self, retrieval: Retrieval | None = None, error: Exception | None = None) -> None:
        self.retrieval = retrieval
        self.error = error
        self.heard: list[Any] = []

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        self.heard.append(chunk)
        return True, Outcome(CellReturnCode.OK)

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        self.heard.append(code)
        if self.error is not None:
            raise self.error
        if self.retrieval is not None:
            self.retrieval.end(OK if code is CellReturnCode.OK else ReturnCode.TASK_ABORTED, "data")
        return Outcome(CellReturnCode.OK)


def plain(sites: Sites) -> tuple[Plain, Plain]:
    server, site = sites.star(1)
    return Plain(server), Plain(site)


def fetch(retriever: Any, engine: Any, timeout: float = LONG, **attributes: Any) -> Retrieved:
    with engine.new_context() as fl_ctx:
        return retriever.fetch("site-1", fl_ctx, timeout, attributes)  # type: ignore[no-any-return]


# -- an engine without streams of cells --------------------------------------------------------------------------------


def test_objects(sites: Sites) -> None:
    server, site = plain(sites)
    mine, theirs = pair(server, site)
    assert fetch(mine, server, count=3) == Retrieved(OK, [0, 1, 2])
    assert mine.factory.returned == 1
    code, _ = site.stream_objects("Countdown", "Countdown", {ID_KEY: "x"}, ["server"], Numbers(3), site.new_context())
    assert code == ReturnCode.ERROR
    assert theirs.targets == ["server"]


def test_files_and_containers(sites: Sites, tmp_path: Path) -> None:
    server, site = plain(sites)
    path = write(tmp_path, 3 << 20)
    (tmp_path / "in").mkdir()
    files, _ = (start(engine, FileRetriever(tmp_path, dest_dir=str(tmp_path / "in"))) for engine in (server, site))
    retrieved = fetch(files, server, file_name="model.pt")
    assert Path(retrieved.data).read_bytes() == path.read_bytes()
    containers, theirs = (start(engine, ContainerRetriever()) for engine in (server, site))
    theirs.add_container("model", {"a": [1], "b": (2,)})
    assert fetch(containers, server, name="model").data == {"a": [1], "b": (2,)}


def test_the_provider_fails(sites: Sites) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise OSError("the disk is gone")

    server, site = plain(sites)
    mine, _ = pair(server, site, before=fail)
    retrieved = fetch(mine, server, count=3)
    assert retrieved.rc in (ReturnCode.EXECUTION_EXCEPTION, ReturnCode.TASK_ABORTED)


def test_the_consumer_cannot_be_made(sites: Sites) -> None:
    server, site = plain(sites)
    mine, theirs = pair(server, site)
    mine.factory.get_consumer = None  # type: ignore[assignment, method-assign]
    retrieved = fetch(mine, server, count=3)
    assert retrieved.rc == ReturnCode.EXECUTION_EXCEPTION
    assert "not callable" in retrieved.reason
    until(lambda: theirs.ended == [ReturnCode.ERROR])


def test_who_has_given_up_keeps_nothing(sites: Sites) -> None:
    gate = Gate()
    server, site = plain(sites)
    mine, theirs = pair(server, site, before=lambda number: gate(Message(payload=number)) if number == 2 else None)
    asking = Asking(lambda: fetch(mine, server, 0.3, count=3))
    assert asking.end().rc == ReturnCode.TIMEOUT
    gate.open()
    until(lambda: theirs.ended == [ReturnCode.TASK_ABORTED])
    until(lambda: mine.factory.returned == 1)


# -- in between --------------------------------------------------------------------------------------------------------


def test_the_rest_is_the_real_engines(sites: Sites) -> None:
    [server] = sites.star(0)
    between = watched(server, Retrievals())
    assert type(between) is WatchedCellEngine
    assert isinstance(between, CellStreamEngine)
    assert between.get_cell() is server.get_cell()
    assert type(watched(Plain(server), Retrievals())) is WatchedEngine
    mine = start(server, Countdown())
    own = server.new_context()
    own.put("__engine__", between, private=True, sticky=False)
    assert mine.do_stream("nobody", None, own, {}, 3)[0] == ReturnCode.ERROR  # type: ignore[arg-type]
    between.shutdown_streamer()
    with pytest.raises(RuntimeError, match="shut down"):
        mine.do_stream("server", None, own, {}, 3)  # type: ignore[arg-type]


def test_chunks_are_progress() -> None:
    taken: list[int] = []
    now = [0.0]
    retrieval = Retrieval("id", "site-1", taken.append, lambda: now[0])
    inner = Consumer(retrieval)
    consumer = WatchedConsumer(inner, retrieval)
    assert consumer.is_quick
    now[0] = 9.0
    doubles: Any = memoryview(bytes(16)).cast("d")
    chunk = Chunk({}, 2, (b"abc", doubles))
    assert consumer.consume(chunk) == (True, Outcome(CellReturnCode.OK))
    assert (taken, retrieval._moved) == ([19], 9.0)
    consumer.close(CellReturnCode.OK, "", "")
    assert inner.heard == [chunk, CellReturnCode.OK]
    assert retrieval.wait(LONG) == Retrieved(OK, "data")


def test_what_comes_too_late_ends_as_a_failure() -> None:
    retrieval = Retrieval("id", "site-1")
    inner = Consumer(retrieval)
    consumer = WatchedConsumer(inner, retrieval)
    retrieval.give_up(ReturnCode.TIMEOUT, "slow")
    with pytest.raises(AbortRun):
        consumer.consume(Chunk({}, 2, ()))
    consumer.close(CellReturnCode.OK, "", "")
    assert inner.heard == [CellReturnCode.ABORT_RUN]
    assert retrieval.wait(LONG) == Retrieved(ReturnCode.TIMEOUT, reason="slow")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (CellReturnCode.ABORT_RUN, ReturnCode.TASK_ABORTED),
        (CellReturnCode.COMM_ERROR, ReturnCode.COMMUNICATION_ERROR),
        (CellReturnCode.PROCESS_EXCEPTION, ReturnCode.EXECUTION_EXCEPTION),
    ],
)  # fmt: skip
def test_why_a_stream_failed(code: CellReturnCode, expected: ReturnCode) -> None:
    retrieval = Retrieval("id", "site-1")
    WatchedConsumer(Consumer(retrieval), retrieval).close(code, "no disk", "site-1")
    assert retrieval.wait(LONG) == Retrieved(expected, reason="no disk")


@pytest.mark.parametrize("error", [None, SinkError("is full", file="x")])
def test_an_end_without_a_result(error: Exception | None) -> None:
    """Neither an error nor a forgotten callback may leave somebody waiting."""
    retrieval = Retrieval("id", "site-1")
    consumer = WatchedConsumer(Consumer(error=error), retrieval)
    if error is None:
        consumer.close(CellReturnCode.OK, "", "")
    else:
        with pytest.raises(SinkError):
            consumer.close(CellReturnCode.OK, "", "")
    assert retrieval.wait(LONG).rc == ReturnCode.EXECUTION_EXCEPTION


def test_a_consumer_that_cannot_be_made_ends_it(sites: Sites) -> None:
    [server] = sites.star(0)
    retrievals = Retrievals()
    between = watched(server, retrievals)
    retrieval = retrievals.begin("site-1")

    def refuse(arrival: Arrival) -> Any:
        raise SinkError("is full", file="x")

    assert isinstance(between, WatchedCellEngine)
    arrival = Arrival(Incoming("site-1", "c", "t", {ID_KEY: retrieval.id}), "server", server.new_context)
    with pytest.raises(SinkError):
        between._make(refuse, arrival)
    assert retrieval.wait(LONG) == Retrieved(ReturnCode.EXECUTION_EXCEPTION, reason="x: is full")
    with pytest.raises(InvalidRequest):
        between._make(refuse, arrival)
