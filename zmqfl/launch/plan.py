"""Topology -> plan: one `SiteSpec` per process. A pure function: the same topology and folder give the same plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zmqfl.errors import KeyFileError, TopologyError, UsageError, UserError
from zmqfl.launch.program import is_function
from zmqfl.launch.spec import Listener, Resources, Restart, SiteSpec, socket_file
from zmqfl.topology import Topology, tree
from zmqfl.topology.checks import near
from zmqfl.topology.endpoint import AUTO, MAX_IPC_PATH, Endpoint
from zmqfl.topology.schema import EVERYTHING, Listen


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes of a federation, parents before their children."""

    name: str
    run_dir: str
    sites: tuple[SiteSpec, ...]

    def site(self, fqcn: str) -> SiteSpec:
        """The process of that name. Raises `KeyError`."""
        for spec in self.sites:
            if spec.fqcn == fqcn:
                return spec
        raise KeyError(fqcn)

    def only(self, sites: Sequence[str]) -> Plan:
        """The same with just these sites, by name in the file or FQCN, and those above them; with none: all.

        Raises `UserError` for one that is not there.
        """
        if not sites:
            return self
        wanted: set[str] = set()
        for name in sites:
            found = [spec.fqcn for spec in self.sites if name in (spec.fqcn, spec.site)]
            if not found:
                known = {spec.site for spec in self.sites} | {spec.fqcn for spec in self.sites}
                raise UserError(f"topology {self.name!r} has no site {name!r}", remedy=near(name, known))
            wanted.update(found)
        for spec in reversed(self.sites):  # children first
            if spec.fqcn in wanted and spec.parent:
                wanted.add(spec.parent)
        out = {spec.fqcn for spec in self.local} - wanted
        kept = (spec for spec in self.sites if spec.fqcn in wanted)
        return replace(
            self, sites=tuple(replace(s, children=tuple(c for c in s.children if c not in out)) for s in kept)
        )

    @property
    def local(self) -> tuple[SiteSpec, ...]:
        """Those that are started on this machine, by its local launcher."""
        return tuple(spec for spec in self.sites if spec.kind == "local")

    @property
    def door(self) -> tuple[str, str]:
        """(FQCN, ipc URL) of the cell below which the command line's cells stand; ("", "") when none runs here."""
        for spec in self.local[:1]:
            return spec.fqcn, next(each.bind for each in spec.listen if each.bind.startswith("ipc:"))
        return "", ""

    def to_json(self) -> str:
        """As text for `from_json`, for people, and for comparing."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote. Raises `TopologyError` for a site that is none."""
        values = json.loads(text)
        sites = tuple(SiteSpec.from_json(json.dumps(site)) for site in values["sites"])
        return cls(values["name"], values["run_dir"], sites)


def make_plan(topology: Topology, run_dir: Path, work: Path | None = None) -> Plan:
    """What to start for a loaded topology.

    `run_dir` is the folder (absolute) for sockets, logs and state; `work` that for the files of sites whose topology
    names none (None: `sites` in the run folder). Raises `UsageError` when it is relative,
    `TopologyError` when it is so long that a socket's path would not fit.
    """
    if not run_dir.is_absolute():
        raise UsageError(f"the run folder {str(run_dir)!r} is relative; give `Path.absolute()` of it")
    specs = [spec for name in tree.top_down(topology) for spec in _site(topology, name, str(run_dir))]
    if work is not None:
        specs = [spec if spec.work else replace(spec, work=str(work)) for spec in specs]
    return Plan(topology.name, str(run_dir), tuple(_with_door(specs, str(run_dir))))


def check_keys(plan: Plan) -> None:
    """Raise `KeyFileError` for the first key file that a site started on this machine will miss."""
    for spec in plan.sites:
        if spec.kind != "local":
            continue
        for file in spec.key_files():
            if not Path(file).is_file():
                raise KeyFileError(
                    f"cell {spec.fqcn!r} needs this key", file=file, remedy="make it with `zmqfl keygen`"
                )


def _with_door(specs: list[SiteSpec], run_dir: str) -> Iterator[SiteSpec]:
    """The first site of this machine listens at a Unix socket, too: that is where the command line comes in.

    So does each site that takes jobs, for their processes.
    """
    first = next((spec.fqcn for spec in specs if spec.kind == "local"), "")
    for spec in specs:
        needs_door = spec.fqcn == first or (spec.jobs and spec.kind == "local")
        if needs_door and not any(each.bind.startswith("ipc:") for each in spec.listen):
            door = Listener(f"ipc://{_fitting(socket_file(run_dir, spec.fqcn), spec.site)}")
            yield replace(spec, listen=(*spec.listen, door))
        else:
            yield spec


def _site(topology: Topology, name: str, run_dir: str) -> Iterator[SiteSpec]:
    """The processes of one site: they differ only in their names."""
    site = topology.sites[name]
    if site.jobs and site.run and not is_function(site.run):
        raise TopologyError(
            "the program that `run` names would take over the process that starts jobs",
            field=f"sites.{name}.jobs",
            remedy="let `run` name module:function, or leave one of the two out",
        )
    listen = tuple(_listener(entry, topology, name, run_dir) for entry in tree.listen(topology, name))
    parent_url, parent_listener = _dialled(topology, name, run_dir)
    has_tcp = any(url.startswith("tcp:") for url in [parent_url, *(listener.bind for listener in listen)])
    spec = SiteSpec(
        federation=topology.name,
        fqcn="",
        site=name,
        role=tree.role(topology, name),
        root=tree.root(topology),
        host=site.host,
        launcher=topology.hosts[site.host].launcher,
        kind=tree.launcher_kind(topology, name),
        run_dir=run_dir,
        config=topology.cell_config(),
        parent=tree.fqcn(topology, site.parent, site.parent) if site.parent else "",
        parent_url=parent_url,
        parent_listener=parent_listener,
        listen=listen,
        children=tuple(_tcp_children(topology, name)),
        security=topology.security.mode,
        trusted_network=topology.security.trusted_network,
        run=site.run,
        args=site.args,
        env=site.env,
        secrets=site.secrets,
        resources=Resources(**site.resources.model_dump()),
        restart=Restart(**site.restart.model_dump()),
        work=site.work or "",
        exports=site.exports,
        allow=site.allow,
        plane=None if site.plane == "links" else site.plane_port,
        hearers=dict(_hearers(topology, name)),
        jobs=site.jobs,
    )
    for instance in tree.instances(topology, name):
        fqcn = tree.fqcn(topology, name, instance)
        yield replace(spec, fqcn=fqcn, keys=_keys(topology, run_dir, fqcn, has_tcp))


def _listener(entry: Listen, topology: Topology, name: str, run_dir: str) -> Listener:
    return Listener(_url(entry.endpoint, topology, name, run_dir), entry.advertise)


def _dialled(topology: Topology, name: str, run_dir: str) -> tuple[str, int]:
    """The URL that a site dials, and which of its parent's listeners that is."""
    parent, dialled = topology.sites[name].parent, tree.dialled(topology, name)
    if parent is None or dialled is None:
        return "", 0
    index, endpoint = dialled
    return _url(endpoint, topology, parent, run_dir), index


def _url(endpoint: Endpoint, topology: Topology, name: str, run_dir: str) -> str:
    """An endpoint of site `name`; an automatic one becomes a file in the run folder."""
    if endpoint.scheme != AUTO:
        return str(endpoint)
    return f"ipc://{_fitting(socket_file(run_dir, tree.fqcn(topology, name, name)), name)}"


def _fitting(file: str, name: str) -> str:
    """The path of a socket; raises `TopologyError` when it is too long for one."""
    if (size := len(file.encode())) > MAX_IPC_PATH:
        raise TopologyError(
            f"the path of its Unix socket has {size} bytes, more than {MAX_IPC_PATH}: {file}",
            field=f"sites.{name}.listen",
            remedy="use a shorter run folder",
        )
    return file


def _tcp_children(topology: Topology, name: str) -> Iterator[str]:
    for child in tree.children(topology, name):
        dialled = tree.dialled(topology, child)
        if dialled and dialled[1].is_tcp:
            yield from (tree.fqcn(topology, child, each) for each in tree.instances(topology, child))


def _hearers(topology: Topology, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The children that may not hear everything, and what they may hear."""
    for child in tree.children(topology, name):
        hears = topology.sites[child].hears
        if not set(EVERYTHING) <= set(hears):
            yield from ((tree.fqcn(topology, child, each), hears) for each in tree.instances(topology, child))


def _keys(topology: Topology, run_dir: str, fqcn: str, has_tcp: bool) -> str:
    """The folder of keys of a process: its own where `zmqfl provision` has made one, for its card is in it, too."""
    security = topology.security
    if security.mode == "none" or not security.keys:
        return ""
    if security.keys != AUTO and Path(security.keys, fqcn, "public").is_dir():
        return str(Path(security.keys, fqcn))
    if not has_tcp:
        return ""
    return f"{run_dir}/keys" if security.keys == AUTO else security.keys
