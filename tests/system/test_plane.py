"""The broadcast plane of real processes and sockets: whatever is killed, stopped or cut off, nothing is missed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.memory import Peak, anonymous
from tests.system.federation import QUICK, until
from tests.system.plane_sites import Site, Sites

PLANES = pytest.mark.parametrize("plane", [0, None], ids=["pubsub", "links"])
PATIENT = replace(QUICK, heartbeat=2.0, dead_after=30.0)
"""Who is stopped for some seconds is not given up."""
MOST_MEMORY = 32.0
"""MiB that a parent may grow by for a child that does not read: what libzmq and its own queues hold."""

Model = dict[str, Any]


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sites]]:
    made: list[Sites] = []

    def start(**more: Any) -> Sites:
        made.append(Sites(tmp_path_factory.mktemp("s"), **more))
        return made[-1]

    yield start
    for sites in made:
        sites.close()


def tree_of_sixteen(sites: Sites, folder: Path) -> list[str]:
    """server, three relays, by tcp and by ipc, and four sites below each."""
    [server] = sites.start({"fqcn": "server", "listen": ["tcp://127.0.0.1:*", f"ipc://{folder}/root"]})
    tcp, ipc = server.urls
    relays = sites.start(
        {"fqcn": "relay-0", "listen": "tcp://127.0.0.1:*", "parent": tcp},
        {"fqcn": "relay-1", "listen": f"ipc://{folder}/relay-1", "parent": tcp},
        {"fqcn": "relay-2", "listen": ["tcp://127.0.0.1:*", f"ipc://{folder}/relay-2"], "parent": ipc},
    )
    below = [
        {"fqcn": f"{relay.fqcn}.site-{number}", "parent": relay.urls[number % len(relay.urls)]}
        for relay in relays
        for number in range(4)
    ]
    for site in sites.start(*below):
        assert site.do("connected")
    return list(sites.sites)


class Story:
    """What the sites were told to say, and who says it still."""

    def __init__(self, sites: Sites, seed: int) -> None:
        self.sites = sites
        self.chance = random.Random(seed)
        self.props: dict[str, Model] = {name: {} for name in sites.sites}
        self.offered: dict[str, list[str]] = {name: [] for name in sites.sites}

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            site = self.chance.choice(list(self.sites.sites.values()))
            offered = self.offered[site.fqcn]
            match self.chance.randrange(6):
                case 0:
                    offered.append(site.do("offer", group=f"models-{self.chance.randrange(2)}"))
                case 1 if offered:
                    site.do("withdraw", rid=offered.pop(self.chance.randrange(len(offered))))
                case _:
                    self.set(site)

    def set(self, site: Site) -> None:
        key, value = f"key-{self.chance.randrange(3)}", self.chance.choice((None, self.chance.randrange(1000)))
        site.do("set", key=key, value=value)
        if value is None:
            self.props[site.fqcn].pop(key, None)
        else:
            self.props[site.fqcn][key] = value

    def kill(self, name: str) -> None:
        self.sites.kill(name)
        self.props[name], self.offered[name] = {}, []

    def said(self) -> Model:
        props = {name: each for name, each in self.props.items() if each}
        return {"props": props, "announced": {rid: name for name, rids in self.offered.items() for rid in rids}}

    def wait_all_know(self) -> None:
        said = self.said()
        until(lambda: all(known == said for known in self.sites.known().values()), f"they do not all know {said}")


@PLANES
def test_sixteen_processes_agree_after_sets_withdrawals_and_kills(
    make: Callable[..., Sites], tmp_path: Path, plane: int | None
) -> None:
    sites = make(plane=plane)
    names = tree_of_sixteen(sites, tmp_path)
    assert len(names) == 16
    story = Story(sites, seed=5)
    story.go_on(40)
    story.wait_all_know()
    again = {
        name: {"fqcn": name, "listen": sites.sites[name].urls, "parent": parent}
        for name, parent in (("relay-1", sites.sites["server"].urls[0]), ("server", None))
    }
    for name in ("relay-1", "server"):
        story.kill(name)
        story.go_on(15)
        sites.start(again[name])
        story.go_on(15)
    story.kill("relay-2.site-3")  # for good
    story.wait_all_know()
    listeners = {name: site.do("plane")["listeners"] for name, site in sites.sites.items() if "site" not in name}
    assert any(listeners.values()) is (plane is not None)


@PLANES
def test_plane_S01_who_joins_late_knows_what_is_announced(make: Callable[..., Sites], plane: int | None) -> None:
    sites = make(plane=plane)
    [server] = sites.start({"fqcn": "server", "listen": "tcp://127.0.0.1:*"})
    rids = [server.do("offer", group="models") for _ in range(3)]
    server.do("withdraw", rid=rids[1])
    [late] = sites.start({"fqcn": "site-1", "parent": server.urls[0]})
    until(lambda: late.do("known")["announced"] == {rids[0]: "server", rids[2]: "server"})


@PLANES
def test_plane_S02_who_stops_reading_slows_nobody_costs_little_and_repairs_itself(
    make: Callable[..., Sites], plane: int | None
) -> None:
    """2,000 sets go by, of 8 KiB each: far more than what libzmq and the kernel keep for the one that is stopped."""
    sites = make(plane=plane, config=PATIENT)
    [server] = sites.start({"fqcn": "server", "listen": "tcp://127.0.0.1:*"})
    writer, reader, stopped = sites.start(
        *({"fqcn": f"site-{number}", "parent": server.urls[0]} for number in range(3))
    )
    for site in (writer, reader, stopped):
        assert site.do("connected")
    if plane is not None:
        until(lambda: server.do("plane")["listeners"] == ["site-0", "site-1", "site-2"])
    keys, times, size = 20, 100, 8_000
    writer.do("set_many", keys=keys, times=1, size=size)
    last = {f"many-{key}": f"{times - 1}:{key}:".ljust(20, "x") for key in range(keys)}
    until(lambda: set(stopped.do("known")["props"].get("site-0", ())) == set(last))
    idle = anonymous(server.pid)
    stopped.signal(signal.SIGSTOP)
    with Peak([server.pid]) as peak:
        writer.do("set_many", keys=keys, times=times, size=size)
        until(lambda: reader.do("known")["props"]["site-0"] == last)
    assert reader.do("plane")["gaps"] == 0, "who reads misses nothing meanwhile"
    assert peak.highest[server.pid] - idle <= MOST_MEMORY
    stopped.signal(signal.SIGCONT)
    until(lambda: stopped.do("known")["props"]["site-0"] == last)
    assert stopped.do("plane")["gaps"] > 0


@PLANES
def test_plane_S04_a_restarted_root_begins_an_epoch_and_nothing_is_left_over(
    make: Callable[..., Sites], plane: int | None
) -> None:
    sites = make(plane=plane)
    [server] = sites.start({"fqcn": "server", "listen": "tcp://127.0.0.1:*"})
    one, two = sites.start(*({"fqcn": f"site-{number}", "parent": server.urls[0]} for number in (1, 2)))
    server.do("set", key="round", value=1)
    one.do("set", key="phase", value="a")
    until(lambda: two.do("known")["props"] == {"server": {"round": 1}, "site-1": {"phase": "a"}})
    epoch = two.do("plane")["epoch"]
    sites.kill("server")
    [server] = sites.start({"fqcn": "server", "listen": server.urls})
    until(lambda: two.do("known")["props"] == {"site-1": {"phase": "a"}} and two.do("plane")["current"])
    assert two.do("plane")["epoch"] not in (0, epoch)
    one.do("set", key="phase", value="b")
    until(lambda: server.do("known")["props"] == two.do("known")["props"] == {"site-1": {"phase": "b"}})
