"""Secrets by reference: a topology names them, the site's own process fetches them into its environment.

file:PATH          the text of a file, without the line break at its end
env:NAME           another variable of the process
credential:NAME    a file of that name in $CREDENTIALS_DIRECTORY (systemd's LoadCredential=)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from zmqfl.errors import UserError


def fetch(references: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Variable -> value. Raises `UserError` naming the variable, never the value."""
    return {variable: _fetch(variable, reference, environ) for variable, reference in references.items()}


def _fetch(variable: str, reference: str, environ: Mapping[str, str]) -> str:
    kind, _, name = reference.partition(":")
    match kind:
        case "env":
            if name not in environ:
                raise UserError(f"there is no variable {name}", field=f"secrets.{variable}", remedy="export it")
            return environ[name]
        case "file":
            return _read(variable, Path(os.path.expanduser(name)))
        case "credential":
            if not (folder := environ.get("CREDENTIALS_DIRECTORY")):
                remedy = "start it by systemd with LoadCredential=, or use file:PATH"
                raise UserError("there is no CREDENTIALS_DIRECTORY", field=f"secrets.{variable}", remedy=remedy)
            return _read(variable, Path(folder, name))
    remedy = "write file:PATH, env:NAME or credential:NAME"
    raise UserError("is no reference to a secret", field=f"secrets.{variable}", remedy=remedy)


def _read(variable: str, file: Path) -> str:
    try:
        return file.read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        remedy = "name a text file that the site may read"
        raise UserError(f"cannot read {file}: {reason}", field=f"secrets.{variable}", remedy=remedy) from None
