"""Clients as the server knows them."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import ArgumentError
from zmqfl.fl.client import Client, from_dict


def test_defaults() -> None:
    client = Client("site-1", "token")
    assert (client.name, client.token, client.get_token()) == ("site-1", "token", "token")
    assert (client.get_fqcn(), client.get_fqsn(), client.get_is_leaf()) == ("site-1", "site-1", True)
    assert client.last_connect_time is None
    assert repr(client) == "<Client site-1 at site-1>"


def test_what_is_set() -> None:
    client = Client("site-1")
    client.set_fqcn("relay.site-1")
    client.set_fqsn("europe.site-1")
    client.set_is_leaf(False)
    client.set_token("t")
    client.set_prop("x", 1)
    assert (client.get_fqcn(), client.get_fqsn(), client.get_is_leaf()) == ("relay.site-1", "europe.site-1", False)
    assert (client.get_token(), client.get_prop("x"), client.get_prop("y", 2)) == ("t", 1, 2)


def test_travel() -> None:
    told = Client("site-1", fqcn="relay.site-1", is_leaf=False).to_dict()
    assert told == {"name": "site-1", "fqcn": "relay.site-1", "fqsn": "site-1", "is_leaf": False}
    assert from_dict(told).to_dict() == told


@pytest.mark.parametrize("wrong", [None, {}, {"name": "a"}, {"name": 3, "fqcn": "a", "fqsn": "a", "is_leaf": True}])
def test_what_is_no_client(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="a client must be told as"):
        from_dict(wrong)
    for name in "", 3:
        with pytest.raises(ArgumentError, match="the name of a client"):
            Client(name)  # type: ignore[arg-type]
