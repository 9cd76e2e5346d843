"""What a verb that follows the plane sees, in turn, and how it learns that the federation has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from zmqfl import Cell, CellAgent, CellConfig
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.hearing import Events, heard
from zmqfl.protocol.commands import PeerState


class FakeCell:
    """Takes the callbacks for its parent."""

    config = CellConfig(heartbeat=0.005, dead_after=0.02)

    def __init__(self) -> None:
        self.connected: Callable[[CellAgent], object] = print
        self.disconnected: Callable[[CellAgent], object] = print

    def set_cell_connected_cb(self, cb: Callable[[CellAgent], object]) -> None:
        self.connected = cb

    def set_cell_disconnected_cb(self, cb: Callable[[CellAgent], object]) -> None:
        self.disconnected = cb


@pytest.fixture
def cell() -> FakeCell:
    return FakeCell()


@pytest.fixture
def events(cell: FakeCell) -> Events[Any]:
    return Events(cast("Cell", cell))


def agent(state: PeerState) -> CellAgent:
    return CellAgent("server", state, 1)


def test_what_happens_comes_in_turn(events: Events[Any]) -> None:
    events.put(1)
    events.put(2)
    assert [events.next(), events.next(0.0)] == [1, 2]
    with pytest.raises(TimeoutError):
        events.next(0.001)


def test_it_ends_when_the_parent_says_goodbye(cell: FakeCell, events: Events[Any]) -> None:
    events.put(1)
    cell.disconnected(agent(PeerState.GONE))
    assert [events.next(), events.next()] == [1, None]


def test_a_parent_that_was_lost_may_come_back(cell: FakeCell, events: Events[Any]) -> None:
    cell.disconnected(agent(PeerState.SUSPECTED))
    cell.connected(agent(PeerState.UP))
    events.put(1)
    assert events.next() == 1
    with pytest.raises(TimeoutError):
        events.next(0.05)  # longer than `dead_after`


def test_a_parent_that_does_not_come_back_is_an_error(cell: FakeCell, events: Events[Any]) -> None:
    cell.disconnected(agent(PeerState.SUSPECTED))
    with pytest.raises(NotRunning, match="the federation does not answer any more; look at `zmqfl ps`"):
        events.next()


def test_what_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there = threading.Event()
    monkeypatch.setattr("zmqfl.cli.hearing.HEARD", 0.001)
    heard(there, "site-1")
    said = "zmqfl: site-1 has taken it, but it is not heard here yet; look at `zmqfl cells`\n"
    assert capsys.readouterr().err == said
    there.set()
    heard(there, "site-1")
    assert capsys.readouterr().err == ""
