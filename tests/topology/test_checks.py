"""What must hold between fields: references, the tree, the links."""

from __future__ import annotations

import itertools

import pytest

from tests.topology.conftest import Load, Problems
from zmqfl.topology.checks import near

HEAD = "version: 1\nname: fl\n"
SELF = HEAD + "launchers: {local: {kind: local}, self: {kind: external}}\n"
HOSTS = (
    SELF + "hosts: {localhost: {}, hub: {address: hub.ex, launcher: self}, far: {address: far.ex, launcher: self}}\n"
)
KEYS = HOSTS + "security: {keys: keys}\n"


def test_near() -> None:
    assert near("regoin-a", ["server", "region-a"]) == "did you mean 'region-a'?"
    assert near("zzz", ["b", "a"]) == "there is: a, b"
    assert near("zzz", "abcdefghijklmn") == "there is: a, b, c, d, e, f, g, h, i, j, k, l, ..."
    assert near("zzz", []) == "there is none"


REFERENCES = {
    SELF + "hosts: {localhost: {launcher: slef}}\nsites: {server: {}}": [
        "4: hosts.localhost.launcher: no launcher 'slef'; did you mean 'self'?"
    ],
    HEAD + "sites:\n  server: {host: localhsot}": [
        "4: sites.server.host: no host 'localhsot'; did you mean 'localhost'?"
    ],
    HEAD + "sites:\n  region-a: {}\n  x: {parent: regoin-a}": [
        "5: sites.x.parent: no site 'regoin-a'; did you mean 'region-a'?"
    ],
    HEAD + "sites:\n  server: {env: {A: x, B: y}, secrets: {B: 'env:X', C: 'env:X'}}": [
        "4: sites.server.secrets.B: is also in `env`; keep one of them"
    ],
    HEAD + "settings: {heartbeat: 1, segmnet: 3}\nsites: {s: {parent: x}}": [
        "3: settings.heartbeat: belongs under `timing`; move it there",
        "3: settings.segmnet: unknown setting; did you mean 'segment'?",
        "4: sites.s.parent: no site 'x'; there is: s",
    ],
    HEAD + "settings: {segment: 1.5}\nsites: {s: {}}": ["3: settings.segment: must be a whole number, not 1.5"],
    HEAD + "settings:\n  segment: big\nsites: {s: {}}": ["4: settings.segment: must be a number above 0, not 'big'"],
    HEAD + "timing:\n  reconnect: [2, 1]\nsites: {s: {}}": ["4: timing.reconnect.1: must not be below reconnect_min"],
    HEAD + "timing: {heartbeat: 30}\nsites: {s: {}}": [
        "3: timing.dead_after: 10.0 s is shorter than a heartbeat (30.0 s); give at least two heartbeats"
    ],
    HEAD + "settings: {segment: 1000}\nsites: {s: {}}": ["3: settings.control_limit: must not be above segment"],
}

TREE = {
    HEAD + "sites:\n  a: {}\n  server: {role: server}\n  b: {}": [
        (
            "4: sites.a.parent: has no parent, and neither has 'server': one site is the root; "
            "give it a parent, for example 'server'"
        ),
        (
            "6: sites.b.parent: has no parent, and neither has 'server': one site is the root; "
            "give it a parent, for example 'server'"
        ),
    ],
    HEAD + "sites:\n  a: {parent: b}\n  b: {parent: c}\n  c: {parent: b}\n  d: {parent: d}\n  r: {}": [
        "5: sites.b.parent: the parents form a circle: b -> c -> b; give one of them another",
        "7: sites.d.parent: the parents form a circle: d -> d; give one of them another",
    ],
    HEAD + "sites:\n  r: {}\n  gpu: {parent: r, count: 2}\n  gpu-2: {parent: r}": [
        "6: sites.gpu-2: 'gpu' and 'gpu-2' both make a process 'gpu-2'; rename one of them"
    ],
}

LINKS = {
    HOSTS + "sites:\n  server: {host: hub}\n  a: {parent: server, host: hub}": [
        "7: sites.a.parent: 'server' has no `listen`; add it to sites.server"
    ],
    HOSTS + "sites:\n  server: {}\n  a: {parent: server, host: far}": [
        (
            "7: sites.a.parent: 'server' listens only for its own machine, and this site runs on host 'far'; "
            "add a tcp address to sites.server.listen"
        )
    ],
    KEYS + "sites:\n  server: {host: hub, listen: [{bind: 'tcp://127.0.0.1:1'}, {bind: 'ipc:///x'}]}\n"
    "  a: {parent: server, host: far}": [
        (
            "8: sites.a.parent: 'server' listens only for its own machine, and this site runs on host 'far'; "
            "add a tcp address to sites.server.listen"
        )
    ],
    HEAD + "sites:\n  server: {}\n  r: {parent: server, count: 2}\n  a: {parent: r}": [
        (
            "5: sites.r.count: a site with children cannot be repeated: each child has one parent; "
            "write the sites out, or put `count` on the children"
        )
    ],
    HEAD + "sites:\n  server: {count: 2, listen: [{bind: auto}]}": [
        (
            "4: sites.server.count: a site with children cannot be repeated: each child has one parent; "
            "write the sites out, or put `count` on the children"
        )
    ],
    HEAD + "sites:\n  server: {listen: [{bind: auto, advertise: 'tcp://h:1'}]}": [
        "4: sites.server.listen.0.bind: other machines cannot dial a Unix socket; leave `advertise` out, or bind tcp"
    ],
    HOSTS + "sites:\n  server: {host: hub, listen: [{bind: auto}]}": [
        (
            "6: sites.server.listen.0.bind: auto is a file in the run folder of the local launcher; "
            "write ipc:///PATH or tcp://IP:PORT"
        )
    ],
    KEYS + "sites:\n  server:\n    listen: [{bind: 'tcp://0.0.0.0:*'}]\n  a: {parent: server, host: far}": [
        "8: sites.server.listen.0.bind: the port is known only on this machine, once it is bound; give a port number"
    ],
    KEYS + "sites:\n  server: {listen: [{bind: 'tcp://0.0.0.0:0', advertise: 'tcp://h:1'}]}": [
        "7: sites.server.listen.0.bind: the port is known only on this machine, once it is bound; give a port number"
    ],
    HEAD + "security: {mode: none}\nsites:\n  server: {listen: [{bind: 'tcp://*:1'}]}": [
        (
            "5: sites.server.listen.0.bind: tcp://*:1 is open to the network with security.mode none; "
            "set security.mode: curve, bind 127.0.0.1, or set security.trusted_network: true if a VPN guards it"
        )
    ],
    HEAD + "security: {mode: none}\nsites:\n  server: {listen: [{bind: 'tcp://eth0:1'}]}": [
        (
            "5: sites.server.listen.0.bind: tcp://eth0:1 is open to the network with security.mode none; "
            "set security.mode: curve, bind 127.0.0.1, or set security.trusted_network: true if a VPN guards it"
        )
    ],
    HEAD + "security: {keys: k}\nsites:\n  server: {listen: [{bind: 'tcp://127.0.0.1:1'}]}\n"
    "  a: {parent: server, listen: [{bind: 'tcp://*:1'}]}": [
        (
            "6: sites.a.listen.0.bind: tcp://127.0.0.1:1 of 'server' on the same machine takes tcp://*:1; "
            "give it an address of its own"
        )
    ],
    HEAD + "security: {keys: k}\nsites:\n"
    "  server: {plane_port: 2, listen: [{bind: auto}, {bind: 'tcp://127.0.0.1:1'}]}\n"
    "  a: {parent: server, plane_port: 2, listen: [{bind: 'tcp://*:3'}]}\n"
    "  b: {parent: server, plane_port: 2, plane: links, listen: [{bind: 'tcp://*:4'}]}\n"  # publishes nowhere
    "  c: {parent: server, plane_port: 2}": [
        (
            "6: sites.a.plane_port: tcp://127.0.0.1:2 of 'server' on the same machine takes tcp://*:2; "
            "give it an address of its own"
        )
    ],
    HEAD + "sites:\n  server: {listen: [{bind: auto}, {bind: auto}]}": [
        "4: sites.server.listen.1.bind: auto of 'server' on the same machine takes auto; give it an address of its own"
    ],
    HEAD + "sites:\n  server: {listen: [{bind: 'tcp://127.0.0.1:1'}]}": [
        # There is no `security:` to point at: the top of the file.
        (
            "1: security.keys: CURVE needs keys, since 'server' listens on tcp; "
            "give a folder, or `auto` where all sites are local"
        )
    ],
    HOSTS + "security: {mode: curve}\nsites:\n  server: {host: hub, listen: [{bind: 'tcp://*:1'}]}": [
        (
            "5: security.keys: CURVE needs keys, since 'server' listens on tcp; "
            "give a folder, or `auto` where all sites are local"
        )
    ],
    HOSTS
    + "security: {keys: auto}\nsites:\n  server: {listen: [{bind: 'tcp://*:1'}]}\n  a: {parent: server, host: far}": [
        (
            "5: security.keys: auto makes keys on this machine only, and 'a' is not started here; "
            "give a folder, and make the keys with `zmqfl keygen`"
        )
    ],
}
BAD = {**REFERENCES, **TREE, **LINKS}


@pytest.mark.parametrize("text", BAD, ids=[lines[0].partition(": ")[2] for lines in BAD.values()])
def test_what_does_not_hold_is_told(problems: Problems, text: str) -> None:
    assert problems(text) == [f"t.yaml:{line}" for line in BAD[text]]


def test_names_too_long_together(problems: Problems) -> None:
    names = [f"{i:0>40}" for i in range(8)]
    sites = "".join(f"  '{name}': {{parent: '{parent}'}}\n" for parent, name in itertools.pairwise(names))
    lines = problems(f"{HEAD}sites:\n  '{names[0]}': {{}}\n{sites}")
    # The root is part of no name; six names of 40 and their dots pass 240.
    assert lines == [
        f"t.yaml:{line}: sites.{names[line - 4]}.parent: the names on the way to the root are too long; shorten them"
        for line in (10, 11)
    ]


def test_a_chain_of_a_thousand_sites_is_an_error_and_no_crash(problems: Problems) -> None:
    sites = "".join(f"  s{i}: {{parent: s{i - 1}}}\n" for i in range(1, 1000))
    assert "the names on the way to the root are too long" in problems(f"{HEAD}sites:\n  s0: {{}}\n{sites}")[0]


GOOD = {
    "curve on every address": KEYS + "sites: {s: {host: hub, listen: [{bind: 'tcp://0.0.0.0:1'}]}}",
    "none on loopback": HEAD + "security: {mode: none}\nsites: {s: {listen: [{bind: 'tcp://127.0.0.1:1'}, "
    "{bind: 'tcp://[::1]:1'}]}}",
    "none in a trusted network": HEAD + "security: {mode: none, trusted_network: true}\n"
    "sites: {s: {listen: [{bind: 'tcp://*:1'}]}}",
    "one port on two machines": KEYS + "sites: {s: {host: hub, listen: [{bind: 'tcp://*:1'}]}, "
    "a: {parent: s, host: far, listen: [{bind: 'tcp://*:1'}]}}",
    "two automatic sockets on one machine": HEAD + "sites: {s: {listen: [{bind: auto}]}, "
    "a: {parent: s, listen: [{bind: auto}]}}",
    "no keys without tcp": HOSTS + "sites: {s: {host: hub, listen: [{bind: 'ipc:///x'}]}, a: {parent: s, host: hub}}",
    "a reverse proxy before loopback": KEYS + "sites: {s: {host: hub, "
    "listen: [{bind: 'tcp://127.0.0.1:1', advertise: 'tcp://proxy.example:443'}]}, a: {parent: s, host: far}}",
    "no process yet": HEAD + "sites: {s: {}, a: {parent: s, count: 0}}",
}


@pytest.mark.parametrize("what", GOOD)
def test_what_holds(load_text: Load, what: str) -> None:
    assert "s" in load_text(GOOD[what]).sites
