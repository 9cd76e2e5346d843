"""The copy of the plane that any thread may read, and its watchers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from msgpack import packb

from tests.cell.hearing import Heard
from tests.system.federation import LONG
from zmqfl.cell.noticeboard import Noticeboard, decode_value, encode_value, follow
from zmqfl.cell.workers import Workers
from zmqfl.errors import ClosedError, DecodeError, EncodeError
from zmqfl.protocol.commands import Command
from zmqfl.protocol.node import Node
from zmqfl.protocol.plane.facts import MAX_BODY, Fact, Word, props_topic, rids_topic

OWN, OTHER = props_topic("site-1"), props_topic("site-2")


class Board:
    """A noticeboard of site-1, whose reactor does in `work` what was submitted."""

    def __init__(self) -> None:
        self.submitted: list[Callable[[float], list[Command]]] = []
        self.at_once: list[list[Word]] = []
        """What the node was given, call by call."""
        self.closed = False
        self.plane = SimpleNamespace(is_current=False)
        self.workers = Workers("test", 1, 4, 8, 1 << 20)
        node = SimpleNamespace(fqcn="site-1", publish=self._publish, plane=self.plane)
        self.board = Noticeboard(cast("Node", node), self.workers, self._submit, lambda: False)
        self.number = 0

    def _submit(self, action: Callable[[float], list[Command]]) -> None:
        if self.closed:
            raise ClosedError("cell site-1 is closed")
        self.submitted.append(action)

    def _publish(self, words: Iterable[Word], now: float) -> list[Command]:
        self.at_once.append(list(words))
        return []

    def work(self) -> None:
        """A pass of the reactor."""
        submitted, self.submitted = self.submitted, []
        for action in submitted:
            action(0.0)

    @property
    def published(self) -> list[tuple[str, str, Any]]:
        self.work()
        words = [word for words in self.at_once for word in words]
        return [(t, k, body if body is None else decode_value(fact("site-1", t, k, body))) for t, k, body in words]

    def tell(self, origin: str, key: str, value: Any, topic: str = "") -> None:
        """The plane says something new; None: no longer."""
        body = None if value is None else encode_value(key, value)
        self.board.changed([fact(origin, topic or props_topic(origin), key, body)])


def fact(origin: str, topic: str, key: str, body: bytes | None) -> Fact:
    return Fact(origin, 1, 1, 0, topic, key, body)


def said(facts: list[Fact]) -> list[tuple[str, str, Any]]:
    return [(each.origin, each.key, None if each.body is None else decode_value(each)) for each in facts]


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.workers.stop(LONG)


# ------------------------------------------------------------------------------------------------- saying and reading


def test_what_a_cell_says_it_reads_at_once_whatever_the_plane_still_says(board: Board) -> None:
    board.board.say(OWN, "round", 1)
    board.board.say(OWN, "round", 2)
    board.tell("site-1", "round", 1)  # comes back late
    assert said(board.board.facts(OWN)) == [("site-1", "round", 2)]
    found = board.board.find(("site-1", OWN, "round"))
    assert found is not None
    assert decode_value(found) == 2
    board.board.withdraw(OWN, "round")
    board.tell("site-1", "round", 2)
    assert board.board.facts(OWN) == []
    assert board.board.find(("site-1", OWN, "round")) is None
    assert board.published == [(OWN, "round", 1), (OWN, "round", 2), (OWN, "round", None)]


def test_what_others_say_stands_until_it_is_over(board: Board) -> None:
    board.tell("site-2", "round", 1)
    board.tell("site-10", "round", 7)
    board.tell("site-2", "R1", {"name": "m"}, rids_topic("models"))
    assert said(board.board.facts(OTHER)) == [("site-2", "round", 1)]
    assert said(board.board.facts(props_topic("site-1"))) == []  # which is no beginning of site-10
    assert len(board.board.facts("props/", "rids/")) == 3
    board.tell("site-2", "round", None)
    board.tell("site-2", "unknown", None)
    assert board.board.facts(OTHER) == []


def test_what_was_not_submitted_is_not_said(board: Board) -> None:
    board.closed = True
    with pytest.raises(ClosedError):
        board.board.say(OWN, "round", 1)
    assert board.board.facts("") == []


# ------------------------------------------------------------------------------------------------------------- watchers


def test_a_burst_is_one_submission_and_told_together(board: Board) -> None:
    for number in range(3):
        board.board.say(OWN, f"key-{number}", number)
    assert len(board.submitted) == 1
    assert board.published == [(OWN, f"key-{number}", number) for number in range(3)]
    board.board.withdraw(OWN, "key-0")
    assert board.published[3:] == [(OWN, "key-0", None)]
    assert [len(words) for words in board.at_once] == [3, 1]


def test_a_board_that_was_closed_before_its_words_were_taken_takes_no_more(board: Board) -> None:
    board.board.say(OWN, "round", 1)
    board.board.close()
    with pytest.raises(ClosedError, match="site-1 is closed"):
        board.board.say(OWN, "round", 2)


def test_a_watcher_hears_its_topics_in_order_on_a_worker(board: Board) -> None:
    heard = Heard[Fact]()
    with board.board.watch((OTHER, "rids/"), heard):
        for number in range(3):
            board.tell("site-2", f"k{number}", number)
        board.tell("site-3", "k", 1)
        board.tell("site-3", "R1", "offer", rids_topic("models"))
        assert said(heard.wait(4)) == [*(("site-2", f"k{n}", n) for n in range(3)), ("site-3", "R1", "offer")]
    assert all(name.startswith("test") for name in heard.threads)


def test_replay_tells_first_what_stands(board: Board) -> None:
    board.board.say(OWN, "mine", 0)
    board.tell("site-2", "round", 1)
    heard, later = Heard[Fact](), Heard[Fact]()
    with board.board.watch(("props/",), heard, replay=True), board.board.watch(("props/",), later):
        assert said(heard.wait(2)) == [("site-1", "mine", 0), ("site-2", "round", 1)]
        board.tell("site-2", "round", 2)
        assert said(heard.wait(3))[2:] == [("site-2", "round", 2)]
        assert said(later.wait(1)) == [("site-2", "round", 2)]


def test_a_slow_watcher_hears_of_each_place_its_latest_and_holds_up_nobody(board: Board) -> None:
    slow, quick = Heard[Fact](held=True), Heard[Fact]()
    with board.board.watch(("props/",), slow), board.board.watch(("props/",), quick):
        board.tell("site-2", "first", 0)
        slow.wait(1)
        for number in range(1, 51):
            board.tell("site-2", "a", number)
            board.tell("site-2", "b", number)
            quick.wait(2 * number + 1)
        board.tell("site-2", "b", None)
        slow.go()
        assert said(slow.wait(3)) == [("site-2", "first", 0), ("site-2", "a", 50), ("site-2", "b", None)]
        quick.wait(102)
    assert len(slow.items) == 3


def test_a_watcher_that_fails_hears_the_next(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard[Fact]()

    def fail(each: Fact) -> None:
        heard(each)
        raise RuntimeError("a watcher's own mistake")

    with board.board.watch(("props/",), fail):
        board.tell("site-2", "a", 1)
        board.tell("site-2", "b", 2)
        heard.wait(2)
    assert "a watcher's own mistake" in caplog.text


def test_a_closed_watch_hears_nothing_not_even_what_waits(board: Board) -> None:
    heard, other = Heard[Fact](held=True), Heard[Fact]()
    watch = board.board.watch(("props/",), heard)
    with board.board.watch(("props/",), other):
        board.tell("site-2", "a", 1)
        heard.wait(1)
        board.tell("site-2", "b", 1)
        watch.close()
        watch.close()
        board.tell("site-2", "c", 1)
        heard.go()
        other.wait(3)
    board.workers.stop(LONG)  # whatever was queued has run
    assert said(heard.items) == [("site-2", "a", 1)]


def test_a_watcher_may_say_and_watch_and_close(board: Board) -> None:
    heard = Heard[Fact]()

    def answer(each: Fact) -> None:
        board.board.say(OWN, "seen", each.key)
        watch.close()
        heard(each)

    watch = board.board.watch((OTHER,), answer)
    board.tell("site-2", "a", 1)
    heard.wait(1)
    assert said(board.board.facts(OWN)) == [("site-1", "seen", "a")]


# -------------------------------------------------------------------------------------------------------------- current


def test_who_waits_for_what_is_current_waits_no_longer(board: Board) -> None:
    first, second = board.board.current(), board.board.current()
    board.work()
    assert not first.done()
    board.tell("site-2", "round", 1)  # something new, and still something is missing
    assert not first.done()
    board.plane.is_current = True
    board.board.changed([])
    assert first.result(LONG)
    assert second.result(LONG)
    third = board.board.current()
    board.work()
    assert third.result(LONG)  # at once


def test_who_waits_when_the_cell_ends_is_told(board: Board) -> None:
    handle = board.board.current()
    board.work()
    board.board.close()
    assert handle.result(LONG) is False


# --------------------------------------------------------------------------------------------------------------- follow


def test_who_follows_slowly_hears_the_latest_of_each_place(board: Board) -> None:
    async def main() -> None:
        closed = threading.Event()

        def watch(put: Callable[[tuple[str, int]], Any]) -> Any:
            for item in (("a", 1), ("b", 1), ("a", 2)):
                asyncio.ensure_future(put(item))  # noqa: RUF006  they end in this test
            return Closing(closed)

        followed = follow(watch, lambda item: item[0])
        heard = [await anext(followed), await anext(followed)]
        assert heard == [("a", 2), ("b", 1)]
        await followed.aclose()
        assert closed.is_set()

    asyncio.run(main())


class Closing:
    """A watch that tells when it is closed."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._closed.set()


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("value", [None, 0, "x", b"\0", [1, (2, {3})], {"a": 1.5}, {("t", 1): None}])
def test_a_value_comes_out_as_it_went_in(value: object) -> None:
    assert decode_value(fact("a", "props/a/", "k", encode_value("k", value))) == value


def test_a_small_array_is_a_value() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = decode_value(fact("a", "props/a/", "k", encode_value("k", array)))
    assert np.array_equal(found, array)
    assert found.dtype == np.float32


def test_a_value_that_cannot_be_published_names_the_key_and_the_remedy() -> None:
    with pytest.raises(EncodeError, match="'lock' cannot be published: "):
        encode_value("lock", threading.Lock())
    with pytest.raises(
        EncodeError, match=rf"'w' has \d+ bytes, and the plane takes {MAX_BODY}; offer it \(`cell.offer`"
    ):
        encode_value("w", b"x" * MAX_BODY)
    assert len(encode_value("w", b"x" * (MAX_BODY - 16))) <= MAX_BODY


@pytest.mark.parametrize("body", [b"", b"\xc1", packb(3), packb(["x"]), packb([b"\xc1"]), packb([])])
def test_what_its_origin_should_not_have_sent(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_value(fact("site-9", "props/site-9/", "k", body))
