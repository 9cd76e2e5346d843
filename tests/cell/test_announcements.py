"""Announcements between real cells: told once, known to all, early or late, for as long as the offer stands."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import numpy as np
import pytest

from tests.cell.hearing import Heard
from tests.system.federation import LONG, Federation, until
from zmqfl import Announcement, Cell
from zmqfl.cell.announcements import announcement_of, checked_group, places_of
from zmqfl.cell.noticeboard import encode_value
from zmqfl.errors import ArgumentError, ClosedError
from zmqfl.protocol.plane.facts import Fact, bound_topic, rids_topic

Tree = tuple[Cell, Cell, Cell, Cell]


@pytest.fixture
def tree(federation: Federation) -> Tree:
    """server, relay, relay.site-1, site-2"""
    return federation.tree()


def names(cell: Cell, group: str = "") -> list[str]:
    return sorted(each.name for each in cell.announcements(group))


# ------------------------------------------------------------------------------------------------------- who knows what


def test_what_is_announced_all_know_and_can_pull(tree: Tree) -> None:
    server, relay, site, other = tree
    with server.offer(b"weights", name="model.pt", announce="models") as offer:
        expected = Announcement(offer.rid, "server", "models", "model.pt", 7, "file")
        for cell in tree:
            until(lambda: names(cell, "models") == ["model.pt"])  # noqa: B023  it ends before the next one
            assert list(cell.announcements("models")) == list(cell.announcements()) == [expected]
            assert names(cell, "model") == names(cell, "models-2") == []
        for cell in (relay, site, other):
            (each,) = cell.announcements("models")
            assert cell.pull(each.rid, each.owner).result(LONG) == b"weights"


def test_a_leaf_may_announce_too_and_an_object(tree: Tree) -> None:
    _, _, site, other = tree
    with site.offer_object({"w": np.arange(4.0)}, name="model", announce="models"):
        until(lambda: names(other) == ["model"])
        (each,) = other.announcements("models")
        assert (each.kind, each.owner, each.is_live) == ("object", "relay.site-1", True)
        assert other.pull_object(each.rid, each.owner).result(LONG)["w"].tolist() == [0, 1, 2, 3]


def test_late_joiners_know_what_stands_and_not_what_is_over(tree: Tree, federation: Federation) -> None:
    server = tree[0]
    over = server.offer(b"1", name="old", announce="models")
    server.offer(b"2", name="new", announce="models")
    over.withdraw()
    for parent in (server, tree[1]):
        late = federation.start("late" if parent is server else "relay.late", parent, None)
        assert late.props.wait_current(LONG)
        until(lambda: names(late) == ["new"])  # noqa: B023


@pytest.mark.parametrize("end", ["withdraw", "with", "time-out", "owner"])
def test_an_announcement_ends_with_its_offer(tree: Tree, end: str) -> None:
    _, _, site, other = tree
    heard = Heard[Announcement]()
    with other.announcements("models").watch(heard):
        expired = threading.Event()
        timeout = 0.3 if end == "time-out" else LONG
        offer = site.offer(b"1", name="m", announce="models", timeout=timeout, on_expired=lambda *_: expired.set())
        heard.wait(1)
        if end == "withdraw":
            offer.withdraw()
        elif end == "with":
            with offer:
                pass
        elif end == "owner":
            site.close()
        else:
            assert expired.wait(LONG)
        first, second = heard.wait(2)
    assert (first.rid, first.is_live, first.name) == (offer.rid, True, "m")
    assert second == Announcement(offer.rid, "relay.site-1", "models", "", 0, is_live=False)
    assert names(other) == []


def test_an_offer_that_has_ended_is_not_announced_for_good(tree: Tree) -> None:
    server, _, _, other = tree
    offer = server.offer(b"1", name="m")
    offer.withdraw()
    server.announce(offer, "models")
    until(lambda: names(server) == [])
    server.offer(b"2", name="next", announce="models")
    until(lambda: names(other) == ["next"])


def test_one_offer_may_be_announced_to_several_groups(tree: Tree) -> None:
    server, _, _, other = tree
    with server.offer(b"1", name="m", announce="models") as offer:
        server.announce(offer, "backup")
        until(lambda: names(other, "models") == names(other, "backup") == ["m"])
        assert [each.group for each in sorted(other.announcements(), key=lambda each: each.group)] == [
            "backup", "models",
        ]  # fmt: skip
    until(lambda: names(other) == [])


# ------------------------------------------------------------------------------------------------- bound to receivers


def test_what_is_bound_only_its_receivers_of_the_group_hear(tree: Tree) -> None:
    server, relay, site, other = tree
    heard = Heard[Announcement]()
    with other.announcements().watch(heard), relay.announcements().watch(heard):
        offer = server.offer(b"1", name="for-one", announce="models", to=["relay.site-1"])
        until(lambda: names(site, "models") == ["for-one"])
        assert names(site, "others") == []
        (each,) = site.announcements()
        assert each == Announcement(offer.rid, "server", "models", "for-one", 1)
        assert site.pull(each.rid, each.owner).result(LONG) == b"1"
        server.offer(b"2", name="for-all", announce="models")
        assert [each.name for each in heard.wait(2)] == ["for-all", "for-all"]
        offer.withdraw()
        until(lambda: names(site) == ["for-all"])
        assert names(relay) == names(other) == ["for-all"]


def test_what_is_bound_reaches_who_comes_late(tree: Tree, federation: Federation) -> None:
    server = tree[0]
    server.offer(b"1", name="m", announce="models", to=["site-7", "site-2"])
    late = federation.start("site-7", server, None)
    until(lambda: names(late, "models") == ["m"] == names(tree[3]))


# ----------------------------------------------------------------------------------------------------- follow and watch


def test_a_coroutine_hears_what_stands_and_what_comes(tree: Tree) -> None:
    server, _, site, _ = tree
    first = server.offer(b"1", name="first", announce="models")
    server.offer(b"1", name="elsewhere", announce="others")
    until(lambda: names(site) == ["elsewhere", "first"])

    async def main() -> None:
        heard: list[tuple[str, bool]] = []
        async for each in site.announcements("models"):
            heard.append((each.name, each.is_live))
            if len(heard) == 1:
                server.offer(b"2", name="second", announce="models")
            elif len(heard) == 2:
                first.withdraw()
            else:
                break
        assert heard == [("first", True), ("second", True), ("", False)]

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_replay_and_close(tree: Tree) -> None:
    server = tree[0]
    server.offer(b"1", name="first", announce="models")
    heard, new = Heard[Announcement](), Heard[Announcement]()
    with server.announcements("models").watch(new):
        watch = server.announcements("models").watch(heard, replay=True)
        heard.wait(1)
        watch.close()
        server.offer(b"1", name="second", announce="models")
        new.wait_for(lambda items: [each.name for each in items][-1:] == ["second"])
    assert {each.name for each in heard.items} == {"first"}


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("group", ["a/b", "/", "x" * 300, "a\n", 3, None])
def test_a_group_is_a_name(tree: Tree, group: Any) -> None:
    server = tree[0]
    with pytest.raises(ArgumentError, match="a group is a name without '/', of at most 240 characters, not "):
        checked_group(group)
    if group:
        with pytest.raises(ArgumentError):
            server.announcements(group)
        with pytest.raises(ArgumentError):
            server.offer(b"1", announce=group)
        assert not server.transfers()  # and nothing is offered
        with server.offer(b"1") as offer, pytest.raises(ArgumentError):
            server.announce(offer, group)
    with pytest.raises(ArgumentError):
        checked_group("")


def test_a_closed_cell_announces_nothing(federation: Federation) -> None:
    server = federation.start("server")
    offer = server.offer(b"1", name="m", announce="models")
    server.close()
    with pytest.raises(ClosedError):
        server.announce(offer, "others")
    offer.withdraw()


def test_what_an_owner_should_not_have_sent_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    topic = rids_topic("models")
    for value in (3, {"name": 3, "size": 1, "kind": "file"}, {"name": "m", "size": 1}):
        fact = Fact("site-9", 1, 1, 0, topic, "R1", encode_value("R1", value))
        with caplog.at_level(logging.WARNING):
            assert announcement_of(fact) is None
    assert caplog.text.count("what site-9 announces as 'R1' is no offer") == 3
    assert announcement_of(Fact("site-9", 1, 1, 0, topic, "R1", b"\xc1")) is None
    assert "'R1' of site-9 cannot be read" in caplog.text


def test_places() -> None:
    assert places_of("models", "R1", None) == [("rids/models/", "R1")]
    places = places_of("models", "R1", ["a", "b.c"])
    assert places == [("bound/a/", "models/R1"), ("bound/b.c/", "models/R1")]
    gone = announcement_of(Fact("o", 1, 1, 0, bound_topic("a"), "models/R1", None))
    assert gone == Announcement("R1", "o", "models", "", 0, is_live=False)
