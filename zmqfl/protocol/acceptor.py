"""The parent's end of all links to its children: who may be bound, and which start of a name is the newest.

    connection  event                            next      effect
    unbound     HELLO, acceptable                candidate WELCOME with a new session
    unbound     HELLO, not acceptable            unbound   BYE refused, or BYE replaced for an older start
    candidate   anything with that session       control   the child is up; an older start gets BYE replaced
    unbound     ATTACH, session and key known    bulk      ATTACHED (and its candidate is bound)
    unbound     anything else                    unbound   a RESET, one per connection and heartbeat; counted
    control     the same HELLO again             control   the same WELCOME
    both        BYE on each lane                 unbound   BYE_ACK; the child is gone
    any         lost                             unbound   control: the child is suspected
    any         replaced by a newer session      unbound   what still comes from it is "anything else"

A candidate is not bound by its HELLO alone: libzmq may deliver the HELLO of a process that is dead by now after
that of its successor, and the dead must not replace the living.

A start of a name that was never heard before is newer than any that was: it gets a higher token, and the holder
gets BYE replaced. Only the acceptor's clock makes tokens (see `fence`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from zmqfl.config import CellConfig
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Command, Hangup, Level, Note, PeerChanged, PeerState, Send
from zmqfl.protocol.fence import CLOCK_ERROR, FenceTable
from zmqfl.protocol.link import Link
from zmqfl.protocol.routing import may_accept, speaks_for
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    MAX_GREETING,
    VERSION_MAX,
    VERSION_MIN,
    Attach,
    Attached,
    Bye,
    ByeAck,
    ByeReason,
    Conn,
    Greeting,
    Hello,
    Lane,
    Packet,
    Reset,
    Welcome,
)

MOST_RESETS = 4096
"""Connections remembered as having got a RESET; a forgotten one may get another at once."""
MOST_CANDIDATES = 1024
"""WELCOMEs that wait for their first answer; the oldest is dropped, its child says HELLO again."""
MOST_STARTS = 8
"""Starts remembered per name: one that comes back late is older than the newest."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A WELCOME that has not been answered yet. `token` counts only when it is."""

    conn: Conn
    user: str | None
    hello: Hello
    token: int
    session: int


class Acceptor:
    """See the module. `sessions` gives unguessable 64-bit numbers; `fences` is shared with the node."""

    def __init__(
        self, fqcn: str, is_root: bool, config: CellConfig, fences: FenceTable, sessions: Callable[[], int]
    ) -> None:
        self.fqcn = fqcn
        self.is_root = is_root
        self.children: dict[str, Link] = {}
        self.bindings: dict[Conn, tuple[Link, Lane]] = {}
        self.counters: Counter[str] = Counter()
        self.vouches = is_root
        """Our beats say that whom we have bound holds its name."""
        self.succeeds = False
        """A child came with the token of a former start of this cell: others may be about to come back, too."""
        self.published: dict[object, str] = {}
        """Listener, as connections name it -> what a WELCOME there says of where this cell publishes."""
        self.allowed: frozenset[str] | None = None
        """Names whose keys are accepted now; None: the listeners have no keys."""
        self._config = config
        self._fences = fences
        self._sessions = sessions
        self._users: dict[str, str | None] = {}
        self._starts: dict[str, dict[int, int]] = {}
        self._resets: dict[Conn, float] = {}
        self._candidates: dict[Conn, _Candidate] = {}
        self._next: float | None = None

    def greet(
        self,
        conn: Conn,
        user: str | None,
        packet: Packet,
        message: Greeting,
        welcome: Welcome,
        now: float,
        wall_ms: int,
    ) -> list[Command]:
        """A HELLO or ATTACH. `user`: the name that the key of the connection proves, None without keys."""
        if isinstance(message, Attach):
            return self._attach(conn, user, packet.session, now)
        if problem := self._refusal(conn, message, user, wall_ms):
            self.counters["hello_refused"] += 1
            note = Note(Level.WARNING, f"{self.fqcn}: refused a HELLO of {message.fqcn!r:.80}: {problem}")
            return [note, _bye(conn, ByeReason.REFUSED, problem)]
        if self._is_older(message):
            self.counters["hello_replaced"] += 1
            return [_bye(conn, ByeReason.REPLACED, f"a newer start of {message.fqcn} is bound")]
        return self._propose(conn, user, message, welcome, wall_ms)

    def confirm(self, conn: Conn, packet: Packet, now: float) -> list[Command]:
        """The first message with the session of a candidate: it has read its WELCOME, so it lives."""
        candidate = self._candidates.get(conn)
        if candidate is None or candidate.session != packet.session:
            return []
        return self._bind(candidate, now)

    def reset(self, conn: Conn, packet: Packet, now: float) -> list[Command]:
        """Something else than a greeting from a connection that is not bound."""
        self.counters["unbound"] += 1
        if now < self._resets.get(conn, 0.0):
            return []
        self._resets[conn] = now + self._config.heartbeat
        if len(self._resets) > MOST_RESETS:
            del self._resets[next(iter(self._resets))]
        return [_reset(conn, Lane(packet.lane), packet.session)]

    def disconnected(self, conn: Conn, now: float) -> list[Command]:
        """The connection is lost."""
        self._resets.pop(conn, None)
        self._candidates.pop(conn, None)
        bound = self.bindings.pop(conn, None)
        if bound is None:
            return []
        link, lane = bound
        if lane is Lane.BULK:
            link.bulk = None
        if link.has_left:
            return self.left(link, "it has stopped", now)
        if lane is Lane.BULK:
            return []
        self._unbind(link)
        self._next = now
        link.break_off(now)
        return [PeerChanged(link.fqcn, PeerState.SUSPECTED, link.instance, "connection lost")]

    def left(self, link: Link, reason: str, now: float) -> list[Command]:
        """The child has said BYE on all its lanes, or what is left of them is lost."""
        ack = Packet(ByeAck.KIND, encode_header(ByeAck()), session=link.session)
        sent: list[Command] = [Send(link.control, ack)] if link.control is not None else []
        return sent + self.end(link.fqcn, reason, now)

    def end(self, fqcn: str, reason: str, now: float, bye: ByeReason | None = None) -> list[Command]:
        """The child is gone: it said so, a launcher saw its exit, its key was revoked, or it was silent too long."""
        link = self.children.pop(fqcn, None)
        if link is None:
            return []
        self._users.pop(fqcn, None)
        commands: list[Command] = []
        if bye is not None and link.control is not None:
            commands.append(_bye(link.control, bye, reason, link.session))
        commands += self._unbind(link)
        link.end(now)
        replaced = bye is ByeReason.REPLACED
        return [*commands, PeerChanged(fqcn, PeerState.GONE, link.instance, reason, replaced)]

    def exited(self, fqcn: str, now: float) -> list[Command]:
        """The process of the child has ended and will start again: its own handles end, what is behind it waits."""
        link = self.children.get(fqcn)
        if link is None:
            return []
        commands = self._unbind(link)
        link.break_off(now)
        self._next = now
        return [*commands, PeerChanged(fqcn, PeerState.GONE, link.instance, "its process has ended", replaced=True)]

    def welcome_again(self, welcome: Welcome) -> list[Command]:
        """Tell all children what has changed in the WELCOME: this cell has learned the name of the root."""
        bound = [
            self._welcomed(link.control, link.fqcn, link.instance, link.token, link.session, welcome)
            for link in self.children.values()
            if link.control is not None
        ]
        return bound + [
            self._welcomed(c.conn, c.hello.fqcn, c.hello.instance, c.token, c.session, welcome)
            for c in self._candidates.values()
        ]

    def user_of(self, name: str) -> str | None:
        """The name that the key of a child proves; None without keys."""
        return self._users.get(name)

    def vouch(self, now: float) -> None:
        """Nobody hears another start of this cell, so nobody hears another start of its children: tell them."""
        self.vouches = True
        for link in self.children.values():
            link.hasten(now)
        self._next = now

    def has_left(self, name: str) -> bool:
        """Whether `name` was a child of this cell and is gone."""
        return name in self._starts and name not in self.children

    def set_allowed(self, allowed: frozenset[str] | None, now: float) -> list[Command]:
        """Accept these names from now on; whoever is bound by another key is cut off at once."""
        self.allowed = allowed
        self._candidates = {conn: c for conn, c in self._candidates.items() if self._is_allowed(c.user)}
        cut = [name for name, user in self._users.items() if not self._is_allowed(user)]
        return [c for name in cut for c in self.end(name, "its key is not allowed any more", now, ByeReason.REFUSED)]

    def may_speak(self, conn: Conn, user: str | None, origin: str) -> bool:
        """Whether a message of `origin` may come from `conn`: checked for each message against the current list."""
        link, _ = self.bindings[conn]
        if not speaks_for(link.fqcn, origin):
            return False
        return user is None or (self._is_allowed(user) and speaks_for(user, origin))

    def handle_timeout(self, now: float) -> list[Command]:
        """Mark silent children as stalled; end those suspected for too long; send the beats that are due."""
        commands: list[Command] = []
        for link in list(self.children.values()):
            state = link.check(now)
            if state is PeerState.GONE:
                commands += self.end(link.fqcn, f"no connection for {self._config.dead_after:g} s", now)
            elif state is not None:
                commands.append(PeerChanged(link.fqcn, state, link.instance, "silent"))
            commands += link.beat(now, self.vouches)
        self._next = min((d for link in self.children.values() if (d := link.deadline) is not None), default=None)
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do. May be early, since traffic postpones it: a thousand links
        are not searched after each message."""
        return self._next

    def _refusal(self, conn: Conn, hello: Hello, user: str | None, wall_ms: int) -> str:
        if conn in self.bindings and self.bindings[conn][0].fqcn != hello.fqcn:
            return "its connection is bound to another name"
        if hello.token >= wall_ms + CLOCK_ERROR:
            return "its fence token is out of range"
        if hello.version_min > VERSION_MAX or hello.version_max < VERSION_MIN:
            return f"it speaks protocol versions {hello.version_min} to {hello.version_max}, this cell {VERSION_MAX}"
        if problem := FQCN.validate(hello.fqcn) or ("blank" if hello.fqcn != FQCN.normalize(hello.fqcn) else ""):
            return f"its name is not valid: {problem}"
        if not may_accept(hello.fqcn, self.fqcn, self.is_root):
            return f"it does not belong below {self.fqcn!r}"
        if user is not None and not self._is_allowed(user):
            return f"the key of {user!r} is not allowed"
        if user is not None and not speaks_for(user, hello.fqcn):
            return f"its key is that of {user!r}"
        return ""

    def _is_allowed(self, user: str | None) -> bool:
        return user is None or self.allowed is None or user in self.allowed

    def _is_older(self, hello: Hello) -> bool:
        token = self._token_of(hello)
        return token != 0 and self._fences.is_stale(hello.fqcn, token)

    def _token_of(self, hello: Hello) -> int:
        """The token that this start holds; 0 when it has none that is its own."""
        starts = self._starts.get(hello.fqcn, {})
        if any(token == hello.token and instance != hello.instance for instance, token in starts.items()):
            return 0  # two starts at once were offered the same, and the other one was quicker
        return hello.token or starts.get(hello.instance, 0)

    def _propose(self, conn: Conn, user: str | None, hello: Hello, welcome: Welcome, wall_ms: int) -> list[Command]:
        bound = self.bindings.get(conn)
        if bound is not None and bound[0].instance == hello.instance:  # our WELCOME was late
            return [self._welcomed(conn, hello.fqcn, hello.instance, bound[0].token, bound[0].session, welcome)]
        candidate = self._candidates.pop(conn, None)
        if candidate is None or candidate.hello.instance != hello.instance:
            token = self._token_of(hello) or max(self._fences.highest(hello.fqcn), wall_ms) + 1
            candidate = _Candidate(conn, user, hello, token, self._sessions())
        self._candidates[conn] = candidate
        if len(self._candidates) > MOST_CANDIDATES:
            del self._candidates[next(iter(self._candidates))]
        return [self._welcomed(conn, hello.fqcn, hello.instance, candidate.token, candidate.session, welcome)]

    def _bind(self, candidate: _Candidate, now: float) -> list[Command]:
        conn, hello, token = candidate.conn, candidate.hello, candidate.token
        del self._candidates[conn]
        starts = self._starts.setdefault(hello.fqcn, {})
        if self._fences.is_stale(hello.fqcn, token):
            return [_bye(conn, ByeReason.REPLACED, f"a newer start of {hello.fqcn} is bound", candidate.session)]
        if any(other == token and instance != hello.instance for instance, other in starts.items()):
            return [_reset(conn, Lane.CONTROL, candidate.session)]  # the next HELLO gets a new token
        self.succeeds = self.succeeds or bool(hello.token and not starts)
        self._fences.admit(hello.fqcn, token)
        self._resets.pop(conn, None)
        starts[hello.instance] = token
        if len(starts) > MOST_STARTS:
            del starts[next(iter(starts))]
        commands: list[Command] = []
        link = self.children.get(hello.fqcn)
        if link is not None and link.instance != hello.instance:
            commands = self.end(hello.fqcn, "replaced by a newer start", now, ByeReason.REPLACED)
            link = None
        if link is None:
            c = self._config
            link = Link(hello.fqcn, hello.instance, token, candidate.session, c.heartbeat, c.dead_after, now)
            self.children[hello.fqcn] = link
        else:
            commands = self._unbind(link)
        self._users[hello.fqcn] = candidate.user
        link.bind(hello.instance, token, candidate.session, conn, now)
        self.bindings[conn] = (link, Lane.CONTROL)
        self._next = now
        return [*commands, PeerChanged(hello.fqcn, PeerState.UP, hello.instance)]

    def _welcomed(self, conn: Conn, fqcn: str, instance: int, token: int, session: int, welcome: Welcome) -> Command:
        succeeds = any(other != instance for other in self._starts.get(fqcn, ()))
        message = Welcome(
            welcome.fqcn, welcome.instance, welcome.fence, token, welcome.version,
            welcome.root, welcome.segment, welcome.features, self.published.get(conn[1], ""), int(succeeds),
        )  # fmt: skip
        return Send(conn, Packet(Welcome.KIND, encode_header(message), session=session))

    def _attach(self, conn: Conn, user: str | None, session: int, now: float) -> list[Command]:
        commands: list[Command] = []
        candidate = next((c for c in self._candidates.values() if c.session == session and c.user == user), None)
        if candidate is not None:  # whoever knows the session has read the WELCOME
            commands = self._bind(candidate, now)
        link = next((link for link in self.children.values() if link.session == session and link.connected), None)
        taken = conn in self.bindings and self.bindings[conn] != (link, Lane.BULK)
        if link is None or taken or self._users[link.fqcn] != user:
            self.counters["attach_refused"] += 1
            return [*commands, _reset(conn, Lane.BULK, session)]
        if link.bulk is not None and link.bulk != conn:
            self.bindings.pop(link.bulk, None)
        link.bulk = conn
        self.bindings[conn] = (link, Lane.BULK)
        attached = Packet(Attached.KIND, encode_header(Attached()), lane=Lane.BULK, session=session)
        return [*commands, Send(conn, attached)]

    def _unbind(self, link: Link) -> list[Command]:
        commands: list[Command] = []
        for conn in (link.control, link.bulk):
            if conn is not None:
                self.bindings.pop(conn, None)
                commands.append(Hangup(conn))
        return commands


def _bye(conn: Conn, reason: ByeReason, text: str, session: int = 0) -> Command:
    return Send(conn, Packet(Bye.KIND, encode_header(Bye(reason, text)), session=session))


def _reset(conn: Conn, lane: Lane, session: int) -> Command:
    return Send(conn, Packet(Reset.KIND, encode_header(Reset()), lane=lane, session=session))


def is_greeting(packet: Packet) -> bool:
    """Whether a connection that is not bound may send this."""
    return packet.kind in (Hello.KIND, Attach.KIND) and packet.size <= MAX_GREETING and not packet.bodies
