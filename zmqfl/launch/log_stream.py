"""The logs of several sites as one stream of lines, as they are or as they grow.

A line begins with its time when zmqfl wrote it. One that does not, say a `print` of the user's, has the time of the
line before it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TextIO

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z ")
_IN_MODIFY: Final = 0x2
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
MOST_READ: Final = 1 << 20
"""Bytes of one log that are read at once."""


class LogLine(NamedTuple):
    """One line: `time` is UTC in ISO 8601 without the Z, "" when unknown; `text` is without it and the line break."""

    fqcn: str
    time: str
    text: str


def log_handler(stream: TextIO) -> logging.StreamHandler[TextIO]:
    """Writes lines of time (UTC), level and text, as `LogReader` reads them."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    return handler


class LogReader:
    """Reads what has been added to one log since the last time."""

    def __init__(self, fqcn: str, file: Path) -> None:
        self.fqcn = fqcn
        self.file = file
        self._offset = self._inode = 0
        self._rest = b""
        self._time = ""

    def read(self) -> Iterator[LogLine]:
        """The new lines; one without its line break is held back until it comes."""
        while data := self._next():
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield self._parse(line)

    def rest(self) -> Iterator[LogLine]:
        """The line that has no end, once no more can come."""
        if self._rest:
            yield self._parse(self._rest)
            self._rest = b""

    def _next(self) -> bytes:
        try:
            with self.file.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:  # a new start of the federation
                    self._inode, self._offset, self._rest = status.st_ino, 0, b""
                stream.seek(self._offset)
                data = stream.read(MOST_READ)
        except FileNotFoundError:
            self._offset, self._rest = 0, b""
            return b""
        self._offset += len(data)
        return data

    def _parse(self, line: bytes) -> LogLine:
        text = line.decode(errors="replace").rstrip("\r")
        if match := _TIME.match(text):
            self._time = match[1]
            text = text[match.end() :]
        return LogLine(self.fqcn, self._time, text)


def merged(readers: Iterable[LogReader], since: str = "") -> list[LogLine]:
    """All lines of now, by time; `since`: not those before that time."""
    lines = [line for reader in readers for line in [*reader.read(), *reader.rest()]]
    return sorted((line for line in lines if line.time >= since), key=lambda line: line.time)


def last_lines(file: Path, count: int) -> list[str]:
    """The last lines of a log, without their times."""
    return [line.text for line in merged([LogReader("", file)])[-count:]]


class FolderWatch:
    """Tells when files of a folder change (inotify(7)): `fileno` becomes readable; `clear` it before you look."""

    def __init__(self, folder: Path) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if libc.inotify_add_watch(
            self._descriptor, os.fsencode(folder), _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
        ) < 0:  # fmt: skip
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, "inotify_add_watch", str(folder))

    def fileno(self) -> int:
        """For select and its kin."""
        return self._descriptor

    def clear(self) -> None:
        """Forget what has changed so far."""
        try:
            while os.read(self._descriptor, 1 << 16):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)
