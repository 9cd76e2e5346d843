"""A client of a run, as the server knows it. Source: reference "flare" 6.11."""

from __future__ import annotations

from typing import Any, Self

from zmqfl.cell.registry import check_name
from zmqfl.errors import ArgumentError


class Client:
    """`name`: of the site in the run. `token`: which start of it this is. `fqcn`, `fqsn`: its cell and its place among
    the sites; the name unless given."""

    def __init__(self, name: str, token: str = "", fqcn: str = "", fqsn: str = "", is_leaf: bool = True) -> None:
        self.name = check_name(name, "the name of a client")
        self.token = token
        self.last_connect_time: float | None = None
        """When it was heard of last, in seconds since the epoch."""
        self._fqcn = fqcn or name
        self._fqsn = fqsn or name
        self._is_leaf = is_leaf
        self._props: dict[str, Any] = {}

    def get_fqcn(self) -> str:
        """The name of its cell."""
        return self._fqcn

    def set_fqcn(self, fqcn: str) -> None:
        """Say where its cell is."""
        self._fqcn = fqcn

    def get_fqsn(self) -> str:
        """Its place among the sites."""
        return self._fqsn

    def set_fqsn(self, fqsn: str) -> None:
        """Say what its place is."""
        self._fqsn = fqsn

    def get_is_leaf(self) -> bool:
        """Whether no site is below it."""
        return self._is_leaf

    def set_is_leaf(self, is_leaf: bool) -> None:
        """Say whether no site is below it."""
        self._is_leaf = is_leaf

    def get_token(self) -> str:
        """Which start of the client this is."""
        return self.token

    def set_token(self, token: str) -> None:
        """Say which start it is."""
        self.token = token

    def get_prop(self, name: str, default: Any = None) -> Any:
        """What was noted about it under this name."""
        return self._props.get(name, default)

    def set_prop(self, name: str, value: Any) -> None:
        """Note something about it."""
        self._props[name] = value

    def to_dict(self) -> dict[str, Any]:
        """What travels; `from_dict` makes a client of it."""
        return {"name": self.name, "fqcn": self._fqcn, "fqsn": self._fqsn, "is_leaf": self._is_leaf}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The client that `to_dict` told. Raises `ArgumentError` for anything else."""
        match data:
            case {"name": str() as name, "fqcn": str() as fqcn, "fqsn": str() as fqsn, "is_leaf": bool() as is_leaf}:
                return cls(name, fqcn=fqcn, fqsn=fqsn, is_leaf=is_leaf)
        raise ArgumentError("a client must be told as {name, fqcn, fqsn, is_leaf}")

    def __repr__(self) -> str:
        return f"<Client {self.name} at {self._fqcn}>"


def from_dict(data: object) -> Client:
    """See `Client.from_dict`."""
    return Client.from_dict(data)
