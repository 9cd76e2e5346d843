from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import zmq
import zmq.auth

from zmqfl.errors import FqcnError, KeyFileError
from zmqfl.fqcn import MAX_LENGTH
from zmqfl.transport import keys as module
from zmqfl.transport.keys import Keys, generate, load, load_allowed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a server, a site and a relay with a dot in its name."""
    for name in ("server", "site-1", "relay-a.site-2"):
        generate(name, tmp_path)
    return tmp_path


def public_key(folder: Path, name: str) -> bytes:
    return zmq.auth.load_certificate(folder / "public" / f"{name}.key")[0]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_generate_writes_what_zmq_auth_reads(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "keys"
    file = generate("site-1.job-3", folder)
    secret_file = folder / "private" / "site-1.job-3.key_secret"
    assert file == folder / "public" / "site-1.job-3.key"
    public, none = zmq.auth.load_certificate(file)
    again, secret = zmq.auth.load_certificate(secret_file)
    assert none is None
    assert secret is not None
    assert public == again == zmq.curve_public(secret)
    assert 'name = "site-1.job-3"' in file.read_text()
    assert [path.stat().st_mode & 0o777 for path in (file, secret_file, secret_file.parent)] == [0o644, 0o600, 0o700]
    assert {path for path in folder.rglob("*") if path.is_file()} == {file, secret_file}


def test_the_longest_name_has_a_file(tmp_path: Path) -> None:
    name = "x" * MAX_LENGTH
    generate(name, tmp_path)
    assert load(tmp_path, name).name == name


def test_generate_does_not_replace_a_secret_unless_forced(folder: Path) -> None:
    before = public_key(folder, "site-1")
    with pytest.raises(KeyFileError, match="exists already") as caught:
        generate("site-1", folder)
    assert caught.value.file == str(folder / "private" / "site-1.key_secret")
    assert public_key(folder, "site-1") == before
    generate("site-1", folder, force=True)
    assert public_key(folder, "site-1") != before
    assert load(folder, "site-1").public == public_key(folder, "site-1")


def test_of_two_at_once_one_wins_and_its_files_match(tmp_path: Path) -> None:
    errors: list[KeyFileError] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        try:
            generate("site-1", tmp_path)
        except KeyFileError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    assert load(tmp_path, "site-1").public == public_key(tmp_path, "site-1")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        generate("site-1", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a..b", "a b"])
def test_names_are_checked_before_any_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FqcnError):
        generate(name, tmp_path)
    with pytest.raises(FqcnError):
        load(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_load_gives_own_parent_and_allowed_keys(folder: Path) -> None:
    keys = load(folder, "site-1", parent="server")
    names = {"server", "site-1", "relay-a.site-2"}
    assert keys.name == "site-1"
    assert keys.public == zmq.curve_public(keys.secret) == public_key(folder, "site-1")
    assert keys.parent_public == public_key(folder, "server")
    assert keys.allowed == {name: public_key(folder, name) for name in names} == load_allowed(folder)
    assert load(folder, "server").parent_public is None


def test_without_a_name(folder: Path) -> None:
    keys = load(folder, "server")
    assert set(keys.without("site-1").allowed) == {"server", "relay-a.site-2"}
    assert keys.without("nobody") == keys


def test_repr_shows_no_secret(folder: Path) -> None:
    keys = load(folder, "site-1", parent="server")
    for text in (repr(keys), str(keys), f"{keys}"):
        assert keys.secret.decode() not in text
        assert str(keys.secret) not in text
        assert "site-1" in text


def test_plain_certificates_without_a_name_are_read(folder: Path) -> None:
    file = folder / "public" / "czmq.key"
    file.write_text('metadata\ncurve\n    public-key = "' + zmq.curve_keypair()[0].decode() + '"\n')
    assert load_allowed(folder)["czmq"] == public_key(folder, "czmq")


def test_missing_files(folder: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no such file") as caught:
        load(folder, "site-9")
    assert caught.value.file == str(folder / "private" / "site-9.key_secret")
    assert caught.value.remedy
    with pytest.raises(KeyFileError, match="there is no such file") as caught:
        load(folder, "site-1", parent="relay-x")
    assert caught.value.file == str(folder / "public" / "relay-x.key")
    assert "relay-x" in caught.value.remedy
    (folder / "public" / "site-1.key").unlink()
    with pytest.raises(KeyFileError, match=r"public/site-1\.key: there is no such file"):
        load(folder, "site-1")
    assert load_allowed(folder / "nowhere") == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_secret_that_others_may_use(folder: Path, mode: int) -> None:
    file = folder / "private" / "site-1.key_secret"
    file.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}") as caught:
        load(folder, "site-1")
    assert caught.value.remedy == f"chmod 600 {file}"
    file.chmod(0o400)
    assert load(folder, "site-1").name == "site-1"


def test_public_and_secret_that_do_not_match(folder: Path) -> None:
    file = folder / "private" / "site-1.key_secret"
    stranger = zmq.curve_keypair()[0].decode()
    own = public_key(folder, "site-1").decode()
    edit(file, own, stranger)
    with pytest.raises(KeyFileError, match="do not match"):
        load(folder, "site-1")
    edit(file, stranger, own)
    edit(folder / "public" / "site-1.key", own, stranger)
    with pytest.raises(KeyFileError, match="is not the secret of") as caught:
        load(folder, "site-1")
    assert caught.value.file == str(file)


def test_two_names_with_one_key(folder: Path) -> None:
    text = (folder / "public" / "site-1.key").read_text()
    (folder / "public" / "site-2.key").write_text(text.replace("site-1", "site-2"))
    with pytest.raises(KeyFileError, match=r"site-2\.key: holds the same key as .*site-1\.key"):
        load_allowed(folder)


def test_a_renamed_file(folder: Path) -> None:
    (folder / "public" / "site-1.key").rename(folder / "public" / "site-7.key")
    with pytest.raises(KeyFileError, match="holds the key of 'site-1'"):
        load_allowed(folder)
    with pytest.raises(KeyFileError, match=r"site-7\.key"):
        load(folder, "server")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("public-key", "other", "has no public-key"),
        ("secret-key", "other", "has no secret-key"),
        ('secret-key = "', 'secret-key = "x', "its secret-key is no Z85 key"),
        ('public-key = "', 'public-key = "\\', "its public-key is no Z85 key"),
        ("metadata", "ümetadata", "is not ASCII text"),
    ],
)
def test_malformed_files(folder: Path, old: str, new: str, problem: str) -> None:
    file = folder / "private" / "site-1.key_secret"
    edit(file, old, new)
    with pytest.raises(KeyFileError, match=problem) as caught:
        load(folder, "site-1")
    assert caught.value.file == str(file)
    assert caught.value.remedy


@pytest.mark.parametrize("key", ["", "x" * 39, "x" * 41, "~" * 40, "#####" * 8, "x" * 35 + "\\aaaa"])
def test_what_is_no_key(key: str) -> None:
    assert not module._is_key(key)


@pytest.mark.parametrize("name", ["odd name", ".site-1", "a..b"])
def test_a_file_name_that_is_no_cell_name(folder: Path, name: str) -> None:
    (folder / "public" / f"{name}.key").write_text((folder / "public" / "site-1.key").read_text())
    with pytest.raises(KeyFileError, match="is no cell name") as caught:
        load_allowed(folder)
    assert caught.value.file == str(folder / "public" / f"{name}.key")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "public").write_text("")
    with pytest.raises(KeyFileError, match="cannot be written: File exists"):
        generate("site-1", tmp_path)


def test_a_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "public" / "odd.key").mkdir()
    with pytest.raises(KeyFileError, match=r"odd\.key: cannot be read: Is a directory"):
        load_allowed(folder)


def test_revoked_names_and_keys_are_not_allowed(folder: Path) -> None:
    generate("site-3", folder)
    key = public_key(folder, "site-3").decode()
    (folder / "revoked").write_text(f"# lost laptops\n\n  site-1   # since May\nnever-existed\n{key} # stolen\n")
    assert set(load_allowed(folder)) == {"server", "relay-a.site-2"}
    assert set(load(folder, "server").allowed) == {"server", "relay-a.site-2"}
    with pytest.raises(KeyFileError, match=r"site-1\.key: is revoked"):
        load(folder, "site-1")
    with pytest.raises(KeyFileError, match=r"site-3\.key: is revoked") as caught:
        load(folder, "server", parent="site-3")
    assert str(folder / "revoked") in caught.value.remedy


def test_a_long_list_of_revocations_counts_to_its_end(folder: Path) -> None:
    (folder / "revoked").write_text("".join(f"gone-{number}\n" for number in range(20_000)) + "site-1\n")
    assert "site-1" not in load_allowed(folder)


def test_a_key_never_looks_like_a_comment(folder: Path) -> None:
    """Z85 has `#`. Were such a key skipped as a comment, it would stay valid."""
    assert not any(module._is_key(first + "0" * 39) for first in "#$")
    key = "0####" * 8
    assert module._is_key(key)
    (folder / "public" / "site-4.key").write_text(f'curve\n    public-key = "{key}"\n')
    assert load_allowed(folder)["site-4"] == key.encode()
    (folder / "revoked").write_text(f"{key} # stolen\n")
    assert "site-4" not in load_allowed(folder)


@pytest.mark.parametrize("line", ["not/a/name", "site-1 site-2", "site-1, site-2", "x" * 300])
def test_a_revocation_that_cannot_be_read_stops_everything(folder: Path, line: str) -> None:
    (folder / "revoked").write_text(f"# header\n{line}\n")
    with pytest.raises(KeyFileError, match="line 2") as caught:
        load_allowed(folder)
    assert caught.value.file == str(folder / "revoked")


def test_keys_are_values(folder: Path) -> None:
    public, secret = zmq.curve_keypair()
    assert Keys("a", public, secret) == Keys("a", public, secret)
