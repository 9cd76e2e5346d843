"""Which way a name lies, and who may speak for whom."""

from __future__ import annotations

import pytest

from zmqfl.config import CellConfig
from zmqfl.protocol import neighbours as module
from zmqfl.protocol.acceptor import Acceptor
from zmqfl.protocol.fence import FenceTable
from zmqfl.protocol.link import Link
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.protocol.uplink import Uplink, UplinkState, up
from zmqfl.wire.messages import Conn, Lane

CONFIG = CellConfig()
CHILD: Conn = ("in", 1)


def link(fqcn: str, control: Conn | None) -> Link:
    peer = Link(fqcn, 1, 1, 1, 1.0, 5.0, 0.0)
    peer.control = control
    return peer


def site(*, bound: bool = True) -> Neighbours:
    """relay-a.site-1 with its parent relay-a and its child relay-a.site-1.job."""
    uplink = Uplink("relay-a.site-1", 7, CONFIG)
    acceptor = Acceptor("relay-a.site-1", False, CONFIG, FenceTable(), lambda: 1)
    if bound:
        uplink.state, uplink.root, uplink.token = UplinkState.BOUND, "server", 5
        uplink.link = link("relay-a", up(Lane.CONTROL))
        child = link("relay-a.site-1.job", CHILD)
        acceptor.children[child.fqcn] = child
        acceptor.bindings[CHILD] = (child, Lane.CONTROL)
    return Neighbours("relay-a.site-1", uplink, acceptor)


def root(*children: str) -> Neighbours:
    acceptor = Acceptor("server", True, CONFIG, FenceTable(), lambda: 1)
    acceptor.children = {name: link(name, ("in", name)) for name in children}
    acceptor.bindings = {("in", name): (peer, Lane.CONTROL) for name, peer in acceptor.children.items()}
    return Neighbours("server", None, acceptor)


def test_a_bound_cell() -> None:
    cell = site()
    assert (cell.root, cell.parent, cell.is_dialling, cell.is_bound) == ("server", "relay-a", False, True)
    assert [peer.fqcn for peer in cell.links()] == ["relay-a", "relay-a.site-1.job"]


def test_a_cell_that_was_never_bound() -> None:
    cell = site(bound=False)
    assert (cell.root, cell.parent, cell.is_dialling, cell.is_bound) == ("", "", True, False)
    assert cell.links() == []
    assert cell.link_of("relay-a") is cell.link_of("") is None
    assert cell.bound(up(Lane.CONTROL)) is None
    assert cell.obstacle("server") == "relay-a.site-1 has no route to server"


def test_who_holds_its_name() -> None:
    cell = site()
    assert cell.uplink is not None
    for since, holder in ((None, False), (1.0, True)):
        cell.uplink.held_since = since
        assert cell.is_holder is holder
    assert root().is_holder


def test_the_root() -> None:
    cell = root("site-1")
    assert (cell.root, cell.parent, cell.is_dialling, cell.is_bound) == ("server", "", False, True)
    assert cell.bound(up(Lane.CONTROL)) is None


def test_links_and_hops() -> None:
    cell = site()
    for target, hop in {
        "server": "relay-a", "relay-a": "relay-a", "site-9": "relay-a", "relay-a.site-1": "relay-a.site-1",
        "relay-a.site-1.job": "relay-a.site-1.job", "relay-a.site-1.other": None,
    }.items():  # fmt: skip
        assert cell.hop_to(target) == hop
    assert cell.link_of("relay-a") is cell.bound(up(Lane.BULK))
    assert cell.link_of("relay-a.site-1.job") is cell.bound(CHILD)
    assert cell.link_of("site-9") is cell.bound(("in", 2)) is None
    assert cell.split(["server", "site-9"]) == {"relay-a": ["server", "site-9"]}


def test_obstacles() -> None:
    cell = site()
    assert [cell.obstacle(name) for name in ("server", "relay-a.site-1", "relay-a.site-1.job")] == ["", "", ""]
    assert cell.obstacle("relay-a.site-1.x") == "relay-a.site-1 has no route to relay-a.site-1.x"
    parent = cell.link_of("relay-a")
    assert parent is not None
    parent.break_off(1.0)
    assert cell.obstacle("server") == "the link to relay-a is broken"


@pytest.mark.parametrize(
    ("conn", "user", "origin", "may"),
    [
        # from above: neither this cell nor one below it
        (up(Lane.CONTROL), None, "server", True),
        (up(Lane.BULK), None, "site-4", True),
        (up(Lane.CONTROL), None, "relay-a", True),
        (up(Lane.CONTROL), None, "relay-a.site-2", True),
        (up(Lane.CONTROL), None, "relay-a.site-1", False),
        (up(Lane.CONTROL), None, "relay-a.site-1.job", False),
        (up(Lane.CONTROL), None, "relay-a.site-1.other.deep", False),
        # from below, without keys: the child and what is below it
        (CHILD, None, "relay-a.site-1.job", True),
        (CHILD, None, "relay-a.site-1.job.part", True),
        (CHILD, None, "relay-a.site-1", False),
        (CHILD, None, "relay-a.site-1.other", False),
        (CHILD, None, "relay-a", False),
        (CHILD, None, "server", False),
        # from below, with a key: its name must speak for the origin too
        (CHILD, "relay-a.site-1.job", "relay-a.site-1.job", True),
        (CHILD, "relay-a.site-1", "relay-a.site-1.job.part", True),
        (CHILD, "relay-a.site-1.job.part", "relay-a.site-1.job", False),
        (CHILD, "relay-a.site-1.job.part", "relay-a.site-1.job.part", True),
        (CHILD, "site-4", "relay-a.site-1.job", False),
        # what is no name
        (up(Lane.CONTROL), None, "", False),
        (up(Lane.CONTROL), None, "a..b", False),
        (up(Lane.CONTROL), None, "x" * 241, False),
        (CHILD, None, "relay-a.site-1.job.a b", False),
    ],
)
def test_who_may_send_as_whom(conn: Conn, user: str | None, origin: str, may: bool) -> None:
    cell = site()
    assert cell.may_come(conn, user, origin) is may
    assert cell.may_come(conn, user, origin) is may  # the kept answer


def test_only_names_on_the_allow_list_may_speak() -> None:
    cell = site()
    cell.acceptor.allowed = frozenset({"relay-a.site-1.job"})
    assert cell.may_come(CHILD, "relay-a.site-1.job", "relay-a.site-1.job")
    assert not cell.may_come(CHILD, "relay-a.site-1", "relay-a.site-1.job")
    cell.acceptor.allowed = frozenset()
    cell.forget_origins()
    assert not cell.may_come(CHILD, "relay-a.site-1.job", "relay-a.site-1.job")


def test_answers_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ORIGINS", 3)
    cell = site()
    for i in range(10):
        assert cell.may_come(up(Lane.CONTROL), None, f"site-{i}")
        assert len(cell._origins) <= 4
    assert not cell.may_come(up(Lane.CONTROL), None, "not a name")
    assert all(origin != "not a name" for _, _, origin in cell._origins)


@pytest.mark.parametrize(("target", "may"), [("relay-a.site-1.x", True), ("relay-a.site-1", False), ("site-9", False)])
def test_who_may_come_back_to_a_cell_that_succeeds_another_start(target: str, may: bool) -> None:
    cell = site()
    assert not cell.may_come_back(target)
    assert cell.uplink is not None
    cell.uplink.succeeds = True
    assert cell.may_come_back(target) is may
    cell.uplink.succeeds, cell.acceptor.succeeds = False, True
    assert cell.may_come_back(target) is may


def test_who_has_left() -> None:
    cell = site()
    job = "relay-a.site-1.job"
    cell.acceptor._starts[job] = {1: 1}
    assert not cell.has_left(job)
    del cell.acceptor.children[job]
    assert cell.has_left(job)
    assert cell.has_left(f"{job}.part")
    assert not cell.has_left("relay-a.site-1.other")
    assert not cell.has_left("server")


@pytest.mark.parametrize(
    ("target", "gone", "behind"),
    [
        ("relay-a", "relay-a", True),
        ("relay-a.site-1", "relay-a", True),
        ("site-1", "relay-a", False),
        ("server.job", "server.job", True),
        ("relay-ab.site-1", "relay-a", False),
    ],
)
def test_what_was_behind_a_child(target: str, gone: str, behind: bool) -> None:
    assert root("site-1").was_behind(target, gone) is behind


def test_what_was_behind_the_parent_is_all_that_has_no_other_way() -> None:
    cell = site()
    assert cell.uplink is not None
    cell.uplink.link = None
    assert cell.was_behind("relay-a", "relay-a")
    assert cell.was_behind("server", "relay-a")
    assert cell.was_behind("relay-a.site-2", "relay-a")
    assert not cell.was_behind("relay-a.site-1", "relay-a")
    assert not cell.was_behind("relay-a.site-1.job", "relay-a")
    assert not cell.was_behind("server", "relay-a.site-1.job")
