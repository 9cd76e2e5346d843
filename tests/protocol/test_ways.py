"""`zmqfl.protocol.ways`: relay-a, whose parent is the server, and its child relay-a.site-1."""

from __future__ import annotations

import pytest

from tests.protocol.cells import AT, PARENT, PARENT_SESSION, bind, node, relay, told
from zmqfl.protocol.node import Node
from zmqfl.protocol.ways import Ways
from zmqfl.wire.messages import Feature, Lane, Welcome

CHILD = "relay-a.site-1"


def below_a_cache(features: int = Feature.RELAY_CACHE) -> Node:
    cell = node("relay-a", has_parent=True)
    cell.connected(Lane.CONTROL, AT)
    told(cell, PARENT, Welcome("server", 90, 500, 700, 1, "server", 1 << 20, features), PARENT_SESSION)
    bind(cell, name=CHILD)
    return cell


@pytest.mark.parametrize(
    ("owner", "cache"),
    [
        ("site-9", "server"),
        ("relay-b.site-1", "server"),
        ("server", ""),
        ("relay-a", ""),
        (CHILD, ""),
        ("relay-a.x", ""),
    ],
)
def test_the_cache_is_the_parent__on_the_way_to_the_owner_and_not_the_owner(owner: str, cache: str) -> None:
    assert Ways(below_a_cache().neighbours).cache_for(owner) == cache


def test_a_parent_that_keeps_no_chunks__no_parent__nobody() -> None:
    for neighbours in (below_a_cache(features=0b10).neighbours, node().neighbours, None):
        assert Ways(neighbours).cache_for("site-9") == ""


def test_a_parent_says_it_anew_when_it_is_bound_again() -> None:
    cell = below_a_cache()
    cell.disconnected(PARENT, AT)
    cell.connected(Lane.CONTROL, AT)
    told(cell, PARENT, Welcome("server", 91, 600, 700, 1, "server", 1 << 20), 2000)
    assert Ways(cell.neighbours).cache_for("site-9") == ""


def test_children() -> None:
    ways = Ways(below_a_cache().neighbours)
    assert [ways.is_child(name) for name in (CHILD, "server", f"{CHILD}.job")] == [True, False, False]
    assert not Ways().is_child(CHILD)


@pytest.mark.parametrize(
    ("owner", "passes"),
    [("site-9", True), ("server", True), ("relay-a", False), (CHILD, False), (f"{CHILD}.job", False), ("a..b", False),
     ("relay-a.unknown", False), ("", False)],
)  # fmt: skip
def test_what_passes_by_to_a_child(owner: str, passes: bool) -> None:
    assert Ways(below_a_cache().neighbours).passes_by(owner, CHILD) == passes
    assert not Ways().passes_by(owner, CHILD)


def test_who_speaks_for_whom() -> None:
    ways = Ways(relay()[0].neighbours)
    for asker in (CHILD, "relay-a", "server"):
        assert ways.speaks_for(asker, CHILD)
    for asker in ("relay-a.site-2", "site-9", f"{CHILD}.job", ""):
        assert not ways.speaks_for(asker, CHILD)
    assert Ways().speaks_for("relay-a", CHILD), "by names alone, while the root is not known"
    assert not Ways().speaks_for("server", CHILD)
