"""Events that other sites hear, too: queued, sent one after another, fired once where they arrive.

    fired at     goes to
    a client     the server
    the server   the clients that it names, or all of them

Each is acknowledged before the next is sent, so they arrive in the order in which they were fired; one that a site does
not take within `timeout`, or that comes before the site has begun, is logged and lost for that site. The run does not
end while one is on its way or waits for its handlers. Source: reference "flare" 6.6; there a quiet time of two seconds
is waited for.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Final

from zmqfl.cell.workers import Workers, blocked
from zmqfl.config import MIB
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import EventScope, FLContextKey, ReservedTopic
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_copy, make_reply
from zmqfl.errors import EncodeError
from zmqfl.fl.run_engine import RunEngine
from zmqfl.streaming.serial_calls import SerialCalls

log = logging.getLogger("zmqfl.fl")

MOST_REMEMBERED: Final = 10_000
"""Events of a peer that are remembered, to know one that comes twice."""


class FedEventHeader:
    """Headers of an event that travels."""

    TIMESTAMP = "_timestamp"
    EVENT_ID = "_event_id"
    EVENT_TYPE = "_event_type"
    DIRECTION = "_direction"
    ORIGIN = "_origin"
    TARGETS = "_targets"


class FedEvents:
    """See the module. `timeout`: seconds for a site to take an event."""

    def __init__(self, engine: RunEngine, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._workers = Workers("zmqfl-fed-events", 0, 2, 8, 64 * MIB)
        self._outgoing = _Queue(self._run)
        self._incoming = _Queue(self._run)
        self._lock = threading.Lock()
        self._seen: dict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        engine.on_fed_event = self.send
        engine.register_aux_message_handler(ReservedTopic.FED_EVENT, self._take)

    def send(self, event_type: str, event_data: Shareable, targets: list[str] | None) -> None:
        """Have other sites hear an event that was fired here."""
        message = make_copy(event_data)
        with self._engine.new_context() as fl_ctx:
            headers = {
                FedEventHeader.TIMESTAMP: time.time(),
                FedEventHeader.EVENT_ID: str(uuid.uuid4()),
                FedEventHeader.EVENT_TYPE: event_type,
                FedEventHeader.DIRECTION: "out",
                FedEventHeader.ORIGIN: fl_ctx.get_identity_name(),
                FedEventHeader.TARGETS: targets,
            }
        for key, value in headers.items():
            message.set_header(key, value)
        self._outgoing.put(lambda: self._send(message, targets))

    def drain_outgoing(self, timeout: float) -> bool:
        """Wait until what was fired here has been taken elsewhere; False when it has not within `timeout` seconds."""
        return self._outgoing.drain(timeout)

    def drain_incoming(self, timeout: float) -> bool:
        """Wait until what has come was heard."""
        return self._incoming.drain(timeout)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way, or waits to be heard."""
        return self._outgoing.is_empty and self._incoming.is_empty

    def close(self, timeout: float) -> None:
        """End the threads."""
        self._workers.stop(timeout)

    def _send(self, message: Shareable, targets: list[str] | None) -> None:
        try:
            with self._engine.new_context() as fl_ctx:
                self._engine.send_aux_request(targets, ReservedTopic.FED_EVENT, message, self._timeout, fl_ctx)
        except EncodeError as error:
            log.error("event %s stays here: %s", message.get_header(FedEventHeader.EVENT_TYPE), error)

    def _take(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """An event of another site."""
        name, id = request.get_header(FedEventHeader.EVENT_TYPE), request.get_header(FedEventHeader.EVENT_ID)
        if not isinstance(name, str) or not name or not isinstance(id, str):
            return make_reply(ReturnCode.BAD_REQUEST_DATA)
        peer = fl_ctx.get_peer_context()
        site = self._engine.site_at(fl_ctx.get_prop(FLContextKey.PEER_FQCN))
        if site is None or name == EventType.FATAL_SYSTEM_ERROR:  # nobody else may end what runs here
            return make_reply(ReturnCode.BAD_REQUEST_DATA)
        if self._is_new(site, id):
            request.set_header(FedEventHeader.DIRECTION, "in")
            self._incoming.put(lambda: self._fire(name, site, request, peer))
        return make_reply(ReturnCode.OK)

    def _is_new(self, site: str, id: str) -> bool:
        with self._lock:
            seen = self._seen[site]
            if id in seen:
                return False
            seen[id] = None
            if len(seen) > MOST_REMEMBERED:
                seen.popitem(last=False)
            return True

    def _fire(self, name: str, site: str, data: Shareable, peer: FLContext | None) -> None:
        with self._engine.new_context() as fl_ctx:
            fl_ctx.set_peer_context(peer)
            for key, value in (
                (FLContextKey.EVENT_DATA, data), (FLContextKey.EVENT_ORIGIN, site),
                (FLContextKey.EVENT_SCOPE, EventScope.FEDERATION),
            ):  # fmt: skip
                fl_ctx.put(key, value, private=True, sticky=False)
            self._engine.fire_event(name, fl_ctx)

    def _run(self, job: Callable[[], None]) -> None:
        if not self._workers.submit(job, 0, job):
            job()


class _Queue:
    """Jobs done one after another, and who waits for the last of them."""

    def __init__(self, run: Callable[[Callable[[], None]], None]) -> None:
        self._calls = SerialCalls(run)
        self._changed = threading.Condition()
        self._left = 0

    def put(self, job: Callable[[], None]) -> None:
        def do() -> None:
            try:
                job()
            finally:
                with self._changed:
                    self._left -= 1
                    self._changed.notify_all()

        with self._changed:
            self._left += 1
        self._calls.add(do)
        self._calls.go()

    def drain(self, timeout: float) -> bool:
        with blocked(), self._changed:
            return self._changed.wait_for(lambda: not self._left, timeout)

    @property
    def is_empty(self) -> bool:
        return not self._left
