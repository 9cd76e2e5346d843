"""A callback of the application's: a function, or a coroutine function that runs on the loop that registered it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zmqfl.cell.workers import Workers

log = logging.getLogger("zmqfl.cell")


@dataclass(frozen=True, slots=True)
class Callback:
    """What to call, with which arguments of the application's behind ours."""

    function: Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    loop: asyncio.AbstractEventLoop | None = None

    def call(self, workers: Workers, *args: Any) -> None:
        """Have it run by a worker; what it raises goes to the log. It runs in any case."""

        def job() -> None:
            try:
                self.run(*args)
            except Exception:
                log.exception("a callback failed: %r", self.function)

        if not workers.submit(job, 0, job):
            job()

    def run(self, *args: Any) -> Any:
        """Run it in this thread and return what it gives; a coroutine runs on its loop, and is waited for."""
        answer = self.function(*args, **self.kwargs)
        if not inspect.iscoroutine(answer):
            return answer
        if self.loop is None or self.loop.is_closed():
            return asyncio.run(answer)
        return asyncio.run_coroutine_threadsafe(answer, self.loop).result()


def callback(function: Callable[..., Any] | None, kwargs: Mapping[str, Any] | None = None) -> Callback | None:
    """`function` as a callback that remembers the loop running now."""
    if function is None:
        return None
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    return Callback(function, dict(kwargs or {}), loop)
