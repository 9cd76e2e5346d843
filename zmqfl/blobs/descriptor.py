"""An open file that several threads use at once."""

from __future__ import annotations

import errno
import os
import threading


class Descriptor:
    """A descriptor that is closed only when the last thread has left it: its number may be another file by then.

        with descriptor as fd:
            os.pread(fd, ...)

    Thread-safe. Entering raises OSError (EBADF) once it was sealed or closed.
    """

    __slots__ = ("_changed", "_closed", "_fd", "_lock", "_sealed", "_users")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._users = 0
        self._sealed = False
        self._closed = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def __enter__(self) -> int:
        with self._lock:
            if self._sealed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._users += 1
        return self._fd

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._sealed and not self._users:
                self._end()

    def seal(self) -> int:
        """Let nobody in any more, wait until all have left, and return the number. Raises OSError when closed."""
        with self._lock:
            self._sealed = True
            self._changed.wait_for(lambda: not self._users)
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return self._fd

    def close(self) -> None:
        """Let nobody in any more; the last one who leaves closes the file. Again: does nothing."""
        with self._lock:
            if self._closed:
                return
            self._sealed = self._closed = True
            if not self._users:
                self._end()

    def _end(self) -> None:
        if self._closed:
            os.close(self._fd)
        self._changed.notify_all()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "sealed" if self._sealed else "open"
        return f"<Descriptor {self._fd} {state}, {self._users} users>"


def read_fully(fd: int, offset: int, length: int) -> bytes:
    """`length` bytes from `offset` on, fewer only at the end of the file. Raises OSError."""
    data = os.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    while (length := length - len(data)) and data:
        offset += len(data)
        data = os.pread(fd, length, offset)
        parts.append(data)
    return b"".join(parts)


def write_fully(fd: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`, which is contiguous, from `offset` on. Raises OSError; some of it may be written then."""
    written = os.pwrite(fd, data, offset)
    rest = memoryview(data)
    if written == rest.nbytes:
        return
    rest = rest.cast("B")
    while len(rest := rest[written:]):
        offset += written
        written = os.pwrite(fd, rest, offset)
