from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zmqfl.blobs.arrival import OnExists
from zmqfl.blobs.digest import digest
from zmqfl.blobs.sink import FileSink, Sink
from zmqfl.errors import ArgumentError, SinkError, UsageError

CHUNK = 4096
CONTENT = os.urandom(3 * CHUNK)
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]


def chunks(size: int) -> list[bytes]:
    return [CONTENT[offset : min(offset + CHUNK, size)] for offset in range(0, size, CHUNK)]


def receive(sink: Sink[Path], indices: list[int]) -> None:
    for index in indices:
        data = chunks(sink.size or 0)[index]
        sink.write(index * CHUNK, data)
        sink.mark(index, digest(data))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[FileSink]:
    """An open sink of 3 chunks."""
    sink = FileSink(tmp_path, "x.bin", 3 * CHUNK)
    sink.open()
    yield sink
    sink.discard()


# ----------------------------------------------------------------------------------------------------------- good cases


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resumes", [False, True])
def test_push_P01_bytes_in_any_order_become_the_file(tmp_path: Path, size: int, resumes: bool) -> None:
    sink = FileSink(tmp_path, "x.bin", size)
    if resumes:
        assert sink.resume("f1", CHUNK) == {}
    else:
        sink.open()
    receive(sink, list(reversed(range(len(chunks(size))))))
    assert "x.bin" not in names(tmp_path)
    assert sink.commit() == tmp_path / "x.bin"
    assert (tmp_path / "x.bin").read_bytes() == CONTENT[:size]
    assert names(tmp_path) == ["x.bin"]
    sink.discard()
    sink.close(keep=False)
    assert names(tmp_path) == ["x.bin"]


def test_the_end_may_tell_the_size(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "x", None)
    sink.open()
    sink.write(3, b"345")
    with pytest.raises(SinkError, match=r"x\.part: lacks bytes from 0 on, of 6; receive the rest"):
        sink.commit()
    sink.write(0, b"012")
    assert sink.commit().read_bytes() == b"012345"


def test_nothing_of_unknown_size_is_an_empty_file(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "x", None)
    sink.open()
    assert sink.commit().read_bytes() == b""


def test_files_are_for_this_user_only(sink: FileSink, tmp_path: Path) -> None:
    assert (tmp_path / "x.bin.part").stat().st_mode & 0o777 == 0o600
    receive(sink, [0, 1, 2])
    assert sink.commit().stat().st_mode & 0o777 == 0o600


def test_several_threads_write_at_once(tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    sink = FileSink(tmp_path, "x", len(content))
    sink.resume("f1", 1024)

    def write(first: int) -> None:
        for index in range(first, 1024, 8):
            data = content[index * 1024 : (index + 1) * 1024]
            sink.write(index * 1024, data)
            sink.mark(index, digest(data))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert repr(sink) == f"<FileSink {tmp_path}/x, 1048576 of 1048576 bytes>"
    sink.close()
    again = FileSink(tmp_path, "x", len(content))
    seen: dict[int, bytes] = {}
    assert len(again.resume("f1", 1024, lambda index, data: seen.update({index: bytes(data)}))) == 1024
    assert b"".join(seen[index] for index in range(1024)) == content
    assert again.commit().read_bytes() == content


@pytest.mark.parametrize(("on_exists", "result"), [("replace", "x.bin"), ("keep", "x-1.bin")])
def test_a_name_that_is_taken(tmp_path: Path, on_exists: OnExists, result: str) -> None:
    (tmp_path / "x.bin").write_text("old")
    sink = FileSink(tmp_path, "x.bin", 1, on_exists)
    sink.open()
    receive(sink, [0])
    assert (tmp_path / "x.bin").read_text() == "old"
    assert sink.commit() == tmp_path / result
    assert (tmp_path / result).read_bytes() == CONTENT[:1]


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_name_that_is_taken_may_fail_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("nothing")
    sink = FileSink(tmp_path, "x", 1, "fail")
    with pytest.raises(SinkError, match="exists already"):
        sink.open()
    assert names(tmp_path) == ["x"]


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "x", 1, "fail")
    sink.open()
    receive(sink, [0])
    (tmp_path / "x").write_text("old")
    with pytest.raises(SinkError, match="exists already"):
        sink.commit()
    sink.discard()
    assert (names(tmp_path), (tmp_path / "x").read_text()) == (["x"], "old")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(SinkError, match="/x: is a folder; remove it, or choose another name"):
        FileSink(tmp_path, "x", 1, "replace").open()


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".x", "a\nb", "x.part", "x" * 201])
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match="is no safe file name; name it"):
        FileSink(tmp_path, name, 1)


def test_push_P05_a_folder_that_is_missing_or_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"/missing/x\.part: its folder does not exist; make the folder"):
        FileSink(tmp_path / "missing", "x", 1).open()
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"/file/x\.part: its folder is no folder; name a folder"):
        FileSink(tmp_path / "file", "x", 1).open()


def test_two_of_one_name_collide_and_the_first_goes_on(sink: FileSink, tmp_path: Path) -> None:
    for begin in ("open", "resume"):
        other = FileSink(tmp_path, "x.bin", 3 * CHUNK)
        with pytest.raises(SinkError, match=r"x\.bin\.part: another download writes to it; wait"):
            other.open() if begin == "open" else other.resume("f1", CHUNK)
        other.discard()
    receive(sink, [0, 1, 2])
    assert sink.commit().read_bytes() == CONTENT


def test_bytes_beyond_the_size_are_refused(sink: FileSink, tmp_path: Path) -> None:
    for offset, data in [(3 * CHUNK, b"x"), (3 * CHUNK - 1, b"xy"), (-1, b"x")]:
        with pytest.raises(SinkError, match="are not within its 12288 bytes; the sender broke its word"):
            sink.write(offset, data)
    assert (tmp_path / "x.bin.part").stat().st_size == 0


def test_gaps_are_not_committed_and_can_be_filled(sink: FileSink, tmp_path: Path) -> None:
    receive(sink, [0, 2])
    with pytest.raises(SinkError, match=r"x\.bin\.part: lacks bytes from 4096 on, of 12288"):
        sink.commit()
    assert names(tmp_path) == ["x.bin.part"]
    receive(sink, [1])
    assert sink.commit().read_bytes() == CONTENT


def test_what_cannot_be_committed_is_known_before(sink: FileSink, tmp_path: Path) -> None:
    receive(sink, [0, 2])
    with pytest.raises(SinkError, match="lacks bytes from 4096 on"):
        sink.check_ready()
    receive(sink, [1])
    sink.check_ready()
    assert names(tmp_path) == ["x.bin.part"]
    (tmp_path / "x.bin.part").unlink()
    with pytest.raises(SinkError, match="was removed or replaced"):
        sink.check_ready()


def test_a_name_that_was_taken_meanwhile_is_known_before(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "x.bin", 0, "fail")
    sink.open()
    sink.check_ready()
    (tmp_path / "x.bin").touch()
    with pytest.raises(SinkError, match="exists already"):
        sink.check_ready()
    sink.discard()


def test_a_part_that_somebody_replaced_is_not_committed(sink: FileSink, tmp_path: Path) -> None:
    receive(sink, [0, 1, 2])
    (tmp_path / "x.bin.part").unlink()
    (tmp_path / "x.bin.part").write_text("forged")
    with pytest.raises(SinkError, match="was removed or replaced while it was written"):
        sink.commit()
    sink.discard()
    assert names(tmp_path) == ["x.bin.part"]  # not ours


def test_a_sink_is_for_one_use(sink: FileSink) -> None:
    with pytest.raises(UsageError, match="was opened before; make a new one"):
        sink.open()
    with pytest.raises(UsageError, match="was opened before"):
        sink.resume("f1", CHUNK)
    receive(sink, [0, 1, 2])


@pytest.mark.parametrize("end", ["discard", "close", "never opened"])
def test_a_sink_that_is_not_open(tmp_path: Path, end: str) -> None:
    sink = FileSink(tmp_path, "x", 0)
    if end != "never opened":
        sink.resume("f1", CHUNK)
        sink.discard() if end == "discard" else sink.close()
        with pytest.raises(SinkError, match="is not open"):
            sink.mark(0, bytes(16))
    sink.discard()
    sink.discard()
    with pytest.raises(SinkError, match=r"x\.part: is not open; open a sink first"):
        sink.write(0, b"")
    with pytest.raises(SinkError, match="is not open"):
        sink.commit()


@pytest.mark.parametrize(("size", "chunk"), [(1, 0), (1, -1), (-1, CHUNK), ((1 << 32) + 1, 1)])
def test_resume_needs_a_grid(tmp_path: Path, size: int, chunk: int) -> None:
    with pytest.raises(SinkError, match="are no file; have the sender offer it in other chunks"):
        FileSink(tmp_path, "x", size).resume("f1", chunk)
    with pytest.raises(ArgumentError, match="resume needs the size of the file"):
        FileSink(tmp_path, "x", None).resume("f1", CHUNK)
    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------------------- failures of the disk


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "x", 3 * CHUNK)
    sink.resume("f1", CHUNK)
    receive(sink, [0])
    assert names(tmp_path) == ["x.part", "x.part.map"]
    sink.discard()
    assert names(tmp_path) == []
    sink.discard()


def test_discard_while_others_write(tmp_path: Path) -> None:
    sink, started, failed = FileSink(tmp_path, "x", 3 * CHUNK), threading.Barrier(5), threading.Semaphore(0)
    sink.resume("f1", CHUNK)

    def write() -> None:
        started.wait()
        while True:
            try:
                receive(sink, [0, 1, 2])
            except SinkError:
                failed.release()
                return

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    sink.discard()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == []


def test_more_than_the_disk_has_is_refused_at_once(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "x", 1 << 60)
    with pytest.raises(SinkError, match=r"x\.part: needs 1152921504606846976 bytes, but \d+ are free there"):
        sink.open()
    assert names(tmp_path) == []
    with pytest.raises(SinkError, match="are free there"):
        FileSink(tmp_path, "x", 1 << 60).resume("f1", 1 << 30)
    assert names(tmp_path) == []


def test_a_full_disk(small_disk: Path) -> None:
    with pytest.raises(SinkError, match="needs 2097152 bytes"):
        FileSink(small_disk, "x", 2 << 20).open()
    sink = FileSink(small_disk, "x", None)
    sink.open()
    with pytest.raises(SinkError, match=r"x\.part: the disk is full; free space there, or name a folder on another"):
        sink.write(0, bytes(2 << 20))
    with pytest.raises(SinkError, match="the disk is full"):
        sink.write(1 << 20, b"x")
    sink.discard()
    assert names(small_disk) == []


def test_pull_D07_a_disk_without_room_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_part(tmp_path, [0, 1])

    def refuse(*_: object) -> None:
        raise SinkError("needs more", file="x")

    with monkeypatch.context() as patch:
        patch.setattr("zmqfl.blobs.part_file.check_room", refuse)
        with pytest.raises(SinkError, match="needs more"):
            FileSink(tmp_path, "x", 3 * CHUNK).resume("f1", CHUNK)
    finish(FileSink(tmp_path, "x", 3 * CHUNK), {0, 1})


def test_a_file_may_not_grow_that_far(sink: FileSink, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, hard))
    try:
        with pytest.raises(SinkError, match=r"x\.bin\.part: is larger than a file may be here; raise `ulimit -f`"):
            sink.write(0, CONTENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(SinkError, match="lacks bytes from 0 on"):
        sink.commit()
    sink.discard()
    assert names(tmp_path) == []


def test_a_read_only_folder(read_only: Path) -> None:
    with pytest.raises(SinkError, match=r"x\.part: the folder is read-only; name a folder that you may write to"):
        FileSink(read_only, "x", 1).open()
    with pytest.raises(SinkError, match="the folder is read-only"):
        FileSink(read_only, "x", 1).resume("f1", CHUNK)


def test_a_disk_that_fails_at_the_end_leaves_nothing_under_the_name(
    sink: FileSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(sink, [0, 1, 2])

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SinkError, match=r"x\.bin: cannot be written: the disk fails"):
        sink.commit()
    assert names(tmp_path) == ["x.bin.part"]
    sink.discard()
    assert names(tmp_path) == []


def test_the_file_counts_once_it_has_its_name(sink: FileSink, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("zmqfl.blobs.arrival.sync_folder", fail)
    receive(sink, [0, 1, 2])
    assert sink.commit().read_bytes() == CONTENT


def test_discard_tells_no_error_of_its_own(sink: FileSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        sink.discard()
    assert names(tmp_path) == ["x.bin.part"]


# --------------------------------------------------------------------------------------------------------------- resume


def leave_part(folder: Path, indices: list[int]) -> None:
    """What an earlier download left."""
    sink = FileSink(folder, "x", 3 * CHUNK)
    assert sink.resume("f1", CHUNK) == {}
    receive(sink, indices)
    sink.close()
    assert names(folder) == ["x.part", "x.part.map"]


def finish(sink: FileSink, expected: set[int]) -> None:
    """Resume, find the expected chunks, receive the rest."""
    known = sink.resume("f1", CHUNK)
    assert known == {index: digest(chunks(3 * CHUNK)[index]) for index in expected}
    receive(sink, [index for index in range(3) if index not in known])
    assert sink.commit().read_bytes() == CONTENT


@pytest.mark.parametrize("indices", [[], [0], [2], [1, 0], [2, 0, 1]])
def test_pull_D07_what_is_there_need_not_come_again(tmp_path: Path, indices: list[int]) -> None:
    leave_part(tmp_path, indices)
    finish(FileSink(tmp_path, "x", 3 * CHUNK), set(indices))
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("size", SIZES)
def test_pull_D07_whole_files_of_any_size_need_nothing(tmp_path: Path, size: int) -> None:
    sink = FileSink(tmp_path, "x", size)
    sink.resume("f1", CHUNK)
    receive(sink, list(range(len(chunks(size)))))
    sink.close()
    again = FileSink(tmp_path, "x", size)
    assert again.resume("f1", CHUNK).keys() == set(range(len(chunks(size))))
    assert again.commit().read_bytes() == CONTENT[:size]


def test_pull_D07_resumed_twice_and_thrice(tmp_path: Path) -> None:
    leave_part(tmp_path, [1])
    for known, index in [({1}, 2), ({1, 2}, 0)]:
        sink = FileSink(tmp_path, "x", 3 * CHUNK)
        assert sink.resume("f1", CHUNK).keys() == known
        receive(sink, [index])
        sink.close()
    finish(FileSink(tmp_path, "x", 3 * CHUNK), {0, 1, 2})


def test_pull_D07_bytes_that_do_not_match_come_again(tmp_path: Path) -> None:
    leave_part(tmp_path, [0, 1, 2])
    with (tmp_path / "x.part").open("r+b") as stream:
        stream.seek(CHUNK)
        stream.write(b"XX")
        stream.truncate(3 * CHUNK - 1)
    finish(FileSink(tmp_path, "x", 3 * CHUNK), {0})


@pytest.mark.parametrize(
    ("fingerprint", "size", "chunk"), [("f2", 3 * CHUNK, CHUNK), ("f1", CHUNK, CHUNK), ("f1", 3 * CHUNK, 2 * CHUNK)]
)
def test_pull_D07_a_part_of_another_source_is_no_part_of_this(
    tmp_path: Path, fingerprint: str, size: int, chunk: int
) -> None:
    leave_part(tmp_path, [0, 1, 2])
    sink = FileSink(tmp_path, "x", size)
    assert sink.resume(fingerprint, chunk) == {}
    assert (tmp_path / "x.part").stat().st_size == 0
    receive(sink, list(range(len(chunks(size)))))
    assert sink.commit().read_bytes() == CONTENT[:size]


@pytest.mark.parametrize("missing", ["x.part", "x.part.map"])
def test_pull_D07_half_of_what_was_left_is_nothing(tmp_path: Path, missing: str) -> None:
    leave_part(tmp_path, [0, 1, 2])
    (tmp_path / missing).unlink()
    finish(FileSink(tmp_path, "x", 3 * CHUNK), set())


def test_pull_D07_a_part_that_is_too_long_is_none(tmp_path: Path) -> None:
    leave_part(tmp_path, [0, 1, 2])
    with (tmp_path / "x.part").open("ab") as stream:
        stream.write(b"x")
    finish(FileSink(tmp_path, "x", 3 * CHUNK), set())


def test_pull_D07_open_begins_anew(tmp_path: Path) -> None:
    leave_part(tmp_path, [0, 1, 2])
    sink = FileSink(tmp_path, "x", 3 * CHUNK)
    sink.open()
    assert (names(tmp_path), (tmp_path / "x.part").stat().st_size) == (["x.part"], 0)
    sink.discard()


def test_pull_D07_a_disk_that_cannot_be_read_now_may_be_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_part(tmp_path, [0, 1])

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("zmqfl.blobs.sink.read_fully", fail)
        with pytest.raises(SinkError, match="the disk fails"):
            FileSink(tmp_path, "x", 3 * CHUNK).resume("f1", CHUNK)
    finish(FileSink(tmp_path, "x", 3 * CHUNK), {0, 1})


RECEIVER = """
import sys
from pathlib import Path
from zmqfl.blobs.digest import digest
from zmqfl.blobs.sink import FileSink

folder, chunk = Path(sys.argv[1]), int(sys.argv[2])
content = (folder / "source").read_bytes()
sink = FileSink(folder, "x", len(content))
sink.resume("f1", chunk)
for index in map(int, sys.stdin.readline().split()):
    data = content[index * chunk : (index + 1) * chunk]
    sink.write(index * chunk, data)
    sink.mark(index, digest(data))
sink.write(chunk, content[chunk : chunk + chunk // 2])  # in the middle of chunk 1
print("half", flush=True)
sys.stdin.readline()
"""


def test_pull_D07_a_receiver_that_is_killed_in_mid_write_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    command = [sys.executable, "-c", RECEIVER, str(tmp_path), str(CHUNK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdin is not None
        assert receiver.stdout is not None
        receiver.stdin.write("2 0\n")
        receiver.stdin.flush()
        assert receiver.stdout.readline() == "half\n"
        with pytest.raises(SinkError, match="another download writes to it"):
            FileSink(tmp_path, "x", 3 * CHUNK).resume("f1", CHUNK)
        receiver.kill()
        assert receiver.wait() == -signal.SIGKILL
    assert names(tmp_path) == ["source", "x.part", "x.part.map"]
    finish(FileSink(tmp_path, "x", 3 * CHUNK), {0, 2})
    assert names(tmp_path) == ["source", "x"]
