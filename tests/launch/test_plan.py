"""Topology -> plan, compared whole; the shipped topologies; keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import KeyFileError, TopologyError, UsageError, UserError
from zmqfl.launch.plan import Plan, check_keys, make_plan
from zmqfl.launch.spec import Listener, Resources, Restart, SiteSpec, public_key, secret_key
from zmqfl.topology import Topology, load

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
RUN = Path("/run/fl")


def plan_of(tmp_path: Path, text: str, run_dir: Path = RUN) -> Plan:
    return make_plan(topology_of(tmp_path, text), run_dir)


def topology_of(tmp_path: Path, text: str) -> Topology:
    (tmp_path / "t.yaml").write_text("version: 1\nname: fl\n" + text)
    return load(tmp_path / "t.yaml", environ={})


def test_the_smallest_plan() -> None:
    server = SiteSpec(
        federation="pair",
        fqcn="server",
        site="server",
        role="server",
        root="server",
        host="localhost",
        launcher="local",
        kind="local",
        run_dir="/run/fl",
        config=CellConfig(),
        listen=(Listener("ipc:///run/fl/server.sock"),),
    )
    site = replace(
        server,
        fqcn="site-1",
        site="site-1",
        role="client",
        parent="server",
        parent_url="ipc:///run/fl/server.sock",
        listen=(),
    )
    assert make_plan(load(TOPOLOGIES / "pair.yaml"), RUN) == Plan("pair", "/run/fl", (server, site))


def test_the_folder_for_files(tmp_path: Path) -> None:
    topology = topology_of(tmp_path, "sites: {server: {}, a: {parent: server, work: /srv/fl, count: 2}}\n")
    folders = [spec.folder for spec in make_plan(topology, RUN).sites]
    assert folders == ["/run/fl/sites/server", "/srv/fl/a-1", "/srv/fl/a-2"]
    folders = [spec.folder for spec in make_plan(topology, RUN, Path("/disk")).sites]
    assert folders == ["/disk/server", "/srv/fl/a-1", "/srv/fl/a-2"]


FULL = """\
launchers: {local: {kind: local}, self: {kind: external}}
hosts: {localhost: {}, far: {address: far.example, launcher: self}}
security: {keys: keys}
timing: {heartbeat: 1}
settings: {max_hops: 8}
sites:
  gpu:
    parent: hub
    host: far
    count: 2
    run: python train.py --fast
    args: [--epochs, "2"]
    env: {A: b}
    secrets: {P: "file:/run/p"}
    resources: {cpus: 2, memory: 8G, gpus: 1}
    restart: {policy: always, backoff: 2, max: 3}
    exports: [/srv]
    allow: ["model.*"]
    hears: [rids/models/, bound/]
  hub: {parent: server, host: far, plane_port: 4, listen: [{bind: "tcp://0.0.0.0:2", advertise: "tcp://nat.example:3"}]}
  server: {host: localhost, listen: [{bind: auto}, {bind: "tcp://*:1", advertise: "tcp://fl.example:443"}]}
  near: {parent: server, plane: links}
"""


def test_everything_that_a_site_may_say(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, FULL)
    assert [spec.fqcn for spec in plan.sites] == ["server", "hub", "near", "hub.gpu-1", "hub.gpu-2"]
    gpu = SiteSpec(
        federation="fl",
        fqcn="hub.gpu-1",
        site="gpu",
        role="client",
        root="server",
        host="far",
        launcher="self",
        kind="external",
        run_dir="/run/fl",
        config=CellConfig(heartbeat=1, max_hops=8),
        parent="hub",
        parent_url="tcp://127.0.0.1:2",  # one machine
        keys=str(tmp_path / "keys"),
        run="python train.py --fast",
        args=("--epochs", "2"),
        env={"A": "b"},
        secrets={"P": "file:/run/p"},
        resources=Resources(2, "8G", 1),
        restart=Restart("always", 2, 3),
        exports=("/srv",),
        allow=("model.*",),
    )
    assert plan.site("hub.gpu-1") == gpu
    assert plan.site("hub.gpu-2") == replace(gpu, fqcn="hub.gpu-2")
    hub, server, near = plan.site("hub"), plan.site("server"), plan.site("near")
    assert (hub.role, hub.parent_url, hub.parent_listener) == ("relay", "tcp://fl.example:443", 1)
    assert hub.listen == (Listener("tcp://0.0.0.0:2", "tcp://nat.example:3"),)
    assert hub.children == ("hub.gpu-1", "hub.gpu-2")
    assert server.listen == (Listener("ipc:///run/fl/server.sock"), Listener("tcp://*:1", "tcp://fl.example:443"))
    assert server.children == ("hub",)  # `near` comes by the Unix socket
    assert hub.hearers == dict.fromkeys(("hub.gpu-1", "hub.gpu-2"), ("rids/models/", "bound/"))
    assert (server.hearers, server.plane, hub.plane, near.plane) == ({}, 0, 4, None)
    assert (near.parent_url, near.parent_listener, near.keys) == ("ipc:///run/fl/server.sock", 0, "")


def test_the_same_input_gives_the_same_plan(tmp_path: Path) -> None:
    assert plan_of(tmp_path, FULL).to_json() == plan_of(tmp_path, FULL).to_json()


def test_a_plan_is_json(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, FULL)
    shown = json.loads(plan.to_json())
    assert (shown["name"], shown["run_dir"]) == ("fl", "/run/fl")
    assert [SiteSpec.from_json(json.dumps(site)) for site in shown["sites"]] == list(plan.sites)


def test_a_site_learns_of_its_neighbours_only(tmp_path: Path) -> None:
    assert "hub" not in plan_of(tmp_path, FULL).site("near").to_json()
    assert "/run/p" not in plan_of(tmp_path, FULL).site("hub").to_json()


def test_without_security_there_are_no_keys(tmp_path: Path) -> None:
    server = "sites: {server: {listen: [{bind: 'tcp://127.0.0.1:1'}]}}"
    spec = plan_of(tmp_path, "security: {mode: none, keys: keys, trusted_network: true}\n" + server).site("server")
    assert (spec.security, spec.keys, spec.trusted_network) == ("none", "", True)


def test_a_site_that_was_provisioned_has_its_own_folder_of_keys(tmp_path: Path) -> None:
    text = "security: {keys: k}\nsites: {s: {listen: [{bind: 'tcp://127.0.0.1:1'}]}, a: {parent: s}, b: {parent: a}}"
    for name in ("s", "a.b"):
        (tmp_path / "k" / name / "public").mkdir(parents=True)
    plan = plan_of(tmp_path, text)
    assert {spec.fqcn: spec.keys for spec in plan.sites} == {
        "s": str(tmp_path / "k" / "s"), "a": str(tmp_path / "k"), "a.b": str(tmp_path / "k" / "a.b"),
    }  # fmt: skip


def test_automatic_keys_are_in_the_run_folder() -> None:
    plan = make_plan(load(TOPOLOGIES / "relay-tree.yaml"), RUN)
    assert {spec.keys for spec in plan.sites} == {"/run/fl/keys"}


def test_a_late_port_is_filled_in_when_the_parent_has_bound() -> None:
    plan = make_plan(load(TOPOLOGIES / "relay-tree.yaml"), RUN)
    relay = plan.site("region-a")
    assert relay.is_late
    assert relay.parent_endpoints == plan.site("server").endpoints == "/run/fl/server.endpoints.json"
    assert not plan.site("server").is_late
    known = relay.dialling(["tcp://127.0.0.1:40123"])
    assert not known.is_late
    assert known == replace(relay, parent_url="tcp://127.0.0.1:40123")


def test_a_late_wildcard_port_is_dialled_on_loopback(tmp_path: Path) -> None:
    text = "security: {keys: auto}\nsites: {s: {listen: [{bind: 'tcp://*:*'}]}, a: {parent: s}}"
    spec = plan_of(tmp_path, text).site("a")
    assert spec.is_late
    assert spec.dialling(["tcp://0.0.0.0:40123"]).parent_url == "tcp://127.0.0.1:40123"


def test_a_socket_path_must_fit(tmp_path: Path) -> None:
    text = "sites: {server: {}, a: {parent: server}}"
    longest = Path("/" + "x" * (107 - len("//server.sock")))
    assert plan_of(tmp_path, text, longest).site("a").parent_url == f"ipc://{longest}/server.sock"
    with pytest.raises(TopologyError) as caught:
        plan_of(tmp_path, text, Path(f"{longest}x"))
    assert caught.value.line() == (
        f"sites.server.listen: the path of its Unix socket has 108 bytes, more than 107: {longest}x/server.sock; "
        "use a shorter run folder"
    )


def test_the_run_folder_must_be_absolute() -> None:
    with pytest.raises(UsageError, match="the run folder 'run' is relative"):
        make_plan(load(TOPOLOGIES / "pair.yaml"), Path("run"))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, FULL)
    assert Plan.from_json(plan.to_json()) == plan


def test_the_command_line_comes_in_at_the_first_site_of_this_machine(tmp_path: Path) -> None:
    pair = make_plan(load(TOPOLOGIES / "pair.yaml"), RUN)
    assert pair.door == ("server", "ipc:///run/fl/server.sock")  # where its children come in, too
    tree = make_plan(load(TOPOLOGIES / "relay-tree.yaml"), RUN)
    assert tree.site("server").listen == (Listener("tcp://127.0.0.1:*"), Listener("ipc:///run/fl/server.sock"))
    assert tree.door == ("server", "ipc:///run/fl/server.sock")
    silo = "sites: {server: {host: far, listen: [{bind: 'tcp://0.0.0.0:1'}]}, a: {parent: server, count: 2}}"
    far = plan_of(tmp_path, "security: {keys: k}\n" + KEYS.split("security")[0] + silo)
    assert far.door == ("a-1", "ipc:///run/fl/a-1.sock")
    assert [spec.listen for spec in far.local] == [(Listener("ipc:///run/fl/a-1.sock"),), ()]
    assert make_plan(load(TOPOLOGIES / "hospitals.yaml", environ={}), RUN).door == ("", "")


def test_only_some_of_the_sites_and_those_above() -> None:
    tree = make_plan(load(TOPOLOGIES / "relay-tree.yaml"), RUN)
    assert tree.only([]) == tree
    some = tree.only(["site-a", "region-b.site-b-2"])
    names = ["server", "region-a", "region-b", "region-a.site-a-1", "region-a.site-a-2", "region-b.site-b-2"]
    assert [spec.fqcn for spec in some.sites] == names
    assert some.site("region-b").children == ("region-b.site-b-2",)  # the key of the other one is not made
    with pytest.raises(UserError, match="has no site 'site-c'; did you mean 'site-"):
        tree.only(["site-c"])


def test_an_unknown_site_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        make_plan(load(TOPOLOGIES / "pair.yaml"), RUN).site("site-9")


SHIPPED = {
    "pair": "server site-1",
    "quickstart": "server site-1 site-2 site-3",
    "secure-star": "server site-1 site-2",
    "relay-tree": "server region-a region-b region-a.site-a-1 region-a.site-a-2 region-b.site-b-1 region-b.site-b-2",
    "hospitals": "server region-a stmary " + " ".join(f"region-a.gpu-{i}" for i in range(1, 9)),
}


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_topologies(path: Path) -> None:
    plan = make_plan(load(path, environ={}), RUN)
    names = [spec.fqcn for spec in plan.sites]
    assert " ".join(names) == SHIPPED[path.stem]
    for i, spec in enumerate(plan.sites):
        assert SiteSpec.from_json(spec.to_json()) == spec
        assert spec.parent in names[:i] or spec.fqcn == "server"


# ---------------------------------------------------------------------------------------------------------------- keys


def make_keys(folder: Path, *names: str) -> None:
    for name in names:
        for file in (public_key(str(folder), name), secret_key(str(folder), name)):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch()


KEYS = """\
launchers: {local: {kind: local}, self: {kind: external}}
hosts: {localhost: {}, far: {address: far.example, launcher: self}}
security: {keys: keys}
sites:
  server: {listen: [{bind: "tcp://*:1", advertise: "tcp://fl.example:1"}]}
  near: {parent: server}
  far: {parent: server, host: far}
"""


def test_key_files(tmp_path: Path) -> None:
    plan, keys = plan_of(tmp_path, KEYS), str(tmp_path / "keys")
    assert plan.site("server").key_files() == (
        secret_key(keys, "server"),
        public_key(keys, "server"),
        public_key(keys, "near"),
        public_key(keys, "far"),
    )
    assert plan.site("near").key_files() == (
        secret_key(keys, "near"),
        public_key(keys, "near"),
        public_key(keys, "server"),
    )
    assert make_plan(load(TOPOLOGIES / "pair.yaml"), RUN).site("server").key_files() == ()


def test_missing_keys_are_named(tmp_path: Path) -> None:
    plan, keys = plan_of(tmp_path, KEYS), tmp_path / "keys"
    make_keys(keys, "server", "near")
    with pytest.raises(KeyFileError) as caught:
        check_keys(plan)
    missing = keys / "public" / "far.key"
    assert caught.value.line() == f"{missing}: cell 'server' needs this key; make it with `zmqfl keygen`"
    missing.touch()  # its secret stays where it was made: this machine does not start the site
    check_keys(plan)


def test_a_site_that_takes_jobs_listens_for_their_processes(tmp_path: Path) -> None:
    sites = "sites: {server: {}, site: {parent: server, count: 2}, bare: {parent: server, jobs: false}}"
    plan = plan_of(tmp_path, f"defaults: {{jobs: true}}\n{sites}")
    assert [(spec.fqcn, spec.jobs, [each.bind for each in spec.listen]) for spec in plan.sites] == [
        ("server", True, ["ipc:///run/fl/server.sock"]),
        ("site-1", True, ["ipc:///run/fl/site-1.sock"]),
        ("site-2", True, ["ipc:///run/fl/site-2.sock"]),
        ("bare", False, []),
    ]


def test_a_program_takes_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"sites\.server\.jobs: the program that `run` names would take over"):
        plan_of(tmp_path, "sites: {server: {jobs: true, run: python x.py}}")
    plan_of(tmp_path, "sites: {server: {jobs: true, run: 'module:function'}}")
