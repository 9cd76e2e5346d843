"""Seed 001, object streaming: its code blocks, names and promises. A test per line of the check list.

The jobs of lines 5 and 6 are run here by the seed's own commands, and their stories are told by components and engines;
that they run on a launched federation, too, is in tests/system/test_jobs_cli.py.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.seeds.test_seed_000 import REQUIRED, parameters
from tests.streaming.retrievers import start
from tests.streaming.sites import Collectors, Ends, Sites, receive_files, send_file, write
from tests.system.federation import LONG, ROOT
from zmqfl.cell.transfer_verbs import CHUNK
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_retriever import ContainerRetriever
from zmqfl.streaming.container_streamer import ContainerStreamer
from zmqfl.streaming.contracts import ObjectProducer, StreamableEngine, StreamContext
from zmqfl.streaming.file_retriever import FileRetriever
from zmqfl.streaming.file_streamer import FileStreamer
from zmqfl.streaming.object_retriever import ObjectRetriever
from zmqfl.streaming.object_streamer import ObjectStreamer
from zmqfl.streaming.retriever_shelf import Shelf
from zmqfl.streaming.streamer_base import StreamerBase

OK = ReturnCode.OK
MIB = 1 << 20


@pytest.fixture
def federation(sites: Sites) -> list[CellEngine]:
    """The server and two clients."""
    return sites.star(2)


@pytest.fixture(autouse=True)
def _empty_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContainerRetriever, "shelf", Shelf())


class Pieces(ObjectProducer):
    """A user's own streamer: the words of a text, one by one."""

    def __init__(self, text: str) -> None:
        self.words = text.split()

    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable, float]:
        word = self.words.pop(0)
        return Shareable({"n": word, "last": not self.words}), 10.0

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        return None if self.words else len(replies)


def test_seed_001_1_own_streamers(federation: list[CellEngine]) -> None:
    """A `StreamableEngine` streams any implementation, and `ObjectStreamer` is what streams them."""
    server, *clients = federation
    assert isinstance(server, StreamableEngine)
    assert isinstance(server.streamer, ObjectStreamer)
    assert issubclass(FileStreamer, StreamerBase)
    assert issubclass(ContainerStreamer, StreamerBase)
    factories, ends = [Collectors() for _ in clients], Ends()
    for client, factory in zip(clients, factories, strict=True):
        client.register_stream_processing("texts", "poem", factory, ends)
    with server.new_context() as fl_ctx:
        answer = server.stream_objects(
            "texts", "poem", {}, ["site-1", "site-2"], Pieces("so much depends upon"), fl_ctx
        )
    assert answer == (OK, 2)
    ends.wait(2)
    assert [factory.log[:4] for factory in factories] == [["so", "much", "depends", "upon"]] * 2


@pytest.mark.parametrize("container", [{"a": 1, "b": [2, {"c": 3}]}, [1, "two", [3]], {1, "two"}])
def test_seed_001_2_containers_entry_by_entry(federation: list[CellEngine], container: Any) -> None:
    server, client, _ = federation
    results: list[Any] = []

    def done(stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> None:
        results.append((ContainerStreamer.get_rc(stream_ctx), ContainerStreamer.get_result(stream_ctx), kwargs))

    with client.new_context() as fl_ctx:
        ContainerStreamer.register_stream_processing(fl_ctx, "models", "best", done, round=3)
    with server.new_context() as fl_ctx:
        assert ContainerStreamer.stream_container("models", "best", {}, ["site-1"], container, fl_ctx) == (OK, True)
    assert results == [(OK, container, {"round": 3})]
    assert parameters(ContainerStreamer.register_stream_processing) == {
        "fl_ctx": REQUIRED, "channel": REQUIRED, "topic": REQUIRED, "stream_done_cb": None, "**cb_kwargs": REQUIRED,
    }  # fmt: skip


def test_seed_001_2_little_memory(federation: list[CellEngine]) -> None:
    """The owner has not even one entry twice, and the receiver has each once."""
    server, client, _ = federation
    entry = 32 * MIB
    model = {f"layer {n}": np.full(entry, n, np.uint8) for n in range(5)}
    ends: list[Any] = []
    with client.new_context() as fl_ctx:
        ContainerStreamer.register_stream_processing(
            fl_ctx, "models", "best", lambda stream_ctx, fl_ctx: ends.append(ContainerStreamer.get_result(stream_ctx))
        )
    tracemalloc.start()
    try:
        with server.new_context() as fl_ctx:
            answer = ContainerStreamer.stream_container("models", "best", {}, ["site-1"], model, fl_ctx)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer == (OK, True)
    assert all(np.array_equal(ends[0][key], value) for key, value in model.items())
    assert peak < 5 * entry + entry  # owner and receiver together, in this one process


def test_seed_001_3_a_chunk_is_a_mebibyte(sites: Sites, tmp_path: Path) -> None:
    assert CHUNK == MIB
    server, client = sites.star(1)
    (tmp_path / "in").mkdir()
    chunks: list[bool] = []
    options = {"chunk_consumed_cb": lambda reply, stream_ctx, fl_ctx: chunks.append(reply[0])}
    receive_files([client], tmp_path / "in", **options)
    assert send_file(server, write(tmp_path, 3 * MIB), ["site-1"], chunk_size=None) == (OK, True)
    assert chunks == [True, True, False]


def test_seed_001_4_retrievers(federation: list[CellEngine], tmp_path: Path) -> None:
    """They ask a remote site, and set up both ends by themselves."""
    server, client, _ = federation
    assert issubclass(FileRetriever, ObjectRetriever)
    assert issubclass(ContainerRetriever, ObjectRetriever)
    path = write(tmp_path, 3 * MIB)
    files = [start(engine, FileRetriever(str(tmp_path))) for engine in (server, client)][1]
    with client.new_context() as fl_ctx:
        rc, location = files.retrieve_file("server", fl_ctx, 10.0, "model.pt")
    assert rc == OK
    assert Path(str(location)).read_bytes() == path.read_bytes()
    Path(str(location)).unlink()

    model_dict: dict[str, Any] = {"weights": np.arange(1000.0), "bias": 0.5}
    ContainerRetriever.add_container("model", model_dict)
    containers = [start(engine, ContainerRetriever()) for engine in (server, client)][1]
    with client.new_context() as fl_ctx:
        rc, model = containers.retrieve_container("server", fl_ctx, 10.0, "model")
    assert (rc, model["bias"]) == (OK, 0.5)
    assert np.array_equal(model["weights"], model_dict["weights"])


def test_seed_001_4_names() -> None:
    assert parameters(ObjectRetriever) == {"topic": None}
    assert parameters(ObjectRetriever.retrieve) == {
        "self": REQUIRED, "from_site": REQUIRED, "fl_ctx": REQUIRED, "timeout": REQUIRED, "**obj_attrs": REQUIRED,
    }  # fmt: skip
    assert ObjectRetriever.__abstractmethods__ == {
        "register_stream_processing", "validate_request", "do_stream", "get_result",
    }  # fmt: skip
    assert parameters(FileRetriever) == {
        "source_dir": REQUIRED, "topic": None, "stream_msg_optional": False, "stream_msg_secure": False,
        "dest_dir": None, "chunk_size": None, "chunk_timeout": None,
    }  # fmt: skip
    assert list(parameters(FileRetriever.retrieve_file)) == ["self", "from_site", "fl_ctx", "timeout", "file_name"]
    assert parameters(ContainerRetriever) == {
        "topic": None, "stream_msg_optional": False, "stream_msg_secure": False, "entry_timeout": None,
    }  # fmt: skip
    assert list(parameters(ContainerRetriever.retrieve_container)) == [
        "self", "from_site", "fl_ctx", "timeout", "name",
    ]  # fmt: skip
    assert list(inspect.signature(ContainerRetriever.add_container).parameters) == ["name", "container"]
    retriever = ContainerRetriever("mine")
    assert (retriever.channel, retriever.topic, ContainerRetriever().topic) == (
        "ContainerRetriever", "mine", "ContainerRetriever",
    )  # fmt: skip


# -- the stories of the jobs -------------------------------------------------------------------------------------------


class FileSender(FLComponent):
    """At the server: sends a temporary file of its own as soon as the client has said that it is ready."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: list[Any] = []
        self.sent = threading.Event()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            fl_ctx.get_engine().register_aux_message_handler("ready", self.ready)

    def ready(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        engine = fl_ctx.get_engine()
        threading.Thread(target=self.send, args=(engine,)).start()
        return make_reply(OK)

    def send(self, engine: CellEngine) -> None:
        path = write(self.folder, 5 * MIB + 1, "big.bin")
        with engine.new_context() as fl_ctx:
            self.answers.append(FileStreamer.stream_file("test", "file", {"n": 1}, ["site-1"], str(path), fl_ctx))
        self.sent.set()


class FileTaker(FLComponent):
    """At the client: receives it, and says when it can."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: list[Any] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            FileStreamer.register_stream_processing(fl_ctx, "test", "file", str(self.folder), self.done)
            fl_ctx.get_engine().send_aux_request("server", "ready", Shareable(), LONG, fl_ctx)

    def done(self, stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> None:
        location = Path(FileStreamer.get_file_location(stream_ctx))
        self.taken.append((FileStreamer.get_rc(stream_ctx), stream_ctx["n"], location.read_bytes()))


def test_seed_001_5_components_do_the_transfer(sites: Sites, tmp_path: Path) -> None:
    """Server to client by the streamer alone, without a retriever and without a training workflow."""
    server, client = sites.star(1)
    (tmp_path / "in").mkdir()
    sender, taker = FileSender(tmp_path), FileTaker(tmp_path / "in")
    for engine, component in (server, sender), (client, taker):
        engine.add_component("files", component)
        with engine.new_context() as fl_ctx:
            engine.fire_event(EventType.START_RUN, fl_ctx)
    assert sender.sent.wait(LONG)
    assert sender.answers == [(OK, True)]
    assert taker.taken == [(OK, 1, (tmp_path / "big.bin").read_bytes())]


class DictTaker(FLComponent):
    """At the client: gets ready and retrieves when it is told to."""

    def __init__(self, retriever_id: str) -> None:
        self.retriever_id = retriever_id

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            fl_ctx.get_engine().register_aux_message_handler("retrieve_dict", self.retrieve_dict)

    def retrieve_dict(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        retriever = fl_ctx.get_engine().get_component(self.retriever_id)
        rc, found = retriever.retrieve_container("server", fl_ctx, 10.0, request["name"])
        reply = make_reply(rc)
        reply["sum"] = float(sum(value.sum() for value in found.values()))
        return reply


def test_seed_001_6_a_request_tells_the_client_to_get_ready(sites: Sites) -> None:
    """A dict from the server to the client, which the server asks to retrieve it."""
    server, client = sites.star(1)
    start(server, ContainerRetriever(), "retriever").add_container(
        "model", {f"layer {n}": np.full(MIB, float(n)) for n in range(3)}
    )
    start(client, ContainerRetriever(), "retriever")
    taker = DictTaker("retriever")
    client.add_component("taker", taker)
    with client.new_context() as fl_ctx:
        taker.handle_event(EventType.START_RUN, fl_ctx)
    with server.new_context() as fl_ctx:
        replies = server.send_aux_request(
            ["site-1"], "retrieve_dict", Shareable({"name": "model"}), LONG, fl_ctx
        )  # fmt: skip
    assert (replies["site-1"].get_return_code(), replies["site-1"]["sum"]) == (OK, 3.0 * MIB)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ("file_streaming", {"server": "bytes of site-1, right: True", "site-1": "bytes of server, right: True"}),
        ("dict_streaming", {"server": "site-1 has retrieved the dict: OK, right: True", "site-1": "'model': OK, 4"}),
    ],
    ids=["5", "6"],
)
def test_seed_001_5_and_6_the_commands_of_the_seed(tmp_path: Path, job: str, told: dict[str, str]) -> None:
    command = f"-m zmqfl simulator -n 1 -t 1 {ROOT}/examples/jobs/{job}"
    done = subprocess.run(
        [sys.executable, "-W", "error", *command.split()], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=LONG, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for site, words in told.items():
        assert words in (tmp_path / "simulator_workspace" / site / "log.txt").read_text()
        assert words in done.stdout
