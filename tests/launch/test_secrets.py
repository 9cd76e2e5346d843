"""Secrets by reference; their values are never in a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.errors import UserError
from zmqfl.launch.secrets import fetch


def test_each_kind(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from file\n")
    references = {"A": f"file:{tmp_path}/p", "B": "env:OTHER", "C": "credential:p"}
    environ = {"OTHER": "from env", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert fetch(references, environ) == {"A": "from file", "B": "from env", "C": "from file"}


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("env:NOT_THERE", "secrets.P: there is no variable NOT_THERE; export it"),
        ("file:/not/there", "secrets.P: cannot read /not/there: No such file or directory; name a text file"),
        ("file:/dev", "secrets.P: cannot read /dev: Is a directory; name a text file"),
        ("credential:p", "secrets.P: there is no CREDENTIALS_DIRECTORY; start it by systemd with LoadCredential="),
        ("hunter2", "secrets.P: is no reference to a secret; write file:PATH, env:NAME or credential:NAME"),
    ],
)
def test_what_cannot_be_fetched(reference: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch({"P": reference}, {})
    assert caught.value.line().startswith(line)
    assert "hunter2" not in caught.value.line()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff\xff")
    with pytest.raises(UserError, match="is not text"):
        fetch({"P": f"file:{tmp_path}/p"}, {})
