from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.cell.identity import endpoint_of, keys_of
from zmqfl.errors import KeyFileError, UserError
from zmqfl.transport.keys import generate, load


def test_an_address_that_others_cannot_reach_needs_no_keys() -> None:
    assert str(endpoint_of("tcp://127.0.0.1:8102", "listen", False, False)) == "tcp://127.0.0.1:8102"
    assert endpoint_of("ipc:///run/zmqfl/a.sock", "listen", False, False).is_ipc


@pytest.mark.parametrize("field", ["listen", "parent"])
def test_an_open_address_needs_keys_or_a_trusted_network(field: str) -> None:
    with pytest.raises(UserError, match=field):
        endpoint_of("tcp://10.0.0.1:8102", field, False, False)
    assert endpoint_of("tcp://10.0.0.1:8102", field, True, False).port == 8102
    assert endpoint_of("tcp://10.0.0.1:8102", field, False, True).port == 8102


def test_keys_are_read_from_a_folder_with_the_pinned_key_of_the_parent(tmp_path: Path) -> None:
    for name in ("server", "relay", "relay.site-1"):
        generate(name, tmp_path)
    parent = endpoint_of("tcp://127.0.0.1:8102", "parent", True, False)
    root, relay, site = (keys_of(name, tmp_path, parent) for name in ("server", "relay", "relay.site-1"))
    assert relay is not None
    assert site is not None
    assert relay.parent_public == load(tmp_path, "server").public
    assert site.parent_public == relay.public
    assert root is not None
    assert keys_of("relay", relay, parent) is relay
    assert keys_of("relay", None, parent) is None


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"site-1\.key_secret"):
        keys_of("site-1", tmp_path, None)
