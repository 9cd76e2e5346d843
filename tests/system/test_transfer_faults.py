"""Files that change while they are moved, folders that fail, names that climb, damage on the way, and one who stops."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.system.damage import DamagingCable
from tests.system.federation import LONG, QUICK, Federation, Gate, counter, state_of, until
from tests.system.transfer_ends import (
    CHUNK,
    CHUNKS,
    TIMEOUT,
    Asker,
    Ends,
    TransferProcess,
    answering,
    at_read,
    check_failed,
    files_below,
    make_file,
    offer,
)
from zmqfl import Cell
from zmqfl.blobs.descriptor import read_fully
from zmqfl.blobs.sink import FileSink
from zmqfl.blobs.source import BufferSource
from zmqfl.cell.file_streams import NAME_KEY, SIZE_KEY, FileProducer
from zmqfl.cell.pulling import PullHandle
from zmqfl.cell.streams import Consumer, Incoming
from zmqfl.errors import CellReturnCode, RequestFailed, SinkError, SourceChangedError, SourceError, TransferError

FAULT = {CellReturnCode.PROCESS_EXCEPTION}
MIDDLE = CHUNKS // 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to move. Its time is far from now, as the clock of a file system may stand still for some ms."""
    path = tmp_path / "model.bin"
    make_file(path)
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def server(federation: Federation) -> Cell:
    return federation.start("server")


@pytest.fixture
def sites(federation: Federation, server: Cell) -> list[Cell]:
    return [federation.start(f"site-{n}", server, None) for n in (1, 2)]


@pytest.fixture
def ends(tmp_path: Path, sites: list[Cell]) -> list[Ends]:
    return [Ends(tmp_path / site.fqcn).consume(site) for site in sites]


NAMES = ["site-1", "site-2"]


# -------------------------------------------------------------------------------------------------- the source changes


def truncate(path: Path) -> None:
    os.truncate(path, CHUNK)


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    make_file(other, seed=2)
    other.replace(path)


def modify(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(MIDDLE * CHUNK)
        file.write(b"something else")


def break_disk(path: Path) -> None:
    breaks.set()


@pytest.fixture
def _breaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have files be unreadable once `breaks` is set."""

    def read(fd: int, offset: int, length: int) -> bytes:
        if breaks.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_fully(fd, offset, length)

    monkeypatch.setattr("zmqfl.blobs.source.read_fully", read)
    yield
    breaks.clear()


breaks = threading.Event()
CHANGES: dict[str, tuple[Callable[[Path], None], type[SourceError]]] = {
    "truncated": (truncate, SourceChangedError),
    "replaced": (replace_by_another, SourceChangedError),
    "modified": (modify, SourceChangedError),
    "deleted": (Path.unlink, SourceError),
    "unreadable": (break_disk, SourceError),
}


@pytest.mark.usefixtures("_breaks")
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_changes_in_a_push(server: Cell, ends: list[Ends], path: Path, change: str) -> None:
    act, kind = CHANGES[change]
    with at_read(MIDDLE, lambda: act(path)) as happened:
        push = server.push_file(path, NAMES, chunk_size=CHUNK, timeout=LONG)
        error = check_failed(push, "server", FAULT)
    assert happened.is_set()
    assert isinstance(error.__cause__, kind)
    assert "model.bin" in error.reason
    for end in ends:
        assert "model.bin" in end.wait().reason
        end.check_nothing("", FAULT)
        assert MIDDLE - 3 <= len(end.taken) <= MIDDLE


@pytest.mark.usefixtures("_breaks")
@pytest.mark.parametrize("change", CHANGES)
def test_pull_D06_a_source_changes_in_a_pull(
    server: Cell, sites: list[Cell], tmp_path: Path, path: Path, change: str
) -> None:
    act, kind = CHANGES[change]
    served: list[tuple[str, ...]] = []
    offered = offer(
        server, path, chunk_size=CHUNK, on_served=lambda _, site, status, name: served.append((site, status))
    )
    folders = [tmp_path / site.fqcn for site in sites]
    for folder in folders:
        folder.mkdir()
    pulls: list[PullHandle] = []

    def act_when_both_have_begun() -> None:
        until(lambda: len(pulls) == 2 and all(pull.progress.total for pull in pulls))
        act(path)

    with at_read(MIDDLE, act_when_both_have_begun) as happened:
        pulls += [site.pull(offered.rid, "server", folder) for site, folder in zip(sites, folders, strict=True)]
        errors = [pull.exception(LONG) for pull in pulls]
    assert happened.is_set()
    for error, folder in zip(errors, folders, strict=True):
        assert isinstance(error, SourceError | TransferError), error
        assert isinstance(error, SourceChangedError) == (kind is SourceChangedError)
        assert "model.bin" in str(error)
        assert files_below(folder) == []
    until(lambda: sorted(served) == [("site-1", "failed"), ("site-2", "failed")], f"{served}")


# --------------------------------------------------------------------------------------------------- the folder fails


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no small disk can be mounted: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def at_chunk(number: int, act: Callable[[], object]) -> Callable[[int], object]:
    return lambda index: act() if index == number else None


@pytest.fixture
def whole(tmp_path: Path, sites: list[Cell]) -> Ends:
    """A target that does its part."""
    return Ends(tmp_path / "site-1").consume(sites[0])


def push_to_both(server: Cell, path: Path, whole: Ends, failing: Ends, text: str) -> None:
    """It fails for both, by the fault of one."""
    error = check_failed(server.push_file(path, NAMES, chunk_size=CHUNK, timeout=LONG), "site-2", FAULT)
    assert text in error.reason
    whole.check_nothing("site-2", FAULT)
    assert failing.wait().path is None
    assert len(failing.received) == 1


def test_the_disk_of_one_target_fills_up(server: Cell, sites: list[Cell], whole: Ends, path: Path, disk: Path) -> None:
    failing = Ends(disk / "in", at_chunk(MIDDLE, lambda: fill(disk))).consume(sites[1])
    push_to_both(server, path, whole, failing, "the disk is full")
    assert files_below(failing.folder) == []


def test_the_disk_of_one_target_is_too_small(
    federation: Federation, server: Cell, sites: list[Cell], whole: Ends, path: Path, disk: Path
) -> None:
    failing = Ends(disk / "in").consume(sites[1])
    make_file(path, 2 << 20)
    error = check_failed(server.push_file(path, NAMES, chunk_size=CHUNK, timeout=LONG), "site-2", FAULT)
    assert "needs 2097152 bytes" in error.reason
    federation.close()
    whole.check_at_most_told()
    assert failing.received == []  # it has refused
    assert files_below(disk) == ["in"]


def test_the_folder_of_one_target_is_read_only(
    federation: Federation, server: Cell, sites: list[Cell], whole: Ends, path: Path, disk: Path
) -> None:
    Ends(disk / "in").consume(sites[1])
    make_read_only(disk)
    error = check_failed(server.push_file(path, NAMES, chunk_size=CHUNK, timeout=LONG), "site-2", FAULT)
    assert "the folder is read-only" in error.reason
    federation.close()
    whole.check_at_most_told()


def test_a_target_is_told_of_an_abort_that_comes_before_its_consumer_is_made(
    federation: Federation, server: Cell, tmp_path: Path, path: Path
) -> None:
    config = replace(QUICK, calls_min=1, calls_max=1)
    sites = [federation.start(f"site-{n}", server, None, config=config) for n in (1, 2)]
    whole, gate = Ends(tmp_path / "site-1").consume(sites[0]), Gate()
    sites[0].register_request_cb("test", "hold", gate)
    held = server.request("site-1", "test", "hold")
    gate.wait_entered()

    def refuse(incoming: Incoming) -> Consumer:
        until(lambda: sites[0].statistics().workers.queued)
        raise RequestFailed("not this one", code=CellReturnCode.INVALID_REQUEST)

    sites[1].consume_streams("files", "files", refuse)
    refused = {CellReturnCode.INVALID_REQUEST}
    check_failed(server.push_file(path, NAMES, chunk_size=CHUNK, timeout=LONG), "site-2", refused)
    assert whole.received == []
    gate.open()
    whole.check_nothing("site-2", refused)
    assert held.result(LONG).ok


@pytest.mark.parametrize("index", [MIDDLE, CHUNKS - 2])
def test_the_folder_of_one_target_is_removed(
    server: Cell, sites: list[Cell], whole: Ends, tmp_path: Path, path: Path, index: int
) -> None:
    folder = tmp_path / "site-2"
    failing = Ends(folder, at_chunk(index, lambda: shutil.rmtree(folder))).consume(sites[1])
    push_to_both(server, path, whole, failing, "was removed or replaced")
    assert not folder.exists()


def pull_failing(owner: Cell, site: Cell, path: Path, folder: Path, index: int, act: Callable[[], object]) -> str:
    """The error of a pull into a folder that fails meanwhile."""
    rid = offer(owner, path, chunk_size=CHUNK).rid
    with at_read(index, act) as happened:
        error = site.pull(rid, "server", folder, timeout=LONG).exception(LONG)
    assert happened.is_set()
    assert isinstance(error, SinkError), error
    return str(error)


def test_the_disk_of_a_pull_fills_up(server: Cell, sites: list[Cell], path: Path, disk: Path) -> None:
    assert "the disk is full" in pull_failing(server, sites[0], path, disk, MIDDLE, lambda: fill(disk))
    assert files_below(disk) == ["filler"]


def test_the_folder_of_a_pull_is_read_only(server: Cell, sites: list[Cell], path: Path, disk: Path) -> None:
    make_read_only(disk)
    error = sites[0].pull(offer(server, path).rid, "server", disk).exception(LONG)
    assert isinstance(error, SinkError)
    assert "the folder is read-only" in str(error)


def test_the_folder_of_a_pull_is_removed(server: Cell, sites: list[Cell], tmp_path: Path, path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    error = pull_failing(server, sites[0], path, folder, MIDDLE, lambda: shutil.rmtree(folder))
    assert "was removed or replaced" in error
    assert not folder.exists()


# ------------------------------------------------------------------------------------------ given up at a bad moment


class Hold:
    """Holds up the first call of a method of `FileSink`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        method = getattr(FileSink, name)
        self.entered, self.go_on = threading.Event(), threading.Event()

        def held(*args: Any) -> Any:
            self.entered.set()
            assert self.go_on.wait(LONG)
            return method(*args)

        monkeypatch.setattr(FileSink, name, held)


def is_idle(cell: Cell) -> bool:
    return all(each.statistics().idle == each.statistics().threads for each in (cell._files, cell._workers))


def test_a_pull_that_is_cancelled_while_its_sink_is_opened(
    server: Cell, sites: list[Cell], tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    hold = Hold(monkeypatch, "resume")
    pull = sites[0].pull(offer(server, path, chunk_size=CHUNK).rid, "server", folder, timeout=LONG)
    assert hold.entered.wait(LONG)
    pull.cancel()
    for _ in range(2):
        sites[0].statistics()  # a pass of the reactor
    hold.go_on.set()
    until(lambda: not sites[0]._node.transfers.pulls and is_idle(sites[0]))
    assert files_below(folder) == []
    assert pull.fetched == 0


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_cell_is_closed_while_a_sink_is_opened(
    server: Cell, sites: list[Cell], tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    hold = Hold(monkeypatch, "open" if verb == "push" else "resume")
    end = Ends(tmp_path / "in").consume(sites[0])
    if verb == "push":
        server.push_file(path, "site-1", chunk_size=CHUNK, timeout=LONG)
    else:
        sites[0].pull(offer(server, path, chunk_size=CHUNK).rid, "server", end.folder, timeout=LONG)
    assert hold.entered.wait(LONG)
    sites[0].close(0)
    hold.go_on.set()
    until(lambda: is_idle(sites[0]))
    assert files_below(end.folder) == []
    assert len(end.received) == (verb == "push")


@pytest.mark.parametrize("name", ["resume", "write", "mark", "commit"])
def test_a_sink_that_fails_as_none_should_ends_the_pull(
    server: Cell, sites: list[Cell], tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(FileSink, name, fail)
    pull = sites[0].pull(offer(server, path, chunk_size=CHUNK).rid, "server", tmp_path, name="copy", timeout=LONG)
    error = check_failed(pull, "site-1", FAULT)
    assert error.reason == "RuntimeError: a bug"
    assert files_below(tmp_path) == ["model.bin"]
    assert counter(sites[0], "bugs") == 0


# ------------------------------------------------------------------------------------------------- names that climb


CLIMBING: dict[Any, str] = {
    "../x": "x",
    "../../x": "x",
    "/stolen/x": "x",
    "a/../../../x": "x",
    "..\\..\\x": "x",
    "x\0y": "x_y",
    "x" * 300: "x" * 200,
    "..": "unnamed",
    ".": "unnamed",
    "": "unnamed",
    "/": "unnamed",
    ".ssh": "ssh",
    "x.part": "x.part_",
    "x.part.map": "x.part.map_",
    "line\nbreak": "line_break",
    7: "7",
    None: "None",
}


def test_names_of_a_hostile_owner_stay_in_the_folder(server: Cell, sites: list[Cell], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    end = Ends(folder / "in").consume(sites[0], on_exists="fail")
    for name, expected in CLIMBING.items():
        producer = FileProducer(BufferSource("x", b"content"), CHUNK, LONG)
        server.push("files", "files", producer, "site-1", {NAME_KEY: name, SIZE_KEY: 7}).result(LONG)
        path = end.received[-1].path
        assert path == folder / "in" / expected
        assert path.read_bytes() == b"content"
        assert files_below(tmp_path) == ["a", "a/b", "a/b/in", f"a/b/in/{expected}"]
        path.unlink()


@pytest.mark.parametrize("size", [-1, 0, 6, 8, 1 << 62, 1 << 70, "7", 7.5, True, None])
def test_a_size_that_is_a_lie(server: Cell, sites: list[Cell], tmp_path: Path, size: Any) -> None:
    end = Ends(tmp_path / "in").consume(sites[0])
    producer = FileProducer(BufferSource("x", b"content"), CHUNK, LONG)
    push = server.push("files", "files", producer, "site-1", {NAME_KEY: "x", SIZE_KEY: size})
    if type(size) is int:
        check_failed(push, "site-1", FAULT)
        assert files_below(end.folder) == []
    else:
        push.result(LONG)
        assert files_below(end.folder) == ["x"]


# --------------------------------------------------------------------------------- what is not for them, not of them


def test_pull_D10_a_guessed_reference_and_one_for_others_are_refused_alike(
    server: Cell, sites: list[Cell], path: Path
) -> None:
    rid = offer(server, path, to=["site-1"]).rid
    asker = Asker(sites[1])
    errors = {str(sites[1].pull(wanted, "server").exception(LONG)) for wanted in (rid, "R" + 32 * "0", "", "../x")}
    assert len(errors) == 1
    answers = {
        (answer.code, answer.error)
        for topic in ("open", "get", "have", "done", "nothing")
        for wanted in (rid, "R" + 32 * "0")
        for answer in [asker.ask("server", "zmqfl.pull", topic, {"r": wanted, "p": 1, "i": 0, "w": [], "s": "success"})]
    }
    assert len(answers) == 1
    assert sites[0].pull(rid, "server").result(LONG) == path.read_bytes()


def test_an_offer_is_known_when_the_verb_has_returned(server: Cell, sites: list[Cell], path: Path) -> None:
    reactor, receive, pulls = server._reactor, server._reactor._receive, list[PullHandle]()

    came = threading.Event()
    answering(server, lambda call: came.set())

    def receiving(ready: set[object], now: float) -> None:
        """As if this thread had stood still behind the submissions, for as long as it takes to offer and to ask."""
        receive(ready, now)
        if not pulls:
            pulls.append(sites[0].pull(server.offer(path).rid, "server", timeout=LONG))
            sockets: set[object] = {port.socket for port in reactor.ports.all()}

            def has_come() -> bool:
                receive(sockets, now)
                return came.is_set()

            until(has_come)

    reactor._receive = receiving  # type: ignore[method-assign]
    until(lambda: pulls)
    assert pulls[0].result(LONG) == path.read_bytes()


def test_push_P13_what_a_third_cell_says_of_a_push_is_ignored(
    federation: Federation, server: Cell, tmp_path: Path, path: Path
) -> None:
    site, other = federation.start("site-1", server, None), federation.start("site-2", server, None)
    asker = Asker(other)
    said: list[Any] = []

    def interfere(index: int) -> None:
        if index != MIDDLE:
            return
        (id,) = server._node.transfers.pushes
        for rc in ("abort_run", "ok"):
            said.append(asker.ask("site-1", "zmqfl.push", "end", {"t": id, "rc": rc, "why": "mine", "n": index + 1}))
        said.append(asker.ask("site-1", "zmqfl.push", "round", {"t": id, "i": index + 1, "h": {"last": 1}}, 2))
        said.append(asker.ask("server", "zmqfl.push", "alive", {"t": id, "n": server.instance}))

    end = Ends(tmp_path / "in", interfere).consume(site)
    server.push_file(path, "site-1", chunk_size=CHUNK, timeout=LONG).result(LONG)
    end.check_whole(path.read_bytes())
    assert [str(outcome.code) for outcome in said] == ["ok", "invalid_session", "invalid_request", "invalid_session"]


# ------------------------------------------------------------------------------------------------------------- damage


LARGE = 64 * 1024
"""Bytes of a chunk here: beside it, no frame is half as long."""


def damaged(federation: Federation, server: Cell, damages: Callable[[int], bool]) -> tuple[DamagingCable, Cell]:
    cable = DamagingCable(server.url, LARGE // 2, damages)
    return cable, federation.start("site-1", cable.url, None)


@pytest.mark.parametrize("chunk", [LARGE, 3 << 19], ids=["reply", "flow"])
def test_pull_D08_a_bit_flips_in_a_pull(
    federation: Federation, server: Cell, tmp_path: Path, path: Path, chunk: int
) -> None:
    content = make_file(path, 4 * chunk + 1)
    cable, site = damaged(federation, server, lambda number: number in (0, 2))
    with cable:
        pull = site.pull(offer(server, path, chunk_size=chunk).rid, "server", tmp_path, name="copy", timeout=LONG)
        assert pull.result(LONG).read_bytes() == content
        site.close(0)
    assert cable.damaged == 2
    assert pull.fetched == len(content) + 2 * chunk if chunk == LARGE else pull.fetched > len(content)


def test_all_that_is_pulled_is_damaged(federation: Federation, server: Cell, tmp_path: Path, path: Path) -> None:
    cable, site = damaged(federation, server, lambda number: True)
    folder = tmp_path / "in"
    folder.mkdir()
    with cable:
        error = check_failed(site.pull(offer(server, path, chunk_size=LARGE).rid, "server", folder), "server")
        site.close(0)
    assert "was damaged 4 times" in error.reason
    assert files_below(folder) == []


@pytest.mark.parametrize("chunk", [LARGE, 3 << 19], ids=["request", "flow"])
def test_a_bit_flips_in_a_push(federation: Federation, server: Cell, tmp_path: Path, path: Path, chunk: int) -> None:
    make_file(path, 4 * chunk + 1)
    cable, site = damaged(federation, server, lambda number: number == 3)
    with cable:
        other = federation.start("site-2", server, None)
        ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in (site, other)]
        push = server.push_file(path, NAMES, chunk_size=chunk, timeout=LONG)
        error = check_failed(push, "site-1", {CellReturnCode.INVALID_REQUEST})
        assert "was damaged on its way" in error.reason
        for end, culprit in zip(ends, ("", "site-1"), strict=True):  # to itself it is nobody else
            end.check_nothing(culprit, {CellReturnCode.INVALID_REQUEST})
        site.close(0)
    assert cable.damaged == 1


@pytest.mark.parametrize(
    "step", [3, 7, pytest.param(2, marks=pytest.mark.soak), pytest.param(13, marks=pytest.mark.soak)]
)
def test_bits_flip_in_headers_too(federation: Federation, server: Cell, tmp_path: Path, path: Path, step: int) -> None:
    """Whatever is hit: each end is told once, and what is whole is right."""
    content, broken = path.read_bytes(), [False]
    cable = DamagingCable(server.url, 33, lambda number: broken[0] and number % step == 0)
    site, other = federation.start("site-1", cable.url, None), federation.start("site-2", server, None)
    folder = tmp_path / "pulled"
    folder.mkdir()
    with cable:
        ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in (site, other)]
        rid = offer(server, path, chunk_size=CHUNK).rid
        broken[0] = True
        pull = site.pull(rid, "server", folder, timeout=TIMEOUT)
        push = server.push_file(path, NAMES, chunk_size=CHUNK, timeout=TIMEOUT)
        errors = [pull.exception(LONG), push.exception(LONG)]
        broken[0] = False
        federation.close()
    assert cable.damaged
    for error in errors:
        assert error is None or isinstance(error, TransferError)
    assert files_below(folder) == ([] if errors[0] else ["model.bin"])
    for end in ends:
        assert len(end.received) <= 1
        for file in end.folder.iterdir():
            assert end.received[0].path == file
            assert file.read_bytes() == content
    for cell in (server, site, other):
        assert cell._reactor.counters["bugs"] == 0


# ------------------------------------------------------------------------------------------------- one stands still


def test_push_P08_a_target_that_stands_still_holds_up_its_own_push_only(
    federation: Federation, tmp_path: Path, path: Path
) -> None:
    federation.config = replace(QUICK, dead_after=LONG, bulk_heartbeat_timeout=2 * LONG)
    server = federation.start("server")
    (tmp_path / "site-1").mkdir()
    frozen = TransferProcess(
        federation, "site-1", parent=server.url, consume=str(tmp_path / "site-1"), die=("stop", MIDDLE)
    )
    site = federation.start("site-2", server, None)
    stuck = server.push_file(path, "site-1", chunk_size=CHUNK, timeout=4.0)
    until(lambda: state_of(server, "site-1") == "stalled")
    end = Ends(tmp_path / "site-2").consume(site)
    assert server.push_file(path, "site-2", chunk_size=CHUNK, timeout=LONG).result(LONG).ok
    end.check_whole(path.read_bytes())
    assert site.pull(offer(server, path, chunk_size=CHUNK).rid, "server").result(LONG) == path.read_bytes()
    assert stuck.progress.done == MIDDLE * CHUNK
    assert not stuck.done()
    check_failed(stuck, "site-1", {CellReturnCode.TIMEOUT})
    frozen.close()
    assert counter(server, "bugs") == 0
