from __future__ import annotations

import os
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zmqfl.blobs.npz import read_npz, write_npz
from zmqfl.errors import SinkError, SourceError

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "plain": np.arange(1000.0).reshape(10, 100),
    "fortran": np.asfortranarray(np.arange(12, dtype=">i4").reshape(3, 4)),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 3), np.float32),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "text": np.array(["a", "bcd"]),
    "days": np.array(["2026-01-31"], "datetime64[D]"),
    "rows": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    "file": np.arange(3),  # the name of an argument of savez
    "a/b.npy": np.arange(3),
    "naïve": np.arange(3),
    "": np.arange(3),
}


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], value) and found[key].dtype == value.dtype for key, value in expected.items()
    )


@pytest.mark.parametrize("is_compressed", [False, True])
def test_what_numpy_writes(tmp_path: Path, is_compressed: bool) -> None:
    path = tmp_path / "a.npz"
    arrays = {key: value for key, value in ARRAYS.items() if key != "file"}
    (np.savez_compressed if is_compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]
    found = read_npz(path)
    assert same(found, arrays)
    assert found["plain"].flags.writeable is is_compressed  # else it is mapped
    assert found["fortran"].flags.f_contiguous


def test_what_numpy_reads(tmp_path: Path) -> None:
    path = write_npz(tmp_path, "a.npz", ARRAYS)
    assert path == tmp_path / "a.npz"
    with np.load(path, allow_pickle=False) as found:
        assert same(dict(found), ARRAYS)
    assert same(read_npz(path), ARRAYS)
    assert os.listdir(tmp_path) == ["a.npz"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_numbers(tmp_path: Path) -> None:
    found = read_npz(write_npz(tmp_path, "a.npz", {"i": 3, "f": 0.5, "b": True, "c": 1j, "n": np.float32(2)}))
    assert {key: value.item() for key, value in found.items()} == {"i": 3, "f": 0.5, "b": True, "c": 1j, "n": 2.0}
    assert read_npz(write_npz(tmp_path, "none.npz", {})) == {}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"x": [1]}, "entry 'x' is a list; only arrays and numbers can be in an .npz"),
        ({"x": None}, "entry 'x' is a NoneType"),
        ({"good": 1, "x": "text"}, "entry 'x' is a str"),
        ({"x": 1 << 70}, "entry 'x' is a int"),
        ({"x": Decimal(1)}, "entry 'x' is a Decimal"),
        ({"x": np.array([None])}, "entry 'x' is a ndarray"),
        ({3: 1}, "entry 3 has no text as its name"),
        ({"a\0b": 1}, "has a name that files cannot have"),
        ({"\udc80": 1}, "has a name that files cannot have"),
    ],
)
def test_what_cannot_be_in_one(tmp_path: Path, values: Any, problem: str) -> None:
    with pytest.raises(SinkError) as caught:
        write_npz(tmp_path, "a.npz", values)
    assert problem in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_dtype_that_would_be_lost(tmp_path: Path) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with pytest.raises(SinkError, match="entry 'x' is of type bfloat16"):
        write_npz(tmp_path, "a.npz", {"x": np.zeros(3, bfloat16)})


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("mine")
    assert write_npz(tmp_path, "a.npz", {"x": 1}) == tmp_path / "a-1.npz"
    with pytest.raises(SinkError, match="exists already"):
        write_npz(tmp_path, "a.npz", {"x": 1}, "fail")
    assert (tmp_path / "a.npz").read_text() == "mine"
    assert write_npz(tmp_path, "a.npz", {"x": 1}, "replace") == tmp_path / "a.npz"
    assert sorted(os.listdir(tmp_path)) == ["a-1.npz", "a.npz"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SinkError("the disk is full", file="a.npz")

    monkeypatch.setattr("zmqfl.blobs.npz._write", full)
    with pytest.raises(SinkError, match="the disk is full"):
        write_npz(tmp_path, "a.npz", {"x": 1})
    assert os.listdir(tmp_path) == []


def test_what_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in b"", b"text", b"PK\x05\x06" + bytes(9):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="of plain arrays"):
            read_npz(path)
    np.save(tmp_path / "b.npy", np.arange(3))
    with pytest.raises(SourceError, match="of plain arrays"):
        read_npz(tmp_path / "b.npy")
    with pytest.raises(SourceError, match="no such file"):
        read_npz(tmp_path / "missing.npz")
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("readme.txt", "text")
    with pytest.raises(SourceError, match="which is no array"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("x.npy", b"\x93NUMPY\x01\x00\xff\xff{}")
    with pytest.raises(SourceError, match="of plain arrays"):
        read_npz(path)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", good=np.arange(3), x=np.array([{"a": 1}], object))
    with pytest.raises(SourceError, match="array 'x' holds Python objects, which do not travel"):
        read_npz(tmp_path / "a.npz")


def test_damage_is_seen(tmp_path: Path) -> None:
    path = write_npz(tmp_path, "a.npz", {"x": np.arange(1000.0)})
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"is damaged at 'x\.npy'"):
        read_npz(path)
    path.write_bytes(content[:4000])
    with pytest.raises(SourceError, match="of plain arrays"):
        read_npz(path)
