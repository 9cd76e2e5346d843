"""Keys of a mapping: each mistake is told with its file, line and key, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fl.jobs.conftest import problems_of
from zmqfl.errors import TopologyErrors
from zmqfl.fl.jobs import fields
from zmqfl.fl.jobs.fields import Fields, find_config, read_config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str, name: str = "c.yaml") -> Fields:
    Path(name).write_text(text)
    return read_config(Path(name))


def test_values_are_taken_as_their_kind() -> None:
    found = read("{name: fl, n: 3, sub: {a: 1}, items: [{a: 1}, {a: 2}], texts: [x, y], no: null}")
    assert (found.text("name"), found.whole("n", 1), found.text("gone", "default")) == ("fl", 3, "default")
    sub = found.mapping("sub")
    assert sub is not None
    assert (sub.value("a"), list(sub)) == (1, ["a"])
    assert [item.value("a") for item in found.items("items")] == [1, 2]
    assert found.texts("texts") == ("x", "y")
    assert (found.has("name"), found.has("no"), found.has("gone"), found.value("gone")) == (True, False, False, None)
    assert (found.mapping("gone"), found.items("gone"), found.texts("gone")) == (None, [], ())
    found.finish()


def test_all_mistakes_are_told_in_the_order_of_lines() -> None:
    def take() -> None:
        found = read("name: 3\nn: 0\nsub: []\nitems: [1]\ntexts: [x, x, 5]\nlist: {}\n")
        found.texts("texts")
        found.text("name")
        found.text("gone", None)
        found.whole("n", 1)
        found.mapping("sub")
        found.items("items")
        found.items("items")  # taken twice, told once
        found.items("list")
        found.finish()

    assert problems_of(take) == [
        "c.yaml:1: name: must be text, not 3; put it in quotes",
        "c.yaml:1: gone: is missing; add it",
        "c.yaml:2: n: must be at least 1, not 0",
        "c.yaml:3: sub: must be a mapping, not a list",
        "c.yaml:4: items.0: must be a mapping",
        "c.yaml:5: texts.1: 'x' is named twice; remove one",
        "c.yaml:5: texts.2: must be text, not 5",
        "c.yaml:6: list: must be a list, not a mapping",
    ]


def test_unknown_keys() -> None:
    found = read("nam: x\nother: y\n")
    found.refuse_others(["name"], similar=True)
    found.refuse_others(["name"])
    assert problems_of(found.finish) == [
        "c.yaml:1: nam: unknown key; did you mean 'name'?",
        "c.yaml:2: other: unknown key; there is: name",
    ]


def test_json_has_lines_too() -> None:
    found = read('{\n\t"name": "tab\\tin a text",\n\t"n": "x"\n}', "c.json")
    assert found.text("name") == "tab\tin a text"
    found.whole("n", 1)
    assert problems_of(found.finish) == ['c.json:3: n: must be a whole number, not "x"']


def test_variables_of_the_site_are_not_read() -> None:
    assert read("a: ${HOME}\nb: $${x}\n").value("a") == "${HOME}"
    assert read("b: $${x}\n").value("b") == "$${x}"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("c.json", "{\n'a': 1}", "c.json:2: is not valid JSON: Expecting property name enclosed in double quotes"),
        ("c.json", "[" * 5000, "c.json: is not valid JSON: "),
        ("c.yaml", "a: [", "c.yaml:1: is not valid YAML: "),
        ("c.yaml", "- a", "c.yaml: holds no mapping; write `key: value` lines, or {...} in JSON"),
        ("c.yaml", "", "c.yaml: holds no mapping"),
        ("c.json", '{"a": 1, "a": 2}', "c.json:1: a: is given twice, first in line 1; remove one"),
    ],
)
def test_a_file_that_cannot_be_used(name: str, text: str, problem: str) -> None:
    (line,) = problems_of(lambda: read(text, name))
    assert line.startswith(problem)


def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_bytes(b"\xff")
    assert problems_of(lambda: read_config(Path("c.yaml"))) == ["c.yaml: is not UTF-8 text; give a JSON or YAML file"]
    Path("folder.yaml").mkdir()
    assert problems_of(lambda: read_config(Path("folder.yaml"))) == [
        "folder.yaml: cannot be read: Is a directory; give a file that you may read"
    ]
    monkeypatch.setattr(fields, "MAX_BYTES", 3)
    with pytest.raises(TopologyErrors, match="has more than 3 bytes; keep data in files of their own"):
        read("a: 1234")


def test_one_file_of_a_name() -> None:
    assert find_config(Path(), "c") is None
    Path("c.yml").touch()
    assert find_config(Path(), "c") == Path("c.yml")
    Path("c.json").touch()
    assert problems_of(lambda: find_config(Path(), "c")) == ["c.json: c.yml is there, too; keep c.json, or the other"]


def test_long_values_are_cut() -> None:
    found = read(f"n: {'x' * 100}")
    found.whole("n", 1)
    assert problems_of(found.finish) == [f'c.yaml:1: n: must be a whole number, not "{"x" * 56}...']
