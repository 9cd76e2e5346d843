"""Objects that are a sequence of items, such as the arrays of a model: an item is made once, however many take it.

A chunk has one or more whole items, `{"items": [bytes, ...]}`, or a part of one that is larger than a chunk,
`{"part": bytes, "size": bytes of the item}`. The state is `{"item": index, "offset": bytes}`.

An item is kept until all receivers are past it. Beyond `cache_bytes` those that nobody is at go first, the last ones of
them before others, as they are needed last; whoever comes to them has them made again. Source: reference "flare" 4.7.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from math import inf
from typing import Any, Final

from zmqfl.cell.transfer_verbs import CHUNK
from zmqfl.cell.workers import blocked
from zmqfl.config import KIB, MIB
from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.streaming.downloadable import Consumer, Downloadable, DownloadStatus, ProduceRC

CACHE_BYTES: Final = 256 * MIB
"""Bytes of items that are kept, beside those that receivers are at."""
ITEMS_CHUNK: Final = CHUNK - 64 * KIB
"""Bytes of a chunk: with what is around its items it fits a message of one segment."""
MOST_ITEMS: Final = 1024
"""Items of one chunk."""


class CacheableObject(Downloadable):
    """See the module. `obj`: what it is made of. `max_chunk_size`: bytes of a chunk, somewhat below 1 MiB
    unless given. `cache_bytes`: see there. Raises `ArgumentError`."""

    def __init__(self, obj: Any, max_chunk_size: int | None = None, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(obj)
        if max_chunk_size is not None and (type(max_chunk_size) is not int or max_chunk_size <= 0):
            raise ArgumentError(f"max_chunk_size must be a whole number of bytes above 0, not {max_chunk_size!r}")
        self._chunk = max_chunk_size or ITEMS_CHUNK
        self._cache = _ItemCache(cache_bytes)

    @abstractmethod
    def get_item_count(self) -> int:
        """How many items there are; always the same."""

    @abstractmethod
    def produce_item(self, index: int) -> bytes:
        """Item number `index` as bytes. Several may be asked for at once, by several threads."""

    def produce(self, state: dict[str, Any], requester: str) -> tuple[ProduceRC, Any, dict[str, Any]]:
        """The chunk that belongs to a state; see `Downloadable`."""
        index, offset = state.get("item", 0), state.get("offset", 0)
        count = self.get_item_count()
        if type(index) is not int or type(offset) is not int or not 0 <= index <= count or offset < 0:
            return ProduceRC.ERROR, None, {}
        self._cache.come_to(index, requester, self.num_receivers)
        if index == count:
            return ProduceRC.EOF, None, {}
        item = self._item(index)
        if offset or len(item) > self._chunk:
            return self._part(index, offset, item)
        return self._items(index, count, item)

    def downloaded_to_one(self, to_receiver: str, status: DownloadStatus) -> None:
        """Keep nothing for a receiver that has ended."""
        self._cache.come_to(inf, to_receiver, self.num_receivers)

    def release(self) -> None:
        """Keep nothing."""
        self._cache.clear()

    def _part(self, index: int, offset: int, item: bytes) -> tuple[ProduceRC, Any, dict[str, Any]]:
        if offset >= len(item):
            return ProduceRC.ERROR, None, {}
        end = offset + self._chunk
        after = {"item": index, "offset": end} if end < len(item) else {"item": index + 1, "offset": 0}
        return ProduceRC.OK, {"part": item[offset:end], "size": len(item)}, after

    def _items(self, index: int, count: int, item: bytes) -> tuple[ProduceRC, Any, dict[str, Any]]:
        items, size = [item], len(item)
        while index + len(items) < min(count, index + MOST_ITEMS):
            following = self._item(index + len(items))
            size += len(following)
            if size > self._chunk:
                break  # it is kept: the next chunk begins with it
            items.append(following)
        return ProduceRC.OK, {"items": items}, {"item": index + len(items), "offset": 0}

    def _item(self, index: int) -> bytes:
        future, is_mine = self._cache.claim(index)
        if is_mine:
            try:
                future.set_result(self.produce_item(index))
            except BaseException as error:  # noqa: BLE001  raised below, and at all that wait for it
                self._cache.drop(index)
                future.set_exception(error)
        with blocked():
            return future.result()


class _ItemCache:
    """Items, or the promise of one, by index. All threads may use it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._items: dict[int, Future[bytes]] = {}
        self._places: dict[str, float] = {}
        """The item that each receiver is at."""
        self._lock = threading.Lock()

    def claim(self, index: int) -> tuple[Future[bytes], bool]:
        """The item, and whether the caller has to make it."""
        with self._lock:
            if (future := self._items.get(index)) is not None:
                return future, False
            future = self._items[index] = Future()
            return future, True

    def drop(self, index: int) -> None:
        """It could not be made."""
        with self._lock:
            self._items.pop(index, None)

    def come_to(self, index: float, receiver: str, num_receivers: int) -> None:
        """A receiver is past all items below `index`."""
        with self._lock:
            self._places[receiver] = index
            places = self._places.values()
            if num_receivers and len(places) >= num_receivers:
                first = sorted(places)[-num_receivers]  # the slowest of those that count
                for passed in [each for each in self._items if each < first]:
                    del self._items[passed]
            self._shrink()

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._items.clear()
            self._places.clear()

    def _shrink(self) -> None:
        sizes = {index: len(each.result()) for index, each in self._items.items() if each.done()}
        total = sum(sizes.values())
        in_use = {place + ahead for place in self._places.values() for ahead in (0, 1)}
        for index in sorted(sizes.keys() - in_use, reverse=True):
            if total <= self._most_bytes:
                return
            del self._items[index]
            total -= sizes[index]


class ItemConsumer(Consumer):
    """Takes the items of a `CacheableObject`. `limit`: bytes that all items together may have; None: any number.

    `result` is what the last `consume_items` returned; `error` why it failed, None if it did not.
    """

    supports_pipelining = True

    def __init__(self, limit: int | None = None) -> None:
        self.result: Any = None
        self.error: str | None = None
        self.items_done: int = 0
        self._limit = limit
        self._bytes = 0
        self._part = bytearray()

    @abstractmethod
    def consume_items(self, items: Sequence[bytes | bytearray], result: Any) -> Any:
        """Take the next items; `result`: what the last call returned, None at first. Returns the new result."""

    def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
        """Take a chunk; see `Consumer`. Raises `DecodeError` for what is none, and above the limit."""
        match data:
            case {"items": list(items)} if not self._part and all(isinstance(item, bytes) for item in items):
                self._count(sum(map(len, items)))
                self._take(items)
            case {"part": bytes(part), "size": int(size)}:
                self._count(len(part))
                self._part += part
                if len(self._part) > size:
                    raise DecodeError(f"an item of {size} bytes has {len(self._part)}")
                if len(self._part) == size:
                    item, self._part = self._part, bytearray()
                    self._take([item])
            case _:
                raise DecodeError("this is no chunk of items")
        return state

    def download_completed(self, ref_id: str) -> None:
        """All items are there. Raises `DecodeError` when the last one is not whole."""
        if self._part:
            raise DecodeError(f"the last item of {ref_id} ends after {len(self._part)} bytes")

    def download_failed(self, ref_id: str, reason: str) -> None:
        """Remember why."""
        self.error = reason

    def _take(self, items: Sequence[bytes | bytearray]) -> None:
        self.result = self.consume_items(items, self.result)
        self.items_done += len(items)

    def _count(self, more: int) -> None:
        self._bytes += more
        if self._limit is not None and self._bytes > self._limit:
            raise DecodeError(f"the items have more than {self._limit} bytes, the limit of `object_limit`")
