"""Each site gets what it needs and nothing of others; a second run keeps keys, renews cards and makes what is new."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmqfl.errors import KeyFileError
from zmqfl.launch.provision import Provisioned, neighbours, not_after, provision
from zmqfl.topology import load
from zmqfl.transport import cards, keys
from zmqfl.transport.authority import Authority

TREE = """
version: 1
security: {keys: out}
name: fl
sites:
  server: {listen: [{bind: 'tcp://127.0.0.1:1'}]}
  relay: {parent: server, listen: [{bind: 'tcp://127.0.0.1:2'}]}
  site: {parent: relay, count: COUNT}
"""
NOW = 2_000_000_000.0


class Runs:
    """`zmqfl provision`, again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 1

    def __call__(self, *revoke: str, now: float = NOW, days: float = 30) -> Provisioned:
        file = self.folder / "t.yaml"
        file.write_text(TREE.replace("COUNT", str(self.count)))
        authority = Authority(self.folder / "authority", os.urandom(32))
        if revoke:
            authority.revoke(revoke)
        return provision(neighbours(load(str(file))), self.of, authority, not_after(now, days), os.urandom)

    def of(self, fqcn: str) -> Path:
        return self.folder / "out" / fqcn

    def files(self, fqcn: str) -> set[str]:
        return {str(file.relative_to(self.of(fqcn))) for file in self.of(fqcn).rglob("*") if file.is_file()}

    def keys(self, fqcn: str, parent: str | None = None) -> keys.Keys:
        loaded = keys.load(self.of(fqcn), fqcn, parent)
        assert loaded.sealing is not None
        return loaded

    def serial(self, fqcn: str) -> int:
        sealing = self.keys(fqcn).sealing
        assert sealing is not None
        return sealing.card.serial


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_each_site_has_its_own_secrets_and_its_neighbours_public_keys(runs: Runs) -> None:
    done = runs()
    assert done == Provisioned(made=["server", "relay", "relay.site-1"], revocations=1)
    assert runs.files("relay") == {
        "cards/relay.card", "federation.key", "private/relay.key_secret", "private/relay.seal_secret",
        "public/relay.key", "public/relay.site-1.key", "public/server.key", "revocations",
    }  # fmt: skip
    assert runs.files("relay.site-1") == {
        "cards/relay.site-1.card", "federation.key", "private/relay.site-1.key_secret",
        "private/relay.site-1.seal_secret", "public/relay.key", "public/relay.site-1.key", "revocations",
    }  # fmt: skip
    relay = runs.keys("relay", "server")
    assert relay.parent_public == runs.keys("server").public
    assert set(relay.allowed) == {"server", "relay", "relay.site-1"}
    assert relay.sealing is not None
    assert relay.sealing.card.not_after == NOW + 30 * 86_400


def test_a_second_run_keeps_keys_renews_cards_and_adds_sites(runs: Runs) -> None:
    runs()
    before = {name: runs.keys(name) for name in ("server", "relay", "relay.site-1")}
    runs.count = 2
    done = runs(now=NOW + 1000)
    assert (done.made, done.renewed) == (["relay.site-2"], ["server", "relay", "relay.site-1"])
    for name, old in before.items():
        new = runs.keys(name)
        assert (new.public, new.secret) == (old.public, old.secret)
        assert old.sealing is not None
        assert new.sealing is not None
        assert new.sealing.secret == old.sealing.secret
        assert new.sealing.card.serial > old.sealing.card.serial
        assert new.sealing.card.not_after == old.sealing.card.not_after + 1000
    assert "relay.site-2" in runs.keys("relay").allowed


def test_cards_for_keys_that_were_made_by_keygen(runs: Runs) -> None:
    keys.generate("server", runs.of("server"))
    old = keys.load(runs.of("server"), "server").public
    assert runs().made == ["server", "relay", "relay.site-1"]
    assert runs.keys("server").public == old


def test_a_card_is_renewed_without_the_secrets_which_are_elsewhere(runs: Runs) -> None:
    runs()
    serial, private = runs.serial("relay.site-1"), runs.of("relay.site-1") / "private"
    private.rename(runs.folder / "elsewhere")
    assert runs().renewed == ["server", "relay", "relay.site-1"]
    (runs.folder / "elsewhere").rename(private)
    assert runs.serial("relay.site-1") > serial


def test_a_card_that_is_not_that_of_the_keys(runs: Runs) -> None:
    runs()
    for name in ("key_secret", "seal_secret"):
        (runs.of("relay") / "private" / f"relay.{name}").unlink()
    card = cards.card_file(runs.of("relay"), "relay")
    good = card.read_text()
    card.write_text(cards.card_file(runs.of("server"), "server").read_text())
    with pytest.raises(KeyFileError, match="is no card of the public key of relay; bring back its keys"):
        runs()
    card.write_text("AAAA\n")
    with pytest.raises(KeyFileError, match="bring back its keys, or remove its folder"):
        runs()
    card.write_text(good)
    assert "relay" in runs().renewed


def test_who_is_revoked_gets_no_card_and_may_not_connect(runs: Runs) -> None:
    runs()
    done = runs("relay.site-1")
    assert done == Provisioned(renewed=["server", "relay"], revoked=["relay.site-1"], revocations=2)
    relay = runs.keys("relay")
    assert "relay.site-1" not in relay.allowed
    assert relay.sealing is not None
    assert relay.sealing.revocations.serials == {3}
    assert runs().revoked == ["relay.site-1"]
    assert (runs.of("relay") / "revoked").read_text().count("relay.site-1") == 1
    for file in sorted(runs.of("relay.site-1").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert runs().made == ["relay.site-1"]
    assert "relay.site-1" in runs.keys("relay").allowed
    assert runs.keys("relay.site-1").sealing is not None


def test_what_was_revoked_by_hand_stays_so(runs: Runs) -> None:
    runs()
    (runs.of("relay") / "revoked").write_text("somebody # by hand")
    runs("relay.site-1")
    text = (runs.of("relay") / "revoked").read_text()
    assert text.startswith("somebody # by hand\n")
    assert len(text.splitlines()) == 2
