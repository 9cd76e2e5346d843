"""Which executor does which task: by the exact name first, then by patterns in their order.

Only `*` makes a name a pattern; `["*"]` does every task. Source: reference "flare" 6.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from zmqfl.errors import ArgumentError
from zmqfl.fl.executor import Executor

ANY_TEXT = "*"


class TaskRouter:
    """See the module. Raises `ArgumentError` for a name or pattern that comes twice, and for what is no Executor."""

    def __init__(self, executors: Iterable[tuple[Sequence[str], Executor]]) -> None:
        self._by_name: dict[str, Executor] = {}
        self._by_pattern: dict[str, Executor] = {}
        for tasks, executor in executors:
            if not isinstance(executor, Executor):
                raise ArgumentError(f"{type(executor).__name__} is no Executor")
            for task in tasks:
                self._add(task, executor)

    def find(self, task: str) -> Executor | None:
        """The executor of a task; None when no one does it."""
        if (exact := self._by_name.get(task)) is not None:
            return exact
        return next((each for pattern, each in self._by_pattern.items() if _matches(pattern, task)), None)

    def executors(self) -> list[Executor]:
        """All of them, each once."""
        return list(dict.fromkeys([*self._by_name.values(), *self._by_pattern.values()]))

    def _add(self, task: object, executor: Executor) -> None:
        if not isinstance(task, str) or not task:
            raise ArgumentError(f"the name of a task must be a str that is not empty, not {task!r}")
        known = self._by_pattern if ANY_TEXT in task else self._by_name
        if task in known:
            raise ArgumentError(f"task {task!r} has an executor already; name each task once")
        known[task] = executor


def _matches(pattern: str, task: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split(ANY_TEXT))), task, re.DOTALL) is not None
