"""Whole trees of cells under bad weather: at most one execution, exactly one end per handle."""

from __future__ import annotations


from tests.harness import Net, Weather
from zmqfl.errors import CellReturnCode

TREE = ("relay-a", "relay-b", "relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4")
STORM = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1)


def formed(net: Net) -> Net:
    net.tree(*TREE)
    net.run_until(net.is_formed, 60)
    return net


def test_every_cell_reaches_every_other() -> None:
    net = formed(Net())
    names = [*TREE, "server"]
    ids = {(a, b): net.request(a, b) for a in names for b in names}
    net.run(1)
    assert {net.code(a, id, b) for (a, b), id in ids.items()} == {CellReturnCode.OK}
    net.check_ended()


def storm(seed: int) -> None:
    net = Net(seed, weather=STORM)
    chance = net.random
    formed(net)
    for host in net.hosts.values():
        host.handler_time = lambda: chance.choice((0.0, 0.01, 0.3, 3.0))
    names = [*TREE, "server"]
    for _ in range(60):
        living = [name for name in names if net.hosts[name].alive] or [net.restart("server").fqcn]
        match chance.randrange(12):
            case 0:
                net.cut(chance.choice([n for n in TREE if net.hosts[n].alive] or [TREE[0]]))
            case 1 | 2:
                for name in TREE:
                    if net.hosts[name].alive:
                        net.heal(name)
            case 3:
                net.restart(chance.choice(names))
            case 4:
                net.crash(chance.choice(living))
            case 5:
                for name in names:
                    if not net.hosts[name].alive:
                        net.restart(name)
            case _:
                targets = chance.sample(names, chance.randint(1, 4))
                net.request(chance.choice(living), targets, timeout=chance.choice((0.5, 5.0, 30.0)))
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    for name in names:
        if not net.hosts[name].alive:
            net.restart(name)
    for name in TREE:
        net.heal(name)
    net.run_until(lambda: net.open == 0, 200)
    net.check_ended()
    net.weather = Weather()
    net.run_until(net.is_formed, 60)
    id = net.request("relay-a.site-1", ["relay-b.site-3", "server", "site-4"])
    net.run_until(lambda: net.hosts["relay-a.site-1"].node.requester.open == 0, 20)
    assert {net.code("relay-a.site-1", id, t) for t in ("relay-b.site-3", "server", "site-4")} == {CellReturnCode.OK}


def test_storm(seed: int) -> None:
    storm(seed)
