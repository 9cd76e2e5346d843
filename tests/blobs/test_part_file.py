from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zmqfl.blobs import part_file
from zmqfl.blobs.part_file import create, identity_of, is_at, reopen
from zmqfl.errors import SinkError


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "x.part"


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_it_is_made_for_us_alone(part: Path, closing: ExitStack) -> None:
    fd = create(part)
    closing.callback(os.close, fd)
    assert part.stat().st_mode & 0o777 == 0o600
    assert is_at(identity_of(fd), part)
    part.unlink()
    assert not is_at(identity_of(fd), part)


def test_two_at_once_collide(part: Path, closing: ExitStack) -> None:
    closing.callback(os.close, create(part))
    for open_again in (create, reopen):
        with pytest.raises(SinkError, match=r"x\.part: another download writes to it; wait for it to end, or choose"):
            open_again(part)
    assert part.exists()


def test_what_a_dead_process_left_is_removed_or_taken_up(part: Path, closing: ExitStack) -> None:
    part.write_text("old")
    part.chmod(0o666)
    fd = reopen(part)
    assert fd is not None
    assert (os.pread(fd, 9, 0), part.stat().st_mode & 0o777) == (b"old", 0o600)
    os.close(fd)
    closing.callback(os.close, create(part))
    assert part.read_bytes() == b""


def test_there_is_nothing_to_take_up(part: Path) -> None:
    assert reopen(part) is None
    assert not part.exists()


def test_what_has_another_name_too_is_not_taken_up_but_replaced(part: Path, tmp_path: Path, closing: ExitStack) -> None:
    (tmp_path / "precious").write_text("precious")
    os.link(tmp_path / "precious", part)
    assert reopen(part) is None
    closing.callback(os.close, create(part))
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("open_it", [create, reopen])
def test_links_are_not_followed(part: Path, tmp_path: Path, open_it: Callable[[Path], int | None]) -> None:
    (tmp_path / "precious").write_text("precious")
    part.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError) as raised:  # noqa: PT011  which one is said below
        open_it(part)
    assert raised.value.errno == errno.ELOOP


def test_pipes_and_folders_are_refused_and_do_not_block(part: Path) -> None:
    os.mkfifo(part)
    for open_it in (create, reopen):
        with pytest.raises(SinkError, match="is no regular file"):
            open_it(part)
    part.unlink()
    part.mkdir()
    with pytest.raises(IsADirectoryError):
        create(part)


def test_a_file_system_without_locks_will_do(part: Path, closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    closing.callback(os.close, create(part))
    assert part.exists()


def test_a_file_that_was_renamed_while_it_was_opened_is_not_the_one(
    part: Path, closing: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    part.write_text("old")
    flock, moved = fcntl.flock, part.with_name("moved")

    def rename_first(fd: int, operation: int) -> None:
        if not moved.exists():
            part.rename(moved)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", rename_first)
    fd = create(part)
    closing.callback(os.close, fd)
    assert is_at(identity_of(fd), part)
    assert moved.read_text() == "old"


def test_who_always_comes_second_gives_up(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part.write_text("old")
    monkeypatch.setattr(part_file, "is_at", lambda *_: False)
    with pytest.raises(SinkError, match="another download writes to it"):
        create(part)


def test_a_lock_that_fails_is_an_error_and_closes(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"):
        create(part)


def test_room_is_checked(tmp_path: Path) -> None:
    part_file.check_room(tmp_path / "x", 1)
    with pytest.raises(SinkError, match=r"x: needs 1152921504606846976 bytes, but \d+ are free there; free space"):
        part_file.check_room(tmp_path / "x", 1 << 60)
