"""Channels among processes that are stopped and killed, and random subscribers that come, go and die."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.system.federation import LONG, Federation, until
from tests.system.subscribers import Campaign, ReadingProcess
from zmqfl import Cell, ChannelEndedError, ChannelWriter
from zmqfl.protocol.channels.carrier import LONG_WINDOW
from zmqfl.protocol.channels.subscription import Subscription

KIB = 1024


@pytest.fixture
def processes() -> Iterator[list[ReadingProcess]]:
    processes: list[ReadingProcess] = []
    yield processes
    for process in processes:
        process.close()


def a_writer(server: Cell, federation: Federation) -> ChannelWriter:
    site = federation.start("site-1", server, None)
    return site.create_channel("c").result(LONG).writer().result(LONG)


def subscriptions(server: Cell) -> dict[str, Subscription]:
    """The broker's own books, by reader."""
    bonds = server._node.channels.broker.bonds.values()
    return {
        bond.peer: each for bond in bonds for each in list(bond.places.values()) if isinstance(each, Subscription)
    }  # fmt: skip


def test_chan_R10_one_reader_is_stopped_one_is_slow_one_takes_all(
    federation: Federation, processes: list[ReadingProcess]
) -> None:
    server = federation.start("server")
    writer = a_writer(server, federation)
    stopped = ReadingProcess("stopped", server.url, name="c", items=50, size=KIB * KIB)
    slow = ReadingProcess("slow", server.url, paced=True, name="c", items=5)
    quick = ReadingProcess("quick", server.url, name="c", policy="wait", items=None)
    processes += [stopped, slow, quick]
    assert writer.wait_active().result(LONG)
    stopped.signal(signal.SIGSTOP)
    item = bytes(4 * KIB)
    for number in range(5000):
        writer.put(item).result(LONG)
        if number % 500 == 0:
            slow.say("take")
            held = {name: each.buffer.held for name, each in subscriptions(server).items()}
            assert held["stopped"] <= 2 * 50 * 5 * KIB  # in the buffer, and as many on their way
            assert sum(held.values()) <= server._node.channels.broker.reserved + LONG_WINDOW
    writer.close().result(LONG)
    until(lambda: quick.report()["got"] == 5000)
    report = quick.report()
    assert (report["ordered"], report["first"], report["last"], report["missing"]) == (True, 1, 5000, 0)

    stopped.signal(signal.SIGCONT)
    until(lambda: stopped.report()["last"] == 5000)
    report, counts = stopped.report(), subscriptions(server)["stopped"].buffer.statistics()
    assert report["ordered"]
    assert counts.offered == 5000 == report["got"] + counts.dropped
    assert report["dropped"] == counts.dropped > 0

    def is_at_the_end() -> bool:
        slow.say("take")
        return bool(slow.report()["last"] == 5000)

    until(is_at_the_end)
    report, counts = slow.report(), subscriptions(server)["slow"].buffer.statistics()
    assert report["ordered"]
    assert counts.offered == 5000 == counts.dropped + report["got"]


def test_chan_R20_a_reader_that_is_killed_holds_up_nobody(
    federation: Federation, processes: list[ReadingProcess]
) -> None:
    server = federation.start("server")
    writer = a_writer(server, federation)
    victim = ReadingProcess("victim", server.url, name="c", policy="wait", items=2)
    processes.append(victim)
    assert writer.wait_active().result(LONG)
    victim.signal(signal.SIGSTOP)
    handles = [writer.put(number, confirm=True) for number in range(10)]
    handles[0].result(LONG)
    victim.signal(signal.SIGKILL)
    for handle in handles:  # nobody has to wait for a dead reader
        assert handle.result(LONG)
    until(lambda: not writer.active)
    until(lambda: not subscriptions(server))


def test_chan_R16_an_owner_that_is_killed(federation: Federation, processes: list[ReadingProcess]) -> None:
    server = federation.start("server")
    owner = ReadingProcess("owner", server.url, create="d", name="d")
    processes.append(owner)
    reader = server.subscribe("d").result(LONG)
    waiting = reader.get()
    owner.signal(signal.SIGKILL)
    with pytest.raises(ChannelEndedError, match="its owner owner is gone"):
        waiting.result(LONG)
    assert server.channels().result(LONG) == []
    server.create_channel("d").result(LONG)


def campaign(federation: Federation, seconds: float, seed: int) -> Campaign:
    server = federation.start("server")
    cells = [federation.start(f"site-{number}", server, None) for number in range(3)]
    campaign = Campaign(server, cells, seed)
    until_time = time.monotonic() + seconds
    episodes = 0
    while time.monotonic() < until_time:
        campaign.episode(with_process=episodes % 5 == 4)
        episodes += 1
    until(lambda: server._node.channels.broker.reserved == 0, "bytes are reserved for readers that are gone")
    assert threading.active_count() < 200
    return campaign


@pytest.mark.timeout(120)
def test_random_subscribers_come_go_and_die(federation: Federation) -> None:
    found = campaign(federation, 30.0, 1)
    assert found.items
    assert found.subscribers


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_random_subscribers_come_go_and_die_for_ten_minutes(federation: Federation) -> None:
    found = campaign(federation, 600.0, 2)
    assert found.items > 10_000
