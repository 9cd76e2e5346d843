"""A job as a folder: what it is called, which app runs at which site.

    JOB/meta.json                         {"name", "min_clients", "deploy_map": {"app": ["@ALL"]}, "resource_spec": {}}
    JOB/APP/config/config_fed_server.json what the server runs: see `app_config`
    JOB/APP/config/config_fed_client.json what a client runs
    JOB/APP/custom/                       Python modules of the job, imported by their bare names

Each of the files may be .yaml or .yml as well. Source: reference "flare" 6.9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zmqfl.errors import TopologyError, TopologyErrors
from zmqfl.fl.jobs.app_config import STEMS, AppConfig, Role, config_file, read_app_config
from zmqfl.fl.jobs.classes import near
from zmqfl.fl.jobs.fields import SUFFIXES, Fields, find_config, raise_all, read_config
from zmqfl.fqcn import FQCN

ALL: Final = "@ALL"
"""Stands for the server and all clients in a deploy map."""
SERVER: Final = "server"
"""How a deploy map calls the server, whatever its cell is called."""
META: Final = "meta"
_META_KEYS: Final = ("name", "min_clients", "mandatory_clients", "deploy_map", "resource_spec")


@dataclass(frozen=True, slots=True)
class JobMeta:
    """What a job says of itself."""

    name: str
    min_clients: int
    mandatory_clients: tuple[str, ...]
    deploy_map: dict[str, tuple[str, ...]]
    """App -> its sites, or `@ALL` alone."""
    extra: dict[str, Any]
    """All other keys of the file."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """A job that was read and checked."""

    path: Path
    meta: JobMeta
    configs: Mapping[tuple[str, Role], AppConfig]
    """(app, side) -> what it runs there."""

    @property
    def is_for_all(self) -> bool:
        """Whether every client runs it; else those that `clients` names."""
        return any(sites == (ALL,) for sites in self.meta.deploy_map.values())

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients that the deploy map names."""
        return tuple(
            site for sites in self.meta.deploy_map.values() for site in sites if site not in (ALL, SERVER)
        )  # fmt: skip

    def app_of(self, site: str) -> str | None:
        """The app of a client, or of "server"; None when it has none."""
        for app, sites in self.meta.deploy_map.items():
            if site in sites or sites == (ALL,):
                return app
        return None

    def app_folder(self, app: str) -> Path:
        """Where an app is."""
        return self.path / app


def read_job(path: str | Path) -> JobFolder:
    """Read a job folder and check it. Raises `TopologyErrors`: all that is wrong in the first files that are."""
    folder = Path(path)
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "no such folder"
        raise _mistake(problem, folder, "give the folder of a job, with a meta.json in it")
    file = find_config(folder, META)
    if file is None:
        raise _mistake("has no meta.json", folder, "give the folder of a job; `meta.json` names its apps and sites")
    meta = _read_meta(file, folder)
    errors: list[TopologyError] = []
    configs = dict(_read_apps(folder, meta, errors))
    raise_all(errors)
    return JobFolder(folder, meta, configs)


# ----------------------------------------------------------------------------------------------------------------- meta


def _read_meta(file: Path, folder: Path) -> JobMeta:
    fields = read_config(file)
    fields.refuse_others(_META_KEYS, similar=True)
    meta = JobMeta(
        name=fields.text("name", None),
        min_clients=fields.whole("min_clients", 1, 1),
        mandatory_clients=fields.texts("mandatory_clients"),
        deploy_map=_deploy_map(fields),
        extra={key: fields.value(key) for key in fields if key not in _META_KEYS or key == "resource_spec"},
    )
    fields.mapping("resource_spec")
    _check_sites(fields, meta)
    for app in meta.deploy_map:
        if not (folder / app).is_dir():
            remedy = near(app, (each.name for each in folder.iterdir() if (each / "config").is_dir()))
            fields.add(f"the job has no app folder {app!r}", "deploy_map", app, remedy=remedy)
    fields.finish()
    return meta


def _deploy_map(fields: Fields) -> dict[str, tuple[str, ...]]:
    found = fields.mapping("deploy_map", required=True)
    if found is None:
        return {}
    if not list(found):
        fields.add("names no app", "deploy_map", remedy=f'write {{"app": ["{ALL}"]}}')
    for app in found:
        if "/" in app or app in ("", ".", ".."):
            found.add(f"{app!r} is no name of a folder of the job", app, remedy="name a folder beside meta.json")
    return {app: found.texts(app, required=True) for app in found}


def _check_sites(fields: Fields, meta: JobMeta) -> None:
    owners: dict[str, str] = {}
    everywhere = [app for app, sites in meta.deploy_map.items() if ALL in sites]
    for app, sites in meta.deploy_map.items():
        if ALL in sites and len(sites) > 1:
            fields.add(f"{ALL} stands beside other sites", "deploy_map", app, remedy=f"keep {ALL} alone, or name all")
        elif everywhere and everywhere[0] != app:
            problem = f"{everywhere[0]!r} goes to all sites already"
            fields.add(problem, "deploy_map", app, remedy=f"name its sites instead of {ALL}")
        for i, site in enumerate(sites):
            if site != ALL and FQCN.validate(site):
                fields.add(f"{site!r} is no name of a site: {FQCN.validate(site)}", "deploy_map", app, i)
            elif (other := owners.setdefault(site, app)) != app:
                fields.add(f"{site!r} runs {other!r} already", "deploy_map", app, i, remedy="give each site one app")
    if meta.deploy_map and not everywhere and SERVER not in owners:
        fields.add("no app goes to the server", "deploy_map", remedy=f'add "{SERVER}" to the sites of one')
    clients = owners.keys() - {SERVER, ALL}
    if meta.deploy_map and not everywhere and not clients:
        fields.add("no app goes to a client", "deploy_map", remedy=f"name clients, or {ALL}")
    elif meta.deploy_map and not everywhere and len(clients) < meta.min_clients:
        problem = f"is {meta.min_clients}, and the deploy map names {len(clients)}"
        fields.add(problem, "min_clients", remedy="lower it, or name more clients")
    for i, site in enumerate(meta.mandatory_clients):
        if not everywhere and site not in clients:
            fields.add(f"{site!r} is not in the deploy map", "mandatory_clients", i, remedy=near(site, clients))


# ----------------------------------------------------------------------------------------------------------------- apps


def _read_apps(
    folder: Path, meta: JobMeta, errors: list[TopologyError]
) -> Iterator[tuple[tuple[str, Role], AppConfig]]:
    """The config files that the deploy map needs; what is wrong in any of them goes to `errors`."""
    for app, sites in meta.deploy_map.items():
        roles: dict[Role, bool] = {
            "server": SERVER in sites or ALL in sites,
            "client": any(site != SERVER for site in sites),
        }
        for role in (role for role, is_needed in roles.items() if is_needed):
            try:
                file = config_file(folder / app, role)
                if file is None:
                    remedy = f"add it, as one of {', '.join(SUFFIXES)}"
                    raise _mistake("no such file", folder / app / "config" / f"{STEMS[role]}.json", remedy)
                yield (app, role), read_app_config(file, role)
            except TopologyErrors as error:
                errors += error.errors


def _mistake(problem: str, file: Path, remedy: str) -> TopologyErrors:
    return TopologyErrors([TopologyError(problem, file=str(file), remedy=remedy)])
