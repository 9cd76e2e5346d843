"""Sources: where the bytes of a transfer come from. What was opened is what is read, or an error.

A file is read with `pread`, never mapped: a mapped file that is cut short kills the process.
Source: design, decisions 8, 20, 21; reference "flare" 4.6, whose bugs (a file that is cut short is served for ever,
a file that is modified is served mixed) are not copied.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from zmqfl.blobs.descriptor import Descriptor, read_fully
from zmqfl.blobs.digest import digest
from zmqfl.blobs.failures import source_error
from zmqfl.errors import ArgumentError, SourceChangedError, SourceError
from zmqfl.wire.messages import Buffer

_SEND_AGAIN: Final = "send it again when nobody writes to it"


class Source(Protocol):
    """Bytes that can be read at any place, by several threads at once."""

    @property
    def name(self) -> str:
        """Base name, for people and as a proposal to the receiver."""

    @property
    def size(self) -> int:
        """Bytes, fixed when the source was opened."""

    @property
    def fingerprint(self) -> str:
        """Differs when the content may differ: who resumes compares it."""

    def read(self, offset: int, length: int) -> Buffer:
        """`length` bytes from `offset` on, fewer only at the end. Raises `SourceError`."""

    def prefetch(self, offset: int, length: int) -> None:
        """These bytes will be read soon. A hint: it may do nothing, and raises nothing."""

    def close(self) -> None:
        """Release what is held; reads that run now end well, later ones raise `SourceError`. Again: nothing."""


class FileSource:
    """A regular file. All methods may be called by several threads at once.

    path    a relative one is held against the working folder of now; symbolic links are followed

    Raises `SourceError` at once for what is missing, unreadable, or a folder, pipe or device; it never blocks on them.

    Each read checks the file after it: same file behind the path, same size, same time of modification. What the check
    cannot see is a write within one tick of the file system's clock (up to 4 ms) after the time that the file had when
    it was opened; whoever keeps the digests of what was read sees that too.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(os.path.abspath(path))
        try:
            fd = _open_regular(self._path)
        except OSError as error:
            raise source_error(error, self._path) from None
        found = os.fstat(fd)
        self._identity = _identity(found)
        self._file = Descriptor(fd)
        self.name: Final = os.fsencode(self._path.name).decode(errors="replace")
        self.size: Final = found.st_size
        self.fingerprint: Final = "-".join(f"{number:x}" for number in self._identity)
        with contextlib.suppress(OSError):  # advice; some file systems take none
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer only at the end of the file.

        Raises `SourceChangedError` when the file is no longer what was opened, `SourceError` when it is gone or
        cannot be read, `ArgumentError` for a negative offset or length.
        """
        _check_range(offset, length)
        offset = min(offset, self.size)
        length = min(length, self.size - offset)
        try:
            with self._file as fd:
                data = read_fully(fd, offset, length)
                self._check(os.fstat(fd), os.stat(self._path), len(data) == length)
        except OSError as error:
            raise source_error(error, self._path) from None
        return data

    def prefetch(self, offset: int, length: int) -> None:
        """Have the system read these bytes ahead, without waiting for them."""
        with contextlib.suppress(OSError), self._file as fd:
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Close the file as soon as the last running read has ended. Again: does nothing."""
        self._file.close()

    def _check(self, held: os.stat_result, there: os.stat_result, is_whole: bool) -> None:
        if is_whole and _identity(held) == self._identity == _identity(there):
            return
        if held.st_size < self.size:
            raise self._changed(f"has {held.st_size} bytes, but had {self.size} when it was opened")
        if (there.st_dev, there.st_ino) != self._identity[:2]:
            raise self._changed("was replaced by another file since it was opened")
        raise self._changed("was modified since it was opened")

    def _changed(self, problem: str) -> SourceChangedError:
        return SourceChangedError(problem, file=str(self._path), remedy=_SEND_AGAIN)

    def __repr__(self) -> str:
        return f"<FileSource {self._path}, {self.size} bytes>"


class BufferSource:
    """Bytes in memory, of `bytes`, `bytearray`, an array or whatever else has a contiguous buffer.

    copy    True takes a snapshot. False refers to the buffer: call `fix` before the first read, and a later read of
            bytes that differ from what they were at `fix` raises `SourceChangedError`. `bytes` cannot change and are
            never copied.

    `fix` once, by one thread; then all methods may be called by several threads at once. Raises `ArgumentError` for
    a buffer that is not contiguous.
    """

    def __init__(self, name: str, buffer: Buffer, copy: bool = False) -> None:
        self.name: Final = name
        self.fingerprint: Final = uuid.uuid4().hex  # what is in memory does not outlive this source
        self.digests: Sequence[bytes] = ()
        """One per chunk of the grid, after `fix`."""
        self._is_constant = copy or isinstance(buffer, bytes)
        self._chunk = 0
        flat = _flat(buffer, name)
        self._view: memoryview | None = memoryview(bytes(flat)) if copy and not isinstance(buffer, bytes) else flat
        self.size: Final = flat.nbytes

    def fix(self, chunk: int) -> None:
        """Remember what the bytes are now, as the digests of chunks of `chunk` bytes.

        Raises `ArgumentError` unless `chunk` is positive.
        """
        if chunk <= 0:
            raise ArgumentError(f"chunk must be a positive number of bytes, not {chunk}")
        view = self._opened()
        self._chunk = chunk
        self.digests = tuple(digest(view[start : start + chunk]) for start in range(0, self.size, chunk))

    def read(self, offset: int, length: int) -> memoryview:
        """`length` bytes from `offset` on, fewer only at the end: a read-only view, or a copy of what may change.

        Raises `SourceChangedError` when a chunk of the grid that it touches is no longer what it was at `fix`,
        `SourceError` after `close`, `ArgumentError` for a negative offset or length.
        """
        _check_range(offset, length)
        view = self._opened()
        end = min(offset + length, self.size)
        if self._is_constant or not self._chunk:
            return view[offset:end]
        start = offset - offset % self._chunk
        copied = memoryview(bytes(view[start : end + -end % self._chunk]))  # first: what is checked is what is sent
        self._check(copied, start)
        return copied[offset - start : end - start]

    def prefetch(self, offset: int, length: int) -> None:
        """Do nothing: the bytes are in memory."""

    def close(self) -> None:
        """Let go of the buffer; views that were read stay usable. Again: does nothing."""
        self._view = None

    def _check(self, copied: memoryview, start: int) -> None:
        for at in range(0, len(copied), self._chunk):
            if digest(copied[at : at + self._chunk]) != self.digests[(start + at) // self._chunk]:
                remedy = "send it again and leave it alone meanwhile, or send it with copy=True"
                raise SourceChangedError("was modified while it was sent", file=self.name, remedy=remedy)

    def _opened(self) -> memoryview:
        if (view := self._view) is None:
            raise SourceError("is closed", file=self.name, remedy="open the source again")
        return view

    def __repr__(self) -> str:
        return f"<BufferSource {self.name}, {self.size} bytes>"


def _open_regular(path: Path) -> int:
    # Looked at first, because opening a device may already do something; then again, because it may have changed.
    _check_regular(os.stat(path), path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_regular(found: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise SourceError("is a folder", file=str(path), remedy="name a file, or pack the folder into one")
    if not stat.S_ISREG(found.st_mode):
        raise SourceError("is no regular file", file=str(path), remedy="copy what it gives into a file and send that")


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _check_range(offset: int, length: int) -> None:
    if offset < 0 or length < 0:
        raise ArgumentError(f"offset and length must be 0 or more, not {offset} and {length}")


def _flat(buffer: Buffer, name: str) -> memoryview:
    view = memoryview(buffer).toreadonly()
    if not view.nbytes:
        return memoryview(b"")  # a view with a 0 in its shape cannot be cast
    try:
        return view.cast("B")
    except TypeError as error:
        problem = f"the buffer of {name} cannot be read as bytes ({error})"
        raise ArgumentError(f"{problem}; give bytes, or a contiguous array of plain numbers") from None
