from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.blobs.arrival import MAX_NUMBER
from zmqfl.blobs.paths import MAX_NAME, SIDECAR, resolve_below, safe_name
from zmqfl.errors import SourceError

# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model.pt", "model.pt"),
        ("a b..c.tar.gz", "a b..c.tar.gz"),
        ("Größe-模型.pt", "Größe-模型.pt"),
        ("/etc/passwd", "passwd"),
        ("../../x", "x"),
        ("C:\\data\\x.csv", "x.csv"),
        ("folder/", "folder"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        ("../..", "unnamed"),
        ("///", "unnamed"),
        ("  ", "unnamed"),
        (".bashrc", "bashrc"),
        (". .x ", "x"),
        ("a\x00b\nc\x7f", "a_b_c_"),
        ("gpj.\u202eexe", "gpj._exe"),
        ("bad\udcff", "bad_"),
        ("x.part", "x.part_"),
        ("x.part.map", "x.part.map_"),
    ],
)
def test_a_name_from_a_peer_is_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name
    assert safe_name(name) == name


@pytest.mark.parametrize("text", ["x" * 500 + ".nii.gz", "模" * 300, "y." + "z" * 300, "x" * 500 + ".part", "ab " * 99])
def test_long_names_are_cut_and_keep_a_short_suffix(text: str) -> None:
    name = safe_name(text)
    assert len(name.encode()) <= MAX_NAME
    assert safe_name(name) == name
    assert name.endswith(".gz") == text.endswith(".gz")


def test_room_is_left_for_what_comes_behind_a_name() -> None:
    assert MAX_NAME + max(len(SIDECAR), len(f"-{MAX_NUMBER}")) <= 255


# ---------------------------------------------------------------------------------------------------------------- paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "exports"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "sub" / "b").write_text("b")
    (tmp_path / "secret").write_text("secret")
    (root / "inside").symlink_to("sub/b")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    return root


@pytest.mark.parametrize(("path", "found"), [("a", "a"), ("sub/b", "sub/b"), ("./a", "a"), ("inside", "sub/b")])
def test_ret_R03_files_below_a_root_are_found(root: Path, path: str, found: str) -> None:
    assert resolve_below([root], path) == root.resolve() / found
    assert resolve_below([root], str(root / path)) == root.resolve() / found


@pytest.mark.parametrize(
    "path",
    [
        *("../a", "../secret", "sub/../a", "/etc/hostname", "outside", "folder/secret", "loop", "dangling"),
        *("", ".", "/", "sub", "sub/", "a/b", "nothing", "a\x00b", "x" * 5000, "bad\udcff", "~/x", "a\nb"),
    ],
)
def test_ret_R03_all_else_is_refused(root: Path, path: str) -> None:
    with pytest.raises(SourceError) as raised:
        resolve_below([root], path)
    assert raised.value.remedy
    assert str(root) not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_ret_R03_what_is_outside_cannot_be_told_from_what_is_not(root: Path) -> None:
    problems = set()
    for path in ("/etc/passwd", "/etc/nothing", "outside", "dangling", "../secret", "../nothing"):
        with pytest.raises(SourceError) as raised:
            resolve_below([root], path)
        problems.add((raised.value.problem, raised.value.remedy))
    assert len(problems) == 1


def test_ret_R03_a_folder_whose_name_begins_like_a_root_is_outside(root: Path) -> None:
    beside = root.with_name("exports-2")
    beside.mkdir()
    (beside / "x").write_text("x")
    with pytest.raises(SourceError):
        resolve_below([root], str(beside / "x"))


def test_ret_R03_links_may_lead_to_another_root_and_roots_may_be_links(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x")
    (root / "to-x").symlink_to(other / "x")
    (tmp_path / "link").symlink_to(root)
    assert resolve_below([tmp_path / "link", other], "to-x") == other.resolve() / "x"
    assert resolve_below([tmp_path / "missing", root, other], "x") == other.resolve() / "x"


@pytest.mark.parametrize("roots", [[], [Path("/nothing/here")]])
def test_ret_R03_without_roots_there_is_nothing(roots: list[Path]) -> None:
    with pytest.raises(SourceError, match=r"this site exports no folder; name one under `exports:`"):
        resolve_below(roots, "a")
