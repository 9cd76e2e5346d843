"""Links break, heal and freeze: suspected fails nothing before `dead_after`, stalled nothing at all."""

from __future__ import annotations

from tests.harness import CONFIG, Net
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import PeerState

OK, TIMEOUT, COMM_ERROR = CellReturnCode.OK, CellReturnCode.TIMEOUT, CellReturnCode.COMM_ERROR
TREE = ("relay-a", "relay-a.site-1", "relay-b", "relay-b.site-2")
SITE, OTHER = "relay-a.site-1", "relay-b.site-2"
DEAD_AFTER, BEAT = CONFIG.dead_after, CONFIG.heartbeat
LATE = 3.0
"""Seconds that a parent may take to hear of a break (`tests.harness`)."""


def test_suspected_for_less_than_dead_after__nothing_fails(seed: int) -> None:
    net = Net(seed).form(*TREE)
    chance = net.random
    for host in net.processes:
        host.handler_time = lambda: chance.choice((0.0, 1.0, 4.0))
    names = [*TREE, "server"]
    ids = [(name, net.request(name, names, timeout=60.0)) for name in names]
    for _ in range(3):
        net.run(chance.choice((0.0, 0.01, 1.0)))
        broken = chance.sample(TREE, chance.randint(1, 4))
        for name in broken:
            net.cut(name)
        net.run(chance.uniform(0, DEAD_AFTER - 1.5))
        ids.append((name := chance.choice(names), net.request(name, names, timeout=60.0)))
        for name in broken:
            net.heal(name)
        net.run_until(net.is_formed, 1.4)
    net.run_until(lambda: net.open == 0, 60)
    net.check_ended()
    assert {net.code(origin, id, target) for origin, id in ids for target in names} == {OK}


def test_suspected_for_longer__what_waits_fails_at_dead_after_with_the_reason(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.hosts[SITE].handler_time = lambda: 60.0
    ids = {name: net.request(name, SITE, timeout=100.0) for name in ("relay-a", "server", OTHER)}
    net.run(net.random.uniform(0.2, 3))
    cut = net.now
    net.cut(SITE)
    net.run_until(lambda: net.open == 0, 30)
    reasons = {
        "relay-a": f"outcome unknown: {SITE} is gone: no connection for 5 s",
        "server": f"outcome unknown: relay-a cannot reach it: relay-a has no route to {SITE}",
        OTHER: f"outcome unknown: relay-a cannot reach it: relay-a has no route to {SITE}",
    }
    for name, id in ids.items():
        key = (name, net.hosts[name].node.instance, id, SITE)
        assert (net.outcomes[key].code, net.outcomes[key].error) == (COMM_ERROR, reasons[name])
        assert DEAD_AFTER <= net.ended[key] - cut < DEAD_AFTER + LATE + BEAT + 1


def test_a_cell_that_is_cut_off_tells_what_it_waits_for(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.hosts[OTHER].handler_time = lambda: 60.0
    id = net.request(SITE, [OTHER, "server", SITE], timeout=100.0)
    net.run(0.5)
    cut = net.now
    net.cut(SITE)
    net.run_until(lambda: net.open == 0, 30)
    outcome = net.outcome(SITE, id, OTHER)
    assert outcome is not None
    assert outcome.error == "outcome unknown: relay-a is gone: no connection for 5 s"
    assert DEAD_AFTER <= net.now - cut < DEAD_AFTER + 1
    assert net.code(SITE, id, "server") is net.code(SITE, id, SITE) is OK


def test_what_is_asked_of_a_suspected_cell_waits_until_it_is_back_or_gone(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.cut(SITE)
    net.run(LATE)
    waits = net.request(OTHER, SITE)
    net.run(0.5)
    assert net.code(OTHER, waits, SITE) is None
    net.heal(SITE)
    net.run_until(lambda: net.open == 0, 2)
    assert net.code(OTHER, waits, SITE) is OK


def test_what_is_asked_of_a_gone_cell_fails_at_once() -> None:
    net = Net().form(*TREE)
    net.cut(SITE)
    net.run(DEAD_AFTER + LATE + 1)
    id = net.request(OTHER, SITE)
    net.run(0.1)
    outcome = net.outcome(OTHER, id, SITE)
    assert outcome is not None
    assert (outcome.code, outcome.error) == (COMM_ERROR, f"relay-a cannot forward: relay-a has no route to {SITE}")


def test_a_frozen_link__stalled_and_nothing_fails_before_its_time_out(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.freeze(SITE)
    short = net.request(OTHER, SITE, timeout=20.0)
    long = net.request("relay-a", SITE, timeout=100.0)
    net.run(19)
    assert net.code(OTHER, short, SITE) is None
    changes = [change.state for change in net.hosts["relay-a"].changes if change.fqcn == SITE]
    assert changes[-1] is PeerState.STALLED
    assert net.hosts[SITE].changes[-1].state is PeerState.STALLED
    net.run(3)
    outcome = net.outcome(OTHER, short, SITE)
    assert outcome is not None
    assert (outcome.code, outcome.error) == (TIMEOUT, "no reply within 20 s")
    net.thaw(SITE)
    net.run(2)
    assert net.code("relay-a", long, SITE) is OK
    assert net.hosts["relay-a"].changes[-1].state is PeerState.UP
    net.check_ended()


def test_messages_of_the_old_session_on_the_new_connection_do_no_harm(seed: int) -> None:
    net = Net(seed).form("site-1")
    for _ in range(5):
        net.request("site-1", "server")
    for _ in range(5):
        cable = net.random.choice(net.cables)
        net.break_off(cable)
        for _ in range(10):
            net.request("site-1", "server", bytes(net.random.choice((10, 100_000))))
            net.run(net.random.uniform(0, 0.05))
    net.run_until(lambda: net.open == 0, 20)
    net.check_ended()
    assert {outcome.code for outcome in net.outcomes.values()} == {OK}
