"""How the start and the end of sites are told apart, for all that start, watch or stop them: light to import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from zmqfl.errors import ZmqflError

USER_MISTAKE: Final = 2
"""Exit status of a site that cannot start because of somebody's mistake; its last line says which."""
AGAIN: Final = 0.5
"""Seconds after which a second signal is meant as one: shells and wrappers send one to the process and its group."""


class StartFailed(ZmqflError):
    """A federation did not come up, and was stopped. `lines`: what to tell; `status`: 1, or 2 for a user's mistake."""

    def __init__(self, lines: Iterable[str], status: int = 1) -> None:
        self.lines = tuple(lines)
        self.status = status
        super().__init__("; ".join(self.lines))
