"""Names of cells: the fully qualified cell name (FQCN) and where it stands in the tree.

A name is one or more segments of `[A-Za-z0-9_~-]` joined by dots; no segment repeats; case matters.
The cell without a parent is the root (usually `server`); it is *not* part of other names. So the tree is

    server                  root
    ├── server.admin-7      a process of the server's own
    ├── site-1              child of the root: one segment
    │   └── site-1.job-3    child of site-1: one segment more
    └── relay-a
        └── relay-a.site-2

`FQCN` works on names alone; the `tree_*` functions know which name the root has.
Source: reference "flare" 5.1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zmqfl.errors import FqcnError

SEPARATOR = "."
MAX_LENGTH = 240
"""Characters: a key file is called `NAME.key_secret` with a prefix of its folder, and file names end at 255 bytes."""

_INVALID = re.compile(r"[^A-Za-z0-9_.~-]")


class FQCN:
    """Operations on names, as static functions."""

    ROOT_SERVER = "server"

    @staticmethod
    def normalize(name: str) -> str:
        """`name` without blanks around it."""
        return name.strip()

    @staticmethod
    def validate(name: object) -> str:
        """Return "" for a good name, else what is wrong with it. Blanks around a name are tolerated."""
        if not isinstance(name, str):
            return f"must be str but got {type(name).__name__}"
        name = name.strip()
        if not name:
            return "empty"
        if len(name) > MAX_LENGTH:
            return f"longer than {MAX_LENGTH} characters"
        if found := _INVALID.search(name):
            return f"invalid char {found.group()!r}"
        segments = name.split(SEPARATOR)
        if "" in segments:
            return "empty part"
        for i, segment in enumerate(segments):
            if segment in segments[:i]:
                return f"dup {segment!r}"
        return ""

    @staticmethod
    def split(name: str) -> list[str]:
        """The segments of a name."""
        return FQCN.normalize(name).split(SEPARATOR)

    @staticmethod
    def join(segments: list[str]) -> str:
        """The name made of these segments."""
        return SEPARATOR.join(segments)

    @staticmethod
    def get_root(name: str) -> str:
        """The first segment."""
        return FQCN.split(name)[0]

    @staticmethod
    def get_parent(name: str) -> str:
        """The name without its last segment; "" for a name of one segment."""
        return FQCN.normalize(name).rpartition(SEPARATOR)[0]

    @staticmethod
    def is_parent(name: str, other: str) -> bool:
        """Whether `name` is `other` without its last segment (so "" is the parent of a one-segment name)."""
        return FQCN.get_parent(other) == name

    @staticmethod
    def is_ancestor(name: str, other: str) -> bool:
        """Whether `other` begins with `name` and a dot; no name is its own ancestor."""
        return other.startswith(name + SEPARATOR)

    @staticmethod
    def same_family(name: str, other: str) -> bool:
        """Whether both names have the same first segment."""
        return FQCN.get_root(name) == FQCN.get_root(other)


class FqcnInfo(NamedTuple):
    """What a name says about its cell."""

    fqcn: str
    path: tuple[str, ...]
    gen: int
    is_root: bool
    root: str
    is_on_server: bool

    @classmethod
    def of(cls, name: str) -> FqcnInfo:
        """Read `name`; raises `FqcnError` when it is outside the grammar."""
        name = parse(name)
        path = tuple(FQCN.split(name))
        return cls(name, path, len(path), len(path) == 1, path[0], path[0] == FQCN.ROOT_SERVER)


def parse(name: object, field: str = "fqcn") -> str:
    """`name`, normalised. Raises `FqcnError` naming `field` when it is outside the grammar."""
    if problem := FQCN.validate(name):
        raise FqcnError(
            f"{name!r} is not a cell name: {problem}",
            field=field,
            remedy="use segments of letters, digits, _ ~ - joined by dots, none twice",
        )
    return FQCN.normalize(str(name))


def tree_parent(name: str, root: str) -> str:
    """The cell that `name` dials; "" for the root itself."""
    if name == root:
        return ""
    return FQCN.get_parent(name) or root


def tree_is_below(name: str, other: str, root: str) -> bool:
    """Whether cell `name` stands strictly below cell `other` in the tree: all others stand below the root."""
    return name != other and (other == root or FQCN.is_ancestor(other, name))
