"""Pulls by rule: each announced file once, again when it fails, as long as it is offered."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cell.hearing import Heard
from tests.system.federation import LONG, Federation, until
from zmqfl import Announcement, Cell, TransferError
from zmqfl.cell import auto_pull
from zmqfl.cell.announcements import Announcements
from zmqfl.cell.auto_pull import MOST_AT_ONCE, PULLED, AutoPull, pulled_into
from zmqfl.cell.callbacks import callback
from zmqfl.cell.pulling import PullHandle
from zmqfl.errors import ArgumentError, CellReturnCode

Ended = tuple[str, str, str]
"""Reference id, name of the file or "", error or ""."""


class Pull:
    """A pull that ends when the test says so."""

    def __init__(self, announcement: Announcement, folder: Path) -> None:
        self.rid = announcement.rid
        self.cancelled = threading.Event()
        self._path = folder / announcement.name
        self._error: BaseException | None = None
        self._told: Callable[[Any], object] = print

    def add_done_callback(self, told: Callable[[Any], object]) -> None:
        self._told = told

    def exception(self) -> BaseException | None:
        return self._error

    def result(self) -> Path:
        return self._path

    def cancel(self) -> None:
        self.cancelled.set()

    def end(self, error: BaseException | None = None) -> None:
        self._error = error
        self._told(self)


class Announced:
    """What is announced, as the test says."""

    def __init__(self) -> None:
        self.tell: Callable[[Announcement], None] = print
        self.closed = 0

    def watch(self, told: Callable[[Announcement], None], replay: bool) -> Announced:
        assert replay
        self.tell = told
        return self

    def close(self) -> None:
        self.closed += 1


class Bench:
    """An auto-pull of fakes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.announced = Announced()
        self.begun = Heard[Pull]()
        self.ended = Heard[Ended]()
        self.refusal: Exception | None = None
        self.pulls: AutoPull | None = None

    def start(self, rule: Any = None, done: Any = True) -> Bench:
        told = callback(self._done if done is True else done)
        self.pulls = AutoPull("t", cast("Announcements", self.announced), self.folder, self._begin, rule, told)
        return self

    def tell(self, *rids: str, kind: str = "file", is_live: bool = True) -> None:
        for rid in rids:
            self.announced.tell(Announcement(rid, "server", "models", f"{rid}.pt", 1, kind, is_live))

    def pull(self, number: int) -> Pull:
        """The one that was begun so many-th."""
        return self.begun.wait(number)[number - 1]

    def close(self) -> None:
        if self.pulls is not None:
            self.pulls.close()

    def _begin(self, announcement: Announcement) -> PullHandle:
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal
        pull = Pull(announcement, self.folder)
        self.begun(pull)
        return cast("PullHandle", pull)

    def _done(self, announcement: Announcement, path: Path | None, error: BaseException | None) -> None:
        self.ended((announcement.rid, path.name if path else "", str(error or "")))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(auto_pull, "FIRST_PAUSE", 0.001)
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def problem(text: str) -> TransferError:
    return TransferError(text, code=CellReturnCode.COMM_ERROR)


# ------------------------------------------------------------------------------------------------------------ the table


def test_each_file_is_pulled_once_and_noted(bench: Bench) -> None:
    bench.start().tell("R1", "R1", "R2")
    for number in (1, 2):
        bench.pull(number).end()
    assert bench.ended.wait(2) == [("R1", "R1.pt", ""), ("R2", "R2.pt", "")]
    bench.tell("R1", "R3")
    assert bench.pull(3).rid == "R3"
    assert (bench.folder / PULLED).read_text() == "R1 R1.pt\nR2 R2.pt\n"
    assert pulled_into(bench.folder) == {"R1", "R2"}


def test_what_is_announced_again_after_a_break_is_not_pulled_again(bench: Bench) -> None:
    bench.start().tell("R1")
    bench.pull(1).end()
    bench.ended.wait(1)
    bench.tell("R1", is_live=False)  # its owner was cut off
    bench.tell("R1", "R2")
    assert bench.pull(2).rid == "R2"


def test_what_comes_back_while_it_is_pulled_is_pulled_once(bench: Bench) -> None:
    bench.start().tell("R1")
    pull = bench.pull(1)
    bench.tell("R1", is_live=False)
    bench.tell("R1", "R2")
    assert bench.pull(2).rid == "R2"
    pull.end()
    assert bench.ended.wait(1) == [("R1", "R1.pt", "")]
    bench.tell("R3")
    assert bench.pull(3).rid == "R3"


def test_what_came_back_while_it_was_pulled_and_failed_is_tried_again(bench: Bench) -> None:
    bench.start().tell("R1")
    pull = bench.pull(1)
    bench.tell("R1", is_live=False)
    bench.tell("R1", "R2")
    bench.pull(2)
    pull.end(problem("lost"))
    assert bench.pull(3).rid == "R1"


def test_a_new_start_does_not_pull_again(bench: Bench) -> None:
    (bench.folder / PULLED).write_text("R1 model.pt\nR2 a name with blanks.pt\n")
    bench.start().tell("R1", "R2", "R3")
    assert bench.pull(1).rid == "R3"


def test_what_fails_is_tried_again_until_it_is_there(bench: Bench) -> None:
    bench.start().tell("R1")
    for number in (1, 2, 3):
        bench.pull(number).end(problem(f"lost {number}"))
    bench.pull(4).end()
    ended = bench.ended.wait(4)
    assert [(rid, name) for rid, name, _ in ended] == [("R1", "")] * 3 + [("R1", "R1.pt")]
    assert ["lost 1" in ended[0][2], "lost 3" in ended[2][2], ended[3][2]] == [True, True, ""]


def test_pauses_grow_and_have_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_pull, "LAST_PAUSE", 0.004)
    pauses: list[float] = []
    monkeypatch.setattr(AutoPull, "_try", kept(AutoPull._try, pauses))
    bench.start().tell("R1")
    for number in range(1, 6):
        bench.pull(number).end(problem("lost"))
    bench.pull(6)
    assert pauses == [0.0, 0.001, 0.002, 0.004, 0.004, 0.004]


def kept(real: Any, pauses: list[float]) -> Any:
    def _try(self: AutoPull, key: tuple[str, str], pause: float) -> None:
        pauses.append(pause)
        real(self, key, pause)

    return _try


def test_what_is_withdrawn_is_not_tried_again(bench: Bench) -> None:
    bench.start().tell("R1")
    pull = bench.pull(1)
    bench.tell("R1", is_live=False)
    pull.end(problem("no such reference"))
    assert bench.ended.wait(1)[0][:2] == ("R1", "")
    bench.tell("R2")
    assert bench.pull(2).rid == "R2"


def test_a_pull_that_cannot_begin_is_tried_again(bench: Bench) -> None:
    bench.refusal = ArgumentError("the folder is gone")
    bench.start().tell("R1")
    bench.pull(1).end()
    assert bench.ended.wait(2) == [("R1", "", "the folder is gone"), ("R1", "R1.pt", "")]


def test_few_at_once_the_first_announced_first(bench: Bench) -> None:
    rids = [f"R{number}" for number in range(MOST_AT_ONCE + 2)]
    bench.start().tell(*rids)
    assert [pull.rid for pull in bench.begun.wait(MOST_AT_ONCE)] == rids[:MOST_AT_ONCE]
    bench.tell(rids[-2], is_live=False)  # it waits, and is forgotten
    bench.pull(1).end()
    assert bench.pull(MOST_AT_ONCE + 1).rid == rids[-1]


def test_objects_are_not_pulled(bench: Bench) -> None:
    bench.start().tell("R1", kind="object")
    bench.tell("R2")
    assert bench.pull(1).rid == "R2"


def test_the_rule_decides_once_and_one_that_fails_says_no(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def rule(each: Announcement) -> bool:
        asked.append(each.rid)
        if each.rid == "R2":
            raise RuntimeError("the rule's own mistake")
        return each.rid == "R3"

    bench.start(rule).tell("R1", "R2", "R3", "R3")
    assert bench.pull(1).rid == "R3"
    assert asked == ["R1", "R2", "R3"]
    assert "the rule of an auto-pull failed for R2.pt: it is not pulled" in caplog.text


def test_a_done_that_fails_changes_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def done(*_: object) -> None:
        raise RuntimeError("the callback's own mistake")

    bench.start(done=done).tell("R1")
    bench.pull(1).end()
    bench.tell("R2")
    bench.pull(2)
    assert "the callback's own mistake" in caplog.text
    assert pulled_into(bench.folder) == {"R1"}


def test_where_nobody_is_told_the_log_is(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        bench.start(done=None).tell("R1")
        bench.pull(1).end(problem("lost"))
        bench.pull(2)
    assert "cannot pull R1.pt of server: " in caplog.text


def test_a_folder_that_takes_no_notes_does_not_end_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start().tell("R1")
    (bench.folder / PULLED).mkdir()
    bench.pull(1).end()
    assert bench.ended.wait(1) == [("R1", "R1.pt", "")]
    bench.tell("R1", "R2")
    assert bench.pull(2).rid == "R2"
    assert "cannot be written (Is a directory): after a new start its files are pulled again" in caplog.text


def test_notes_that_cannot_be_read_are_an_error(bench: Bench) -> None:
    (bench.folder / PULLED).mkdir()
    with pytest.raises(IsADirectoryError):
        bench.start()


# ------------------------------------------------------------------------------------------------------------ the end


def test_close_cancels_what_is_under_way_and_joins(bench: Bench) -> None:
    bench.start().tell("R1", "R2")
    pulls = bench.begun.wait(2)
    assert bench.pulls is not None
    bench.pulls.close()
    assert all(pull.cancelled.is_set() for pull in pulls)
    assert "zmqfl-auto-pull:t" not in [thread.name for thread in threading.enumerate()]
    bench.pulls.close()
    assert bench.announced.closed == 2
    bench.tell("R3")
    assert len(bench.begun.items) == 2


def test_the_end_of_a_block_closes_it(bench: Bench) -> None:
    bench.start().tell("R1")
    pull = bench.pull(1)
    assert bench.pulls is not None
    with bench.pulls:
        assert not pull.cancelled.is_set()
    assert pull.cancelled.is_set()


def test_done_may_close_it(bench: Bench) -> None:
    closed = threading.Event()

    def done(*_: object) -> None:
        bench.close()
        closed.set()

    bench.start(done=done).tell("R1")
    bench.pull(1).end()
    assert closed.wait(LONG)


def test_a_coroutine_function_may_be_told_and_its_loop_may_close_it(bench: Bench) -> None:
    async def main() -> None:
        told, go = asyncio.Event(), asyncio.Event()

        async def done(each: Announcement, path: Path | None, error: BaseException | None) -> None:
            told.set()
            await go.wait()

        bench.start(done=done).tell("R1")
        pull = await asyncio.get_running_loop().run_in_executor(None, bench.pull, 1)
        pull.end()
        await asyncio.wait_for(told.wait(), LONG)
        bench.close()  # would wait for `done`, which waits for this loop
        go.set()
        await asyncio.get_running_loop().run_in_executor(None, bench.close)

    asyncio.run(main())


# ----------------------------------------------------------------------------------------------------------- real cells


class Pair:
    """A server that announces, and a site with a folder."""

    def __init__(self, federation: Federation, base: Path) -> None:
        self.server = federation.start("server")
        self.site = federation.start("site-1", self.server, None)
        self.base, self.folder = base, base / "got"
        self.folder.mkdir()
        self.ended = Heard[Ended]()

    def file(self, name: str, content: bytes) -> Path:
        (self.base / name).write_bytes(content)
        return self.base / name

    def pull(self, cell: Cell | None = None, **options: Any) -> AutoPull:
        def done(each: Announcement, path: Path | None, error: BaseException | None) -> None:
            self.ended((each.rid, path.name if path else "", str(error or "")))

        return (cell or self.site).auto_pull("models", self.folder, done=done, **options)


@pytest.fixture
def pair(federation: Federation, tmp_path: Path) -> Pair:
    return Pair(federation, tmp_path)


def test_files_come_that_are_there_and_that_are_announced_later(pair: Pair) -> None:
    first = pair.server.offer(pair.file("first.pt", b"1" * 1000), announce="models")
    pair.pull()
    pair.ended.wait(1)
    second = pair.server.offer(pair.file("second.pt", b"2" * 1000), announce="models")
    pair.server.offer(pair.file("other.pt", b"3"), announce="others")
    assert pair.ended.wait(2) == [(first.rid, "first.pt", ""), (second.rid, "second.pt", "")]
    assert {file.name for file in pair.folder.iterdir()} == {"first.pt", "second.pt", PULLED}
    assert (pair.folder / "second.pt").read_bytes() == b"2" * 1000


def test_what_is_bound_to_the_site_comes_too(pair: Pair, federation: Federation) -> None:
    stranger = federation.start("site-2", pair.server, None)
    (pair.base / "other").mkdir()
    stranger.auto_pull("models", pair.base / "other")
    pair.pull()
    pair.server.offer(pair.file("mine.pt", b"1"), announce="models", to=["site-1"])
    assert pair.ended.wait(1)[0][1:] == ("mine.pt", "")
    both = pair.server.offer(pair.file("both.pt", b"2"), announce="models")
    assert pair.ended.wait(2)[1][1:] == ("both.pt", "")
    until(lambda: pulled_into(pair.base / "other") == {both.rid})


def test_a_file_that_changed_is_tried_again_while_it_is_offered(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_pull, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(auto_pull, "LAST_PAUSE", 0.001)
    path = pair.file("model.pt", b"1" * 1000)
    offer = pair.server.offer(path, announce="models")
    path.write_bytes(b"2" * 2000)
    with pair.pull():
        assert all(name == "" and "model.pt" in error for _, name, error in pair.ended.wait(3)[:3])
        offer.withdraw()
        until(lambda: not list(pair.site.announcements("models")))
        pair.server.offer(path, announce="models")
        pair.ended.wait_for(lambda items: items[-1][1] == "model.pt")
    assert (pair.folder / "model.pt").read_bytes() == b"2" * 2000


def test_a_new_start_of_the_site_does_not_pull_again(pair: Pair, federation: Federation) -> None:
    pair.server.offer(pair.file("model.pt", b"1"), announce="models")
    pair.pull()
    pair.ended.wait(1)
    pair.site.close()
    again = federation.start("site-1", pair.server, None)
    pair.pull(again)
    new = pair.server.offer(pair.file("new.pt", b"1"), announce="models")
    assert pair.ended.wait(2)[1] == (new.rid, "new.pt", "")
    assert {file.name for file in pair.folder.iterdir()} == {"model.pt", "new.pt", PULLED}


def test_an_interrupted_pull_is_resumed_by_the_next_start(pair: Pair, federation: Federation) -> None:
    content = bytes(range(256)) * (4 * 4096)
    path = pair.file("model.pt", content)
    pair.server.offer(path, announce="models", chunk_size=4096)  # so many chunks take a while
    pulls = pair.pull()
    until(lambda: any(each.done > 0 for each in pair.site.transfers()) or pair.ended.items)
    pulls.close()
    until(lambda: not pair.site.transfers())
    assert not pair.ended.items
    part = pair.folder / "model.pt.part"
    assert 0 < part.stat().st_size <= len(content)
    pair.site.close()
    pair.pull(federation.start("site-1", pair.server, None))
    assert pair.ended.wait(1)[0][1:] == ("model.pt", "")
    assert (pair.folder / "model.pt").read_bytes() == content
    assert not part.exists()
