"""Where a running federation is on this machine, and what its supervisor writes down about it.

    FOLDER/NAME/_state.json     what runs: the supervisor, its sites; gone when it has ended
                _lock           held by the supervisor while it lives
                _orders.sock    where it takes orders
                _notify.sock    where its sites report
                _supervisor.log what it did; stays
                FQCN.log        output of a site; stays
                sites/FQCN/ what others have pushed to a site; stays
                FQCN.sock, FQCN.spec.json, FQCN.endpoints.json, keys/

No site's name begins with `_`.

FOLDER is $ZMQFL_RUN_DIR, else $XDG_RUNTIME_DIR/zmqfl, else ~/.local/state/zmqfl; a federation whose sockets would
have too long a path there goes to zmqfl-UID in the folder for temporary files. All of mode 0700. `sites` is
elsewhere: without $ZMQFL_RUN_DIR it is in ~/.local/state/zmqfl/NAME, since the other places may be memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from zmqfl.errors import UserError
from zmqfl.launch.process import is_alive, session_members
from zmqfl.launch.spec import write_whole

VARIABLE: Final = "ZMQFL_RUN_DIR"
MAX_SOCKET_PATH: Final = 107
SOCKET_NAME: Final = 48
"""Bytes that the path of a socket in the folder of a federation may add to it; longer ones are for short folders."""


@dataclass(frozen=True, slots=True)
class SiteState:
    """A site, as its launcher sees it."""

    fqcn: str
    status: str
    """waiting | running | restarting | done | failed | replaced | stopped"""
    pid: int = 0
    mark: str = ""
    restarts: int = 0
    started: float = 0.0
    """When, in seconds of the wall clock; 0: never."""
    exit: int | None = None
    """How the last start ended; None: it has not."""


def members(site: SiteState) -> list[int]:
    """The living processes of a site: its own and what that has started."""
    return session_members(site.pid, site.mark) if site.pid else []


@dataclass(frozen=True, slots=True)
class RunState:
    """A federation on this machine."""

    name: str
    run_dir: str
    topology: str
    """The file that it was started from."""
    pid: int
    """The supervisor."""
    mark: str
    started: float
    door: tuple[str, str] = ("", "")
    """(FQCN, URL) of the cell below which the command line's cells stand."""
    connected: bool = False
    """Whether all of its cells have been."""
    sites: tuple[SiteState, ...] = field(default_factory=tuple)

    @property
    def is_supervised(self) -> bool:
        """Whether the supervisor lives."""
        return is_alive(self.pid, self.mark)

    def write(self) -> None:
        """Write it down, whole or not at all."""
        write_whole(state_file(Path(self.run_dir)), json.dumps(asdict(self), indent=1))


def read(run_dir: Path) -> RunState | None:
    """What was written down there; None when nothing runs."""
    try:
        values = json.loads(state_file(run_dir).read_text())
    except FileNotFoundError:
        return None
    sites = tuple(SiteState(**site) for site in values.pop("sites"))
    return RunState(**{**values, "door": tuple(values["door"]), "sites": sites})


def state_file(run_dir: Path) -> Path:
    """Where the state of a federation is written down."""
    return run_dir / "_state.json"


def orders_socket(run_dir: Path) -> Path:
    """Where its supervisor takes orders."""
    return run_dir / "_orders.sock"


def notify_socket(run_dir: Path) -> Path:
    """Where its sites report."""
    return run_dir / "_notify.sock"


def supervisor_log(run_dir: Path) -> Path:
    """What the supervisor writes for people."""
    return run_dir / "_supervisor.log"


# -------------------------------------------------------------------------------------------------------- which folder


def run_folder(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of a federation, which need not exist."""
    folder = _base(environ) / name
    too_long = len(os.fsencode(folder)) + SOCKET_NAME > MAX_SOCKET_PATH
    return _short_base() / name if too_long and VARIABLE not in environ else folder


def sites_folder(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the files of the sites of a federation are: on a disk, and kept, which the run folder may not be."""
    base = Path(given).absolute() if (given := environ.get(VARIABLE)) else _state_base()
    return base / name / "sites"


def running(environ: Mapping[str, str] = os.environ) -> list[RunState]:
    """All federations of this user on this machine that run, or whose supervisor left without cleaning up."""
    folders = [folder for base in (_base(environ), _short_base()) if base.is_dir() for folder in sorted(base.iterdir())]
    return [state for folder in folders if (state := read(folder)) is not None]


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter. Raises `UserError` if it is another's or open to others."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        remedy = f"set {VARIABLE} to a folder of your own"
        raise UserError(f"cannot make the run folder {folder}: {error.strerror}", remedy=remedy) from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not stat.S_ISDIR(status.st_mode):
        remedy = f"chmod 700 {folder}, or set {VARIABLE} to a folder of your own"
        raise UserError(f"the run folder {folder} is open to others", remedy=remedy)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Be the one supervisor of that folder. Raises `UserError` when there is another."""
    descriptor = os.open(run_dir / "_lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise already_running(run_dir.name, read(run_dir)) from None
        yield
    finally:
        os.close(descriptor)


def already_running(name: str, state: RunState | None) -> UserError:
    """What to tell who starts it a second time."""
    pid = f" (supervisor: process {state.pid})" if state else ""
    return UserError(f"federation {name!r} runs already{pid}", remedy=f"stop it by `zmqfl down -t {name}`")


def remove_traces(run_dir: Path) -> None:
    """Remove everything but the logs and the lock."""
    shutil.rmtree(run_dir / "keys", ignore_errors=True)
    for file in run_dir.iterdir():
        if file.suffix in (".json", ".sock", ".plane") or file.name.startswith("."):
            file.unlink(missing_ok=True)


def _base(environ: Mapping[str, str]) -> Path:
    if given := environ.get(VARIABLE):
        return Path(given).absolute()
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime, "zmqfl")
    return _state_base()


def _state_base() -> Path:
    return Path.home() / ".local" / "state" / "zmqfl"


def _short_base() -> Path:
    return Path(tempfile.gettempdir(), f"zmqfl-{os.geteuid()}")
