"""Questions to cells about themselves. Whatever is wrong elsewhere is an error text."""

from __future__ import annotations

import os
import threading

import pytest

from tests.system.federation import LONG, Federation, Gate
from zmqfl import Cell, NetAgent, RequestFailed
from zmqfl.errors import ClosedError, InvalidRequest

Tree = tuple[Cell, Cell, Cell, Cell]


@pytest.fixture
def tree(federation: Federation) -> Tree:
    return federation.tree()


@pytest.fixture
def agent(tree: Tree) -> NetAgent:
    return NetAgent(tree[2])


def test_cell_N11_cells(agent: NetAgent) -> None:
    error, cells = agent.request_cells_info()
    assert error == ""
    assert sorted(cells) == [
        ["relay", "server", "up"],
        ["relay.site-1", "relay", "up"],
        ["server", "", "up"],
        ["site-2", "server", "up"],
    ]


def test_cell_N11_cells_although_a_branch_hangs(tree: Tree) -> None:
    gate = Gate()
    tree[1].register_request_cb("_net_manager", "cells", gate)
    error, cells = NetAgent(tree[3], timeout=0.5).request_cells_info()
    assert error == ""
    assert sorted(cells) == [["relay", "server", "up"], ["server", "", "up"], ["site-2", "server", "up"]]
    gate.open()


def test_cell_N11_peers_and_info(tree: Tree, agent: NetAgent) -> None:
    error, peers = agent.get_peers("relay")
    assert error == ""
    assert [(peer["fqcn"], peer["state"], peer["lanes"]) for peer in peers] == [
        ("server", "up", 2),
        ("relay.site-1", "up", 2),
    ]
    error, info = agent.get_info("server")
    assert error == ""
    assert (info["fqcn"], info["pid"], info["urls"]) == ("server", os.getpid(), tree[0].urls)
    assert info["counters"]["requests"] >= 1
    error, counters = agent.get_msg_stats("server")
    assert error == ""
    assert counters["requests"] >= 2


def test_cell_N11_route(tree: Tree, agent: NetAgent) -> None:
    assert agent.get_route_info("site-2") == ("", ["relay.site-1", "relay", "server", "site-2"])
    assert agent.get_route_info("relay.site-1") == ("", ["relay.site-1"])
    error, path = agent.get_route_info("site-9")
    assert error == "server has no route to site-9"
    assert path == ["relay.site-1", "relay", "server"]


def test_cell_N11_speed_and_stress(agent: NetAgent) -> None:
    times = agent.speed_test("site-2", "relay.site-1", tries=10, size=1000)
    assert (times["tries"], times["size"], times["failed"]) == (10, 1000, "")
    assert 0 < times["min"] <= times["p50"] <= times["p99"] <= times["max"]
    assert agent.start_stress_test(["server", "site-2"], num_rounds=5) == {"server": "", "site-2": ""}


def test_cell_N11_an_unknown_cell_is_an_error_text(agent: NetAgent) -> None:
    expected = "site-9: comm_error: server cannot forward: server has no route to site-9"
    assert agent.get_peers("site-9") == (expected, [])
    assert agent.get_info("site-9") == (expected, {})
    assert agent.get_msg_stats("site-9") == (expected, {})
    assert agent.stop_cell("site-9") == expected
    assert agent.speed_test("site-9", "server", tries=1) == {"error": expected}
    failed = agent.speed_test("server", "site-9", tries=1)
    assert failed == {"tries": 0, "failed": "target_unreachable: server has no route to site-9"}
    stress = agent.start_stress_test(["site-9", "server"], num_rounds=2)
    assert (stress["server"], stress["site-9"]) == ("", expected.removeprefix("site-9: "))


@pytest.mark.parametrize("name", ["", "a..b", "?"])
def test_cell_N11_a_name_that_is_none_is_an_error_text(agent: NetAgent, name: str) -> None:
    assert "invalid_target" in agent.get_peers(name)[0]
    assert "invalid_request" in agent.get_route_info(name)[0]
    assert "invalid_target" in agent.stop_cell(name)


def test_cell_N11_questions_before_there_is_a_parent(federation: Federation) -> None:
    lonely = federation.make("site-1", "tcp://127.0.0.1:1")
    lonely.start()
    agent = NetAgent(lonely, timeout=0.05)
    assert "invalid_target" in agent.request_cells_info()[0]
    assert "timeout" in agent.get_peers("server")[0]
    assert agent.get_peers("site-1") == ("", [])


@pytest.mark.parametrize(
    "question", [None, {}, {"to": "server"}, {"to": "server", "tries": 0, "size": 1}, {"to": 1, "tries": 1, "size": 1}]
)
def test_a_speed_question_that_makes_no_sense(agent: NetAgent, question: object) -> None:
    with pytest.raises(InvalidRequest):
        agent.cell.request("server", "_net_manager", "speed", question).result(LONG)


def test_cell_N11_a_cell_is_stopped_only_by_itself_those_above_and_the_roots_own(
    federation: Federation, tree: Tree
) -> None:
    server, relay, deep, site = tree
    stopped = threading.Event()
    called: list[tuple[int, str]] = []

    def end(status: int, reason: str) -> None:
        called.append((status, reason))
        stopped.set()

    target = federation.start("relay.site-3", relay, on_exit=end)
    job = federation.start("relay.site-3.job", target, None)
    admin = federation.start("server.admin", server, None)
    for stranger in (deep, site, job):
        assert "authentication_error" in NetAgent(stranger).stop_cell("relay.site-3")
    assert called == []
    for friend in (target, relay, server, admin):
        stopped.clear()
        assert NetAgent(friend).stop_cell("relay.site-3") == ""
        assert stopped.wait(LONG)
    assert [status for status, _ in called] == [0] * 4
    assert [reason for _, reason in called] == [
        f"stopped by {name}" for name in ("relay.site-3", "relay", "server", "server.admin")
    ]


def test_an_agent_of_a_closed_cell_says_so(federation: Federation) -> None:
    cell = federation.start("server")
    agent = NetAgent(cell)
    cell.close()
    with pytest.raises(ClosedError):
        agent.get_peers("server")


def test_nobody_else_registered_these_topics(agent: NetAgent) -> None:
    with pytest.raises(RequestFailed, match="no callback"):
        agent.cell.request("server", "_net_manager", "shell").result(LONG)
