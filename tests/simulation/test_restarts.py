"""Processes end and start again while requests are under way.

"Outcome unknown" says that the handler may have run. It is allowed only where nobody can tell any more: the callee has
restarted, or was bound for less than a round trip when the request left, or a link between the two was broken for
`dead_after`. When none of this is so, every request of a cell that lives ends OK, whatever else was restarted.
"""

from __future__ import annotations

import pytest

from tests.harness import CONFIG, Key, Net, Weather
from zmqfl.errors import CellReturnCode

OK, COMM_ERROR, UNREACHABLE = CellReturnCode.OK, CellReturnCode.COMM_ERROR, CellReturnCode.TARGET_UNREACHABLE
TREE = ("relay-a", "relay-b", "relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4")
HOUR_MS = 3_600_000
BREEZE = Weather(delay=(0.001, 0.05), reorder=0.1, duplicate=0.05)


def busy(net: Net) -> Net:
    """All handlers take some time."""
    for host in net.processes:
        host.handler_time = lambda: net.random.choice((0.0, 0.01, 0.3, 3.0))
    return net


def ask_around(net: Net, number: int, *without: str) -> list[Key]:
    """Requests between any two cells but those in `without`."""
    names = [host.fqcn for host in net.processes if host.fqcn not in without]
    keys = []
    for _ in range(number):
        origin, target = net.random.choice(names), net.random.choice(names)
        keys.append((origin, net.hosts[origin].node.instance, net.request(origin, target, timeout=120.0), target))
        net.run(net.random.choice((0.0, 0.01, 0.1)))
    return keys


def check_all_ok(net: Net, keys: list[Key]) -> None:
    net.run_until(lambda: net.open == 0, 200)
    net.check_ended()
    failed = {key: net.outcomes[key] for key in keys if net.outcomes[key].code is not OK}
    assert not failed
    assert all(net.executions[key] == 1 for key in keys)


@pytest.mark.parametrize("restarted", ["relay-a", "server"])
def test_a_relay_or_the_root_restarts_while_requests_run(seed: int, restarted: str) -> None:
    net = busy(Net(seed, weather=BREEZE).form(*TREE))
    keys = ask_around(net, 15, restarted)
    began = net.now
    net.crash(restarted)
    net.run(net.random.choice((0.0, 0.01, 0.5, net.random.uniform(0, 2))))
    keys += ask_around(net, 3, restarted)
    net.restart(restarted)
    net.run_until(net.is_formed, 10)
    assert net.now - began < CONFIG.dead_after, "this test needs links that heal in time"
    keys += ask_around(net, 5)
    check_all_ok(net, keys)


def test_what_waits_for_a_restarted_cell_itself_ends_at_once(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.hosts["relay-a"].handler_time = lambda: 60.0
    ids = {name: net.request(name, "relay-a", timeout=120.0) for name in ("server", "site-4", "relay-a.site-1")}
    net.run(0.5)
    restarted = net.now
    net.restart("relay-a")
    net.run_until(lambda: net.open == 0, 20)
    assert net.now - restarted < CONFIG.dead_after
    for name, id in ids.items():
        outcome = net.outcome(name, id, "relay-a")
        assert outcome is not None
        assert outcome.code is COMM_ERROR
        assert outcome.error.startswith("outcome unknown: ")
    assert len(net.executions) == 3


def test_a_callee_restarts_while_it_runs_a_request__outcome_unknown(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.hosts["relay-a.site-1"].handler_time = lambda: 60.0
    id = net.request("site-4", "relay-a.site-1", timeout=120.0)
    net.run(net.random.uniform(0.0, 0.1))  # perhaps it has begun
    net.restart("relay-a.site-1")
    net.hosts["relay-a.site-1"].handler_time = lambda: 0.0
    net.run_until(lambda: net.open == 0, 20)
    outcome = net.outcome("site-4", id, "relay-a.site-1")
    assert outcome is not None
    if net.executions[("site-4", net.hosts["site-4"].node.instance, id, "relay-a.site-1")] == 0:
        assert outcome.code in (COMM_ERROR, UNREACHABLE)
    elif outcome.code is not OK:  # its one execution may also have been by the new start
        assert outcome.error == "outcome unknown: the callee has restarted or has forgotten the request"


def lost_request() -> tuple[Net, int]:
    """A request of site-4 to site-1 was lost; the link is back, and site-4 is about to ask for it."""
    net = Net(weather=Weather(leftover=0.0)).form("site-1", "site-4")
    net.freeze("site-1")
    id = net.request("site-4", "site-1")
    net.run(0.2)
    net.cut("site-1")
    net.thaw("site-1")
    net.heal("site-1")
    return net, id


def test_a_lost_request_is_sent_again_to_the_very_instance_that_never_saw_it() -> None:
    net, id = lost_request()
    net.run_until(lambda: net.open == 0, 10)
    assert net.code("site-4", id, "site-1") is OK
    assert sum(net.executions.values()) == 1
    assert net.hosts["site-4"].node.requester.counters["resent"] == 1


def test_a_dup_is_not_executed_by_a_callee_that_has_restarted() -> None:
    net, id = lost_request()
    net.run_until(lambda: net.hosts["site-4"].node.requester.counters["resent"] == 1, 10)
    net.freeze("site-4")  # the DUP is held up
    net.restart("site-1")
    net.run_until(net.is_formed, 10)
    net.thaw("site-4")
    net.run_until(lambda: net.open == 0, 1)
    outcome = net.outcome("site-4", id, "site-1")
    assert outcome is not None
    assert (outcome.code, outcome.error) == (COMM_ERROR, "outcome unknown: a copy may have run before this start")
    assert sum(net.executions.values()) == 0


def test_children_start_before_their_parents(seed: int) -> None:
    net = Net(seed)
    names = [*TREE, "server"]
    net.random.shuffle(names)
    for name in names:
        parent = "" if name == "server" else name.rpartition(".")[0] or "server"
        net.add(name, parent)
        net.run(net.random.choice((0.0, 0.1, net.random.uniform(0, 8))))
    net.run_until(net.is_formed, 30)
    net.run(0.5)
    assert {host.node.neighbours.root for host in net.processes} == {"server"}
    net.run(CONFIG.dead_after)
    check_all_ok(net, ask_around(net, 20))


@pytest.mark.parametrize("restarted", ["relay-a", "server"])
def test_a_parent_restarts_with_its_clock_set_back_an_hour(seed: int, restarted: str) -> None:
    net = busy(Net(seed).form(*TREE))
    check_all_ok(net, ask_around(net, 10))
    keys = ask_around(net, 5, restarted)
    net.wall_skew = {restarted: -HOUR_MS}
    net.restart(restarted)
    net.run_until(net.is_formed, 10)
    check_all_ok(net, keys)
    check_all_ok(net, ask_around(net, 20))
    for name in TREE:  # fresh starts get tokens that count everywhere
        if name != restarted:
            net.restart(name)
            net.run_until(net.is_formed, 10)
    net.run(CONFIG.dead_after)
    check_all_ok(net, ask_around(net, 20))


def test_sites_two_levels_down_wait_for_each_other_while_the_root_restarts(seed: int) -> None:
    net = Net(seed).form(*TREE)
    for name in ("relay-a.site-1", "relay-b.site-3"):
        net.hosts[name].handler_time = lambda: 4.0
    keys: list[Key] = []
    for origin, target in (("relay-a.site-1", "relay-b.site-3"), ("relay-b.site-3", "relay-a.site-1")):
        keys.append((origin, net.hosts[origin].node.instance, net.request(origin, target), target))
    net.run(net.random.uniform(0, 4))
    net.crash("server")
    net.run(net.random.uniform(0, 3))
    net.restart("server")
    check_all_ok(net, keys)


def test_a_cell_that_stops_says_so_and_nobody_waits_for_dead_after(seed: int) -> None:
    net = Net(seed).form(*TREE)
    net.hosts["relay-a.site-1"].handler_time = lambda: 60.0
    ids = {name: net.request(name, "relay-a.site-1") for name in ("relay-a", "site-4")}
    net.run(net.random.uniform(0, 1))
    stopped = net.now
    net.stop("relay-a.site-1")
    net.run_until(lambda: net.open == 0, 10)
    assert net.now - stopped < 2 * CONFIG.heartbeat
    errors = [outcome.error for name, id in ids.items() if (outcome := net.outcome(name, id, "relay-a.site-1"))]
    assert len(errors) == 2
    assert any("relay-a.site-1 has stopped" in error or "is stopping" in error for error in errors)
