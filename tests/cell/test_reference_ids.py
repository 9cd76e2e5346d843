"""Ids that cannot be guessed."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.cell.reference_ids import LEAST_RID, check_rid, new_rid


def test_ids_that_are_made_differ() -> None:
    ids = {new_rid() for _ in range(100)}
    assert len(ids) == 100
    assert {len(rid) for rid in ids} == {33}


def test_ids_that_are_given() -> None:
    assert check_rid("x" * LEAST_RID, "rid") == "x" * LEAST_RID
    assert check_rid(rid := new_rid(), "rid") == rid


@pytest.mark.parametrize("rid", ["", "x" * (LEAST_RID - 1), 3, b"x" * 20, "x" * 2000, "\ud800" * 20])
def test_ids_that_cannot_be(rid: Any) -> None:
    with pytest.raises(ValueError, match="ref_id"):
        check_rid(rid, "ref_id")
