"""Logs as lines: their times, their growth, their end."""

from __future__ import annotations

import select
from contextlib import closing
from pathlib import Path

from zmqfl.launch.log_stream import FolderWatch, LogLine, LogReader, last_lines, merged


def test_lines_have_the_time_of_those_before_them(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("first\n2026-01-02T03:04:05.678Z INFO hello\nprinted\n2026-01-02T03:04:06Z bye")
    reader = LogReader("a", file)
    assert list(reader.read()) == [
        LogLine("a", "", "first"),
        LogLine("a", "2026-01-02T03:04:05.678", "INFO hello"),
        LogLine("a", "2026-01-02T03:04:05.678", "printed"),
    ]
    assert list(reader.rest()) == [LogLine("a", "2026-01-02T03:04:06", "bye")]
    assert list(reader.rest()) == []


def test_what_is_added_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    reader = LogReader("a", file)
    assert list(reader.read()) == []
    with file.open("a") as log:
        for text in ("one\nt", "w", "o\n"):
            log.write(text)
            log.flush()
            lines = [line.text for line in reader.read()]
            assert lines == {"one\nt": ["one"], "w": [], "o\n": ["two"]}[text]


def test_a_file_made_anew_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("a long line of the past\n")
    reader = LogReader("a", file)
    list(reader.read())
    file.write_text("new\n")
    assert [line.text for line in reader.read()] == ["new"]
    file.unlink()
    assert list(reader.read()) == []
    (tmp_path / "b").write_text("another file of the same name\n")
    (tmp_path / "b").rename(file)
    assert [line.text for line in reader.read()] == ["another file of the same name"]


def test_merged_by_time_and_since(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("2026-01-01T00:00:01Z a1\n2026-01-01T00:00:03Z a3\n")
    (tmp_path / "b").write_text("2026-01-01T00:00:02Z b2\nb2 more\n")

    def readers() -> list[LogReader]:
        return [LogReader(name, tmp_path / name) for name in "ab"]

    assert [line.text for line in merged(readers())] == ["a1", "b2", "b2 more", "a3"]
    assert [line.text for line in merged(readers(), "2026-01-01T00:00:02")] == ["b2", "b2 more", "a3"]
    assert last_lines(tmp_path / "b", 1) == ["b2 more"]
    assert last_lines(tmp_path / "none", 1) == []


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xfe\r\n")
    assert [line.text for line in LogReader("a", tmp_path / "a").read()] == ["\ufffd\ufffd"]


def test_a_change_of_the_folder_is_told(tmp_path: Path) -> None:
    with closing(FolderWatch(tmp_path)) as watch:
        assert select.select([watch], [], [], 0)[0] == []
        (tmp_path / "a").write_text("x")
        assert select.select([watch], [], [], 10)[0] == [watch]
        watch.clear()
        assert select.select([watch], [], [], 0)[0] == []
        (tmp_path / "a").unlink()
        assert select.select([watch], [], [], 10)[0] == [watch]
