"""The machines of a cell together: `zmqfl.protocol.machines`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocol.cells import AT, CONFIG, TOKEN, WALL, node
from zmqfl.protocol.machines import Machines
from zmqfl.wire.messages import Feature, Lane, Welcome


def test_ids_rise() -> None:
    cell = node()
    assert [cell.next_id(), cell.next_id()] == [1, 2]


def test_deadline_is_the_earliest_of_all_machines() -> None:
    cell = node("site-1", has_parent=True)
    assert not cell.deadline
    cell.connected(Lane.CONTROL, AT)
    assert cell.deadline == AT + 1  # HELLO again
    cell.request(1, ["site-1"], "c", "t", 0, {}, (), 0.3, AT)
    assert cell.deadline == pytest.approx(AT + 0.3)  # the handler's time
    assert not node().deadline


def machines(**more: int) -> Machines:
    return Machines("server", 1, False, replace(CONFIG, **more), lambda: 1, WALL, AT)


def test_who_this_cell_is() -> None:
    root = machines()
    assert root.me() == ("server", TOKEN, 1)
    assert root.wall_ms(AT + 1.5) == WALL + 1500


@pytest.mark.parametrize(("cache", "features"), [(1 << 20, Feature.RELAY_CACHE), (0, Feature.NONE)])
def test_children_are_told_whether_it_keeps_chunks(cache: int, features: Feature) -> None:
    assert machines(relay_cache=cache).welcome() == Welcome(
        "server", 1, TOKEN, 0, 1, "server", CONFIG.segment, int(features)
    )


def test_one_that_is_due_may_make_another_due() -> None:
    cell = machines()
    cell.requester.request(1, ["x"], "c", "t", 0, {}, (), 1.0, None, "", AT)
    assert list(cell.due(AT)) == []
    [requester] = cell.due(AT + 1.6)
    assert requester is cell.requester
