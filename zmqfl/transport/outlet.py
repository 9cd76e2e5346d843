"""Where a cell publishes: an XPUB beside one of its listeners, and the children that listen there.

    comes                                      effect
    the ticket of a child that is bound        its connection hears what may be heard by that child
    another ticket, any other subscription     nothing is granted; who sends many of them (by its key) is shut out
    what is no subscription                    closed before anything else is read; who sent it is shut out
    the end of a connection with a ticket      the child listens no longer: its link tells it
    reopen, shut out                           closed, and opened again: whoever still may shows its ticket anew

libzmq cannot cut a single subscriber [run], so all are. XPUB_MANUAL gives what is granted to the connection of the
subscription that was read last; it counts wrong once somebody has sent what is none, and would grant to the next
connection [run, 4.3.5], hence "before anything else is read". Where there are no keys nobody can be shut out: after
MOST_STRIKES nothing is published any more, and the links do all.

A child that does not read costs at most SNDHWM messages, and nobody waits for it: libzmq drops what is too much for it.
There are no ZMTP heartbeats: TCP finds who is gone. A PING of a child does no harm (`RCVHWM`).
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import Final, Protocol

import zmq

from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.protocol.plane.publication import MAX_TICKET, Ticket, decode_ticket
from zmqfl.transport.authentication import Policy, ZapRequest, enforce
from zmqfl.transport.endpoint import MAX_IPC_PATH, Endpoint, check_open
from zmqfl.transport.frames import recv_frames, send_frames
from zmqfl.transport.keys import Keys
from zmqfl.transport.sockets import HANDSHAKE, RCVHWM, Context, Socket, bind, close_listener
from zmqfl.wire.messages import Buffer

log = logging.getLogger("zmqfl.transport")

SNDHWM: Final = 128
"""Publications that wait in libzmq for one child: 6 MiB at most (`facts.MOST_BYTES`), a tenth of that as a rule."""
MOST_READ: Final = 64
"""Subscriptions read in a pass."""
MOST_REFUSED: Final = 64
"""Subscriptions of one key that are refused: a child that is bound anew may show its former ticket a few times."""
MOST_STRIKES: Final = 3
RETRY: Final = 0.01
"""Seconds until it is opened again where the old socket still has the address."""
SUFFIX: Final = ".plane"
"""Of the path beside that of an ipc listener."""


class Admission(Protocol):
    """Who decides what a ticket is worth."""

    def admit(self, ticket: Ticket, user: str | None) -> tuple[str, ...]:
        """The prefixes of topics that the holder may hear; none: it may not. `user`: the name its key proves."""

    def dismiss(self, name: str) -> None:
        """It listens no longer."""


class Doorkeeper:
    """The policy of the listener, less those who were shut out."""

    def __init__(self, policy: Policy) -> None:
        self.shut_out: set[str] = set()
        self._policy = policy

    def user_of(self, request: ZapRequest) -> str | None:
        """See `Policy`."""
        user = self._policy.user_of(request)
        return None if user in self.shut_out else user


class Outlet:
    """See the module. Raises `UserError` where it cannot be opened. `poller`: watches it while it is open.

    `endpoint`: see `place_beside`. `domain`: one of its own, of which `doorkeeper` is the policy.
    """

    def __init__(
        self,
        context: Context,
        endpoint: Endpoint,
        domain: str,
        doorkeeper: Doorkeeper,
        config: CellConfig,
        keys: Keys | None,
        trusted_network: bool,
        poller: zmq.Poller,
    ) -> None:
        check_open(endpoint, keys is not None, trusted_network)
        self.endpoint = endpoint
        self.socket: Socket | None = None
        self.counters: Counter[str] = Counter()
        self.deadline: float | None = None
        """When it is to be opened again."""
        self._context = context
        self._domain = domain
        self._doorkeeper = doorkeeper
        self._config = config
        self._keys = keys
        self._poller = poller
        self._granted: dict[Ticket, tuple[str, ...]] = {}
        """What is granted to the connections that have shown a ticket."""
        self._shown: Counter[Ticket] = Counter()
        self._users: set[str] = set()
        """The names of keys to whose connections something was granted since it is open."""
        self._refused: Counter[str | None] = Counter()
        self._strikes = 0
        self._open()

    @property
    def told(self) -> str:
        """What a WELCOME says of it: only what the child cannot know, as addresses may look different from there."""
        return f"ipc:{SUFFIX}" if self.endpoint.is_ipc else f"tcp:{self.endpoint.port}"

    def publish(self, frames: list[Buffer]) -> None:
        """Hand a publication to libzmq, which drops it for those whose queue is full."""
        if self.socket is None or not self._granted:
            return
        try:
            send_frames(self.socket, frames)
            self.counters["published"] += 1
        except zmq.ZMQError as error:  # the links will tell that it was lost
            self.counters["send_errors"] += 1
            log.warning("cannot publish at %s: %s", self.endpoint, error)

    def read(self, admission: Admission, now: float) -> None:
        """Act on what children have sent, some of it."""
        for _ in range(MOST_READ):
            if self.socket is None:
                return
            try:
                frames = recv_frames(self.socket)
            except zmq.Again:
                return
            self._take(frames, admission, now)

    def reopen(self, admission: Admission, now: float) -> None:
        """Close it and open it again: nobody who listened until now hears more, unless its ticket is still good."""
        self.close(0.0)
        for name in {ticket.name for ticket in self._granted}:
            admission.dismiss(name)
        self._granted.clear()
        self._shown.clear()
        self._users.clear()
        self._refused.clear()
        self.counters["reopened"] += 1
        if self._strikes < MOST_STRIKES:
            self.deadline = now
            self.handle_timeout(now)

    def revoke(self, allowed: frozenset[str], admission: Admission, now: float) -> None:
        """Only these keys are good from now on."""
        if not self._users <= allowed:
            self.reopen(admission, now)

    def handle_timeout(self, now: float) -> None:
        """Open it again."""
        if self.deadline is None or now < self.deadline:
            return
        try:
            self._open()
        except UserError:
            self.deadline = now + RETRY
        else:
            self.deadline = None

    def close(self, linger: float) -> None:
        """Give what is queued in libzmq `linger` seconds."""
        self.deadline = None
        if self.socket is not None:
            self._poller.unregister(self.socket)
            close_listener(self.socket, self.endpoint, linger)
            self.socket = None

    def _open(self) -> None:
        socket = self._context.socket(zmq.XPUB)
        try:
            socket.linger = 0
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
            socket.sndhwm, socket.rcvhwm = SNDHWM, RCVHWM
            socket.maxmsgsize = MAX_TICKET
            socket.handshake_ivl = round(HANDSHAKE * 1000)
            socket.ipv6 = self.endpoint.is_ipv6
            keep_alive(socket, self._config)
            enforce(socket, self._domain, self._keys)
            self.endpoint = bind(socket, self.endpoint)
        except BaseException:
            socket.close(linger=0)
            raise
        self._poller.register(socket, zmq.POLLIN)
        self.socket = socket

    def _take(self, frames: list[zmq.Frame], admission: Admission, now: float) -> None:
        first = frames[0].bytes
        if len(frames) > 1 or first[:1] not in (b"\0", b"\1"):
            self.counters["garbage"] += 1
            self._shut_out(self._user_of(frames[0]), "sent what is no subscription", admission, now)
            return
        ticket = decode_ticket(first)
        if first[0] == 0:
            if ticket is not None:
                self._give_back(replace(ticket, is_given_back=False), admission)
            return
        user = self._user_of(frames[0])
        granted = admission.admit(ticket, user) if ticket is not None else ()
        if ticket is None or not granted:
            self._refuse(user, admission, now)
            return
        assert self.socket is not None, "it was read from"
        for prefix in granted:
            self.socket.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        self.counters["granted"] += 1
        self._granted[ticket] = granted
        self._shown[ticket] += 1
        if user is not None:
            self._users.add(user)

    def _give_back(self, ticket: Ticket, admission: Admission) -> None:
        """A connection has ended, or should hear no more: then libzmq must be told, or it would go on."""
        if ticket not in self._granted:
            return
        assert self.socket is not None, "it was read from"
        for prefix in self._granted[ticket]:
            self.socket.setsockopt(zmq.UNSUBSCRIBE, prefix.encode())
        self._shown[ticket] -= 1
        if self._shown[ticket] == 0:
            del self._granted[ticket], self._shown[ticket]
            if not any(other.name == ticket.name for other in self._granted):
                admission.dismiss(ticket.name)

    def _refuse(self, user: str | None, admission: Admission, now: float) -> None:
        self.counters["refused"] += 1
        self._refused[user] += 1
        if self._refused[user] > MOST_REFUSED:  # libzmq keeps each of them
            self._shut_out(user, "subscribes to what it may not hear", admission, now)

    def _shut_out(self, user: str | None, reason: str, admission: Admission, now: float) -> None:
        if user is not None:
            self._doorkeeper.shut_out.add(user)
            log.warning("%s %s: nothing is published to it any more, its link tells it", user, reason)
        else:
            self._strikes += 1
            end = "; nothing is published there any more" if self._strikes == MOST_STRIKES else ""
            log.warning("somebody at %s %s%s", self.endpoint, reason, end)
        self.reopen(admission, now)

    def _user_of(self, frame: zmq.Frame) -> str | None:
        return str(frame.get("User-Id")) if self._keys is not None else None

    def __repr__(self) -> str:
        return f"<Outlet {self.endpoint} of {len(self._granted)} listeners>"


def place_beside(listener: Endpoint, port: int) -> Endpoint | None:
    """Where a cell publishes that listens there: an own port (0: any), or a path; None: that would be too long."""
    if not listener.is_ipc:
        return replace(listener, port=port)
    path = listener.path + SUFFIX
    return replace(listener, path=path) if len(path.encode()) <= MAX_IPC_PATH else None


def keep_alive(socket: Socket, config: CellConfig) -> None:
    """Have TCP find within about `dead_after` that the other end is gone."""
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = max(1, round(config.dead_after / 2))
    socket.tcp_keepalive_intvl = max(1, round(config.dead_after / 6))
    socket.tcp_keepalive_cnt = 3
    socket.tcp_maxrt = round(config.dead_after * 1000)
