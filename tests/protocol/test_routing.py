"""The table of `zmqfl.protocol.routing`, and check line N02: the scenarios of the reference on whole trees."""

from __future__ import annotations

import pytest

from tests.harness import Net
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Outcome
from zmqfl.protocol.routing import is_on_path, may_accept, next_hop, speaks_for, split
from zmqfl.wire.messages import Kind

OK, UNREACHABLE, COMM_ERROR = CellReturnCode.OK, CellReturnCode.TARGET_UNREACHABLE, CellReturnCode.COMM_ERROR
RELAY = "relay-a.relay-b"
"""Of two levels: relay-a.relay-b below relay-a below the server."""


# ---------------------------------------------------------------------------------------------------------- the tables


@pytest.mark.parametrize(
    ("target", "me", "parent", "children", "hop"),
    [
        # 1 the target is me
        ("server", "server", "", [], "server"),
        ("site-1", "site-1", "server", ["site-1.job"], "site-1"),
        # 2 the target is a child of mine
        ("site-1", "server", "", ["site-1"], "site-1"),
        ("server.job", "server", "", ["server.job"], "server.job"),
        ("relay-a.site-1", "relay-a", "server", ["relay-a.site-1"], "relay-a.site-1"),
        # 3 the target stands below a child: the longest name counts
        ("relay-a.relay-b.site-1", "server", "", ["relay-a", "site-1"], "relay-a"),
        ("relay-a.relay-b.site-1", "server", "", ["relay-a", "relay-a.relay-b"], "relay-a.relay-b"),
        ("site-1.job", "server", "", ["site-1"], "site-1"),
        ("server.job.part", "server", "", ["server.job"], "server.job"),
        # 4 the target is below me, or I am the root: no detour
        ("site-1.job", "site-1", "server", [], None),
        ("site-1.job.part", "site-1", "server", ["site-1.other"], None),
        ("site-9", "server", "", ["site-1"], None),
        ("server.job", "server", "", ["site-1"], None),
        # 5 otherwise
        ("server", "site-1", "server", [], "server"),
        ("site-2", "site-1", "server", ["site-1.job"], "server"),
        ("relay-a.site-2", "relay-a.site-1", "relay-a", [], "relay-a"),
        ("relay-a", "relay-a.site-1", "relay-a", [], "relay-a"),
        ("server.job", "site-1.job", "site-1", [], "site-1"),
        ("site-10", "site-1", "server", ["site-1.job"], "server"),  # not below site-1 though it begins like it
        ("site-1", "server.job", "server", [], "server"),
        ("server", "site-1", "", [], None),  # the link to the parent is gone
        # what is no name goes nowhere
        ("", "server", "", ["site-1"], None),
        ("..", "server", "", ["site-1"], None),
        ("site-1..", "server", "", ["site-1"], "site-1"),  # and is refused there
    ],
)
def test_next_hop(target: str, me: str, parent: str, children: list[str], hop: str | None) -> None:
    assert next_hop(target, me, parent, children) == hop


def test_targets_are_split_by_link_in_their_order() -> None:
    targets = ["site-2", "relay-a.x", "me.gone", "relay-a.y", "me", "me.job", "server"]
    assert split(targets, "me", "server", ["me.job"]) == {
        "server": ["site-2", "relay-a.x", "relay-a.y", "server"],
        None: ["me.gone"],
        "me": ["me"],
        "me.job": ["me.job"],
    }


@pytest.mark.parametrize(
    ("child", "me", "is_root", "may"),
    [
        ("site-1", "server", True, True),
        ("server.job", "server", True, True),
        ("site-1.job", "site-1", False, True),
        ("site-1.job", "server", True, False),  # two levels down
        ("site-2", "site-1", False, False),  # only the root has children of one segment
        ("server", "server", True, False),
        ("site-1", "site-1", False, False),
        ("site-2.job", "site-1", False, False),
    ],
)
def test_who_may_dial_whom(child: str, me: str, is_root: bool, may: bool) -> None:
    assert may_accept(child, me, is_root) is may


def test_a_name_speaks_for_itself_and_what_is_below() -> None:
    assert speaks_for("site-1", "site-1")
    assert speaks_for("site-1", "site-1.job")
    assert not speaks_for("site-1", "site-10")
    assert not speaks_for("site-1.job", "site-1")


def test_who_is_on_a_path() -> None:
    me, target = "relay-a.site-1", "relay-b.relay-c.site-3"
    on = {me, "relay-a", "server", "relay-b", "relay-b.relay-c", target}
    cells = [*on, "site-4", "relay-b.site-9", "relay-a.site-2", "relay-b.relay-c.site-3.job", "relay"]
    assert {cell for cell in cells if is_on_path(cell, me, target, "server")} == on


# ------------------------------------------------------------------------------------------------------------ the trees


def formed(*names: str) -> Net:
    net = Net()
    net.tree(*names)
    net.run_until(net.is_settled, 10)
    net.traffic.clear()
    return net


def ask(net: Net, origin: str, *targets: str) -> list[Outcome]:
    """How a request of `origin` to each target ends within a heartbeat."""
    id = net.request(origin, list(targets))
    net.run(0.5)
    outcomes = [net.outcome(origin, id, target) for target in targets]
    return [outcome for outcome in outcomes if outcome is not None]


def path(net: Net, kind: Kind = Kind.REQUEST) -> dict[tuple[str, str], int]:
    """How often each link was crossed."""
    return {(a, b): count for (a, b, sent), count in net.traffic.items() if sent == kind}


def test_cell_N02_child_to_sibling_goes_by_the_parent() -> None:
    net = formed("relay-a", "relay-a.site-1", "relay-a.site-2")
    assert [outcome.code for outcome in ask(net, "relay-a.site-1", "relay-a.site-2")] == [OK]
    assert path(net) == {("relay-a.site-1", "relay-a"): 1, ("relay-a", "relay-a.site-2"): 1}
    assert path(net, Kind.REPLY) == {("relay-a.site-2", "relay-a"): 1, ("relay-a", "relay-a.site-1"): 1}


def test_cell_N02_client_to_client_goes_by_the_server() -> None:
    net = formed("site-1", "site-2")
    assert [outcome.code for outcome in ask(net, "site-1", "site-2")] == [OK]
    assert path(net) == {("site-1", "server"): 1, ("server", "site-2"): 1}


def test_cell_N02_relays_two_levels_deep() -> None:
    net = formed("relay-a", RELAY, f"{RELAY}.site-1", "relay-c", "relay-c.site-2")
    assert [outcome.code for outcome in ask(net, f"{RELAY}.site-1", "relay-c.site-2")] == [OK]
    assert path(net) == {
        (f"{RELAY}.site-1", RELAY): 1,
        (RELAY, "relay-a"): 1,
        ("relay-a", "server"): 1,
        ("server", "relay-c"): 1,
        ("relay-c", "relay-c.site-2"): 1,
    }


def test_cell_N02_job_cells() -> None:
    net = formed("site-1", "site-1.job", "server.job")
    assert [outcome.code for outcome in ask(net, "site-1.job", "server.job")] == [OK]
    assert path(net) == {("site-1.job", "site-1"): 1, ("site-1", "server"): 1, ("server", "server.job"): 1}
    assert [outcome.code for outcome in ask(net, "server.job", "site-1.job", "site-1", "server")] == [OK] * 3
    assert [outcome.code for outcome in ask(net, "site-1", "site-1.job")] == [OK]


def test_cell_N02_everybody_reaches_itself() -> None:
    net = formed("site-1")
    assert [outcome.code for outcome in ask(net, "site-1", "site-1")] == [OK]
    assert [outcome.code for outcome in ask(net, "server", "server")] == [OK]
    assert path(net) == {}


def test_cell_N02_a_parent_without_that_child_makes_no_detour() -> None:
    net = formed("relay-a", "site-1")
    [outcome] = ask(net, "relay-a", "relay-a.site-9")
    assert outcome == Outcome(UNREACHABLE, "relay-a has no route to relay-a.site-9")
    [outcome] = ask(net, "server", "site-9")
    assert outcome == Outcome(UNREACHABLE, "server has no route to site-9")
    assert path(net) == {}


def test_cell_N02_who_has_no_route_is_named() -> None:
    net = formed("relay-a", "site-1")
    [outcome] = ask(net, "site-1", "relay-a.site-9")
    assert outcome == Outcome(COMM_ERROR, "relay-a cannot forward: relay-a has no route to relay-a.site-9")
    assert path(net, Kind.RETURN) == {("relay-a", "server"): 1, ("server", "site-1"): 1}


@pytest.mark.parametrize("target", ["nobody", "site-1..", "a.b.c.d", "~", "relay-a.site-2.job.x"])
def test_cell_N02_an_invalid_or_unknown_target_ends_at_once(target: str) -> None:
    net = formed("site-1", "relay-a", "relay-a.site-2")
    [outcome] = ask(net, "relay-a.site-2", target)
    assert outcome.code in (UNREACHABLE, COMM_ERROR)
    net.check_ended()


def test_cell_N02_several_targets_cross_each_link_once() -> None:
    net = formed("relay-a", "relay-a.site-1", "relay-a.site-2", "relay-b", "relay-b.site-3", "site-4")
    others = ["relay-a", "relay-a.site-2", "relay-b", "relay-b.site-3", "site-4", "server", "relay-a.site-1"]
    assert [outcome.code for outcome in ask(net, "relay-a.site-1", *others)] == [OK] * 7
    assert path(net) == {
        ("relay-a.site-1", "relay-a"): 1,
        ("relay-a", "relay-a.site-2"): 1,
        ("relay-a", "server"): 1,
        ("server", "relay-b"): 1,
        ("relay-b", "relay-b.site-3"): 1,
        ("server", "site-4"): 1,
    }
    assert len(net.executions) == 7


def test_cell_N02_a_branch_that_cannot_forward_says_so_per_target() -> None:
    net = formed("relay-a", "relay-a.site-1", "site-4")
    outcomes = ask(net, "site-4", "relay-a.x", "relay-a.site-1", "relay-a.y", "z")
    assert outcomes == [
        Outcome(COMM_ERROR, "relay-a cannot forward: relay-a has no route to it"),
        Outcome(OK, bodies=(b"re:x",)),
        Outcome(COMM_ERROR, "relay-a cannot forward: relay-a has no route to it"),
        Outcome(COMM_ERROR, "server cannot forward: server has no route to z"),
    ]
    assert path(net, Kind.RETURN) == {("relay-a", "server"): 1, ("server", "site-4"): 2}
