"""Pushes, pulls and large requests between hosts, over links that break, lose and are slow.

The tree: server on host 1, a relay on host 2, and the sites relay.site-1, relay.site-2 below it on the next hosts. A
`Work` is a push, a pull and a large request from one cell to another, all at once. Faults come when each of them has
moved something, and last until the cells have seen them, or as long as they take to be over; no test waits for less.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.net.federation import HostCell, LabFederation, MakeFederation
from tests.net.lab import Lab
from tests.net.site import Outcome
from tests.net.transfer_site import Arrived, Books, Moved
from tests.system.federation import LONG, QUICK, until
from tests.system.transfer_ends import LOST, files_below, make_file
from zmqfl.config import KIB, MIB, CellConfig
from zmqfl.protocol.pull_receiver import MOST_WINDOW
from zmqfl.transport.outbox import SHARES

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("nft", "tc")]

SETUP = ("tests.net.transfer_site:moves",)
FLOWS = replace(QUICK, reference_threshold=0)
"""Requests of any size travel as flows."""
PATIENT = replace(FLOWS, dead_after=20.0)
"""No fault of the quick tests lasts that long."""
BRIEF = replace(FLOWS, heartbeat=0.5)
"""It gives up after 1.5 seconds. The kernel's clock for that begins anew with all that is sent before its first repeat:
beats are further apart than a few round trips, as they are in real life."""
SOAK = 400.0
"""Seconds that the longest test may wait for one thing."""
SLOW = 32_000_000
"""Bits per second at which a transfer lasts long enough for a fault to hit it."""
CHUNK = 128 * KIB
SIZE = 8 * MIB
REQUEST = 16 * MIB
NOT_UP = ("stalled", "suspected", "gone")
GOOD = {"bugs": 0, "malformed": 0, "repeated": 0, "loops": 0, "forged_return": 0, "origin_refused": 0}
"""Counters that no fault of a network may move."""


class Tree(NamedTuple):
    lab: Lab
    federation: LabFederation
    server: HostCell
    relay: HostCell
    sites: list[HostCell]

    @property
    def site(self) -> HostCell:
        return self.sites[0]

    def books(self) -> list[Books]:
        return [cell.ask("books") for cell in self.federation.cells]

    def close_books(self, *kept: str) -> list[Books]:
        """Wait until nothing is held anywhere, but what is `kept`; no counter may tell of a bug."""
        end = time.monotonic() + LONG
        while (books := self.books()) and any(each["held"].keys() - kept for each in books):
            assert time.monotonic() < end, [each["held"] for each in books]
        for each in books:
            assert {name: each["counters"].get(name, 0) for name in GOOD} == GOOD
            assert each["queued_peak"] <= self.federation.config.send_budget
        return books


@pytest.fixture
def plant(lab: Callable[[int], Lab], federate: MakeFederation) -> Callable[..., Tree]:
    """`plant(config, sites)`: server <- relay <- sites, each in a host of its own."""

    def make(config: CellConfig = PATIENT, sites: int = 1) -> Tree:
        hosts = lab(2 + sites)
        federation: LabFederation = federate(hosts, config, SETUP)
        server = federation.begin(1, "server")
        relay = federation.begin(2, "relay", server)
        below = [federation.begin(2 + n, f"relay.site-{n}", relay, listen=False) for n in range(1, sites + 1)]
        for cell in federation.cells:
            cell.wait_connected()
        return Tree(hosts, federation, server, relay, below)

    return make


class Work:
    """A push from `source` to `sink`, a pull of `sink` from `source`, and a request of `source` to `sink`, at once."""

    numbers = iter(range(1_000_000))

    def __init__(
        self,
        folder: Path,
        source: HostCell,
        sink: HostCell,
        size: int = SIZE,
        request: int = REQUEST,
        chunk: int = CHUNK,
        timeout: float = 30.0,
    ) -> None:
        self.source, self.sink, self.size, self.timeout = source, sink, size, timeout
        self.window = MOST_WINDOW * chunk
        self.number = next(self.numbers)
        here = folder / f"work-{self.number}"
        self.pushed_to, self.pulled_to = here / "pushed", here / "pulled"
        for each in (self.pushed_to, self.pulled_to):
            each.mkdir(parents=True)
        self.path = here / f"file-{self.number}"
        self.content = make_file(self.path, size, self.number)
        self._before = self._moved()
        sink.ask("consume", folder=str(self.pushed_to))
        self.rid: str = source.ask("offer", path=str(self.path), chunk_size=chunk)
        self.push: Future[Moved] = source.do(
            "push", path=str(self.path), to=sink.fqcn, chunk_size=chunk, window=4, timeout=timeout
        )  # fmt: skip
        self.pull = self.pull_again()
        self.request: Future[Outcome] = source.do(
            "request", target=sink.fqcn, number=self.number, size=request, topic="swallow"
        )  # fmt: skip

    def pull_again(self) -> Future[Moved]:
        """One more pull of the same file into the same folder, which goes on with what is there."""
        return self.sink.do(
            "pull", rid=self.rid, owner=self.source.fqcn, to=str(self.pulled_to), timeout=self.timeout, resume=True
        )  # fmt: skip

    @property
    def all(self) -> list[Future[Any]]:
        return [self.push, self.pull, self.request]

    def wait_moving(self) -> None:
        """Each has moved something, and none is over."""
        until(lambda: self._moved()[0] > self._before[0] and self._moved()[1] > self._before[1])
        until(lambda: self.sink.ask("assembling") > 0)
        assert not any(future.done() for future in self.all)

    def _moved(self) -> tuple[int, int]:
        """Bytes that its source has pushed, and its sink has pulled, so far."""
        return self.source.ask("moved")[0], self.sink.ask("moved")[1]

    def told(self) -> list[Arrived]:
        """What the consumer was told of this push."""
        return [arrived for arrived in self.sink.ask("received") if arrived["name"] == self.path.name]

    def check_well(self, seconds: float = 60.0) -> Moved:
        """All have ended well, once, and everything is there; returns how the pull ended."""
        pushed, pulled, asked = (future.result(seconds) for future in self.all)
        assert (pushed["code"], pushed["ends"], pushed["done"]) == ("ok", 1, self.size), pushed
        (told,) = self.told()
        assert (told["code"], told["origin"], Path(told["path"]).parent) == ("ok", self.source.fqcn, self.pushed_to)
        assert Path(told["path"]).read_bytes() == self.content
        assert files_below(self.pushed_to) == [self.path.name]
        self.check_pulled(pulled)
        assert (asked["code"], asked["ends"], asked["intact"]) == ("ok", 1, True), asked
        assert self.sink.executed()[self.number] == 1
        return pulled  # type: ignore[no-any-return]

    def check_pulled(self, pulled: Moved) -> None:
        """A pull has ended well; it asked for no more again than one window."""
        assert (pulled["code"], pulled["ends"]) == ("ok", 1), pulled
        assert Path(pulled["path"]).read_bytes() == self.content
        assert files_below(self.pulled_to) == [self.path.name]
        assert pulled["fetched"] <= self.size + self.window

    def check_lost(self) -> Moved:
        """All have ended once, in time, by the loss of the other end; nothing that is not whole has a final name."""
        pushed, pulled, asked = (future.result(30.0) for future in self.all)
        assert pushed["ends"] == pulled["ends"] == asked["ends"] == 1
        assert (pushed["code"], pushed["culprit"]) in [(str(code), self.sink.fqcn) for code in LOST], pushed
        assert (pulled["code"], pulled["culprit"]) in [(str(code), self.source.fqcn) for code in LOST], pulled
        assert pushed["reason"]
        assert pulled["reason"]
        assert asked["code"] in [str(code) for code in LOST], asked
        assert asked["error"]
        until(lambda: len(self.told()) > 0, "the consumer was not told")
        (told,) = self.told()
        assert (told["code"], told["path"]) in [(str(code), "") for code in LOST], told
        assert told["culprit"] == self.source.fqcn
        assert files_below(self.pushed_to) == []
        assert self.path.name not in files_below(self.pulled_to)
        return pulled  # type: ignore[no-any-return]


def last(seconds: float) -> None:
    """How long a fault lasts is part of some tests."""
    threading.Event().wait(max(0.0, seconds))


def both_ways(tree: Tree, folder: Path, **how: Any) -> list[Work]:
    """Work down and work up, both under way, on a link to the first site that is not fast."""
    tree.lab.rate(tree.site.host, SLOW)
    works = [
        Work(folder, tree.server, tree.site, **how),
        Work(folder, tree.site, tree.server, **how),
    ]
    for work in works:
        work.wait_moving()
    return works


def break_link(tree: Tree, how: str) -> None:
    """Cut the first site off, or one of the two ways between it and its relay."""
    site, relay = tree.site.host, tree.relay.host
    match how:
        case "cut":
            tree.lab.cut(site)
        case "up":
            tree.lab.one_way(site, relay)
        case "down":
            tree.lab.one_way(relay, site)


# ---------------------------------------------------------------------------------------------------------------- cuts

FAULTS = ("cut", "up", "down")


@pytest.mark.parametrize("faults", [("cut", "down"), pytest.param(("up", "down", "cut"), marks=pytest.mark.soak)])
def test_a_link_that_is_broken_for_two_seconds_fails_nothing(
    plant: Callable[..., Tree], tmp_path: Path, faults: tuple[str, ...]
) -> None:
    tree = plant(PATIENT)
    for how in faults:
        works = both_ways(tree, tmp_path)
        break_link(tree, how)
        begin = time.monotonic()
        tree.site.wait_link("relay", *NOT_UP)
        last(2.0 - (time.monotonic() - begin))
        assert not any(future.done() for work in works for future in work.all)
        tree.lab.clear()
        for work in works:
            work.check_well()
    tree.close_books()


@pytest.mark.parametrize("how", ["cut", *(pytest.param(how, marks=pytest.mark.soak) for how in ("up", "down"))])
def test_a_link_that_is_broken_for_longer_fails_all_and_works_again_when_healed(
    plant: Callable[..., Tree], tmp_path: Path, how: str
) -> None:
    tree = plant(BRIEF)
    works = both_ways(tree, tmp_path, timeout=9.0)
    break_link(tree, how)
    failed = [work.check_lost() for work in works]
    tree.lab.clear()
    tree.site.wait_connected()
    tree.relay.wait_link(tree.site.fqcn, "up")
    again = [Work(tmp_path, tree.server, tree.site), Work(tmp_path, tree.site, tree.server)]
    for work, before in zip(works, failed, strict=True):
        pulled = work.pull_again().result(30.0)
        work.check_pulled(pulled)
        assert before["done"] > 0
        assert before["fetched"] + pulled["fetched"] < work.size + work.window
    for work in again:
        work.check_well()
    tree.close_books("assembling")  # messages that are half there are forgotten after minutes of silence


@pytest.mark.soak
@pytest.mark.parametrize("how", FAULTS)
def test_a_link_that_is_broken_for_thirty_seconds_fails_nothing(
    plant: Callable[..., Tree], tmp_path: Path, how: str
) -> None:
    tree = plant(replace(FLOWS, dead_after=90.0))
    works = both_ways(tree, tmp_path, timeout=90.0)
    break_link(tree, how)
    last(30.0)
    assert not any(future.done() for work in works for future in work.all)
    tree.lab.clear()
    for work in works:
        work.check_well(SOAK)
    tree.close_books()


@pytest.mark.soak
def test_a_parent_that_is_back_is_found_at_once(
    lab: Callable[[int], Lab], federate: MakeFederation, tmp_path: Path
) -> None:
    """The pauses of the kernel between two SYNs double; who waits for its next one finds the parent too late."""
    hosts = lab(2)
    federation: LabFederation = federate(hosts, replace(FLOWS, dead_after=10.0), SETUP)
    server = federation.start(1, "server")
    site = federation.start(2, "site-1", server, listen=False)
    hosts.rate(2, SLOW)
    works = [Work(tmp_path, server, site), Work(tmp_path, site, server)]
    for work in works:
        work.wait_moving()
    hosts.partition(1, 2)
    site.wait_link("server", "suspected")
    last(7.5)
    hosts.clear()
    for work in works:
        work.check_well()


def test_a_partition_between_relays_that_heals_fails_nothing(
    lab: Callable[[int], Lab], federate: MakeFederation, tmp_path: Path
) -> None:
    hosts = lab(5)
    federation: LabFederation = federate(hosts, PATIENT, SETUP)
    server = federation.begin(1, "server")
    relays = [federation.begin(1 + n, f"relay-{n}", server) for n in (1, 2)]
    sites = [federation.begin(3 + n, f"relay-{n}.site-{n}", relays[n - 1], listen=False) for n in (1, 2)]
    for cell in federation.cells:
        cell.wait_connected()
    hosts.rate(3, SLOW)
    works = [Work(tmp_path, sites[0], sites[1]), Work(tmp_path, sites[1], sites[0])]
    for work in works:
        work.wait_moving()
    hosts.partition(1, 3)
    relays[1].wait_link("server", "suspected")
    for source, sink in ((server, sites[0]), (sites[1], relays[1])):  # each side goes on within itself
        Work(tmp_path, source, sink, size=MIB, request=MIB).check_well()
    assert not any(future.done() for work in works for future in work.all)
    hosts.clear()
    for work in works:
        work.check_well()
    Tree(hosts, federation, server, relays[0], sites).close_books()


# ------------------------------------------------------------------------------------------------------- loss, and slow


@pytest.mark.parametrize("size", [20 * MIB, pytest.param(200 * MIB, marks=pytest.mark.soak)])
def test_a_loss_of_5_percent_fails_nothing(plant: Callable[..., Tree], tmp_path: Path, size: int) -> None:
    tree = plant(PATIENT)
    tree.lab.loss(tree.site.host, 5)
    work = Work(tmp_path, tree.server, tree.site, size=size, chunk=MIB)
    work.check_well(SOAK)
    assert tree.lab.drops()[f"loss{tree.site.host}"] > 0
    tree.close_books()


@pytest.mark.usefixtures("tc")
def test_transfers_on_slow_links_take_their_time_and_control_answers(
    lab: Callable[[int], Lab], federate: MakeFederation, tmp_path: Path
) -> None:
    """Two links, so that it is over sooner."""
    hosts = lab(3)
    federation: LabFederation = federate(hosts, replace(FLOWS, heartbeat=2.0, dead_after=10.0), SETUP)
    server = federation.begin(1, "server")
    sites = [federation.begin(1 + n, f"site-{n}", server, listen=False) for n in (1, 2)]
    for cell in federation.cells:
        cell.wait_connected()
    for cell in sites:
        hosts.rate(cell.host, 256_000)
    size = 512 * KIB
    path, pushed_to, pulled_to = tmp_path / "file", tmp_path / "pushed", tmp_path / "pulled"
    pushed_to.mkdir()
    pulled_to.mkdir()
    content = make_file(path, size)
    sites[0].ask("consume", folder=str(pushed_to))
    rid = server.ask("offer", path=str(path))
    push = server.do("push", path=str(path), to="site-1")
    pull = sites[1].do("pull", rid=rid, owner="server", to=str(pulled_to))
    asked = sites[0].do("request", target="server", number=0, size=size, topic="swallow")
    small = ask_all_the_while(server, sites, [push, pull, asked])
    assert small > 20
    assert (push.result()["code"], pull.result()["code"], asked.result()["code"]) == ("ok", "ok", "ok")
    assert pull.result()["fetched"] == size
    assert [(pushed_to / "file").read_bytes(), (pulled_to / "file").read_bytes()] == [content, content]
    check_never_broken(federation)


def test_replies_are_not_said_again_while_they_are_on_a_slow_link(
    lab: Callable[[int], Lab], federate: MakeFederation
) -> None:
    """Requests that are too short for flows, and a beat much shorter than the time that their replies take."""
    hosts = lab(2)
    federation: LabFederation = federate(hosts, PATIENT, SETUP)
    server = federation.start(1, "server")
    site = federation.start(2, "site-1", server, listen=False)
    hosts.rate(2, 4_000_000)
    outcomes = server.requests("site-1", range(6), size=200 * KIB).result(60.0)
    assert [(o["code"], o["ends"], o["intact"]) for o in outcomes] == [("ok", 1, True)] * 6
    assert site.executed() == dict.fromkeys(range(6), 1)
    assert server.ask("books")["counters"].get("late_replies", 0) == 0
    assert site.ask("books")["queued_peak"] < 6 * 256 * KIB


@pytest.mark.soak
def test_large_transfers_on_one_slow_link(lab: Callable[[int], Lab], federate: MakeFederation, tmp_path: Path) -> None:
    hosts = lab(2)
    federation: LabFederation = federate(hosts, replace(FLOWS, heartbeat=2.0, dead_after=10.0), SETUP)
    server = federation.start(1, "server")
    site = federation.start(2, "site-1", server, listen=False)
    hosts.rate(2, 256_000)
    work = Work(tmp_path, server, site, size=MIB, request=5 * MIB, chunk=MIB)
    ask_all_the_while(server, [site], work.all)
    assert work.check_well()["fetched"] == MIB
    check_never_broken(federation)


def ask_all_the_while(server: HostCell, sites: list[HostCell], works: list[Future[Any]]) -> int:
    """Small requests, one after the other, until all `works` are done, on links that are up; returns how many."""
    end = time.monotonic() + SOAK
    small = 0
    while not all(future.done() for future in works):
        assert time.monotonic() < end, "it does not end"
        for site in sites:
            small += 1
            outcome = server.request(site.fqcn, 1_000_000 + small)
            assert (outcome["code"], outcome["ends"], outcome["intact"]) == ("ok", 1, True)
            assert server.link(site.fqcn) == "up"
            assert site.link("server") == "up"
    return small


def check_never_broken(federation: LabFederation) -> None:
    """No connection was lost, and nothing sent twice for want of patience."""
    names = ("resent", "flows_lost", "flows_renumbered", "flows_dropped", "lost_connections", "unbound")
    for cell in federation.cells:
        counters = cell.ask("books")["counters"]
        assert {name: counters[name] for name in names if counters.get(name)} == {}, cell.fqcn


# ----------------------------------------------------------------------------------------------------- who stands still


def test_hosts_that_stand_still_hold_up_nobody_else(plant: Callable[..., Tree], tmp_path: Path) -> None:
    tree = plant(PATIENT, sites=3)
    stopped, cut, other = tree.sites
    stop: dict[HostCell, Callable[[], object]] = {
        stopped: lambda: stopped.signal(signal.SIGSTOP),
        cut: lambda: tree.lab.cut(cut.host),
    }
    held = []
    for (
        site,
        stand_still,
    ) in stop.items():  # one after the other: the first must not be over before the second has begun
        tree.lab.rate(site.host, SLOW)
        held.append(Work(tmp_path, tree.server, site, size=32 * MIB, request=32 * MIB, chunk=MIB))
        held[-1].wait_moving()
        stand_still()
    for _ in range(3):
        Work(tmp_path, tree.server, other, chunk=MIB).check_well()
        Work(tmp_path, other, tree.server, chunk=MIB).check_well()
    assert not any(future.done() for work in held for future in work.all)
    # Each of the two has at most its share of what the relay may hold; the rest is for all others.
    assert tree.relay.ask("books")["queued_peak"] <= 3 * PATIENT.send_budget // SHARES
    stopped.signal(signal.SIGCONT)
    tree.lab.clear()
    for work in held:
        work.check_well()
    tree.close_books()
