"""Files that are pulled, between real cells: the check lines D01 to D11 of the reference "flare"."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.pulls import Calls, pass_time
from tests.streaming.sites import write
from tests.system.federation import LONG, Federation, Gate
from zmqfl import Cell, Message
from zmqfl.blobs.source import FileSource
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, ClosedError, SourceError, WouldDeadlockError
from zmqfl.streaming import file_downloader
from zmqfl.streaming.file_downloader import FileDownloader, download_file

MIB = 1 << 20


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    FileDownloader.shutdown()
    federation.close()


@pytest.fixture
def server(federation: Federation) -> Cell:
    return federation.start("server")


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def offer(cell: Cell, *paths: Path, timeout: float = 1000.0, served: Any = None) -> tuple[str, list[str], Calls]:
    expired = Calls()
    tx = FileDownloader.new_transaction(cell, timeout, expired, a=1)
    return tx, [FileDownloader.add_file(tx, str(path), served, b=2) for path in paths], expired


def get(cell: Cell, rid: str, folder: Path, owner: str = "server", **options: Any) -> tuple[str | None, str | None]:
    return download_file(owner, rid, LONG, cell, str(folder), **options)


# -- good ends ---------------------------------------------------------------------------------------------------------


def test_pull_D01_signatures() -> None:
    def names(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert names(FileDownloader.new_transaction) == ["cell", "timeout", "timeout_cb", "cb_kwargs"]
    assert names(FileDownloader.add_file) == ["transaction_id", "file_name", "file_downloaded_cb", "cb_kwargs"]
    assert names(download_file) == names(FileDownloader.download_file) == [
        "from_fqcn", "ref_id", "per_request_timeout", "cell", "location", "secure", "optional", "abort_signal",
    ]  # fmt: skip
    defaults = [parameter.default for parameter in inspect.signature(download_file).parameters.values()]
    assert defaults[4:] == [None, False, False, None]


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_pull_D01_a_file(server: Cell, site: Cell, tmp_path: Path, folder: Path, size: int) -> None:
    served = Calls()
    path = write(tmp_path, size)
    _, [rid], expired = offer(server, path, served=served)
    assert get(site, rid, folder) == (None, str(folder / rid))
    assert (folder / rid).read_bytes() == path.read_bytes()
    assert served.wait() == [((rid, "site-1", "success", str(path)), {"b": 2})]
    assert expired.calls == []
    assert [each.name for each in folder.iterdir()] == [rid]


def test_pull_D01_two_files_and_the_order_of_arguments(server: Cell, tmp_path: Path) -> None:
    paths = [write(tmp_path, 10, "a"), write(tmp_path, 20, "b")]
    tx, rids, expired = offer(server, *paths, timeout=10)
    assert (tx[0], rids[0][0], len({tx, *rids})) == ("T", "R", 3)
    pass_time(server, 11)
    assert expired.wait() == [((tx, [str(path) for path in paths]), {"a": 1})]


@pytest.mark.parametrize(
    ("owner", "receiver"),
    [("server", "site-2"), ("site-2", "server"), ("site-2", "relay.site-1"), ("relay.site-1", "server")],
)
def test_every_direction(federation: Federation, tmp_path: Path, folder: Path, owner: str, receiver: str) -> None:
    cells = {cell.fqcn: cell for cell in federation.tree()}
    path = write(tmp_path, 2 * MIB + 1)
    _, [rid], _ = offer(cells[owner], path)
    error, got = get(cells[receiver], rid, folder, owner)
    assert error is None
    assert got is not None
    assert Path(got).read_bytes() == path.read_bytes()


def test_the_folder_for_temporary_files(server: Cell, site: Cell, tmp_path: Path) -> None:
    _, [rid], _ = offer(server, write(tmp_path, 10))
    error, path = download_file("server", rid, 5, site)
    assert (error, path) == (None, f"{tempfile.gettempdir()}/{rid}")
    Path(str(path)).unlink()


def test_pull_D03_who_is_active_does_not_expire(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    tx, rids, expired = offer(server, write(tmp_path, 10, "a"), write(tmp_path, 2 * MIB, "b"), timeout=10)
    for rid in rids * 3:  # any file of it will do
        pass_time(server, 9)
        assert get(site, rid, folder)[0] is None
    assert expired.calls == []
    pass_time(server, 11)
    assert expired.wait()[0][0][0] == tx


def test_pull_D03_each_at_its_own_pace(federation: Federation, server: Cell, tmp_path: Path, folder: Path) -> None:
    sites = [federation.start(f"site-{number}", server, None) for number in range(1, 4)]
    served = Calls()
    path = write(tmp_path, 3 * MIB)
    _, [rid], _ = offer(server, path, served=served)
    for cell in sites:
        (folder / cell.fqcn).mkdir()
        assert get(cell, rid, folder / cell.fqcn)[0] is None  # one after the other
        assert (folder / cell.fqcn / rid).read_bytes() == path.read_bytes()
    assert sorted(call[0][1] for call in served.wait(3)) == ["site-1", "site-2", "site-3"]


def test_pull_D04_inactivity_ends_it_once(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    tx, [rid], expired = offer(server, write(tmp_path, 10), timeout=10)
    pass_time(server, 11)
    expired.wait()
    pass_time(server, 11)
    error, path = get(site, rid, folder)
    assert "no such reference" in str(error)
    assert path is None
    with pytest.raises(ValueError, match="it has ended"):
        FileDownloader.add_file(tx, str(tmp_path / "model.pt"))
    assert len(expired.calls) == 1


def test_a_transaction_may_be_begun_by_a_coroutine(server: Cell, tmp_path: Path) -> None:
    heard: list[Any] = []

    async def main() -> None:
        ended = asyncio.Event()

        async def expired(tx_id: str, file_names: list[str]) -> None:
            heard.append(file_names)
            ended.set()

        FileDownloader.new_transaction(server, 10, expired)
        await asyncio.to_thread(pass_time, server, 11)
        await asyncio.wait_for(ended.wait(), LONG)

    asyncio.run(main())
    assert heard == [[]]


def test_pull_D05_a_second_download_is_whole(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    path = write(tmp_path, MIB + 5)
    served = Calls()
    _, [rid], _ = offer(server, path, served=served)
    for _ in range(2):
        assert get(site, rid, folder)[0] is None
        assert (folder / rid).read_bytes() == path.read_bytes()
    served.wait(2)
    assert [each.name for each in folder.iterdir()] == [rid]


# -- bad ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["truncate", "replace", "delete"])
def test_pull_D06_the_source_changes(server: Cell, site: Cell, tmp_path: Path, folder: Path, change: str) -> None:
    path = write(tmp_path, 3 * MIB)
    _, [rid], _ = offer(server, path)
    if change == "truncate":
        path.write_bytes(b"short")
    elif change == "replace":
        path.with_name("new").write_bytes(path.read_bytes())
        path.with_name("new").rename(path)
    else:
        path.unlink()
    error, got = get(site, rid, folder)
    assert error
    assert (got, list(folder.iterdir())) == (None, [])


class Held:
    """Reads of sources that stand still from the third one on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = Gate()
        self.reads = 0
        read = FileSource.read

        def held(source: FileSource, offset: int, length: int) -> bytes:
            self.reads += 1
            if self.reads > 2:
                self.gate(Message())
            return read(source, offset, length)

        monkeypatch.setattr(FileSource, "read", held)


def test_pull_D09_the_signal_stops_it(
    server: Cell, site: Cell, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, signal, served = Held(monkeypatch), Signal(), Calls()
    _, [rid], _ = offer(server, write(tmp_path, 20 * MIB), served=served)
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(get(site, rid, folder, abort_signal=signal)))
    thread.start()
    held.gate.wait_entered()
    signal.trigger("enough")
    thread.join(LONG)
    assert result[0][0].startswith("the download was aborted")
    assert (result[0][1], list(folder.iterdir()), signal._waiting) == (None, [], {})
    held.gate.open()
    assert served.wait()[0][0][2] == "failed"


def test_pull_D09_a_signal_that_is_set(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    signal = Signal()
    signal.trigger()
    _, [rid], _ = offer(server, write(tmp_path, 10))
    error, path = get(site, rid, folder, abort_signal=signal)
    assert "aborted" in str(error)
    assert path is None


@pytest.mark.parametrize(
    ("owner", "rid", "text"),
    [
        ("server", "R" + 32 * "0", "no such reference"),
        ("nobody", "R" + 32 * "0", "no route to nobody"),
        ("bad..name", "R1", "is not a cell name"),
        ("server", "../R1", ""),
    ],
)
def test_pull_D10_what_is_unknown_is_an_error_at_once(
    site: Cell, folder: Path, owner: str, rid: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    error, path = get(site, rid, folder, owner)
    assert error
    assert text in error
    assert (path, list(folder.iterdir())) == (None, [])
    assert f"site-1: download of {rid} from {owner} failed" in caplog.text


def test_a_name_that_leads_elsewhere_is_refused(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    """An owner that gives out such ids, which ours does not."""
    _, [rid], _ = offer(server, write(tmp_path, 10))
    server.statistics()  # the reactor knows of it by now
    source = server._node.transfers.source
    source._references["../../x"] = source._references[rid]
    error, path = get(site, "../../x", folder)
    assert "no safe file name" in str(error)
    assert path is None


def test_pull_D11_a_transaction_that_was_deleted(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    tx, [rid], expired = offer(server, write(tmp_path, 10))
    other, [kept], _ = offer(server, write(tmp_path, 10))
    FileDownloader.delete_transaction(tx)
    error, path = get(site, rid, folder)
    assert "no such reference" in str(error)
    assert path is None
    assert get(site, kept, folder)[0] is None
    for call in FileDownloader.delete_transaction, FileDownloader.add_file:
        with pytest.raises(ValueError, match="it has ended"):
            call(tx, "x") if call == FileDownloader.add_file else call(tx)  # type: ignore[call-arg]
    FileDownloader.shutdown()
    FileDownloader.shutdown()
    with pytest.raises(ValueError, match="it has ended"):
        FileDownloader.add_file(other, str(tmp_path / "model.pt"))
    assert get(site, kept, folder)[0]
    assert expired.calls == []


def test_pull_D11_deleted_in_mid_download(
    server: Cell, site: Cell, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    tx, [rid], _ = offer(server, write(tmp_path, 20 * MIB))
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(get(site, rid, folder)))
    thread.start()
    held.gate.wait_entered()
    FileDownloader.delete_transaction(tx)
    server.statistics()
    held.gate.open()
    thread.join(LONG)
    assert result[0][0]
    assert (result[0][1], list(folder.iterdir())) == (None, [])


def test_a_transaction_goes_with_its_cell(federation: Federation, server: Cell, site: Cell, tmp_path: Path) -> None:
    tx, _, expired = offer(site, write(tmp_path, 10))
    site.close(drain=0)
    gc.collect()
    assert tx not in FileDownloader._transactions
    with pytest.raises(ValueError, match="it has ended"):
        FileDownloader.add_file(tx, str(tmp_path / "model.pt"))
    assert expired.calls == []
    with pytest.raises(ClosedError):
        offer(site)
    assert server.fqcn


def test_the_receivers_cell_is_closed(
    server: Cell, site: Cell, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    _, [rid], _ = offer(server, write(tmp_path, 20 * MIB))
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(get(site, rid, folder)))
    thread.start()
    held.gate.wait_entered()
    site.close(drain=0)
    thread.join(LONG)
    held.gate.open()
    assert result[0][0]
    assert (result[0][1], list(folder.iterdir())) == (None, [])
    assert "is closed" in str(get(site, rid, folder)[0])


def test_secure_downloads_are_not_made_in_clear(
    server: Cell, site: Cell, tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, [rid], _ = offer(server, write(tmp_path, 10))
    error, path = get(site, rid, folder, secure=True)
    assert "secure=True needs a card, and site-1 has none" in str(error)
    assert (path, "secure=True" in caplog.text) == (None, True)


def test_optional_downloads_do_not_warn(site: Cell, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "zmqfl.streaming"):
        assert get(site, "R1", folder, optional=True)[0]
    assert caplog.text == ""


def test_it_cannot_wait_inside_a_loop(server: Cell, site: Cell, tmp_path: Path, folder: Path) -> None:
    _, [rid], _ = offer(server, write(tmp_path, 10))

    async def main() -> None:
        with pytest.raises(WouldDeadlockError):
            get(site, rid, folder)

    asyncio.run(main())


@pytest.mark.parametrize(
    "change",
    [
        {"cell": 3}, {"ref_id": ""}, {"ref_id": 3}, {"per_request_timeout": 0}, {"per_request_timeout": "5"},
        {"location": "/no/such/folder"}, {"location": 3},
    ],
)  # fmt: skip
def test_arguments_of_a_download_that_cannot_be(site: Cell, change: dict[str, Any]) -> None:
    arguments = {"from_fqcn": "server", "ref_id": "R1", "per_request_timeout": 5.0, "cell": site, **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        download_file(**arguments)


def test_a_location_that_is_a_file(site: Cell, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="location"):
        get(site, "R1", write(tmp_path, 1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"timeout_cb": None}, "timeout_cb is None"),
        ({"timeout_cb": 3}, "timeout_cb must be callable"),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": None}, "timeout must be"),
        ({"cell": None}, "cell must be"),
    ],
)
def test_arguments_of_a_transaction_that_cannot_be(server: Cell, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        FileDownloader.new_transaction(**{"cell": server, "timeout": 5, "timeout_cb": print, **change})


def test_files_that_cannot_be_offered(server: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tx, _, _ = offer(server)
    for path in str(tmp_path / "missing"), str(tmp_path), 3:
        with pytest.raises(ValueError, match="file_name"):
            FileDownloader.add_file(tx, path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="file_downloaded_cb"):
        FileDownloader.add_file(tx, str(write(tmp_path, 1)), 3)
    with pytest.raises(ValueError, match="it has ended"):
        FileDownloader.add_file("T0", str(tmp_path / "model.pt"))

    def refuse(path: Path) -> FileSource:
        raise SourceError("may not be read", file=str(path))

    monkeypatch.setattr(file_downloader, "FileSource", refuse)
    with pytest.raises(SourceError):
        FileDownloader.add_file(tx, str(tmp_path / "model.pt"))
