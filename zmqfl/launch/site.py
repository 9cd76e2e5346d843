"""One site process: from a `SiteSpec` to a serving cell. `python -m zmqfl.launch.site SPEC` is what launchers execute.

    run:                         what happens
    none                         the cell serves until it is stopped
    module:function              function(cell, *args) in the main thread, once the parent has bound the cell; a
                                 coroutine function in an event loop. None: the cell serves on; an int: exit status
    a command line               takes this process over; its program calls `cell_from_environment()`

`run` finds in $ZMQFL_WORK the folder for files of its site. In any case the cell takes files that are pushed to it, and
gives those below `exports` (see `files`).

    signal                       what happens
    SIGTERM, SIGINT              `Stopped` (a KeyboardInterrupt) in the main thread; drain; status 0
    the same again               the process ends at once
    SIGHUP                       the allow list of keys is read again, and of its spec what its children may hear
    SIGUSR2                      the stacks of all threads go to standard error

Exit statuses: 0 stopped or done, 1 the run failed, 2 somebody's mistake (one line on standard error), 75 replaced by
a newer start of the same name. Every site pays for what is imported here: no pydantic, no YAML, no command line.
"""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.plane_verbs import OTHERS
from zmqfl.cell.prop_service import PropService
from zmqfl.errors import TopologyError, UserError
from zmqfl.launch import secrets
from zmqfl.launch.ending import AGAIN, USER_MISTAKE
from zmqfl.launch.files import serve_files
from zmqfl.launch.launcher import PARENT
from zmqfl.launch.log_stream import log_handler
from zmqfl.launch.notify import notify
from zmqfl.launch.program import execute, is_function, load_function
from zmqfl.launch.settings import PREFIX, load_settings
from zmqfl.launch.signal_pipe import SignalPipe
from zmqfl.launch.spec import SiteSpec, write_whole
from zmqfl.protocol.commands import EXIT_REPLACED
from zmqfl.transport import keys as key_files
from zmqfl.transport.keys import Keys

log = logging.getLogger("zmqfl.site")

SPEC: Final = "ZMQFL_SITE_SPEC"
SETTINGS: Final = "ZMQFL_SETTINGS"
WORK: Final = "ZMQFL_WORK"
LOG_LEVEL: Final = "ZMQFL_LOG_LEVEL"
JOBS: Final = "zmqfl.fl.jobs.host:serve_jobs"
"""What has a site take part in jobs: it is on a floor above, so a site that takes none does not import it."""
_PR_SET_PDEATHSIG: Final = 1


class Stopped(KeyboardInterrupt):
    """Raised in the main thread of a site when it is to end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the site of the spec file that is the one argument; returns the exit status."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    return run_file(path)


def run_file(path: str | Path, settings: str | None = None, overrides: Sequence[str] = ()) -> int:
    """Run the site of a spec file until it ends; returns the exit status.

    `settings`: a settings file of the site's own; `overrides`: "field=value" of the command line.
    """
    try:
        spec = read_spec(path)
        if settings:
            os.environ[SETTINGS] = settings
        load_settings(None, {}, overrides)  # their errors name the command line
        for name, _, value in (override.partition("=") for override in overrides):
            os.environ[PREFIX + name.upper()] = value
        os.environ[SPEC] = str(Path(path).absolute())
        return run_site(spec)
    except UserError as error:
        return mistaken(error)


def mistaken(error: UserError) -> int:
    """Tell a person what is wrong, in one line; returns the exit status."""
    sys.stderr.write(f"zmqfl: {error.line()}\n")
    return USER_MISTAKE


def run_site(spec: SiteSpec) -> int:
    """Be this site until it ends; returns the exit status, or does not return where `run` is a command line."""
    _die_with_launcher()
    os.environ.update({WORK: spec.folder, **spec.env, **secrets.fetch(spec.secrets, os.environ)})
    if spec.run and not is_function(spec.run):
        execute(spec.run, spec.args)
    return Site(spec).run()


def cell_from_environment() -> Cell:
    """The cell of this process, for programs that are started as `run:` of a site. Use it as any other cell:

        with cell_from_environment() as cell: ...

    The program handles signals itself. It ends at once with status 75 when a newer start holds the name. Raises
    `UserError` when the process was not started so, or its sockets cannot be bound.
    """
    if not (path := os.environ.get(SPEC)):
        remedy = "start this program by `run:` of a topology, or make a Cell of your own"
        raise UserError("this process is not a site", field=SPEC, remedy=remedy)
    return open_cell(read_spec(path), _end_program)


def _end_program(status: int, reason: str) -> None:
    """The cell of a program that takes care of itself must end."""
    if status == EXIT_REPLACED:
        os._exit(EXIT_REPLACED)
    notify(STOPPING=1, X_ZMQFL_CELL=read_spec(os.environ[SPEC]).fqcn)
    os.kill(os.getpid(), signal.SIGTERM)


def read_spec(path: str | Path) -> SiteSpec:
    """Read a spec file. Raises `TopologyError`."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        remedy = "`zmqfl up --dry-run` shows specs"
        raise TopologyError(f"cannot be read: {reason}", file=str(path), remedy=remedy) from None
    return SiteSpec.from_json(text, str(path))


def open_cell(spec: SiteSpec, on_exit: Callable[[int, str], None] | None = None) -> Cell:
    """Bind the sockets of a site, and tell its launcher where. Raises `UserError`. The cell is not started yet."""
    cell = Cell(
        spec.fqcn,
        [listener.bind for listener in spec.listen],
        spec.parent_url or None,
        _keys(spec),
        load_settings(os.environ.get(SETTINGS), os.environ, (), spec.config),
        trusted_network=spec.trusted_network,
        plane=spec.plane,
        on_exit=on_exit,
    )
    if spec.allow:
        cell.filters.incoming_request.append("*", "*", partial(_refuse_others, spec.allow))
    _set_hearers(cell, spec)
    if spec.run_dir:
        write_whole(Path(spec.endpoints), json.dumps(cell.urls))
    serve_files(cell, spec)
    PropService(cell, Path(spec.run_dir) if spec.run_dir else None).serve()
    notify(READY=1, MAINPID=os.getpid(), X_ZMQFL_CELL=cell.fqcn, X_ZMQFL_INSTANCE=cell.instance)
    return cell


def start_logging() -> None:
    """Log to standard error, from the level of $ZMQFL_LOG_LEVEL on. Raises `UserError` for a level that is none."""
    level = os.environ.get(LOG_LEVEL, "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        names = ", ".join(logging.getLevelNamesMapping())
        raise UserError(f"there is no level {level!r}", field=LOG_LEVEL, remedy=f"give one of {names}")
    logging.basicConfig(level=level, handlers=[log_handler(sys.stderr)])


class Site:
    """The life of one site process."""

    def __init__(self, spec: SiteSpec) -> None:
        self.spec = spec
        self.status = 0
        self._stopping = False
        self._jobs: Any = None
        """What takes part in jobs for it; None: it takes none."""
        self._told: float | None = None
        """When the first SIGTERM or SIGINT came."""

    def run(self) -> int:
        """From binding to BYE; returns the exit status. Raises `UserError`."""
        function = load_function(self.spec.run) if self.spec.run else None
        cell = open_cell(self.spec, self._must_exit)
        if self.spec.jobs:
            self._jobs = load_function(JOBS)(cell, self.spec)
        start_logging()
        signals = SignalPipe()
        with suppress(Stopped):  # it may come late, when nothing is to be stopped any more
            try:
                self._handle_signals(cell)
                cell.start()
                log.info("%s", _hello(self.spec, cell))
                self.status = self._work(cell, function, signals)
            except Stopped:
                log.info("stopping")
            except SystemExit as error:
                self.status = error.code if isinstance(error.code, int) else int(error.code is not None)
            except Exception:
                log.exception("the run failed")
                self.status = 1
            self._stopping = True
        if self._jobs is not None:
            self._jobs.close()
        cell.close(0 if self.status == EXIT_REPLACED else None)
        signals.close()
        return self.status

    def _work(self, cell: Cell, function: Callable[..., Any] | None, signals: SignalPipe) -> int:
        signals.wait_for(cell.connected())
        if self.spec.parent:
            log.info("connected to %s", cell.parent)
        if self._jobs is not None:
            self._jobs.take_up()
        if inspect.iscoroutinefunction(function):
            status = asyncio.run(_run_coroutine(function, cell, self.spec.args, signals))
        else:
            status = function(cell, *self.spec.args) if function else None
        if status is None:
            signals.wait()
        if not isinstance(status, int):
            raise TypeError(f"{self.spec.run} returned {status!r}; return None to serve on, or an exit status")
        return status

    # -- signals -----------------------------------------------------------------------------------------------------

    def _handle_signals(self, cell: Cell) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, lambda *_: _reload(cell, self.spec))
        faulthandler.register(signal.SIGUSR2)

    def _on_signal(self, number: int, frame: object) -> None:
        if number != signal.SIGUSR1:
            now = time.monotonic()
            if self._told is not None and now - self._told >= AGAIN:
                os._exit(128 + number)
            self._told = self._told or now
        if not self._stopping:
            self._stopping = True
            if self.status != EXIT_REPLACED:
                notify(STOPPING=1, X_ZMQFL_CELL=self.spec.fqcn)
            raise Stopped

    def _must_exit(self, status: int, reason: str) -> None:
        """The cell says so, on a thread of its own: a real signal is what wakes the main thread from any wait."""
        self.status = status
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


async def _run_coroutine(function: Callable[..., Any], cell: Cell, args: Sequence[str], signals: SignalPipe) -> Any:
    signals.watch_in(asyncio.get_running_loop())
    status = await function(cell, *args)
    if status is None:  # serve on, with the loop that its handlers were registered on
        await asyncio.get_running_loop().create_future()
    return status


def _keys(spec: SiteSpec) -> Keys | None:
    """Its secret, and of all public keys those of its neighbours."""
    if not spec.keys:
        return None
    keys = key_files.load(Path(spec.keys), spec.fqcn, None if spec.parent_key else spec.parent or None)
    allowed = {name: key for name, key in keys.allowed.items() if name in spec.children}
    parent = spec.parent_key.encode() if spec.parent_key else keys.parent_public
    return replace(keys, parent_public=parent, allowed=allowed)


def _set_hearers(cell: Cell, spec: SiteSpec) -> None:
    """Who is not named hears everything: the cells of command lines are among them."""
    cell.set_hearers({OTHERS: ("",), **spec.hearers} if spec.hearers else None)


def _reload(cell: Cell, spec: SiteSpec) -> None:
    """What SIGHUP does."""
    if path := os.environ.get(SPEC):
        try:
            _set_hearers(cell, read_spec(path))
        except UserError as error:
            log.error("what the children may hear was not read again: %s", error.line())
        else:
            log.info("what the children may hear was read again")
    _reload_keys(cell, spec)


def _reload_keys(cell: Cell, spec: SiteSpec) -> None:
    if not spec.keys:
        log.warning("SIGHUP: this site has no keys to read again")
        return
    try:
        cell.reload_keys(spec.keys, spec.children)
    except UserError as error:
        log.error("the keys were not read again: %s", error.line())
    else:
        log.info("the allow list was read again")


def _refuse_others(allow: Sequence[str], message: Any) -> None:
    """A filter: only topics that the site's `allow:` names, what every cell answers, and what the site offers."""
    import fnmatch

    from zmqfl.cell.net_agent import CHANNEL
    from zmqfl.errors import AuthenticationError
    from zmqfl.protocol.pull_source import CHANNEL as PULL

    if message.channel not in (CHANNEL, PULL) and not any(fnmatch.fnmatchcase(message.topic, each) for each in allow):
        raise AuthenticationError(f"topic {message.topic!r} is not in the `allow` list of this site")


def _hello(spec: SiteSpec, cell: Cell) -> str:
    listening = f"listening at {', '.join(cell.urls)}" if cell.urls else ""
    dialling = f"dialling {spec.parent} at {spec.parent_url}" if spec.parent_url else ""
    return "; ".join(filter(None, [listening, dialling]))


def _die_with_launcher() -> None:
    """Have the kernel send SIGTERM when the thread that started this process ends, however it does."""
    if (launcher := os.environ.pop(PARENT, "")) == "":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(launcher):  # it ended before
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
