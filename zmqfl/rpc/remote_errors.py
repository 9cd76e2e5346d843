"""What a remote method raised, and what its caller sees.

    raised                                         raised at the caller
    instead of a call: it does not fit             SignatureError, NoSuchMethod
    by the method: ServiceUnavailable and kin      the same class of zmqfl
                   an exception of the table       the same class, its cause a `RemoteError`
                   anything else                   `RemoteError` with the name of its type

What a method gets from a call of its own to a third cell is "anything else", so that nobody takes a time-out there for
one here.

The table is fixed: a name that comes from the network is looked up there and nowhere else. Arguments of exceptions
travel where they are None, bool, int, float or str; a traceback as text, without folders and without source lines.
"""

from __future__ import annotations

import traceback
from typing import Any, Final

from zmqfl.errors import NoSuchMethod, RemoteError, RequestFailed, SignatureError

MOST_FRAMES: Final = 20
"""Frames of a traceback that travel: the innermost."""
MOST_TEXT: Final = 4000
"""Characters of a message, and of a traceback, that travel."""
MOST_ARGUMENTS: Final = 8
_HERE: Final = __file__.rpartition("/")[0]

SAFE: Final[dict[str, type[Exception]]] = {
    kind.__name__: kind
    for kind in (
        ArithmeticError, AssertionError, AttributeError, BlockingIOError, BrokenPipeError, BufferError,
        ChildProcessError, ConnectionAbortedError, ConnectionError, ConnectionRefusedError, ConnectionResetError,
        EOFError, FileExistsError, FileNotFoundError, FloatingPointError, ImportError, IndexError, InterruptedError,
        IsADirectoryError, KeyError, LookupError, MemoryError, ModuleNotFoundError, NameError, NotADirectoryError,
        NotImplementedError, OSError, OverflowError, PermissionError, ProcessLookupError, RecursionError,
        ReferenceError, RuntimeError, TimeoutError, TypeError, UnicodeError, ValueError, ZeroDivisionError,
    )
}  # fmt: skip
"""Exceptions that say nothing to the interpreter and are made of plain arguments."""

Told = list[Any]
"""[type name, arguments, message, traceback]"""


def chooses_code(error: BaseException) -> bool:
    """Whether a method has raised it to choose the return code; not where a call of its own to another cell failed."""
    return isinstance(error, RequestFailed) and not error.target


def tell_mistake(error: SignatureError | NoSuchMethod) -> Told:
    """Why nothing was called."""
    args = [error.problem, error.method, error.parameter] if isinstance(error, SignatureError) else [error.reason]
    return [type(error).__name__, args, str(error), ""]


def tell(error: BaseException, with_traceback: bool) -> Told:
    """What the caller may know of what a method raised."""
    kind = type(error)
    name = kind.__name__ if SAFE.get(kind.__name__) is kind else f"{kind.__module__}.{kind.__qualname__}"
    text = _lines(error) if with_traceback else ""
    return [name, _arguments(error), _cut(str(error)), text[-MOST_TEXT:]]


def rebuild(told: Any, target: str, reason: str) -> Exception:
    """What the caller raises. `reason`: what the callee's reply says, for a reply that is not of this form."""
    match told:
        case [str(name), list(args), str(message), str(text)]:
            return _rebuild(name, args, message, text, target)
    return RemoteError("", reason, target=target)


def _rebuild(name: str, args: list[Any], message: str, text: str, target: str) -> Exception:
    match name, args:
        case "SignatureError", [str(problem), str(method), str(parameter)]:
            return SignatureError(problem, method=method, parameter=parameter)
        case "NoSuchMethod", [str(reason)]:
            return NoSuchMethod(reason, target=target)
    remote = RemoteError(name, message, target=target, remote_traceback=text)
    if (kind := SAFE.get(name)) is None or len(args) > MOST_ARGUMENTS or not all(map(_is_plain, args)):
        return remote
    error = kind(*args)
    error.__cause__ = remote
    error.add_note(f"raised by {target}" + (f":\n{text}" if text else ""))
    return error


def _arguments(error: BaseException) -> list[Any]:
    args = error.args
    if len(args) <= MOST_ARGUMENTS and all(map(_is_plain, args)):
        return [_cut(each) if isinstance(each, str) else each for each in args]
    return [_cut(str(error))]


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def _lines(error: BaseException) -> str:
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(_HERE)]
    return "\n".join(
        f"{each.filename.rpartition('/')[2]}:{each.lineno} in {each.name}" for each in frames[-MOST_FRAMES:]
    )


def _cut(text: str) -> str:
    return text[:MOST_TEXT].encode(errors="backslashreplace").decode()
