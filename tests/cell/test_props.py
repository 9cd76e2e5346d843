"""Public props, between real cells: what each says, all know, in threads and in coroutines."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import numpy as np
import pytest

from tests.cell.hearing import Heard
from tests.system.federation import LONG, Federation, until
from zmqfl import Cell
from zmqfl.cell.noticeboard import Noticeboard
from zmqfl.cell.props import Prop, check_prop, prop_of
from zmqfl.errors import ArgumentError, ClosedError, EncodeError, FqcnError
from zmqfl.protocol.plane.facts import MAX_KEY, Fact

Tree = tuple[Cell, Cell, Cell, Cell]


@pytest.fixture
def tree(federation: Federation) -> Tree:
    """server, relay, relay.site-1, site-2"""
    return federation.tree()


# ----------------------------------------------------------------------------------------------------- what all know


@pytest.mark.parametrize("speaker", range(4))
def test_what_one_cell_sets_all_know(tree: Tree, speaker: int) -> None:
    name = tree[speaker].fqcn
    tree[speaker].props.set("state", {"round": 3, "done": (1, 2)})
    until(lambda: all(cell.props.get(name, "state") for cell in tree))
    for cell in tree:
        assert cell.props.of(name) == {"state": {"round": 3, "done": (1, 2)}}
        assert cell.props.all() == {name: {"state": {"round": 3, "done": (1, 2)}}}


def test_a_cell_reads_its_own_writes_at_once(tree: Tree) -> None:
    props = tree[3].props
    for number in range(100):
        props.set("round", number)
        assert props.get("site-2", "round") == number
        assert tree[3].props.of("site-2") == {"round": number}
    props.remove("round")
    assert props.get("site-2", "round") is None
    assert props.get("site-2", "round", 7) == 7
    assert props.all() == {}


def test_a_cell_that_was_cut_off_reads_its_own_writes(federation: Federation) -> None:
    alone = federation.start("site-1", "tcp://127.0.0.1:1", None, connected=False)
    alone.props.set("round", 1)
    assert alone.props.of("site-1") == {"round": 1}


def test_what_is_removed_all_forget(tree: Tree) -> None:
    _, _, site, other = tree
    site.props.set("a", 1)
    site.props.set("b", 2)
    until(lambda: other.props.of("relay.site-1") == {"a": 1, "b": 2})
    site.props.remove("a")
    site.props.remove("never set")
    until(lambda: all(cell.props.of("relay.site-1") == {"b": 2} for cell in tree))


def test_a_late_joiner_knows_what_was_said_and_a_gone_cell_says_nothing(tree: Tree, federation: Federation) -> None:
    server, relay, site, _ = tree
    site.props.set("round", 3)
    until(lambda: server.props.get("relay.site-1", "round") == 3)
    late = federation.start("relay.site-9", relay, None)
    assert late.props.wait_current(LONG)
    assert late.props.get("relay.site-1", "round") == 3
    site.close()
    until(lambda: late.props.all() == {} == server.props.all())


def test_names_are_not_mixed_up(federation: Federation) -> None:
    server = federation.start("server")
    one, ten = federation.start("site-1", server, None), federation.start("site-10", server, None)
    one.props.set("round", 1)
    ten.props.set("round", 10)
    until(lambda: server.props.all() == {"site-1": {"round": 1}, "site-10": {"round": 10}})
    assert server.props.of("site-1") == {"round": 1}
    assert server.props.get(" site-1 ", "round") == 1
    heard = Heard[Prop]()
    with server.props.watch(heard, "site-1", replay=True):
        ten.props.set("round", 11)
        until(lambda: server.props.get("site-10", "round") == 11)
        one.props.set("round", 2)
        assert [(each.cell, each.value) for each in heard.wait(2)] == [("site-1", 1), ("site-1", 2)]


def test_an_array_is_the_readers_own(tree: Tree) -> None:
    server, _, site, _ = tree
    given = np.zeros(4)
    site.props.set("loss", given)
    given += 1  # what was set is fixed
    until(lambda: server.props.get("relay.site-1", "loss") is not None)
    found = server.props.get("relay.site-1", "loss")
    assert found.tolist() == [0.0] * 4
    found += 5
    assert server.props.get("relay.site-1", "loss").tolist() == [0.0] * 4


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY + 1), 3, None, b"k"])
def test_a_key_is_a_name(tree: Tree, key: Any) -> None:
    said = "the key of a prop is a str of 1 to 1024 characters, not "
    with pytest.raises(ArgumentError, match=said):
        tree[0].props.set(key, 1)
    with pytest.raises(ArgumentError, match=said):
        tree[0].props.remove(key)
    with pytest.raises(ArgumentError, match=said):
        check_prop(key, 1)
    assert tree[0].props.all() == {}


def test_a_value_that_cannot_travel_changes_nothing(tree: Tree) -> None:
    props = tree[0].props
    props.set("state", 1)
    for value, said in ((threading.Lock(), "'state' cannot be published: "), (b"x" * 40_000, "'state' has 40")):
        with pytest.raises(EncodeError, match=said):
            props.set("state", value)
        with pytest.raises(EncodeError, match=said):
            check_prop("state", value)
    assert props.get("server", "state") == 1


def test_a_name_of_a_cell_is_one(tree: Tree) -> None:
    with pytest.raises(FqcnError):
        tree[0].props.of("a..b")
    with pytest.raises(FqcnError):
        tree[0].props.get("", "k")
    with pytest.raises(FqcnError):
        tree[0].props.watch(print, "a b")


def test_a_cell_that_does_not_run_says_nothing(federation: Federation) -> None:
    cell = federation.make("server", listen="tcp://127.0.0.1:*")
    with pytest.raises(ClosedError, match="is not started"):
        cell.props.set("round", 1)
    cell.start()
    cell.props.set("round", 1)
    cell.close()
    with pytest.raises(ClosedError):
        cell.props.set("round", 2)
    with pytest.raises(ClosedError):
        cell.props.remove("round")
    with pytest.raises(ClosedError):
        cell.props.current()
    assert cell.props.get("server", "round") == 1  # what was known may be read


def test_what_an_origin_should_not_have_sent_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert prop_of(Fact("site-9", 1, 1, 0, "props/site-9/", "k", b"\xc1")) is None
    assert "'k' of site-9 cannot be read" in caplog.text
    assert prop_of(Fact("a", 1, 1, 0, "props/a/", "k", None)) == Prop("a", "k", None, is_set=False)


# ---------------------------------------------------------------------------------------------------------------- watch


def test_a_watcher_hears_each_change_of_what_it_watches(tree: Tree) -> None:
    server, relay, _, other = tree
    heard, keyed = Heard[Prop](), Heard[Prop]()
    with server.props.watch(heard, "site-2"), server.props.watch(keyed, key="loss"):
        for number, (key, value) in enumerate((("round", 1), ("loss", 0.5)), 1):
            other.props.set(key, value)
            heard.wait(number)
        relay.props.set("loss", 0.25)
        keyed.wait(2)
        other.props.remove("round")
        assert heard.wait(3) == [
            Prop("site-2", "round", 1), Prop("site-2", "loss", 0.5), Prop("site-2", "round", None, is_set=False),
        ]  # fmt: skip
    assert keyed.items == [Prop("site-2", "loss", 0.5), Prop("relay", "loss", 0.25)]


def test_the_order_of_one_cells_changes_is_kept_and_the_last_is_never_missed(tree: Tree) -> None:
    _, _, site, other = tree
    heard = Heard[Prop]()
    with other.props.watch(heard, "relay.site-1"):
        for number in range(300):
            site.props.set("round", number)
        values = [prop.value for prop in heard.wait_for(lambda items: bool(items) and items[-1].value == 299)]
    assert values == sorted(set(values))


def test_replay_and_close(tree: Tree) -> None:
    server, _, _, other = tree
    other.props.set("round", 1)
    until(lambda: server.props.get("site-2", "round") == 1)
    heard, after = Heard[Prop](), Heard[Prop]()
    watch = server.props.watch(heard, replay=True)
    assert heard.wait(1) == [Prop("site-2", "round", 1)]
    watch.close()
    with server.props.watch(after, replay=True):
        after.wait(1)
        other.props.set("round", 2)
        after.wait(2)
    assert heard.items == [Prop("site-2", "round", 1)]


def test_a_watcher_may_be_a_coroutine_function(tree: Tree) -> None:
    server, _, site, _ = tree

    async def main() -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        heard: list[Any] = []

        async def look(prop: Prop) -> None:
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            heard.append(prop.value)
            came.set()

        with server.props.watch(look, "relay.site-1"):
            for number in range(3):
                site.props.set("round", number)
                await asyncio.wait_for(came.wait(), LONG)
                came.clear()
        assert heard == [0, 1, 2]

    asyncio.run(main())


def test_changes_in_a_coroutine(tree: Tree) -> None:
    server, _, site, other = tree
    other.props.set("round", 7)

    async def main() -> None:
        await asyncio.wait_for(site.props.current(), LONG)
        heard = []
        changes = site.props.changes()
        async for prop in changes:
            heard.append((prop.cell, prop.value))
            if len(heard) == 1:
                server.props.set("round", 1)
            elif len(heard) == 2:
                server.props.remove("round")
            else:
                break
        await changes.aclose()
        assert heard == [("site-2", 7), ("server", 1), ("server", None)]
        only = site.props.changes("server", replay=False)
        waiting = asyncio.ensure_future(anext(only))
        await asyncio.sleep(0)  # it watches
        other.props.set("round", 8)
        server.props.set("round", 2)
        assert (await asyncio.wait_for(waiting, LONG)).cell == "server"
        await only.aclose()

    until(lambda: site.props.get("site-2", "round") == 7)
    asyncio.run(main())
    assert watches(site._board) == 0


def watches(board: Noticeboard) -> int:
    return len(board._watches)


def test_who_ends_its_loop_while_it_waits_leaves_no_watch(tree: Tree) -> None:
    server = tree[0]

    async def main() -> None:
        async for _ in server.props.changes():
            raise AssertionError("nothing was said")

    async def give_up() -> None:
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(give_up())
    assert watches(server._board) == 0


# -------------------------------------------------------------------------------------------------------------- current


def test_wait_current(federation: Federation) -> None:
    server = federation.start("server")
    assert server.props.wait_current(LONG)  # the root is, always
    site = federation.start("site-1", server, None)
    assert site.props.wait_current(LONG)
    assert site.props.wait_current(LONG)
    alone = federation.start("site-2", "tcp://127.0.0.1:1", None, connected=False)
    assert not alone.props.wait_current(0.01)
    ended = alone.props.current()
    alone.close(0)
    assert ended.result(LONG) is False


def test_links_alone_tell_it_where_only_one_port_is_open(federation: Federation) -> None:
    server = federation.start("server", plane=None)
    relay = federation.start("relay", server, plane=None)
    site = federation.start("relay.site-1", relay, None)
    heard = Heard[Prop]()
    with site.props.watch(heard, "server"):
        server.props.set("round", 1)
        assert heard.wait(1) == [Prop("server", "round", 1)]
    site.props.set("round", 2)
    until(lambda: server.props.get("relay.site-1", "round") == 2)
