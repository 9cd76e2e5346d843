"""Files that are retrieved between real cells: the check lines R01, R03, R04, R06 of the reference "flare"."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.retrievers import Asking, start
from tests.streaming.sites import CHUNK, Sites, write
from tests.system.federation import LONG, Gate, until
from zmqfl import Message
from zmqfl.cell.file_streams import FileProducer
from zmqfl.cell.streams import Chunk
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ArgumentError
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.file_retriever import FileRetriever

OK, BAD = ReturnCode.OK, ReturnCode.BAD_REQUEST_DATA
NO_FILE = "it is no file below the source_dir of this site"


class Pair:
    """A retriever at the server, which asks, and one at site-1, which gives."""

    def __init__(self, sites: Sites, folder: Path, **options: Any) -> None:
        self.engine, self.other = sites.star(1)
        self.source, self.dest = folder / "source", folder / "dest"
        self.source.mkdir()
        self.dest.mkdir()
        self.mine = start(self.engine, FileRetriever(folder / "missing", dest_dir=str(self.dest)))
        self.theirs = start(self.other, FileRetriever(self.source, **options))

    def ask(self, name: Any, timeout: float = LONG) -> Any:
        return ask(self.mine, self.engine, "site-1", name, timeout)

    def why(self, name: Any) -> Any:
        retrieved = self.mine.fetch("site-1", self.engine.new_context(), LONG, {"file_name": name})
        return retrieved.rc, retrieved.reason

    @property
    def arrived(self) -> list[Path]:
        return [path for path in self.dest.rglob("*") if path.is_file()]


def ask(retriever: FileRetriever, engine: CellEngine, site: str, name: Any, timeout: float = LONG) -> Any:
    with engine.new_context() as fl_ctx:
        return retriever.retrieve_file(site, fl_ctx, timeout, name)


@pytest.fixture
def files(sites: Sites, tmp_path: Path) -> Pair:
    return Pair(sites, tmp_path)


@pytest.mark.parametrize(("asks", "gives"), [("relay.site-1", "server"), ("server", "site-2"), ("site-2", "relay")])
def test_ret_R01_every_direction(sites: Sites, tmp_path: Path, asks: str, gives: str) -> None:
    engines = sites.tree()
    path = write(tmp_path, 10 * CHUNK)
    mine, _ = (start(engines[name], FileRetriever(tmp_path)) for name in (asks, gives))
    rc, found = ask(mine, engines[asks], gives, "model.pt")
    assert rc == OK
    assert Path(found).parent == Path(tempfile.gettempdir())
    assert Path(found).read_bytes() == path.read_bytes()
    Path(found).unlink()


def test_ret_R03_what_is_given(files: Pair, tmp_path: Path) -> None:
    path = write(files.source, 10 * CHUNK)
    (files.source / "sub").mkdir()
    write(files.source / "sub", 5)
    write(files.source, 0, "empty")
    (files.source / "link").symlink_to(path)
    (files.source / "folder").symlink_to(files.source / "sub")
    for name in "model.pt", "sub/model.pt", "link", "folder/model.pt", str(path), "empty", "./model.pt":
        rc, found = files.ask(name)
        assert (rc, Path(found).parent) == (OK, files.dest)
        assert Path(found).read_bytes() == (files.source / name).read_bytes()
    assert len(files.arrived) == 7


def test_ret_R03_what_is_refused(files: Pair, tmp_path: Path) -> None:
    secret = write(tmp_path, 10, "secret")
    (files.source / "sub").mkdir()
    write(files.source / "sub", 5)
    (files.source / "link").symlink_to(secret)
    (files.source / "folder").symlink_to(tmp_path)
    names = [
        "../secret", "/etc/hostname", str(secret), "link", "folder/secret", "sub", "", ".", "..", "missing", "a\0b",
        "sub/../../secret", f"{files.source}/../secret", "x" * 5000, "sub/model.pt/x", "/dev/null", 3, None,
    ]  # fmt: skip
    for name in names:
        assert files.ask(name) == (BAD, None)
    assert files.why("../secret") == (BAD, f"'../secret': {NO_FILE}")
    assert files.why("nothing") == (BAD, f"'nothing': {NO_FILE}")  # as if it were outside
    assert files.why("") == (BAD, "file_name must be the name of a file")
    assert files.arrived == []
    assert len(files.mine._retrievals) == 0


def test_ret_R03_no_source(files: Pair) -> None:
    assert ask(files.theirs, files.other, "server", "model.pt") == (BAD, None)
    retrieved = files.theirs.fetch("server", files.other.new_context(), LONG, {"file_name": "model.pt"})
    assert retrieved.reason == "'model.pt': the source_dir of this site is not there"


def test_ret_R03_a_file_that_becomes_a_link_before_it_is_opened(
    files: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, path = write(tmp_path, 10, "secret"), write(files.source, 10)
    do_stream = FileRetriever.do_stream

    def swap(retriever: FileRetriever, *args: Any) -> Any:
        path.unlink()
        path.symlink_to(secret)
        return do_stream(retriever, *args)

    monkeypatch.setattr(FileRetriever, "do_stream", swap)
    assert files.ask("model.pt") == (ReturnCode.EXECUTION_EXCEPTION, None)
    assert files.arrived == []


def test_ret_R04_each_chunk_is_progress(files: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which each chunk takes nearly all of the time-out."""
    now = [0.0]
    produce = FileProducer.produce

    def slow(producer: FileProducer) -> Chunk | None:
        now[0] += 0.9 * LONG
        return produce(producer)

    monkeypatch.setattr(FileProducer, "produce", slow)
    monkeypatch.setattr(files.mine._retrievals, "_clock", lambda: now[0])
    write(files.source, 3 << 20)
    rc, path = files.ask("model.pt")
    assert rc == OK
    assert Path(path).stat().st_size == 3 << 20


@pytest.mark.parametrize(("options", "sizes"), [({}, [1 << 20, 1]), ({"chunk_size": 1 << 19}, [1 << 19, 1 << 19, 1])])
def test_ret_R06_chunk_size(sites: Sites, tmp_path: Path, options: Any, sizes: list[int]) -> None:
    files = Pair(sites, tmp_path, **options)
    write(files.source, (1 << 20) + 1)
    taken: list[int] = []
    attributes = {"file_name": "model.pt"}
    retrieved = files.mine.fetch("site-1", files.engine.new_context(), LONG, attributes, taken.append)
    assert (retrieved.rc, taken) == (OK, sizes)


def test_ret_R06_chunk_timeout(sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requester stands still for longer than a chunk may take."""
    files = Pair(sites, tmp_path, chunk_timeout=1.0)
    write(files.source, 10)
    gate = Gate()

    def taken(size: int) -> None:
        gate(Message(payload=size))

    asking = Asking(
        lambda: files.mine.fetch("site-1", files.engine.new_context(), LONG, {"file_name": "model.pt"}, taken)
    )
    gate.wait_entered()
    until(lambda: files.theirs._service._wishes == {})  # it has given up, and told so
    gate.open()
    assert asking.end().rc in (ReturnCode.ERROR, ReturnCode.TIMEOUT)
    until(lambda: files.arrived == [])


def test_who_gives_up_keeps_nothing(files: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    produce = FileProducer.produce

    def held(producer: FileProducer) -> Chunk | None:
        chunk = produce(producer)
        if chunk is not None and "last" in chunk.headers:
            gate(Message(payload=0))
        return chunk

    monkeypatch.setattr(FileProducer, "produce", held)
    write(files.source, 3 << 20)
    assert files.ask("model.pt", 0.5) == (ReturnCode.TIMEOUT, None)
    gate.open()
    until(lambda: files.theirs._service._wishes == {})
    until(lambda: files.arrived == [])


def test_optional(sites: Sites, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks always says why; the site that streams does so unless told otherwise."""
    files = Pair(sites, tmp_path, stream_msg_optional=True)
    write(files.source, 10)
    files.dest.rmdir()
    assert files.ask("model.pt")[0] == ReturnCode.EXECUTION_EXCEPTION
    until(lambda: files.theirs._service._wishes == {})
    assert "nothing from site-1: EXECUTION_EXCEPTION" in caplog.text
    assert "stream FileRetriever:FileRetriever failed" not in caplog.text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"source_dir": ""}, "source_dir"), ({"source_dir": 3}, "source_dir"), ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": 1.5}, "chunk_size"), ({"chunk_timeout": 0}, "chunk_timeout"), ({"topic": ""}, "topic"),
    ],
)  # fmt: skip
def test_arguments(options: Any, error: str) -> None:
    with pytest.raises(ArgumentError, match=error):
        FileRetriever(**{"source_dir": "here", **options})


def test_a_dest_dir_that_is_none(sites: Sites, tmp_path: Path) -> None:
    [server] = sites.star(0)
    retriever = FileRetriever(tmp_path, dest_dir=str(tmp_path / "missing"))
    with pytest.raises(ArgumentError, match="dest_dir"):
        retriever.register(server.new_context())
