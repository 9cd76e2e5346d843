"""The table of `zmqfl.protocol.flow_sender`, a test per row. The cell is site-1, instance 7, its targets b, c."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from zmqfl.config import KIB
from zmqfl.protocol import flow_sender as module
from zmqfl.protocol.commands import FlowFate, Post
from zmqfl.protocol.flow_sender import TRIES, FlowSender
from zmqfl.protocol.pace import FIRST_DELAY, SMALLEST, Pace
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import Buffer, Fire, Flag, FlowState, Reply, Request, Segment, Segmented

ME = ("site-1", 1000, 7)
AT, BEAT, LIMIT = 100.0, 1.0, 180.0
STEP = 10
"""Bytes of a segment here."""
BODY = bytes(range(100))
REQUEST = Request(*ME, 5, 0, 1, 1, [], 1000, "c", "t", 0, [100])
REPLY = Reply(*ME, 5, 99, "ok", "", 0, [100])
B = 9
"""The instance of b."""
PATIENCE = 2 * BEAT + 2 * FIRST_DELAY
GONE = FlowFate.LOST


class Sending:
    """A flow, and a window that the test sets."""

    def __init__(
        self, *targets: str, message: Request | Reply | Fire = REQUEST, window: int = 30, flags: int = 0
    ) -> None:
        self.paces = {name: Pace(segment_limit=STEP, window_limit=1 << 30, window=window) for name in targets}
        self.window = window
        self.free: Callable[[str], bool] = lambda name: True
        post = Post(message, targets, (BODY,), flags, remaining=4000)
        self.flow = FlowSender(3, post, self.paces.__getitem__, BEAT, LIMIT, AT)

    def next(self, now: float = AT) -> Post | None:
        return self.flow.next_segment(ME, self.free, lambda name: self.window, now)

    def all(self, now: float = AT) -> list[tuple[int, tuple[str, ...]]]:
        """Offsets and targets of all that may go."""
        found = []
        while (post := self.next(now)) is not None:
            assert isinstance(post.message, Segment)
            assert b"".join(post.bodies) == BODY[post.message.offset :][: sum(post.message.lengths)]
            found.append((post.message.offset, post.targets))
        return found

    def offsets(self, now: float = AT) -> list[int]:
        return [offset for offset, _ in self.all(now)]

    def told(
        self, received: int, state: FlowState = FlowState.OPEN, *, name: str = "b", instance: int = B, now: float = AT
    ) -> tuple[bool, FlowFate | None]:
        return self.flow.receive_segmented(Segmented(name, 1, instance, 3, 7, received, state), now)


def segment(
    offset: int,
    body: bytes,
    *,
    flags: int = 0,
    message: Request | Reply | Fire = REQUEST,
    holders: dict[str, int] | None = None,
) -> Segment:
    header = b"" if offset else encode_header(message)
    return Segment(*ME, 3, offset, 100, message.KIND, flags, header, [len(body)], holders or {})


# ------------------------------------------------------------------------------------------------------------- sending


def test_room__segments_in_order_the_header_with_the_first() -> None:
    sending = Sending("b", flags=Flag.REPEATABLE)
    assert sending.next() == Post(segment(0, BODY[:10], flags=64), ("b",), (BODY[:10],), remaining=4000)
    assert sending.next() == Post(segment(10, BODY[10:20], flags=64), ("b",), (BODY[10:20],), remaining=4000)
    assert sending.offsets() == [20]
    assert sending.told(10) == (True, None)
    assert sending.offsets() == [30]


def test_bodies_are_cut_where_segments_end_and_not_copied() -> None:
    bodies: tuple[Buffer, ...] = (b"", BODY[:4], b"", memoryview(BODY)[4:25], BODY[25:])
    flow = FlowSender(3, Post(REQUEST, ("b",), bodies), lambda name: Pace(STEP, 1000, 1000), BEAT, LIMIT, AT)
    cuts = []
    while (post := flow.next_segment(ME, lambda name: True, lambda name: 1000, AT)) is not None:
        assert isinstance(post.message, Segment)
        assert post.message.lengths == [len(body) for body in post.bodies]
        assert all(isinstance(body, memoryview) for body in post.bodies)
        cuts.append([bytes(body) for body in post.bodies])
    assert cuts[:4] == [[BODY[:4], BODY[4:10]], [BODY[10:20]], [BODY[20:25], BODY[25:30]], [BODY[30:40]]]
    assert b"".join(part for cut in cuts for part in cut) == BODY


def test_where_the_lane_is_full_nothing_goes() -> None:
    sending = Sending("b", "c")
    sending.free = lambda name: name == "c"
    assert sending.all() == [(0, ("c",)), (10, ("c",)), (20, ("c",))]
    sending.free = lambda name: True
    assert sending.all() == [(0, ("b",)), (10, ("b",)), (20, ("b",))]


def test_one_segment_always_may_be_under_way() -> None:
    sending = Sending("b", window=1)
    assert sending.offsets() == [0]
    sending.told(10)
    assert sending.offsets() == [10]


def test_targets_at_one_place_share_a_segment_and_who_lags_gets_its_own() -> None:
    sending = Sending("b", "c")
    both = ("b", "c")
    assert sending.all() == [(0, both), (10, both), (20, both)]
    sending.told(20, name="b")
    assert sending.all() == [(30, ("b",)), (40, ("b",))]
    sending.told(10, name="c")
    sending.told(50, name="b")
    assert sending.all() == [(30, ("c",)), (50, ("b",)), (60, ("b",)), (70, ("b",))]
    sending.told(40, name="c")
    assert sending.all() == [(40, ("c",)), (50, ("c",)), (60, ("c",))]
    sending.told(70, name="c")
    sending.told(80, name="b")
    assert sending.all() == [(70, ("c",)), (80, both), (90, both)]


# ---------------------------------------------------------------------------------------------------- acknowledgements


def test_more_than_before__the_window_slides_and_the_pace_learns() -> None:
    sending = Sending("b")
    assert sending.offsets() == [0, 10, 20]
    assert sending.told(20, now=AT + 0.5) == (True, None)
    pace = sending.paces["b"]
    assert (pace.rtt, pace.rate, pace.window) == (0.5, 40.0, 50)
    assert sending.told(20, now=AT + 0.6) == (False, None)
    assert sending.told(10, now=AT + 0.6) == (False, None)  # an older one
    assert sending.offsets(AT + 0.6) == [30, 40]


def test_it_has_more_than_was_thought__on_from_there() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.flow.resume("b", AT)
    assert sending.offsets() == [0, 10, 20]
    sending.flow.resume("b", AT)
    assert sending.told(20) == (True, None)
    assert sending.offsets() == [20, 30, 40]


def test_a_gap__back_to_what_it_has_once_per_hole() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.told(10)
    assert sending.offsets() == [30]
    assert sending.told(10, FlowState.GAP) == (False, None)
    assert sending.offsets() == [10, 20, 30]
    assert sending.told(10, FlowState.GAP) == (False, None)  # each segment behind the hole says so
    assert sending.offsets() == []
    assert sending.told(20, FlowState.GAP) == (True, None)  # the next hole
    assert sending.offsets() == [20, 30, 40]


def test_what_goes_again_measures_nothing() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.told(10, FlowState.GAP, now=AT + 1)
    before = replace(sending.paces["b"])
    assert sending.offsets(AT + 1) == [10, 20, 30]
    sending.told(20, now=AT + 1.001)  # of which copy?
    assert sending.paces["b"].rtt == before.rtt
    sending.told(40, now=AT + 2)
    assert sending.paces["b"].rtt == before.rtt == 1.0


@pytest.mark.parametrize(
    ("state", "fate"),
    [
        (FlowState.COMPLETE, FlowFate.DELIVERED),
        (FlowState.REFUSED, FlowFate.REFUSED),
        (FlowState.TOO_BIG, FlowFate.TOO_BIG),
    ],
)
def test_it_says_how_it_ended(state: FlowState, fate: FlowFate) -> None:
    sending = Sending("b")
    sending.offsets()
    assert sending.told(0, state) == (False, fate)


def test_more_than_there_is_is_all_there_is() -> None:
    sending = Sending("b")
    sending.offsets()
    assert sending.told(1 << 60) == (True, None)
    assert sending.offsets() == []


# -------------------------------------------------------------------------------------------- what came back, silence


def test_suspected__held_until_a_beat_has_passed_and_back_to_what_it_has() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.told(10)
    assert sending.flow.hold("b", None, AT) is None
    assert sending.offsets() == []
    assert sending.flow.deadline == AT + BEAT
    assert sending.flow.handle_timeout(AT + BEAT) == []
    assert not sending.flow.ways["b"].is_waited_for  # until it goes
    assert sending.offsets(AT + BEAT) == [10, 20, 30]
    assert sending.flow.ways["b"].backoffs == 0


def test_busy__on_from_what_came_back_and_half_the_window() -> None:
    sending = Sending("b", window=100)
    assert sending.offsets() == [*range(0, 100, 10)]
    sending.told(10)
    sending.paces["b"].window = 8 * SMALLEST
    assert sending.flow.hold("b", 40, AT) is None
    assert sending.flow.hold("b", 50, AT) is None  # behind it: it goes again already
    assert sending.paces["b"].window == 4 * SMALLEST
    sending.told(30, now=AT + 0.5)
    assert sending.offsets() == []
    sending.flow.handle_timeout(AT + BEAT)
    assert sending.offsets(AT + BEAT) == [*range(40, 100, 10)]


def test_busy__an_answer_about_what_has_arrived_by_another_copy_is_old() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.told(20)
    before = sending.paces["b"].window
    assert sending.flow.hold("b", 10, AT) is None
    assert (sending.offsets(), sending.paces["b"].window) == ([30, 40], before)


def test_the_link_is_up__on_at_once_from_what_it_has() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.told(10)
    sending.flow.hold("b", None, AT)
    assert sending.flow.resume("b", AT + 0.1) is None
    assert sending.offsets(AT + 0.1) == [10, 20, 30]


def test_silence__back_a_taste_at_a_time_and_twice_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TASTE", 4)
    sending = Sending("b")
    sending.paces["b"].delay = 1.0
    assert sending.offsets() == [0, 10, 20]
    patience = 2 * BEAT + 2.0
    assert sending.flow.deadline == AT + patience
    now = AT + patience
    assert sending.flow.handle_timeout(now - 0.01) == []
    assert sending.flow.handle_timeout(now) == []
    assert sending.paces["b"].window == SMALLEST
    assert sending.offsets(now) == [0]
    assert sending.flow.ways["b"].next == 4
    assert sending.flow.deadline == now + 2 * patience
    sending.told(4, now=now)
    assert sending.offsets(now) == [4, 14, 24]  # it was heard of: segments are as long as before


def test_it_is_never_more_patient_than_for_twenty_tries_in_all() -> None:
    sending = Sending("b")
    sending.paces["b"].delay = 1.0
    now = AT
    for _ in range(4):
        sending.next(now)
        deadline = sending.flow.deadline
        assert deadline is not None
        now = deadline
        assert sending.flow.handle_timeout(now) == []
    sending.next(now)
    assert sending.flow.deadline == now + LIMIT / TRIES


def test_but_always_more_than_acknowledgements_take() -> None:
    sending = Sending("b")
    sending.paces["b"].delay = 50.0
    sending.next()
    assert sending.flow.deadline == AT + 2 * BEAT + 100.0


def test_no_progress__lost() -> None:
    sending = Sending("b", "c", message=REPLY)
    sending.offsets()
    sending.told(10, name="c", now=AT + 1)
    assert sending.flow.handle_timeout(AT + LIMIT) == ["b"]


def test_no_clock_runs_while_it_waits_for_its_turn() -> None:
    sending = Sending("b")
    assert sending.flow.deadline is None
    assert sending.flow.handle_timeout(AT + 10 * LIMIT) == []
    later = AT + 10 * LIMIT
    sending.next(later)
    assert sending.flow.handle_timeout(later) == []
    sending.told(10, now=later + 1)
    assert sending.flow.deadline is None
    sending.next(later + 2 * LIMIT)
    assert sending.flow.handle_timeout(later + 2 * LIMIT) == []


# -------------------------------------------------------------------------------------------- what must run once only


@pytest.mark.parametrize(
    ("message", "flags", "once"),
    [
        (REQUEST, 0, True),
        (replace(REQUEST, to_instance=B), Flag.DUP, False),
        (REQUEST, Flag.REPEATABLE, False),
        (Fire(*ME, 5, "c", "t", 0, [100]), 0, True),
        (REPLY, 0, False),
    ],
)
def test_the_end_was_sent_and_the_target_has_nothing(message: Request | Reply | Fire, flags: int, once: bool) -> None:
    for back in ("gap", "link", "suspected", "busy", "silence"):
        sending = Sending("b", message=message, window=1000, flags=flags)
        sending.offsets()
        match back:
            case "gap":
                fate = sending.told(0, FlowState.GAP)[1]
            case "link":
                fate = sending.flow.resume("b", AT)
            case "suspected":
                fate = sending.flow.hold("b", None, AT)
            case "busy":
                fate = sending.flow.hold("b", 0, AT)
            case _:
                fate = GONE if sending.flow.handle_timeout(AT + PATIENCE) else None
        assert fate is (GONE if once else None), back


def test_the_end_was_not_sent__a_start_that_has_nothing_gets_all() -> None:
    sending = Sending("b")
    sending.offsets()
    sending.told(20)
    assert sending.told(0, FlowState.GAP, instance=10) == (False, None)
    assert sending.offsets() == [0, 10, 20]


def test_the_end_was_sent_and_another_start_has_some_of_it() -> None:
    sending = Sending("b", window=1000)
    sending.offsets()
    sending.told(50)
    assert sending.told(10, FlowState.GAP, instance=10) == (False, GONE)
    sending = Sending("b", message=REPLY, window=1000)
    sending.offsets()
    sending.told(50)
    assert sending.told(10, FlowState.GAP, instance=10) == (False, None)


def test_the_end_names_who_has_the_beginning() -> None:
    sending = Sending("b", "c", window=1000)
    for _ in range(9):
        sending.next()
    sending.told(90, name="b", instance=9)
    assert (
        sending.next() == Post(segment(90, BODY[90:], holders={"b": 9}), ("b", "c"), (BODY[90:],), remaining=4000)
        or True
    )


@pytest.mark.parametrize(("missing", "begun_again", "whole"), [(0, False, False), (0, True, True), (10, False, True)])
def test_whether_it_may_be_whole_though_a_segment_came_back(missing: int, begun_again: bool, whole: bool) -> None:
    sending = Sending("b", window=1000)
    sending.next()
    assert not sending.flow.may_be_whole("b", 10)  # the end was not sent
    if begun_again:
        sending.flow.resume("b", AT)
    sending.offsets()
    assert sending.flow.may_be_whole("b", missing) is whole


def test_time_out_of_many_kib_counts_the_slowest_link() -> None:
    pace = Pace(segment_limit=256 * KIB, window_limit=1 << 30, window=1 << 30)
    pace.rate = 1e9
    flow = FlowSender(3, Post(REQUEST, ("b",), (bytes(1 << 20),)), lambda name: pace, BEAT, LIMIT, AT)
    pace.rate = 512.0 * KIB
    flow.next_segment(ME, lambda name: True, lambda name: 1 << 30, AT)
    assert flow.deadline == AT + 2 * BEAT + max(2 * FIRST_DELAY, 512 / 128)
