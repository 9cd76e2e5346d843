"""The `zmqfl` command: verbs and nothing else."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, Final, cast

from typer import Exit, Option, Typer
from typer._click import Context
from typer.core import TyperGroup
from typer.main import get_command

from zmqfl import __version__
from zmqfl.cli.exits import STATUSES, OneLineGroup

VERBS: Final = {
    "up": "up", "ps": "running", "logs": "running", "down": "running", "join": "joining", "run": "joining",
    "channel": "channel", "request": "network", "cells": "network", "route": "network", "rtt": "network",
    "push": "push", "pull": "pull", "retrieve": "retrieve", "share": "share", "unshare": "share",
    "transfers": "transfers", "props": "props", "announcements": "announcements",
    "keygen": "keys", "provision": "provision", "topology": "topology",
    "simulator": "simulator", "submit": "submit", "jobs": "jobs",
    "rpc": "rpc",
}  # fmt: skip
"""Verb -> the module of `zmqfl.cli` with the function of that name, or with `app`, verbs of its own."""


class Verbs(OneLineGroup):
    """Imports a verb when it is asked for: who says `down` does not wait for what `up` needs."""

    def list_commands(self, ctx: Context) -> list[str]:
        """All of them, as the help shows them."""
        return list(VERBS)

    def get_command(self, ctx: Context, cmd_name: str) -> Any:
        """The verb of that name; None when there is none."""
        for name in [cmd_name] if cmd_name in VERBS else VERBS:  # all, so that the nearest can be suggested
            if name not in self.commands:
                self.commands[name] = _load(name)
        return self.commands.get(cmd_name)


def _load(name: str) -> Any:
    module, alone = import_module(f"zmqfl.cli.{VERBS[name]}"), Typer(add_completion=False, callback=lambda: None)
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name)
    else:
        alone.command(name)(getattr(module, name))
    return cast("TyperGroup", get_command(alone)).commands[name]


app = Typer(
    cls=Verbs,
    help=f"The messaging layer under a federation: start its sites, look at its network, ask its cells.\n\n{STATUSES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"zmqfl {__version__}\n")
        raise Exit


@app.callback()
def _main(version: Annotated[bool, Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


def app_main() -> None:
    """The console script."""
    app()
