"""What the verbs about files are given: files, sites, references, lives. A mistake is a `UserError`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zmqfl.blobs.paths import safe_name
from zmqfl.blobs.source import FileSource
from zmqfl.cell.announcements import checked_group
from zmqfl.cell.cell import Cell
from zmqfl.cli.federation import is_hidden
from zmqfl.cli.network import ASK, ask
from zmqfl.errors import ArgumentError, SourceError, UserError
from zmqfl.fqcn import parse
from zmqfl.topology.checks import near

_RID: Final = re.compile(r"R[0-9a-f]{32}")
_LIFE: Final = re.compile(r"([1-9][0-9]{0,8})([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_REMEDY: Final = "write RID@SITE, as `zmqfl share` prints it, or SITE:PATH"


@dataclass(frozen=True, slots=True)
class Reference:
    """A file at a site: by reference id, or by path (then `rid` is "")."""

    site: str
    rid: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.rid}@{self.site}" if self.rid else f"{self.site}:{self.path}"


def parse_reference(text: str) -> Reference:
    """What RID@SITE or SITE:PATH names. A path may hold @ and colons."""
    site, colon, path = text.partition(":")
    if colon and "@" not in site:
        if not path:
            raise UserError(f"{text!r} names no file", field="REFERENCE", remedy="write SITE:PATH")
        return Reference(parse(site, "REFERENCE"), path=path)
    rid, at, site = text.partition("@")
    if not at:
        raise UserError(f"{text!r} is no reference", field="REFERENCE", remedy=_REMEDY)
    if not _RID.fullmatch(rid):
        remedy = "copy all of what `zmqfl share` has printed"
        raise UserError(f"{rid!r} is no reference id", field="REFERENCE", remedy=remedy)
    return Reference(parse(site, "REFERENCE"), rid=rid)


def parse_sites(given: Sequence[str], field: str = "--to") -> list[str]:
    """Names of cells, each once; one text may hold several with commas between them."""
    parts = [part.strip() for text in given for part in text.split(",")]
    names = list(dict.fromkeys(part for part in parts if part))
    if not names:
        raise UserError("names no site", field=field, remedy=f"write {field} SITE, or {field} SITE,SITE")
    return [parse(name, field) for name in names]


def parse_life(text: str) -> float:
    """Seconds that 90s, 30m, 1h or 2d mean."""
    if match := _LIFE.fullmatch(text.strip()):
        return float(int(match[1]) * _UNITS[match[2]])
    raise UserError(f"{text!r} is no time", field="--ttl", remedy="write 90s, 30m, 1h or 2d")


def readable(file: str) -> Path:
    """The absolute path of a file that can be read."""
    path = Path(file).absolute()
    try:
        FileSource(path).close()
    except SourceError as error:
        raise UserError(error.problem, field=file, remedy=error.remedy) from None
    return path


def folder_of(text: str, option: str = "--to") -> Path:
    """A folder to put files in."""
    folder = Path(text)
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "there is no such folder"
        more = "; --name chooses the name of the file" if option == "--to" else ""
        remedy = f"give a folder{more}" if folder.exists() else "make it first"
        raise UserError(problem, field=f"{option} {text}", remedy=remedy)
    return folder


def file_name(text: str | None) -> str | None:
    """A name for a new file, if one was given."""
    if text is not None and safe_name(text) != text:
        raise UserError(f"{text!r} is no plain file name", field="--name", remedy=f"write --name {safe_name(text)!r}")
    return text


def check_group(group: str, field: str) -> None:
    """`group` can be the name of one, or is ""."""
    try:
        if group:
            checked_group(group)
    except ArgumentError as error:
        raise UserError(str(error), field=field, remedy="write for example models") from None


def check_cells(cell: Cell, wanted: Iterable[str], field: str) -> None:
    """All of `wanted` are in the network."""
    names = [str(row[0]) for row in ask(cell, cell.root, "cells", ASK)]
    for name in wanted:
        if name not in names:
            remedy = near(name, [each for each in names if not is_hidden(each)])
            raise UserError(f"there is no cell {name!r} in this federation", field=field, remedy=remedy)
