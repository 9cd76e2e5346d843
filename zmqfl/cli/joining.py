"""Verbs that are a site, in this process: run, join."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Exit, Option

from zmqfl.cli.options import Settings, SettingsFile
from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.fqcn import FQCN, parse
from zmqfl.launch import site
from zmqfl.launch.settings import load_settings
from zmqfl.launch.spec import Listener, SiteSpec

_KEY = re.compile(r"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
"""Z85, 32 bytes."""


def run(spec: Annotated[str, Argument(help="A site spec, as `up` and `kit` write it.", metavar="SPEC")],
        settings: SettingsFile = None, overrides: Settings = None) -> None:  # fmt: skip
    """Run one site in this process: what launchers execute. It ends with the exit status of its `run:`."""
    raise Exit(site.run_file(spec, settings, overrides or ()))


def join(
    url: Annotated[str, Argument(help="The address of the parent: tcp://HOST:PORT or ipc:///PATH.", metavar="URL")],
    name: Annotated[str, Option("--name", help="The FQCN of this site.", metavar="FQCN", show_default=False)],
    keys: Annotated[str, Option(help="The folder of its keys (`zmqfl keygen`).", metavar="DIR")] = "",
    server_key: Annotated[str, Option(help="The public key of the parent, 40 characters.", metavar="KEY")] = "",
    listen: Annotated[list[str] | None, Option(help="Where its own children reach it.", metavar="URL")] = None,
    work: Annotated[
        str, Option(help="Folder for what is pushed to it (DIR/FQCN/inbox). Default: it takes nothing.", metavar="DIR")
    ] = "",
    exports: Annotated[
        list[str] | None, Option("--export", help="Folder whose files others may pull as FQCN:PATH.", metavar="DIR")
    ] = None,
    plane: Annotated[
        Literal["pubsub", "links"], Option(help="How its own children hear props and announcements.")
    ] = "pubsub",
    plane_port: Annotated[
        int, Option(help="Port for that beside its first tcp address; 0 = any.", min=0, max=65535, metavar="PORT")
    ] = 0,
    runs: Annotated[str | None, Option("--run", help="module:function, or a command line.", metavar="WHAT")] = None,
    trusted: Annotated[
        bool, Option("--trusted-network", help="Without keys, where only friends can reach it.")
    ] = False,
    settings: SettingsFile = None,
    overrides: Settings = None,
) -> None:
    """Be a site that starts itself: connect to a parent, and serve until stopped."""
    fqcn = parse(name, "--name")
    if server_key and not keys:
        raise UserError(
            "needs keys of its own", field="--server-key", remedy=f"`zmqfl keygen {fqcn}`, then --keys keys"
        )
    if server_key and not _KEY.fullmatch(server_key):
        remedy = "copy what follows `public-key` in the server's public/NAME.key"
        raise UserError("is no public key of 40 characters", field="--server-key", remedy=remedy)
    spec = SiteSpec(
        federation="",
        fqcn=fqcn,
        site=FQCN.split(fqcn)[-1],
        role="client",
        root=FQCN.ROOT_SERVER,
        host="",
        launcher="",
        kind="external",
        run_dir="",
        config=load_settings(settings, {}, overrides or (), CellConfig()),
        parent=FQCN.get_parent(fqcn) or FQCN.ROOT_SERVER,
        parent_url=url,
        parent_key=server_key,
        listen=tuple(Listener(each) for each in listen or ()),
        keys=keys,
        trusted_network=trusted,
        work=str(Path(work).absolute()) if work else "",
        exports=tuple(str(Path(each).absolute()) for each in exports or ()),
        run=runs,
        plane=None if plane == "links" else plane_port,
    )
    raise Exit(site.run_site(spec))
