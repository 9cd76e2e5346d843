"""Reference ids: who knows one may pull what it stands for, so nobody must be able to guess it."""

from __future__ import annotations

import secrets
from typing import Final

from zmqfl.cell.registry import check_name
from zmqfl.errors import ArgumentError

LEAST_RID: Final = 16
"""Characters of an id at least."""


def new_rid() -> str:
    """An id with 128 random bits."""
    return f"R{secrets.token_hex(16)}"


def check_rid(value: object, argument: str) -> str:
    """`value`, when it can be a reference id. Raises `ArgumentError` naming `argument` when it cannot."""
    rid = check_name(value, argument)
    if len(rid) < LEAST_RID:
        remedy = f"give at least {LEAST_RID}, made by chance"
        raise ArgumentError(f"{argument} {rid!r} has {len(rid)} characters, which can be guessed; {remedy}")
    return rid
