"""Public sticky props of an engine, on the plane: `zmqfl.streaming.published_props`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.streaming.sites import Sites
from tests.system.federation import until
from zmqfl import Cell
from zmqfl.context.fl_context import FLContextManager
from zmqfl.context.keys import FLContextKey
from zmqfl.context.stickers import Stickers
from zmqfl.errors import ArgumentError, ClosedError, EncodeError
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.published_props import PublishedProps


class Board:
    """Takes the place of a cell's props; values that are None it cannot take."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None

    def set(self, key: str, value: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.done.append(("set", key, value))

    def remove(self, key: str) -> None:
        self.done.append(("remove", key))


def published(board: Board, **options: Any) -> tuple[PublishedProps, FLContextManager]:
    manager = FLContextManager(**options)
    props = PublishedProps(board, manager.stickers)  # type: ignore[arg-type]
    manager.synced = props.sync
    return props, manager


def test_only_public_sticky_props_are_published_when_the_context_is_finalised() -> None:
    board = Board()
    props, manager = published(board)
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
        fl_ctx.set_prop("secret", 1)
        fl_ctx.set_prop("here", 2, private=False, sticky=False)
        assert board.done == []
    assert board.done == [("set", "round", 3)]
    assert repr(props) == "<PublishedProps round>"


def test_with_immediate_stickiness_at_once() -> None:
    board = Board()
    _, manager = published(board, sticky_sync="immediate")
    fl_ctx = manager.new_context()
    fl_ctx.set_prop("round", 3, private=False)
    fl_ctx.set_prop("round", 4, private=False)
    fl_ctx.set_prop("round", 5, private=True)  # refused: attributes never change
    fl_ctx.set_prop("here", 2, private=False, sticky=False)
    assert board.done == [("set", "round", 3), ("set", "round", 4)]


def test_what_is_removed_or_becomes_private_is_withdrawn() -> None:
    board = Board()
    _, manager = published(board)
    for private in (False, True):
        with manager.new_context() as fl_ctx:
            fl_ctx.set_prop("round", 3, private=private)
        manager.remove_sticker("round")
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("phase", 1, private=False)
    manager.stickers.remove("phase")
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("phase", 1, private=True)
    assert board.done == [("set", "round", 3), ("remove", "round"), ("set", "phase", 1), ("remove", "phase")]


@pytest.mark.parametrize("failure", [EncodeError("it is too large"), ArgumentError("no key")])
def test_what_cannot_be_published_costs_a_warning_and_its_former_value(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    board = Board()
    _, manager = published(board)
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
    board.failure = failure
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 4, private=False)
    assert manager.new_context().get_prop("round") == 4
    assert board.done == [("set", "round", 3), ("remove", "round")]
    assert "public prop 'round' is not published, make it private or change its value" in caplog.text


def test_a_closed_cell_is_no_obstacle() -> None:
    board = Board()
    board.failure = ClosedError("cell site-1 is stopped")
    _, manager = published(board)
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
    assert manager.new_context().get_prop("round") == 3


def test_living_objects_are_not_published() -> None:
    board = Board()
    _, manager = published(board)
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop(FLContextKey.RUNNER, "text", private=False)
    assert board.done == []


def test_whoever_syncs_last_is_published_last() -> None:
    """While one publishes, another one writes: the later value is what stands, whoever comes first."""
    board = Board()
    stickers = Stickers({"round": 1}, {})
    props = PublishedProps(board, stickers)  # type: ignore[arg-type]
    entered, go = threading.Event(), threading.Event()
    take = board.set

    def slowly(key: str, value: Any) -> None:
        entered.set()
        assert go.wait(30)
        take(key, value)

    board.set = slowly  # type: ignore[method-assign]
    first = threading.Thread(target=props.sync, args=(["round"],))
    first.start()
    assert entered.wait(30)
    manager = FLContextManager()
    manager.stickers = stickers
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 2, private=False)
    second = threading.Thread(target=props.sync, args=(["round"],))
    second.start()
    go.set()
    first.join(30)
    second.join(30)
    assert board.done == [("set", "round", 1), ("set", "round", 2)]


# -- on cells ----------------------------------------------------------------------------------------------------------


def comes(cell: Cell, of: str, props: dict[str, Any]) -> Callable[[], bool]:
    return lambda: cell.props.of(of) == props


def test_all_cells_read_them(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, relay, leaf, other = sites.federation.tree()
    engine = sites.engine(leaf, publish_props=True)
    with engine.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
        fl_ctx.set_prop("secret", 1)
        fl_ctx.set_prop("lock", threading.Lock(), private=False)
        fl_ctx.set_prop("weights", bytes(40_000), private=False)
    for cell in (server, relay, other):
        until(comes(cell, leaf.fqcn, {"round": 3}))
    with engine.new_context() as fl_ctx:
        fl_ctx.set_prop("round", "over", private=False)
    for cell in (server, relay, other):
        until(comes(cell, leaf.fqcn, {"round": "over"}))
    for name, text in (("lock", "cannot be published"), ("weights", "the plane takes 32768")):
        assert f"public prop '{name}' is not published" in caplog.text
        assert text in caplog.text
    assert engine.new_context().get_prop("weights") == bytes(40_000)


def test_an_engine_publishes_nothing_unless_it_is_told_to(sites: Sites) -> None:
    [server, engine] = sites.star(1)
    assert isinstance(engine, CellEngine)
    with engine.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
    engine.get_cell().props.set("last", 1)
    until(comes(server.get_cell(), "site-1", {"last": 1}))
