"""What one site process is told: a `SiteSpec`, written as JSON by whoever plans, read by `zmqfl run SITESPEC`.

It names keys and secrets and never holds them. Only the standard library is used here, and no pydantic: every site
process imports this module, and pydantic alone costs 16 MiB and 0.1 s.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from zmqfl.config import CellConfig
from zmqfl.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a site accepts its children: the address to `bind`, and what is told to others (None: the same)."""

    bind: str
    advertise: str | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What a site needs of its machine; None = whatever there is."""

    cpus: float | None = None
    memory: str | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Restart:
    """When a launcher starts an ended site again: `backoff` in seconds, doubling; `max` restarts, None = no limit."""

    policy: Literal["never", "on-failure", "always"] = "on-failure"
    backoff: float = 1.0
    max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSpec:
    """One process of a federation: who it is, whom it dials, where it listens, what it runs."""

    federation: str
    """The topology's name."""
    fqcn: str
    site: str
    """Its key in the topology file; several processes share it where `count` is given."""
    role: Literal["server", "relay", "client", "admin"]
    root: str
    """FQCN of the root of the tree."""
    host: str
    launcher: str
    kind: str
    """The launcher's kind: local or external."""
    run_dir: str
    """Folder (absolute, mode 0700) for sockets, logs and state of the federation's processes on this machine."""
    config: CellConfig
    parent: str = ""
    """FQCN of the cell that it dials; "" for the root."""
    parent_url: str = ""
    """What it dials. Ends with `:*` while the parent has not bound its port: see `is_late` and `dialling`."""
    parent_key: str = ""
    """Public key that the parent must prove; "" = the one in `keys`."""
    parent_listener: int = 0
    """Which of the parent's listeners that is, counted from 0."""
    listen: tuple[Listener, ...] = ()
    children: tuple[str, ...] = ()
    """FQCNs of the cells that may dial it over tcp."""
    security: Literal["curve", "none"] = "curve"
    """For tcp; Unix sockets are guarded by their folder and user."""
    keys: str = ""
    """Folder of keys; "" when it needs none: no tcp, or security none."""
    trusted_network: bool = False
    run: str | None = None
    """module:callable, or a command line; None = a bare cell."""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """Variable -> file:PATH, env:NAME or credential:NAME, fetched by the site's own process."""
    resources: Resources = Resources()
    restart: Restart = Restart()
    work: str = ""
    """Folder below which each site has one of its own; "" = `sites` in the run folder. See `folder`."""
    exports: tuple[str, ...] = ()
    """Folders below which others may pull files as FQCN:PATH."""
    allow: tuple[str, ...] = ()
    plane: int | None = 0
    """Port where the broadcast plane is published beside the first tcp listener, 0 = any; None = the links tell it."""
    hearers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """FQCN of a child -> beginnings of the topics that it may hear of; one that is not named hears everything."""
    jobs: bool = False
    """Whether it takes part in jobs; their processes dial its Unix socket."""

    @property
    def is_late(self) -> bool:
        """Whether the port to dial is known only once the parent has bound it."""
        return self.parent_url.endswith(":*")

    @property
    def folder(self) -> str:
        """Folder for the files of this site: what is pushed to it arrives in `inbox` there. "" where there is none."""
        if self.work:
            return str(Path(self.work).expanduser() / self.fqcn)
        return f"{self.run_dir}/sites/{self.fqcn}" if self.run_dir else ""

    @property
    def log(self) -> str:
        """File for the output of the process."""
        return f"{self.run_dir}/{self.fqcn}.log"

    @property
    def endpoints(self) -> str:
        """File that the site writes once it has bound: a JSON list, the real address of each listener in order."""
        return endpoints_file(self.run_dir, self.fqcn)

    @property
    def parent_endpoints(self) -> str:
        """The same of its parent, where both run on one machine."""
        return endpoints_file(self.run_dir, self.parent)

    def dialling(self, bound: Sequence[str]) -> SiteSpec:
        """This spec with the parent's real port; `bound` is what `parent_endpoints` holds."""
        port = bound[self.parent_listener].rpartition(":")[2]
        return replace(self, parent_url=self.parent_url.removesuffix("*") + port)

    def key_files(self) -> tuple[str, ...]:
        """The key files that it reads: its own secret, its and its neighbours' public keys. Empty without CURVE."""
        if not self.keys:
            return ()
        parent = [self.parent] if self.parent_url.startswith("tcp:") else []
        known = [self.fqcn, *parent, *self.children]
        return secret_key(self.keys, self.fqcn), *(public_key(self.keys, name) for name in known)

    def to_json(self) -> str:
        """As text for `from_json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, file: str = "") -> SiteSpec:
        """Read what `to_json` wrote; `file` is for messages. Raises `TopologyError` for anything else."""
        remedy = "let `zmqfl up` write it"
        try:
            spec: SiteSpec = _read(cls, json.loads(text), "")
            return spec
        except (ValueError, RecursionError) as error:
            raise TopologyError(f"is not JSON: {error}", file=file, remedy=remedy) from None
        except TopologyError as error:
            raise TopologyError(error.problem, file=file, field=error.field, remedy=error.remedy or remedy) from None


def endpoints_file(run_dir: str, fqcn: str) -> str:
    """Where a cell tells its real addresses."""
    return f"{run_dir}/{fqcn}.endpoints.json"


def socket_file(run_dir: str, fqcn: str) -> str:
    """Where a cell binds an automatic Unix socket."""
    return f"{run_dir}/{fqcn}.sock"


def public_key(keys: str, fqcn: str) -> str:
    """File of a cell's public CURVE key."""
    return str(Path(keys, "public", f"{fqcn}.key"))


def secret_key(keys: str, fqcn: str) -> str:
    """File of a cell's secret CURVE key (mode 0600)."""
    return str(Path(keys, "private", f"{fqcn}.key_secret"))


def write_whole(file: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(file)


# --------------------------------------------------------------------------------------------- plain values to fields


def _read(kind: type[Any], value: object, place: str) -> Any:
    """`value` as a dataclass; every field must be known and of its type."""
    if not isinstance(value, dict):
        raise TopologyError(f"must be a mapping, not {value!r}", field=place)
    hints = get_type_hints(kind)
    for name in value:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, 1)
            remedy = f"did you mean {close[0]!r}?" if close else ""
            raise TopologyError("unknown key", field=_join(place, name), remedy=remedy)
    for each in fields(kind):
        if each.name not in value and each.default is MISSING and each.default_factory is MISSING:
            raise TopologyError("is missing", field=_join(place, each.name))
    values = {name: _value(hints[name], item, _join(place, name)) for name, item in value.items()}
    try:
        return kind(**values)
    except TopologyError as error:  # CellConfig checks its values itself
        raise TopologyError(error.problem, field=_join(place, error.field), remedy=error.remedy) from None


def _value(kind: Any, value: object, place: str) -> Any:
    """`value` as what a type hint says; no conversions but int to float."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:  # `X | None`
        return None if value is None else _value(arguments[0], value, place)
    if origin is Literal:
        wanted, fits = f"one of {', '.join(arguments)}", value in arguments
    elif origin is tuple:
        wanted, fits = "a list", isinstance(value, list)
    elif origin is dict:
        wanted, fits = "a mapping", isinstance(value, dict)
    elif is_dataclass(kind):
        return _read(cast("type[Any]", kind), value, place)
    else:
        wanted, fits = kind.__name__, type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise TopologyError(f"must be {wanted}, not {value!r}", field=place)
    if isinstance(value, list):
        return tuple(_value(arguments[0], item, f"{place}.{i}") for i, item in enumerate(value))
    if isinstance(value, dict):
        return {key: _value(arguments[1], item, _join(place, key)) for key, item in value.items()}
    return float(cast("int", value)) if kind is float else value


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
