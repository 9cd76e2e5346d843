"""Anything may happen to a federation, in any order: hypothesis looks for an order that breaks it."""

from __future__ import annotations

import os

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.harness import Net, Weather
from zmqfl.errors import CellReturnCode

NAMES = ("server", "relay-a", "relay-a.site-1", "relay-a.site-2", "site-3")
CELLS = st.sampled_from(NAMES)
CHILDREN = st.sampled_from(NAMES[1:])


class Federation(RuleBasedStateMachine):
    """`Net` itself checks: one execution at most, one end per handle, nothing of an old start."""

    @initialize(seed=st.integers(0, 1000), stormy=st.booleans())
    def start(self, seed: int, stormy: bool) -> None:
        weather = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1) if stormy else None
        self.net = Net(seed, weather=weather).form(*NAMES[1:])
        for host in self.net.processes:
            host.handler_time = lambda: self.net.random.choice((0.0, 0.3, 3.0))

    @rule(origin=CELLS, callee=CELLS, timeout=st.sampled_from((0.5, 5.0, 30.0)))
    def request(self, origin: str, callee: str, timeout: float) -> None:
        if self.net.hosts[origin].alive:
            self.net.request(origin, callee, timeout=timeout)

    @rule(origin=CELLS, callees=st.lists(CELLS, unique=True, min_size=2), big=st.booleans())
    def broadcast(self, origin: str, callees: list[str], big: bool) -> None:
        if self.net.hosts[origin].alive:
            self.net.request(origin, callees, bytes(100_000 if big else 1))

    @rule(child=CHILDREN)
    def cut(self, child: str) -> None:
        self.net.cut(child)

    @rule(child=CHILDREN)
    def heal(self, child: str) -> None:
        self.net.heal(child)

    @rule(child=CHILDREN)
    def freeze(self, child: str) -> None:
        self.net.freeze(child)

    @rule(child=CHILDREN)
    def thaw(self, child: str) -> None:
        self.net.thaw(child)

    @rule(cell=CELLS)
    def crash(self, cell: str) -> None:
        self.net.crash(cell)

    @rule(cell=CELLS)
    def restart(self, cell: str) -> None:
        self.net.restart(cell)

    @rule(child=CHILDREN)
    def twin(self, child: str) -> None:
        if len(self.net.processes) < 2 * len(NAMES):
            self.net.twin(child)

    @rule(cell=CHILDREN)
    def stop(self, cell: str) -> None:
        if self.net.hosts[cell].alive:
            self.net.stop(cell)

    @rule(seconds=st.sampled_from((0.01, 0.1, 1.0, 6.0)))
    def run_a_while(self, seconds: float) -> None:
        self.net.run(seconds)

    @invariant()
    def nothing_goes_in_circles(self) -> None:
        if hasattr(self, "net"):
            assert not any(host.node.transit.counters["loops"] for host in self.net.processes)
            assert all(host.node.counters["forged_return"] == 0 for host in self.net.processes)

    def teardown(self) -> None:
        """When all is mended, every handle ends, one process of each name stays, and everybody reaches everybody."""
        if not hasattr(self, "net"):
            return
        net = self.net
        for _ in range(3):  # what was stopped, and what hears only now that it was replaced, has left
            net.repair()
            net.run(10)
        net.run_until(lambda: net.open == 0, 200)
        net.check_ended()
        net.weather = Weather()
        net.run_until(lambda: len(net.processes) == len(NAMES) and net.is_formed(), 120)
        net.run(net.config.dead_after)
        newest = {host.fqcn: host for host in net.processes}
        ids = [(host, net.request(host, list(NAMES))) for host in newest.values()]
        net.run_until(lambda: net.open == 0, 60)
        assert {net.code(host, id, name) for host, id in ids for name in NAMES} == {CellReturnCode.OK}


TestFederation = Federation.TestCase
TestFederation.settings = settings(
    max_examples=max(30, int(os.environ.get("ZMQFL_SEEDS", "200")) // 4),
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    phases=(Phase.generate,),  # to shorten what it finds takes minutes: add Phase.shrink when there is something
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
