"""Processes that are killed, stopped and restarted. Kill points are numbers of messages, not times."""

from __future__ import annotations

import resource
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, QUICK, Federation, asking_all_the_while, counter, state_of, until
from zmqfl import Cell, RequestHandle
from zmqfl.errors import RequestFailed

PATIENT = replace(QUICK, dead_after=20.0)
"""A restart fits well within `dead_after`."""
UNKNOWN = {"comm_error", "target_unreachable"}


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    """What handlers did, a line for each time."""
    return tmp_path / "counts"


def executed(counts: Path) -> Counter[int]:
    """How often the handler ran, per payload."""
    return Counter(int(line.split()[0]) for line in counts.read_text().splitlines())


def ask(cell: Cell, target: str, numbers: range) -> dict[int, RequestHandle]:
    return {number: cell.request(target, "test", "count", number) for number in numbers}


def _count(ends: Counter[int], number: int, _: object) -> None:
    ends[number] += 1


def outcomes(handles: dict[int, RequestHandle]) -> dict[int, str]:
    """The code of each; that it ends once is in the handle: an end is counted."""
    ends: Counter[int] = Counter()
    for number, handle in handles.items():
        handle.add_done_callback(partial(_count, ends, number))
    codes = {number: str(handle.reply(LONG).return_code) for number, handle in handles.items()}
    assert ends == dict.fromkeys(handles, 1)
    return codes


def check(codes: dict[int, str], counts: Path) -> None:
    """At most once each; exactly once where the caller heard OK."""
    ran = executed(counts)
    assert max(ran.values(), default=1) == 1
    assert {*codes.values()} <= {"ok", *UNKNOWN}
    assert all(ran[number] == 1 for number, code in codes.items() if code == "ok")


# --------------------------------------------------------------------------------------------------------------- sites


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
@pytest.mark.parametrize("number", [0, 7, 29])
def test_a_site_is_killed_and_restarted(federation: Federation, counts: Path, moment: str, number: int) -> None:
    server = federation.start("server", config=PATIENT)
    site = federation.process("site-1", parent=server.url, counts=str(counts), config=PATIENT, **{moment: number})
    counts.touch()
    handles = ask(server, "site-1", range(30))
    assert site.wait() == -signal.SIGKILL
    until(lambda: state_of(server, "site-1") == "suspected")
    federation.process("site-1", parent=server.url, counts=str(counts), config=PATIENT)
    codes = outcomes(handles)
    check(codes, counts)
    assert codes[number] == "comm_error"  # nobody can know
    assert executed(counts)[number] == (moment == "die_after")
    later = ask(server, "site-1", range(100, 110))
    assert set(outcomes(later).values()) == {"ok"}
    check({**codes, **outcomes(later)}, counts)


def test_a_site_that_is_killed_and_not_restarted_is_gone_after_dead_after(federation: Federation, counts: Path) -> None:
    server = federation.start("server")
    site = federation.process("site-1", parent=server.url, counts=str(counts), die_after=2)
    handles = ask(server, "site-1", range(5))
    assert site.wait() == -signal.SIGKILL
    codes = outcomes(handles)
    check(codes, counts)
    assert codes[2] == "comm_error"
    assert "no connection for 1.5 s" in handles[2].reply(LONG).error
    assert str(server.request("site-1", "test", "echo").reply(LONG).return_code) == "target_unreachable"


def test_a_launcher_that_saw_the_exit_makes_them_fail_at_once(federation: Federation, counts: Path) -> None:
    server = federation.start("server", config=PATIENT)
    site = federation.process("site-1", parent=server.url, counts=str(counts), die_after=2, config=PATIENT)
    handles = ask(server, "site-1", range(3))
    assert site.wait() == -signal.SIGKILL
    server.child_exited("site-1")
    assert outcomes(handles)[2] == "comm_error"
    assert "its process has ended" in handles[2].reply(LONG).error


# -------------------------------------------------------------------------------------------------------------- relays


@pytest.mark.parametrize("number", [1, 5, 20])
def test_a_relay_is_killed_and_restarted(federation: Federation, counts: Path, number: int) -> None:
    server = federation.start("server", config=PATIENT)
    relay = federation.process(
        "relay", parent=server.url, listen="tcp://127.0.0.1:*", config=PATIENT, die_forwarding=number
    )
    federation.process("relay.site-1", parent=relay.url, counts=str(counts), config=PATIENT)
    counts.touch()
    handles = ask(server, "relay.site-1", range(20))
    assert relay.wait() == -signal.SIGKILL
    federation.process("relay", parent=server.url, listen=relay.url, config=PATIENT)
    codes = outcomes(handles)
    # The callee lives on and tells what it has seen: so nothing is lost.
    assert {handle.reply(LONG).error for handle in handles.values()} == {""}
    check(codes, counts)
    assert executed(counts) == dict.fromkeys(range(20), 1)


def test_a_relay_that_is_killed_and_not_restarted(federation: Federation, counts: Path) -> None:
    server = federation.start("server")
    relay = federation.process("relay", parent=server.url, listen="tcp://127.0.0.1:*", die_forwarding=4)
    federation.process("relay.site-1", parent=relay.url, counts=str(counts))
    counts.touch()
    handles = ask(server, "relay.site-1", range(8))
    codes = outcomes(handles)
    check(codes, counts)
    assert set(codes.values()) & UNKNOWN


# ------------------------------------------------------------------------------------------------------------- servers


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
def test_cell_N04_a_server_is_killed_and_restarted(federation: Federation, counts: Path, moment: str) -> None:
    server = federation.process(
        "server", listen="tcp://127.0.0.1:*", counts=str(counts), config=PATIENT, **{moment: 17}
    )
    sites = [federation.start(f"site-{n}", server.url, None, config=PATIENT) for n in (1, 2)]
    counts.touch()
    handles = {**ask(sites[0], "server", range(20)), **ask(sites[1], "server", range(20, 40))}
    assert server.wait() == -signal.SIGKILL
    federation.process("server", listen=server.url, counts=str(counts), config=PATIENT)
    codes = outcomes(handles)
    check(codes, counts)
    assert codes[17] == "comm_error"
    for number, site in enumerate(sites):
        assert site.wait_connected(LONG)
        again = ask(site, "server", range(100 + number, 101 + number))
        assert set(outcomes(again).values()) == {"ok"}
        assert site.request(f"site-{2 - number}", "_net_manager", "echo", 1).result(LONG).payload == 1
    check(codes, counts)


def test_a_site_that_is_started_before_its_parent(federation: Federation, counts: Path) -> None:
    first = federation.start("server")
    url = first.url
    first.close()
    site = federation.process("site-1", parent=url, counts=str(counts), ready=False)
    server = federation.start("server", listen=url)
    site.line()
    assert outcomes(ask(server, "site-1", range(5))) == dict.fromkeys(range(5), "ok")


# --------------------------------------------------------------------------------------------------------------- twins


def test_a_site_that_is_started_twice_has_one_survivor(federation: Federation) -> None:
    server = federation.start("server")
    changes: list[str] = []
    server.set_cell_connected_cb(lambda agent: changes.append(str(agent.instance)))
    first = federation.process("site-1", parent=server.url)
    second = federation.process("site-1", parent=server.url)
    assert first.line() == {"exit": 75}
    assert first.wait() == 75
    for number in range(20):
        assert server.request("site-1", "test", "echo", number).result(LONG).payload == number
    assert len(changes) == len(set(changes)) == 2  # no ping-pong
    assert second.popen.poll() is None


# -------------------------------------------------------------------------------------------------------------- stalled


def test_a_receiver_that_stands_still_holds_up_nobody_else(federation: Federation) -> None:
    budget = 8 * 1024 * 1024
    config = replace(QUICK, dead_after=LONG, bulk_heartbeat_timeout=2 * LONG, send_budget=budget)
    server = federation.start("server", config=config)
    frozen = federation.process("site-1", parent=server.url, config=config)
    federation.process("site-2", parent=server.url, config=config)
    frozen.signal(signal.SIGSTOP)
    body = bytes(500_000)
    waiting: list[RequestHandle] = []
    refused: list[Any] = []
    while not refused:
        handle = server.request("site-1", "test", "echo", body)
        for number in range(3):
            assert server.request("site-2", "test", "echo", number).result(LONG).payload == number
        (refused if handle.done() else waiting).append(handle)
    with pytest.raises(RequestFailed, match="the send budget of this cell is full") as caught:
        refused[0].result(LONG)
    assert str(caught.value.code) == "service_unavailable"
    assert len(waiting) == budget // len(body)
    now = server.statistics()
    assert now.retained_bytes <= budget
    assert now.queued_peak <= budget
    until(lambda: state_of(server, "site-1") == "stalled")
    fast = federation.start("site-3", server, None)
    with asking_all_the_while(fast, "site-2"):
        pass
    assert not any(handle.done() for handle in waiting)
    frozen.signal(signal.SIGCONT)
    assert [handle.result(LONG).payload for handle in waiting] == [body] * len(waiting)
    until(lambda: state_of(server, "site-1") == "up")
    assert server.request("site-1", "test", "echo", body).result(LONG).payload == body
    assert server.statistics().retained_bytes == 0


def test_a_stall_fails_nothing_and_ends(federation: Federation, counts: Path) -> None:
    config = replace(QUICK, dead_after=LONG, bulk_heartbeat_timeout=2 * LONG)
    server = federation.start("server", config=config)
    site = federation.process("site-1", parent=server.url, counts=str(counts), config=config)
    site.signal(signal.SIGSTOP)
    handles = ask(server, "site-1", range(20))
    until(lambda: state_of(server, "site-1") == "stalled")
    assert not any(handle.done() for handle in handles.values())
    site.signal(signal.SIGCONT)
    assert outcomes(handles) == dict.fromkeys(range(20), "ok")
    check(outcomes(handles), counts)
    until(lambda: state_of(server, "site-1") == "up")
    assert counter(server, "bugs") == 0


# --------------------------------------------------------------------------------------------------------- descriptors


@contextmanager
def flood(url: str, number: int) -> Iterator[list[socket.socket]]:
    """So many connections at once that say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number + 256:
        pytest.skip(f"this process may hold {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + 256), hard))
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.socket()) for _ in range(number)]
        for peer in peers:
            peer.setblocking(False)
            peer.connect_ex((host, int(port)))
        yield peers


def test_a_thousand_connections_that_say_nothing_at_a_cell_that_may_hold_256(federation: Federation) -> None:
    server = federation.process("server", listen="tcp://127.0.0.1:*", nofile=256)
    site = federation.start("site-1", server.url, None)
    with asking_all_the_while(site, "server"), flood(server.url, 1000):
        asked = site.request("server", "test", "echo", 1).result(LONG)
        assert asked.payload == 1
    other = federation.start("site-2", server.url, None)
    assert other.request("server", "test", "echo", 2).result(LONG).payload == 2
