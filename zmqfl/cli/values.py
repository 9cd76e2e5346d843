"""Payloads on the command line: JSON in, JSON out; what JSON cannot say is summarised."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from zmqfl.errors import UserError

MOST_BYTES: Final = 64
"""Bytes of a payload that are shown."""


def parse_data(data: str | None, is_text: bool = False, field: str = "DATA") -> Any:
    """The payload that DATA means: JSON, `-` for standard input, `@FILE` for a file. Raises `UserError`."""
    if data is None:
        return None
    if data == "-":
        data = sys.stdin.read()
    elif data.startswith("@"):
        data = _read(data[1:], field)
    if is_text:
        return data
    try:
        return json.loads(data)
    except ValueError as error:
        problem = f"is not JSON ({error})"
        raise UserError(problem, field=field, remedy='put text in "double quotes", or give --text') from None


def shown(value: Any) -> Any:
    """What `json.dumps` takes, near to `value`."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return shown(value.item())
        case np.ndarray():
            return {"array": f"{value.dtype}{list(value.shape)}", "bytes": value.nbytes}
        case bytes():
            more = "..." if len(value) > MOST_BYTES else ""
            return {"bytes": len(value), "hex": value[:MOST_BYTES].hex() + more}
        case Mapping():
            return {key if isinstance(key, str) else str(key): shown(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [shown(item) for item in value]
    return str(value)


def _read(file: str, field: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read {file!r}: {reason}", field=field, remedy="name a text file") from None
