"""Pulls under bad weather, cuts, crashes and restarts: the whole file or none, and nothing fetched twice in vain.

`tests/works.py` checks each step: verified chunks only, no sink closed under a worker, one end for each handle.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import CONFIG, Host, Net, Weather
from tests.works import Faults, Offer, Pull
from zmqfl.errors import CellReturnCode
from zmqfl.protocol import pull_receiver, pull_source
from zmqfl.protocol.commands import Command, Commit, Prepare, Read, Write
from zmqfl.protocol.pull_receiver import MOST_WINDOW, PullState

SEEDS_SHARE = 4

OK, ABORT = CellReturnCode.OK, CellReturnCode.ABORT_RUN
FAILED, INVALID = CellReturnCode.PROCESS_EXCEPTION, CellReturnCode.INVALID_REQUEST
TREE = ("relay-a", "relay-b", "relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4")
BREEZE = Weather(delay=(0.001, 0.05), reorder=0.1, duplicate=0.05)
STORM = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1)
SMALL = replace(CONFIG, segment=1000, control_limit=100)
"""Chunks above 1,000 bytes travel as flows."""
LONG = 2000.0


def content(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


def some_time(net: Net, *longer: float) -> None:
    """Each piece of work takes some time, seldom a long one."""
    times = (0.0, 0.0, 0.001, 0.01, 0.1, *longer)
    net.works.time = lambda host, command: net.random.choice(times)


def settle(net: Net) -> None:
    """Mend everything and wait until nothing goes on any more, and every offer has expired."""
    net.run(1)  # who stops has left
    net.repair()
    net.run_until(lambda: net.works.is_quiet() and net.open == 0, LONG)
    longest = max(offer.timeout for offer in net.works.offers.values())
    net.run(longest + pull_source.SILENCE + 1)
    net.works.check_ended()
    net.check_ended()


def test_storm(seed: int) -> None:
    net = Net(seed, config=SMALL, weather=STORM).form(*TREE)
    some_time(net, 0.5, 15.0)
    chance = net.random
    net.works.faults = Faults(read=0.01, damage=0.02, write=0.005, commit=0.02)
    names = [*TREE, "server"]
    for _ in range(40):
        living = [host.fqcn for host in net.processes] or [net.restart("server").fqcn]
        offers = [offer for offer in net.works.offers.values() if not offer.withdrawn]
        match chance.randrange(18):
            case 0:
                net.cut(chance.choice(living))
            case 1 | 2:
                for name in living:
                    net.heal(name)
                    net.thaw(name)
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
            case 7 if net.works.pulls:
                net.works.cancel(chance.choice(list(net.works.pulls.values())))
            case 8:
                net.stop(chance.choice(living))
            case 9 if offers:
                chance.choice(offers).changed = True
            case 10 if offers:
                net.works.withdraw(chance.choice(offers))
            case 11 | 12 | 13:
                chunk = chance.choice((10, 3000))
                size = chance.choice((0, 1, chunk, chunk + 1, 10 * chunk, 45 * chunk - 1))
                net.offer(chance.choice(living), content(size), chunk, timeout=chance.choice((5.0, 100.0)))
            case _ if offers:
                for _ in range(chance.choice((1, 1, 3))):
                    net.pull(chance.choice(living), chance.choice(offers), keep=chance.random() < 0.5)
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    if net.works.offers:
        settle(net)


def test_a_breeze_hurts_nobody(seed: int) -> None:
    chunk = (10, 3000)[seed % 2]
    net = Net(seed, config=SMALL, weather=BREEZE).form(*TREE)
    some_time(net)
    names = [*TREE, "server"]
    offers = [net.offer(name, content(chunk * net.random.randint(0, 20)), chunk) for name in names[:3]]
    # A flow whose last segment was overtaken waits for seconds until it goes out again.
    pulls = [net.pull(name, offer, timeout=30.0) for name in names for offer in offers]
    net.run_until(net.works.is_quiet, 300)
    assert {pull.code for pull in pulls} == {OK}
    for offer in offers:
        done = sorted((served.receiver, served.status) for served in offer.served)
        assert done == sorted((name, "success") for name in names)
    settle(net)


def test_cancel_and_the_end_of_either_in_each_state(seed: int) -> None:
    state = list(PullState)[seed % len(PullState)]
    what = ("cancel", "owner", "receiver", "stop owner", "stop receiver")[seed // len(PullState) % 5]
    net = Net(seed).form(*TREE)
    some_time(net)
    net.works.faults = Faults(write=0.2 if state is PullState.FAILING else 0.0)
    offer = net.offer("site-4", content(300))
    pull = net.pull("relay-a.site-1", offer, keep=net.random.random() < 0.5)
    net.run_until(lambda: pull.receiver.state in (state, PullState.ENDED))
    if pull.receiver.state is PullState.FETCHING:
        end = net.delivered + net.random.randrange(30)
        net.run_until(lambda: net.delivered >= end or pull.receiver.state is not PullState.FETCHING)
    was, began = pull.receiver.state, net.now
    match what:
        case "cancel":
            net.works.cancel(pull)
        case "owner":
            net.crash("site-4")
        case "receiver":
            net.crash("relay-a.site-1")
        case "stop owner":
            net.stop("site-4")
        case "stop receiver":
            net.stop("relay-a.site-1")
    net.run_until(lambda: pull.ended is not None or not pull.host.alive)
    assert net.now - began < 2 * CONFIG.dead_after
    if what == "cancel" and was in (PullState.OPENING, PullState.PREPARING, PullState.FETCHING):
        assert pull.code is ABORT
    if was in (PullState.FINISHING, PullState.CLOSING) and "receiver" not in what:
        assert pull.code is OK
    settle(net)


def test_pull_D07_a_resumed_pull_fetches_less_than_a_window_again(seed: int) -> None:
    net = Net(seed, weather=BREEZE).form(*TREE)
    some_time(net)
    size, chunk = 1000, 10
    offer = net.offer("site-4", content(size), chunk)
    fetched, attempts = 0, 0
    while True:
        have = len(net.works.disks.get(("relay-a.site-1", offer.rid), {})) * chunk
        pull = net.pull("relay-a.site-1", offer, keep=True, timeout=5.0)
        goal = net.now + net.random.uniform(0.1, 2.0)
        net.run_until(lambda: net.now > goal or pull.ended is not None)  # noqa: B023
        if pull.ended is None:
            match net.random.randrange(3):
                case 0:
                    net.works.cancel(pull)
                case 1:
                    net.restart("relay-a.site-1")
                case 2:
                    net.cut("relay-a.site-1")
                    net.run(CONFIG.dead_after + 2)
                    net.heal("relay-a.site-1")
            net.run_until(lambda: pull.ended is not None or not pull.host.alive)  # noqa: B023
            net.run_until(net.is_formed)
        fetched, attempts = fetched + pull.receiver.fetched, attempts + 1
        assert pull.receiver.fetched <= size - have + MOST_WINDOW * chunk
        if pull.code is OK:
            break
        assert attempts < 100
    assert fetched < size + attempts * MOST_WINDOW * chunk
    settle(net)


def test_pull_D08_damaged_chunks_are_asked_for_again() -> None:
    net = Net(weather=BREEZE).form(*TREE)
    net.works.faults = Faults(damage=0.1)
    offer = net.offer("server", content(500))
    pull = net.pull("relay-a.site-1", offer)
    net.run_until(lambda: pull.ended is not None)
    assert pull.code is OK
    assert pull.receiver.fetched == 500 + 10 * pull.bad
    settle(net)


def test_a_chunk_that_is_always_damaged_ends_it() -> None:
    net = Net().form(*TREE)
    net.works.faults = Faults(damage=1.0)
    pull = net.pull("site-4", net.offer("server", content(500)))
    net.run(5)
    assert pull.ended is not None
    assert pull.ended.code is CellReturnCode.COMM_ERROR
    assert "damaged 4 times" in pull.ended.reason
    settle(net)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 80, 160, 161, 405])
def test_sizes(size: int) -> None:
    net = Net().form(*TREE)
    pull = net.pull("relay-a.site-1", net.offer("relay-b.site-3", content(size)))
    net.run(2)
    assert pull.committed == content(size)
    settle(net)


def test_to_itself() -> None:
    net = Net().form(*TREE)
    pull = net.pull("server", net.offer("server", content(405)))
    net.run(1)
    assert pull.committed == content(405)
    settle(net)


def test_pull_D03_a_slow_receiver_is_active() -> None:
    """One chunk, a flow of many segments, takes far longer than the offer lives without activity."""
    net = Net(config=SMALL).form(*TREE)
    net.limit("relay-a.site-1", rate=2000.0)
    offer = net.offer("server", content(40_000), 40_000, timeout=8.0)
    pull = net.pull("relay-a.site-1", offer)
    began = net.now
    net.run_until(lambda: pull.ended is not None, 500)
    assert net.now - began > 16.0
    assert pull.code is OK
    settle(net)


def test_pull_D04_an_offer_expires_once() -> None:
    net = Net().form(*TREE)
    offer = net.offer("server", content(100), timeout=5.0)
    net.run(4)
    net.pull("site-4", offer)
    net.run(4.9)
    assert offer.expired == 0
    net.run(0.5)
    assert offer.expired == 1
    settle(net)


def test_pull_D05_pulled_again_it_is_whole_again() -> None:
    net = Net().form(*TREE)
    offer = net.offer("server", content(100))
    for _ in range(3):
        pull = net.pull("site-4", offer, keep=True)
        net.run(2)
        assert pull.committed == content(100)
    settle(net)


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.3])
def test_pull_D06_a_source_that_changes_ends_it_everywhere(moment: float) -> None:
    net = Net().form(*TREE)
    some_time(net)
    offer = net.offer("server", content(2000))
    pulls = [net.pull(name, offer) for name in ("site-4", "relay-a.site-1")]
    net.run(moment)
    offer.changed = True
    began = net.now
    net.run_until(lambda: all(pull.ended is not None for pull in pulls))
    assert net.now - began < 2.0
    for pull in pulls:
        assert pull.ended is not None
        assert (pull.ended.code, pull.ended.kind) == (FAILED, "source_changed")
    settle(net)


def test_pull_D10_nobody_knows_the_reference_or_the_owner() -> None:
    net = Net().form(*TREE)
    offer = net.offer("server", content(10), to=["site-4"])
    ghost = Offer(Host("site-9", "server", offer.host.node, lambda: 0.0, offer.host.budget), "R7", "T7", b"", 1, 1.0)
    pulls = [
        net.pull("site-4", offer, rid="R8"), net.pull("relay-a.site-1", offer), net.pull("site-4", ghost),
        net.pull("site-4", offer),
    ]  # fmt: skip
    net.run(1)
    assert [pull.code for pull in pulls] == [INVALID, INVALID, CellReturnCode.COMM_ERROR, OK]
    settle(net)


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.5])
def test_pull_D11_an_offer_that_is_withdrawn(moment: float) -> None:
    net = Net().form(*TREE)
    some_time(net)
    offer = net.offer("server", content(1000))
    pull = net.pull("site-4", offer)
    net.run(moment)
    net.works.withdraw(offer)
    later = net.pull("relay-a.site-1", offer)
    net.run(3)
    assert pull.code in (INVALID, OK)
    assert later.code is INVALID
    settle(net)


def test_a_done_that_is_lost(seed: int) -> None:
    net = Net(seed).form(*TREE)
    offer = net.offer("server", content(50))
    pull = net.pull("site-4", offer)
    net.run_until(lambda: pull.receiver.state is PullState.CLOSING)
    net.cut("site-4")
    net.weather = Weather(leftover=0.0)
    net.run(net.random.choice((0.5, CONFIG.dead_after + 1)))
    net.heal("site-4")
    net.run_until(lambda: pull.ended is not None)
    assert pull.code is OK
    assert len(offer.served) <= 1
    settle(net)


def test_pulls_by_one_slow_connection_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_source, "SERVED_BYTES", 18_000)
    net = Net(config=replace(SMALL, segment=5000)).form(*TREE, "relay-a.site-5")
    net.limit("relay-a", rate=20_000.0)
    sites = ("relay-a.site-1", "relay-a.site-2", "relay-a.site-5")
    offer = net.offer("server", content(150_000), 3000)
    pulls = [net.pull(name, offer, timeout=30.0) for name in sites]
    while any(pull.ended is None for pull in pulls):
        net.run(0.5)
        fetched = [pull.receiver.fetched for pull in pulls]
        assert max(fetched) - min(fetched) <= 8 * 3000, fetched
    assert {pull.code for pull in pulls} == {OK}
    settle(net)


def test_a_relay_restarts_while_pulls_run(seed: int) -> None:
    restarted = ("relay-a", "server")[seed % 2]
    net = Net(seed, weather=BREEZE).form(*TREE)
    some_time(net)
    offer = net.offer("relay-b.site-3", content(600))
    pulls = [net.pull(name, offer) for name in ("relay-a.site-1", "site-4", "relay-b")]
    net.run(net.random.uniform(0.05, 1.0))
    net.crash(restarted)
    net.run(net.random.choice((0.0, 0.5, 2.0)))
    net.restart(restarted)
    net.run_until(lambda: all(pull.ended is not None for pull in pulls))
    assert {pull.code for pull in pulls} == {OK}
    settle(net)


def test_a_receiver_that_has_died_takes_no_share_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_source, "SERVED_BYTES", 80)
    net = Net().form(*TREE)
    offer = net.offer("server", content(2000), timeout=500.0)
    net.works.time = lambda host, command: 0.05 if isinstance(command, Write) else 0.0
    net.pull("relay-a.site-1", offer)
    net.run(1)
    source = net.hosts["server"].node.transfers.source
    net.crash("relay-a.site-1")
    net.run(pull_source.IDLE + 1)
    net.works.time = lambda host, command: 1.0 if isinstance(command, Write) else 0.0
    pull = net.pull("site-4", offer)
    net.run(0.5)
    [taker] = [taker for key, taker in source._takers.items() if key[0] == "site-4"]
    assert len(taker.served) == 8, "all of it is for the one that lives"
    net.run(pull_source.SILENCE)
    assert "relay-a.site-1" not in {key[0] for key in source._takers}
    net.run_until(lambda: pull.ended is not None, 500)
    assert pull.code is OK
    settle(net)


def test_few_chunks_at_once_for_each_of_many_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has asked for all learns of room by HAVE, also at the end of a file and while its window shrinks."""
    monkeypatch.setattr(pull_source, "SERVED_BYTES", 10)
    net = Net(weather=Weather(delay=(0.2, 0.3))).form(*TREE)
    offer = net.offer("server", content(300))
    pulls = [net.pull(name, offer, timeout=5.0) for name in TREE]
    net.run_until(lambda: all(pull.ended is not None for pull in pulls), 300)
    assert {pull.code for pull in pulls} == {OK}
    assert {pull.receiver.fetched for pull in pulls} == {300}
    settle(net)


@pytest.mark.parametrize("during", [Prepare, Write, Commit])
def test_a_slow_disk_is_no_silence(during: type[Command]) -> None:
    net = Net().form(*TREE)
    net.works.time = lambda host, command: 30.0 if isinstance(command, during) else 0.0
    pull = net.pull("site-4", net.offer("server", content(30), timeout=1000.0), timeout=5.0)
    net.run_until(lambda: pull.ended is not None, 300)
    assert pull.code is OK
    settle(net)


def test_an_owner_that_is_silent_ends_it_in_time() -> None:
    net = Net().form(*TREE)
    net.works.time = lambda host, command: 50.0 if isinstance(command, Read) and command.index == 7 else 0.0
    pull = net.pull("site-4", net.offer("server", content(300), timeout=2000.0), timeout=5.0)
    began = net.now
    net.run_until(lambda: pull.ended is not None)
    assert net.now - began < 7.0
    assert pull.code is CellReturnCode.TIMEOUT
    settle(net)


def test_a_file_server_that_refuses_what_it_has_no_worker_for() -> None:
    net = Net().form(*TREE)
    net.works.faults = Faults(read=1.0)
    pull = net.pull("site-4", net.offer("server", content(500)))
    net.run(2.0)
    assert pull.ended is None, f"a whole window that is refused is one failure, not {pull_receiver.FIRST_WINDOW}"
    net.works.faults = Faults()
    net.run(5.0)
    assert pull.code is OK
    settle(net)


def test_hundreds_of_pulls_of_one_cell() -> None:
    net = Net().form(*TREE)
    offer = net.offer("server", content(30))
    pulls: list[Pull] = [net.pull("site-4", offer) for _ in range(300)]
    net.run_until(lambda: all(pull.ended is not None for pull in pulls))
    assert {pull.code for pull in pulls} == {OK}
    settle(net)
