from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zmqfl.blobs import arrival
from zmqfl.blobs.arrival import OnExists, place, sync_folder
from zmqfl.errors import SinkError


@pytest.fixture
def part(tmp_path: Path) -> Path:
    part = tmp_path / "x.tar.gz.part"
    part.write_text("new")
    return part


@pytest.fixture(params=["links", "no links"])
def final(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The name, on a file system with and without hard links."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)
    return tmp_path / "x.tar.gz"


@pytest.mark.parametrize("on_exists", ["replace", "keep", "fail"])
def test_a_free_name_is_taken(part: Path, final: Path, on_exists: OnExists) -> None:
    assert place(part, final, on_exists) == final
    assert (final.read_text(), part.exists()) == ("new", False)


def test_replace(part: Path, final: Path) -> None:
    final.write_text("old")
    assert place(part, final, "replace") == final
    assert (final.read_text(), part.exists()) == ("new", False)


def test_fail(part: Path, final: Path) -> None:
    final.write_text("old")
    with pytest.raises(SinkError, match=r"x\.tar\.gz: exists already; remove it, or choose another name"):
        place(part, final, "fail")
    assert (final.read_text(), part.read_text()) == ("old", "new")


def test_keep_adds_the_first_free_number(part: Path, final: Path) -> None:
    final.write_text("old")
    (final.parent / "x.tar-1.gz").symlink_to("nothing")  # a name is taken also by a link to nothing
    assert place(part, final, "keep") == final.parent / "x.tar-2.gz"
    assert (final.read_text(), (final.parent / "x.tar-2.gz").read_text(), part.exists()) == ("old", "new", False)


def test_keep_ends_when_all_numbers_are_taken(part: Path, final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "MAX_NUMBER", 1)
    final.write_text("old")
    (final.parent / "x.tar-1.gz").write_text("old")
    with pytest.raises(SinkError, match="exists already"):
        place(part, final, "keep")


def test_links_are_replaced_not_followed(part: Path, final: Path) -> None:
    (final.parent / "precious").write_text("precious")
    final.symlink_to("precious")
    place(part, final, "replace")
    assert (final.parent / "precious").read_text() == "precious"
    assert not final.is_symlink()


@pytest.mark.parametrize("on_exists", ["replace", "keep", "fail"])
def test_a_rename_that_fails_leaves_nothing_under_the_name(part: Path, final: Path, on_exists: OnExists) -> None:
    part.unlink()
    with pytest.raises(FileNotFoundError):
        place(part, final, on_exists)
    assert list(final.parent.iterdir()) == []


def test_names_are_brought_to_the_disk(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "nothing")
