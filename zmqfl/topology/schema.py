"""The topology file as typed, frozen models: `conf/topology.schema.json` is made from them.

    launchers   how processes are started         kind: local | external
    hosts       where they run                    address, launcher
    sites       the tree of cells                 parent, listen, run, ...
    security, timing, settings                    the same for all sites

A model knows what is right for one field; what must hold between fields is in `zmqfl.topology.checks`.
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from zmqfl.config import SWITCHES, CellConfig
from zmqfl.topology.endpoint import Endpoint, parse, parse_advertised

NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
ADDRESS = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)$"
MEMORY = r"^[1-9][0-9]*[KMGT]i?$"
SECRET = r"^(file|env|credential):.+$"
FOLDER = r"^[/~]"
TOPICS = r"^(props|rids|bound)/([^/]+/)?$"

PATTERNS = {
    NAME: ("is no name", "use up to 40 of a-z, 0-9 and -, no - at the ends: it becomes part of host and unit names"),
    VARIABLE: ("is no name of a variable", "use letters, digits and _, no digit first"),
    ADDRESS: ("is no host name or IP address", "give what other machines know this host by, without a port"),
    MEMORY: ("is no amount of memory", "write for example 512M or 8G"),
    SECRET: ("is no reference", "write file:PATH, env:NAME or credential:NAME, never the secret itself"),
    FOLDER: ("is no absolute path", "begin it with / or ~"),
    TOPICS: ("is no beginning of topics", "write props/, props/FQCN/, rids/, rids/GROUP/ or bound/"),
}
"""Pattern -> what is wrong with a text that does not match, and the remedy."""

Name = Annotated[str, Field(pattern=NAME)]
Variable = Annotated[str, Field(pattern=VARIABLE)]

_CELL = CellConfig()
EVERYTHING = ("props/", "rids/", "bound/")
"""What may be heard of the broadcast plane, by the beginnings of its topics."""
TIMING = {"heartbeat", "dead_after", "reconnect_min", "reconnect_max", "drain"}
"""Fields of `CellConfig` that have a place under `timing`."""


class Model(BaseModel):
    """Frozen; refuses unknown keys and converts nothing but whole numbers to fractions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


# ------------------------------------------------------------------------------------------------- launchers and hosts


class Local(Model):
    """Starts the sites as child processes on this machine."""

    kind: Literal["local"]


class External(Model):
    """Starts nothing: the site's own operator does, with `zmqfl join` or `zmqfl run`."""

    kind: Literal["external"]
    note: str = ""
    """For people: who starts it, and how."""


Launcher = Annotated[Local | External, Field(discriminator="kind")]
LAUNCHERS: dict[str, type[Model]] = {"local": Local, "external": External}


class Host(Model):
    """A machine."""

    address: Annotated[str, Field(pattern=ADDRESS)] = "127.0.0.1"
    """What other machines know it by: a DNS name or an IP address."""
    launcher: Name = "local"
    """A key of `launchers`."""


# --------------------------------------------------------------------------------------------------------------- sites


def _bindable(text: str) -> str:
    return str(parse(text))


def _dialable(text: str) -> str:
    return str(parse_advertised(text))


def _runnable(text: str) -> str:
    try:
        if shlex.split(text):
            return text
    except ValueError as error:
        raise ValueError(f"is no command line: {error}; mend the quotes") from None
    raise ValueError("is empty; leave `run` out for a bare cell")


class Listen(Model):
    """One address where a site accepts its children."""

    bind: Annotated[str, AfterValidator(_bindable)]
    """tcp://IP:PORT, tcp://127.0.0.1:* (a free port; local launcher only), ipc:///PATH, or auto (ipc, run folder)."""
    advertise: Annotated[str, AfterValidator(_dialable)] | None = None
    """tcp://NAME:PORT that children on other machines dial, where it differs: NAT, a load balancer, a Service."""

    @property
    def endpoint(self) -> Endpoint:
        """`bind`, parsed."""
        return parse(self.bind)

    @property
    def advertised(self) -> Endpoint | None:
        """`advertise`, parsed."""
        return parse(self.advertise) if self.advertise else None


class Resources(Model):
    """What a site needs of its machine."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Annotated[str, Field(pattern=MEMORY)] | None = None
    gpus: Annotated[int, Field(ge=0)] = 0


class Restart(Model):
    """When a launcher starts an ended site again; a site that was replaced (exit status 75) never is."""

    policy: Literal["never", "on-failure", "always"] = "on-failure"
    backoff: Annotated[float, Field(gt=0)] = 1.0
    """Seconds before the first restart; doubles with each one that follows."""
    max: Annotated[int, Field(ge=0)] | None = None
    """Restarts in all; null = no limit."""


Role = Literal["server", "relay", "client", "admin"]


class Site(Model):
    """One process, or `count` equal ones."""

    role: Role | None = None
    """Default: server for the root, relay for a site with children, else client."""
    host: Name = "localhost"
    """A key of `hosts`."""
    parent: Name | None = None
    """The site that this one dials; none = the root of the tree."""
    listen: tuple[Listen, ...] = ()
    """Where its children reach it. Default for a site of the local launcher that has children: auto."""
    count: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Makes NAME-1 to NAME-count of it."""
    run: Annotated[str, AfterValidator(_runnable)] | None = None
    """module:callable, or a command line; none = a bare cell."""
    args: tuple[str, ...] = ()
    """Arguments for `run`."""
    env: dict[Variable, str] = {}
    """Variables of the process."""
    secrets: dict[Variable, Annotated[str, Field(pattern=SECRET)]] = {}
    """Variables whose values the site's own process fetches: file:PATH, env:NAME or credential:NAME."""
    resources: Resources = Resources()
    restart: Restart = Restart()
    work: Annotated[str, Field(pattern=FOLDER)] | None = None
    """Folder below which each of its processes has one of its own, FQCN/, with an `inbox` for what is pushed to it.
    Default: NAME/sites in $ZMQFL_RUN_DIR, else in ~/.local/state/zmqfl."""
    exports: tuple[Annotated[str, Field(pattern=FOLDER)], ...] = ()
    """Folders whose files others may pull as SITE:PATH."""
    allow: tuple[str, ...] = ()
    """Topics that others may send to it, with * as a wild card; none = all."""
    plane: Literal["pubsub", "links"] = "pubsub"
    """How it hears, and its children do, what everybody may know (props, announcements): published at a port beside
    each address, or by the links alone, where no second port is open."""
    plane_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of what it publishes beside its first tcp address, for a firewall; 0 = any that is free."""
    hears: tuple[Annotated[str, Field(pattern=TOPICS)], ...] = EVERYTHING
    """What it and the cells below it may hear of the broadcast plane, by the beginnings of topics: props/ or
    props/FQCN/, rids/ or rids/GROUP/ (announcements), bound/ (what is announced to itself alone). Its parent sees to
    it."""
    jobs: bool = False
    """Whether it takes part in jobs (`zmqfl submit`): their code runs here, in a process of its own for each."""


# ------------------------------------------------------------------------------------------------------------ the file


class Security(Model):
    """Who may connect. Unix sockets are guarded by their folder and user; this is about tcp."""

    mode: Literal["curve", "none"] = "curve"
    """none: no encryption and no authentication, on loopback, or anywhere with trusted_network."""
    keys: str | None = None
    """Folder with public/NAME.key and private/NAME.key_secret, or with a folder FQCN of that kind for each site, as
    `zmqfl provision` makes them; relative to this file. auto: the launcher makes them."""
    allow: Literal["listed"] = "listed"
    """Only the sites of this file."""
    trusted_network: bool = False
    """With mode none: the network itself keeps strangers out (a VPN, the inner net of a cluster)."""


class Timing(Model):
    """Seconds; see the fields of the same names in conf/zmqfl.yaml."""

    heartbeat: Annotated[float, Field(gt=0)] = _CELL.heartbeat
    dead_after: Annotated[float, Field(gt=0)] = _CELL.dead_after
    reconnect: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (
        _CELL.reconnect_min,
        _CELL.reconnect_max,
    )
    """First and longest wait between two attempts to dial."""
    drain: Annotated[float, Field(gt=0)] = _CELL.drain


def _settings_schema() -> dict[str, Any]:
    properties = {
        field.name: {
            "type": "integer" if isinstance(field.default, int) else "number",
            "minimum" if field.name in SWITCHES else "exclusiveMinimum": 0,
        }
        for field in fields(CellConfig)
        if field.name not in TIMING
    }
    return {"type": "object", "properties": properties, "additionalProperties": False, "default": {}}


class Topology(Model):
    """A federation: who exists, where, who dials whom, and how each is started."""

    version: Literal[1]
    name: Name
    extends: str | None = None
    """Another topology file that this one changes: maps are merged, all else replaces. Relative to this file."""
    launchers: dict[Name, Launcher] = {"local": Local(kind="local")}
    hosts: dict[Name, Host] = {"localhost": Host()}
    defaults: Site = Site()
    """Merged under every site."""
    sites: Annotated[dict[Name, Site], Field(min_length=1)]
    security: Security = Security()
    timing: Timing = Timing()
    settings: Annotated[dict[str, JsonValue], WithJsonSchema(_settings_schema())] = {}
    """Other settings of every cell; conf/zmqfl.yaml lists them."""

    def cell_config(self) -> CellConfig:
        """`timing` and `settings` as the cells take them. Raises `TopologyError` naming the field of `CellConfig`."""
        timing, settings = self.timing, dict[str, Any](self.settings)
        first, longest = timing.reconnect
        return CellConfig(
            heartbeat=timing.heartbeat,
            dead_after=timing.dead_after,
            reconnect_min=first,
            reconnect_max=longest,
            drain=timing.drain,
            **settings,
        )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a topology file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Topology.model_json_schema()}
