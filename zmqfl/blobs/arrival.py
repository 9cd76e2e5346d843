"""How a whole file gets its final name: at once or not at all, never over a file that is to be kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from zmqfl.errors import SinkError

OnExists = Literal["replace", "keep", "fail"]
"""What to do when the final name is taken: replace that file, keep it and add a number to ours, or fail."""

_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""Said by file systems without hard links."""
MAX_NUMBER: Final = 9999


def place(part: Path, final: Path, on_exists: OnExists) -> Path:
    """Give the file `part` the name `final`, or a free one like it. Returns the name; `part` is gone.

    Raises `SinkError` for "fail" when the name is taken and for "keep" when all are, and OSError.
    """
    if on_exists == "replace":
        os.replace(part, final)
        return final
    for name in _numbered(final) if on_exists == "keep" else (final,):
        if _claim(part, name):
            return name
    raise taken(final)


def taken(final: Path) -> SinkError:
    """The error of a name that is taken."""
    return SinkError("exists already", file=str(final), remedy="remove it, or choose another name or folder")


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk. Raises OSError, also where the file system cannot do it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _numbered(final: Path) -> Iterator[Path]:
    """`model.pt`, `model-1.pt`, `model-2.pt`, ..."""
    yield final
    for number in range(1, MAX_NUMBER + 1):
        yield final.with_name(f"{final.stem}-{number}{final.suffix}")


def _claim(part: Path, final: Path) -> bool:
    """Rename without replacing: a link fails where the name is taken, a rename would not."""
    try:
        os.link(part, final, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            return _reserve(part, final)
        raise
    part.unlink()
    return True


def _reserve(part: Path, final: Path) -> bool:
    """Rename over an empty file of our own. Killed between the two, the empty file stays: hence links first."""
    try:
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    try:
        os.replace(part, final)
    except BaseException:
        final.unlink(missing_ok=True)
        raise
    return True
