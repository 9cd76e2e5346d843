"""What survives a restart of a run's server: the states of its components, and how far its workflows are.

It is one file, replaced as a whole: a server that is started again reads the old one or the new one. Source: reference
"flare" 1.10.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgpack

from zmqfl.errors import DecodeError, EncodeError, SinkError, SourceError
from zmqfl.wire import payload

FILE: Final = "snapshot.bin"


@dataclass(slots=True)
class RunSnapshot:
    """See the module. `component_states` by the ids of components; `workflow`: the number of the one that runs."""

    job_id: str
    component_states: dict[str, dict[str, Any]] = field(default_factory=dict)
    workflow: int = 0
    completed: bool = False

    def write(self, file: str | Path) -> None:
        """Write the file. Raises `EncodeError` naming what cannot be kept, and `SinkError`."""
        frames = [bytes(frame) for frame in payload.encode(
            [self.job_id, self.component_states, self.workflow, self.completed], copy=False
        )]  # fmt: skip
        path = Path(file)
        new = path.with_name(f".{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as stream:
                stream.write(msgpack.packb(frames))
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(path)
        except OSError as error:
            raise SinkError(f"cannot be written: {error.strerror}", file=str(path)) from None

    @classmethod
    def read(cls, file: str | Path) -> RunSnapshot | None:
        """What was written; None where there is no file. Raises `SourceError` for what is no snapshot."""
        path = Path(file)
        if not path.exists():
            return None
        try:
            frames = msgpack.unpackb(path.read_bytes())
            job_id, states, workflow, completed = payload.decode(frames)
            return cls(job_id, states, workflow, completed)
        except (OSError, ValueError, TypeError, DecodeError, EncodeError, msgpack.UnpackException) as error:
            remedy = "remove it to start the run anew"
            raise SourceError(f"is no snapshot of a run: {error}", file=str(path), remedy=remedy) from None
