"""Settings of one cell: frozen, a docstring under each field with unit and reason.

`conf/zmqfl.yaml` lists the same fields with the same defaults; `tests/test_config.py` keeps them equal.
Nothing reads settings from anywhere but the `CellConfig` that it was given.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

from zmqfl.errors import TopologyError

KIB = 1024
MIB = 1024 * KIB
MAX_HOPS = 64
"""Cells that the route in a hop header can name."""
SWITCHES = frozenset({"reference_threshold", "relay_cache"})
"""Fields in which 0 switches something off."""


@dataclass(frozen=True, slots=True)
class CellConfig:
    """What one cell may be told; a wrong value raises `TopologyError` when it is made."""

    heartbeat: float = 2.0
    """Seconds between beats on a link. Each waiting request is probed as often."""
    dead_after: float = 10.0
    """Seconds a broken link may stay broken before its peer counts as gone and waiting requests fail."""
    reconnect_min: float = 0.1
    """Seconds before the first attempt to dial again; doubles up to `reconnect_max`."""
    reconnect_max: float = 2.0
    """Seconds at most between two attempts to dial. A parent that is back must be found before `dead_after`."""
    drain: float = 10.0
    """Seconds that a stop waits for running handlers and queued messages."""
    request_timeout: float = 3600.0
    """Seconds that a handler may take when the request names no time-out (reference "flare" 5.7)."""
    segment: int = 1 * MIB
    """Bytes of payload in one message at most; a socket refuses frames above it (before allocation)."""
    payload_limit: int = 1024 * MIB
    """Bytes of one payload at most; what exceeds a segment travels as a flow and is put together by the target."""
    assembly_budget: int = 2048 * MIB
    """Bytes of incoming payloads that are put together at once; above it flows are refused."""
    flow_window: int = 8 * MIB
    """Bytes of one flow that may be on their way to one target."""
    reference_threshold: int = 2 * MIB
    """Bytes of payload from which big arrays and bytes stay with the sender, and are pulled by reference; 0: never."""
    object_limit: int = 65536 * MIB
    """Bytes at most of one object that is received in parts: a container, a large object, a pull into memory."""
    relay_cache: int = 32 * MIB
    """Bytes of chunks that a parent keeps of what its children pull, so that each crosses its uplink once; 0: none."""
    control_limit: int = 64 * KIB
    """Bytes of payload up to which a message uses the control lane; bigger ones must not delay beats."""
    send_budget: int = 32 * MIB
    """Bytes queued for sending in the whole cell; above it new requests are refused."""
    receive_budget: int = 32 * MIB
    """Bytes of received requests that wait for a worker; above it they are refused unexecuted."""
    reply_entries: int = 1024
    """Requests per caller that the callee remembers so that none runs twice; when full it refuses."""
    reply_bytes: int = 8 * MIB
    """Bytes of replies per caller that the callee keeps for a caller that has not confirmed them."""
    channel_budget: int = 1024 * MIB
    """Bytes that the buffers of all readers of this broker's channels may come to hold; above it no more may read."""
    calls_min: int = 8
    """Threads for handlers that are kept when idle."""
    calls_max: int = 64
    """Threads for handlers that run at once, not counting those blocked in `.result()`."""
    calls_cap: int = 256
    """Threads for handlers in all; above it requests are refused (`service_unavailable`)."""
    files_max: int = 4
    """Threads that read, check and write chunks of files."""
    max_hops: int = 16
    """Links a message may cross; the loop guard."""
    io_threads: int = 2
    """libzmq threads: with CURVE two keep control quick while bulk is encrypted."""
    bulk_heartbeat_timeout: float = 60.0
    """Seconds of silence that end a bulk connection: one segment on a slow link must not be cut."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not (0 < value < inf or (value == 0 and field.name in SWITCHES)):
                bound = "a number of 0 or more" if field.name in SWITCHES else "a number above 0"
                raise TopologyError(f"must be {bound}, not {value!r}", field=field.name)
            if isinstance(field.default, int) and not isinstance(value, int):
                raise TopologyError(f"must be a whole number, not {value!r}", field=field.name)
        if self.reconnect_max < self.reconnect_min:
            raise TopologyError("must not be below reconnect_min", field="reconnect_max")
        if self.dead_after < self.heartbeat:
            raise TopologyError(
                f"{self.dead_after} s is shorter than a heartbeat ({self.heartbeat} s)",
                field="dead_after",
                remedy="give at least two heartbeats",
            )
        if self.max_hops > MAX_HOPS:
            raise TopologyError(f"must not be above {MAX_HOPS}, what a message can name", field="max_hops")
        if self.payload_limit > self.assembly_budget:
            raise TopologyError("must not be above assembly_budget", field="payload_limit")
        if self.control_limit > self.segment:
            raise TopologyError("must not be above segment", field="control_limit")
