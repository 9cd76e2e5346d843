"""Key files of a site: its own secret, and the public keys of those it knows.

    FOLDER/public/NAME.key           one per cell; may be copied to others, by a way that nobody can tamper with
    FOLDER/private/NAME.key_secret   mode 0600; never leaves the machine
    FOLDER/revoked                   one name or public key per line; `#` begins a comment

The files are ZPL certificates as `zmq.auth` and czmq read them. NAME is the FQCN of the cell; the file repeats it
as metadata, so that a renamed file is not a renamed cell. What `secure=True` needs besides is in `cards`.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zmq
from zmq.utils import z85

from zmqfl import fqcn
from zmqfl.errors import FqcnError, KeyFileError
from zmqfl.fqcn import FQCN

if TYPE_CHECKING:
    from zmqfl.transport.cards import SealingKeys

PUBLIC: Final = ".key"
SECRET: Final = ".key_secret"


@dataclass(frozen=True, slots=True)
class Keys:
    """Who a cell is, and whom it knows. Keys are Z85, 40 bytes."""

    name: str
    public: bytes
    secret: bytes = field(repr=False)
    parent_public: bytes | None = None
    """The one key that the parent must prove; None for a root."""
    allowed: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Name -> public key of all who may connect."""
    sealing: SealingKeys | None = field(default=None, repr=False)
    """Its card and sealing key; None: CURVE alone, and `secure=True` is refused."""

    def without(self, name: str) -> Keys:
        """The same keys, but `name` may not connect."""
        return replace(self, allowed={other: key for other, key in self.allowed.items() if other != name})


def generate(name: str, folder: Path, force: bool = False) -> Path:
    """Make a key pair for cell `name` and write both files. Returns the public one, which its neighbours need.

    Raises `KeyFileError` if there is a secret of this name already, unless `force`, and `FqcnError`.
    """
    name = fqcn.parse(name, "name")
    public_file, secret_file = _public_file(folder, name), _secret_file(folder, name)
    public, secret = zmq.curve_keypair()
    try:
        public_file.parent.mkdir(parents=True, exist_ok=True)
        secret_file.parent.mkdir(exist_ok=True)
        secret_file.parent.chmod(0o700)
        # The secret first: where two run at once, only the one whose secret is there writes the public key.
        write_file(secret_file, _certificate(name, public, secret), 0o600, replace_old=force)
        write_file(public_file, _certificate(name, public), 0o644, replace_old=True)
    except OSError as error:
        remedy = "name a folder that you may write to"
        raise KeyFileError(f"cannot be written: {error.strerror}", file=str(secret_file), remedy=remedy) from None
    return public_file


def load_public(folder: Path, name: str) -> bytes:
    """The public key of cell `name` (Z85), whether it may connect or not. Raises `KeyFileError`."""
    return _read(_public_file(folder, name), name)[0]


def copy_public(name: str, source: Path, target: Path) -> None:
    """Copy the public key of cell `name` from one folder of keys to another. Raises `KeyFileError`."""
    file = _public_file(target, name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, _certificate(name, load_public(source, name)), 0o644, replace_old=True)
    except OSError as error:
        remedy = "name a folder that you may write to"
        raise KeyFileError(f"cannot be written: {error.strerror}", file=str(file), remedy=remedy) from None


def revoke(folder: Path, keys: Mapping[bytes, str]) -> None:
    """Add public keys (Z85) to FOLDER/revoked, each with a comment; what is in it stays. Raises `KeyFileError`."""
    file = folder / "revoked"
    old = read_text(file, missing="")
    known = load_revoked(folder)
    lines = [f"{key.decode()} # {comment}\n" for key, comment in keys.items() if key.decode() not in known]
    if not lines:
        return
    try:
        write_file(
            file, old + ("" if old.endswith("\n") or not old else "\n") + "".join(lines), 0o644, replace_old=True
        )
    except OSError as error:
        remedy = "name a folder that you may write to"
        raise KeyFileError(f"cannot be written: {error.strerror}", file=str(file), remedy=remedy) from None


def load(folder: Path, name: str, parent: str | None = None) -> Keys:
    """Read the keys of cell `name`: its secret, its parent's public key, all who may connect, and its card, if any.

    Raises `KeyFileError` naming the file and the remedy, for whatever is missing, malformed, open to others,
    revoked, or does not fit together.
    """
    name = fqcn.parse(name, "name")
    file = _secret_file(folder, name)
    public, secret = _read_secret(file, name)
    allowed = load_allowed(folder)
    if _known(allowed, folder, name) != public:
        problem, remedy = f"is not the secret of {_public_file(folder, name)}", "generate both again with force"
        raise KeyFileError(problem, file=str(file), remedy=remedy)
    parent_public = _known(allowed, folder, fqcn.parse(parent, "parent")) if parent else None
    return Keys(name, public, secret, parent_public, allowed, load_sealing(folder, name, public))


def load_sealing(folder: Path, name: str, public: bytes) -> SealingKeys | None:
    """What a cell with this CURVE key (Z85) needs for `secure=True`; None where FOLDER has none of it.

    Raises `KeyFileError` for what is missing, malformed, open to others, or does not fit together.
    """
    if not any((folder / place).exists() for place in (f"cards/{name}.card", f"private/{name}.seal_secret")):
        return None
    from zmqfl.transport import cards  # 8 MiB that a cell without a card does not need

    return cards.load(folder, name, z85.decode(public))


def load_allowed(folder: Path) -> dict[str, bytes]:
    """Name -> public key of all in FOLDER/public that are not revoked. Raises `KeyFileError`; see `load`."""
    allowed: dict[str, bytes] = {}
    owners: dict[bytes, Path] = {}
    revoked = load_revoked(folder)
    for file in sorted((folder / "public").glob(f"*{PUBLIC}")):
        name = file.name.removesuffix(PUBLIC)
        if problem := FQCN.validate(name):
            raise KeyFileError(f"{name!r} is no cell name: {problem}", file=str(file), remedy="rename or remove it")
        key, _ = _read(file, name)
        if (owner := owners.setdefault(key, file)) != file:
            remedy = "give each cell a key of its own"
            raise KeyFileError(f"holds the same key as {owner}", file=str(file), remedy=remedy)
        if name not in revoked and key.decode() not in revoked:
            allowed[name] = key
    return allowed


def raw(key: bytes) -> bytes:
    """The 32 bytes of a key in Z85."""
    return z85.decode(key)


def spelled(key: bytes) -> bytes:
    """A key of 32 bytes in Z85."""
    return z85.encode(key)


def _known(allowed: Mapping[str, bytes], folder: Path, name: str) -> bytes:
    file = _public_file(folder, name)
    if name in allowed:
        return allowed[name]
    if file.exists():
        raise KeyFileError("is revoked", file=str(file), remedy=f"generate a new key and mend {folder / 'revoked'}")
    raise KeyFileError("there is no such file", file=str(file), remedy=f"copy the public key of {name} there")


def _public_file(folder: Path, name: str) -> Path:
    return folder / "public" / (name + PUBLIC)


def _secret_file(folder: Path, name: str) -> Path:
    return folder / "private" / (name + SECRET)


def load_revoked(folder: Path) -> frozenset[str]:
    """The names and public keys in FOLDER/revoked. Raises `KeyFileError`."""
    file = folder / "revoked"
    entries = set()
    for number, line in enumerate(read_text(file, missing="").splitlines(), start=1):
        entry = _before_comment(line)
        if not entry:
            continue
        try:
            entries.add(entry if _is_key(entry) else fqcn.parse(entry))
        except FqcnError as error:
            raise malformed(file, f"line {number}: {error.problem}") from None
    return frozenset(entries)


def _before_comment(line: str) -> str:
    # A key may hold `#`, but no blank, and never begins with `#`: five characters of Z85 end at `%nSc0`.
    return "" if line.lstrip().startswith("#") else line.partition(" #")[0].strip()


def _read_secret(file: Path, name: str) -> tuple[bytes, bytes]:
    public, secret = _read(file, name, private=True)
    if secret is None:
        raise malformed(file, "has no secret-key")
    if zmq.curve_public(secret) != public:
        raise malformed(file, "its public-key and secret-key do not match")
    return public, secret


def _read(file: Path, name: str, private: bool = False) -> tuple[bytes, bytes | None]:
    """The public and, if it is there, the secret key in a certificate of cell `name`."""
    values = dict(_items(read_text(file, private)))
    if (owner := values.get("name", name)) != name:
        raise KeyFileError(f"holds the key of {owner!r}", file=str(file), remedy="give it its own name again")
    for label in ("public-key", "secret-key"):
        if (key := values.get(label)) is not None and not _is_key(key):
            raise malformed(file, f"its {label} is no Z85 key of 40 characters")
    if "public-key" not in values:
        raise malformed(file, "has no public-key")
    secret = values.get("secret-key")
    return values["public-key"].encode(), None if secret is None else secret.encode()


def _items(text: str) -> list[tuple[str, str]]:
    """The `name = value` lines of a ZPL text, whatever section they are in."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return [(name.strip(), value.strip().strip("\"'")) for name, _, value in pairs]


def read_text(file: Path, private: bool = False, missing: str | None = None) -> str:
    """The text of a file, `missing` if there is none. `private`: only its owner may have rights to it."""
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if private and mode & 0o077:
                raise KeyFileError(f"others may use it (mode {mode:04o})", file=str(file), remedy=f"chmod 600 {file}")
            return stream.read().decode("ascii")
    except FileNotFoundError:
        if missing is not None:
            return missing
        remedy = "generate the key, or name its folder"
        raise KeyFileError("there is no such file", file=str(file), remedy=remedy) from None
    except OSError as error:
        raise KeyFileError(f"cannot be read: {error.strerror}", file=str(file), remedy="mend its rights") from None
    except UnicodeDecodeError:
        raise malformed(file, "is not ASCII text") from None


def _certificate(name: str, public: bytes, secret: bytes | None = None) -> str:
    title = "Public Certificate" if secret is None else "**Secret** Certificate: give it to nobody"
    text = f'#   ZeroMQ CURVE {title}\n\nmetadata\n    name = "{name}"\ncurve\n    public-key = "{public.decode()}"\n'
    return text if secret is None else f'{text}    secret-key = "{secret.decode()}"\n'


def write_file(file: Path, text: str, mode: int, replace_old: bool) -> None:
    """Write a whole file or none: under another name first, then renamed or, not to replace an old one, linked."""
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if replace_old:
            os.replace(temporary, file)
        else:
            os.link(temporary, file)
    except FileExistsError:
        remedy = "use it, or force a new one: neighbours will need its new public key"
        raise KeyFileError("exists already", file=str(file), remedy=remedy) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _is_key(text: str) -> bool:
    try:
        return len(text) == 40 and len(z85.decode(text)) == 32
    except (KeyError, ValueError, struct.error):
        return False


def malformed(file: Path, problem: str) -> KeyFileError:
    """The error for a file that is not what it should be."""
    return KeyFileError(problem, file=str(file), remedy="generate or copy it again")
