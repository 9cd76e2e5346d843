"""Props that a site says for its user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.prop_service import REMOVE_PROP, SET_PROP, PropService
from zmqfl.cell.user_proof import proof_of_user
from zmqfl.errors import AuthenticationError, InvalidRequest


class Site:
    """A site that says props for its user, the root above it, and the command line of that user."""

    def __init__(self, federation: Federation, run: Path) -> None:
        self.run = run
        self.root = federation.start("server")
        self.cell = federation.start("site-1", self.root)
        self.user = federation.start("site-1.admin-7", self.cell, None)
        PropService(self.cell, run).serve()

    def ask(self, topic: str, payload: Any) -> Any:
        return self.user.request("site-1", CHANNEL, topic, payload, LONG).result(LONG).payload


@pytest.fixture
def site(federation: Federation, tmp_path: Path) -> Site:
    return Site(federation, tmp_path)


def test_it_stays_when_the_command_line_has_ended(site: Site) -> None:
    with proof_of_user(site.run) as proof:
        assert site.ask(SET_PROP, {"key": "round", "value": [3, None], "proof": proof}) == ""
    site.user.close()
    until(lambda: site.root.props.of("site-1") == {"round": [3, None]})


def test_what_was_set_can_be_removed(site: Site) -> None:
    with proof_of_user(site.run) as proof:
        site.ask(SET_PROP, {"key": "round", "value": 3, "proof": proof})
        until(lambda: site.root.props.of("site-1") == {"round": 3})
        assert site.ask(REMOVE_PROP, {"key": "round", "proof": proof}) == ""
        until(lambda: site.root.props.of("site-1") == {})
        with pytest.raises(InvalidRequest, match="it has no prop 'round'"):
            site.ask(REMOVE_PROP, {"key": "round", "proof": proof})


@pytest.mark.parametrize("proof", ["", "0" * 32, None])
def test_nobody_else_speaks_for_a_site(site: Site, proof: object) -> None:
    for topic in (SET_PROP, REMOVE_PROP):
        with pytest.raises(AuthenticationError, match="may do that in the name of site-1"):
            site.ask(topic, {"key": "round", "value": 3, "proof": proof})
    assert site.cell.props.all() == {}


WRONG: list[tuple[Any, str]] = [
    ({"value": 3}, "set_prop takes"),
    ({"key": 3, "value": 3}, "the key of a prop is a str of 1 to 1024 characters, not 3"),
    ({"key": "", "value": 3}, "the key of a prop is"),
    ({"key": "weights", "value": b"x" * 40_000}, "'weights' has 400.. bytes, and the plane takes 32768; offer it"),
]


@pytest.mark.parametrize(("question", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_prop_that_cannot_be(site: Site, question: dict[str, Any], said: str) -> None:
    with proof_of_user(site.run) as proof, pytest.raises(InvalidRequest, match=said):
        site.ask(SET_PROP, {**question, "proof": proof})
    with pytest.raises(InvalidRequest, match="remove_prop takes"):
        site.ask(REMOVE_PROP, ["round"])
    assert site.cell.props.all() == {}
