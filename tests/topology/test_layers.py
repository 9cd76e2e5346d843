"""`extends`, `--set` and `defaults`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.topology.conftest import Load, Problems

BASE = """\
version: 1
name: base
timing: {heartbeat: 1}
sites:
  server: {listen: [{bind: auto}], env: {A: a, B: b}}
  site: {parent: server, count: 2}
"""


def test_extends_merges_maps_and_replaces_the_rest(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    changed = "extends: base.yaml\nname: big\ntiming: {drain: 3}\nsites:\n  server: {env: {B: x}}\n  site: {count: 9}\n"
    topology = load_text(changed)
    flat = load_text(
        BASE.replace("base", "big", 1)
        .replace("heartbeat: 1", "heartbeat: 1, drain: 3")
        .replace("B: b", "B: x")
        .replace("count: 2", "count: 9")
    )
    assert topology == flat


def test_extends_is_relative_to_its_file_and_goes_on(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.yaml").write_text("extends: b.yaml\nname: a")
    (tmp_path / "lib" / "b.yaml").write_text(BASE + "security: {keys: keys}")
    topology = load_text("extends: lib/a.yaml")
    assert topology.name == "a"
    assert topology.security.keys == str(tmp_path / "lib" / "keys")  # relative to the file that names it


def test_an_error_names_the_file_it_stands_in(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE.replace("count", "cuont"))
    assert problems("extends: base.yaml") == ["base.yaml:6: sites.site.cuont: unknown key; did you mean 'count'?"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("extends: 3", "t.yaml:1: extends: must be the path of a file; write `extends: base.yaml`"),
        ("extends: none.yaml", "t.yaml:1: extends: no file 'none.yaml'; give a path relative to this file"),
        ("extends: ~no-such-user/x", "t.yaml:1: extends: no file '~no-such-user/x'; give a path relative to this file"),
        ("extends: knot.yaml", "t.yaml:1: extends: no file 'knot.yaml'; give a path relative to this file"),
        (f"extends: {'x' * 300}", f"t.yaml:1: extends: no file '{'x' * 300}'; give a path relative to this file"),
        ("extends: t.yaml", "t.yaml:1: extends: t.yaml extends this file in turn; end the circle"),
        ("extends: loop.yaml", "loop.yaml:1: extends: t.yaml extends this file in turn; end the circle"),
        (
            "extends: bad.yaml",
            "bad.yaml:1: is not valid YAML: mapping values are not allowed here; mend the syntax there",
        ),
    ],
)
def test_bad_extends(problems: Problems, tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "loop.yaml").write_text("extends: t.yaml")
    (tmp_path / "knot.yaml").symlink_to("knot.yaml")
    (tmp_path / "bad.yaml").write_text("a: b: c")
    assert problems(text) == [line]


def test_extending_nothing_is_no_matter(load_text: Load) -> None:
    assert load_text("extends: null\n" + BASE) == load_text(BASE)


def test_overrides(load_text: Load) -> None:
    topology = load_text(
        BASE,
        "sites.site.count=4",
        "sites.server.listen.0.bind=tcp://127.0.0.1:${PORT}",
        "sites.server.env.C=c",
        "sites.site.env.D=d",  # the map is made
        "timing={dead_after: 5}",
        "hosts.localhost.address=fl.example.org",  # the default, which the file leaves out
        "security.keys=here",
        "security={keys: k}",  # the last one wins
        PORT="8102",
    )
    assert topology.sites["site"].count == 4
    assert topology.sites["site"].env == {"D": "d"}
    assert topology.sites["server"].listen[0].bind == "tcp://127.0.0.1:8102"
    assert topology.sites["server"].env == {"A": "a", "B": "b", "C": "c"}
    assert (topology.timing.heartbeat, topology.timing.dead_after) == (2.0, 5.0)
    assert topology.hosts["localhost"].address == "fl.example.org"
    assert topology.security.keys == str(Path.cwd() / "k")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sites.sight.count=4", "--set sites.sight.count=4: sites.sight: no site 'sight'; did you mean 'site'?"),
        ("sites.site.cuont=4", "--set sites.site.cuont=4: sites.site.cuont: unknown key; did you mean 'count'?"),
        ("sites.site.count=x", "--set sites.site.count=x: sites.site.count: must be a whole number, not 'x'"),
        (
            "sites.server.listen.1.bind=auto",
            "--set sites.server.listen.1.bind=auto: sites.server.listen.1: the list has 1 items; count from 0",
        ),
        (
            "sites.server.listen.x=auto",
            "--set sites.server.listen.x=auto: sites.server.listen.x: the list has 1 items; count from 0",
        ),
        ("name.x=y", "--set name.x=y: name.x: name is no mapping; set it as a whole"),
        ("sites.site", "--set sites.site: is no setting; write a.b.c=VALUE"),
        ("sites..site=1", "--set sites..site=1: is no setting; write a.b.c=VALUE"),
        ("extends=x.yaml", "--set extends=x.yaml: is no setting; write a.b.c=VALUE"),
        (
            "sites.site={parent: server, cuont: 1}",
            "--set sites.site={parent: server, cuont: 1}: sites.site.cuont: unknown key; did you mean 'count'?",
        ),
        ("name=${X}", "--set name=${X}:1: name: the variable X is not set; set it, or write ${X:-default}"),
    ],
)
def test_bad_overrides(problems: Problems, override: str, line: str) -> None:
    assert problems(BASE, override) == [line]


def test_defaults_go_under_every_site(load_text: Load) -> None:
    topology = load_text(BASE + "defaults: {env: {B: x, Z: z}, run: 'm:f'}")
    assert topology.sites["server"].env == {"A": "a", "B": "b", "Z": "z"}
    assert topology.sites["site"].env == {"B": "x", "Z": "z"}
    assert topology.sites["site"].run == "m:f"


def test_a_mistake_in_defaults_is_told_once(problems: Problems) -> None:
    assert problems(BASE + "defaults: {env: {A: 1}}") == [
        "t.yaml:7: defaults.env.A: must be text, not 1; put it in quotes"
    ]
