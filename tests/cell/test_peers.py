"""Who is told when a neighbour comes and goes."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from tests.system.federation import LONG, Federation
from zmqfl.cell.peers import CellAgent, PeerCallbacks
from zmqfl.cell.workers import Workers
from zmqfl.protocol.commands import PeerState


class Told:
    """What the callbacks were called with, in order."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def connected(self, agent: CellAgent, *args: Any, **kwargs: Any) -> None:
        self.calls.put(("connected", agent.get_fqcn(), agent.state, *args, *kwargs.items()))

    def disconnected(self, agent: CellAgent, *args: Any, **kwargs: Any) -> None:
        self.calls.put(("disconnected", agent.fqcn, agent.state, *args, *kwargs.items()))

    def next(self) -> tuple[Any, ...]:
        return self.calls.get(timeout=LONG)


@pytest.mark.parametrize(
    ("states", "calls"),
    [
        (["up"], ["connected"]),
        (["up", "up"], ["connected"]),
        (["up", "stalled", "up"], ["connected"]),
        (["up", "suspected"], ["connected", "disconnected"]),
        (["up", "suspected", "gone"], ["connected", "disconnected"]),
        (["up", "stalled", "gone"], ["connected", "disconnected"]),
        (["up", "suspected", "up"], ["connected", "disconnected", "connected"]),
        (["gone"], []),
        (["stalled"], []),
    ],
)
def test_the_table(states: list[str], calls: list[str]) -> None:
    workers = Workers("test", 1, 1, 1, 1000)
    told, peers = Told(), PeerCallbacks(workers)
    peers.on_connected = (told.connected, (), {})
    peers.on_disconnected = (told.disconnected, (), {})
    for state in states:
        peers.tell(CellAgent("site-1", PeerState(state), 7, "why"))
    assert [told.next()[0] for _ in calls] == calls
    assert workers.stop(LONG)
    assert told.calls.empty()


def test_nobody_need_be_told() -> None:
    workers = Workers("test", 1, 1, 1, 1000)
    PeerCallbacks(workers).tell(CellAgent("site-1", PeerState.UP, 7))
    assert workers.stop(LONG)


def test_cells_tell_of_their_neighbours(federation: Federation) -> None:
    told = Told()
    server = federation.start("server")
    server.set_cell_connected_cb(told.connected, 1, two=2)
    server.set_cell_disconnected_cb(told.disconnected, 3)
    site = federation.start("site-1", server, None)
    assert told.next() == ("connected", "site-1", "up", 1, ("two", 2))
    site.close()
    assert told.next() == ("disconnected", "site-1", "gone", 3)
    federation.start("site-1", server, None)
    assert told.next() == ("connected", "site-1", "up", 1, ("two", 2))


def test_a_callback_may_wait_for_the_neighbour_that_it_is_told_of(federation: Federation) -> None:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    server = federation.start("server")
    server.set_cell_connected_cb(
        lambda agent: answers.put(server.request(agent.fqcn, "_net_manager", "echo", agent.fqcn).result(LONG).payload)
    )
    federation.start("site-1", server, None)
    assert answers.get(timeout=LONG) == "site-1"


def test_a_callback_that_raises_does_not_stop_the_next(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()

    def connected(agent: CellAgent) -> None:
        told.connected(agent)
        raise ValueError(f"no place for {agent.fqcn}")

    server = federation.start("server")
    server.set_cell_connected_cb(connected)
    for name in ("site-1", "site-2"):
        federation.start(name, server, None)
        assert told.next()[1] == name
    server.close()
    assert "no place for site-1" in caplog.text
