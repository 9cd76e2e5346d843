"""What must hold between the fields of a topology.

Three stages; a stage with problems ends the check, since the next one takes its facts for granted:

    references   hosts, launchers, parents and settings exist
    tree         one root, no cycles, no two processes of one name
    links        each site can reach its parent, addresses are free, secured, and known in time
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import NamedTuple

from zmqfl.config import CellConfig
from zmqfl.errors import FqcnError, TopologyError
from zmqfl.fqcn import parse
from zmqfl.topology import tree
from zmqfl.topology.endpoint import AUTO, Endpoint
from zmqfl.topology.schema import TIMING, Listen, Site, Topology
from zmqfl.topology.source import Step

MAX_SHOWN = 12
"""Names in one message."""


class Problem(NamedTuple):
    """What is wrong, at which path of the file, and what to do."""

    path: tuple[Step, ...]
    problem: str
    remedy: str


def check(topology: Topology) -> list[Problem]:
    """The problems of the first stage that has any."""
    for stage in (_references, _tree, _links):
        if problems := list(stage(topology)):
            return problems
    return []


def near(name: str, names: Iterable[str]) -> str:
    """A remedy for an unknown name: the one that was meant, or those that there are."""
    known = sorted(names)
    if close := difflib.get_close_matches(name, known, 1):
        return f"did you mean {close[0]!r}?"
    more = ", ..." if len(known) > MAX_SHOWN else ""
    return f"there is: {', '.join(known[:MAX_SHOWN])}{more}" if known else "there is none"


# ---------------------------------------------------------------------------------------------------------- references


def _references(topology: Topology) -> Iterator[Problem]:
    for name, host in topology.hosts.items():
        if host.launcher not in topology.launchers:
            remedy = near(host.launcher, topology.launchers)
            yield Problem(("hosts", name, "launcher"), f"no launcher {host.launcher!r}", remedy)
    for name, site in topology.sites.items():
        if site.host not in topology.hosts:
            yield Problem(("sites", name, "host"), f"no host {site.host!r}", near(site.host, topology.hosts))
        if site.parent is not None and site.parent not in topology.sites:
            yield Problem(("sites", name, "parent"), f"no site {site.parent!r}", near(site.parent, topology.sites))
        for both in sorted(site.env.keys() & site.secrets.keys()):
            yield Problem(("sites", name, "secrets", both), "is also in `env`", "keep one of them")
    yield from _settings(topology)


def _settings(topology: Topology) -> Iterator[Problem]:
    known = {field.name for field in fields(CellConfig)}
    timed = topology.settings.keys() & TIMING
    unknown = topology.settings.keys() - known
    for name in sorted(timed):
        yield Problem(("settings", name), "belongs under `timing`", "move it there")
    for name in sorted(unknown):
        yield Problem(("settings", name), "unknown setting", near(name, known - TIMING))
    if timed or unknown:
        return
    try:
        topology.cell_config()
    except TopologyError as error:
        yield Problem(_setting_path(error.field), error.problem, error.remedy)


def _setting_path(field: str) -> tuple[Step, ...]:
    if field == "reconnect_max":
        return "timing", "reconnect", 1
    return "timing" if field in TIMING else "settings", field


# ---------------------------------------------------------------------------------------------------------------- tree


def _tree(topology: Topology) -> Iterator[Problem]:
    roots = [name for name, site in topology.sites.items() if site.parent is None]
    roots.sort(key=lambda name: topology.sites[name].role != "server")  # the one that was meant comes first
    for other in roots[1:]:
        problem = f"has no parent, and neither has {roots[0]!r}: one site is the root"
        yield Problem(("sites", other, "parent"), problem, f"give it a parent, for example {roots[0]!r}")
    yield from _cycles(topology)
    yield from _names(topology)


def _cycles(topology: Topology) -> Iterator[Problem]:
    clear: set[str] = set()
    for name in topology.sites:
        path: list[str] = []
        at: str | None = name
        while at is not None and at not in clear and at not in path:
            path.append(at)
            at = topology.sites[at].parent
        if at in path:
            cycle = " -> ".join([*path[path.index(at) :], at])
            yield Problem(("sites", at, "parent"), f"the parents form a circle: {cycle}", "give one of them another")
        clear.update(path)


def _names(topology: Topology) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name in topology.sites:
        for instance in tree.instances(topology, name):
            if (owner := owners.setdefault(instance, name)) != name:
                problem = f"{owner!r} and {name!r} both make a process {instance!r}"
                yield Problem(("sites", name), problem, "rename one of them")


# --------------------------------------------------------------------------------------------------------------- links


def _links(topology: Topology) -> Iterator[Problem]:
    for name, site in topology.sites.items():
        yield from _parent(topology, name)
        if site.count is not None and (site.listen or tree.children(topology, name)):
            problem = "a site with children cannot be repeated: each child has one parent"
            yield Problem(("sites", name, "count"), problem, "write the sites out, or put `count` on the children")
        for i, entry in enumerate(site.listen):
            for problem, remedy in _listen(topology, name, entry):
                yield Problem(("sites", name, "listen", i, "bind"), problem, remedy)
    yield from _taken(topology)
    yield from _keys(topology)


def _parent(topology: Topology, name: str) -> Iterator[Problem]:
    try:
        parse(tree.fqcn(topology, name, name))
    except FqcnError:
        yield Problem(("sites", name, "parent"), "the names on the way to the root are too long", "shorten them")
    parent = topology.sites[name].parent
    if parent is None or tree.dialled(topology, name):
        return
    if not tree.listen(topology, parent):
        yield Problem(("sites", name, "parent"), f"{parent!r} has no `listen`", f"add it to sites.{parent}")
        return
    problem = f"{parent!r} listens only for its own machine, and this site runs on host {topology.sites[name].host!r}"
    yield Problem(("sites", name, "parent"), problem, f"add a tcp address to sites.{parent}.listen")


def _listen(topology: Topology, name: str, entry: Listen) -> Iterator[tuple[str, str]]:
    """What is wrong with one address of a site, and the remedy."""
    bound, security = entry.endpoint, topology.security
    if entry.advertise and not bound.is_tcp:
        yield "other machines cannot dial a Unix socket", "leave `advertise` out, or bind tcp"
    if bound.scheme == AUTO and tree.launcher_kind(topology, name) != "local":
        yield "auto is a file in the run folder of the local launcher", "write ipc:///PATH or tcp://IP:PORT"
    if bound.is_late and (entry.advertise or not _all_local(topology, name)):
        yield "the port is known only on this machine, once it is bound", "give a port number"
    if security.mode == "none" and not bound.is_loopback and not security.trusted_network:
        remedy = "set security.mode: curve, bind 127.0.0.1, or set security.trusted_network: true if a VPN guards it"
        yield f"{entry.bind} is open to the network with security.mode none", remedy


def _all_local(topology: Topology, name: str) -> bool:
    return all(tree.launcher_kind(topology, each) == "local" for each in [name, *tree.children(topology, name)])


def _taken(topology: Topology) -> Iterator[Problem]:
    seen: list[tuple[str, str, Endpoint]] = []
    for name, site in topology.sites.items():
        machine = tree.machine(topology, name)
        for path, bound in _bound(site):
            for owner, where, other in seen:
                if where == machine and (owner == name or bound.scheme != AUTO) and bound.clashes(other):
                    problem = f"{other} of {owner!r} on the same machine takes {bound}"
                    yield Problem(("sites", name, *path), problem, "give it an address of its own")
                    break
            seen.append((name, machine, bound))


def _bound(site: Site) -> Iterator[tuple[tuple[Step, ...], Endpoint]]:
    """What a site binds, and which key says so."""
    for i, entry in enumerate(site.listen):
        yield ("listen", i, "bind"), entry.endpoint
    first = next((entry.endpoint for entry in site.listen if entry.endpoint.is_tcp), None)
    if first is not None and site.plane == "pubsub" and site.plane_port:
        yield ("plane_port",), first._replace(port=site.plane_port)


def _keys(topology: Topology) -> Iterator[Problem]:
    security = topology.security
    tcp = [name for name, site in topology.sites.items() if any(entry.endpoint.is_tcp for entry in site.listen)]
    if security.mode == "none" or not tcp:
        return
    if not security.keys:
        problem = f"CURVE needs keys, since {tcp[0]!r} listens on tcp"
        yield Problem(("security", "keys"), problem, "give a folder, or `auto` where all sites are local")
    elif security.keys == AUTO:
        others = [name for name in topology.sites if tree.launcher_kind(topology, name) != "local"]
        if others:
            problem = f"auto makes keys on this machine only, and {others[0]!r} is not started here"
            yield Problem(("security", "keys"), problem, "give a folder, and make the keys with `zmqfl keygen`")
