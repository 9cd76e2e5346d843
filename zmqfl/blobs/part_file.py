"""The partial file of a download: one writer per file, whatever an earlier one left behind.

The writer holds a lock (`flock`) on it. A partial file that nobody holds was left by a process that died.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from zmqfl.errors import SinkError

_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_LOCKS: Final = {errno.ENOSYS, errno.EOPNOTSUPP}
"""Said by file systems without locks (Lustre without its option): two downloads of one name are not told apart."""
_ATTEMPTS: Final = 8
"""Times that others may come first before the name counts as taken."""


def create(file: Path) -> int:
    """Make `file` anew, only for us to read and write, locked. Returns its descriptor.

    What a dead process left there is removed. Raises `SinkError` when another download holds it or when something
    else has its name, and OSError.
    """
    for _ in range(_ATTEMPTS):
        try:
            fd = os.open(file, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            _remove_stale(file)
            continue
        if _hold(fd, file):
            return fd
    raise _taken(file)


def reopen(file: Path) -> int | None:
    """Open the `file` that an earlier process left, locked. None when there is none, or none that we made.

    Raises `SinkError` when another download holds it or when something else has its name, and OSError.
    """
    try:
        fd = os.open(file, _FLAGS)
    except FileNotFoundError:
        return None
    if not _hold(fd, file):
        return None
    found = os.fstat(fd)
    # Whoever else owns it, or has another name for it, could change it while we trust it.
    if found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(fd)
        return None
    os.fchmod(fd, 0o600)
    return fd


def check_room(file: Path, missing: int) -> None:
    """Raise `SinkError` when the disk has less than `missing` bytes for `file`: now, rather than after gigabytes.

    Nothing is reserved: on some file systems that costs a write of it all. Raises OSError.
    """
    found = os.statvfs(file.parent)
    free = found.f_frsize * (found.f_bavail if os.geteuid() else found.f_bfree)
    if found.f_blocks and free < missing:  # no blocks at all: the file system does not tell
        remedy = "free space there, or name a folder on another disk"
        raise SinkError(f"needs {missing} bytes, but {free} are free there", file=str(file), remedy=remedy)


def is_at(identity: tuple[int, int] | None, file: Path) -> bool:
    """Whether `file` is still the one with this device and inode. Raises OSError, except when it is gone."""
    try:
        found = os.lstat(file)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == identity


def identity_of(fd: int) -> tuple[int, int]:
    """Device and inode of an open file."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _remove_stale(file: Path) -> None:
    try:
        fd = os.open(file, _FLAGS)
    except FileNotFoundError:
        return
    if _hold(fd, file):
        file.unlink(missing_ok=True)
        os.close(fd)


def _hold(fd: int, file: Path) -> bool:
    """Lock it. False, and it is closed: `file` is another one by now. Raises `SinkError`, and it is closed too."""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            remedy = "remove it, or choose another name"
            raise SinkError("is no regular file", file=str(file), remedy=remedy)
        _lock(fd, file)
        if is_at(identity_of(fd), file):
            return True
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return False


def _lock(fd: int, file: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(file) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _taken(file: Path) -> SinkError:
    remedy = "wait for it to end, or choose another name or folder"
    return SinkError("another download writes to it", file=str(file), remedy=remedy)
