from __future__ import annotations

import pytest

from zmqfl.config import CellConfig
from zmqfl.protocol.acceptor import Acceptor
from zmqfl.protocol.fence import FenceTable
from zmqfl.protocol.link import Link
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.protocol.uplink import Uplink, UplinkState, up
from zmqfl.wire.messages import Conn, Lane

CONFIG = CellConfig()
CHILD: Conn = ("in", 0, b"child")


def link(name: str, connected: bool = True) -> Link:
    made = Link(name, 1, 1, 1, CONFIG.heartbeat, CONFIG.dead_after, 0.0)
    if connected:
        made.control = ("in", 0, name.encode())
    return made


def neighbours(me: str, parent: str = "", *children: str) -> Neighbours:
    acceptor = Acceptor(me, not parent, CONFIG, FenceTable(), lambda: 7)
    for child in children:
        acceptor.children[child] = link(child)
    uplink = None
    if parent:
        uplink = Uplink(me, 1, CONFIG, token=5, root="server", state=UplinkState.BOUND, link=link(parent))
    return Neighbours(me, uplink, acceptor)


def test_a_root_knows_its_name_and_has_no_parent() -> None:
    around = neighbours("server", "", "site-1")
    assert (around.root, around.parent, around.is_bound, around.is_dialling) == ("server", "", True, False)


def test_a_cell_learns_parent_and_root_from_its_link() -> None:
    around = neighbours("relay-a", "server", "relay-a.site-1")
    assert (around.root, around.parent, around.is_bound) == ("server", "server", True)
    assert [each.fqcn for each in around.links()] == ["server", "relay-a.site-1"]


def test_a_cell_that_no_parent_has_bound_is_dialling() -> None:
    around = neighbours("site-1", "server")
    assert around.uplink is not None
    around.uplink.token, around.uplink.link = 0, None
    assert (around.is_dialling, around.parent, around.hop_to("server")) == (True, "", None)


@pytest.mark.parametrize(
    ("target", "hop"),
    [("relay-a", "relay-a"), ("relay-a.site-1", "relay-a.site-1"), ("relay-a.site-9", None), ("site-4", "server")],
)
def test_hop_to(target: str, hop: str | None) -> None:
    assert neighbours("relay-a", "server", "relay-a.site-1").hop_to(target) == hop


def test_obstacle_says_why() -> None:
    around = neighbours("server", "", "site-1", "site-2")
    around.acceptor.children["site-2"].control = None
    assert around.obstacle("site-1") == around.obstacle("server") == ""
    assert around.obstacle("site-2") == "the link to site-2 is broken"
    assert around.obstacle("site-9") == "server has no route to site-9"


def test_split_groups_by_link() -> None:
    around = neighbours("relay-a", "server", "relay-a.site-1")
    assert around.split(["relay-a.site-1", "relay-a.site-9", "site-2", "site-3"]) == {
        "relay-a.site-1": ["relay-a.site-1"],
        None: ["relay-a.site-9"],
        "server": ["site-2", "site-3"],
    }


def bind(around: Neighbours, name: str, user: str | None) -> None:
    around.acceptor.bindings[CHILD] = (around.acceptor.children[name], Lane.CONTROL)
    if user is not None:
        around.acceptor.allowed = frozenset({user})


@pytest.mark.parametrize(
    ("user", "origin", "answer"),
    [
        (None, "relay-a", True),
        (None, "relay-a.site-1", True),
        (None, "site-1", False),
        (None, "server", False),
        ("relay-a", "relay-a.site-1", True),
        ("relay-b", "relay-a", False),
    ],
)
def test_from_below_comes_the_child_and_what_is_below_it(user: str | None, origin: str, answer: bool) -> None:
    around = neighbours("server", "", "relay-a")
    bind(around, "relay-a", user)
    assert around.may_come(CHILD, user, origin) is answer


@pytest.mark.parametrize(
    ("origin", "answer"), [("server", True), ("site-9", True), ("relay-a", False), ("relay-a.site-1", False)]
)
def test_from_above_comes_neither_this_cell_nor_what_is_below_it(origin: str, answer: bool) -> None:
    assert neighbours("relay-a", "server").may_come(up(Lane.CONTROL), None, origin) is answer


def test_may_come_is_asked_again_after_a_change() -> None:
    around = neighbours("server", "", "relay-a")
    bind(around, "relay-a", "relay-a")
    assert around.may_come(CHILD, "relay-a", "relay-a")
    around.acceptor.allowed = frozenset()
    around.forget_origins()
    assert not around.may_come(CHILD, "relay-a", "relay-a")


@pytest.mark.parametrize(
    ("me", "parent", "gone", "target", "behind"),
    [
        ("server", "", "relay-a", "relay-a", True),
        ("server", "", "relay-a", "relay-a.site-1", True),
        ("server", "", "relay-a", "site-2", False),
        ("relay-a", "server", "relay-a.site-1", "relay-a.site-1.job", True),
        ("relay-a", "server", "relay-a.site-1", "server", False),
    ],
)
def test_was_behind_a_child(me: str, parent: str, gone: str, target: str, behind: bool) -> None:
    assert neighbours(me, parent).was_behind(target, gone) is behind


def test_was_behind_the_parent_is_all_that_has_no_other_way() -> None:
    around = neighbours("relay-a", "server", "relay-a.site-1")
    assert around.uplink is not None
    around.uplink.link = None
    assert around.was_behind("site-2", "server")
    assert not around.was_behind("relay-a.site-1", "server")


def test_bound() -> None:
    around = neighbours("relay-a", "server", "relay-a.site-1")
    around.acceptor.bindings[CHILD] = (around.acceptor.children["relay-a.site-1"], Lane.BULK)
    assert around.uplink is not None
    assert around.bound(up(Lane.CONTROL)) is around.uplink.link
    assert around.bound(CHILD) is around.acceptor.children["relay-a.site-1"]
    assert around.bound(("in", 0, b"other")) is None
    assert neighbours("server").bound(up(Lane.BULK)) is None
