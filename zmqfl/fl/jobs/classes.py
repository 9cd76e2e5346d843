"""Which class a path or a name in a job stands for.

A path is looked for in the job's own `custom` folder first, then among what is installed. A bare name is one that
zmqfl ships.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from zmqfl.errors import UserError

SHIPPED: Final[dict[str, str]] = {
    "FedAvg": "zmqfl.fl.fedavg",
    "NPModelPersistor": "zmqfl.fl.model_persistor",
    "ContainerRetriever": "zmqfl.streaming.container_retriever",
    "FileRetriever": "zmqfl.streaming.file_retriever",
}
"""Class that a job may give by its name alone -> its module."""


def use_custom(folder: Path) -> None:
    """Have modules of this folder found by their bare names, in this process."""
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def find_class(path: str) -> type[Any]:
    """The class of a path "package.module.Class", or of a bare name. Raises `UserError`."""
    if "." not in path:
        path = f"{_module_of(path)}.{path}"
    module_name, _, class_name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            problem = f"module {module_name!r} needs {error.name!r}, which is not installed here"
            raise UserError(problem, remedy="install it at every site of the job") from error
        raise UserError(f"there is no module {error.name!r}", remedy=_near_modules(error.name)) from None
    except Exception as error:
        problem = f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        raise UserError(problem, remedy="mend it") from error
    found = getattr(module, class_name, None)
    if found is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise UserError(f"module {module_name!r} has no class {class_name!r}", remedy=near(class_name, classes))
    if not isinstance(found, type):
        raise UserError(f"{path} is no class but {type(found).__name__}", remedy="name a class")
    return found


def near(name: str, names: Iterable[str]) -> str:
    """A remedy for a name that is not there."""
    import difflib

    known = sorted(names)
    if close := difflib.get_close_matches(name, known, 1):
        return f"did you mean {close[0]!r}?"
    return f"there is: {', '.join(known)}" if known else "there is none"


def _module_of(name: str) -> str:
    if name not in SHIPPED:
        remedy = f"{near(name, sorted(SHIPPED))} Any other class is given by its `path`"
        raise UserError(f"zmqfl ships no component {name!r}", remedy=remedy)
    return SHIPPED[name]


def _near_modules(name: str) -> str:
    """What to do about a module that is not there: those of the job itself are the first guess."""
    own = [file.stem for folder in sys.path if Path(folder).name == "custom" for file in Path(folder).glob("*.py")]
    if "." in name or not own:
        return "put it into the job's `custom` folder, or install it"
    return f"in the job's `custom` folder {near(name, own)}"
