"""How RPC looks on the wire: requests between cells, in the payload format of all requests.

    channel  topic           payload                           reply
    _rpc     [service/]path  [arguments, named, instance]      what the method returned; a generator: header STREAM
    _rpc_ask describe        service                           [[path, parameters, text, doc, is_stream], ...]
    _rpc_ask statistics      service                           {path: {calls, errors, ...}}
    _rpc_ask ping            anything                          the same
    _rpc_ask more            [stream, credit]                  [items, ended]; at least one item, at most `credit`
    _rpc_ask close           stream                            (fire) the generator is closed
    _rpc_ask watch           instance                          none while that start of the cell lives

A method that raises replies process_exception with [type name, arguments of the error, message, traceback].
`path` is dotted: `calc.add` is `rpc_add` of the attribute `rpc_calc`. `instance` is the start of the caller.
"""

from __future__ import annotations

import re
from typing import Final

from zmqfl.errors import ArgumentError

CALLS: Final = "_rpc"
ASKS: Final = "_rpc_ask"
STREAM: Final = "rpc_stream"
"""Header of a reply: the id of a generator, from which the caller now asks for items."""
PREFIX: Final = "rpc_"
"""How the names of attributes begin that may be called from outside; nothing else is reached."""
TIMEOUT: Final = 20.0
"""Seconds that a call may take unless it is told otherwise (seed 002's default)."""
TIMEOUT_PARAMETER: Final = "tto"
"""The name by which a call is told otherwise (seed 002)."""

_SERVICE = re.compile(r"[A-Za-z0-9_.-]{0,64}")


def check_service(name: object) -> str:
    """`name`, when an object can be published under it. Raises `ArgumentError`."""
    if not isinstance(name, str) or not _SERVICE.fullmatch(name):
        raise ArgumentError(f"name {name!r} is none for a service; use up to 64 letters, digits, and any of _ . -")
    return name


def topic_of(service: str, path: str) -> str:
    """The topic of a call."""
    return f"{service}/{path}" if service else path


def split_topic(topic: str) -> tuple[str, str]:
    """(service, path) of a call."""
    service, _, path = topic.rpartition("/")
    return service, path
