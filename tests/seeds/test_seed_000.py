"""Seed 000, file streaming: its code blocks, names, defaults and promises. A test per line of the check list."""

from __future__ import annotations

import inspect
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.pulls import Calls, pass_time
from tests.streaming.sites import Sites, write
from tests.system.federation import LONG, Gate, until
from zmqfl import Cell, Message
from zmqfl.cell.file_streams import FileProducer
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.streaming import contracts
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import StreamContext, stream_done_cb_signature
from zmqfl.streaming.file_downloader import FileDownloader, download_file
from zmqfl.streaming.file_streamer import FileStreamer
from zmqfl.streaming.streamer_base import StreamerBase

MIB = 1 << 20
REQUIRED = inspect.Parameter.empty


def parameters(function: Any) -> dict[str, Any]:
    """Name -> default; ** names as they are written."""
    return {
        ("**" if each.kind is each.VAR_KEYWORD else "") + name: each.default
        for name, each in inspect.signature(function).parameters.items()
    }


class FileReceiver(FLComponent):
    """Registers at START_RUN, as the seed says, and remembers what the callback got."""

    def __init__(self, channel: str, topic: str, dest_dir: str | None = None, **options: Any) -> None:
        self.channel = channel
        self.topic = topic
        self.dest_dir = dest_dir
        self.options = options
        self.received: list[dict[str, Any]] = []
        self.changed = threading.Condition()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN:
            FileStreamer.register_stream_processing(
                fl_ctx,
                channel=self.channel,
                topic=self.topic,
                dest_dir=self.dest_dir,
                stream_done_cb=self.stream_done,
                **self.options,
            )

    def stream_done(self, stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> None:
        location = FileStreamer.get_file_location(stream_ctx)
        with self.changed:
            self.received.append(
                {
                    "rc": FileStreamer.get_rc(stream_ctx),
                    "name": FileStreamer.get_file_name(stream_ctx),
                    "location": location,
                    "size": FileStreamer.get_file_size(stream_ctx),
                    "content": None if location is None else Path(location).read_bytes(),
                    "ctx": dict(stream_ctx),
                    "kwargs": kwargs,
                    "identity": fl_ctx.get_identity_name(),
                }
            )
            self.changed.notify_all()

    def wait(self) -> dict[str, Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.received, LONG)
        [received] = self.received
        return received


@pytest.fixture
def federation(sites: Sites) -> list[CellEngine]:
    """The server and two clients."""
    return sites.star(2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def start(engine: CellEngine, receiver: FileReceiver) -> FileReceiver:
    engine.add_component("receiver", receiver)
    engine.fire_event(EventType.START_RUN, engine.new_context())
    return receiver


def begin(cell: Cell, path: Path, **options: Any) -> tuple[str, str]:
    tx = FileDownloader.new_transaction(cell, LONG, print)
    return tx, FileDownloader.add_file(tx, str(path), **options)


@pytest.fixture(autouse=True)
def _no_transactions() -> Any:
    yield
    FileDownloader.shutdown()


def test_seed_000_1_many_small_messages(
    federation: list[CellEngine], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is read chunk by chunk, and never far ahead of those who write it; any cell may own it."""
    server, client, _ = federation
    sizes: list[int] = []
    produce = FileProducer.produce

    def watched(producer: FileProducer) -> Any:
        chunk = produce(producer)
        sizes.append(0 if chunk is None else sum(map(len, chunk.bodies)))
        return chunk

    monkeypatch.setattr(FileProducer, "produce", watched)
    gate = Gate()
    path = write(tmp_path, 10 * MIB)
    for owner, target in (client, server), (server, client):
        sizes.clear()
        held = Gate() if owner is client else gate
        options = {"chunk_consumed_cb": lambda *_, held=held: held(Message())}
        receiver = start(target, FileReceiver("models", "best", str(folder), **options))
        name = target.get_cell().fqcn
        thread = threading.Thread(
            target=FileStreamer.stream_file, args=("models", "best", {}, [name], str(path), owner.new_context())
        )
        thread.start()
        held.wait_entered()
        until(lambda: len(sizes) == 3)  # the first is on its way, two are read ahead
        held.open()
        thread.join(LONG)
        assert receiver.wait()["content"] == path.read_bytes()
        assert max(sizes) == MIB


def test_seed_000_2_push_is_strict(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    """All process the same chunk at the same time; if one fails, the whole send fails."""
    server, *clients = federation
    counts = {"site-1": 0, "site-2": 0}
    ahead: list[int] = []
    changed = threading.Condition()

    def consumed(reply: tuple[bool, Any], stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        with changed:
            counts[fl_ctx.get_identity_name()] += 1
            ahead.append(abs(counts["site-1"] - counts["site-2"]))
            if counts["site-2"] == 3 and fl_ctx.get_identity_name() == "site-2":
                raise OSError("disk full")

    options = {"chunk_consumed_cb": consumed}
    receivers = [start(client, FileReceiver("models", "best", str(folder), **options)) for client in clients]
    answer = FileStreamer.stream_file(
        "models", "best", {}, ["site-1", "site-2"], str(write(tmp_path, 9 * MIB)), server.new_context()
    )
    assert answer == (ReturnCode.ERROR, False)
    assert [receiver.wait()["rc"] for receiver in receivers] == ["TASK_ABORTED", "EXECUTION_EXCEPTION"]
    assert max(ahead) == 1
    assert [receiver.received[0]["location"] for receiver in receivers] == [None, None]


def test_seed_000_3_pull_is_relaxed(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    """Each recipient goes at its own pace, and one that fails is nothing to the others."""
    server, *clients = federation
    path = write(tmp_path, 3 * MIB)
    _, rid = begin(server.get_cell(), path)
    assert download_file("server", rid, LONG, clients[0].get_cell(), str(folder)) == (None, str(folder / rid))
    (folder / rid).unlink()
    (folder / rid).mkdir()  # the second one cannot write there
    error, _ = download_file("server", rid, LONG, clients[1].get_cell(), str(folder))
    assert error
    (folder / rid).rmdir()
    assert download_file("server", rid, LONG, clients[1].get_cell(), str(folder))[0] is None
    assert (folder / rid).read_bytes() == path.read_bytes()


def test_seed_000_4_register_stream_processing(federation: list[CellEngine], tmp_path: Path) -> None:
    assert issubclass(FileStreamer, StreamerBase)
    assert isinstance(inspect.getattr_static(FileStreamer, "register_stream_processing"), staticmethod)
    assert parameters(FileStreamer.register_stream_processing) == {
        "fl_ctx": REQUIRED, "channel": REQUIRED, "topic": REQUIRED, "dest_dir": None, "stream_done_cb": None,
        "chunk_consumed_cb": None, "**cb_kwargs": REQUIRED,
    }  # fmt: skip
    server, client, _ = federation
    receiver = start(server, FileReceiver("models", "best"))  # at START_RUN, into the system's folder
    FileStreamer.stream_file("models", "best", {}, ["server"], str(write(tmp_path, 5)), client.new_context())
    location = Path(receiver.wait()["location"])
    assert location.parent == Path(tempfile.gettempdir())
    location.unlink()


def test_seed_000_5_stream_done_cb(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    assert parameters(stream_done_cb_signature) == {
        "stream_ctx": REQUIRED, "fl_ctx": REQUIRED, "**kwargs": REQUIRED,
    }  # fmt: skip
    server, client, _ = federation
    receiver = start(server, FileReceiver("models", "best", str(folder), round=3, site="a"))
    FileStreamer.stream_file("models", "best", {}, ["server"], str(write(tmp_path, 5)), client.new_context())
    received = receiver.wait()
    assert (received["kwargs"], received["identity"]) == ({"round": 3, "site": "a"}, "server")


def test_seed_000_6_stream_ctx(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    server, client, _ = federation
    receiver = start(server, FileReceiver("models", "best", str(folder)))
    stream_ctx = {"round": 7, "metrics": {"loss": 0.25}}
    assert isinstance(stream_ctx, vars(contracts)["StreamContext"])  # a dict
    FileStreamer.stream_file("models", "best", stream_ctx, ["server"], str(write(tmp_path, 5)), client.new_context())
    received = receiver.wait()["ctx"]
    assert {key: received[key] for key in stream_ctx} == stream_ctx == {"round": 7, "metrics": {"loss": 0.25}}


def test_seed_000_7_getters(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    for getter in FileStreamer.get_file_name, FileStreamer.get_file_location, FileStreamer.get_file_size:
        assert parameters(getter) == {"stream_ctx": REQUIRED}
    server, client, _ = federation
    receiver = start(server, FileReceiver("models", "best", str(folder)))
    path = write(tmp_path, 12345, "weights.bin")
    FileStreamer.stream_file("models", "best", {}, ["server"], str(path), client.new_context())
    received = receiver.wait()
    assert (received["name"], received["size"], received["content"]) == ("weights.bin", 12345, path.read_bytes())
    location = Path(received["location"])
    assert location.is_absolute()
    assert list(folder.iterdir()) == [location]  # it stays: it is the application's to delete


def test_seed_000_8_stream_file(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    assert isinstance(inspect.getattr_static(FileStreamer, "stream_file"), staticmethod)
    assert parameters(FileStreamer.stream_file) == {
        "channel": REQUIRED, "topic": REQUIRED, "stream_ctx": REQUIRED, "targets": REQUIRED, "file_name": REQUIRED,
        "fl_ctx": REQUIRED, "chunk_size": None, "chunk_timeout": None, "optional": False, "secure": False,
    }  # fmt: skip
    server, *clients = federation
    chunks = Calls()
    options = {"chunk_consumed_cb": chunks}
    receivers = [start(client, FileReceiver("models", "best", str(folder), **options)) for client in clients]
    path = str(write(tmp_path, 2 * MIB + 1))
    rc, result = FileStreamer.stream_file(
        channel="models",
        topic="best",
        stream_ctx={},
        targets=["site-1", "site-2"],
        file_name=path,
        fl_ctx=server.new_context(),
    )
    assert (rc, result) == (ReturnCode.OK, True)
    assert [receiver.wait()["size"] for receiver in receivers] == [2 * MIB + 1] * 2  # it blocks until all have it
    assert len(chunks.calls) == 6  # of a mebibyte, at two receivers
    rc, result = FileStreamer.stream_file("models", "best", {}, ["nobody"], path, server.new_context())
    assert (rc, result) == (ReturnCode.ERROR, False)


def test_seed_000_9_new_transaction(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    assert inspect.ismethod(FileDownloader.new_transaction)
    assert parameters(FileDownloader.new_transaction) == {
        "cell": REQUIRED, "timeout": REQUIRED, "timeout_cb": REQUIRED, "**cb_kwargs": REQUIRED,
    }  # fmt: skip
    server, client, _ = (engine.get_cell() for engine in federation)
    timed_out = Calls()
    tx = FileDownloader.new_transaction(server, 60.0, timed_out, reason="test")
    paths = [str(write(tmp_path, 10, name)) for name in ("a.bin", "b.bin")]
    rids = [FileDownloader.add_file(tx, path) for path in paths]
    for rid in rids * 2:
        pass_time(server, 59)  # slow, but active: on any file
        assert download_file("server", rid, LONG, client, str(folder))[0] is None
    assert timed_out.calls == []
    pass_time(server, 61)
    assert timed_out.wait() == [((tx, paths), {"reason": "test"})]


def test_seed_000_10_add_file(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    assert parameters(FileDownloader.add_file) == {
        "transaction_id": REQUIRED, "file_name": REQUIRED, "file_downloaded_cb": None, "**cb_kwargs": REQUIRED,
    }  # fmt: skip
    server, client, _ = (engine.get_cell() for engine in federation)
    done = Calls()
    tx = FileDownloader.new_transaction(server, LONG, print)
    paths = [str(write(tmp_path, 10, name)) for name in ("a.bin", "b.bin")]
    rids = [FileDownloader.add_file(tx, path, done, number=n) for n, path in enumerate(paths)]
    assert len(set(rids)) == 2
    for rid in rids:
        assert download_file("server", rid, LONG, client, str(folder))[0] is None
    expected = [((rids[n], "site-1", "success", paths[n]), {"number": n}) for n in range(2)]
    assert sorted(done.wait(2), key=lambda call: call[1]["number"]) == expected


def test_seed_000_11_download_file(federation: list[CellEngine], tmp_path: Path, folder: Path) -> None:
    expected = {
        "from_fqcn": REQUIRED, "ref_id": REQUIRED, "per_request_timeout": REQUIRED, "cell": REQUIRED,
        "location": None, "secure": False, "optional": False, "abort_signal": None,
    }  # fmt: skip
    assert parameters(download_file) == parameters(FileDownloader.download_file) == expected
    server, client, _ = federation
    path = write(tmp_path, MIB + 1)
    _, rid = begin(server.get_cell(), path)
    for function in download_file, FileDownloader.download_file:
        error, got = function(
            from_fqcn="server", ref_id=rid, per_request_timeout=LONG, cell=client.get_cell(), location=str(folder)
        )
        assert (error, got) == (None, str(folder / rid))
        assert (folder / rid).read_bytes() == path.read_bytes()
    error, got = download_file("server", rid, LONG, client.get_cell())
    assert (error, got) == (None, str(Path(tempfile.gettempdir(), rid)))
    Path(str(got)).unlink()
    client.abort_signal.trigger()
    error, got = download_file(
        "server", rid, LONG, client.get_cell(), str(folder), abort_signal=client.new_context().get_run_abort_signal()
    )
    assert "aborted" in str(error)
    assert got is None


def test_seed_000_12_the_cell_comes_from_the_context(
    federation: list[CellEngine], tmp_path: Path, folder: Path
) -> None:
    """The owner's and the recipients' side as the seed tells it, with a broadcast of the reference id in between."""
    server, *clients = federation
    got = Calls()

    def on_rid(message: Message, engine: CellEngine) -> str:
        fl_ctx = engine.new_context()
        cell = fl_ctx.get_engine().get_cell()
        (folder / cell.fqcn).mkdir()
        got(download_file(message.origin, message.payload, 10.0, cell, str(folder / cell.fqcn)))
        return "done"

    for client in clients:
        client.get_cell().register_request_cb("files", "rid", on_rid, client)
    fl_ctx = server.new_context()
    engine = fl_ctx.get_engine()
    cell = engine.get_cell()
    path = write(tmp_path, 2 * MIB)
    _, rid = begin(cell, path)
    replies = cell.broadcast(["site-1", "site-2"], "files", "rid", rid, LONG).result(LONG)
    assert [reply.payload for reply in replies.values()] == ["done"] * 2
    assert sorted(call[0][0][1] for call in got.wait(2)) == [str(folder / f"site-{n}" / rid) for n in (1, 2)]
