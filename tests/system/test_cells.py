"""Cells that restart, replace one another, lose their links, and call each other back."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.system.cable import Cable
from tests.system.federation import LONG, QUICK, Federation, Gate, asking_all_the_while, counter, state_of, until
from zmqfl import Cell, Message
from zmqfl.errors import RequestFailed

PATIENT = replace(QUICK, dead_after=LONG)


def echo(cell: Cell) -> Cell:
    cell.register_request_cb("test", "echo", lambda message: message.payload)
    return cell


# ------------------------------------------------------------------------------------------------------------ restarts


def test_cell_N04_clients_of_a_restarted_server_reconnect_by_themselves(federation: Federation) -> None:
    server = echo(federation.start("server", config=PATIENT))
    sites = [federation.start(f"site-{n}", server, None, config=PATIENT) for n in range(3)]
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    pending = [site.request("server", "test", "held") for site in sites]
    gate.wait_entered(3)
    server.close(drain=0)
    for handle in pending:
        with pytest.raises(RequestFailed, match="outcome unknown: server is gone: server has stopped"):
            handle.result(LONG)
    gate.open()
    again = echo(federation.start("server", listen=server.url, config=PATIENT))
    for site in sites:
        assert site.wait_connected(LONG)
        assert site.request("server", "test", "echo", site.fqcn).result(LONG).payload == site.fqcn
        assert again.request(site.fqcn, "_net_manager", "echo", 1).result(LONG).payload == 1


def test_cell_N04_what_was_held_for_the_former_start_of_a_server_was_never_sent(federation: Federation) -> None:
    server = federation.start("server", config=PATIENT)
    with Cable(server.url) as cable:
        site = federation.start("site-1", cable.url, None, config=PATIENT)
        cable.cut()
        until(lambda: state_of(site, "server") == "suspected")
        handles = [site.request("server", "test", "echo", n) for n in range(5)]
        server.close(drain=0)
        echo(federation.start("server", listen=server.url, config=PATIENT))
        assert not any(handle.done() for handle in handles)
        cable.mend()
        for handle in handles:
            with pytest.raises(RequestFailed, match="target_unreachable: server is gone: it has restarted"):
                handle.result(LONG)
        assert site.request("server", "test", "echo", 1).result(LONG).payload == 1
        site.close(drain=0)


def test_cell_N05_a_restarted_client_replaces_the_old_one(federation: Federation) -> None:
    server = echo(federation.start("server"))
    exits: list[tuple[str, int]] = []
    exited = threading.Event()

    def note(name: str) -> Any:
        def end(status: int, reason: str) -> None:
            exits.append((name, status))
            exited.set()

        return end

    first = echo(federation.start("site-1", server, None, on_exit=note("first")))
    gate = Gate()
    first.register_request_cb("test", "held", gate)
    pending = server.request("site-1", "test", "held")
    gate.wait_entered()
    second = echo(federation.start("site-1", server, None, on_exit=note("second")))
    assert exited.wait(LONG)
    with pytest.raises(RequestFailed, match="outcome unknown: site-1 is gone: replaced by a newer start"):
        pending.result(LONG)
    gate.open()
    assert first.exit is not None
    assert (first.exit.status, first.exit.reason) == (75, "a newer start of site-1 holds the name")
    with pytest.raises(RequestFailed):
        first.request("server", "test", "echo", 1, deadline=1).result(LONG)
    for number in range(20):  # no ping-pong
        assert server.request("site-1", "test", "echo", number).result(LONG).payload == number
        assert second.request("server", "test", "echo", number).result(LONG).payload == number
    assert exits == [("first", 75)]
    assert [link.instance for link in server.statistics().links] == [second.instance]
    assert second.exit is None


def test_of_many_starts_at_once_one_survives(federation: Federation) -> None:
    server = federation.start("server")
    exits: list[int] = []
    changed = threading.Condition()

    def end(status: int, reason: str) -> None:
        with changed:
            exits.append(status)
            changed.notify()

    starts = [federation.make("site-1", server, on_exit=end) for _ in range(6)]
    for start in starts:
        echo(start).start()
    with changed:
        assert changed.wait_for(lambda: len(exits) == 5, LONG), exits
    for number in range(10):
        assert server.request("site-1", "test", "echo", number).result(LONG).payload == number
    survivors = [start for start in starts if start.exit is None]
    assert [start.instance for start in survivors] == [link.instance for link in server.statistics().links]
    assert exits == [75] * 5


# --------------------------------------------------------------------------------------------------------- broken links


def test_a_short_break_fails_nothing(federation: Federation) -> None:
    server = echo(federation.start("server", config=PATIENT))
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    with Cable(server.url) as cable:
        site = echo(federation.start("site-1", cable.url, None, config=PATIENT))
        held = site.request("server", "test", "held")
        gate.wait_entered()
        cable.cut()
        until(lambda: state_of(site, "server") == "suspected" and state_of(server, "site-1") == "suspected")
        up = [site.request("server", "test", "echo", n) for n in range(5)]
        down = [server.request("site-1", "test", "echo", bytes(100_000)) for n in range(5)]
        assert not any(handle.done() for handle in (held, *up, *down))
        cable.mend()
        assert [handle.result(LONG).payload for handle in up] == list(range(5))
        assert [len(handle.result(LONG).payload) for handle in down] == [100_000] * 5
        gate.open()
        assert held.result(LONG).payload == "done"
        assert len(gate.seen) == 1
        assert counter(server, "requests") == 6
        assert counter(site, "requests") == 5
        site.close(drain=0)


def test_what_ran_and_was_answered_during_a_break_is_answered_after_it(federation: Federation) -> None:
    server = federation.start("server", config=PATIENT)
    gate = Gate(bytes(200_000))
    server.register_request_cb("test", "held", gate)
    with Cable(server.url) as cable:
        site = federation.start("site-1", cable.url, None, config=PATIENT)
        handles = [site.request("server", "test", "held") for _ in range(3)]
        gate.wait_entered(3)
        cable.cut()
        until(lambda: state_of(server, "site-1") == "suspected")
        gate.open()
        until(lambda: server.statistics().running_calls == 0)
        assert not any(handle.done() for handle in handles)
        cable.mend()
        assert [len(handle.result(LONG).payload) for handle in handles] == [200_000] * 3
        assert len(gate.seen) == 3
        site.close(drain=0)


def test_a_break_that_lasts_is_an_end_on_both_sides(federation: Federation) -> None:
    server = federation.start("server")
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    with Cable(server.url) as cable:
        site = federation.start("site-1", cable.url, None)
        site.register_request_cb("test", "held", gate)
        up, down = site.request("server", "test", "held"), server.request("site-1", "test", "held")
        gate.wait_entered(2)
        cable.cut()
        for handle in (up, down):
            with pytest.raises(RequestFailed, match=r"outcome unknown: .* no connection for 1.5 s"):
                handle.result(LONG)
        gate.open()
        cable.mend()
        assert site.wait_connected(LONG)
        until(lambda: state_of(server, "site-1") == "up")
        assert server.request("site-1", "_net_manager", "echo", 1).result(LONG).payload == 1
        site.close(drain=0)


def test_a_link_that_hangs_is_stalled_and_comes_back(federation: Federation) -> None:
    server = echo(federation.start("server", config=PATIENT))
    with Cable(server.url) as cable:
        site = federation.start("site-1", cable.url, None, config=PATIENT)
        other = federation.start("site-2", server, None)
        cable.freeze()
        handle = site.request("server", "test", "echo", 1)
        with asking_all_the_while(other, "server"):
            until(lambda: state_of(server, "site-1") in ("stalled", "suspected"))
            until(lambda: state_of(site, "server") in ("stalled", "suspected"))
        assert not handle.done()
        cable.mend()
        assert handle.result(LONG).payload == 1
        site.close(drain=0)


# ----------------------------------------------------------------------------------------------------------- call-backs


def test_calls_back_and_forth_a_hundred_deep(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)

    def descend(message: Message, cell: Cell, other: str) -> int:
        if not message.payload:
            return 0
        below: int = cell.request(other, "test", "descend", message.payload - 1).result(LONG).payload
        return below + 1

    server.register_request_cb("test", "descend", descend, server, "site-1")
    site.register_request_cb("test", "descend", descend, site, "server")
    with asking_all_the_while(federation.start("site-2", server, None), "server"):
        assert site.request("server", "test", "descend", 100).result(LONG).payload == 100
        assert server.request("server", "test", "descend", 60).result(LONG).payload == 60
    until(lambda: server.statistics().workers.blocked == 0)


def test_two_cells_that_call_each_other_back_all_at_once(federation: Federation) -> None:
    server = echo(federation.start("server"))
    site = echo(federation.start("site-1", server, None))
    server.register_request_cb(
        "test", "back", lambda m: server.request("site-1", "test", "echo", m.payload).result().payload
    )
    site.register_request_cb(
        "test", "back", lambda m: site.request("server", "test", "echo", m.payload).result().payload
    )
    handles = [
        cell.request(to, "test", "back", n) for n in range(100) for cell, to in ((server, "site-1"), (site, "server"))
    ]
    assert [handle.result(LONG).payload for handle in handles] == [n for n in range(100) for _ in range(2)]


def test_a_tree_of_several_levels_over_ipc_and_tcp(federation: Federation, tmp_path: Any) -> None:
    server = echo(federation.start("server"))
    relay = echo(federation.start("relay", server, f"ipc://{tmp_path}/run/relay"))
    site = echo(federation.start("relay.site-1", relay, [f"ipc://{tmp_path}/run/site", "tcp://127.0.0.1:*"]))
    job = echo(federation.start("relay.site-1.job", site, None))
    cells = [server, relay, site, job]
    for cell in cells:
        replies = cell.broadcast([each.fqcn for each in cells], "test", "echo", bytes(200_000)).result(LONG)
        assert all(reply.payload == bytes(200_000) for reply in replies.values())


def test_a_relay_that_closes_takes_nobody_down_with_it(federation: Federation) -> None:
    server, relay, deep, _ = federation.tree()
    echo(deep)
    gate = Gate()
    deep.register_request_cb("test", "held", gate)
    handle = server.request("relay.site-1", "test", "held")
    gate.wait_entered()
    relay.close(drain=0)
    with pytest.raises(RequestFailed, match="relay is gone: relay has stopped"):
        handle.result(LONG)
    gate.open()
    assert server.request("site-2", "_net_manager", "echo", 1).result(LONG).payload == 1
    federation.start("relay", server, relay.url)
    assert deep.wait_connected(LONG)
    until(lambda: deep.is_cell_connected("relay"))
    assert server.request("relay.site-1", "test", "echo", 2).result(LONG).payload == 2
    assert deep.request("site-2", "_net_manager", "echo", 3).result(LONG).payload == 3
