"""Payloads above a segment, both ways, through relays, while anything breaks: they arrive whole, and once at most."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest

from tests.harness import CONFIG, Host, Net, Weather
from zmqfl.config import KIB, MIB, CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Call, Finish, Outcome
from zmqfl.protocol.pace import SILENCE
from zmqfl.transport.outbox import SHARES
from zmqfl.wire.messages import Buffer, Kind

SEEDS_SHARE = 4

OK, COMM_ERROR = CellReturnCode.OK, CellReturnCode.COMM_ERROR
TREE = ("relay-a", "relay-b", "relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4")
EVERYBODY = (*TREE, "server")
STORM = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1)
SMALL = replace(
    CONFIG,
    segment=16 * KIB,
    control_limit=4 * KIB,
    bulk_heartbeat_timeout=20.0,
    send_budget=4 * MIB,
    reply_bytes=2 * MIB,
)
"""Segments so short that a flow of 64 KiB has a beginning, a middle and an end."""
POOL = memoryview(random.Random(0).randbytes(24 * MIB))
"""Nothing in it comes twice, so what is in the wrong place is not equal."""
SIZES = (0, 4 * KIB, 16 * KIB, 16 * KIB + 1, 64 * KIB, 100_000, 300_000)


class Payloads(Net):
    """A network whose requests and replies are cuts of `POOL`; checks that they arrive as they were sent."""

    def __init__(self, seed: int = 0, *, config: CellConfig = SMALL, weather: Weather | None = None) -> None:
        super().__init__(seed, config=config, weather=weather)
        self.sizes: Callable[[], int] = lambda: 0
        """Bytes of each reply."""
        self.sent: dict[tuple[str, int, int], bytes] = {}
        self.replied: dict[tuple[str, int, int, str], list[bytes]] = {}

    def ask(
        self, origin: str | Host, targets: list[str], size: int, timeout: float = 60.0, deadline: float | None = None
    ) -> int:
        """A request of `size` bytes in up to three bodies."""
        host = self._process(origin)
        bodies = self.cut_out(size)
        id = host.node.next_id()
        self.sent[host.fqcn, host.node.instance, id] = b"".join(bodies)
        for name in targets:
            self.asked[host.fqcn, host.node.instance, id, name] = self.now
        self.obey(host, host.node.request(id, targets, "c", "t", 0, {}, bodies, timeout, self.now, deadline))
        return id

    def cut_out(self, size: int) -> tuple[Buffer, ...]:
        """So many bytes from somewhere."""
        start = self.random.randrange(len(POOL) - size)
        cuts = sorted(self.random.choices(range(size + 1), k=self.random.randrange(3)))
        ends = [0, *cuts, size]
        return tuple(POOL[start + a : start + b] for a, b in pairwise(ends))

    def answer(self, host: Host, call: Call) -> Outcome:
        """Check what came, and return as much as `sizes` says."""
        assert b"".join(call.bodies) == self.sent[call.origin, call.instance, call.id]
        bodies = self.cut_out(self.sizes())
        key = (call.origin, call.instance, call.id, host.fqcn)
        self.replied.setdefault(key, []).append(b"".join(bodies))
        return Outcome(OK, bodies=bodies)

    def _finish(self, host: Host, finish: Finish) -> None:
        super()._finish(host, finish)
        if finish.outcome.code is OK:
            key = (host.fqcn, host.node.instance, finish.id, finish.target)
            assert b"".join(finish.outcome.bodies) in self.replied[key]

    def check_empty(self) -> None:
        """All has ended, and nothing is kept of what has travelled."""
        self.check_ended()
        for host in self.processes:
            assert host.node.flows.sending == 0, f"{host.node!r} still sends"
            assert (host.node.assembly.open, host.node.assembly.assembling) == (0, 0)
            assert host.budget.used == 0


def settle(net: Payloads) -> None:
    """Everything is mended, and all ends."""
    net.repair()
    net.run_until(lambda: net.open == 0, 400)
    net.run(2 * SILENCE * net.config.bulk_heartbeat_timeout + 10)  # replies that nobody takes, halves of payloads
    net.check_empty()


def trouble(net: Payloads, *, twins: bool = False) -> None:
    """One thing that may happen."""
    chance = net.random
    living = list(net.processes) or [net.restart("server")]  # not by name: of two starts the newer may be dead
    match chance.randrange(19):
        case 0:
            net.cut(chance.choice(living))
        case 1 | 2:
            for host in living:
                net.heal(host)
        case 3:
            net.restart(chance.choice(EVERYBODY))
        case 4:
            net.crash(chance.choice(living))
        case 5:
            for name in EVERYBODY:
                if not net.hosts[name].alive:
                    net.restart(name)
        case 6:
            net.freeze(chance.choice(living))
        case 7:
            net.thaw(chance.choice(living))
        case 8:
            host = chance.choice(living)
            mine = [key for key in net.asked if key[:2] == (host.fqcn, host.node.instance)]
            if mine:
                net.cancel(host, chance.choice(mine)[2])
        case 9 if len(net.processes) < 2 * len(EVERYBODY) and twins:
            net.twin(chance.choice(TREE))
        case 10:
            net.limit(chance.choice(living), chance.choice((inf, 300_000.0)))
        case _:
            targets = chance.sample(EVERYBODY, chance.choice((1, 1, 2, 4)))
            deadline = chance.choice((None, None, 3.0))
            net.ask(chance.choice(living), targets, chance.choice(SIZES), chance.choice((2.0, 20.0, 60.0)), deadline)


def test_storm(seed: int) -> None:
    net = Payloads(seed, weather=STORM)
    net.form(*TREE)
    chance = net.random
    net.sizes = lambda: chance.choice(SIZES)
    for host in net.processes:
        host.handler_time = lambda: chance.choice((0.0, 0.01, 0.3, 3.0))
    for _ in range(45):
        trouble(net)
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    settle(net)
    net.weather = Weather()
    net.run_until(net.is_formed, 60)
    id = net.ask("relay-a.site-1", ["relay-b.site-3", "server", "site-4"], 300_000)
    net.run_until(lambda: net.open == 0, 20)
    assert {net.code("relay-a.site-1", id, t) for t in ("relay-b.site-3", "server", "site-4")} == {OK}


def test_storm_with_several_starts_of_one_name(seed: int) -> None:
    net = Payloads(seed, weather=replace(STORM, loss=0.01))
    net.form(*TREE)
    chance = net.random
    for _ in range(40):
        trouble(net, twins=True)
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    for _ in range(3):
        net.repair()
        net.run(10)
    settle(net)


def test_crossing_payloads_of_all_cells_never_wait_for_each_other(seed: int) -> None:
    net = Payloads(seed)
    net.form(*TREE)
    chance = net.random
    for name in TREE:
        net.limit(name, rate=2.0 * MIB, room=2)
    net.sizes = lambda: chance.choice((50_000, 150_000))
    ids = []
    for name in EVERYBODY:
        targets = chance.sample(EVERYBODY, chance.randint(1, 3))
        ids += [(name, net.ask(name, targets, chance.choice((50_000, 150_000))), targets) for _ in range(2)]
    net.run_until(lambda: net.open == 0, 60)
    assert {net.code(name, id, target) for name, id, targets in ids for target in targets} == {OK}
    net.run(30)
    net.check_empty()
    assert all(host.node.counters["budget_full"] == 0 for host in net.processes)


LARGE = replace(CONFIG, segment=256 * KIB)


@pytest.mark.parametrize("size", [64 * KIB, 1 * MIB, 20 * MIB])
def test_large_payloads_through_relays(size: int) -> None:
    net = Payloads(config=LARGE)
    net.form(*TREE)
    net.sizes = lambda: size
    targets = ["relay-b.site-3", "relay-b", "server", "site-4"]
    id = net.ask("relay-a.site-1", targets, size)
    net.run_until(lambda: net.open == 0, 60)
    assert {net.code("relay-a.site-1", id, name) for name in targets} == {OK}
    net.run(1)
    net.check_empty()


@pytest.mark.parametrize("child", ["site-4", "relay-a.site-1", "relay-a"])
@pytest.mark.parametrize("upward", [False, True])
def test_5_mib_over_32_kib_per_second__sent_once_and_the_link_stays_up(child: str, upward: bool) -> None:
    net = Payloads(config=CONFIG)
    net.form("relay-a", "relay-a.site-1", "site-4")
    net.limit(child, rate=32.0 * KIB)
    ends = ("relay-a.site-1" if child == "relay-a" else child, "server")
    origin, target = ends if upward else ends[::-1]
    before = len(net.hosts[child].changes)
    id = net.ask(origin, [target], 5 * MIB, timeout=30.0)
    began = net.now
    while net.open:
        net.run(5)
        small = net.ask(target, [origin], 100)
        net.run_until(lambda small=small: net.code(target, small, origin) is OK, 0.5)  # type: ignore[misc]
        assert net.now - began < 200
    assert net.code(origin, id, target) is OK
    assert (
        net.traffic[net.hosts[child].parent, child, Kind.SEGMENT]
        + net.traffic[child, net.hosts[child].parent, Kind.SEGMENT]
        == 80
    )
    assert not net.hosts[child].changes[before:]
    net.check_empty()


@pytest.mark.parametrize(("sites", "size", "rate"), [(6, 1_000_000, 32), (6, 300_000, 128), (12, 2_000_000, 1024)])
def test_a_slow_link_is_shared_by_many__hardly_anything_goes_twice(sites: int, size: int, rate: int) -> None:
    net = Payloads(config=CONFIG)
    names = [f"relay-a.site-{number}" for number in range(sites)]
    net.form("relay-a", *names)
    net.limit("relay-a", rate=rate * 1024.0)
    began = net.now
    ids = [(name, net.ask(name, ["server"], size, timeout=300.0)) for name in names for _ in range(2)]
    net.run_until(lambda: net.open == 0, 2000)
    assert {net.code(name, id, "server") for name, id in ids} == {OK}
    ideal = len(ids) * size / (rate * 1024)
    assert net.now - began < 1.4 * ideal
    assert net.traffic["relay-a", "server", Kind.SEGMENT] < 1.5 * len(ids) * (size / (64 * KIB) + 1)
    net.check_empty()


def test_a_frozen_receiver_delays_nobody_else(seed: int) -> None:
    net = Payloads(seed)
    net.form(*TREE)
    for name in TREE:
        net.limit(name, rate=4.0 * MIB)
    net.freeze("relay-a.site-1")
    all_three = ["relay-a.site-1", "relay-a.site-2", "site-4"]
    shared = net.ask("server", all_three, 400_000, timeout=30.0)
    askers = ("site-4", "relay-b.site-3", "relay-a")
    for name in askers:
        for _ in range(4):
            net.ask(name, ["relay-a.site-1"], 150_000, timeout=30.0)
    net.run(0.5)
    ids = [(name, net.ask(name, ["relay-a.site-2"], 150_000)) for name in askers]
    net.run_until(lambda: all(net.code(name, id, "relay-a.site-2") is OK for name, id in ids), 5)
    net.run_until(lambda: all(net.code("server", shared, name) is OK for name in all_three[1:]), 5)
    assert net.code("server", shared, "relay-a.site-1") is None
    net.thaw("relay-a.site-1")
    net.run_until(lambda: net.open == 0, 60)
    assert net.code("server", shared, "relay-a.site-1") is OK
    net.run(30)
    net.check_empty()


def test_children_that_stand_still_leave_the_relay_room_for_the_others(seed: int) -> None:
    """What is for the frozen ones fills their share of the relay; nobody else hears that it is busy."""
    net = Payloads(seed, config=replace(SMALL, send_budget=1 * MIB))
    frozen, well = [f"relay-a.site-{number}" for number in (1, 2, 3)], "relay-a.site-4"
    sites = [f"site-{number}" for number in range(8)]
    net.form("relay-a", *frozen, well, *sites)
    for name in (*frozen, well):
        net.limit(name, rate=4.0 * MIB)
        if name != well:
            net.freeze(name)
    for name in sites:
        net.ask(name, frozen, 150_000, timeout=60.0)
    net.run(2)
    relay = net.hosts["relay-a"]
    assert relay.node.counters["budget_full"] > 0
    share = net.config.send_budget // SHARES
    assert share < relay.budget.used <= len(frozen) * share
    ids = [net.ask("server", [well], 150_000) for _ in range(4)]
    net.run_until(lambda: all(net.code("server", id, well) is OK for id in ids), 5)
    assert net.hosts["server"].node.flows.counters["flows_held"] == 0
    for name in frozen:
        net.thaw(name)
    net.run_until(lambda: net.open == 0, 100)
    assert {outcome.code for outcome in net.outcomes.values()} == {OK}
    net.run(30)
    net.check_empty()


@pytest.mark.parametrize("size", [100, 16 * KIB, 300_000, 3 * MIB])
def test_where_nobody_is_long_and_short_requests_end_alike(size: int) -> None:
    net = Payloads()
    net.form(*TREE)
    net.crash("relay-b.site-3")
    net.run(2 * CONFIG.dead_after)
    ids = {name: net.ask(name, ["relay-b.site-3"], size) for name in ("relay-b", "server", "relay-a.site-1")}
    net.run(0.2)
    outcomes = {name: net.outcome(name, id, "relay-b.site-3") for name, id in ids.items()}
    assert {name: (outcome.code, outcome.error) for name, outcome in outcomes.items() if outcome} == {
        "relay-b": (CellReturnCode.TARGET_UNREACHABLE, "relay-b has no route to relay-b.site-3"),
        "server": (COMM_ERROR, "relay-b cannot forward: relay-b has no route to relay-b.site-3"),
        "relay-a.site-1": (COMM_ERROR, "relay-b cannot forward: relay-b has no route to relay-b.site-3"),
    }
    net.check_empty()


def test_a_callee_that_restarts_in_the_middle_gets_all_of_it(seed: int) -> None:
    net = Payloads(seed)
    net.form(*TREE)
    net.limit("relay-a.site-1", rate=1.0 * MIB)
    id = net.ask("site-4", ["relay-a.site-1"], 1 * MIB)
    net.run(net.random.uniform(0.05, 0.6))
    net.restart("relay-a.site-1")
    net.run_until(lambda: net.open == 0, 20)
    assert net.code("site-4", id, "relay-a.site-1") is OK
    net.run(30)
    net.check_empty()


def test_a_cancel_frees_both_ends_at_once(seed: int) -> None:
    net = Payloads(seed)
    net.form(*TREE)
    net.limit("relay-a.site-1", rate=1.0 * MIB)
    net.sizes = lambda: 1 * MIB
    id = net.ask("relay-a.site-1", ["site-4", "server"], 1 * MIB)
    net.run(net.random.uniform(0.1, 2.5))
    net.cancel("relay-a.site-1", id)
    net.run(3)
    net.check_empty()


def test_what_is_too_big_for_the_other_is_told_both_ways() -> None:
    net = Payloads(config=replace(SMALL, payload_limit=500_000))
    net.form(*TREE)
    net.sizes = lambda: 500_001
    ids = {size: net.ask("site-4", ["relay-a.site-1"], size) for size in (100, 500_001)}
    net.run_until(lambda: net.open == 0, 2)
    outcomes = [net.outcome("site-4", id, "relay-a.site-1") for id in ids.values()]
    text = "a payload of 500001 bytes is above the `payload_limit` of {}, 500000 bytes"
    assert [(outcome.code, outcome.error) for outcome in outcomes if outcome] == [
        (CellReturnCode.MSG_TOO_BIG, text.format("site-4")),
        (CellReturnCode.MSG_TOO_BIG, text.format("relay-a.site-1")),
    ]
    net.check_empty()


def test_without_room_to_put_it_together_it_is_refused_unexecuted() -> None:
    net = Payloads(config=replace(SMALL, payload_limit=500_000, assembly_budget=500_000))
    net.form("site-1", "site-2")
    ids = {name: net.ask(name, ["server"], 300_000) for name in ("site-1", "site-2")}
    net.run_until(lambda: net.open == 0, 5)
    outcomes = [net.outcome(name, id, "server") for name, id in ids.items()]
    assert sorted((outcome.code, outcome.error) for outcome in outcomes if outcome) == [
        (OK, ""),
        (CellReturnCode.SERVICE_UNAVAILABLE, "server has no room for a payload of 300000 bytes now"),
    ]
    assert sum(net.executions.values()) == 1
    net.check_empty()
