"""What a launcher is: it starts a site's process somewhere and reports its end, and nothing else.

Who belongs to the federation, who is alive or cut off, is told by the cells themselves. So a launcher may be anything
that can execute `zmqfl run SPEC`: the local one (`zmqfl.launch.local`), a batch system, a container engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from zmqfl.launch.spec import SiteSpec

PARENT: Final = "ZMQFL_LAUNCHER_PID"
"""Variable by which a site learns whose end is its own."""
UNKNOWN_STATUS = 255
"""Exit status of an adopted process: only its parent could have learned it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One start of a site: plain values, so that it can be written down and adopted by another process."""

    fqcn: str
    id: int
    """What the engine calls it, here its process id."""
    mark: str
    """Tells it from a later thing with the same id."""


class Launcher(Protocol):
    """See the module. Not for several threads at once."""

    def start(self, spec: SiteSpec) -> Job:
        """Start the process of a site. Raises `UserError` when it cannot."""

    def poll(self, job: Job) -> int | None:
        """The exit status (negative: the signal that ended it), None while it runs. Unknown is never an end."""

    def stop(self, job: Job, force: bool = False) -> None:
        """Ask it to end; `force`: end it and all that it has started. Nothing happens when it has ended."""

    def logs(self, spec: SiteSpec) -> Path:
        """The file with the output of a site."""

    def adopt(self, job: Job) -> bool:
        """Watch over a job that another process has started; False when it has ended."""

    def close(self) -> None:
        """Let go. What still runs is ended."""
