"""A job folder as bytes: it comes out as it went in, and can write nowhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from zmqfl.errors import InvalidRequest, UserError
from zmqfl.fl.jobs import archive
from zmqfl.fl.jobs.archive import pack, unpack


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    (folder / "app/custom/__pycache__").mkdir(parents=True)
    (folder / "app/custom/__pycache__/x.pyc").write_bytes(b"x")
    (folder / "app/custom/ä.py").write_text("x = 1")
    (folder / "meta.json").write_text("{}")
    return folder


def test_out_as_in(job: Path, tmp_path: Path) -> None:
    unpack(pack(job), tmp_path / "out")
    assert tree(tmp_path / "out") == {"meta.json": b"{}", "app/custom/ä.py": b"x = 1"}
    assert pack(tmp_path / "out") == pack(job)


def test_no_links(job: Path) -> None:
    (job / "app/data").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="app/data: is no plain file; put a copy of what it names into the job"):
        pack(job)


def test_not_too_big(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack(job)
    monkeypatch.setattr(archive, "MAX_BYTES", 3)
    with pytest.raises(UserError, match="have the sites hold big data themselves"):
        pack(job)
    with pytest.raises(InvalidRequest, match="the job is too big"):
        unpack(data, tmp_path / "out")


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        tar.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        entry("../outside"),
        entry("a/../../outside"),
        entry("link", tarfile.SYMTYPE, "/etc"),
        entry("hard", tarfile.LNKTYPE, "meta.json"),
        entry("device", tarfile.CHRTYPE),
        b"nonsense",
        b"\0" * 100,
    ],
)
def test_hostile(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        unpack(data, tmp_path / "deep/out")
    assert tree(tmp_path) == {}


def test_an_absolute_name_is_below_the_folder(tmp_path: Path) -> None:
    unpack(entry("/x"), tmp_path / "out")
    assert tree(tmp_path) == {"out/x": b""}
