"""Requests between hosts, over links that break, lose and are slow.

The tree: server on host 1, relays on hosts 2 and 3, and a site below each, on hosts 4 and 5. What is asked crosses
four links. Faults last until the cells have seen them, or as long as they take to be over; no test waits for less.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import pytest

from tests.net.federation import HostCell, LabFederation, MakeFederation
from tests.net.lab import Lab
from tests.net.site import Outcome
from tests.system.federation import QUICK
from zmqfl.config import KIB, CellConfig

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("nft")]

FLOWS = replace(QUICK, reference_threshold=0)
"""Requests of any size travel as flows."""
PATIENT = replace(FLOWS, dead_after=20.0)
"""No fault here lasts that long."""
NOT_UP = ("stalled", "suspected")
"""As a parent sees a child in silence; only the child itself breaks the link soon, for it has a connection to spare."""
BROKEN = ("suspected", "gone")
FIRST, SECOND = "relay-1.site-1", "relay-2.site-2"


class Tree(NamedTuple):
    lab: Lab
    server: HostCell
    relay_1: HostCell
    relay_2: HostCell
    site_1: HostCell
    site_2: HostCell


def plant(lab: Callable[[int], Lab], federate: MakeFederation, config: CellConfig) -> Tree:
    hosts = lab(5)
    federation: LabFederation = federate(hosts, config)
    server = federation.begin(1, "server")
    relays = [federation.begin(1 + n, f"relay-{n}", server) for n in (1, 2)]
    sites = [federation.begin(3 + n, f"relay-{n}.site-{n}", relays[n - 1], listen=False) for n in (1, 2)]
    for cell in federation.cells:
        cell.wait_connected()
    return Tree(hosts, server, *relays, *sites)


@pytest.fixture
def patient(lab: Callable[[int], Lab], federate: MakeFederation) -> Tree:
    """A tree that waits for a long time."""
    return plant(lab, federate, PATIENT)


@pytest.fixture
def quick(lab: Callable[[int], Lab], federate: MakeFederation) -> Tree:
    """A tree that gives up after 1.5 seconds."""
    return plant(lab, federate, FLOWS)


def check(outcomes: Iterable[Outcome], callee: HostCell, numbers: Iterable[int]) -> None:
    """Each ended once, and well, and ran once."""
    assert [(o["number"], o["code"], o["error"], o["ends"], o["intact"]) for o in outcomes] == [
        (number, "ok", "", 1, True) for number in numbers
    ]
    executed = callee.executed()
    assert {number: executed.get(number, 0) for number in numbers} == dict.fromkeys(numbers, 1)


def last(seconds: float) -> None:
    """How long a fault lasts is part of some tests."""
    threading.Event().wait(max(0.0, seconds))


# ---------------------------------------------------------------------------------------------------------------- well


def test_requests_cross_four_links_both_ways(patient: Tree) -> None:
    one = patient.site_1.requests(SECOND, range(50))
    other = patient.site_2.requests(FIRST, range(50), size=200 * KIB)
    check(one.result(30), patient.site_2, range(50))
    check(other.result(30), patient.site_1, range(50))
    assert patient.site_1.executed().keys() == set(range(50))


# ---------------------------------------------------------------------------------------------------------------- cuts


def test_a_site_that_is_cut_for_two_seconds_fails_nothing(patient: Tree) -> None:
    site = patient.site_2
    check([patient.site_1.request(SECOND, 0)], site, [0])
    patient.lab.cut(5)
    asked = patient.site_1.requests(SECOND, range(1, 21))
    answered = site.requests(FIRST, range(20))
    begin = time.monotonic()
    site.wait_link("relay-2", "suspected")
    patient.relay_2.wait_link(SECOND, *NOT_UP)
    last(2.0 - (time.monotonic() - begin))
    assert not asked.done()
    assert not answered.done()
    patient.lab.heal(5)
    check(asked.result(30), site, range(1, 21))
    check(answered.result(30), patient.site_1, range(20))


def test_a_site_that_is_cut_for_longer_fails_what_waits_and_works_again_when_healed(quick: Tree) -> None:
    held = quick.site_1.requests(SECOND, range(3), topic="held")
    check([quick.site_1.request(SECOND, 5)], quick.site_2, [5])  # those before it have arrived
    quick.lab.cut(5)
    outcomes = held.result(30)
    assert {outcome["code"] for outcome in outcomes} == {"comm_error"}
    assert {outcome["ends"] for outcome in outcomes} == {1}
    for outcome in outcomes:
        assert "outcome unknown: relay-2 cannot reach it" in outcome["error"]
    quick.relay_2.wait_link(SECOND, "gone")
    later = quick.site_1.request(SECOND, 6)
    assert later["code"] == "comm_error"
    assert "relay-2 cannot forward: relay-2 has no route to relay-2.site-2" in later["error"]
    assert quick.relay_2.request(SECOND, 7)["code"] == "target_unreachable"
    quick.lab.heal(5)
    quick.site_2.wait_connected()
    quick.relay_2.wait_link(SECOND, "up")
    check([quick.site_1.request(SECOND, 8)], quick.site_2, [8])
    assert quick.site_2.executed() == {5: 1, 8: 1}


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_one_way_cut_breaks_the_link_at_both_ends_and_heals(quick: Tree, way: str) -> None:
    held = quick.site_1.requests(SECOND, range(3), topic="held")
    check([quick.site_1.request(SECOND, 5)], quick.site_2, [5])
    quick.lab.one_way(*(5, 3) if way == "up" else (3, 5))
    quick.relay_2.wait_link(SECOND, *BROKEN)
    quick.site_2.wait_link("relay-2", *BROKEN)
    assert {outcome["code"] for outcome in held.result(30)} == {"comm_error"}
    check([quick.site_1.request("server", 6)], quick.server, [6])  # nobody else is hit
    quick.lab.join(5, 3)
    quick.relay_2.wait_link(SECOND, "up")
    quick.site_2.wait_link("relay-2", "up")
    check([quick.site_1.request(SECOND, 7)], quick.site_2, [7])


def test_a_partition_that_heals_fails_nothing(patient: Tree) -> None:
    patient.lab.partition(1, 3)
    asked = patient.site_1.requests(SECOND, range(20))
    answered = patient.site_2.requests(FIRST, range(20))
    patient.server.wait_link("relay-2", *NOT_UP)
    patient.relay_2.wait_link("server", "suspected")
    # Each side goes on within itself.
    check([patient.site_1.request("server", 30)], patient.server, [30])
    check([patient.site_2.request("relay-2", 30)], patient.relay_2, [30])
    assert not asked.done()
    assert not answered.done()
    patient.lab.join(1, 3)
    check(asked.result(30), patient.site_2, range(20))
    check(answered.result(30), patient.site_1, range(20))


# ------------------------------------------------------------------------------------------------------- loss, and slow


def test_200_requests_at_a_loss_of_5_percent_end_once_each(patient: Tree) -> None:
    patient.lab.loss(5, 5)
    asked = [patient.site_1.requests(SECOND, range(n, 200, 8), size=4 * KIB) for n in range(8)]
    for n, future in enumerate(asked):
        check(future.result(60), patient.site_2, range(n, 200, 8))
    assert patient.lab.drops()["loss5"] > 0  # of more than a thousand packets


@pytest.mark.usefixtures("tc")
@pytest.mark.parametrize("rate", [1_000_000, pytest.param(256_000, marks=pytest.mark.soak)])
def test_control_answers_while_a_big_request_travels_on_a_slow_link(
    lab: Callable[[int], Lab], federate: MakeFederation, rate: int
) -> None:
    hosts = lab(2)
    federation = federate(hosts, replace(FLOWS, heartbeat=1.0, dead_after=10.0))
    server = federation.start(1, "server")
    site = federation.start(2, "site-1", server, listen=False)
    hosts.rate(2, rate)
    big = server.requests("site-1", [0], topic="swallow", size=512 * KIB)
    small: list[Outcome] = []
    while not big.done():
        small.append(server.request("site-1", 1 + len(small)))
        assert server.link("site-1") == "up"
    numbers = range(1, 1 + len(small))
    assert len(small) > 20  # many round trips in the time of one transfer
    check(small, site, numbers)
    check(big.result(), site, [0])
