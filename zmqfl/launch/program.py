"""What `run:` of a site names: a function, or a command line."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from zmqfl.errors import UserError

_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_function(run: str) -> bool:
    """Whether it names a function, as module:function; else it is a command line."""
    return _FUNCTION.fullmatch(run) is not None


def load_function(name: str) -> Callable[..., Any]:
    """The function that "module:function" names; modules are looked for in the working folder, too.

    Raises `UserError` when there is none.
    """
    module_name, _, path = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another one
        remedy = f"start it in the folder of the module (now {os.getcwd()}), or install it"
        raise UserError(f"there is no module {error.name!r}", field="run", remedy=remedy) from None
    for step in path.split("."):
        if (found := getattr(found, step, None)) is None:
            raise UserError(f"module {module_name!r} has no {path!r}", field="run", remedy="name a function of it")
    if not callable(found):
        raise UserError(f"{name} is no function", field="run", remedy="name a function of the module")
    return found  # type: ignore[no-any-return]


def execute(run: str, args: Sequence[str]) -> NoReturn:
    """Become another program, with the environment of this one. Raises `UserError` when that cannot be."""
    command = [*shlex.split(run), *args]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        remedy = "give a program that is installed, or module:function"
        raise UserError(f"cannot run {command[0]!r}: {error.strerror}", field="run", remedy=remedy) from None
