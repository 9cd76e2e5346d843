"""Names of cells: the grammar, and where a name stands in the tree."""

from __future__ import annotations

import pytest

from zmqfl.errors import FqcnError, UserError
from zmqfl.fqcn import FQCN, MAX_LENGTH, FqcnInfo, parse, tree_is_below, tree_parent

GRAMMAR: dict[object, str] = {
    "": "empty",
    "  ": "empty",
    " a": "",
    "a ": "",
    "a..b": "empty part",
    ".a": "empty part",
    "a.": "empty part",
    ".": "empty part",
    "a.b.a": "dup 'a'",
    "a.a": "dup 'a'",
    "a.A": "",
    "a/b": "invalid char '/'",
    "a b": "invalid char ' '",
    "a\nb": "invalid char '\\n'",
    "ä": "invalid char 'ä'",
    "٣": "invalid char '٣'",
    3: "must be str but got int",
    None: "must be str but got NoneType",
    b"a": "must be str but got bytes",
    "a~b-c_d": "",
    "x" * MAX_LENGTH: "",
    "x" * (MAX_LENGTH + 1): "longer than 240 characters",
    "server": "",
    "R1.R11.site-1": "",
}


@pytest.mark.parametrize("name", GRAMMAR, ids=[ascii(name)[:20] for name in GRAMMAR])
def test_cell_N01_grammar(name: object) -> None:
    assert FQCN.validate(name) == GRAMMAR[name]


@pytest.mark.parametrize(
    ("name", "root", "parent", "segments"),
    [
        ("server", "server", "", ["server"]),
        ("site-1", "site-1", "", ["site-1"]),
        ("site-1.job-3", "site-1", "site-1", ["site-1", "job-3"]),
        (" R1.R11.site-1 ", "R1", "R1.R11", ["R1", "R11", "site-1"]),
    ],
)
def test_cell_N01_parents(name: str, root: str, parent: str, segments: list[str]) -> None:
    assert FQCN.split(name) == segments
    assert FQCN.join(segments) == FQCN.normalize(name)
    assert FQCN.get_root(name) == root
    assert FQCN.get_parent(name) == parent
    assert FQCN.is_parent(parent, name)


def test_cell_N01_is_parent() -> None:
    assert FQCN.is_parent("", "root")
    assert FQCN.is_parent("a", "a.b")
    assert not FQCN.is_parent("a", "a.b.c")
    assert not FQCN.is_parent("a", "a")
    assert not FQCN.is_parent("a", "ab.c")


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("a", "a.b", True),
        ("a", "a.b.c", True),
        ("a.b", "a.b.c", True),
        ("a", "a", False),
        ("a.b", "a", False),
        ("a", "ab", False),
        ("a", "ab.c", False),
        ("server", "site-1", False),
    ],
)
def test_cell_N01_ancestors(name: str, other: str, expected: bool) -> None:
    assert FQCN.is_ancestor(name, other) is expected


def test_cell_N01_families() -> None:
    assert FQCN.same_family("a.b", "a.c.d")
    assert FQCN.same_family("a", "a.c")
    assert not FQCN.same_family("a", "b.a")
    assert FQCN.ROOT_SERVER == "server"


def test_cell_N01_info() -> None:
    assert FqcnInfo.of(" R1.R11.site-1") == ("R1.R11.site-1", ("R1", "R11", "site-1"), 3, False, "R1", False)
    assert FqcnInfo.of("server") == ("server", ("server",), 1, True, "server", True)
    assert FqcnInfo.of("server.job-1").is_on_server
    with pytest.raises(FqcnError):
        FqcnInfo.of("a..b")


def test_parse_normalises() -> None:
    assert parse("  a.b ") == "a.b"


def test_parse_tells_what_is_wrong_and_what_to_do() -> None:
    with pytest.raises(FqcnError) as caught:
        parse("a/b", field="sites.a/b")
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.line() == (
        "sites.a/b: 'a/b' is not a cell name: invalid char '/'; "
        "use segments of letters, digits, _ ~ - joined by dots, none twice"
    )


@pytest.mark.parametrize(
    ("name", "parent"),
    [("server", ""), ("site-1", "server"), ("server.admin", "server"), ("site-1.job", "site-1"), ("a.b.c", "a.b")],
)
def test_tree_parent(name: str, parent: str) -> None:
    assert tree_parent(name, "server") == parent


@pytest.mark.parametrize(
    ("name", "other", "below"),
    [
        ("site-1", "server", True),
        ("site-1.job", "server", True),
        ("server.admin", "server", True),
        ("server", "server", False),
        ("server", "site-1", False),
        ("site-1.job", "site-1", True),
        ("site-10", "site-1", False),
        ("site-1", "site-1", False),
        ("site-1", "site-1.job", False),
    ],
)
def test_tree_is_below(name: str, other: str, below: bool) -> None:
    assert tree_is_below(name, other, "server") is below
