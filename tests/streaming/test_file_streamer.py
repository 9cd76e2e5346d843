"""Files that are pushed, between real cells: the check lines P01 to P18 of the reference "flare"."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.sites import CHUNK, SIZES, Ends, Sites, receive_files, send_file, write
from tests.system.federation import LONG, ROOT, Gate, until
from zmqfl import Message
from zmqfl.cell.file_streams import FileProducer
from zmqfl.cell.streams import Chunk
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ClosedError, SourceError
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import StreamContext
from zmqfl.streaming.file_streamer import FileStreamer

OK, ERROR, ABORTED = ReturnCode.OK, ReturnCode.ERROR, ReturnCode.TASK_ABORTED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def content(stream_ctx: StreamContext) -> bytes:
    return Path(FileStreamer.get_file_location(stream_ctx)).read_bytes()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# -- good ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_push_P01_sizes(sites: Sites, tmp_path: Path, folder: Path, size: int) -> None:
    server, site = sites.star(1)
    ends = receive_files([server], folder)["server"]
    path = write(tmp_path, size)
    assert send_file(site, path, ["server"]) == (OK, True)
    [context] = ends.wait()
    assert content(context) == path.read_bytes()
    assert FileStreamer.get_file_size(context) == size
    assert FileStreamer.get_file_name(context) == "model.pt"
    assert (FileStreamer.get_rc(context), FileStreamer.get_channel(context)) == (OK, "files")
    assert FileStreamer.get_topic(context) == "model"
    assert files(folder) == [Path(FileStreamer.get_file_location(context))]


def test_push_P01_chunks_of_a_mebibyte(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, site = sites.star(1)
    chunks: list[bool] = []
    ends = receive_files([server], folder, chunk_consumed_cb=lambda reply, stream_ctx, fl_ctx: chunks.append(reply[0]))
    path = write(tmp_path, (5 << 19) + 1)
    assert send_file(site, path, ["server"], chunk_size=None, chunk_timeout=None) == (OK, True)
    assert chunks == [True, True, False]
    assert content(ends["server"].wait()[0]) == path.read_bytes()


def test_push_P02_the_owners_context_arrives_and_is_not_changed(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, site = sites.star(1)
    ends = receive_files([server], folder)["server"]
    stream_ctx = {"round": 3, "tags": ("a", "b"), "__file_size__": 99}
    assert send_file(site, write(tmp_path, 10), "server", stream_ctx=stream_ctx) == (OK, True)
    [context] = ends.wait()
    assert (context["round"], context["tags"], FileStreamer.get_file_size(context)) == (3, ("a", "b"), 10)
    assert stream_ctx == {"round": 3, "tags": ("a", "b"), "__file_size__": 99}
    assert send_file(site, write(tmp_path, 10), "server", stream_ctx=None) == (OK, True)


def test_push_P04_an_int_is_a_time_out(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, site = sites.star(1)
    receive_files([server], folder)
    assert send_file(site, write(tmp_path, 10), ["server"], chunk_timeout=5) == (OK, True)


def test_push_P06_three_receivers(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, *engines = sites.star(3)
    ends = receive_files(engines, folder)
    path = write(tmp_path, 5 * CHUNK + 1)
    assert send_file(server, path, list(ends)) == (OK, True)
    for each in ends.values():
        [context] = each.wait()
        assert content(context) == path.read_bytes()
        assert each.peers == ["server"]
    # What each said at its end is in the report of the cell's own verb.
    cell = server.get_cell()
    ends["site-2"].answer = {"loss": 0.5}
    report = cell.push_file(path, list(ends), "model", channel="files").result(LONG)
    assert {name: target.reply for name, target in report.targets.items()} == {
        "site-1": None, "site-2": {"loss": 0.5}, "site-3": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "target"),
    [("server", "site-2"), ("site-2", "server"), ("site-2", "relay.site-1"), ("relay.site-1", "server")],
)
def test_every_direction(sites: Sites, tmp_path: Path, folder: Path, owner: str, target: str) -> None:
    engines = sites.tree()
    ends = receive_files([engines[target]], folder)[target]
    path = write(tmp_path, 3 * CHUNK)
    assert send_file(engines[owner], path, [target]) == (OK, True)
    assert content(ends.wait()[0]) == path.read_bytes()
    assert ends.peers == [owner]


def test_push_P09_the_fast_one_waits_for_the_slow_one(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, fast, slow = sites.star(2)
    changed = threading.Condition()
    counts = {"site-1": 0, "site-2": 0}
    ahead: list[int] = []

    def taken(reply: Any, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        name = fl_ctx.get_identity_name()
        with changed:
            if name == "site-2":  # it is slow: it takes a chunk only after the other one has
                assert changed.wait_for(lambda: counts["site-1"] > counts["site-2"], LONG)
            counts[name] += 1
            ahead.append(counts["site-1"] - counts["site-2"])
            changed.notify_all()

    receive_files([fast, slow], folder, chunk_consumed_cb=taken)
    assert send_file(server, write(tmp_path, 10 * CHUNK), ["site-1", "site-2"]) == (OK, True)
    assert ahead == [1, 0] * 10


def test_push_P15_who_registers_in_time_receives(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, site = sites.star(1)
    asked = threading.Event()
    server.get_cell().add_incoming_request_filter("files", "model", lambda message: asked.set())
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(send_file(site, write(tmp_path, 10), ["server"])))
    thread.start()
    assert asked.wait(LONG)
    ends = receive_files([server], folder)["server"]
    ends.wait()
    thread.join(LONG)
    assert result == [(OK, True)]


def test_push_P15_nobody_registers(sites: Sites, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    assert send_file(site, write(tmp_path, 10), ["server"], chunk_timeout=0.1) == (ERROR, False)
    assert "no stream processing is registered for files:model at server" in caplog.text
    assert server.get_cell() is not None


def test_push_P17_twenty_files_at_once(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, site = sites.star(1)
    ends = receive_files([server], folder)["server"]
    paths = [write(tmp_path, 3 * CHUNK + n, f"{n}.bin") for n in range(20)]
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda path=path: results.append(send_file(site, path, ["server"]))) for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert results == [(OK, True)] * 20
    got = {FileStreamer.get_file_name(context): content(context) for context in ends.wait(20)}
    assert got == {path.name: path.read_bytes() for path in paths}


# -- bad ends ----------------------------------------------------------------------------------------------------------


def test_push_P03_a_file_that_is_missing(sites: Sites, tmp_path: Path) -> None:
    server, site = sites.star(1)
    for path in tmp_path / "missing", tmp_path:
        with pytest.raises(ValueError, match="is not a file"):
            send_file(site, path, ["server"])
    with pytest.raises(TypeError, match="file_name"):
        FileStreamer.stream_file("c", "t", {}, ["server"], 3, site.new_context())  # type: ignore[arg-type]
    assert server.get_cell().statistics().counters.get("streams", 0) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunk_size": 1.5}, TypeError),
        ({"chunk_size": 0.0}, TypeError),
        ({"chunk_size": "1"}, TypeError),
        ({"chunk_size": True}, TypeError),
        ({"chunk_size": -1}, ValueError),
        ({"chunk_timeout": -1}, ValueError),
        ({"chunk_timeout": "5"}, TypeError),
        ({"stream_ctx": [1]}, TypeError),
    ],
)
def test_push_P04_arguments(sites: Sites, tmp_path: Path, options: Any, error: type[Exception]) -> None:
    [server] = sites.star(0)
    with pytest.raises(error, match=next(iter(options))):
        send_file(server, write(tmp_path, 10), ["server"], **options)


def test_push_P05_folders(sites: Sites, tmp_path: Path) -> None:
    [server] = sites.star(0)
    fl_ctx = server.new_context()
    for wrong in tmp_path / "missing", write(tmp_path, 3):
        with pytest.raises(ValueError, match="dest_dir"):
            FileStreamer.register_stream_processing(fl_ctx, "files", "model", str(wrong))
    with pytest.raises(TypeError, match="dest_dir"):
        FileStreamer.register_stream_processing(fl_ctx, "files", "model", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stream_done_cb"):
        FileStreamer.register_stream_processing(fl_ctx, "files", "model", stream_done_cb=3)
    ends = Ends()
    FileStreamer.register_stream_processing(fl_ctx, "files", "model", stream_done_cb=ends)
    assert send_file(server, write(tmp_path, 10), ["server"]) == (OK, True)
    location = Path(FileStreamer.get_file_location(ends.wait()[0]))
    assert location.parent == Path(tempfile.gettempdir())
    location.unlink()


@pytest.mark.parametrize("engine", [None, object()])
def test_an_engine_that_does_not_stream(tmp_path: Path, engine: Any) -> None:
    fl_ctx = FLContextManager(engine).new_context()
    with pytest.raises(RuntimeError, match="engine"):
        FileStreamer.register_stream_processing(fl_ctx, "c", "t")
    with pytest.raises(RuntimeError, match="engine"):
        FileStreamer.stream_file("c", "t", {}, ["x"], str(write(tmp_path, 1)), fl_ctx)
    with pytest.raises(TypeError, match="fl_ctx"):
        FileStreamer.register_stream_processing(None, "c", "t")  # type: ignore[arg-type]


def test_push_P07_one_of_three_fails(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, *engines = sites.star(3)
    chunks: list[int] = []

    def taken(reply: Any, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        if fl_ctx.get_identity_name() == "site-2":
            chunks.append(1)
            if len(chunks) == 2:
                raise KeyError("full")

    ends = receive_files(engines, folder, chunk_consumed_cb=taken)
    assert send_file(server, write(tmp_path, 5 * CHUNK), list(ends)) == (ERROR, False)
    for each in ends.values():
        [context] = each.wait()
        assert FileStreamer.get_file_location(context) is None
    assert {name: each.codes for name, each in ends.items()} == {
        "site-1": [ABORTED], "site-2": [ReturnCode.EXECUTION_EXCEPTION], "site-3": [ABORTED],
    }  # fmt: skip
    assert files(folder) == []


def test_push_P08_a_receiver_that_stands_still(
    sites: Sites, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, one, two = sites.star(2)
    gate = Gate()

    def taken(reply: Any, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        if fl_ctx.get_identity_name() == "site-2":
            gate(Message(payload=0))

    ends = receive_files([one, two], folder, chunk_consumed_cb=taken)
    assert send_file(server, write(tmp_path, 5 * CHUNK), list(ends), chunk_timeout=0.3) == (ERROR, False)
    assert "failed: site-2: " in caplog.text
    ends["site-1"].wait()
    assert ends["site-1"].codes == [ABORTED]
    gate.open()
    ends["site-2"].wait()
    assert ends["site-2"].codes == [ReturnCode.TIMEOUT]
    assert files(folder) == []


def test_push_P10_the_run_is_aborted(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, *engines = sites.star(2)
    ends = receive_files(
        engines, folder, chunk_consumed_cb=lambda reply, stream_ctx, fl_ctx: server.abort_signal.trigger()
    )
    assert send_file(server, write(tmp_path, 50 * CHUNK), list(ends)) == (ABORTED, False)
    for each in ends.values():
        each.wait()
        assert each.codes == [ABORTED]
    assert files(folder) == []


def test_push_P11_the_owner_is_killed(sites: Sites, tmp_path: Path, folder: Path) -> None:
    [server] = sites.star(0)
    ends = receive_files([server], folder)["server"]
    arguments = [server.get_cell().url, str(write(tmp_path, 9 * CHUNK)), str(CHUNK)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.streaming.dying_owner", *arguments], cwd=ROOT, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"here\n"
        owner.kill()
        [context] = ends.wait()
    assert FileStreamer.get_rc(context) == ReturnCode.COMMUNICATION_ERROR
    assert FileStreamer.get_file_location(context) is None
    assert files(folder) == []


@pytest.mark.parametrize("targets", [[], ["nobody"], ["bad..name"]])
def test_push_P14_targets_that_are_none(sites: Sites, tmp_path: Path, targets: list[str]) -> None:
    _, site = sites.star(1)
    assert send_file(site, write(tmp_path, 10), targets) == (ERROR, False)


def test_none_is_the_server_and_at_the_server_all_clients(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, *clients = sites.star(2)
    ends = receive_files([server, *clients], folder)
    path = write(tmp_path, 10)
    assert send_file(clients[0], path, None) == (OK, True)
    assert send_file(server, path, None) == (OK, True)
    for each in ends.values():
        each.wait()


def test_the_file_changes_while_it_is_sent(
    sites: Sites, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, site = sites.star(1)
    path = write(tmp_path, 50 * CHUNK)

    def taken(reply: Any, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        path.write_bytes(b"short")

    ends = receive_files([server], folder, chunk_consumed_cb=taken)["server"]
    assert send_file(site, path, ["server"]) == (ERROR, False)
    ends.wait()
    assert ends.codes == [ABORTED]
    assert "site-1: model.pt: has " in caplog.text or "site-1: model.pt: was modified" in caplog.text
    assert files(folder) == []


def test_a_file_that_cannot_be_read(sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [server] = sites.star(0)
    path = write(tmp_path, 10)

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "no")

    monkeypatch.setattr("zmqfl.blobs.source._open_regular", refuse)
    with pytest.raises(SourceError):
        send_file(server, path, ["server"])


def test_what_raises_closes_the_file(sites: Sites, tmp_path: Path) -> None:
    [server] = sites.star(0)
    for wrong in 3, [3]:
        with pytest.raises(TypeError):
            send_file(server, write(tmp_path, 10), wrong)
    server.get_cell().close()
    with pytest.raises(ClosedError):
        send_file(server, write(tmp_path, 10), ["server"])


def test_secure_and_optional(sites: Sites, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    ends = receive_files([server], folder)["server"]
    with caplog.at_level(logging.INFO, "zmqfl.streaming"):
        assert send_file(site, write(tmp_path, 10), [], optional=True) == (ERROR, False)
        assert caplog.text == ""
        assert send_file(site, write(tmp_path, 10), ["server"], secure=True) == (ERROR, False)
        assert "secure=True needs a card, and site-1 has none" in caplog.text
    assert ends.codes == []


def test_nothing_of_the_file_is_held_in_memory(
    sites: Sites, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 000: small messages, each a chunk; at most some of them are made before they are asked for."""
    server, site = sites.star(1)
    gate, made = Gate(), []
    produce = FileProducer.produce

    def count(producer: FileProducer) -> Chunk | None:
        made.append(1)
        return produce(producer)

    monkeypatch.setattr(FileProducer, "produce", count)
    receive_files([server], folder, chunk_consumed_cb=lambda reply, stream_ctx, fl_ctx: gate(Message(payload=0)))
    result: list[Any] = []
    path = write(tmp_path, 50 * CHUNK)
    thread = threading.Thread(target=lambda: result.append(send_file(site, path, ["server"])))
    thread.start()
    gate.wait_entered()
    until(lambda: len(made) == 3)  # one on its way, two read ahead
    gate.open()
    thread.join(LONG)
    assert result == [(OK, True)]
    assert len(made) in (50, 51)  # the last time there is no more to make


def test_two_engines_share_no_registration(sites: Sites, tmp_path: Path, folder: Path) -> None:
    server, site = sites.star(1)
    receive_files([server], folder)
    other = CellEngine(site.get_cell(), "other-name")
    assert send_file(other, write(tmp_path, 10), ["server"]) == (OK, True)
    other.shutdown_streamer()
    with pytest.raises(RuntimeError, match="shut down"):
        send_file(other, write(tmp_path, 10), ["server"])
    assert send_file(site, write(tmp_path, 10), ["server"]) == (OK, True)
