from __future__ import annotations

import threading

import numpy as np
import pytest

from zmqfl.blobs.buffer_sink import BufferSink
from zmqfl.blobs.sink import Sink
from zmqfl.errors import SinkError

CHUNK = 4096
CONTENT = bytes(range(256)) * 48


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_bytes_in_any_order_become_one_buffer(size: int) -> None:
    sink: Sink[bytearray] = BufferSink(size)
    assert sink.resume("f1", CHUNK) == {}
    for offset in reversed(range(0, size, CHUNK)):
        sink.write(offset, CONTENT[offset : min(offset + CHUNK, size)])
        sink.mark(offset // CHUNK, bytes(16))
    assert sink.commit() == CONTENT[:size]


def test_what_is_missing_or_too_much_is_an_error() -> None:
    sink = BufferSink(10)
    sink.open()
    sink.write(0, b"0123")
    with pytest.raises(SinkError, match="buffer of 10 bytes: bytes 8 to 11 are not within its 10 bytes"):
        sink.write(8, b"abc")
    with pytest.raises(SinkError, match="bytes -1 to 0 are not within"):
        sink.write(-1, b"a")
    with pytest.raises(SinkError, match="lacks bytes from 4 on"):
        sink.commit()
    sink.write(4, b"456789")
    assert sink.commit() == b"0123456789"


def test_the_buffer_is_the_callers_after_commit() -> None:
    sink = BufferSink(3)
    sink.open()
    sink.write(0, b"abc")
    buffer = sink.commit()
    buffer.append(1)
    with pytest.raises(SinkError, match="is not open; open the sink first"):
        sink.write(0, b"x")
    with pytest.raises(SinkError, match="is not open"):
        sink.commit()
    sink.discard()
    assert buffer == b"abc\x01"


def test_discarded_again_and_again() -> None:
    sink = BufferSink(3)
    sink.open()
    sink.discard()
    sink.close(keep=True)
    with pytest.raises(SinkError, match="is not open"):
        sink.write(0, b"x")
    assert repr(sink) == "<BufferSink 0 of 3 bytes>"


def test_opened_again_it_is_empty() -> None:
    sink = BufferSink(3)
    sink.open()
    sink.write(0, b"abc")
    sink.open()
    with pytest.raises(SinkError, match="lacks bytes from 0 on"):
        sink.commit()


def test_arrays_are_written_as_their_bytes() -> None:
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    sink = BufferSink(values.nbytes)
    sink.open()
    sink.write(0, values.data)
    sink.write(0, np.zeros((0, 3)).data)
    assert sink.commit() == values.tobytes()


@pytest.mark.parametrize("size", [1 << 60, 1 << 70, -1])
def test_a_size_that_is_too_much_or_none(size: int) -> None:
    with pytest.raises(SinkError, match="do not fit into the memory; receive it into a file"):
        BufferSink(size).open()


def test_several_threads_write_at_once() -> None:
    sink = BufferSink(len(CONTENT))
    sink.open()

    def write(first: int) -> None:
        for offset in range(first, len(CONTENT), 1024):
            sink.write(offset, CONTENT[offset : offset + 128])

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 1024, 128)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.commit() == CONTENT
