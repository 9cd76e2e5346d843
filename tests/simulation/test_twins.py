"""The same site started twice: exactly one stays, the newer, and the other is not heard any more."""

from __future__ import annotations

from tests.harness import Host, Net, Weather
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import EXIT_REPLACED
from zmqfl.wire.messages import Kind

TREE = ("relay-a", "relay-a.site-1", "site-4")
SITE = "relay-a.site-1"
DAY_MS = 86_400_000


def supervised(net: Net) -> list[int | None]:
    """Start each process again that ends by itself, unless it was replaced. Returns the statuses, as they come."""
    statuses: list[int | None] = []

    def ended(host: Host) -> None:
        statuses.append(host.exited)
        if host.exited != EXIT_REPLACED:
            net.twin(host)

    net.when_ended = ended
    return statuses


def starts_of(net: Net, name: str) -> list[Host]:
    return [host for host in net.processes if host.fqcn == name]


def settled(net: Net, name: str) -> None:
    """One process of the name is left; it is bound, and nobody greets any more."""
    net.run_until(lambda: len(starts_of(net, name)) == 1 and net.is_formed(), 60)
    net.run(3)
    net.traffic.clear()
    net.run(60)
    hellos = {key: number for key, number in net.traffic.items() if key[2] == Kind.HELLO}
    assert not hellos, f"they still greet: {hellos}"
    assert net.is_formed()


def test_twins(seed: int) -> None:
    net = Net(seed)
    chance = net.random
    statuses = supervised(net)
    net.wall_skew = {SITE: DAY_MS}  # a child's clock counts for nothing
    net.tree(*TREE)
    net.run(chance.choice((0.0, 0.01, 0.02, 0.05, 2.0)))  # while it greets, too
    older = net.hosts[SITE]
    net.wall_skew.clear()
    newer = net.twin(SITE)
    if chance.random() < 0.5:
        chance.choice((net.cut, net.freeze))(chance.choice((older, newer)))
    net.run(chance.uniform(0, 8))
    net.repair()
    settled(net, SITE)
    assert statuses == [EXIT_REPLACED]
    [survivor] = starts_of(net, SITE)
    assert survivor in (older, newer)
    id = net.request("site-4", SITE)
    net.run(1)
    assert net.code("site-4", id, SITE) is CellReturnCode.OK


def test_many_starts_at_once(seed: int) -> None:
    net = Net(seed, weather=Weather(delay=(0.0, 0.05)))
    statuses = supervised(net)
    net.tree(*TREE)
    for _ in range(5):
        net.twin(SITE)
    settled(net, SITE)
    assert statuses == [EXIT_REPLACED] * 5


def test_twins_while_everything_restarts(seed: int) -> None:
    net = Net(seed)
    chance = net.random
    statuses = supervised(net)
    net.tree(*TREE)
    net.run(1)
    twins = 1
    for _ in range(12):
        match chance.randrange(6):
            case 0 if twins < 4:
                net.twin(SITE)
                twins += 1
            case 1:
                net.restart(chance.choice(("server", "relay-a")))
            case 2:
                chance.choice((net.cut, net.freeze))(chance.choice(net.processes))
            case 3:
                net.repair()
            case _:
                net.request(chance.choice(net.processes), chance.choice((*TREE, "server")), timeout=5.0)
        net.run(chance.choice((0.01, 0.1, 1.0, 6.0)))
    net.repair()
    settled(net, SITE)
    assert set(statuses) <= {EXIT_REPLACED}
    assert len(statuses) == twins - 1
    net.check_ended()


def test_the_newer_start_wins_whatever_the_older_ones_clock_says() -> None:
    net = Net()
    net.wall_skew = {SITE: DAY_MS}
    older = net.form(*TREE).hosts[SITE]
    net.wall_skew.clear()
    newer = net.twin(SITE)
    net.run(1)
    assert (older.exited, older.alive, newer.alive) == (EXIT_REPLACED, False, True)


def test_a_replaced_start_is_refused_where_the_newer_one_was_heard() -> None:
    net = Net(weather=Weather(leftover=0.0)).form("site-1", "site-4")
    older = net.hosts["site-1"]
    net.freeze(older)  # so it does not hear that it is replaced
    newer = net.twin("site-1")
    net.run(1)
    id = net.request(newer, "site-4")
    net.run(1)
    assert net.code(newer, id, "site-4") is CellReturnCode.OK

    net.cut(newer)
    net.restart("server")  # it remembers neither of them, and hears the older one first
    net.thaw(older)
    net.run_until(lambda: net.is_bound(older), 10)
    id = net.request(older, "site-4")
    net.run_until(lambda: net.hosts["site-4"].node.counters["stale_fence"] > 0, 10)
    assert net.executions[("site-1", older.node.instance, id, "site-4")] == 0

    net.heal(newer)
    net.run_until(lambda: not older.alive, 10)
    assert older.exited == EXIT_REPLACED
    net.run_until(lambda: net.is_bound(newer), 10)
