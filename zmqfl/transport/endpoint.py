"""Addresses that a cell binds or dials, and which of them may be open.

tcp://HOST:PORT   HOST is an IP address, a name, or `*` (all interfaces, to bind); PORT `*` or 0: any that is free
tcp://[::1]:PORT  IPv6
ipc:///PATH       a Unix socket, at most 107 bytes; never an abstract one (`@`), which anybody on the host may dial
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from zmqfl.errors import UserError

MAX_IPC_PATH: Final = 107
"""Bytes: `sun_path` of Linux holds 108 with the final zero."""
_TCP: Final = re.compile(r"tcp://(\*|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):(\*|\d{1,5})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed address; `str()` gives it as libzmq reads it."""

    scheme: str
    """tcp or ipc."""
    host: str = ""
    """Without brackets; "" for ipc."""
    port: int = 0
    """0: any that is free, known once it is bound."""
    path: str = ""
    """Absolute; "" for tcp."""

    @classmethod
    def parse(cls, url: str, field: str = "") -> Endpoint:
        """Read an address. Whether a name resolves is not asked: libzmq asks anew at each attempt to dial.

        Raises `UserError` naming `field` and the remedy.
        """
        if url.startswith("ipc://"):
            return _parse_ipc(url, field)
        if not (match := _TCP.fullmatch(url)):
            raise UserError(f"{url!r} is no address", field=field, remedy="write tcp://HOST:PORT or ipc:///PATH")
        host, port = match[1].strip("[]"), 0 if match[2] == "*" else int(match[2])
        if port > 65535:
            raise UserError(f"there is no port {port}", field=field, remedy="give one from 1 to 65535, or *")
        if match[1].startswith("[") and not _is_ipv6(host):
            raise UserError(f"{host!r} is no IPv6 address", field=field, remedy="write it like [::1]")
        return cls("tcp", host, port)

    @property
    def is_ipc(self) -> bool:
        """Whether it is a Unix socket."""
        return self.scheme == "ipc"

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of the same machine can reach it."""
        return self.is_ipc or self.host == "localhost" or is_loopback(self.host)

    def __str__(self) -> str:
        if self.is_ipc:
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if self.is_ipv6 else self.host
        return f"tcp://{host}:{self.port or '*'}"


def check_open(endpoint: Endpoint, secured: bool, trusted_network: bool = False, field: str = "") -> None:
    """Raise `UserError` if a socket there would be open to others.

    `secured`: both ends prove their keys. `trusted_network`: the user's word that only friends reach the network.
    """
    if not (secured or trusted_network or endpoint.is_loopback):
        raise UserError(
            f"{endpoint} without keys would be open to anybody who reaches it",
            field=field,
            remedy="provision keys, or say `trusted_network: true` if only friends can reach it",
        )


def is_loopback(address: str) -> bool:
    """Whether an IP address is one of this machine's own; no name is."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:  # IPv4 peers of an IPv6 listener
        ip = ip.ipv4_mapped
    return ip.is_loopback


def _parse_ipc(url: str, field: str) -> Endpoint:
    path = url.removeprefix("ipc://")
    if path.startswith("@"):
        remedy = "give a path in a folder of your own"
        raise UserError(f"{url!r}: anybody on this machine may dial an abstract socket", field=field, remedy=remedy)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise UserError(f"{url!r} is no address", field=field, remedy="write ipc:///PATH with the path of a file")
    if (size := len(path.encode())) > MAX_IPC_PATH:
        remedy = f"at most {MAX_IPC_PATH} fit: use a shorter folder"
        raise UserError(f"{url!r}: the path has {size} bytes", field=field, remedy=remedy)
    return Endpoint("ipc", path=path)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
