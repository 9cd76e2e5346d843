"""The last moments of a run: nobody may be cut off in what has to be done before END_RUN."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from zmqfl.cell.workers import blocked
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.fl.fed_events import FedEvents
from zmqfl.fl.run_engine import RunEngine

log = logging.getLogger("zmqfl.fl")

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.5
"""Seconds between two questions whether all are ready: a component has no way to say by itself that it is now."""


def wait_ready(engine: RunEngine, fed_events: FedEvents, fl_ctx: FLContext, patience: float) -> bool:
    """Fire CHECK_END_RUN_READINESS until nobody sets NOT_READY_TO_END_RUN, and events that are on their way are heard.

    Returns False, and the run ends nevertheless, after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    pause = FIRST_PAUSE
    never: Final = threading.Event()
    while True:
        fed_events.drain_outgoing(max(0.0, deadline - time.monotonic()))
        fed_events.drain_incoming(max(0.0, deadline - time.monotonic()))
        fl_ctx.remove_prop(FLContextKey.NOT_READY_TO_END_RUN, force_removal=True)
        engine.fire_event(EventType.CHECK_END_RUN_READINESS, fl_ctx)
        if not fl_ctx.get_prop(FLContextKey.NOT_READY_TO_END_RUN) and fed_events.is_quiet:
            return True
        if time.monotonic() >= deadline:
            log.warning("somebody is not ready for the end of the run after %g s; it ends nevertheless", patience)
            return False
        with blocked():
            never.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
