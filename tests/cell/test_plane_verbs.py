"""The verbs of a cell for the plane: what they refuse, who hears what, and what the end of a cell ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cell.hearing import Heard
from tests.system.federation import Federation, until
from zmqfl import Announcement, Cell
from zmqfl.cell.props import Prop
from zmqfl.errors import ArgumentError, ClosedError, FqcnError

Tree = tuple[Cell, Cell, Cell, Cell]


@pytest.fixture
def tree(federation: Federation) -> Tree:
    """server, relay, relay.site-1, site-2"""
    return federation.tree()


# ------------------------------------------------------------------------------------------------------- who hears what


def heard_of(cell: Cell) -> set[str]:
    """Keys of props of the server, and groups of what it announces, that a cell knows."""
    return {*cell.props.of("server"), *(each.group for each in cell.announcements())}


def say(server: Cell, number: int) -> None:
    server.props.set("round", number)
    for group in ("models", "others"):
        server.offer(b"1", name=f"m{number}", announce=group)


def test_a_child_hears_what_its_rule_says_and_so_does_who_is_below_it(tree: Tree) -> None:
    server, relay, site, other = tree
    server.set_hearers({"relay": ["rids/models/"], "*": ["props/", "rids/"]})
    say(server, 1)
    until(lambda: heard_of(other) == {"round", "models", "others"})
    until(lambda: heard_of(site) == heard_of(relay) == {"models"})


def test_who_is_not_named_hears_nothing_where_there_is_no_rule_for_others(tree: Tree) -> None:
    server, relay, _, other = tree
    server.set_hearers({"site-2": [""]})
    say(server, 1)
    until(lambda: heard_of(other) == {"round", "models", "others"})
    assert heard_of(relay) == set()
    server.set_hearers(None)
    until(lambda: heard_of(relay) == {"round", "models", "others"})


def test_a_revocation_reaches_who_listens_already(tree: Tree) -> None:
    server, relay, site, other = tree
    revoked, kept = Heard[Prop](), Heard[Prop]()
    with site.props.watch(revoked, "server"), other.props.watch(kept, "server"):
        server.props.set("round", 1)
        revoked.wait(1)
        kept.wait(1)
        server.set_hearers({"relay": ["rids/"], "*": [""]})
        for number in range(2, 10):
            server.props.set("round", number)
        say(server, 10)
        kept.wait_for(lambda items: items[-1].value == 10)
        until(lambda: heard_of(site) >= {"models", "others"})
    assert [each.value for each in revoked.items if each.is_set] == [1]
    relay.props.set("still", "heard")  # who hears less may say what it likes
    until(lambda: other.props.get("relay", "still") == "heard")


def test_a_rule_may_be_set_before_the_start(federation: Federation) -> None:
    server = federation.make("server", listen="tcp://127.0.0.1:*")
    server.set_hearers({"site-1": ["rids/"]})
    server.start()
    site = federation.start("site-1", server, None)
    say(server, 1)
    until(lambda: heard_of(site) == {"models", "others"})


def test_a_rule_names_cells(tree: Tree) -> None:
    with pytest.raises(FqcnError, match=r"rules: 'a\.\.b' is not a cell name"):
        tree[0].set_hearers({"a..b": [""]})


# ------------------------------------------------------------------------------------------------------------- mistakes


def test_an_auto_pull_needs_a_folder(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="nowhere is not a folder; make it first"):
        tree[1].auto_pull("models", tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="a group is a name"):
        tree[1].auto_pull("a/b", tmp_path)


def test_a_closed_cell_does_nothing_more(federation: Federation, tmp_path: Path) -> None:
    server = federation.start("server")
    server.close()
    for refused in (
        lambda: server.auto_pull("models", tmp_path),
        lambda: server.offer(b"1", announce="models"),
        lambda: server.set_hearers(None),
    ):
        with pytest.raises(ClosedError):
            refused()


# ---------------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("number", [1, 3])
def test_the_end_of_a_cell_ends_its_auto_pulls(tree: Tree, tmp_path: Path, number: int) -> None:
    server, _, _, other = tree
    ended = Heard[Announcement]()
    for each in range(number):
        (tmp_path / str(each)).mkdir()
        other.auto_pull("models", tmp_path / str(each), done=lambda each, path, error: ended(each))
    server.offer(b"1", name="m", announce="models")
    ended.wait(number)
    other.close()  # tests/conftest.py sees whether a thread is left


def test_done_may_close_the_cell(tree: Tree, tmp_path: Path) -> None:
    server, _, _, other = tree
    ended = Heard[Announcement]()

    def done(each: Announcement, path: Path | None, error: BaseException | None) -> None:
        other.close()
        ended(each)

    other.auto_pull("models", tmp_path, done=done)
    server.offer(b"1", name="m", announce="models")
    ended.wait(1)
    other.close()
