"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

Federation = Annotated[
    str | None,
    Option(
        "-t", "--name", help="The federation: its name or its topology file. Default: the only one.", metavar="NAME"
    ),
]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]
Overrides = Annotated[list[str] | None, Option("--set", help="Change a value of the file.", metavar="a.b=VALUE")]
Settings = Annotated[
    list[str] | None, Option("--set", help="A setting of conf/zmqfl.yaml, as in heartbeat=1.", metavar="NAME=VALUE")
]
SettingsFile = Annotated[
    str | None, Option("--settings", help="A settings file, like conf/zmqfl.yaml.", metavar="FILE")
]
TopologyFile = Annotated[str, Argument(help="A topology file.", metavar="FILE", show_default=False)]
