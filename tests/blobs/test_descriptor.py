from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from zmqfl.blobs.descriptor import Descriptor, read_fully, write_fully


@pytest.fixture
def fd(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_it_is_closed_when_the_last_user_has_left(fd: int) -> None:
    descriptor = Descriptor(fd)
    with descriptor as first:
        with descriptor as second:
            assert first == second == fd
            descriptor.close()
            descriptor.close()
        assert is_open(fd)
    assert not is_open(fd)
    assert repr(descriptor) == f"<Descriptor {fd} closed, 0 users>"


def test_closed_lets_nobody_in(fd: int) -> None:
    descriptor = Descriptor(fd)
    descriptor.close()
    with pytest.raises(OSError, match="Bad file descriptor"), descriptor:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        descriptor.seal()


def test_seal_waits_for_the_users_and_lets_nobody_else_in(fd: int) -> None:
    descriptor, sealed = Descriptor(fd), threading.Event()

    def seal() -> None:
        assert descriptor.seal() == fd
        sealed.set()

    thread = threading.Thread(target=seal)
    with descriptor:
        thread.start()
        while True:  # until the seal is on
            try:
                with descriptor:
                    pass
            except OSError:
                break
        assert not sealed.is_set()
    thread.join()
    assert sealed.is_set()
    assert "sealed" in repr(descriptor)
    descriptor.close()
    assert not is_open(fd)


def test_short_reads_and_writes_are_finished(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, pread = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, bytes(data)[:3], offset))
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 4), offset))
    write_fully(fd, 2, memoryview(b"0123456789"))
    assert read_fully(fd, 2, 10) == b"0123456789"
    assert read_fully(fd, 8, 100) == b"6789"
    assert read_fully(fd, 100, 1) == b""
    write_fully(fd, 0, b"")
    os.close(fd)


def test_whatever_holds_numbers_is_written_as_its_bytes(fd: int) -> None:
    write_fully(fd, 0, memoryview(b"01234567").cast("I"))
    assert read_fully(fd, 0, 8) == b"01234567"
    os.close(fd)
