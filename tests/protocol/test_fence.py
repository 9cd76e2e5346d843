from __future__ import annotations

from zmqfl.protocol import fence
from zmqfl.protocol.fence import MAX_TOKEN, MOST_NAMES, FenceTable


def test_a_token_is_of_the_clock_and_above_all_that_were_seen() -> None:
    fences = FenceTable()
    assert fences.issue("site-1", clock_ms=1000) == 1001
    assert fences.issue("site-1", clock_ms=1000) == 1002
    assert fences.issue("site-1", clock_ms=5) == 1003  # the clock was set back
    assert fences.issue("site-2", clock_ms=5) == 6


def test_a_lower_token_is_refused_once_a_higher_one_was_seen() -> None:
    fences = FenceTable()
    assert fences.admit("site-1", 7)
    assert fences.admit("site-1", 7)
    assert fences.admit("site-1", 9)
    assert not fences.admit("site-1", 8)
    assert fences.highest("site-1") == 9
    assert fences.is_stale("site-1", 8)
    assert not fences.is_stale("site-1", 9)
    assert fences.admit("site-2", 0)
    assert fences.highest("site-2") == 0


def test_a_token_that_no_clock_can_make_is_refused() -> None:
    fences = FenceTable()
    assert not fences.admit("site-1", MAX_TOKEN)
    assert fences.highest("site-1") == 0
    assert fences.admit("site-1", MAX_TOKEN - 1)


def test_the_parent_may_go_back() -> None:
    fences = FenceTable()
    fences.admit("server", 9)
    fences.reset("server", 3)
    assert fences.admit("server", 3)
    assert not fences.admit("server", 2)


def test_the_name_whose_token_changed_longest_ago_is_dropped_when_there_are_too_many() -> None:
    fences = FenceTable()
    for i in range(MOST_NAMES):
        fences.admit(f"site-{i}", 5)
    fences.admit("site-0", 6)
    fences.admit("one-more", 5)
    assert fences.highest("site-0") == 6
    assert fences.highest("site-1") == 0
    assert fences.highest("site-2") == 5


def test_a_claim_of_ten_years_ahead_leaves_room_below_the_greatest_token() -> None:
    assert 2 * fence.CLOCK_ERROR < MAX_TOKEN
