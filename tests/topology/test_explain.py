"""A field that is wrong for itself: one line with file, line, field, problem, remedy."""

from __future__ import annotations

import pytest
from pydantic_core import ErrorDetails

from tests.topology.conftest import Problems
from zmqfl.topology.explain import _explain
from zmqfl.topology.source import Node

GOOD = """\
version: 1
name: fl
launchers: {local: {kind: local}, self: {kind: external}}
hosts: {localhost: {}}
security: {mode: curve}
timing: {drain: 5}
defaults: {}
sites:
  server: {listen: [{bind: auto}]}
  site: {parent: server}
"""

NO_NAME = "is no name; use up to 40 of a-z, 0-9 and -, no - at the ends: it becomes part of host and unit names"

ROWS = [
    # What is replaced in GOOD, by what, and the line that says so.
    ("version: 1", "version: 2", "1: version: must be 1, not 2"),
    ("version: 1", 'version: "1"', "1: version: must be 1, not '1'"),
    ("name: fl", "name: FL", f"2: name: 'FL' {NO_NAME}"),
    ("name: fl", "name: 3", "2: name: must be text, not 3; put it in quotes"),
    ("name: fl", "name: true", "2: name: must be text, not true; put it in quotes"),
    ("name: fl", "name: [x]", "2: name: must be text, not a list"),
    ("name: fl", "name: {x: y}", "2: name: must be text, not a mapping"),
    ("name: fl", "name:", "2: name: must be text, not nothing"),
    ("name: fl", "nmae: fl\nname: fl", "2: nmae: unknown key; did you mean 'name'?"),
    ("name: fl", "q: 3\nname: fl", ("2: q: unknown key; there is: "
     "defaults, extends, hosts, launchers, name, security, settings, sites, timing, version")),
    ("{kind: local}", "{kind: local, user: fl}", "3: launchers.local.user: unknown key; there is: kind"),
    ("{kind: external}", "{kind: external, nots: x}", "3: launchers.self.nots: unknown key; did you mean 'note'?"),
    ("{kind: external}", "{kind: slurm, queue: gpu}",
     "3: launchers.self: no launcher kind 'slurm' in this version; there is: external, local"),
    ("{kind: external}", "{kind: extern}",
     "3: launchers.self: no launcher kind 'extern' in this version; did you mean 'external'?"),
    ("{kind: external}", "{}", "3: launchers.self: has no `kind`; there is: local, external"),
    ("{kind: external}", "external", "3: launchers.self: must be a mapping, not 'external'"),
    ("self:", "Self:", f"3: launchers.Self: 'Self' {NO_NAME}"),
    ("localhost: {}", "localhost: {adress: x}", "4: hosts.localhost.adress: unknown key; did you mean 'address'?"),
    ("localhost: {}", "localhost: {address: 'x:1'}",
     ("4: hosts.localhost.address: 'x:1' is no host name or IP address; "
     "give what other machines know this host by, without a port")),
    ("mode: curve", "mode: curv", "5: security.mode: must be 'curve' or 'none', not 'curv'"),
    ("mode: curve", "trusted_network: yes", "5: security.trusted_network: must be true or false, not 'yes'"),
    ("mode: curve", "key: x", "5: security.key: unknown key; did you mean 'keys'?"),
    ("mode: curve", "allow: any", "5: security.allow: must be 'listed', not 'any'"),
    ("drain: 5", "drian: 5", "6: timing.drian: unknown key; did you mean 'drain'?"),
    ("drain: 5", "drain: 5s", "6: timing.drain: must be a number, not '5s'"),
    ("drain: 5", "drain: 0", "6: timing.drain: must be above 0, not 0"),
    ("drain: 5", "drain: 1e999", "6: timing.drain: must be a finite number, not Infinity"),
    ("drain: 5", "reconnect: 5", "6: timing.reconnect: must be a list, not 5"),
    ("drain: 5", "reconnect: [5]", "6: timing.reconnect.1: is missing; add it"),
    ("drain: 5", "reconnect: [1, 2, 3]", "6: timing.reconnect: has 3 entries, not 2"),
    ("defaults: {}", "defaults: {rnu: x}", "7: defaults.rnu: unknown key; did you mean 'run'?"),
    ("defaults: {}", "defaults: {listen: [{bnid: x, bind: auto}]}",
     "7: defaults.listen.0.bnid: unknown key; did you mean 'bind'?"),
    ("site: {", "site-: {", f"10: sites.site-: 'site-' {NO_NAME}"),
    ("site: {", f"{41 * 'x'}: {{", f"10: sites.{41 * 'x'}: {41 * 'x'!r} {NO_NAME}"),
    ("site: {parent: server}", "site:", "10: sites.site: must be a mapping, not nothing; write {} for an empty one"),
    ("site: {", "site: {cuont: 8, ", "10: sites.site.cuont: unknown key; did you mean 'count'?"),
    ("site: {", "site: {count: 2.5, ", "10: sites.site.count: must be a whole number, not 2.5"),
    ("site: {", "site: {count: -1, ", "10: sites.site.count: must be at least 0, not -1"),
    ("site: {", "site: {count: 20000, ", "10: sites.site.count: must be at most 10000, not 20000"),
    ("site: {", "site: {role: worker, ",
     "10: sites.site.role: must be 'server', 'relay', 'client' or 'admin', not 'worker'"),
    ("site: {", "site: {args: [--epochs, 2], ", "10: sites.site.args.1: must be text, not 2; put it in quotes"),
    ("site: {", "site: {args: --epochs, ", "10: sites.site.args: must be a list, not '--epochs'"),
    ("site: {", "site: {env: {A: true}, ", "10: sites.site.env.A: must be text, not true; put it in quotes"),
    ("site: {", "site: {env: {A-B: x}, ",
     "10: sites.site.env.A-B: 'A-B' is no name of a variable; use letters, digits and _, no digit first"),
    ("site: {", "site: {secrets: {A: hunter2}, ",
     ("10: sites.site.secrets.A: the value is no reference; "
     "write file:PATH, env:NAME or credential:NAME, never the secret itself")),
    ("site: {", "site: {resources: {gpu: 1}, ", "10: sites.site.resources.gpu: unknown key; did you mean 'gpus'?"),
    ("site: {", "site: {resources: {memory: 8 GB}, ",
     "10: sites.site.resources.memory: '8 GB' is no amount of memory; write for example 512M or 8G"),
    ("site: {", "site: {restart: {polic: x}, ", "10: sites.site.restart.polic: unknown key; did you mean 'policy'?"),
    ("site: {", "site: {restart: {policy: yes}, ",
     "10: sites.site.restart.policy: must be 'never', 'on-failure' or 'always', not 'yes'"),
    ("site: {", "site: {exports: [data], ",
     "10: sites.site.exports.0: 'data' is no absolute path; begin it with / or ~"),
    ("site: {", "site: {plane: link, ", "10: sites.site.plane: must be 'pubsub' or 'links', not 'link'"),
    ("site: {", "site: {plane_port: 70000, ", "10: sites.site.plane_port: must be at most 65535, not 70000"),
    ("site: {", "site: {hears: props/, ", "10: sites.site.hears: must be a list, not 'props/'"),
    ("site: {", "site: {hears: [rids/, props/site-1], ",  # it would be the beginning of props/site-10/, too
     ("10: sites.site.hears.1: 'props/site-1' is no beginning of topics; "
     "write props/, props/FQCN/, rids/, rids/GROUP/ or bound/")),
    ("site: {", "site: {hears: [''], ",
     ("10: sites.site.hears.0: '' is no beginning of topics; "
     "write props/, props/FQCN/, rids/, rids/GROUP/ or bound/")),
    ("site: {", "site: {run: '', ", "10: sites.site.run: is empty; leave `run` out for a bare cell"),
    ("site: {", "site: {run: \"echo 'x\", ",
     "10: sites.site.run: is no command line: No closing quotation; mend the quotes"),
    ("bind: auto", "bind: 8102", "9: sites.server.listen.0.bind: must be text, not 8102; put it in quotes"),
    ("bind: auto", "bind: '8102'", ("9: sites.server.listen.0.bind: '8102' is not an address; "
     "write tcp://IP:PORT, ipc:///PATH or auto")),
    ("bind: auto", "bind: 'tcp://*:1', advertise: 'tcp://*:1'",
     ("9: sites.server.listen.0.advertise: nobody can dial 'tcp://*:1' from outside; "
     "write tcp://NAME:PORT as the children see it")),
    ("bind: auto", "advertise: 'tcp://h:1'", "9: sites.server.listen.0.bind: is missing; add it"),
    ("[{bind: auto}]", "auto", "9: sites.server.listen: must be a list, not 'auto'"),
    ("[{bind: auto}]", "[auto]", "9: sites.server.listen.0: must be a mapping, not 'auto'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), ROWS, ids=[new for _, new, _ in ROWS])
def test_one_mistake_is_one_line(problems: Problems, old: str, new: str, line: str) -> None:
    assert GOOD.count(old) == 1
    assert problems(GOOD.replace(old, new)) == [f"t.yaml:{line}"]


def test_a_long_value_is_shortened(problems: Problems) -> None:
    (line,) = problems(GOOD.replace("bind: auto", f"bind: {'x' * 500}"))
    assert line.startswith("t.yaml:9: sites.server.listen.0.bind: ")
    (line,) = problems(GOOD.replace("mode: curve", f"mode: {'x' * 500}"))
    assert line == f"t.yaml:5: security.mode: must be 'curve' or 'none', not '{'x' * 57}...'"


def test_no_sites(problems: Problems) -> None:
    assert problems("version: 1\nname: fl\nsites: {}") == ["t.yaml:3: sites: has 0 entries, not at least 1"]
    assert problems("name: fl") == ["t.yaml:1: version: is missing; add it", "t.yaml:1: sites: is missing; add it"]


def test_all_mistakes_are_told_in_the_order_of_lines(problems: Problems) -> None:
    text = GOOD.replace("version: 1", "version: 2").replace("curve", "none!").replace("parent: server", "parent: 1")
    assert [line.split(": ")[1] for line in problems(text)] == ["version", "security.mode", "sites.site.parent"]


def test_an_error_that_pydantic_may_invent_is_passed_on() -> None:
    """Each kind that can occur now has words above; the next version of pydantic may know one more."""
    root = Node({"name": Node("fl", "t.yaml", 2, "name")}, "t.yaml", 1, "")
    details: ErrorDetails = {"type": "new_kind", "loc": ("name",), "msg": "Input is odd", "input": "fl"}
    assert _explain(root, details).line() == "t.yaml:2: name: Input is odd; see conf/topology.schema.json"
