"""A container as the chunks of a push, and back."""

from __future__ import annotations

import resource
import struct
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.wire.values import assert_same
from zmqfl.cell.container_streams import COUNT, LAST, ContainerConsumer, ContainerProducer
from zmqfl.cell.containers import SIZE_KEY, TYPE_KEY
from zmqfl.cell.packing import DIGEST, PACKED, digest_of
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.errors import CellReturnCode, EncodeError, InvalidRequest, RequestFailed, SourceChangedError
from zmqfl.protocol.commands import Outcome
from zmqfl.wire.chunk_codec import ChunkPacker
from zmqfl.wire.codecs import RECORDS

OK, ABORT = CellReturnCode.OK, CellReturnCode.ABORT_RUN
LIMIT = 1 << 30
CONTAINER = {"w": np.arange(5000.0), "b": [1, (2, 3)], 7: bytes(100_000)}
Ends = list[tuple[Any, CellReturnCode, str, str]]


def produce(producer: ContainerProducer) -> list[Chunk]:
    try:
        return list(iter(producer.produce, None))
    finally:
        producer.close()


def consumer(
    facts: Mapping[str, Any], ends: Ends | None = None, limit: int = LIMIT, **options: Any
) -> ContainerConsumer:
    def ended(*how: Any) -> Outcome:
        if ends is not None:
            ends.append(how)
        return Outcome(OK, headers={"seen": 1})

    return ContainerConsumer(Incoming("server", "models", "best", dict(facts)), limit, ended=ended, **options)


def received(chunks: list[Chunk], facts: Mapping[str, Any], **options: Any) -> Any:
    ends: Ends = []
    into = consumer(facts, ends, **options)
    assert [into.consume(chunk)[0] for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert ends == []  # not before all targets have all
    assert into.close(OK, "", "").headers == {"seen": 1}
    [(value, code, reason, culprit)] = ends
    assert (code, reason, culprit) == (OK, "", "")
    return value


@pytest.mark.parametrize("size", [100, 4096, 50_000, 1 << 20])
def test_chunks_put_together_are_the_container(size: int) -> None:
    producer = ContainerProducer(CONTAINER, size, 30.0)
    facts = producer.facts
    assert facts == {TYPE_KEY: "dict", SIZE_KEY: 3}
    chunks = produce(producer)
    assert all(sum(map(len, chunk.bodies)) == size for chunk in chunks[:-1])
    assert [COUNT in chunk.headers for chunk in chunks] == [LAST in chunk.headers for chunk in chunks]
    assert (chunks[-1].headers[COUNT], chunks[-1].timeout, chunks[-1].codec) == (3, 30.0, RECORDS)
    assert_same(received(chunks, facts), CONTAINER)


@pytest.mark.parametrize("value", [None, "text", np.arange(9000), 3])
def test_a_value_that_is_no_container(value: Any) -> None:
    producer = ContainerProducer(value, 4096)
    facts = producer.facts
    chunks = produce(producer)
    assert_same(received(chunks, facts, values=True), value)
    with pytest.raises(InvalidRequest, match="container of type 'value'"):
        consumer(facts)


def test_an_empty_container_is_one_chunk() -> None:
    producer = ContainerProducer([], 4096)
    [chunk] = produce(producer)
    assert (chunk.headers, chunk.bodies) == ({DIGEST: digest_of(()), LAST: 1, COUNT: 0}, ())
    assert received([chunk], producer.facts) == []


def test_an_entry_may_be_several_hundred_arrays() -> None:
    container = [{f"layer-{number}": np.full(2000, number) for number in range(300)}]
    producer = ContainerProducer(container, 1 << 20)
    [value] = received(produce(producer), producer.facts)
    assert_same(value, container[0])
    assert not any(array.flags.owndata for array in value.values())  # adopted, not copied


def test_the_callback_hears_of_each_chunk() -> None:
    taken: list[tuple[int, int]] = []
    producer = ContainerProducer([np.arange(1000.0)], 5000)
    into = consumer(producer.facts, chunk_taken=lambda *args: taken.append(args))
    assert not into.is_quick
    for chunk in produce(producer):
        into.consume(chunk)
    assert taken == [(0, 5000), (1, taken[1][1])]
    assert consumer({TYPE_KEY: "list", SIZE_KEY: 0}).is_quick


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_packed_chunks_come_out_the_same(codec: Any) -> None:
    container = {"w": np.linspace(0, 1, 50_000), "z": np.zeros(9_999, "<f4"), "r": bytes(range(256)) * 300}
    producer = ContainerProducer(container, 65_536, packer=ChunkPacker(codec, lambda: 0.0, 0))
    chunks = produce(producer)
    assert any(PACKED in chunk.headers for chunk in chunks)
    assert sum(len(body) for chunk in chunks for body in chunk.bodies) < 400_000
    assert_same(received(chunks, producer.facts), container)


# -- what is fixed -----------------------------------------------------------------------------------------------------


def test_what_was_fixed_is_sent_or_nothing() -> None:
    weights = np.zeros(100_000)
    producer = ContainerProducer({"w": weights}, 65_536)
    assert producer.fix() > weights.nbytes
    chunk = producer.produce()
    assert chunk is not None
    weights += 1
    with pytest.raises(SourceChangedError, match="dict: was changed while it was sent; leave it alone"):
        producer.produce()
    assert isinstance(producer.error, SourceChangedError)


def test_what_was_produced_does_not_change_any_more() -> None:
    """Else a chunk that is read ahead would look damaged to the targets."""
    weights = np.zeros(100_000)
    producer = ContainerProducer({"w": weights}, 65_536)
    producer.fix()
    chunk = producer.produce()
    assert chunk is not None
    weights += 1
    assert digest_of(chunk.bodies) == chunk.headers[DIGEST]


def test_a_small_array_that_changes_is_noticed_too() -> None:
    small = np.zeros(3)
    producer = ContainerProducer([small], 65_536)
    producer.fix()
    small += 1
    with pytest.raises(SourceChangedError):
        producer.produce()


@pytest.mark.parametrize("change", ["more", "fewer"])
def test_a_container_that_changes_after_it_was_fixed(change: str) -> None:
    container = [np.zeros(9000), np.zeros(9000)]
    producer = ContainerProducer(container, 65_536)
    producer.fix()
    if change == "more":
        container.append(np.zeros(9000))
    else:
        container.pop()
    with pytest.raises(SourceChangedError):
        produce(producer)


def test_a_snapshot_does_not_change() -> None:
    weights, text = np.zeros(100_000), bytearray(100_000)
    producer = ContainerProducer({"w": weights, "t": text, "n": np.zeros(2)}, 65_536)
    size = producer.fix(copy=True)
    weights += 1
    text[:] = b"x" * len(text)
    chunks = produce(producer)
    assert sum(len(body) for chunk in chunks for body in chunk.bodies) == size
    value = received(chunks, producer.facts)
    assert_same(value, {"w": np.zeros(100_000), "t": bytearray(100_000), "n": np.zeros(2)})


def test_without_fix_nothing_is_read_twice() -> None:
    container = {"w": np.zeros(100_000)}
    producer = ContainerProducer(container, 65_536)
    producer.produce()
    container["w"] += 1
    assert len(produce(producer)) == 800_000 // 65_536  # the receiver takes what it gets: the caller waits meanwhile


def test_an_entry_that_cannot_travel_is_the_error() -> None:
    producer = ContainerProducer({"w": np.zeros(9000), "bad": object()}, 4096)
    with pytest.raises(EncodeError, match="entry 'bad' of the dict cannot be sent"):
        produce(producer)
    assert isinstance(producer.error, EncodeError)
    with pytest.raises(EncodeError, match="entry 'bad' of the dict"):
        ContainerProducer({"bad": object()}, 4096).fix()


def test_the_end_lets_go_of_the_value() -> None:
    array = np.zeros(9000)
    there = weakref.ref(array)
    producer = ContainerProducer([array], 4096)
    producer.produce()
    producer.close()
    del array
    assert there() is None
    assert producer.produce() is None
    assert producer.settle({}) is None


# -- hostile -----------------------------------------------------------------------------------------------------------


def raw(data: bytes, **headers: Any) -> Chunk:
    return Chunk({DIGEST: digest_of((data,)), **headers}, RECORDS, (data,))


def record(*frames: bytes) -> bytes:
    return struct.pack(f"<I{len(frames)}Q", len(frames), *map(len, frames)) + b"".join(frames)


FACTS = {TYPE_KEY: "list", SIZE_KEY: 1}
GOOD = record(b"\x91\x01")


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        (Chunk({DIGEST: digest_of((GOOD,))}, RECORDS + 1, (GOOD,)), "best takes containers and objects"),
        (Chunk({}, RECORDS, (GOOD,)), "chunk 0 was damaged"),
        (Chunk({DIGEST: bytes(16)}, RECORDS, (GOOD,)), "chunk 0 was damaged"),
        (raw(GOOD, z=1 << 40), "chunk 0 is said to be 1099511627776 bytes"),
        (raw(GOOD, z=1 << 24), "chunk 0: compressed chunk"),
        (raw(struct.pack("<I", 0)), "chunk 0: record of 0 frames"),
        (raw(record(b"")), "chunk 0: record with a frame of 0 bytes"),
        (raw(record(b"\xc1")), "chunk 0: payload"),
        (raw(record(b"\x91\x01", b"more")), "chunk 0: payload: bytes that nothing mentions"),
        (raw(record(b"\x01")), "entries of a list given as int"),
        (raw(record(b"\x92\x01\x02")), "list of 1 entries got 2"),
        (raw(GOOD + GOOD), "list of 1 entries got 2"),
        (raw(GOOD[:-1], last=1, n=1), "the last chunk ends within an entry"),
        (raw(b"", last=1, n=1), "ended after 0, said to be 1"),
        (raw(GOOD, last=1, n=2), "ended after 1, said to be 2"),
        (raw(GOOD, last=1), "ended after 1, said to be None"),
    ],
)
def test_forged_chunks_are_refused(chunk: Chunk, problem: str) -> None:
    ends: Ends = []
    into = consumer(FACTS, ends)
    with pytest.raises(InvalidRequest, match=problem):
        into.consume(chunk)
    into.close(CellReturnCode.INVALID_REQUEST, "forged", "site-1")
    assert ends == [(None, CellReturnCode.INVALID_REQUEST, "forged", "site-1")]


def test_what_comes_after_the_last_chunk_is_refused() -> None:
    into = consumer(FACTS)
    assert into.consume(raw(GOOD, last=1, n=1))[0] is False
    with pytest.raises(InvalidRequest, match="takes containers"):
        into.consume(raw(GOOD))


def test_nothing_is_allocated_on_the_peers_word() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (LIMIT, 1 << 40, (1 << 64) - 1):
        with pytest.raises(RequestFailed, match="object_limit") as caught:
            consumer(FACTS).consume(raw(struct.pack("<IQ", 1, size)))
        assert caught.value.code is CellReturnCode.MSG_TOO_BIG
    consumer({TYPE_KEY: "list", SIZE_KEY: 1 << 60}).consume(raw(GOOD))
    consumer({TYPE_KEY: "deque", SIZE_KEY: 1 << 60}).consume(raw(GOOD))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def test_a_failure_elsewhere_is_told_without_a_value() -> None:
    ends: Ends = []
    into = consumer(FACTS, ends)
    into.consume(raw(GOOD, last=1, n=1))
    into.close(ABORT, "gone", "site-2")
    assert ends == [(None, ABORT, "gone", "site-2")]
    assert ContainerConsumer(Incoming("s", "c", "t", FACTS), 9).close(OK, "", "") == Outcome(OK)
