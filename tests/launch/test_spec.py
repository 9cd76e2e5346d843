"""A `SiteSpec` as JSON: there and back, and nothing else is taken for one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import TopologyError
from zmqfl.launch.spec import Listener, Resources, Restart, SiteSpec

SPEC = SiteSpec(
    federation="fl",
    fqcn="hub.site-1",
    site="site-1",
    role="client",
    root="server",
    host="localhost",
    launcher="local",
    kind="local",
    run_dir="/run/fl",
    config=CellConfig(heartbeat=1),
    parent="hub",
    parent_url="tcp://127.0.0.1:*",
    parent_listener=1,
    listen=(Listener("ipc:///a"), Listener("tcp://*:1", "tcp://h:1")),
    children=("hub.site-1.a",),
    security="curve",
    keys="/run/fl/keys",
    trusted_network=False,
    run="module:callable",
    args=("a", "b"),
    env={"A": "b"},
    secrets={"P": "env:P"},
    resources=Resources(0.5, "1G", 2),
    restart=Restart("never", 3.0, 0),
    exports=("/srv",),
    allow=("model.*",),
    plane=8103,
    hearers={"hub.site-1.a": ("props/", "rids/models/"), "hub.site-1.b": ()},
)


def test_there_and_back() -> None:
    assert SiteSpec.from_json(SPEC.to_json()) == SPEC


def test_files() -> None:
    assert SPEC.log == "/run/fl/hub.site-1.log"
    assert SPEC.endpoints == "/run/fl/hub.site-1.endpoints.json"
    assert SPEC.parent_endpoints == "/run/fl/hub.endpoints.json"


def test_the_folder_of_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert SPEC.folder == "/run/fl/sites/hub.site-1"
    assert replace(SPEC, work="/srv").folder == "/srv/hub.site-1"
    assert replace(SPEC, work="~/fl").folder == "/home/x/fl/hub.site-1"
    assert replace(SPEC, run_dir="").folder == ""


def test_what_is_left_out_has_its_default() -> None:
    required = {name: asdict(SPEC)[name] for name in
                ("federation", "fqcn", "site", "role", "root", "host", "launcher", "kind", "run_dir")}  # fmt: skip
    spec = SiteSpec.from_json(json.dumps({**required, "config": {}}))
    assert (spec.config, spec.listen, spec.env, spec.resources) == (CellConfig(), (), {}, Resources())


REMEDY = "let `zmqfl up` write it"
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"fqnc": "x"}, "f.json: fqnc: unknown key; did you mean 'fqcn'?"),
    ({"zzz": "x"}, f"f.json: zzz: unknown key; {REMEDY}"),
    ({"fqcn": 3}, f"f.json: fqcn: must be str, not 3; {REMEDY}"),
    ({"plane": "any"}, f"f.json: plane: must be int, not 'any'; {REMEDY}"),
    ({"hearers": {"a": "props/"}}, f"f.json: hearers.a: must be a list, not 'props/'; {REMEDY}"),
    ({"run": 3}, f"f.json: run: must be str, not 3; {REMEDY}"),
    ({"role": "boss"}, "f.json: role: must be one of server, relay, client, admin, not 'boss'; " + REMEDY),
    ({"trusted_network": 1}, f"f.json: trusted_network: must be bool, not 1; {REMEDY}"),
    ({"parent_listener": True}, f"f.json: parent_listener: must be int, not True; {REMEDY}"),
    ({"args": "ab"}, f"f.json: args: must be a list, not 'ab'; {REMEDY}"),
    ({"args": ["a", 1]}, f"f.json: args.1: must be str, not 1; {REMEDY}"),
    ({"env": ["A"]}, f"f.json: env: must be a mapping, not ['A']; {REMEDY}"),
    ({"env": {"A": 1}}, f"f.json: env.A: must be str, not 1; {REMEDY}"),
    ({"listen": [{"bind": "x", "port": 1}]}, f"f.json: listen.0.port: unknown key; {REMEDY}"),
    ({"listen": [{}]}, f"f.json: listen.0.bind: is missing; {REMEDY}"),
    ({"resources": 3}, f"f.json: resources: must be a mapping, not 3; {REMEDY}"),
    ({"config": {"drain": 0}}, f"f.json: config.drain: must be a number above 0, not 0.0; {REMEDY}"),
    ({"config": {"drain": float("nan")}}, f"f.json: config.drain: must be a number above 0, not nan; {REMEDY}"),
]


@pytest.mark.parametrize(("change", "line"), CHANGES, ids=[line[8:40] for _, line in CHANGES])
def test_anything_else_is_one_line(change: dict[str, Any], line: str) -> None:
    assert problem(json.dumps({**asdict(SPEC), **change})) == line


def problem(text: str) -> str:
    with pytest.raises(TopologyError) as caught:
        SiteSpec.from_json(text, "f.json")
    return caught.value.line()


def test_no_json() -> None:
    assert problem("{").startswith("f.json: is not JSON: Expecting property name enclosed in double quotes: line 1")
    assert problem("[]") == f"f.json: must be a mapping, not []; {REMEDY}"
    assert problem("[" * 100_000).startswith("f.json: is not JSON: maximum recursion depth exceeded")
    required = asdict(SPEC)
    del required["fqcn"]
    assert problem(json.dumps(required)) == f"f.json: fqcn: is missing; {REMEDY}"


def test_a_site_process_needs_no_pydantic() -> None:
    code = "import sys, zmqfl.launch.spec, zmqfl.launch.settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "yaml"}.isdisjoint(loaded)
