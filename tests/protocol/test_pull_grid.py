"""`zmqfl.protocol.pull_grid`."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.protocol.pull_grid import MAX_CHUNK, MOST_CHUNKS, Grid, read_grid

GRID = Grid(95, 10, "F", "model.pt")


def test_there_and_back() -> None:
    assert GRID.to_headers() == {"n": 95, "k": 10, "f": "F", "name": "model.pt"}
    assert read_grid({**GRID.to_headers(), "t": 1000}) == GRID


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": -1}, {"n": "95"}, {"n": 10 * MOST_CHUNKS + 1}, {"k": 0}, {"k": MAX_CHUNK + 1}, {"k": None},
        {"f": 1}, {"name": b"x"},
    ],
)  # fmt: skip
def test_what_cannot_be(wrong: dict[str, Any]) -> None:
    assert read_grid({**GRID.to_headers(), **wrong}) is None


def test_the_last_chunk_is_shorter() -> None:
    assert (GRID.count, GRID.length(0), GRID.length(9)) == (10, 10, 5)
    assert Grid(0, 10, "", "").count == 0


def test_what_is_shorter_than_its_place_is_packed() -> None:
    assert [GRID.may_hold(9, size) for size in (0, 1, 5, 6)] == [False, True, True, False]
    assert [GRID.is_packed(9, size) for size in (4, 5)] == [True, False]
    assert Grid(0, 10, "", "").may_hold(0, 0)
