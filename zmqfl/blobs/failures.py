"""What the system says of a file, as an error that names the file and the remedy. The one place for it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from zmqfl.errors import SinkError, SourceError

_READ_PROBLEMS: Final = {
    errno.ENOENT: ("there is no such file", "name a file that exists"),
    errno.ENOTDIR: ("there is no such file", "name a file that exists"),
    errno.EACCES: ("may not be read", "mend its rights, or those of its folders"),
    errno.EPERM: ("may not be read", "mend its rights, or those of its folders"),
    errno.EIO: ("cannot be read: the disk fails", "copy what can be saved to another disk"),
    errno.ESTALE: ("was deleted or moved at its file server", "send it again from its new place"),
    errno.EMFILE: ("cannot be opened: too many files are open", "raise `ulimit -n`, or send fewer files at once"),
    errno.EBADF: ("is closed", "open the source again"),
}
_WRITE_PROBLEMS: Final = {
    errno.ENOSPC: ("the disk is full", "free space there, or name a folder on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free space there, or name a folder on another disk"),
    errno.EFBIG: ("is larger than a file may be here", "raise `ulimit -f`, or name a folder on another disk"),
    errno.EROFS: ("the folder is read-only", "name a folder that you may write to"),
    errno.EACCES: ("may not be written", "name a folder that you may write to"),
    errno.EPERM: ("may not be written", "name a folder that you may write to"),
    errno.ENOENT: ("its folder does not exist", "make the folder, or name another"),
    errno.ENOTDIR: ("its folder is no folder", "name a folder"),
    errno.EISDIR: ("is a folder", "remove it, or choose another name"),
    errno.ELOOP: ("is a symbolic link", "remove it, or choose another name"),
    errno.EIO: ("cannot be written: the disk fails", "name a folder on another disk"),
    errno.EMFILE: ("cannot be opened: too many files are open", "raise `ulimit -n`, or receive fewer files at once"),
    errno.EBADF: ("is not open", "open a sink first"),
}


def source_error(error: OSError, file: Path) -> SourceError:
    """`error`, met while `file` was opened or read."""
    problem, remedy = _READ_PROBLEMS.get(error.errno or 0, (f"cannot be read: {error.strerror}", "send another file"))
    return SourceError(problem, file=str(file), remedy=remedy)


def sink_error(error: OSError, file: Path) -> SinkError:
    """`error`, met while `file` was made, written or renamed."""
    default = (f"cannot be written: {error.strerror}", "name another folder")
    problem, remedy = _WRITE_PROBLEMS.get(error.errno or 0, default)
    return SinkError(problem, file=str(file), remedy=remedy)
