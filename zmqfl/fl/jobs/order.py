"""What one process of a job is told, beside the `SiteSpec` of its cell: written by who starts it, read by itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from zmqfl.launch.spec import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """See the module."""

    job_id: str
    site: str
    """The name of the site in the job: "server", or that of a client."""
    role: Literal["server", "client"]
    workspace: str
    """Folder (absolute) of the site; see `zmqfl.context.workspace`."""
    server: str
    """FQCN of the job's cell at the server."""
    clients: dict[str, str]
    """Name of a client -> FQCN of its cell of the job."""
    min_clients: int = 1
    simulated: bool = False
    slots: str = ""
    """Unix socket that grants slots of execution; "" where nothing bounds them."""
    args: dict[str, Any] = field(default_factory=dict)
    """`FLContextKey.ARGS`: what the run was started with."""

    def write(self, file: Path) -> None:
        """Write it, whole or not at all."""
        write_whole(file, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: str | Path) -> JobOrder:
        """Read what `write` wrote."""
        return cls(**json.loads(Path(file).read_text()))
