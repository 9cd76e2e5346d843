"""What a topology says about its tree of sites, once its references are known to be good.

Sites go by their key in the file (`gpu`), processes by their instance name (`gpu-3`) and FQCN (`region-a.gpu-3`).
"""

from __future__ import annotations

from zmqfl.fqcn import FQCN
from zmqfl.topology.endpoint import AUTO, Endpoint, is_loopback
from zmqfl.topology.schema import Listen, Role, Topology


def root(topology: Topology) -> str:
    """The site without a parent."""
    return next(name for name, site in topology.sites.items() if site.parent is None)


def children(topology: Topology, name: str) -> list[str]:
    """The sites that dial `name`."""
    return [child for child, site in topology.sites.items() if site.parent == name]


def top_down(topology: Topology) -> list[str]:
    """All sites, parents before their children, generation by generation."""
    order = [root(topology)]
    for name in order:
        order += children(topology, name)
    return order


def instances(topology: Topology, name: str) -> list[str]:
    """The names of the processes of a site: itself, or NAME-1 to NAME-count."""
    count = topology.sites[name].count
    return [name] if count is None else [f"{name}-{i}" for i in range(1, count + 1)]


def fqcn(topology: Topology, name: str, instance: str) -> str:
    """The full name of one process; the root is not part of other names."""
    segments, above = [instance], topology.sites[name].parent
    while above is not None and (next_above := topology.sites[above].parent) is not None:
        segments.insert(0, above)
        above = next_above
    return FQCN.join(segments)


def role(topology: Topology, name: str) -> Role:
    """The role of a site, or the one that its place in the tree gives it."""
    site = topology.sites[name]
    if site.role:
        return site.role
    if site.parent is None:
        return "server"
    return "relay" if children(topology, name) else "client"


def launcher_kind(topology: Topology, name: str) -> str:
    """The kind of the launcher that starts a site."""
    return topology.launchers[topology.hosts[topology.sites[name].host].launcher].kind


def machine(topology: Topology, name: str) -> str:
    """Which machine a site runs on, as far as the file tells: "" is the one where `zmqfl up` runs."""
    address = topology.hosts[topology.sites[name].host].address
    return "" if launcher_kind(topology, name) == "local" or is_loopback(address) else address


def listen(topology: Topology, name: str) -> tuple[Listen, ...]:
    """Where a site listens; a local one that has children and names no address gets a Unix socket."""
    given = topology.sites[name].listen
    if given or launcher_kind(topology, name) != "local" or not children(topology, name):
        return given
    return (Listen(bind=AUTO),)


def dialled(topology: Topology, name: str) -> tuple[int, Endpoint] | None:
    """Which of its parent's addresses a site dials (the index in `listen`), and how. None when it can reach none.

    On one machine a Unix socket comes first, then what is bound; from elsewhere what is advertised, or else bound.
    """
    parent = topology.sites[name].parent
    if parent is None:
        return None
    entries = listen(topology, parent)
    near = machine(topology, parent) == machine(topology, name)
    for i in sorted(range(len(entries)), key=lambda i: near and entries[i].endpoint.is_tcp):
        bound, advertised = entries[i].endpoint, entries[i].advertised
        if near:
            return i, bound._replace(host=_loopback(bound)) if bound.is_wildcard else bound
        if advertised:
            return i, advertised
        if not bound.is_loopback:
            address = topology.hosts[topology.sites[parent].host].address
            return i, bound._replace(host=address) if bound.is_wildcard else bound
    return None


def _loopback(wildcard: Endpoint) -> str:
    return "::1" if wildcard.host == "::" else "127.0.0.1"
