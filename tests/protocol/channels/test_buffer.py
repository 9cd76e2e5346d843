"""The table of `zmqfl.protocol.channels.buffer`: policies, thinning out, bounds, and counts that add up."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.values import bounded
from zmqfl.errors import ArgumentError
from zmqfl.protocol.channels.buffer import Buffer, BufferStatistics, BufferTerms, Policy


class Thing(NamedTuple):
    number: int
    size: int = 1


def things(*numbers: int, size: int = 1) -> list[Thing]:
    return [Thing(number, size) for number in numbers]


def buffer(policy: Policy, items: int | None = 3, size: int = 1000, **more: object) -> Buffer[Thing]:
    return Buffer(BufferTerms(policy, items, size, **more))  # type: ignore[arg-type]


def put(to: Buffer[Thing], *numbers: int, now: float = 0.0) -> list[int]:
    """Offer one at a time; the numbers that its writer hears of."""
    return [item.number for number in numbers for item in to.offer(things(number), now)]


def numbers(of: Buffer[Thing]) -> list[int]:
    return [item.number for item in of.items()]


def check(counts: BufferStatistics) -> None:
    assert counts.offered == counts.decimated + counts.dropped + counts.delivered + counts.queued


def test_chan_R1_a_ring_keeps_the_last_in_order() -> None:
    ring = buffer(Policy.RING)
    assert put(ring, 0, 1, 2, 3, 4, 5) == []
    assert numbers(ring) == [3, 4, 5]
    assert (ring.dropped, ring.high_water) == (3, 3)


def test_chan_R2_clear_leaves_exactly_the_one_that_found_it_full() -> None:
    clear = buffer(Policy.CLEAR)
    put(clear, 0, 1, 2, 3)
    assert (numbers(clear), clear.dropped) == ([3], 3)
    put(clear, 4)
    assert numbers(clear) == [3, 4]


def test_chan_R3_skip_keeps_the_first() -> None:
    skip = buffer(Policy.SKIP)
    assert put(skip, 0, 1, 2, 3, 4) == []
    assert (numbers(skip), skip.dropped) == ([0, 1, 2], 2)


def test_chan_R4_wait_tells_how_many_may_be_offered() -> None:
    wait = buffer(Policy.WAIT)
    assert wait.room(things(0, 1, 2, 3, 4), 0.0) == 3
    wait.offer(things(0, 1, 2), 0.0)
    assert wait.room(things(3), 0.0) == 0
    assert wait.take(most=1) == things(0)
    assert wait.room(things(3, 4), 0.0) == 1


def test_chan_R4_wait_counts_what_is_thinned_out_as_room() -> None:
    wait = buffer(Policy.WAIT, items=1, every=2)
    assert wait.room(things(1, 2, 3, 4), 0.0) == 3
    wait.offer(things(1, 2, 3), 0.0)
    assert numbers(wait) == [2]


def test_chan_R5_raise_gives_back_what_its_writer_must_hear_of() -> None:
    refuse = buffer(Policy.RAISE)
    assert put(refuse, 0, 1, 2, 3, 4) == [3, 4]
    assert (numbers(refuse), refuse.dropped) == ([0, 1, 2], 2)


@pytest.mark.parametrize(("every", "first", "kept"), [
    (2, False, [2, 4, 6, 8, 10]), (3, False, [3, 6, 9]), (3, True, [1, 4, 7, 10]), (1, False, list(range(1, 11))),
])  # fmt: skip
def test_chan_R6_one_in_so_many_stays(every: int, first: bool, kept: list[int]) -> None:
    thinned = buffer(Policy.RING, items=100, every=every, first=first)
    put(thinned, *range(1, 11))
    assert (numbers(thinned), thinned.decimated) == (kept, 10 - len(kept))


def test_chan_R6_by_frequency() -> None:
    thinned = buffer(Policy.RING, items=100, hz=2.0)
    for tenth in range(21):
        put(thinned, tenth, now=tenth / 10)
    assert numbers(thinned) == [0, 5, 10, 15, 20]
    assert thinned.decimated == 16


def test_chan_R8_counts_at_each_step() -> None:
    ring = buffer(Policy.RING, every=2)
    put(ring, *range(10))
    assert ring.statistics() == BufferStatistics(10, 5, 2, 0, 3, 0, 3, 3)
    taken = ring.take(most=2)
    assert (ring.queued, len(ring)) == (3, 1)
    ring.settle(len(taken), 2)
    assert ring.statistics() == BufferStatistics(10, 5, 2, 2, 1, 2, 1, 3)
    ring.take()
    ring.lose()
    assert ring.statistics() == BufferStatistics(10, 5, 3, 2, 0, 2, 0, 3)


def test_chan_R9_bytes_bound_it_too() -> None:
    ring = buffer(Policy.RING, items=None, size=10)
    ring.offer(things(1, 2, 3, size=4), 0.0)
    assert numbers(ring) == [2, 3]
    ring.offer(things(4, size=9), 0.0)
    assert numbers(ring) == [4]
    assert ring.in_queue == 9


@pytest.mark.parametrize("policy", Policy)
def test_chan_R9_an_item_above_the_bytes_is_refused_under_each_policy(policy: Policy) -> None:
    small = buffer(policy, size=10)
    small.offer(things(1), 0.0)
    assert small.room(things(2, size=11), 0.0) == 1
    assert small.offer(things(2, size=11), 0.0) == things(2, size=11)
    assert (numbers(small), small.dropped) == ([1], 1)


def test_take_gives_what_fits_and_one_in_any_case() -> None:
    ring = buffer(Policy.RING, items=None)
    ring.offer(things(1, 2, 3, size=4), 0.0)
    assert ring.take(size=9) == things(1, 2, size=4)
    assert ring.take(size=1) == things(3, size=4)
    assert ring.take() == []
    assert ring.oldest is None


@pytest.mark.parametrize(("field", "value"), [
    ("policy", "ring-ish"), ("items", 0), ("items", True), ("size", 0), ("every", 0), ("every", 1.5), ("hz", 0.0),
    ("hz", float("nan")), ("hz", "1"),
])  # fmt: skip
def test_terms_that_cannot_be_had_name_the_field(field: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=field):
        BufferTerms(**{field: value})  # type: ignore[arg-type]


def test_a_repr_is_one_line() -> None:
    ring = buffer(Policy.RING)
    put(ring, 1, 2, 3, 4)
    assert repr(ring) == "<Buffer ring 3 items, 3 bytes; 4 offered, 0 decimated, 1 dropped, 0 delivered>"


class Model:
    """The same in the plainest words: one item at a time, nothing kept beside the list."""

    def __init__(self, terms: BufferTerms) -> None:
        self.terms, self.kept, self.number, self.at = terms, list[Thing](), 0, -1e9

    def full(self, item: Thing) -> bool:
        most = self.terms.items
        too_many = most is not None and len(self.kept) + 1 > most
        return too_many or sum(each.size for each in self.kept) + item.size > self.terms.size

    def offer(self, item: Thing, now: float) -> str:
        t = self.terms
        self.number += 1
        if (self.number - t.first) % t.every or (t.hz is not None and now < self.at):
            return "decimated"
        if t.hz is not None:
            self.at = now + 1 / t.hz
        if item.size > t.size:
            return "refused"
        if self.full(item):
            match t.policy:
                case Policy.SKIP:
                    return "dropped"
                case Policy.RAISE:
                    return "refused"
                case Policy.CLEAR:
                    self.kept = []
            while self.full(item):
                del self.kept[0]
        self.kept.append(item)
        return "kept"


TERMS = st.builds(
    BufferTerms,
    st.sampled_from(list(Policy)),
    st.none() | st.integers(1, 5),
    st.integers(1, 12),
    st.integers(1, 3),
    st.booleans(),
    st.none() | st.sampled_from([0.5, 1.0, 4.0]),
)
Steps = list[tuple[str, object, float]]
STEPS = st.lists(
    st.tuples(st.just("offer"), st.lists(st.integers(0, 15), max_size=6), st.sampled_from([0.0, 0.1, 1.0]))
    | st.tuples(st.just("take"), st.integers(1, 20), st.integers(1, 4))
    | st.tuples(st.just("settle"), st.just(0), st.just(0))
    | st.tuples(st.just("clear"), st.just(0), st.just(0)),
    max_size=40,
)


@bounded
@given(TERMS, STEPS)
def test_chan_R8_any_steps_do_as_the_model_and_add_up(terms: BufferTerms, steps: Steps) -> None:
    real: Buffer[Thing] = Buffer(terms)
    model, number, now, under_way = Model(terms), 0, 0.0, list[Thing]()
    for what, first, second in steps:
        match what, first:
            case "offer", list(sizes):
                now += second
                items = [Thing(number + index, size) for index, size in enumerate(sizes)]
                room = real.room(items, now)
                assert terms.policy is Policy.WAIT or room == len(items)
                if room < len(items):  # the next one is indeed one too many
                    before = Model(terms)
                    before.kept, before.number, before.at = list(model.kept), model.number, model.at
                    fates = [before.offer(item, now) for item in items[:room]]
                    assert before.full(items[room]), fates
                number += room
                refused = [item for item in items[:room] if model.offer(item, now) == "refused"]
                assert real.offer(items[:room], now) == refused
            case "take", int(size):
                taken = real.take(size, second)
                assert taken == model.kept[: len(taken)]
                del model.kept[: len(taken)]
                under_way += taken
            case "settle", _:
                real.settle(len(under_way), sum(item.size for item in under_way))
                under_way = []
            case _:
                real.clear()
                model.kept = []
        assert real.items() == model.kept
        assert real.held == sum(item.size for item in [*model.kept, *under_way])
        assert real.in_queue <= terms.size
        assert terms.items is None or len(real) <= terms.items
        check(real.statistics())
    real.lose()
    check(real.statistics())
    assert real.queued == real.held == 0
