from __future__ import annotations

import array
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from zmqfl.blobs.digest import digest
from zmqfl.blobs.source import BufferSource, FileSource, Source
from zmqfl.errors import ArgumentError, BlobError, SourceChangedError, SourceError

CHUNK = 4096
CONTENT = bytes(range(256)) * 48  # 3 chunks
LONG_AGO = 1_700_000_000_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file whose time of modification is not now, so that a modification shows."""
    file = tmp_path / "model.pt"
    file.write_bytes(CONTENT)
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    return file


@pytest.fixture
def source(file: Path) -> Iterator[FileSource]:
    source = FileSource(file)
    yield source
    source.close()


def read_all(source: Source, chunk: int = CHUNK) -> bytes:
    return b"".join(source.read(offset, chunk) for offset in range(0, source.size, chunk))


# --------------------------------------------------------------------------------------------------------------- a file


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_push_P01_a_file_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "x").write_bytes(CONTENT[:size])
    source = FileSource(tmp_path / "x")
    assert (source.name, source.size, read_all(source)) == ("x", size, CONTENT[:size])
    source.close()


def test_reads_end_at_the_end(source: FileSource) -> None:
    assert source.read(source.size - 3, CHUNK) == CONTENT[-3:]
    assert source.read(source.size, CHUNK) == source.read(1 << 70, CHUNK) == source.read(0, 0) == b""
    assert source.read(5, 1 << 70) == CONTENT[5:]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
def test_ranges_are_not_negative(source: FileSource, offset: int, length: int) -> None:
    with pytest.raises(ArgumentError, match="offset and length must be 0 or more"):
        source.read(offset, length)
    with pytest.raises(ArgumentError, match="offset and length must be 0 or more"):
        BufferSource("x", b"abc").read(offset, length)


def test_short_reads_are_finished(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 1000), offset))
    assert read_all(source) == CONTENT


def test_push_P03_a_missing_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/missing: there is no such file; name a file that exists"):
        FileSource(tmp_path / "missing")


def test_folders_pipes_devices_and_sockets_are_refused_and_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"is a folder; name a file, or pack"):
        FileSource(tmp_path)
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(SourceError, match="is no regular file"):
            FileSource(path)


def test_a_file_that_becomes_a_pipe_while_it_is_opened(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.stat

    def replace_after_look(path: Path) -> os.stat_result:
        found = look(path)
        file.unlink()
        os.mkfifo(file)
        return found

    monkeypatch.setattr(os, "stat", replace_after_look)
    with pytest.raises(SourceError, match="is no regular file"):
        FileSource(file)


def test_an_unreadable_file_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # the mode of a file does not bind root
    with pytest.raises(SourceError, match="may not be read; mend its rights"):
        FileSource(file)


def test_a_relative_path_is_held_against_the_folder_of_now(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    source = FileSource(file.name)
    monkeypatch.chdir("/")
    assert read_all(source) == CONTENT
    source.close()


def test_a_name_that_is_no_text_can_still_travel(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"bad\xff")
    file.write_bytes(b"x")
    source = FileSource(file)
    assert source.name == "bad\ufffd"
    assert source.read(0, 1) == b"x"
    source.close()


def test_the_fingerprint_tells_files_and_versions_apart(file: Path, source: FileSource) -> None:
    same = FileSource(file)
    assert same.fingerprint == source.fingerprint
    os.utime(file, ns=(LONG_AGO, LONG_AGO + 1))
    touched = FileSource(file)
    assert touched.fingerprint != source.fingerprint
    same.close()
    touched.close()


def modify(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"X")


def truncate(file: Path) -> None:
    os.truncate(file, CHUNK)


def append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"X")


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(CONTENT)
    os.utime(other, ns=(LONG_AGO, LONG_AGO))
    other.rename(file)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (modify, "was modified since it was opened"),
        (append, "was modified since it was opened"),
        (truncate, "has 4096 bytes, but had 12288 when it was opened"),
        (replace, "was replaced by another file since it was opened"),
    ],
)
@pytest.mark.parametrize("offset", [0, CHUNK, 2 * CHUNK])
def test_pull_D06_a_file_that_changed_is_an_error_wherever_it_is_read(
    file: Path, source: FileSource, change: Callable[[Path], None], problem: str, offset: int
) -> None:
    assert source.read(offset, CHUNK) == CONTENT[offset : offset + CHUNK]
    change(file)
    with pytest.raises(SourceChangedError) as raised:
        source.read(offset, CHUNK)
    assert raised.value.file == str(file)
    assert raised.value.problem == problem
    assert raised.value.remedy == "send it again when nobody writes to it"


def test_pull_D06_a_file_that_was_deleted_is_an_error(file: Path, source: FileSource) -> None:
    file.unlink()
    with pytest.raises(SourceError, match=r"model\.pt: there is no such file"):
        source.read(0, CHUNK)


def test_pull_D06_a_change_during_the_read_is_seen(
    file: Path, source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread

    def read_then_modify(fd: int, length: int, offset: int) -> bytes:
        data = pread(fd, length, offset)
        modify(file)
        return data

    monkeypatch.setattr(os, "pread", read_then_modify)
    with pytest.raises(SourceChangedError, match="was modified"):
        source.read(0, CHUNK)


def test_pull_D06_a_short_read_is_never_served(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    with pytest.raises(SourceChangedError, match="was modified"):
        source.read(0, CHUNK)


def test_an_error_of_the_disk_is_told(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(SourceError, match="the disk fails"):
        source.read(0, CHUNK)


def test_reading_a_file_or_linking_it_is_no_change(file: Path, source: FileSource) -> None:
    file.read_bytes()
    os.link(file, file.with_name("backup"))
    file.chmod(0o600)
    assert read_all(source) == CONTENT


def test_several_threads_read_at_once(source: FileSource) -> None:
    wrong: list[int] = []

    def read(first: int) -> None:
        for offset in range(first, source.size, 1024):
            if source.read(offset, 512) != CONTENT[offset : offset + 512]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(0, 1024, 128)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_source_is_an_error_and_hints_do_nothing(file: Path) -> None:
    source = FileSource(file)
    source.prefetch(0, CHUNK)
    source.prefetch(0, 1 << 40)
    source.close()
    source.close()
    source.prefetch(0, CHUNK)
    with pytest.raises(SourceError, match=r"model\.pt: is closed; open the source again"):
        source.read(0, 1)
    assert repr(source) == f"<FileSource {file}, 12288 bytes>"


# ------------------------------------------------------------------------------------------------------------- a buffer


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_buffer_of_any_size_and_kind(size: int, copy: bool, kind: Callable[[bytes], bytes]) -> None:
    source = BufferSource("x", kind(CONTENT[:size]), copy)
    source.fix(CHUNK)
    assert (source.name, source.size, read_all(source)) == ("x", size, CONTENT[:size])
    assert list(source.digests) == [digest(CONTENT[at : min(at + CHUNK, size)]) for at in range(0, size, CHUNK)]


def test_a_buffer_is_not_copied_and_not_writable() -> None:
    buffer = bytearray(CONTENT)
    view = BufferSource("x", buffer).read(5, 10)
    assert view.readonly
    buffer[5:7] = b"XY"
    assert bytes(view[:2]) == b"XY"


def test_arrays_are_read_as_their_bytes() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert read_all(BufferSource("x", values.data)) == values.tobytes()
    assert read_all(BufferSource("x", memoryview(array.array("i", [1, 2])))) == array.array("i", [1, 2]).tobytes()
    assert BufferSource("x", np.zeros((3, 0)).data).size == 0


def test_a_buffer_with_gaps_is_refused() -> None:
    with pytest.raises(ArgumentError, match="the buffer of x cannot be read as bytes"):
        BufferSource("x", np.arange(12).reshape(3, 4)[:, 1:3].data)


@pytest.mark.parametrize("where", [0, CHUNK - 1, CHUNK, 3 * CHUNK - 1])
def test_a_buffer_that_changed_after_fix_is_an_error(where: int) -> None:
    buffer = bytearray(CONTENT)
    source = BufferSource("weights", buffer)
    source.fix(CHUNK)
    buffer[where] ^= 1
    changed = where // CHUNK
    for index in range(3):
        if index == changed:
            with pytest.raises(SourceChangedError, match=r"weights: was modified while it was sent; .* copy=True"):
                source.read(index * CHUNK, CHUNK)
        else:
            source.read(index * CHUNK, CHUNK)
    buffer[where] ^= 1
    assert read_all(source) == CONTENT


def test_a_read_across_the_grid_is_checked_too() -> None:
    buffer = bytearray(CONTENT)
    source = BufferSource("weights", buffer)
    source.fix(CHUNK)
    buffer[CHUNK] ^= 1
    assert source.read(5, 10) == CONTENT[5:15]
    for offset, length in [(CHUNK - 1, 2), (0, 1 << 40), (CHUNK + 9, 1)]:
        with pytest.raises(SourceChangedError):
            source.read(offset, length)


def test_a_snapshot_does_not_change() -> None:
    buffer = bytearray(CONTENT)
    source = BufferSource("x", buffer, copy=True)
    source.fix(CHUNK)
    buffer[:] = bytes(len(CONTENT))
    assert read_all(source) == CONTENT


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_grid_needs_positive_chunks(chunk: int) -> None:
    with pytest.raises(ArgumentError, match="chunk must be a positive number of bytes"):
        BufferSource("x", b"abc").fix(chunk)


def test_each_buffer_source_has_a_fingerprint_of_its_own() -> None:
    assert BufferSource("x", b"abc").fingerprint != BufferSource("x", b"abc").fingerprint


def test_a_closed_buffer_source_lets_go() -> None:
    buffer = bytearray(CONTENT)
    source = BufferSource("x", buffer)
    view = source.read(0, 3)
    source.close()
    source.close()
    source.prefetch(0, 1)
    assert view == CONTENT[:3]
    view.release()
    buffer.append(1)  # nobody refers to it any more
    with pytest.raises(BlobError, match="x: is closed; open the source again"):
        source.read(0, 1)
    assert repr(source) == "<BufferSource x, 12288 bytes>"
