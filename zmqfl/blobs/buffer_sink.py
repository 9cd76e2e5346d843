"""A sink in memory."""

from __future__ import annotations

import threading
from typing import Final

from zmqfl.blobs.extents import Extents
from zmqfl.blobs.sink import Seen, check_range
from zmqfl.errors import SinkError
from zmqfl.wire.messages import Buffer


class BufferSink:
    """Writes into one `bytearray` of `size` bytes, allocated by `open`: the caller limits `size` first.

    The same verbs as `FileSink`, but there is nothing to resume. All may be called by several threads at once.
    """

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self._buffer: bytearray | None = None
        self._extents = Extents()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Allocate the buffer. Raises `SinkError` when there is not enough memory, or when `size` is none."""
        try:
            buffer = bytearray(self.size)
        except (MemoryError, OverflowError, ValueError):
            problem, remedy = f"{self.size} bytes do not fit into the memory", "receive it into a file"
            raise SinkError(problem, file=str(self), remedy=remedy) from None
        with self._lock:
            self._buffer, self._extents = buffer, Extents()

    def resume(self, fingerprint: str, chunk: int, seen: Seen | None = None) -> dict[int, bytes]:
        """As `open`: memory does not outlive its process. Returns nothing that is there."""
        self.open()
        return {}

    def write(self, offset: int, data: Buffer) -> None:
        """Copy `data`, which is contiguous, to `offset`. Raises `SinkError` beyond `size` and when it is not open."""
        # A view on both sides: assigned to a slice of the bytearray itself, `data` would be copied twice.
        source = memoryview(data)
        source = source.cast("B") if source.nbytes else memoryview(b"")
        end = offset + len(source)
        check_range(offset, end, self.size, str(self))
        with self._lock, memoryview(self._opened()) as view:
            view[offset:end] = source
        self._extents.add(offset, end)

    def mark(self, index: int, digest: bytes) -> None:
        """Do nothing."""

    def commit(self) -> bytearray:
        """The buffer, which is the caller's from now on. Raises `SinkError` when bytes are missing."""
        with self._lock:
            buffer = self._opened()
            if (there := self._extents.contiguous) != self.size:
                remedy = "receive the rest before the commit"
                raise SinkError(f"lacks bytes from {there} on", file=str(self), remedy=remedy)
            self._buffer = None
            return buffer

    def discard(self) -> None:
        """Let go of the buffer. Again, or after `commit`: does nothing."""
        with self._lock:
            self._buffer = None

    def close(self, keep: bool = True) -> None:
        """As `discard`."""
        self.discard()

    def _opened(self) -> bytearray:
        if self._buffer is None:
            raise SinkError("is not open", file=str(self), remedy="open the sink first")
        return self._buffer

    def __str__(self) -> str:
        return f"buffer of {self.size} bytes"

    def __repr__(self) -> str:
        return f"<BufferSink {self._extents.contiguous} of {self.size} bytes>"
