"""A serial is used once, a revoked key stays revoked, and without its secret there is no federation."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.errors import KeyFileError, UserError
from zmqfl.transport import cards
from zmqfl.transport.authority import Authority
from zmqfl.wire.card import Revocations, read_card

LATER = 4_000_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, b"a" * 32)


def issue(authority: Authority, name: str, curve: bytes = b"c" * 32) -> int:
    card, signed = authority.issue(name, curve, b"s" * 32, LATER)
    authority.save()
    assert read_card(signed, authority.public) == card
    return card.serial


def test_it_is_made_once_and_found_again(tmp_path: Path, authority: Authority) -> None:
    assert issue(authority, "site-1") == 1
    again = Authority(tmp_path, b"b" * 32)
    assert again.public == authority.public == cards.load_federation(tmp_path)
    assert issue(again, "site-1") == 2
    assert repr(again) == f"<Authority {tmp_path}: 2 cards, list 1>"
    assert (tmp_path / "federation.secret").stat().st_mode & 0o777 == 0o600
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert cards.load_revocations(tmp_path, again.public) == Revocations(1)


def test_revoking_takes_back_all_cards_of_a_name(tmp_path: Path, authority: Authority) -> None:
    for name, curve in (("site-1", b"1" * 32), ("site-2", b"2" * 32), ("site-1", b"1" * 32)):
        issue(authority, name, curve)
    assert [card.serial for card in authority.revoke(["site-1"])] == [1, 3]
    assert authority.revocations == Revocations(2, frozenset({1, 3}))
    assert authority.is_revoked(b"1" * 32)
    assert not authority.is_revoked(b"2" * 32)
    authority.revoke(["site-1"])
    assert authority.revocations.number == 2
    issue(authority, "site-1", b"3" * 32)
    again = Authority(tmp_path, b"")
    again.revoke(["site-1"])
    assert again.revocations == Revocations(3, frozenset({1, 3, 4}))
    assert [card.serial for card in again.revoked()] == [1, 3, 4]


def test_revoking_who_never_had_a_card(authority: Authority) -> None:
    with pytest.raises(UserError, match="no card was ever made for 'nobody'; cards have: none yet"):
        authority.revoke(["nobody"])
    issue(authority, "site-1")
    with pytest.raises(UserError, match="--revoke: no card was ever made for 'nobody'; cards have: site-1"):
        authority.revoke(["site-1", "nobody"])
    assert authority.revocations.number == 1


def test_a_lost_secret_is_not_replaced(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "federation.secret").unlink()
    with pytest.raises(KeyFileError, match="the secret key of this federation is not here; bring it back"):
        Authority(tmp_path, b"b" * 32)


@pytest.mark.parametrize("line", ["1 site-1 x y", "1 site-1", "x site-1 1 " + "0" * 40, "1 site-1 1 ~~~~~"])
def test_a_register_that_is_none(tmp_path: Path, authority: Authority, line: str) -> None:
    (tmp_path / "issued").write_text(f"# serial\n\n{line}\n")
    with pytest.raises(KeyFileError, match="line 3 is no card"):
        Authority(tmp_path, b"")


def test_a_secret_that_is_none(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "federation.secret").write_text("AAAA\n")
    with pytest.raises(KeyFileError, match="is a key of 3 bytes, not of 32"):
        Authority(tmp_path, b"")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be written: "):
        Authority(tmp_path / "file", b"a" * 32)
