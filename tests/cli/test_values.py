"""Payloads on the command line."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from zmqfl.cli.values import parse_data, shown
from zmqfl.errors import UserError


def test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.json").write_text('{"a": [1, 2.5, null]}')
    monkeypatch.setattr("sys.stdin", io.StringIO("[true]"))
    assert parse_data(None) is None
    assert parse_data('"text"') == "text"
    assert parse_data(f"@{tmp_path}/d.json") == {"a": [1, 2.5, None]}
    assert parse_data("-") == [True]
    assert parse_data("not json", is_text=True) == "not json"


def test_data_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="DATA: is not JSON"):
        parse_data("not json")
    with pytest.raises(UserError, match="DATA: cannot read '/not/there': No such file"):
        parse_data("@/not/there")
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(UserError, match="it is not text"):
        parse_data(f"@{tmp_path}/b")


def test_what_json_cannot_say_is_summarised() -> None:
    value = {
        "array": np.zeros((2, 3), np.float32),
        "scalar": np.int64(7),
        "bytes": b"\x01" * 100,
        1: (1, {2}),
        "when": datetime(2026, 1, 2, tzinfo=UTC),
    }
    assert json.loads(json.dumps(shown(value))) == {
        "array": {"array": "float32[2, 3]", "bytes": 24},
        "scalar": 7,
        "bytes": {"bytes": 100, "hex": "01" * 64 + "..."},
        "1": [1, [2]],
        "when": "2026-01-02 00:00:00+00:00",
    }
