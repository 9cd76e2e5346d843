"""The files of a card: what fits together is read, and whatever does not is named with its remedy."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from zmqfl.errors import KeyFileError
from zmqfl.transport import cards, keys
from zmqfl.transport.authority import Authority
from zmqfl.wire.card import Revocations
from zmqfl.wire.noise import public_of

LATER = 4_000_000_000
SECRET = b"s" * 32


def make(folder: Path, name: str, authority: Authority) -> None:
    """Keys and a card for one cell."""
    keys.generate(name, folder)
    cards.write(cards.secret_file(folder, name), SECRET, "secret", private=True)
    renew(folder, name, authority)


def renew(folder: Path, name: str, authority: Authority, card_of: str = "") -> None:
    curve = keys.raw(keys.load_public(folder, name))
    _, signed = authority.issue(card_of or name, curve, public_of(SECRET), LATER)
    authority.save()
    cards.write(cards.card_file(folder, name), signed, "card")
    authority.write_public(folder)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority", b"a" * 32)


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    folder = tmp_path / "site-1"
    make(folder, "site-1", authority)
    return folder


def test_a_folder_with_a_card_gives_it_with_the_keys(folder: Path, authority: Authority) -> None:
    loaded = keys.load(folder, "site-1")
    assert loaded.sealing is not None
    assert loaded.sealing.card.fqcn == "site-1"
    assert loaded.sealing.card.curve == keys.raw(loaded.public)
    assert loaded.sealing.card.seal == public_of(SECRET)
    assert loaded.sealing.federation == authority.public
    assert loaded.sealing.revocations == Revocations(1)
    assert "sss" not in repr(loaded) + repr(loaded.sealing)


def test_without_a_card_there_is_curve_alone(tmp_path: Path) -> None:
    keys.generate("site-1", tmp_path)
    assert keys.load(tmp_path, "site-1").sealing is None


def test_who_is_revoked_in_the_folder_is_not_believed_either(folder: Path) -> None:
    (folder / "revoked").write_text("site-2 # lost\n")
    sealing = keys.load(folder, "site-1").sealing
    assert sealing is not None
    assert sealing.refused == {"site-2"}


@pytest.mark.parametrize(
    "missing", ["cards/site-1.card", "private/site-1.seal_secret", "federation.key", "revocations"]
)
def test_a_part_that_is_missing_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(KeyFileError, match="there is no such file; run `zmqfl provision` again") as caught:
        keys.load(folder, "site-1")
    assert caught.value.file == str(folder / missing)


@pytest.mark.parametrize("file", ["cards/site-1.card", "private/site-1.seal_secret", "federation.key", "revocations"])
@pytest.mark.parametrize("text", ["# nothing\n", "no base64!\n", "AAAA\n", "# a comment\nAAA\n"])
def test_a_part_that_is_none_is_named(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(KeyFileError) as caught:
        keys.load(folder, "site-1")
    assert caught.value.file == str(folder / file)
    assert caught.value.remedy


def test_a_secret_that_others_may_read_is_refused(folder: Path) -> None:
    file = cards.secret_file(folder, "site-1")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="others may use it"):
        keys.load(folder, "site-1")


def test_parts_that_do_not_fit_together(folder: Path, authority: Authority, tmp_path: Path) -> None:
    cards.write(cards.secret_file(folder, "site-1"), b"x" * 32, "other", private=True)
    with pytest.raises(KeyFileError, match="was made for another sealing key of site-1"):
        keys.load(folder, "site-1")
    cards.write(cards.secret_file(folder, "site-1"), SECRET, "own", private=True)
    keys.generate("site-1", folder, force=True)
    with pytest.raises(KeyFileError, match="was made for another CURVE key of site-1"):
        keys.load(folder, "site-1")
    renew(folder, "site-1", authority, card_of="site-2")
    with pytest.raises(KeyFileError, match="is the card of 'site-2'; give it its own name again"):
        keys.load(folder, "site-1")
    renew(folder, "site-1", authority)
    keys.load(folder, "site-1")
    other = Authority(tmp_path / "other", b"b" * 32)
    other.write_public(folder)
    with pytest.raises(KeyFileError, match="not signed by the key of this federation"):
        keys.load(folder, "site-1")


def test_files_are_text_for_people(folder: Path) -> None:
    lines = cards.card_file(folder, "site-1").read_text().splitlines()
    assert lines[0] == "# card"
    assert max(map(len, lines)) <= 76
    assert cards.read(cards.card_file(folder, "site-1")) == base64.b64decode("".join(lines[1:]))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="cannot be written: "):
        cards.write(tmp_path / "file" / "x", b"", "x")
