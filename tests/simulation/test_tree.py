"""Whole trees of cells under bad weather: at most one execution, exactly one end per handle."""

from __future__ import annotations

from tests.harness import Net, Weather
from zmqfl.errors import CellReturnCode

TREE = ("relay-a", "relay-b", "relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4")
STORM = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1)


def test_every_cell_reaches_every_other() -> None:
    net = Net().form(*TREE)
    names = [*TREE, "server"]
    ids = {(a, b): net.request(a, b) for a in names for b in names}
    net.run(1)
    assert {net.code(a, id, b) for (a, b), id in ids.items()} == {CellReturnCode.OK}
    net.check_ended()


def test_storm(seed: int) -> None:
    net = Net(seed, weather=STORM).form(*TREE)
    chance = net.random
    for host in net.processes:
        host.handler_time = lambda: chance.choice((0.0, 0.01, 0.3, 3.0))
    names = [*TREE, "server"]
    for _ in range(60):
        living = [host.fqcn for host in net.processes] or [net.restart("server").fqcn]
        match chance.randrange(14):
            case 0:
                net.cut(chance.choice(living))
            case 1 | 2:
                for name in living:
                    net.heal(name)
            case 3:
                net.restart(chance.choice(names))
            case 4:
                net.crash(chance.choice(living))
            case 5:
                for name in names:
                    if not net.hosts[name].alive:
                        net.restart(name)
            case 6:
                net.freeze(chance.choice(living))
            case 7:
                net.thaw(chance.choice(living))
            case _:
                targets = chance.sample(names, chance.randint(1, 4))
                net.request(chance.choice(living), targets, timeout=chance.choice((0.5, 5.0, 30.0)))
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    net.repair()
    net.run_until(lambda: net.open == 0, 200)
    net.check_ended()
    net.weather = Weather()
    net.run_until(net.is_formed, 60)
    id = net.request("relay-a.site-1", ["relay-b.site-3", "server", "site-4"])
    net.run_until(lambda: net.open == 0, 20)
    assert {net.code("relay-a.site-1", id, t) for t in ("relay-b.site-3", "server", "site-4")} == {CellReturnCode.OK}
