"""`zmqfl.protocol.chunk_store`: chunks of 100 bytes, room for three."""

from __future__ import annotations

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.chunk_store import OVERHEAD, ChunkStore
from zmqfl.protocol.commands import Outcome

EACH = 100 + OVERHEAD


def chunk(text: str = "x", size: int = 100) -> Outcome:
    return Outcome(CellReturnCode.OK, headers={"d": text.encode()}, codec=2, bodies=(bytes(size),))


def full(files: str = "aab") -> ChunkStore:
    store = ChunkStore(3 * EACH)
    for index, file in enumerate(files):
        store.keep(file, index, chunk(file))
    return store


def test_what_is_kept_is_found__with_its_headers() -> None:
    store = full()
    assert store.find("a", 1) == chunk("a")
    assert store.find("a", 2) is None
    assert (store.kept, store.evicted, len(store)) == (3 * EACH, 0, 3)
    assert (store.bytes_of("a"), store.bytes_of("b"), store.bytes_of("c")) == (200, 100, 0)


def test_the_least_recently_used_goes_first() -> None:
    store = full()
    store.find("a", 0)
    store.keep("c", 9, chunk())
    assert [store.find("a", 1), store.find("a", 0)] == [None, chunk("a")]
    assert (store.kept, store.evicted) == (3 * EACH, 1)


def test_kept_again__counted_once() -> None:
    store = full("ab")
    store.keep("a", 0, chunk("new"))
    assert store.find("a", 0) == chunk("new")
    assert (store.kept, len(store), store.bytes_of("a")) == (2 * EACH, 2, 100)


def test_what_is_to_come_counts__and_pushes_out_what_is_here() -> None:
    store = full()
    assert [store.reserve(100) for _ in range(4)] == [True, True, True, False]
    assert (store.kept, store.reserved, store.evicted) == (0, 3 * EACH, 3)
    store.release(100)
    store.keep("a", 0, chunk())
    assert (store.kept, store.reserved) == (EACH, 2 * EACH)
    assert repr(store) == f"<ChunkStore 1 chunks, {EACH} + {2 * EACH} of {3 * EACH} bytes>"


def test_what_never_fits_has_no_room__and_is_not_kept() -> None:
    store = full()
    assert not store.reserve(3 * EACH)
    assert len(store) == 3
    store.keep("a", 7, chunk(size=3 * EACH))
    assert len(store) == 0


def test_tiny_chunks_cost_something() -> None:
    store = ChunkStore(10 * OVERHEAD)
    for index in range(100):
        store.keep("a", index, chunk(size=1))
    assert len(store) == 9


def test_a_file_is_forgotten() -> None:
    store = full()
    store.forget("a")
    store.forget("unknown")
    assert (store.find("a", 0), store.find("b", 2)) == (None, chunk("b"))
    assert (store.kept, store.bytes_of("a"), store.evicted) == (EACH, 0, 0)
    store.forget("b")
    assert (store.kept, store._count_of, store._bytes_of) == (0, {}, {})


def test_no_room_at_all() -> None:
    assert not ChunkStore(0).reserve(0)
