"""Pulls of many receivers by the caches of one relay and of two: each ends right, and the owner reads each chunk once.

`tests/works.py` checks each step of every pull.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.harness import CONFIG, Net, Weather
from tests.simulation.test_pull import BREEZE, STORM, content, settle, some_time
from tests.works import Faults, Offer, Pull
from zmqfl.config import KIB
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.chunk_store import OVERHEAD
from zmqfl.protocol.commands import Ask, Command, Outcome, Write
from zmqfl.protocol.pull_source import CHANNEL

SEEDS_SHARE = 10

OK, FAILED, INVALID = CellReturnCode.OK, CellReturnCode.PROCESS_EXCEPTION, CellReturnCode.INVALID_REQUEST
SITES = tuple(f"relay-a.site-{number}" for number in range(1, 9))
ONE = ("relay-a", *SITES)
DEEP = tuple(f"relay-a.relay-b.site-{number}" for number in range(1, 5))
TWO = ("relay-a", "relay-a.relay-b", *DEEP, "relay-a.site-1", "site-9")
SMALL = replace(CONFIG, segment=1000, control_limit=100)


def finish(net: Net, pulls: Iterable[Pull], limit: float = 300.0) -> None:
    pulls = list(pulls)
    net.run_until(lambda: all(pull.ended is not None or not pull.host.alive for pull in pulls), limit)


def total_reads(offer: Offer) -> int:
    return sum(offer.reads.values())


def kept(net: Net) -> int:
    return sum(host.node.transfers.relay.store.kept for host in net.processes)


def ended(net: Net) -> None:
    """As `settle`; and no relay keeps anything."""
    settle(net)
    for host in net.processes:
        relay = host.node.transfers.relay
        assert (relay.files, relay._by_name, relay._ready, relay.waiting) == ({}, {}, [], False)
        assert (relay.store.kept, relay.store.reserved, len(relay.store)) == (0, 0, 0)
        assert not relay._serving._takers
        assert not relay._serving.reading
        assert relay.deadline is None


def counter(net: Net, name: str, key: str) -> int:
    return net.hosts[name].node.transfers.counters[key]


@pytest.mark.parametrize("chunk", [10, 3000])
def test_eight_receivers_behind_a_relay__each_chunk_is_read_once(chunk: int) -> None:
    net = Net(config=SMALL).form(*ONE)
    offer = net.offer("server", content(40 * chunk - 3), chunk)
    pulls = [net.pull(name, offer) for name in SITES]
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    assert set(offer.reads.values()) == {1}
    assert sorted(served.receiver for served in offer.served) == sorted(SITES)
    assert counter(net, "relay-a", "relay_misses") == 40
    assert counter(net, "relay-a", "relay_hits") == 7 * 40
    assert counter(net, "relay-a", "relay_bytes") == 8 * (40 * chunk - 3)
    ended(net)


def test_two_relays__each_chunk_passes_each_link_once() -> None:
    net = Net(config=SMALL).form(*TWO)
    offer = net.offer("site-9", content(40 * 100), 100)
    pulls = [net.pull(name, offer) for name in (*DEEP, "relay-a.site-1")]
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    assert set(offer.reads.values()) == {1}
    for name in ("server", "relay-a", "relay-a.relay-b"):
        assert counter(net, name, "relay_misses") == 40, name
    ended(net)


def test_together_in_bad_weather(seed: int) -> None:
    deep = seed % 2
    net = Net(seed, config=SMALL, weather=BREEZE).form(*(TWO if deep else ONE))
    some_time(net)
    chunk = net.random.choice((10, 3000))
    offer = net.offer("server", content(40 * chunk), chunk)
    pulls = []
    for name in DEEP if deep else SITES:
        pulls.append(net.pull(name, offer, timeout=30.0))
        net.run(net.random.choice((0.0, 0.01, 0.2)))
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    assert total_reads(offer) <= 1.1 * 40, offer.reads
    ended(net)


def test_a_storm(seed: int) -> None:
    """Loss, cuts, frozen links and restarts of everybody: what ends well is whole, and all ends."""
    net = Net(seed, config=replace(SMALL, relay_cache=(64, 1024)[seed % 2] * KIB), weather=STORM).form(*TWO)
    some_time(net, 0.5)
    chance = net.random
    net.works.faults = Faults(read=0.01, damage=0.02)
    names = ("server", *TWO)
    for _ in range(30):
        living = [host.fqcn for host in net.processes] or [net.restart("server").fqcn]
        offers = [offer for offer in net.works.offers.values() if not offer.withdrawn]
        match chance.randrange(16):
            case 0:
                net.cut(chance.choice(living))
            case 1:
                net.freeze(chance.choice(living))
            case 2 | 3:
                for name in living:
                    net.heal(name)
                    net.thaw(name)
            case 4:
                net.restart(chance.choice(names))
            case 5:
                net.stop(chance.choice(living))
            case 6:
                for name in names:
                    if not net.hosts[name].alive:
                        net.restart(name)
            case 7 if net.works.pulls:
                net.works.cancel(chance.choice(list(net.works.pulls.values())))
            case 8 if offers:
                chance.choice(offers).changed = True
            case 9 if offers:
                net.works.withdraw(chance.choice(offers))
            case 10 | 11:
                chunk = chance.choice((10, 3000))
                net.offer(chance.choice(living), content(45 * chunk - 1), chunk, timeout=chance.choice((5.0, 100.0)))
            case _ if offers:
                offer = chance.choice(offers)
                for name in chance.sample(living, min(len(living), 4)):
                    net.pull(name, offer, keep=chance.random() < 0.5)
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    if net.works.offers:
        ended(net)


def test_a_restart_in_the_middle(seed: int) -> None:
    who = ("relay-a", "relay-a.relay-b", "server", "receiver")[seed % 4]
    net = Net(seed, config=SMALL, weather=BREEZE).form(*TWO)
    some_time(net)
    offer = net.offer("site-9", content(2000), 10)
    pulls = [net.pull(name, offer, timeout=30.0) for name in DEEP]
    net.run(net.random.uniform(0.05, 2.0))
    victim = DEEP[0] if who == "receiver" else who
    net.crash(victim)
    net.run(net.random.choice((0.0, 0.5, 2.0)))
    net.restart(victim)
    finish(net, pulls)
    assert {pull.code for pull in pulls if pull.host.alive} == {OK}
    ended(net)


def test_an_owner_that_dies_ends_them_all(seed: int) -> None:
    net = Net(seed, config=SMALL).form(*TWO)
    some_time(net)
    offer = net.offer("site-9", content(3000), 10)
    pulls = [net.pull(name, offer) for name in DEEP]
    net.run(net.random.uniform(0.05, 1.0))
    net.crash("site-9")
    began = net.now
    finish(net, pulls)
    assert net.now - began < 2 * CONFIG.dead_after + 2 * 2
    assert {pull.code for pull in pulls} <= {OK, CellReturnCode.COMM_ERROR, CellReturnCode.TARGET_UNREACHABLE, INVALID}
    ended(net)


@pytest.mark.parametrize("restarted", [False, True])
def test_an_owner_that_restarts_knows_nothing_of_it(restarted: bool) -> None:
    net = Net().form(*ONE)
    some_time(net)
    offer = net.offer("server", content(3000), 10)
    pulls = [net.pull(name, offer) for name in SITES[:3]]
    net.run(0.3)
    net.crash("server")
    net.run(0.5)
    net.restart("server")
    finish(net, pulls)
    assert {pull.code for pull in pulls} <= {INVALID, OK, CellReturnCode.COMM_ERROR}
    ended(net)


def test_owner_below_the_parent__its_siblings_share_its_uplink() -> None:
    net = Net(config=SMALL).form(*ONE)
    offer = net.offer(SITES[0], content(400), 10)
    pulls = [net.pull(name, offer) for name in SITES[1:]]
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    assert set(offer.reads.values()) == {1}
    ended(net)


def test_the_command_lines_of_sites() -> None:
    lines = [f"relay-a.site-{number}.admin-7" for number in (1, 2)]
    net = Net(config=SMALL).form(*ONE, *lines)
    offer = net.offer("server", content(400), 10, to=["relay-a.site-1"])
    pulls = [net.pull(name, offer) for name in lines]
    finish(net, pulls)
    assert [pull.code for pull in pulls] == [OK, INVALID]
    assert set(offer.reads.values()) == {1}
    assert counter(net, "relay-a.site-1", "relay_misses") == 40
    assert counter(net, "relay-a", "relay_misses") == 40
    ended(net)


@pytest.mark.parametrize("cache", [0, 2 * (10 + OVERHEAD) - 1])
def test_no_cache_or_no_room_for_two_chunks__the_owner_is_asked(cache: int) -> None:
    net = Net(config=replace(SMALL, relay_cache=cache)).form(*ONE)
    offer = net.offer("server", content(400), 10)
    pulls = [net.pull(name, offer) for name in SITES]
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    assert set(offer.reads.values()) == {8}
    assert kept(net) == 0
    ended(net)


def test_room_for_few_chunks__never_more(seed: int) -> None:
    limit = 4 * (3000 + OVERHEAD)
    net = Net(seed, config=replace(SMALL, relay_cache=limit), weather=BREEZE).form(*ONE)
    some_time(net)
    offer = net.offer("server", content(30 * 3000), 3000, timeout=100.0)
    pulls = [net.pull(name, offer, timeout=30.0) for name in SITES[:4]]
    store = net.hosts["relay-a"].node.transfers.relay.store
    while any(pull.ended is None for pull in pulls):
        net.run(0.05)
        assert store.kept + store.reserved <= limit
        assert store.kept == sum(OVERHEAD + len(chunk.bodies[0]) for chunk in store._chunks.values())
    assert {pull.code for pull in pulls} == {OK}
    ended(net)


def test_late_ones_find_it_all__after_a_word_of_the_owner() -> None:
    net = Net(config=SMALL).form(*ONE)
    offer = net.offer("server", content(400), 10)
    finish(net, [net.pull(SITES[0], offer)])
    net.run(5)
    later = net.pull(SITES[1], offer)
    finish(net, [later])
    assert later.code is OK
    assert set(offer.reads.values()) == {1}
    net.works.withdraw(offer)
    latest = net.pull(SITES[2], offer)
    finish(net, [latest])
    assert latest.code is INVALID
    ended(net)


@pytest.mark.parametrize("what", ["withdrawn", "changed"])
def test_what_is_withdrawn_or_changed_is_not_served_for_long(what: str) -> None:
    """A receiver that takes from the cache alone, slowly, ends when the owner has said so at the next touch."""
    net = Net().form(*ONE)
    offer = net.offer("server", content(3000), 10, timeout=300.0)
    finish(net, [net.pull(SITES[0], offer)])
    net.works.time = lambda host, command: 1.0 if host.fqcn == SITES[1] and isinstance(command, Write) else 0.0
    slow = net.pull(SITES[1], offer)
    net.run(1.5)
    assert slow.receiver.done > 0
    if what == "withdrawn":
        net.works.withdraw(offer)
    else:
        offer.changed = True
        other = net.pull(SITES[2], offer)  # it is noticed when it is read
        finish(net, [other])
        net.hosts["server"].node.transfers.source._references[offer.rid].changed = True
    began = net.now
    finish(net, [slow])
    assert net.now - began < 5.0
    assert slow.ended is not None
    if what == "withdrawn":
        assert slow.code is INVALID
    else:
        assert (slow.ended.code, slow.ended.kind) == (FAILED, "source_changed")
    assert net.hosts["relay-a"].node.transfers.relay.files == {}
    ended(net)


def test_pull_D03_who_takes_from_a_cache_is_active() -> None:
    """The last receiver needs far longer than the offer lives without activity, and reads nothing of the owner."""
    net = Net(config=SMALL).form(*ONE)
    offer = net.offer("server", content(40_000), 2000, timeout=4.0)
    finish(net, [net.pull(SITES[0], offer)])
    net.limit(SITES[1], rate=2000.0)
    slow = net.pull(SITES[1], offer)
    began = net.now
    finish(net, [slow])
    assert net.now - began > 16.0
    assert slow.code is OK
    assert set(offer.reads.values()) == {1}
    assert offer.expired == 0
    ended(net)


def test_a_slow_uplink__to_wait_for_a_chunk_that_moves_is_no_silence() -> None:
    """A chunk takes longer than the time-out until the relay has it; before that its receivers get nothing."""
    net = Net(config=SMALL).form(*ONE)
    net.limit("relay-a", rate=1000.0)
    offer = net.offer("server", content(60_000), 20_000, timeout=30.0)
    pulls = [net.pull(name, offer, timeout=8.0) for name in SITES[:4]]
    finish(net, pulls, 500)
    assert {pull.code for pull in pulls} == {OK}
    assert set(offer.reads.values()) == {1}
    ended(net)


def test_a_stalled_child_holds_up_nobody_and_few_chunks() -> None:
    net = Net(config=replace(SMALL, relay_cache=20 * (1500 + OVERHEAD))).form(*ONE)
    offer = net.offer("server", content(80 * 1500), 1500, timeout=300.0)
    for name in SITES[:4]:
        net.limit(name, rate=1e6)
    stalled = net.pull(SITES[0], offer, timeout=100.0)
    others = [net.pull(name, offer) for name in SITES[1:4]]
    net.run(0.05)
    net.freeze(SITES[0])
    finish(net, others)
    assert {pull.code for pull in others} == {OK}
    assert total_reads(offer) <= 1.1 * 80
    net.thaw(SITES[0])
    finish(net, [stalled])
    assert stalled.code is OK
    ended(net)


def test_a_cache_that_is_silent_is_left_in_time() -> None:
    net = Net().form(*ONE)
    offer = net.offer("server", content(400), 10)
    relay = net.hosts["relay-a"].node.transfers.relay
    relay.receive = lambda call, now: []  # type: ignore[method-assign]
    pull = net.pull(SITES[0], offer, timeout=8.0)
    began = net.now
    finish(net, [pull])
    assert pull.code is OK
    assert net.now - began < 5.0
    net.restart("relay-a")
    ended(net)


def test_a_cache_whose_chunks_are_damaged_is_asked_around() -> None:
    net = Net(config=SMALL).form(*ONE)
    net.works.faults = Faults(damage=0.05)  # a chunk that is damaged four times in a row fails its pull
    offer = net.offer("server", content(1000), 10)
    pulls = [net.pull(name, offer) for name in SITES]
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    ended(net)


def test_a_relay_that_is_cut_off_from_the_owner_for_a_while(seed: int) -> None:
    net = Net(seed, config=SMALL, weather=Weather(delay=(0.001, 0.05))).form(*ONE)
    some_time(net)
    offer = net.offer("server", content(2000), 10)
    pulls = [net.pull(name, offer, timeout=30.0) for name in SITES[:4]]
    net.run(net.random.uniform(0.1, 1.0))
    net.cut("relay-a")
    net.run(net.random.uniform(0.1, CONFIG.dead_after - 1.5))
    net.heal("relay-a")
    finish(net, pulls)
    assert {pull.code for pull in pulls} == {OK}
    ended(net)


# -- hostile children --------------------------------------------------------------------------------------------------


class Stranger:
    """Asks a cell for whatever it likes, and remembers the answers."""

    deadline = None

    def __init__(self, net: Net, name: str, to: str = "relay-a") -> None:
        self.net, self.host, self.to = net, net.hosts[name], to
        self.outcomes: list[Outcome] = []
        self.asked = 0
        self.ended: set[object] = set()

    def ask(self, topic: str, **headers: Any) -> None:
        self.asked += 1
        ask = Ask(self, self.asked, (self.to,), CHANNEL, topic, headers, 0, (), 20.0, repeatable=True)
        self.net.obey(self.host, self.host.node.transfer(lambda transfers: [ask], self.net.now))

    def answered(self, tag: object, target: str, outcome: Outcome, now: float) -> list[Command]:
        self.outcomes.append(outcome)
        self.ended.add(tag)
        return []

    def handle_timeout(self, now: float) -> list[Command]:
        return []

    def learned_nothing(self) -> None:
        """Each request was answered, and none of them by bytes."""
        assert len(self.outcomes) == self.asked, sorted(set(range(1, self.asked + 1)) - self.ended)
        assert not any(outcome.bodies for outcome in self.outcomes)


def test_a_child_gets_nothing_that_was_not_granted_to_it() -> None:
    net = Net(config=SMALL).form(*ONE, "site-9")
    offer = net.offer("server", content(4000), 10, to=[SITES[1], "site-9"])
    good = net.pull(SITES[1], offer)
    finish(net, [good])
    assert kept(net) > 0
    grid = {"r": offer.rid, "o": "server", "f": "F0", "p": 1, "w": [0], "i": 0}
    thief = Stranger(net, SITES[0])
    for more in (
        {}, {"u": SITES[1]}, {"u": "relay-a"}, {"u": "site-9"}, {"u": f"{SITES[0]}.admin-1"}, {"u": ""}, {"u": [1]},
        {"r": "R9"}, {"r": None}, {"r": "R" * 10_000}, {"f": ""}, {"f": "F1"}, {"o": "nobody"}, {"o": "site-9"},
        {"o": "relay-a"}, {"o": SITES[0]}, {"o": f"{SITES[0]}.job"}, {"o": "..", "r": "x"}, {"i": 1 << 62}, {"i": -1},
        {"i": None}, {"w": list(range(1000))},
    ):  # fmt: skip
        thief.ask("get", **{**grid, **more})
        thief.ask("have", **{**grid, **more})
        thief.ask("done", **{**grid, **more})
    thief.ask("grant", **{**grid, "u": [SITES[1]]})
    thief.ask("open", **grid)
    beside = Stranger(net, "site-9", to="relay-a")  # may have it, but not from this cache
    beside.ask("get", **grid)
    above = Stranger(net, SITES[0], to="server")
    for topic, who in (("grant", [SITES[1]]), ("get", SITES[1]), ("grant", [SITES[0]])):
        above.ask(topic, **{**grid, "o": "server", "u": who})
    again = net.pull(SITES[1], offer)
    net.run(CONFIG.dead_after + 20)
    for each in (thief, beside, above):
        each.learned_nothing()
    assert again.code is OK
    assert {served.receiver for served in offer.served} == {SITES[1]}
    assert len(net.hosts["relay-a"].node.transfers.relay.files) <= 1
    ended(net)


def test_a_child_that_guesses_all_the_time_holds_up_nobody() -> None:
    net = Net(config=SMALL).form(*ONE)
    offer = net.offer("server", content(2000), 10)
    thief = Stranger(net, SITES[0])
    pulls = [net.pull(name, offer) for name in SITES[1:]]
    for number in range(500):
        thief.ask("get", r=f"R{number + 1000}", o="server", f="F", p=number, w=[number], i=number)
        if number % 50 == 0:
            net.run(0.01)
    finish(net, pulls)
    net.run(CONFIG.dead_after)
    thief.learned_nothing()
    assert {pull.code for pull in pulls} == {OK}
    assert set(offer.reads.values()) == {1}
    ended(net)
