"""What a run is at either side: it goes to its end, or is aborted before, and its last events come in any case."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import Final

log = logging.getLogger("zmqfl.fl")

OK: Final = 0
FAILED: Final = 1


class Runner(ABC):
    """See the module. `site`: what is stopped by Ctrl-C, for the reason of the abort."""

    def __init__(self, site: str) -> None:
        self._stopped = f"the {site} was stopped"
        self._outcome = threading.Lock()
        self._reason = ""

    def run(self) -> int:
        """Run until the end; 0, or 1 for a run that failed or was aborted. The cell stays as it is."""
        try:
            self._run()
        except KeyboardInterrupt:
            self.abort(self._stopped)
        except Exception as error:
            log.exception("the run failed")
            self.abort(f"{type(error).__name__}: {error}")
        self._finish()
        return FAILED if self.is_aborted else OK

    def abort(self, reason: str) -> None:
        """End the run here before its time; only the first reason counts. Any thread; returns at once."""
        with self._outcome:
            if self._reason:
                return
            self._reason = reason or "no reason was given"
        log.error("the run is aborted: %s", self._reason)
        self._stop(self._reason)

    @property
    def is_aborted(self) -> bool:
        """Whether the run was aborted, here or at the other side."""
        return bool(self._reason)

    @abstractmethod
    def _run(self) -> None:
        """All until the end begins. What it raises aborts the run."""

    @abstractmethod
    def _stop(self, reason: str) -> None:
        """Have `_run` come to its end soon."""

    @abstractmethod
    def _finish(self) -> None:
        """The events of the end."""
