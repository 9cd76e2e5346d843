"""Many requests, long requests, and requests that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat

import pytest

from tests.harness import CONFIG, Net
from zmqfl.errors import CellReturnCode

OK, UNAVAILABLE = CellReturnCode.OK, CellReturnCode.SERVICE_UNAVAILABLE
HOUR = 3600.0
STEADY = replace(CONFIG, heartbeat=20.0, dead_after=60.0)
"""An hour without a beat per second."""


def takes(*seconds: float) -> Callable[[], float]:
    """The first handlers take this long, all others no time."""
    times: Iterator[float] = chain(seconds, repeat(0.0))
    return lambda: next(times)


@pytest.mark.parametrize("targets", [["site-1"], ["site-1", "site-2"]])
def test_a_request_stays_open_for_an_hour_while_thousands_go_to_the_same_callee(targets: list[str]) -> None:
    net = Net(config=STEADY).form("site-1", "site-2")
    net.hosts["site-1"].handler_time = takes(HOUR)
    long = net.request("server", "site-1", timeout=2 * HOUR)
    net.run(1)
    for _ in range(5000):
        id = net.request("server", targets, timeout=HOUR)
        net.run_until(lambda id=id: all(net.code("server", id, name) for name in targets))  # type: ignore[misc]
        assert [net.code("server", id, name) for name in targets] == [OK] * len(targets)
    assert net.code("server", long, "site-1") is None
    net.run_until(lambda: net.open == 0, HOUR)
    assert net.code("server", long, "site-1") is OK
    net.check_ended()


def test_1024_requests_that_are_not_confirmed__the_next_is_refused_unexecuted() -> None:
    net = Net().form("site-1", "site-2")
    net.hosts["site-1"].handler_time = lambda: 60.0
    ids = [net.request("server", "site-1", b"", timeout=100.0) for _ in range(1025)]
    net.run(1)
    refused = net.outcome("server", ids[-1], "site-1")
    assert refused is not None
    assert refused.code is UNAVAILABLE
    assert "wait for its confirmation" in refused.error
    assert sum(net.executions.values()) == 1024
    other = net.request("site-2", "site-1", timeout=100.0)  # each caller has its own
    net.run_until(lambda: net.open == 0, 70)
    assert {net.code("server", id, "site-1") for id in ids[:-1]} == {net.code("site-2", other, "site-1")} == {OK}
    net.check_ended()


def test_many_open_requests_share_their_probes() -> None:
    net = Net().form("site-1")
    net.hosts["site-1"].handler_time = lambda: 60.0
    for _ in range(1000):
        net.request("server", "site-1", b"", timeout=100.0)
        net.run(0.001)
    before = net.hosts["server"].node.requester.counters["probes"]
    net.run(10)
    assert 10 * 4 <= net.hosts["server"].node.requester.counters["probes"] - before <= 25 * 4


def test_cancel_reaches_the_callee(seed: int) -> None:
    net = Net(seed).form("relay-a", "relay-a.site-1", "site-4")
    net.hosts["relay-a.site-1"].handler_time = lambda: 10.0
    id = net.request("site-4", ["relay-a.site-1", "relay-a"])
    net.run(net.random.uniform(0.15, 5.0))
    net.cancel("site-4", id)
    net.run(1)
    [call] = net.hosts["relay-a.site-1"].revoked
    assert (call.id, call.revoked) == (id, True)
    net.run(20)
    net.check_ended()
    assert net.hosts["site-4"].node.requester.open == 0


def test_a_time_out_is_told_by_the_callee_and_counts_from_the_handlers_start() -> None:
    net = Net().form("site-1")
    net.hosts["site-1"].handler_time = lambda: 10.0
    id = net.request("server", "site-1", timeout=2.0)
    net.run(3)
    outcome = net.outcome("server", id, "site-1")
    assert outcome is not None
    assert (outcome.code, outcome.error) == (CellReturnCode.TIMEOUT, "the handler took longer than 2 s")
    assert len(net.hosts["site-1"].revoked) == 1


def test_a_deadline_bounds_everything() -> None:
    net = Net().form("site-1")
    net.freeze("site-1")
    id = net.request("server", "site-1", timeout=100.0, deadline=2.0)
    net.run(2.1)
    outcome = net.outcome("server", id, "site-1")
    assert outcome is not None
    assert (outcome.code, outcome.error) == (CellReturnCode.TIMEOUT, "the deadline has passed")
