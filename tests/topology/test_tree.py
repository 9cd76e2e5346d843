"""Questions to a good topology: names, roles, machines, and who dials what."""

from __future__ import annotations

import pytest

from tests.topology.conftest import Load
from zmqfl.topology import tree

TREE = """\
version: 1
name: fl
sites:
  leaf: {parent: relay}
  relay: {parent: server}
  server: {}
  gpu: {parent: relay, count: 2}
  boss: {parent: server, role: admin}
"""


def test_names_and_roles(load_text: Load) -> None:
    topology = load_text(TREE)
    assert tree.root(topology) == "server"
    assert tree.children(topology, "relay") == ["leaf", "gpu"]
    assert tree.top_down(topology) == ["server", "relay", "boss", "leaf", "gpu"]
    assert tree.instances(topology, "leaf") == ["leaf"]
    assert tree.instances(topology, "gpu") == ["gpu-1", "gpu-2"]
    names = {name: tree.fqcn(topology, name, name) for name in topology.sites}
    assert names == {"leaf": "relay.leaf", "relay": "relay", "server": "server", "gpu": "relay.gpu", "boss": "boss"}
    roles = {name: tree.role(topology, name) for name in topology.sites}
    assert roles == {"leaf": "client", "relay": "relay", "server": "server", "gpu": "client", "boss": "admin"}


def test_a_count_of_one_is_numbered_too(load_text: Load) -> None:
    """So that the name stays when the count grows."""
    topology = load_text(TREE, "sites.gpu.count=1")
    assert tree.instances(topology, "gpu") == ["gpu-1"]


MACHINES = """\
version: 1
name: fl
launchers: {local: {kind: local}, self: {kind: external}}
hosts:
  localhost: {}
  public: {address: fl.example.org}
  joined: {launcher: self}
  far: {address: far.example, launcher: self}
  same: {address: far.example, launcher: self}
security: {keys: keys}
sites:
  server: {}
"""


def test_machines(load_text: Load) -> None:
    """What the local launcher starts is here, whatever others call this machine; so is what has a loopback address."""
    hosts = ["localhost", "public", "joined", "far", "same"]
    found = [tree.machine(load_text(MACHINES, f"sites.server.host={host}"), "server") for host in hosts]
    assert found == ["", "", "", "far.example", "far.example"]


DIALLED = [
    # The parent's host, its addresses; the child's host; which address, and what the child dials.
    ("localhost", "", "localhost", (0, "auto")),
    ("localhost", "", "joined", (0, "auto")),
    ("public", "tcp://0.0.0.0:1 auto", "localhost", (1, "auto")),
    ("public", "tcp://0.0.0.0:1 auto", "far", (0, "tcp://fl.example.org:1")),
    ("public", "tcp://*:1", "localhost", (0, "tcp://127.0.0.1:1")),
    ("public", "tcp://*:*", "localhost", (0, "tcp://127.0.0.1:*")),
    ("public", "tcp://[::]:1", "localhost", (0, "tcp://[::1]:1")),
    ("public", "tcp://[::]:1", "far", (0, "tcp://fl.example.org:1")),
    ("far", "tcp://10.0.0.1:1", "localhost", (0, "tcp://10.0.0.1:1")),
    ("far", "tcp://*:1>tcp://nat.example:443", "localhost", (0, "tcp://nat.example:443")),
    ("far", "tcp://*:1>tcp://nat.example:443", "same", (0, "tcp://127.0.0.1:1")),
    ("far", "ipc:///x tcp://127.0.0.1:2 tcp://*:1", "localhost", (2, "tcp://far.example:1")),
    ("far", "tcp://127.0.0.1:2 ipc:///x", "same", (1, "ipc:///x")),
]


@pytest.mark.parametrize(("host", "listen", "child", "expected"), DIALLED)
def test_what_a_child_dials(load_text: Load, host: str, listen: str, child: str, expected: tuple[int, str]) -> None:
    entries = []
    for entry in listen.split():
        bind, _, advertise = entry.partition(">")
        entries.append(f"{{bind: '{bind}'" + (f", advertise: '{advertise}'}}" if advertise else "}"))
    topology = load_text(
        MACHINES + f"  child: {{parent: server, host: {child}}}",
        f"sites.server={{host: {host}, listen: [{', '.join(entries)}]}}",
    )
    dialled = tree.dialled(topology, "child")
    assert dialled is not None
    assert (dialled[0], str(dialled[1])) == expected
    assert tree.dialled(topology, "server") is None
