"""Sinks: where the bytes of a transfer go. The whole file appears under its name, or nothing does.

    open or resume  ->  write and mark, in any order, by several threads  ->  commit
                                                                          ->  discard, or close to keep the part

Source: design, decisions 18, 20, 21; reference "flare" 3.2 and 4.2, whose left-over partial files are not copied.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from zmqfl.blobs import arrival, part_file, sidecar
from zmqfl.blobs.arrival import OnExists as OnExists
from zmqfl.blobs.descriptor import Descriptor, read_fully, write_fully
from zmqfl.blobs.digest import digest
from zmqfl.blobs.extents import Extents
from zmqfl.blobs.failures import sink_error
from zmqfl.blobs.paths import PART, SIDECAR, safe_name
from zmqfl.blobs.sidecar import Sidecar
from zmqfl.errors import ArgumentError, SinkError, UsageError
from zmqfl.wire.messages import Buffer

Result_co = TypeVar("Result_co", covariant=True)
Seen = Callable[[int, Buffer], object]
"""Is told the index and the bytes of a chunk."""


class Sink(Protocol[Result_co]):
    """Bytes that can be written at any place, by several threads at once. See `FileSink` for what each verb does."""

    @property
    def size(self) -> int | None:
        """Bytes when it is whole; None until it is known."""

    def open(self) -> None:
        """Begin with nothing."""

    def resume(self, fingerprint: str, chunk: int, seen: Seen | None = None) -> dict[int, bytes]:
        """Begin with what is there: index -> digest of the chunks that need not come again. `seen`: is told each."""

    def write(self, offset: int, data: Buffer) -> None:
        """Put `data` at `offset`. Raises `SinkError`."""

    def mark(self, index: int, digest: bytes) -> None:
        """Chunk `index` is verified and written. Raises `SinkError`."""

    def commit(self) -> Result_co:
        """Hand over the whole. Raises `SinkError` when bytes are missing."""

    def discard(self) -> None:
        """Leave nothing. Again, or after `commit`: does nothing."""

    def close(self, keep: bool = True) -> None:
        """Stop, and `keep` what a later `resume` can use."""


class FileSink:
    """Writes FOLDER/NAME.part and renames it to FOLDER/NAME when it is whole. Both are for this user only (0600).

    folder      must exist
    name        a safe file name, see `safe_name`
    size        bytes; None when only the end tells
    on_exists   when the name is taken: "replace" that file, "keep" it and add a number to ours, or "fail"

    It is for one use. Raises `SinkError` for an unsafe name. `write` and `mark` may be called by several threads at
    once, and `discard` and `close` by any thread while they run; `open`, `resume` and `commit` are for one thread.
    """

    def __init__(self, folder: Path, name: str, size: int | None, on_exists: OnExists = "keep") -> None:
        if safe_name(name) != name:
            remedy = f"name it {safe_name(name)!r}"
            raise SinkError(f"the name {name!r} is no safe file name", file=str(folder), remedy=remedy)
        self.size: Final = size
        self._folder = folder.absolute()
        self._final = self._folder / name
        self._part = self._folder / (name + PART)
        self._map = self._folder / (name + SIDECAR)
        self._on_exists = on_exists
        self._extents = Extents()
        self._lock = threading.Lock()
        self._file: Descriptor | None = None
        self._identity: tuple[int, int] | None = None
        self._sidecar: Sidecar | None = None

    def open(self) -> None:
        """Make the partial file anew; what a dead process left of it is removed.

        Raises `SinkError` when the folder is missing or read-only, when another download writes the same name there,
        when the name is taken and that is to fail, and when less is free on the disk than `size`.
        """
        try:
            self._check_place()
            self._hold(part_file.create(self._part))
            self._map.unlink(missing_ok=True)
            part_file.check_room(self._part, self.size or 0)
        except OSError as error:
            self.discard()
            raise sink_error(error, self._part) from None
        except SinkError:
            self.discard()
            raise

    def resume(self, fingerprint: str, chunk: int, seen: Seen | None = None) -> dict[int, bytes]:
        """Go on with the partial file, if it is one of the source with this `fingerprint` and chunks of `chunk` bytes.

        Returns index -> digest of the chunks that are there; each was read and checked, which takes as long as the
        disk does, and told to `seen`. Else begins anew as `open` does, and returns nothing. From now on `mark` keeps
        account for a later `resume`. Raises as `open` does, also for a `chunk` that makes no grid (it is the sender's
        word), and `ArgumentError` when the size is unknown.
        """
        if self.size is None:
            raise ArgumentError("resume needs the size of the file; make the sink with it, or call open")
        if self.size < 0 or chunk <= 0 or self.size > chunk * sidecar.MAX_CHUNKS:
            problem = f"{self.size} bytes in chunks of {chunk} are no file"
            raise SinkError(problem, file=str(self._part), remedy="have the sender offer it in other chunks")
        is_useful = True  # what is there may be, once the disk has room or works again
        try:
            self._check_place()
            fd = part_file.reopen(self._part)
            fd = part_file.create(self._part) if fd is None else fd
            self._hold(fd)
            known = self._verify(fd, sidecar.load(self._map, fingerprint, self.size, chunk), chunk, self.size, seen)
            if not known:
                is_useful = False
                os.ftruncate(fd, 0)
                self._map.unlink(missing_ok=True)
            part_file.check_room(self._part, self.size - os.fstat(fd).st_blocks * 512)
            self._sidecar = Sidecar(self._map, fingerprint, self.size, chunk, known)
        except OSError as error:
            self.close(keep=is_useful)
            raise sink_error(error, self._part) from None
        except SinkError:
            self.close(keep=is_useful)
            raise
        return known

    def write(self, offset: int, data: Buffer) -> None:
        """Put all of `data`, which is contiguous, at `offset`. The same bytes may be written again.

        Raises `SinkError` when they end beyond `size`, when the disk cannot take them, and when the sink is not open.
        """
        end = offset + (data.nbytes if isinstance(data, memoryview) else len(data))
        check_range(offset, end, self.size, self._part)
        try:
            with self._opened() as fd:
                write_fully(fd, offset, data)
        except OSError as error:
            raise sink_error(error, self._part) from None
        self._extents.add(offset, end)

    def mark(self, index: int, digest: bytes) -> None:
        """Note for a later `resume` that chunk `index` was verified *and written*. Without `resume`: does nothing.

        Raises `SinkError` when the disk is full, and when the sink is closed.
        """
        if (record := self._sidecar) is not None:
            record.append(index, digest)

    def check_ready(self) -> None:
        """Raise `SinkError` when a `commit` would fail now: bytes are missing, the partial file is, the name is taken.

        It costs nothing: who has promised to commit together with others looks before. Only the disk is not asked.
        """
        self._check_whole()
        try:
            self._check_part()
            self._check_final()
        except OSError as error:
            raise sink_error(error, self._part) from None

    def commit(self) -> Path:
        """Have the bytes on the disk and give the file its name. Returns its path. Nothing else stays.

        Raises `SinkError` when bytes are missing (the sink stays open), and when the name or the disk fails (then
        `discard`, or `close`); nothing is under the final name then.
        """
        self._check_whole()
        try:
            # After the seal nobody writes: what is renamed is what was checked.
            os.fsync(self._opened().seal())
            self._check_part()
            final = arrival.place(self._part, self._final, self._on_exists)
        except OSError as error:
            raise sink_error(error, self._final) from None
        self._finish()
        return final

    def discard(self) -> None:
        """Remove the partial file and its sidecar. Again, after `commit` or before `open`: does nothing."""
        with self._lock:
            if self._file is None:
                return
            # While the file is locked: later the name may be another download's. What cannot be removed stays: the
            # error that led here is the one to tell.
            with contextlib.suppress(OSError):
                if part_file.is_at(self._identity, self._part):
                    self._part.unlink(missing_ok=True)
                    self._map.unlink(missing_ok=True)
        self.close()

    def close(self, keep: bool = True) -> None:
        """Stop, and `keep` the partial file and its sidecar for `resume`, or discard both. Again: does nothing."""
        if not keep:
            self.discard()
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()
            if self._sidecar is not None:
                self._sidecar.close()

    def _hold(self, fd: int) -> None:
        self._file = Descriptor(fd)
        self._identity = part_file.identity_of(fd)

    def _opened(self) -> Descriptor:
        if (file := self._file) is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return file

    def _check_place(self) -> None:
        if self._identity is not None:  # a late writer of before would write into the file of now
            raise UsageError(f"the sink of {self._final} was opened before; make a new one")
        if not stat.S_ISDIR(os.stat(self._folder).st_mode):
            raise sink_error(NotADirectoryError(errno.ENOTDIR, ""), self._part)
        self._check_final()

    def _check_final(self) -> None:
        if self._on_exists == "fail" and os.path.lexists(self._final):
            raise arrival.taken(self._final)
        if self._on_exists == "replace" and self._final.is_dir() and not self._final.is_symlink():
            raise sink_error(IsADirectoryError(errno.EISDIR, ""), self._final)

    def _check_part(self) -> None:
        if not part_file.is_at(self._identity, self._part):
            remedy = "let nobody touch partial files, and receive it again"
            raise SinkError("was removed or replaced while it was written", file=str(self._part), remedy=remedy)

    def _check_whole(self) -> None:
        there = self._extents.contiguous
        whole = self._extents.end if self.size is None else self.size
        if there != whole:
            remedy = "receive the rest before the commit"
            raise SinkError(f"lacks bytes from {there} on, of {whole}", file=str(self._part), remedy=remedy)

    def _verify(self, fd: int, found: dict[int, bytes], chunk: int, size: int, seen: Seen | None) -> dict[int, bytes]:
        """Those of the `found` chunks whose bytes are there."""
        if os.fstat(fd).st_size > size:
            return {}
        known = {}
        for index, expected in found.items():
            start, end = index * chunk, min((index + 1) * chunk, size)
            data = read_fully(fd, start, end - start)
            if digest(data) == expected:
                known[index] = expected
                self._extents.add(start, end)
                if seen is not None:
                    seen(index, data)
        return known

    def _finish(self) -> None:
        # The file is whole and has its name: to report a failure now would be wrong.
        with contextlib.suppress(OSError):
            self._map.unlink(missing_ok=True)
            arrival.sync_folder(self._folder)
        self.close()

    def __repr__(self) -> str:
        return f"<FileSink {self._final}, {self._extents.contiguous} of {self.size} bytes>"


def check_range(offset: int, end: int, size: int | None, file: Path | str) -> None:
    """Raise `SinkError` unless the bytes from `offset` to before `end` lie within `size` (None: it is not known)."""
    if offset < 0 or (size is not None and end > size):
        problem = f"bytes {offset} to {end} are not within its {size} bytes"
        raise SinkError(problem, file=str(file), remedy="the sender broke its word on the size; receive it again")
