"""What a cell tells of itself."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest

from tests.system.federation import LONG, Federation, Gate, until


def test_what_a_cell_counts(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    server.register_request_cb("test", "echo", lambda message: message.payload)
    for number in range(3):
        site.request("server", "test", "echo", number).result(LONG)
    site.fire("server", "test", "echo").result(LONG)
    until(lambda: server.statistics().counters.get("fires") == 1)
    now = server.statistics()
    assert (now.fqcn, now.instance, now.is_bound, now.open_requests, now.running_calls) == (
        "server", server.instance, True, 0, 0,
    )  # fmt: skip
    assert now.counters["requests"] == 3
    ((link),) = now.links
    assert (link.fqcn, link.state, link.instance, link.lanes) == ("site-1", "up", site.instance, 2)
    assert link.since >= 0
    until(lambda: server.statistics().links[0].rtt is not None)
    assert now.fence > 0
    assert site.statistics().fence > 0


def test_what_is_under_way(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    handles = [site.request("server", "test", "held", bytes(1000)) for _ in range(2)]
    gate.wait_entered(2)
    assert server.statistics().running_calls == 2
    assert server.statistics().workers.threads >= 2
    assert site.statistics().open_requests == 2
    assert 2000 <= site.statistics().retained_bytes < 2100
    gate.open()
    for handle in handles:
        handle.result(LONG)
    assert site.statistics().retained_bytes == 0


def test_it_cannot_be_changed_and_can_be_written_as_json(federation: Federation) -> None:
    server = federation.start("server")
    now = server.statistics()
    with pytest.raises(dataclasses.FrozenInstanceError):
        now.fence = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        now.counters["requests"] = 1  # type: ignore[index]
    assert json.loads(json.dumps(now.to_dict()))["fqcn"] == "server"


def test_from_many_threads_at_once(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    done = threading.Event()
    seen: list[int] = []

    def look() -> None:
        while not done.is_set():
            seen.append(server.statistics().counters.get("requests", 0))
            repr(server)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100):
        site.request("server", "_net_manager", "echo", number).result(LONG)
    done.set()
    for thread in threads:
        thread.join(LONG)
    assert max(seen) <= 100
    assert server.statistics().counters["requests"] == 100
