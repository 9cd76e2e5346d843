"""What the verbs about files are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.cli.references import (
    Reference,
    file_name,
    folder_of,
    parse_life,
    parse_reference,
    parse_sites,
    readable,
)
from zmqfl.errors import UserError

RID = f"R{0xABC:032x}"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (f"{RID}@server", Reference("server", RID)),
        (f"{RID}@region-a.site-1", Reference("region-a.site-1", RID)),
        ("site-1:model.pt", Reference("site-1", path="model.pt")),
        ("site-1:/srv/a b@c:d", Reference("site-1", path="/srv/a b@c:d")),
        (f"site-1:{RID}@server", Reference("site-1", path=f"{RID}@server")),
    ],
)
def test_a_reference(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text", ["", "x", ":x", "site-1:", "@server", f"{RID}@", f"{RID}", f"{RID[:-1]}@server", f"{RID}0@a", "Rx@a:b"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UserError, match="REFERENCE: "):
        parse_reference(text)


def test_sites() -> None:
    assert parse_sites(["a,b", " c ", "a"]) == ["a", "b", "c"]
    for nothing in ([], [""], [","]):
        with pytest.raises(UserError, match="--to: names no site"):
            parse_sites(nothing)
    with pytest.raises(UserError, match=r"--to: 'a\.\.b' is not a cell name"):
        parse_sites(["a,a..b"])


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172800)])
def test_a_life(text: str, seconds: float) -> None:
    assert parse_life(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "1.5h", "1w", "h", "9999999999s"])
def test_what_is_no_life(text: str) -> None:
    with pytest.raises(UserError, match=r"--ttl: .* is no time"):
        parse_life(text)


def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_text("x")
    assert readable("f") == tmp_path / "f"
    assert folder_of(".") == Path()
    assert (file_name(None), file_name("x.pt")) == (None, "x.pt")
    with pytest.raises(UserError, match="g: there is no such file"):
        readable("g")
    with pytest.raises(UserError, match="--to f: is a file, not a folder"):
        folder_of("f")
    with pytest.raises(UserError, match=r"--name: '\.\./x' is no plain file name; write --name 'x'"):
        file_name("../x")
