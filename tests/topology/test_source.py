"""One YAML file: what its scalars mean, variables, and every way in which a file can be unreadable."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.errors import TopologyErrors
from zmqfl.topology import source
from zmqfl.topology.source import Node, read_file, read_text

ENVIRON = {"HOME": "/home/fl", "EMPTY": "", "N": "4", "SYNTAX": "[b, c]", "LATIN": "caf\udce9"}

VALUES = {
    "a: 4": 4,
    "a: -4": -4,
    "a: 0.5": 0.5,
    "a: 1e3": 1000.0,
    "a: true": True,
    "a: False": False,
    "a:": None,
    "a: ~": None,
    "a: null": None,
    # Where YAML 1.1 is surprising, a text stays a text.
    "a: no": "no",
    "a: on": "on",
    "a: 010": "010",
    "a: 0x10": "0x10",
    "a: 12:30:00": "12:30:00",
    "a: 2026-01-31": "2026-01-31",
    "a: 1_000": "1_000",
    "a: .5": ".5",
    "a: .inf": ".inf",
    'a: "4"': "4",
    "a: '~'": "~",
    "a: [1, {b: c}]": [1, {"b": "c"}],
    "a: ! x": "x",
    # Variables.
    "a: ${HOME}/keys": "/home/fl/keys",
    "a: ${NONE:-/tmp}/keys": "/tmp/keys",
    "a: ${NONE:-}": None,
    "a: ${EMPTY:-x}": "x",
    "a: '${EMPTY}'": "",
    "a: ${N}": 4,
    "a: '${N}'": "4",
    "a: $${HOME} $HOME": "${HOME} $HOME",
    "a: ${SYNTAX}": "[b, c]",  # a value cannot bring in syntax
    "a: '${X:-b: c}'": "b: c",
}


@pytest.mark.parametrize("text", VALUES)
def test_a_value_means(text: str) -> None:
    assert read_text(text, "f", ENVIRON).plain() == {"a": VALUES[text]}


BOMB = "a: &a [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1) if i else '*a'] * 9)}]\n" for i in range(9)
)

BAD = {
    "a: ${NONE}": "f:1: a: the variable NONE is not set; set it, or write ${NONE:-default}",
    "x: 1\na: ${A-B}": "f:2: a: `${` begins no variable; write ${NAME} or ${NAME:-default}; $${ is a plain ${",
    "a: 1\nb: 2\na: 3": "f:3: a: is given twice, first in line 1; remove one",
    "b: {a: 1,\n    a: 3}": "f:2: b.a: is given twice, first in line 1; remove one",
    "1: x": "f:1: a key must be text, not 1; put it in quotes",
    "b: {true: x}": "f:1: b: a key must be text, not true; put it in quotes",
    "? [a]\n: x": "f:1: a key must be text, not a list or mapping; put it in quotes",
    "b: &b {a: 1}\nc: {<<: *b}": "f:2: c: merge keys are not read; use `defaults:` or `extends:`",
    'a: "x\\0"': "f:1: a: the character '\\x00' cannot be used; remove it",
    'a: ["\\ud800"]': "f:1: a.0: the character '\\ud800' cannot be used; remove it",
    '"x\\0": a': "f:1: the character '\\x00' cannot be used; remove it",
    "a: ${LATIN}": "f:1: a: the character '\\udce9' cannot be used; remove it",
    "a: !!int x": "f:1: a: the tag tag:yaml.org,2002:int is not read; remove it",
    "a: !!python/name:os.system": "f:1: a: the tag tag:yaml.org,2002:python/name:os.system is not read; remove it",
    "a: !secret [x]": "f:1: a: the tag !secret is not read; remove it",
    "\n\na: {": "f:3: is not valid YAML: while parsing a flow node: expected the node content, "
    "but found '<stream end>'; mend the syntax there",
    "a:\n\t- b": "f:2: is not valid YAML: while scanning for the next token: found character '\\t' "
    "that cannot start any token; mend the syntax there",
    "a: b: c": "f:1: is not valid YAML: mapping values are not allowed here; mend the syntax there",
    "a: *b": "f:1: is not valid YAML: found undefined alias 'b'; mend the syntax there",
    "a: 1\n---\nb: 2": "f:2: is not valid YAML: expected a single document in the stream: but found another document; "
    "mend the syntax there",
    "a: &a [*a]": "f:1: a" + 20 * ".0" + ": is nested too deeply; flatten it; do aliases loop?",
    "[" * 5000: "f: is nested too deeply; flatten it",
}


@pytest.mark.parametrize("text", BAD, ids=[text[:20] for text in BAD])
def test_a_bad_text_is_one_line(text: str) -> None:
    assert lines(text) == [BAD[text]]


def lines(text: str) -> list[str]:
    with pytest.raises(TopologyErrors) as caught:
        read_text(text, "f", ENVIRON)
    return [error.line() for error in caught.value.errors]


def test_all_problems_of_a_text_are_told() -> None:
    assert [line.split(": ")[1] for line in lines("a: ${X}\nb: 1\nb: 2\nc: !x y")] == ["a", "b", "c"]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    (line,) = lines(BOMB)
    assert "has more than 100000 values; use fewer aliases" in line


def test_a_control_character_is_named() -> None:
    (line,) = lines("a: \x00")
    assert line.startswith("f: is not valid YAML: unacceptable character #x0000")


FILES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "no such file; give the path of a YAML file"),
    "empty": (b"", "is empty; write `key: value` lines"),
    "only a comment": (b"# nothing\n", "is empty; write `key: value` lines"),
    "a list": (b"- a\n", "holds no mapping; write `key: value` lines"),
    "a scalar": (b"hello\n", "holds no mapping; write `key: value` lines"),
    "binary": (b"\x7fELF\xff\xfe\x00", "is not UTF-8 text; give a YAML file"),
    "huge": (b"#" * (source.MAX_BYTES + 1), "has more than 1048576 bytes; is it a YAML file?"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_bad_file_is_one_line(tmp_path: Path, what: str) -> None:
    content, expected = FILES[what]
    path = tmp_path / "f.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TopologyErrors) as caught:
        read_file(path, {})
    assert str(caught.value) == f"{path}: {expected}"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(TopologyErrors, match="is a folder; give the path of a YAML file in it"):
        read_file(tmp_path, {})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)  # as root, no mode forbids reading
    with pytest.raises(TopologyErrors, match=r"cannot be read: .*; give a file that you may read"):
        read_file(loop, {})


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_file(tmp_path / "f.yaml", {}).plain() == {"a": 1}


def test_an_error_stands_where_its_path_does() -> None:
    root = read_text("a:\n  b:\n  - c: 1\n  - d:\n      2\n", "f", {})
    assert str(root.error("x", "a", "b", 1, "d")) == "f:4: a.b.1.d: x"
    assert str(root.error("x", "a", "b", 2, "d")) == "f:2: a.b.2.d: x"
    assert str(root.error("x", "z")) == "f:1: z: x"
    assert str(Node({}, "f", 0, "").error("x")) == "f: x"
