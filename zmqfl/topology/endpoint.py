"""Addresses that a site listens at: where it binds, and what its children dial.

tcp://0.0.0.0:8102      an IP address, `*` (all of them) or localhost, and a port
tcp://127.0.0.1:*       any free port: known only once it is bound ("late")
ipc:///run/fl/hub.sock  a Unix socket: only for processes of the same user on the same machine
auto                    a Unix socket inside the run folder: no port and no path to choose
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

AUTO = "auto"
MAX_IPC_PATH = 107
"""Bytes: `sun_path` of Linux holds 108 with the final zero."""

_TCP = re.compile(r"tcp://(\*|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):(\*|\d{1,5})")
_WILDCARDS = {"*", "0.0.0.0", "::"}  # noqa: S104  recognised, not bound


class Endpoint(NamedTuple):
    """A parsed address: `scheme` tcp, ipc or auto; `host` without brackets; `port` 0 = late; `path` for ipc."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == AUTO:
            return AUTO
        if self.scheme == "ipc":
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port or '*'}"

    @property
    def is_tcp(self) -> bool:
        """Whether other machines may be able to dial it."""
        return self.scheme == "tcp"

    @property
    def is_late(self) -> bool:
        """Whether the port is known only once it is bound."""
        return self.is_tcp and not self.port

    @property
    def is_wildcard(self) -> bool:
        """Whether it binds all interfaces."""
        return self.host in _WILDCARDS

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of the same machine can dial it."""
        return not self.is_tcp or is_loopback(self.host)

    def clashes(self, other: Endpoint) -> bool:
        """Whether one machine cannot bind both."""
        if self.is_late or self.scheme != other.scheme:
            return False
        same_host = self.host == other.host or self.is_wildcard or other.is_wildcard
        return same_host and (self.port, self.path) == (other.port, other.path)


def parse(text: str) -> Endpoint:
    """Read an address to bind. Raises `ValueError` with the problem."""
    if text == AUTO:
        return Endpoint(AUTO)
    if text.startswith("ipc://"):
        return _parse_ipc(text.removeprefix("ipc://"))
    if not (match := _TCP.fullmatch(text)):
        raise ValueError(f"{text!r} is not an address; write tcp://IP:PORT, ipc:///PATH or auto")
    host, port = match[1].strip("[]"), 0 if match[2] == "*" else int(match[2])
    if port > 65535:
        raise ValueError(f"there is no port {port}; give one from 1 to 65535, or *")
    if match[1].startswith("[") and not _is_ip(host):
        raise ValueError(f"{host!r} is no IPv6 address; mend it")
    return Endpoint("tcp", host, port)


def parse_advertised(text: str) -> Endpoint:
    """Read an address that children dial. Raises `ValueError` with the problem."""
    endpoint = parse(text)
    if not endpoint.is_tcp or endpoint.is_wildcard or endpoint.is_late:
        raise ValueError(f"nobody can dial {text!r} from outside; write tcp://NAME:PORT as the children see it")
    return endpoint


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address means "this machine"."""
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _parse_ipc(path: str) -> Endpoint:
    if not path.startswith("/"):
        raise ValueError(f"the ipc path {path!r} is not absolute; begin it with /, or write `auto`")
    if (size := len(path.encode())) > MAX_IPC_PATH:
        raise ValueError(f"the ipc path has {size} bytes, more than {MAX_IPC_PATH}; shorten it, or write `auto`")
    return Endpoint("ipc", path=path)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
