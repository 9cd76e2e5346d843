"""Settings of one run: frozen, a docstring under each field with unit and reason."""

from __future__ import annotations

from dataclasses import dataclass, fields

from zmqfl.errors import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a runner may be told; a wrong value raises `ArgumentError` when it is made."""

    dead_client_grace: float = 60.0
    """Seconds after the network lost a client until tasks do without it: it may be started again meanwhile."""
    poll: float = 30.0
    """Seconds that a client's question for a task waits at the server. A task that comes is given to it at once; after
    the wait the client asks again, with the props that it has by then."""
    sync_timeout: float = 60.0
    """Seconds that a client waits for a server that does not run yet, or not any more, before its run is aborted."""
    end_patience: float = 10.0
    """Seconds that the end of a run waits for clients to end theirs, and for events that are on their way."""
    aux_timeout: float = 10.0
    """Seconds that a short message of the system may take to be handled."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
                raise ArgumentError(f"{field.name} must be a number of seconds, 0 or more, not {value!r}")
