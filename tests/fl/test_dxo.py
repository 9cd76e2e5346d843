"""Data exchange objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.fl.dxo import DXO, DataKind, MetaKey, from_bytes, from_file, from_shareable


def test_a_dxo_in_a_shareable() -> None:
    weights = np.arange(4.0)
    dxo = DXO(DataKind.WEIGHTS, {"w": weights}, {MetaKey.NUM_STEPS_CURRENT_ROUND: 3})
    shareable = dxo.update_shareable(Shareable({"other": 1}))
    assert shareable["other"] == 1
    found = from_shareable(shareable)
    assert (found.data_kind, found.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)) == (DataKind.WEIGHTS, 3)
    assert found.data["w"] is weights
    assert repr(found) == "<DXO WEIGHTS, 1 items, meta NUM_STEPS_CURRENT_ROUND>"


def test_meta() -> None:
    dxo, more = DXO(DataKind.METRICS), {"b": [1]}
    dxo.set_meta_prop("a", 1)
    dxo.update_meta_props(more)
    more["b"].append(2)
    assert (dxo.get_meta_props(), dxo.get_meta_prop("c", 5)) == ({"a": 1, "b": [1]}, 5)


def test_bytes_and_files(tmp_path: Path) -> None:
    dxo = DXO(DataKind.COLLECTION, {"a": DXO(DataKind.WEIGHTS, {"w": np.ones(3)}), "b": DXO("MINE", {1: 2})}, {"m": 1})
    dxo.to_file(tmp_path / "dxo")
    for found in from_bytes(dxo.to_bytes()), from_file(str(tmp_path / "dxo")):
        assert (found.data_kind, found.meta, found.data["b"].data) == (DataKind.COLLECTION, {"m": 1}, {1: 2})
        assert found.data["a"].data["w"].tolist() == [1, 1, 1]


def test_validate() -> None:
    assert DXO(DataKind.WEIGHTS).validate() == ""
    bad = DXO(DataKind.COLLECTION, {"x": DXO(DataKind.COLLECTION, {"y": 3})})
    assert bad.validate() == "'x': 'y' of a collection must be a DXO, not int"
    with pytest.raises(ArgumentError, match="'y' of a collection"):
        bad.to_shareable()


@pytest.mark.parametrize("arguments", [(3,), ("",), ("WEIGHTS", []), ("WEIGHTS", {}, "meta")])
def test_wrong_arguments(arguments: Any) -> None:
    with pytest.raises(ArgumentError):
        DXO(*arguments)


def test_what_is_no_dxo() -> None:
    with pytest.raises(DecodeError, match="holds no DXO"):
        from_shareable(Shareable({"DXO": {}}))
    with pytest.raises(ArgumentError, match="not in a dict"):
        from_shareable({})  # type: ignore[arg-type]
    shareable = DXO(DataKind.WEIGHTS).to_shareable()
    for wrong in None, {}, {"kind": "", "data": {}, "meta": {}}, {"kind": "COLLECTION", "data": {"x": 1}, "meta": {}}:
        shareable["DXO"] = wrong
        with pytest.raises(DecodeError, match="must be a dict of a kind"):
            from_shareable(shareable)
    with pytest.raises(DecodeError):
        from_bytes(b"nothing")
