"""Who may call what: a rule of the one who publishes, by the path of a method and the name of the cell that calls.

    rule                                       may call
    None                                       any cell that the network has admitted
    {"calc.*": ["site-*"], "stop": "server"}   callers whose names match a pattern that stands beside one of the path
    function(method, caller) -> bool           whom it says; what it raises is a no

Patterns are those of shells (`*`, `?`, `[...]`), and `*` stands for dots too: `site-1*` is site-1 and all below it.
A method that a caller may not call is not in its list either, and it does not learn whether it exists.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from zmqfl.errors import ArgumentError

Access = Callable[[str, str], bool] | Mapping[str, str | Iterable[str]] | None

log = logging.getLogger("zmqfl.rpc")


def rule_of(access: Access) -> Callable[[str, str], bool]:
    """The rule as a function that never raises. Raises `ArgumentError` for what is none."""
    if access is None:
        return lambda method, caller: True
    if isinstance(access, Mapping):
        return _by_patterns(access)
    if not callable(access):
        raise ArgumentError(f"access must be a function, a mapping or None, not {type(access).__name__}")

    def ask(method: str, caller: str) -> bool:
        try:
            return bool(access(method, caller))
        except Exception:
            log.exception("the access rule failed for %s of %s; it counts as a no", method, caller)
            return False

    return ask


def _by_patterns(access: Mapping[str, str | Iterable[str]]) -> Callable[[str, str], bool]:
    table = [(methods, _callers(methods, callers)) for methods, callers in access.items()]

    def ask(method: str, caller: str) -> bool:
        return any(
            fnmatchcase(method, methods) and any(fnmatchcase(caller, pattern) for pattern in callers)
            for methods, callers in table
        )

    return ask


def _callers(methods: object, callers: object) -> tuple[str, ...]:
    patterns = (callers,) if isinstance(callers, str) else tuple(callers) if isinstance(callers, Iterable) else None
    if not isinstance(methods, str) or patterns is None or not all(isinstance(each, str) for each in patterns):
        raise ArgumentError(f"access {methods!r}: {callers!r} must be patterns of methods and of names of cells")
    return patterns
