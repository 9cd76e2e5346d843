"""Pushes under bad weather, cuts, crashes and restarts: everybody who lives has it, or nobody.

`tests/works.py` checks each step: order, the barrier, one end for each stream and each handle.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import CONFIG, Host, Net, Weather
from tests.works import Faults, Push
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import CloseStream, Command, Consume, OpenStream, Produce
from zmqfl.protocol.push_sender import PushState

SEEDS_SHARE = 4

OK, ABORT = CellReturnCode.OK, CellReturnCode.ABORT_RUN
FAILED, UNREACHABLE = CellReturnCode.PROCESS_EXCEPTION, CellReturnCode.TARGET_UNREACHABLE
TREE = ("relay-a", "relay-b", "relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4")
BREEZE = Weather(delay=(0.001, 0.05), reorder=0.1, duplicate=0.05)
STORM = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1)
SMALL = replace(CONFIG, segment=1000, control_limit=100)
"""Chunks above 1,000 bytes travel as flows."""
LONG = 2000.0
"""Seconds after which whatever was going on is over, whoever has died meanwhile."""


def chunks(number: int, size: int = 20) -> list[bytes]:
    return [bytes([index % 256]) * size for index in range(number)]


def some_time(net: Net, *longer: float) -> None:
    """Each piece of work takes some time, seldom a long one."""
    times = (0.0, 0.0, 0.01, 0.01, 0.1, *longer)
    net.works.time = lambda host, command: net.random.choice(times)


def a_push(net: Net, origin: str, targets: list[str]) -> Push:
    """Any kind of push."""
    # The time-outs are of this world: a flow that loses a segment stands still for two beats and more.
    chance = net.random
    number = chance.choice((0, 1, 2, 5, 12))
    stops = {chance.choice(targets): chance.randint(1, number)} if number and chance.random() < 0.2 else {}
    return net.push(
        origin, targets, chunks(number, chance.choice((0, 20, 3000))),
        window=chance.choice((1, 2, 4, 100)), looks_ahead=chance.random() < 0.7, judges=chance.random() < 0.5,
        knows_end=chance.random() < 0.6, timeout=chance.choice((5.0, 20.0)), stops=stops,
    )  # fmt: skip


def settle(net: Net) -> None:
    """Mend everything and wait until nothing goes on any more."""
    net.run(1)  # who stops has left
    net.repair()
    net.run_until(lambda: net.works.is_quiet() and net.open == 0, LONG)
    net.works.check_ended()
    net.check_ended()


def only(push: Push) -> tuple[CellReturnCode | None, str]:
    assert push.ended is not None
    return push.ended.code, push.ended.culprit


def test_storm(seed: int) -> None:
    net = Net(seed, config=SMALL, weather=STORM).form(*TREE)
    some_time(net, 0.5, 15.0)
    chance = net.random
    net.works.faults = Faults(produce=0.01, settle=0.01, refuse=0.01, unready=0.05, consume=0.01, rename=0.01)
    names = [*TREE, "server"]
    for _ in range(40):
        living = [host.fqcn for host in net.processes] or [net.restart("server").fqcn]
        match chance.randrange(14):
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
            case 7 if net.works.pushes:
                net.works.cancel(chance.choice(list(net.works.pushes.values())))
            case 8:
                net.stop(chance.choice(living))
            case _:
                a_push(net, chance.choice(living), chance.sample(names, chance.randint(1, 4)))
        net.run(chance.choice((0.01, 0.1, 0.5, 2.0)))
    settle(net)


def test_a_breeze_hurts_nobody(seed: int) -> None:
    net = Net(seed, config=SMALL, weather=BREEZE).form(*TREE)
    some_time(net)
    names = [*TREE, "server"]
    pushes = [
        a_push(net, net.random.choice(names), net.random.sample(names, net.random.randint(1, 4))) for _ in range(10)
    ]
    net.run_until(net.works.is_quiet, 200)
    assert {push.code for push in pushes} == {OK}
    assert {len(push.streams) - len(push.sender.targets) for push in pushes} == {0}
    settle(net)


def test_the_owner_dies_between_two_ends(seed: int) -> None:
    """At a random message of the commit; links of targets break at the same time, for longer than `dead_after`."""
    net = Net(seed, weather=BREEZE).form(*TREE)
    some_time(net)
    chance = net.random
    targets = chance.sample(["relay-a.site-1", "relay-a.site-2", "relay-b.site-3", "site-4", "relay-b"], 3)
    push = net.push("server", targets, chunks(2), knows_end=chance.random() < 0.5)
    at = chance.choice((PushState.SENDING, PushState.COMMITTING, PushState.COMMITTING))
    net.run_until(lambda: push.sender.state is at or push.ended is not None)
    end = net.delivered + chance.randrange(20)
    net.run_until(lambda: net.delivered >= end, 20)
    for name in chance.sample(targets, chance.choice((0, 0, 1, 2))):
        chance.choice((net.cut, net.freeze))(name)
        net.run(chance.choice((0.0, 0.01)))
    if chance.random() < 0.7:
        net.crash("server")
    net.run(chance.choice((0.0, 1.0, 6.0, 15.0, 30.0)))
    if chance.random() < 0.5:
        net.restart("server")
        net.run(chance.choice((0.0, 1.0)))
    settle(net)


def test_the_owner__a_relay_or_a_target_restarts_at_any_moment(seed: int) -> None:
    who = ("server", "relay-a", "relay-a.site-1")[seed % 3]
    net = Net(seed, weather=BREEZE).form(*TREE)
    some_time(net)
    push = net.push("server", ["relay-a.site-1", "site-4"], chunks(6), window=net.random.choice((1, 3)))
    end = net.delivered + net.random.randrange(100)
    net.run_until(lambda: net.delivered >= end)
    before = push.code
    net.crash(who)
    net.run(net.random.choice((0.0, 0.5, 2.0)))
    net.restart(who)
    net.run_until(net.is_formed)
    again = net.push(
        "server", ["relay-a.site-1", "site-4"], chunks(6)
    )  # the same number, where the owner has restarted
    settle(net)
    assert again.code is OK or who != "server"
    if who == "relay-a":
        assert push.code is OK, "a relay that comes back in time costs nobody anything"
    if who == "relay-a.site-1" and before is None:
        assert only(push) in ((OK, ""), (push.ended.code, "relay-a.site-1"))  # type: ignore[union-attr]


def test_cancel_in_each_state(seed: int) -> None:
    state = list(PushState)[seed % len(PushState)]
    net = Net(seed, weather=BREEZE).form(*TREE)
    some_time(net)
    net.works.faults = Faults(consume=0.1 if state is PushState.ABORTING else 0.0)
    push = net.push("server", ["relay-a.site-1", "site-4"], chunks(3), knows_end=net.random.random() < 0.5)
    net.run_until(lambda: push.sender.state is state or push.sender.state is PushState.ENDED)
    began = net.now
    was = push.sender.state
    net.works.cancel(push)
    net.run_until(lambda: push.ended is not None)
    assert net.now - began < 2.0
    if was in (PushState.OPENING, PushState.SENDING, PushState.PREPARING):
        assert only(push) == (ABORT, "")
        assert not any(stream.committed for stream in push.streams.values())
    if was is PushState.COMMITTING:
        assert push.code is OK
    settle(net)


def test_a_cell_stops_in_the_middle(seed: int) -> None:
    who = ("server", "relay-a", "relay-a.site-1")[seed % 3]
    net = Net(seed).form(*TREE)
    some_time(net)
    push = net.push("server", ["relay-a.site-1", "site-4"], chunks(6))
    end = net.delivered + net.random.randrange(60)
    net.run_until(lambda: net.delivered >= end or push.ended is not None)
    began = net.now
    net.stop(who)
    net.run_until(lambda: push.ended is not None or not push.host.alive)
    assert net.now - began < 2 * CONFIG.dead_after
    settle(net)


def test_a_window_of_rounds_with_reordering(seed: int) -> None:
    size = (20, 3000)[seed % 2]
    mess = replace(BREEZE, reorder=0.5 if size < SMALL.segment else 0.1)  # a flow goes back to each gap
    net = Net(seed, config=SMALL, weather=mess).form(*TREE)
    some_time(net)
    targets = ["relay-a.site-1", "relay-a", "site-4", "server"]
    window = net.random.choice((2, 5, 64, 1000))
    push = net.push("relay-b.site-3", targets, chunks(40, size), window=window, timeout=30.0)
    net.run_until(net.works.is_quiet, 200)
    assert push.code is OK
    assert [len(stream.consumed) for stream in push.streams.values()] == [40] * 4
    settle(net)


def test_targets_that_have_enough_early(seed: int) -> None:
    net = Net(seed).form(*TREE)
    some_time(net)
    targets = ["relay-a.site-1", "relay-b", "site-4"]
    stops = {name: net.random.randint(1, 10) for name in targets}
    push = net.push("server", targets, chunks(20), window=net.random.choice((1, 2, 5)), stops=stops)
    net.run_until(net.works.is_quiet, 100)
    assert push.code is OK
    assert {stream.host.fqcn: len(stream.consumed) for stream in push.streams.values()} == stops
    assert push.made <= max(stops.values()) + push.window + 3  # nobody makes what nobody wants
    settle(net)


def test_push_P06_three_receivers_all_ok_with_their_replies() -> None:
    net = Net().form(*TREE)
    targets = ["relay-a.site-1", "relay-b", "site-4"]
    push = net.push("server", targets, chunks(5))
    settle(net)
    assert only(push) == (OK, "")
    assert push.ended is not None
    assert {name: outcome.code for name, outcome in push.ended.targets.items()} == dict.fromkeys(targets, OK)
    assert [sorted(replies) for replies in push.settled] == [sorted(targets)] * 5
    assert push.settled[2]["site-4"].headers == {"got": 2, "go": 1}
    assert push.settled[4]["site-4"].bodies == (b"end",)


def test_push_P07_one_raises_in_chunk_2__no_receiver_keeps_it() -> None:
    net = Net().form(*TREE)
    targets = ["relay-a.site-1", "relay-b", "site-4"]
    push = net.push("server", targets, chunks(5))
    net.run_until(lambda: any(len(stream.consumed) == 2 for stream in push.streams.values()))
    net.works.faults = Faults(consume=1.0)
    settle(net)
    assert push.code is FAILED
    assert push.ended is not None
    assert push.ended.culprit in targets
    assert {stream.ended.code for stream in push.streams.values() if stream.ended} == {FAILED}


def test_push_P08_one_that_answers_no_more_fails_it_in_time() -> None:
    net = Net().form(*TREE)

    def time(host: Host, command: Command) -> float:
        return 1000.0 if host.fqcn == "site-4" and isinstance(command, Consume) and command.index == 2 else 0.0

    net.works.time = time
    push = net.push("server", ["relay-b", "site-4"], chunks(5), timeout=4.0)
    began = net.now
    net.run_until(lambda: push.ended is not None)
    assert net.now - began < 4.0 + 1.0
    assert only(push) == (CellReturnCode.TIMEOUT, "site-4")
    assert push.streams[net.hosts["relay-b"]].ended is not None
    assert push.streams[net.hosts["site-4"]].ended is None, "its consumer is still at work"
    settle(net)


@pytest.mark.parametrize("window", [1, 4])
def test_push_P09_a_slow_receiver_holds_up_the_others_by_the_window(window: int) -> None:
    net = Net().form(*TREE)

    def time(host: Host, command: Command) -> float:
        return 0.2 if host.fqcn == "site-4" and isinstance(command, Consume) else 0.0

    net.works.time = time
    push = net.push("server", ["relay-b", "site-4"], chunks(12), window=window)
    ahead = set()

    def look() -> bool:
        if len(push.streams) == 2:
            counts = {host.fqcn: len(stream.consumed) for host, stream in push.streams.items()}
            ahead.add(counts["relay-b"] - counts["site-4"])
        return push.ended is not None

    net.run_until(look)
    assert max(ahead) == window
    settle(net)


@pytest.mark.parametrize("moment", [0.2, 0.5, 1.0, 2.0])
def test_push_P11_the_owner_is_killed(moment: float) -> None:
    net = Net().form(*TREE)
    net.works.time = lambda host, command: 0.1
    push = net.push("relay-b.site-3", ["relay-a.site-1", "site-4"], chunks(20), timeout=6.0)
    net.run(moment)
    net.crash("relay-b.site-3")
    net.run(12.0 + CONFIG.dead_after)
    assert {stream.ended is not None for stream in push.streams.values()} <= {True}
    assert not any(stream.committed for stream in push.streams.values())
    settle(net)


def test_push_P14_a_target_that_nobody_knows() -> None:
    net = Net().form(*TREE)
    push = net.push("server", ["site-4", "site-77"], chunks(3))
    net.run(2)
    assert only(push) == (UNREACHABLE, "site-77")
    settle(net)


@pytest.mark.parametrize("in_time", [True, False])
def test_push_P15_a_target_that_is_not_ready_yet(in_time: bool) -> None:
    net = Net().form(*TREE)
    net.works.faults = Faults(unready=1.0)
    push = net.push("server", ["site-4", "relay-a.site-1"], chunks(3), timeout=5.0)
    net.run(3)
    assert push.ended is None
    if in_time:
        net.works.faults = Faults()
    net.run(4)
    assert push.code is (OK if in_time else CellReturnCode.SERVICE_UNAVAILABLE)
    settle(net)


def test_push_P18_the_producer_ends_it() -> None:
    net = Net(weather=BREEZE).form(*TREE)
    push = net.push("server", ["relay-a.site-1", "site-4"], chunks(4), knows_end=False, looks_ahead=False)
    settle(net)
    assert push.code is OK
    assert {stream.ended.code for stream in push.streams.values() if stream.ended} == {OK}


def test_an_end_overtakes_its_open(seed: int) -> None:
    net = Net(seed, weather=replace(BREEZE, reorder=0.9)).form(*TREE)
    some_time(net)
    pushes = []
    for _ in range(5):
        push = net.push("server", ["relay-a.site-1", "site-4"], chunks(3))
        pushes.append(push)
        net.run(net.random.uniform(0.0, 0.05))
        net.works.cancel(push)
    settle(net)
    assert {push.code for push in pushes} == {ABORT}


def test_a_target_cannot_rename__the_owner_names_it(seed: int) -> None:
    net = Net(seed).form(*TREE)
    some_time(net)
    push = net.push("server", ["relay-a.site-1", "site-4", "relay-b"], chunks(3))
    net.run_until(lambda: push.sender.state is PushState.COMMITTING)
    net.works.faults = Faults(rename=0.5)
    settle(net)
    failed = [stream.host.fqcn for stream in push.streams.values() if stream.rename_failed]
    assert {stream.committed for stream in push.streams.values()} == {True}
    assert only(push)[0] is (FAILED if failed else OK)
    assert not failed or only(push)[1] in failed


def test_everybody_pushes_to_everybody(seed: int) -> None:
    net = Net(seed).form(*TREE)
    some_time(net)
    names = [*TREE, "server"]
    pushes = [net.push(name, names, chunks(5), window=3) for name in names for _ in range(2)]
    net.run_until(net.works.is_quiet, 100)
    assert {push.code for push in pushes} == {OK}
    settle(net)


def test_a_push_waits_for_a_slow_commit() -> None:
    net = Net().form(*TREE)
    net.works.time = lambda host, command: 60.0 if isinstance(command, CloseStream) else 0.0
    push = net.push("server", ["site-4"], chunks(2))
    settle(net)
    assert push.code is OK


def test_a_commit_that_never_ends_does_not_hold_the_owner_for_ever() -> None:
    net = Net().form(*TREE)
    net.works.time = lambda host, command: 5000.0 if isinstance(command, CloseStream) else 0.0
    push = net.push("server", ["site-4", "relay-a"], chunks(2))
    net.run_until(lambda: push.ended is not None, 400)
    assert push.code is CellReturnCode.TIMEOUT


def test_a_producer_that_thinks_for_long_loses_nobody() -> None:
    net = Net().form(*TREE)
    net.works.time = lambda host, command: 200.0 if isinstance(command, Produce | OpenStream) else 0.0
    push = net.push("server", ["site-4", "relay-a.site-1"], chunks(2), timeout=500.0)
    net.run_until(lambda: push.ended is not None, 2000)
    assert push.code is OK
    settle(net)
