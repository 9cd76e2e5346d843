"""Names and paths that a peer gave: what of them may touch the disk.

Source: reference "flare" 3.8; check line R03.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from zmqfl.errors import SourceError

MAX_NAME: Final = 200
"""Bytes of a name: file systems allow 255, and a partial file's sidecar and a number need room behind it."""
UNNAMED: Final = "unnamed"
PART: Final = ".part"
SIDECAR: Final = ".part.map"
_MAX_SUFFIX: Final = 32


def safe_name(text: str) -> str:
    """The base name in `text` as a name that is safe for a new file. Of a safe name: the same.

    Neither separators (of Windows either), nor control and other invisible characters, nor dots or blanks at its
    begin; at most `MAX_NAME` bytes, never empty, and none that a partial file may have.
    """
    base = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(char if char.isprintable() else "_" for char in base)
    name = _cut(shown.lstrip(". ").rstrip(), MAX_NAME)
    if name.endswith((PART, SIDECAR)):
        name = _cut(name, MAX_NAME - 1) + "_"
    return name or UNNAMED


def resolve_below(roots: Iterable[Path], path: str) -> Path:
    """The real path of the regular file `path` strictly below one of `roots`.

    `path` is relative to any of them (the first that has it counts), or absolute. Links are followed, and must end
    below a root. Raises `SourceError` for all else, in the same words whether or not there is something outside.
    The file may be replaced by a link before it is opened, but only by one who may write below the roots.
    """
    reals = [real for root in roots if (real := _real(root)) is not None]
    if not reals:
        raise _refused(path, "this site exports no folder", "name one under `exports:` of this site")
    # `x/..` is not `.` where x is a link: whoever means a file can name it without climbing.
    if path and ".." not in Path(path).parts:
        for root in reals:
            found = _real(root / path)
            if found is not None and found not in reals and any(found.is_relative_to(real) for real in reals):
                return _regular(found, path)
    raise _refused(path, "there is no such file in what this site exports", "ask for a file below an exported folder")


def _regular(found: Path, path: str) -> Path:
    try:
        if stat.S_ISREG(found.stat().st_mode):
            return found
    except OSError:
        pass
    raise _refused(path, "is a folder, or no regular file", "ask for a file below it")


def _real(path: Path) -> Path | None:
    try:
        return Path(os.path.realpath(path, strict=True))
    except (OSError, ValueError):  # missing, too long, a loop of links; a NUL, or no text of the file system
        return None


def _refused(path: str, problem: str, remedy: str) -> SourceError:
    # A line break in it would be a line of its own in a log.
    return SourceError(problem, file=path if path and path.isprintable() else repr(path), remedy=remedy)


def _cut(name: str, limit: int) -> str:
    """`name` in at most `limit` bytes of UTF-8, with its suffix if that is short."""
    if len(name.encode()) <= limit:
        return name
    suffix = Path(name).suffix
    if len(suffix.encode()) > _MAX_SUFFIX:
        suffix = ""
    stem = name.encode()[: limit - len(suffix.encode())].decode(errors="ignore")
    return (stem + suffix).rstrip()
