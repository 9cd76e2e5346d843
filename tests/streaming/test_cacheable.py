"""Items that are made once, and put together again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.system.federation import LONG, Gate
from zmqfl import Message
from zmqfl.errors import DecodeError
from zmqfl.streaming.cacheable import CACHE_BYTES, CacheableObject, ItemConsumer
from zmqfl.streaming.downloadable import DownloadStatus, ProduceRC


class Items(CacheableObject):
    """Items of the given sizes; `made` counts how often each was made."""

    def __init__(self, *sizes: int, chunk: int = 10, cache: int = CACHE_BYTES, receivers: int = 2) -> None:
        super().__init__("items", chunk, cache)
        self.items = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
        self.made = [0] * len(sizes)
        self.num_receivers = receivers

    def get_item_count(self) -> int:
        return len(self.items)

    def produce_item(self, index: int) -> bytes:
        self.made[index] += 1
        return self.items[index]

    @property
    def kept(self) -> list[int]:
        return sorted(self._cache._items)


class Joined(ItemConsumer):
    def consume_items(self, items: Sequence[bytes | bytearray], result: Any) -> Any:
        return [*(result or []), *map(bytes, items)]


def take(obj: Items, receiver: str = "x", steps: int = 1000) -> tuple[Joined, list[Any]]:
    """What a receiver gets in so many steps, and its chunks."""
    state: dict[str, Any] = {}
    consumer, chunks = Joined(), []
    for _ in range(steps):
        rc, data, after = obj.produce(state, receiver)
        if rc is ProduceRC.EOF:
            consumer.download_completed("R")
            break
        assert rc is ProduceRC.OK
        chunks.append(data)
        state = consumer.consume("R", after, data)
    return consumer, chunks


@pytest.mark.parametrize("sizes", [(), (0,), (3,), (10,), (11,), (5, 5, 1), (1, 25, 0, 9), (30, 30), (1,) * 40])
def test_items_come_whole(sizes: tuple[int, ...]) -> None:
    obj = Items(*sizes)
    for receiver in "xy":
        consumer, chunks = take(obj, receiver)
        assert (consumer.result or []) == obj.items
        assert consumer.items_done == len(sizes)
        for chunk in chunks:
            assert len(chunk["part"]) if "part" in chunk else sum(map(len, chunk["items"])) <= 10
    assert obj.made == [1] * len(sizes)
    assert obj.kept == []  # both are past all


def test_small_items_share_a_chunk() -> None:
    assert [len(chunk["items"]) for chunk in take(Items(*(2,) * 12))[1]] == [5, 5, 2]


def test_the_same_state_gives_the_same_chunk() -> None:
    obj = Items(25, 3)
    state = {"item": 0, "offset": 10}
    assert obj.produce(state, "x") == obj.produce(state, "x") == (
        ProduceRC.OK, {"part": b"A" * 10, "size": 25}, {"item": 0, "offset": 20},
    )  # fmt: skip
    take(obj, "x")
    assert obj.produce(state, "x")[1]["part"] == b"A" * 10  # its reply came late
    assert obj.made == [1, 1]


@pytest.mark.parametrize(
    "state",
    [
        {"item": -1}, {"item": 3}, {"item": True}, {"item": 1.0}, {"item": "1"}, {"item": 0, "offset": -1},
        {"item": 0, "offset": 25}, {"item": 0, "offset": None},
    ],
)  # fmt: skip
def test_states_that_were_never_given(state: dict[str, Any]) -> None:
    assert Items(25, 3).produce(state, "x")[0] is ProduceRC.ERROR


def test_items_are_kept_until_all_have_them() -> None:
    obj = Items(10, 10, 10)
    take(obj, "x")
    assert obj.kept == [0, 1, 2]
    take(obj, "y", steps=2)
    assert obj.kept == [1, 2]  # y has asked for the second
    obj.downloaded_to_one("y", DownloadStatus.FAILED)
    assert obj.kept == []


def test_a_stranger_does_not_keep_items() -> None:
    obj = Items(10, 10)
    take(obj, "stranger", steps=1)
    for receiver in "xy":
        take(obj, receiver)
    assert obj.kept == []


def test_what_is_kept_is_bounded() -> None:
    obj = Items(*(10,) * 9, cache=30)
    take(obj, "slow", steps=1)
    take(obj, "fast")
    assert obj.kept == [0, 1, 8]  # those that the slow one needs next, and where the fast one was
    assert take(obj, "slow")[0].result == obj.items
    assert obj.made[:2] == [1, 1]
    assert max(obj.made) == 2


def test_nothing_is_kept_after_the_release() -> None:
    obj = Items(10, 10)
    take(obj, "x")
    obj.release()
    assert obj.kept == []


def test_receivers_that_come_together_wait_for_one_item() -> None:
    gate = Gate()

    class Slow(Items):
        def produce_item(self, index: int) -> bytes:
            gate(Message())
            return super().produce_item(index)

    obj, got = Slow(5, receivers=8), list[Any]()
    threads = [threading.Thread(target=lambda: got.append(obj.produce({}, threading.current_thread().name)))
               for _ in range(8)]  # fmt: skip
    for thread in threads:
        thread.start()
    gate.wait_entered()
    gate.open()
    for thread in threads:
        thread.join(LONG)
    assert obj.made == [1]
    assert [data for _, data, _ in got] == [{"items": [b"AAAAA"]}] * 8


def test_an_item_that_cannot_be_made_may_be_tried_again() -> None:
    class Failing(Items):
        def produce_item(self, index: int) -> bytes:
            if super().produce_item(index) and self.made[index] == 1:
                raise OSError("not now")
            return self.items[index]

    obj = Failing(5)
    with pytest.raises(OSError, match="not now"):
        obj.produce({}, "x")
    assert take(obj)[0].result == obj.items


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_chunk_sizes_that_cannot_be(size: Any) -> None:
    with pytest.raises(ValueError, match="max_chunk_size"):
        Items(chunk=size)


# -- the receiver ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        [3], [{}], [{"items": [3]}], [{"items": b"x"}], [{"part": "x", "size": 1}], [{"part": b"xy", "size": 1}],
        [{"part": b"x", "size": 2}, {"items": [b"y"]}], [{"part": b"x", "size": 2}, {"part": b"xy", "size": 2}],
    ],
)  # fmt: skip
def test_chunks_that_are_none(chunks: list[Any]) -> None:
    consumer, [*good, bad] = Joined(), chunks
    for chunk in good:
        consumer.consume("R", {}, chunk)
    with pytest.raises(DecodeError):
        consumer.consume("R", {}, bad)


def test_the_last_item_is_not_whole() -> None:
    consumer = Joined()
    consumer.consume("R", {}, {"part": b"x", "size": 2})
    with pytest.raises(DecodeError, match="ends after 1 bytes"):
        consumer.download_completed("R")


def test_more_than_the_limit() -> None:
    consumer = Joined(limit=5)
    consumer.consume("R", {}, {"items": [b"xxx"]})
    with pytest.raises(DecodeError, match="object_limit"):
        consumer.consume("R", {}, {"part": b"xxx", "size": 9})
    consumer.download_failed("R", "too much")
    assert consumer.error == "too much"
