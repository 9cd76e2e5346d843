"""The sidecar of a partial file: which of its chunks were verified, so that a restart does not pull them again.

    one line    what the partial file is a part of: fingerprint and size of the source, bytes of a chunk
    records     index (u32, little endian) and digest (16 bytes) of each chunk, appended once its bytes are written

Nothing is synchronised to the disk: after a crash of the process both files are as they were, and after a crash of
the machine a record may name bytes that are not there. So who resumes reads and checks each chunk that is named here.
Source: design, decision 21; check line D07.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zmqfl.blobs.descriptor import read_fully, write_fully
from zmqfl.blobs.digest import DIGEST_BYTES
from zmqfl.blobs.failures import sink_error

_RECORD: Final = struct.Struct(f"<I{DIGEST_BYTES}s")
MAX_CHUNKS: Final = 1 << 32
"""Chunks of a file: an index has 32 bits."""
_MAX_REPEATS: Final = 4
"""Records per chunk that are read; a resume writes each once, so more than this is garbage."""


class Sidecar:
    """The sidecar that is written. Thread-safe. Raises `SinkError` where it cannot be made or written.

    file                        path of the sidecar; what is there is overwritten, never followed when it is a link
    fingerprint, size, chunk    of the source; size and chunk in bytes
    known                       index -> digest of chunks that are verified already
    """

    def __init__(
        self, file: Path, fingerprint: str, size: int, chunk: int, known: Mapping[int, bytes] | None = None
    ) -> None:
        self._file = file
        self._lock = threading.Lock()
        # In place: killed in the middle, it names chunks of before and of now, and both are checked before use.
        content = _header(fingerprint, size, chunk) + b"".join(_RECORD.pack(*item) for item in (known or {}).items())
        self._end = len(content)
        try:
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise sink_error(error, file) from None
        try:
            write_fully(self._fd, 0, content)
            os.ftruncate(self._fd, len(content))
        except OSError as error:
            self.close()
            raise sink_error(error, file) from None

    def append(self, index: int, digest: bytes) -> None:
        """Note that the bytes of chunk `index` are written and have this digest. Raises `SinkError`."""
        record = _RECORD.pack(index, digest)
        with self._lock:
            try:
                if self._fd < 0:
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                # At a place of our own, so that the next record overwrites one that was torn by a full disk.
                write_fully(self._fd, self._end, record)
            except OSError as error:
                raise sink_error(error, self._file) from None
            self._end += len(record)

    def close(self) -> None:
        """Close the file; it stays. Again: does nothing."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def __repr__(self) -> str:
        return f"<Sidecar {self._file}, {self._end} bytes>"


def load(file: Path, fingerprint: str, size: int, chunk: int) -> dict[int, bytes]:
    """Index -> digest of the chunks that the sidecar `file` names; the last record of a chunk counts.

    Empty when there is none, when it belongs to another fingerprint, size or chunk size, and when it is garbage. A
    torn last record is left out.
    """
    header, count = _header(fingerprint, size, chunk), -(-size // chunk)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        limit = min(os.fstat(fd).st_size, len(header) + _RECORD.size * _MAX_REPEATS * count)
        content = read_fully(fd, 0, limit)
    except OSError:
        return {}
    finally:
        os.close(fd)
    if not content.startswith(header):
        return {}
    records = content[len(header) :]
    whole = len(records) - len(records) % _RECORD.size
    found = dict(_RECORD.iter_unpack(memoryview(records)[:whole]))
    return found if all(index < count for index in found) else {}


def _header(fingerprint: str, size: int, chunk: int) -> bytes:
    fields = {"zmqfl part": 1, "fingerprint": fingerprint, "size": size, "chunk": chunk}
    return json.dumps(fields).encode() + b"\n"
