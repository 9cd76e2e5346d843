from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from zmqfl.blobs.digest import digest
from zmqfl.blobs.sidecar import Sidecar, load
from zmqfl.errors import SinkError

DIGESTS = {index: digest(bytes([index])) for index in range(10)}
RECORD = 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.part.map"


def write(file: Path, digests: dict[int, bytes]) -> None:
    sidecar = Sidecar(file, "f1", 1000, 100)
    for index, value in digests.items():
        sidecar.append(index, value)
    sidecar.close()


def test_what_is_appended_is_loaded(file: Path) -> None:
    write(file, DIGESTS)
    assert load(file, "f1", 1000, 100) == DIGESTS
    assert file.read_bytes() == (
        b'{"zmqfl part": 1, "fingerprint": "f1", "size": 1000, "chunk": 100}\n'
        + b"".join(index.to_bytes(4, "little") + value for index, value in DIGESTS.items())
    )
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("fingerprint", "size", "chunk"), [("f2", 1000, 100), ("f1", 1001, 100), ("f1", 1000, 101)])
def test_what_belongs_to_another_source_is_not_loaded(file: Path, fingerprint: str, size: int, chunk: int) -> None:
    write(file, DIGESTS)
    assert load(file, fingerprint, size, chunk) == {}


def test_any_fingerprint_is_one_line(file: Path) -> None:
    for fingerprint in ("a\nb", '"', "模", "\udcff"):
        Sidecar(file, fingerprint, 5, 1, {0: DIGESTS[0]}).close()
        assert load(file, fingerprint, 5, 1) == {0: DIGESTS[0]}


def test_a_torn_record_is_left_out(file: Path) -> None:
    write(file, DIGESTS)
    whole = file.stat().st_size
    for missing in range(1, RECORD):
        os.truncate(file, whole - missing)
        assert load(file, "f1", 1000, 100) == {index: value for index, value in DIGESTS.items() if index < 9}
    os.truncate(file, 10)
    assert load(file, "f1", 1000, 100) == {}


def test_the_last_record_of_a_chunk_counts(file: Path) -> None:
    write(file, DIGESTS)
    Sidecar(file, "f1", 1000, 100, {3: DIGESTS[4]}).close()
    assert load(file, "f1", 1000, 100) == {3: DIGESTS[4]}
    sidecar = Sidecar(file, "f1", 1000, 100, {3: DIGESTS[4]})
    sidecar.append(3, DIGESTS[3])
    sidecar.close()
    assert load(file, "f1", 1000, 100) == {3: DIGESTS[3]}


def test_garbage_is_nothing(file: Path) -> None:
    assert load(file, "f1", 1000, 100) == {}
    file.write_bytes(os.urandom(1000))
    assert load(file, "f1", 1000, 100) == {}
    write(file, {10: DIGESTS[0]})  # there are chunks 0 to 9
    assert load(file, "f1", 1000, 100) == {}
    file.unlink()
    os.mkfifo(file)
    assert load(file, "f1", 1000, 100) == {}
    file.unlink()
    file.mkdir()
    assert load(file, "f1", 1000, 100) == {}


def test_links_are_not_followed(file: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", DIGESTS)
    file.symlink_to("other")
    assert load(file, "f1", 1000, 100) == {}


def test_endless_records_are_not_all_read(file: Path) -> None:
    write(file, DIGESTS)
    with file.open("ab") as stream:
        stream.truncate(1 << 34)  # sparse; read whole, it would not fit into memory
    assert load(file, "f1", 1000, 100).keys() == DIGESTS.keys()


def test_several_threads_append_at_once(file: Path) -> None:
    sidecar = Sidecar(file, "f1", 8000, 1)

    def append(first: int) -> None:
        for index in range(first, 8000, 8):
            sidecar.append(index, DIGESTS[1])

    threads = [threading.Thread(target=append, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sidecar.close()
    assert load(file, "f1", 8000, 1) == dict.fromkeys(range(8000), DIGESTS[1])


def test_a_record_that_was_torn_is_overwritten_by_the_next(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar, pwrite = Sidecar(file, "f1", 1000, 100), os.pwrite

    def fill_disk(fd: int, data: bytes, offset: int) -> int:
        pwrite(fd, data[:7], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fill_disk)
        with pytest.raises(SinkError, match=r"x\.part\.map: the disk is full; free space"):
            sidecar.append(1, DIGESTS[1])
    sidecar.append(2, DIGESTS[2])
    sidecar.close()
    assert load(file, "f1", 1000, 100) == {2: DIGESTS[2]}


def test_a_closed_sidecar_and_one_that_cannot_be_made_are_errors(file: Path, tmp_path: Path) -> None:
    sidecar = Sidecar(file, "f1", 1000, 100)
    sidecar.close()
    sidecar.close()
    with pytest.raises(SinkError, match="is not open"):
        sidecar.append(1, DIGESTS[1])
    assert repr(sidecar) == f"<Sidecar {file}, 67 bytes>"
    with pytest.raises(SinkError, match="its folder does not exist"):
        Sidecar(tmp_path / "missing" / "x", "f1", 1000, 100)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(SinkError, match="is a symbolic link"):
        Sidecar(tmp_path / "link", "f1", 1000, 100)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match="Illegal seek"):
        Sidecar(tmp_path / "pipe", "f1", 1000, 100)
