"""What a message refers to, fetched from cells: several objects, the first failure, giving up."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl import Cell
from zmqfl.cell.fetching import MARK, Fetch, PiecesSink
from zmqfl.config import MIB
from zmqfl.errors import ClosedError, DecodeError, RequestFailed
from zmqfl.wire.references import Place, Table


class Told:
    """What `done` is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], Exception | None]] = []
        self._called = threading.Event()

    def __call__(self, frames: list[Any], error: Exception | None) -> None:
        self.calls.append((frames, error))
        self._called.set()

    def wait(self) -> tuple[list[Any], Exception | None]:
        assert self._called.wait(LONG)
        return self.calls[0]


def place(cell: Cell, value: Any) -> Place:
    held = cell._references.encode(value, "payload", ["site-1"], asks=True).held
    assert held is not None
    return held.place


def fetch(cell: Cell, *places: Place) -> tuple[Fetch, Told]:
    told = Told()
    table = Table(places, tuple((number, 0, 1) for number in range(len(places))))
    return cell._references.fetch((b"", b"tree"), table, told), told


@pytest.fixture
def cells(federation: Federation) -> tuple[Cell, Cell]:
    server = federation.start("server")
    return server, federation.start("site-1", server, None)


def test_several_objects_are_one_payload(cells: tuple[Cell, Cell]) -> None:
    server, site = cells
    one, two = np.arange(MIB / 2), np.arange(MIB / 4, dtype=np.float64)
    fetching, told = fetch(site, place(server, one), place(server, two[::-1].copy().repeat(2)))
    frames, error = told.wait()
    assert error is None
    assert fetching.is_over
    assert frames[0] == b"tree"
    assert np.array_equal(np.frombuffer(frames[1]), one)
    assert np.array_equal(np.frombuffer(frames[2]), two[::-1].repeat(2))
    assert len(told.calls) == 1
    fetching.abort()  # too late


def test_one_that_fails_ends_all_and_is_told_once(cells: tuple[Cell, Cell]) -> None:
    server, site = cells
    good = place(server, np.arange(MIB / 2))
    _, told = fetch(site, Place("server", "R" * 32, 9), good, Place("server", "S" * 32, 9))
    frames, error = told.wait()
    assert frames == []
    assert isinstance(error, RequestFailed)
    assert "the payload of server could not be had" in error.reason
    until(lambda: not [each for each in site.transfers() if each.kind == "pull"])
    assert len(told.calls) == 1


def test_one_that_is_given_up_is_told(cells: tuple[Cell, Cell]) -> None:
    server, site = cells
    fetching, told = fetch(site, place(server, np.arange(MIB)))
    fetching.abort()
    _, error = told.wait()
    assert error is None or "nobody waits for it any more" in str(error)


def test_after_a_close_nothing_begins(cells: tuple[Cell, Cell]) -> None:
    server, site = cells
    where = place(server, np.arange(MIB / 2))
    site.close(drain=0)
    with pytest.raises(ClosedError):
        fetch(site, where)


def filled(data: bytes) -> PiecesSink:
    sink = PiecesSink(len(data))
    sink.open()
    sink.write(0, data)
    return sink


RECORD = b"\1\0\0\0" + b"\1" + bytes(7) + bytes(52) + b"x" + bytes(63)


def test_the_pieces_are_views_of_the_buffer() -> None:
    (piece,) = filled(MARK + bytes(56) + RECORD).commit()
    assert (bytes(piece), piece.readonly) == (b"x", False)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"another" + bytes(200), "holds no pieces"),
        (MARK + bytes(56), "has 0 records"),
        (MARK + bytes(56) + RECORD * 2, "has 2 records"),
        (MARK + bytes(56) + b"\1\0\0\0" + b"\xff" * 8 + bytes(52), "frame of"),
    ],
    ids=["no mark", "no record", "two records", "a huge frame"],
)
def test_what_is_no_such_object_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        filled(data).commit()
