"""Files beside objects, pulled by `download_file`, with the same accounts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.downloads import RID, Log, Numbers, Taker, pass_time
from tests.streaming.pulls import Calls
from tests.streaming.sites import Sites, write
from tests.system.federation import LONG, Gate
from zmqfl import Cell, Message
from zmqfl.blobs.source import FileSource
from zmqfl.errors import ArgumentError
from zmqfl.streaming.downloadable import ProduceRC
from zmqfl.streaming.downloading import download_object
from zmqfl.streaming.file_downloader import download_file
from zmqfl.streaming.object_downloader import ObjectDownloader
from zmqfl.streaming.offered_file import OfferedFile, add_file
from zmqfl.streaming.transfer_outcome import TransferReason

MIB = 1 << 20


@pytest.fixture
def server(sites: Sites) -> Cell:
    return sites.federation.start("server")


@pytest.fixture
def site(sites: Sites, server: Cell) -> Cell:
    return sites.federation.start("site-1", server, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def begin(cell: Cell, *names: str, timeout: float = 1000.0, **options: Any) -> ObjectDownloader:
    return ObjectDownloader(cell, timeout, len(names), receiver_ids=names, **options)


def get(cell: Cell, rid: str, folder: Path) -> tuple[str | None, str | None]:
    return download_file("server", rid, LONG, cell, str(folder))


@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 1])
def test_a_file(server: Cell, site: Cell, tmp_path: Path, folder: Path, size: int) -> None:
    path, calls = write(tmp_path, size), Calls()
    downloader = begin(server, "site-1")
    assert add_file(downloader, str(path), 1000_000, RID, calls, a=1) == RID
    assert get(site, RID, folder) == (None, str(folder / RID))
    assert (folder / RID).read_bytes() == path.read_bytes()
    assert downloader.get_waiter().wait(LONG)
    assert calls.calls == [(("site-1", "success", str(path)), {"a": 1}), (("", "", str(path)), {"a": 1})]
    error, path_again = get(site, RID, folder)
    assert "no such reference" in str(error)
    assert path_again is None


def test_files_and_objects_end_together(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    log = Log()
    downloader = begin(server, "site-1")
    file, obj = add_file(downloader, str(write(tmp_path, 10))), downloader.add_object(Numbers(1, log))
    assert get(site, file, folder)[0] is None
    assert not downloader.get_waiter().done()
    download_object("server", obj, LONG, site, Taker())
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.statuses == {file: {"site-1": "success"}, obj: {"site-1": "success"}}


def test_who_gives_up_has_failed(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    path, calls = write(tmp_path, 10), Calls()
    downloader = begin(server, "site-1", "site-2")
    rid = add_file(downloader, str(path), None, None, calls)
    path.write_bytes(b"other")
    assert get(site, rid, folder)[0]
    downloader.delete_transaction()
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.failed == ("site-1", "site-2")


def test_who_pulls_slowly_is_active(
    server: Cell, site: Cell, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell knows when its receivers were active: it is asked before anybody is given up."""
    gate, read = Gate(), FileSource.read

    def held(source: FileSource, offset: int, length: int) -> bytes:
        if offset:
            gate(Message())
        return read(source, offset, length)

    monkeypatch.setattr(FileSource, "read", held)
    downloader = begin(server, "site-1", "site-2", timeout=1000.0, receiver_acquire_timeout=50.0)
    rid = add_file(downloader, str(write(tmp_path, 2 * MIB)))
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(get(site, rid, folder)))
    thread.start()
    gate.wait_entered()
    assert downloader.get_waiter().acquired_receivers() == ("site-1",)
    pass_time(server, 51)  # too late for site-2
    gate.open()
    thread.join(LONG)
    outcome = downloader.get_waiter().wait(LONG)
    assert result[0][0] is None
    assert outcome is not None
    assert (outcome.succeeded, outcome.failed) == (("site-1",), ("site-2",))


def test_inactivity_ends_it(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    calls, served = Calls(), Calls()
    downloader = begin(server, "site-1", "site-2", timeout=100.0, transaction_done_cb=calls)
    path = write(tmp_path, 10)
    rid = add_file(downloader, str(path), None, None, served)
    assert get(site, rid, folder)[0] is None
    served.wait()  # the owner has heard of it
    pass_time(server, 101)
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert (outcome.reason, outcome.succeeded) == (TransferReason.TIMEOUT, ("site-1",))
    assert calls.calls == [((downloader.tx_id, "timeout", [str(path)]), {})]
    assert "no such reference" in str(get(site, rid, folder)[0])


def test_a_file_is_not_downloaded_as_an_object(server: Cell, site: Cell, tmp_path: Path) -> None:
    downloader = begin(server, "site-1")
    rid = add_file(downloader, str(write(tmp_path, 10)))
    taker = Taker()
    download_object("server", rid, LONG, site, taker)
    assert taker.ends == [f"invalid_request: {rid} is a file; fetch it by `download_file`"]
    assert not downloader.get_waiter().done()
    assert OfferedFile("x", None).produce({}, "site-1") == (ProduceRC.ERROR, None, {})


def test_files_that_cannot_be_offered(server: Cell, tmp_path: Path) -> None:
    downloader, path = begin(server, "site-1"), str(write(tmp_path, 10))
    add_file(downloader, path, None, RID)
    for arguments in (
        (3, path), (downloader, str(tmp_path / "missing")), (downloader, path, 0), (downloader, path, 1.5),
        (downloader, path, None, "short"), (downloader, path, None, RID), (downloader, path, None, None, 3),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"downloader|file_name|chunk_size|ref_id|file_downloaded_cb"):
            add_file(*arguments)
    downloader.delete_transaction()
    with pytest.raises(ArgumentError, match="has ended"):
        add_file(downloader, path)
