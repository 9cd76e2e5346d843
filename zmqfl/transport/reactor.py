"""The one thread that owns all sockets of a cell, reads the clock, and obeys what the node says.

A pass, in this order:

    1  wait for a socket, the wake-up or the next deadline
    2  monitors: an undrained one freezes libzmq, and a lost connection must be known before what follows it
    3  ZAP: who may connect
    4  submissions of other threads: at most 256
    5  messages: at most 64, 4 MiB or 2 ms, the sockets in turn; the rest in the next pass, which does not wait;
       then at most 64 publications, and as many of those who want to hear them
    6  deadlines
    7  queues: whatever libzmq takes now; then segments and chunks, where the lanes have room
    8  calls and ends go up: last, as this wakes other threads, and each of them would fight for the interpreter

Nothing that can block runs here: handlers, files and codecs of payloads run on workers. A frame that is not what
it claims is dropped, counted, and logged once per connection.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import zmq

from zmqfl.config import CellConfig
from zmqfl.errors import ClosedError, LocalProtocolError, ProtocolError, ZmqflError
from zmqfl.protocol.commands import (
    Call,
    Command,
    Exit,
    FactsChanged,
    Finish,
    FlowEnded,
    Hangup,
    Invoke,
    Listen,
    Note,
    PeerChanged,
    Publish,
    Redial,
    Reopen,
    Revoke,
    Send,
    Work,
)
from zmqfl.protocol.node import Node
from zmqfl.transport.dialer import Dialer
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.frames import COPIED, recv_frames
from zmqfl.transport.keys import Keys
from zmqfl.transport.listener import Listener
from zmqfl.transport.plane_ports import PlaneDoor
from zmqfl.transport.ports import TERM_WATCHDOG, Ports
from zmqfl.transport.wakeup import Wakeup
from zmqfl.wire.codec import decode_packet, encode_packet
from zmqfl.wire.messages import Buffer, Conn, Packet

log = logging.getLogger("zmqfl.transport")

MOST_MESSAGES: Final = 64
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_SECONDS: Final = 0.002
MOST_SUBMISSIONS: Final = 256
MOST_BULK: Final = 8
FULL_PAUSE: Final = 0.002
"""Seconds until a full connection of a ROUTER is tried again: it cannot be polled for a single peer."""
LINGER: Final = 1.0
"""Seconds that libzmq gets at the end to hand what it has to the kernel."""


class Edges(Protocol):
    """What the floor above does; all are called on the reactor's thread and must not block or raise."""

    def invoke(self, call: Call) -> bool:
        """Run the handler on a worker; False when no worker can take it."""

    def revoke_call(self, call: Call) -> None:
        """Nobody waits for it any more."""

    def finish(self, finish: Finish) -> None:
        """A request has ended at one target."""

    def flow_ended(self) -> None:
        """Some message that travelled as a flow has arrived, or is given up."""

    def work(self, command: Work) -> None:
        """Have something of a transfer done."""

    def facts_changed(self, facts: tuple[Any, ...]) -> None:
        """The plane says something new."""

    def peer_changed(self, change: PeerChanged) -> None:
        """A neighbour changed its state."""

    def reactor_ended(self) -> None:
        """Nothing will be told any more: whatever still waits must fail now."""

    def exit_process(self, status: int, reason: str) -> None:
        """The process must end."""


class Reactor:
    """See the module. Sockets are opened by the constructor, in the caller's thread: their errors are the caller's.

    `plane`: what the node does for the broadcast plane, `plane_port`: where that is published (see `Ports`). Without it
    the links tell all. Raises `UserError` for an endpoint that cannot be used.
    """

    def __init__(
        self,
        node: Node,
        config: CellConfig,
        edges: Edges,
        *,
        listen: list[Endpoint],
        parent: Endpoint | None,
        keys: Keys | None,
        trusted_network: bool = False,
        plane: PlaneDoor | None = None,
        plane_port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.counters: Counter[str] = Counter()
        self._edges = edges
        self._plane = plane
        self._clock = clock
        self._inbox: deque[Callable[[float], list[Command]]] = deque()
        self._upward: deque[Finish | Invoke | Work] = deque()
        self._wakeup = Wakeup()
        self._door = threading.Lock()
        self._closed = False
        self._ended = False
        self._more = False
        self._complained: set[Conn] = set()
        self._turn = 0
        self._pid = os.getpid()
        try:
            port = None if plane is None else plane_port
            self.ports = Ports(config, listen, parent, keys, trusted_network, self._wakeup.fd, port)
        except BaseException:
            self._wakeup.close()
            raise
        node.acceptor.published = {each.index: self.ports.plane.told(each.index) for each in self.ports.listeners}
        self._thread = threading.Thread(target=self._run, name=f"zmqfl:{node.fqcn}", daemon=True)

    # -- other threads -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, action: Callable[[float], list[Command]]) -> None:
        """Run `action(now)` on the reactor and obey what it returns. Raises `ClosedError` after `stop`."""
        with self._door:  # nothing may come in behind `_end`: nobody would look at it
            if self._closed:
                raise ClosedError(f"cell {self.node.fqcn} is stopped")
            self._inbox.append(action)
        self._wakeup.set()

    @property
    def is_started(self) -> bool:
        """Whether the thread was started."""
        return self._thread.ident is not None

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be submitted any more."""
        return self._closed

    def now(self) -> float:
        """The time of the node's clock."""
        return self._clock()

    def is_current(self) -> bool:
        """Whether this is the reactor's own thread."""
        return threading.current_thread() is self._thread

    def set_allowed(self, allowed: Mapping[str, bytes]) -> None:
        """Accept exactly these keys from now on; a bound peer whose key is not among them is cut off."""
        names = dict(allowed)

        def act(now: float) -> list[Command]:
            self.ports.curve.replace(names)
            if self._plane is not None:
                self.ports.plane.set_allowed(names, self._plane, now)
            return self.node.set_allowed(names, now)

        self.submit(act)

    def stop(self, timeout: float = TERM_WATCHDOG) -> bool:
        """End the thread, close everything. Returns False when libzmq did not let go in time (a bug worth a report)."""
        if self._pid != os.getpid():
            return True
        with self._door:
            self._closed = True
            self._inbox.append(self._end)
        self._wakeup.set()
        if not self.is_started:
            self._close(linger=0)
            return True
        self._thread.join(timeout + LINGER + 1)
        return not self._thread.is_alive()

    # -- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended:
                self._pass()
        except Exception:
            log.exception("%s: the reactor has ended because of a bug in zmqfl", self.node.fqcn)
        finally:
            with self._door:
                self._closed = True
            while self._inbox:  # after a bug: what was submitted is made known, so that it fails with the rest
                with contextlib.suppress(Exception):
                    self._inbox.popleft()(self._clock())
            self._edges.reactor_ended()
            self._close(LINGER)

    def _pass(self) -> None:
        ready = self.ports.poll(self._patience())
        now = self._clock()
        self._wakeup.clear()
        self._monitors(ready, now)
        if self.ports.zap.socket in ready:
            self.ports.zap.handle()
        self._submissions()
        self._receive(ready, now)
        self._listen(ready, now)
        self._deadlines()
        self._flush()
        self._bulk()
        self._hand_up()

    def _patience(self) -> int:
        """Milliseconds to wait for something to happen."""
        if self._more or self._inbox:
            return 0
        times = [listener.deadline for listener in self.ports.listeners]
        times += [self.node.deadline, self.ports.plane.deadline]
        now = self._clock()
        if self.ports.is_full:
            times.append(now + FULL_PAUSE)
        first = min((time for time in times if time is not None), default=now + 60)
        return max(0, min(60_000, int((first - now) * 1000) + 1))

    def _monitors(self, ready: set[object], now: float) -> None:
        for dialer in self.ports.dialers.values():
            if dialer.monitor.socket not in ready:
                continue
            for event in dialer.events():
                if event is True:
                    self._obey(self.node.connected(dialer.lane, now), now)
                elif event is False:
                    self._forget(dialer.conn)
                    self._obey(self.node.disconnected(dialer.conn, now), now)
                else:
                    self._obey(self.node.refused(dialer.lane, now), now)
        for listener in self.ports.listeners:
            if listener.monitor.socket in ready:
                listener.drain(now)
            if listener.is_touch_due(now):
                self._obey(self.node.touch(), now)

    def _receive(self, ready: set[object], now: float) -> None:
        """The sockets in turn, a message each, until they are empty or this pass has had enough."""
        ports = [port for port in self.ports.all() if self._more or port.socket in ready]
        self._turn += 1
        ports = ports[self._turn % len(ports) :] + ports[: self._turn % len(ports)] if ports else []
        messages = size = 0
        until = now + MOST_SECONDS
        while ports:
            for port in list(ports):
                taken = self._take(port, now)
                if taken is None:
                    ports.remove(port)
                    continue
                messages += 1
                size += taken
                if messages >= MOST_MESSAGES or size >= MOST_BYTES or (not messages & 7 and self._clock() >= until):
                    self._more = True
                    return
        self._more = False

    def _listen(self, ready: set[object], now: float) -> None:
        """Publications of the parent, and children that want to hear ours."""
        if self._plane is None:
            return
        try:
            for commands in self.ports.plane.read(ready, self._plane, now):
                self._obey(commands, now)
        except Exception:  # a bug of ours must cost some updates, which are repaired, and not the cell
            self.counters["bugs"] += 1
            log.exception("%s: the plane was not read because of a bug in zmqfl", self.node.fqcn)

    def _take(self, port: Listener | Dialer, now: float) -> int | None:
        """Receive one message and act on it; returns its bytes, None when there is none."""
        try:
            frames = recv_frames(port.socket)
        except zmq.Again:
            return None
        user = None
        if isinstance(port, Listener):
            routing_id = frames[0].bytes
            if port.has_keys:
                user = str(frames[0].get("User-Id"))
            conn = port.conn(routing_id)
            del frames[0]
        else:
            conn = port.conn
        parts: list[Buffer] = [frame.bytes if len(frame) <= COPIED else frame.buffer for frame in frames]
        try:
            packet = decode_packet(parts)
            if self._inbox:  # whoever sent it may know what a verb here has returned
                self._submissions()
            commands = self.node.receive(conn, packet, now, user)
        except (ProtocolError, ZmqflError) as error:
            self._malformed(conn, error)
        except Exception:  # a bug of ours must cost one message and not the cell
            self.counters["bugs"] += 1
            log.exception("%s: a message was dropped because of a bug in zmqfl", self.node.fqcn)
        else:
            self._obey(commands, now)
        return sum(map(len, parts))

    def _malformed(self, conn: Conn, error: ZmqflError) -> None:
        self.counters["malformed"] += 1
        if conn not in self._complained and len(self._complained) < MOST_SUBMISSIONS:
            self._complained.add(conn)
            log.warning("%s: dropped a malformed message (later ones are only counted): %s", self.node.fqcn, error)

    def _submissions(self) -> None:
        for _ in range(min(len(self._inbox), MOST_SUBMISSIONS)):
            action = self._inbox.popleft()
            now = self._clock()
            try:
                commands = action(now)
            except Exception:  # a bug of ours must cost one verb and not the cell
                self.counters["bugs"] += 1
                log.exception("%s: a verb failed because of a bug in zmqfl", self.node.fqcn)
            else:
                self._obey(commands, now)
                self._hand_up()  # an action may ask what the one before it has begun

    def _deadlines(self) -> None:
        now = self._clock()
        self.ports.plane.handle_timeout(now)
        deadline = self.node.deadline
        if deadline is not None and deadline <= now:
            self._obey(self.node.handle_timeout(now), now)

    # -- obey ------------------------------------------------------------------------------------------------------

    def _obey(self, commands: list[Command], now: float) -> None:
        for command in commands:
            match command:
                case Send():
                    self._send(command.conn, command.packet, now)
                case Finish() | Invoke():
                    self._upward.append(command)
                case FlowEnded():
                    self._edges.flow_ended()
                case _ if isinstance(command, Work):
                    self._upward.append(command)
                case Revoke():
                    self._hand_up()  # the call may be among those
                    self._edges.revoke_call(command.call)
                case Publish():
                    self.ports.plane.publish(command)
                case Listen():
                    self.ports.plane.listen(command)
                case Reopen():
                    if self._plane is not None:
                        self.ports.plane.reopen(self._plane, now)
                case FactsChanged():
                    self._edges.facts_changed(command.facts)
                case PeerChanged():
                    self._hand_up()
                    self._edges.peer_changed(command)
                case Note():
                    log.log(command.level, command.text)
                case Hangup():
                    self._forget(command.conn)
                case Redial():
                    self._forget(self.ports.dialers[command.lane].conn)
                    self.ports.dialers[command.lane].redial()
                case Exit():
                    self._edges.exit_process(command.status, command.reason)
                case _:
                    raise LocalProtocolError(f"unexpected command {command!r}")

    def _hand_up(self) -> None:
        """Tell the floor above, in order. What it refuses goes back, which may tell it more."""
        while self._upward:
            match command := self._upward.popleft():
                case Finish():
                    self._edges.finish(command)
                case Invoke():
                    if not self._edges.invoke(command.call):
                        now = self._clock()
                        self._obey(self.node.refuse(command.call, now), now)
                case _:
                    self._edges.work(command)

    def _bulk(self) -> None:
        """Segments and chunks, as many as a pass has time for; they take turns."""
        for _ in range(MOST_BULK):
            now = self._clock()
            if not (commands := self.node.next_bulk(self.ports.blocked, now)):
                return
            self._obey(commands, now)
        self._more = True

    def _send(self, conn: Conn, packet: Packet, now: float) -> None:
        try:
            queued = self.ports.send(conn, encode_packet(packet), packet.size, now)
        except zmq.ZMQError as error:
            self._lost(conn, error, now)
            return
        if not queued:
            self._obey(self.node.undeliverable(packet, now), now)

    def _flush(self) -> None:
        if self.ports.blocked:
            now = self._clock()
            for conn, error in self.ports.flush(now):
                self._lost(conn, error, now)

    def _lost(self, conn: Conn, error: zmq.ZMQError, now: float) -> None:
        if error.errno != errno.EHOSTUNREACH:
            self.counters["send_errors"] += 1
            log.warning("%s: cannot send: %s", self.node.fqcn, error)
        self._forget(conn)
        self._obey(self.node.disconnected(conn, now), now)

    def _forget(self, conn: Conn) -> None:
        """What is queued was for a connection that is no more."""
        self._complained.discard(conn)
        self.ports.forget(conn)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _end(self, now: float) -> list[Command]:
        self._ended = True
        return []

    def _close(self, linger: float) -> None:
        if not self.ports.close(linger, self.node.fqcn):
            log.error("%s: libzmq did not end within %g s", self.node.fqcn, TERM_WATCHDOG)
        self._wakeup.close()
