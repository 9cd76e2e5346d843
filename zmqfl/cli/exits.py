"""How the command line ends: exit statuses, and errors as one line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from typer import Abort, Exit
from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer.core import TyperGroup

from zmqfl.errors import TopologyErrors, UserError, ZmqflError
from zmqfl.launch.ending import StartFailed

OK: Final = 0
FAILED: Final = 1
USER_MISTAKE: Final = 2
NOT_RUNNING: Final = 3
REPLACED: Final = 75
INTERRUPTED: Final = 130

STATUSES: Final = (
    "Exit status: 0 done, 1 failed, 2 your mistake, 3 not running or not reachable, 75 replaced, 130 interrupted."
)


class NotRunning(ZmqflError):
    """What was asked does not run, or does not answer."""


class OneLineGroup(TyperGroup):
    """Commands whose errors are a line each, and never a traceback for what a person can mend."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and, in standalone mode, end the process; see click."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        try:
            status = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except (ZmqflError, ClickException, Exit, Abort, KeyboardInterrupt, BrokenPipeError) as error:
            status = report(error)
        sys.exit(status if isinstance(status, int) else OK)


def report(error: BaseException) -> int:
    """Tell what went wrong; returns the exit status."""
    match error:
        case Exit():
            return int(error.exit_code)
        case BrokenPipeError():  # whoever reads has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK
        case KeyboardInterrupt() | Abort():
            return INTERRUPTED
        case NoArgsIsHelpError():
            sys.stdout.write(error.format_message() + "\n")
            return USER_MISTAKE
        case ClickException():
            context = error.ctx if isinstance(error, UsageError) else None
            command = context.command_path if context is not None else "zmqfl"
            text = " ".join(error.format_message().split()).rstrip(".")
            return _tell([f"{text}; see `{command} --help`"], USER_MISTAKE)
        case StartFailed():
            return _tell(error.lines, error.status)
        case TopologyErrors():
            return _tell([each.line() for each in error.errors], USER_MISTAKE)
        case UserError():
            return _tell([error.line()], USER_MISTAKE)
        case NotRunning():
            return _tell([str(error)], NOT_RUNNING)
    return _tell([str(error)], FAILED)


def _tell(lines: Any, status: int) -> int:
    for line in lines:
        sys.stderr.write(f"zmqfl: {line}\n" if not line.startswith(" ") else f"{line}\n")
    return status
