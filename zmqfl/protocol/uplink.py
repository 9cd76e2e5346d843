"""The child's end of its link to the parent: dial, greet, stay bound.

    state     event                     next      effect
    idle      control lane connected    greeting  HELLO
    greeting  WELCOME                   bound     the link is up; ATTACH when the bulk lane is connected
    greeting  no WELCOME in time        greeting  HELLO again, less and less often
    bound     bulk lane connected       bound     ATTACH; again until ATTACHED
    bound     ATTACHED                  bound     the link is up with both lanes
    bound     BEAT that vouches         bound     the name is ours, see `held_since`
    bound     RESET of our session      greeting  HELLO; the link is suspected
    bound     control lane lost         idle      the link is suspected
    any       BYE leaving on each lane  greeting  the link is gone; BYE_ACK; HELLO again after a pause
    any       BYE refused               greeting  HELLO again after the longest pause
    any       BYE replaced              stopped   exit with status 75
    any       BYE_ACK                   stopped   the link is gone: this cell has said BYE
    any       key refused (ZAP)         -         dial the lane again after a pause: libzmq never does

The parent's name is pinned by our own; a WELCOME from another cell is a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from zmqfl.config import CellConfig
from zmqfl.fqcn import tree_parent
from zmqfl.protocol.commands import EXIT_REPLACED, Command, Exit, Level, Note, PeerChanged, PeerState, Redial, Send
from zmqfl.protocol.link import Link
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    VERSION_MAX,
    VERSION_MIN,
    Attach,
    Attached,
    Beat,
    Bye,
    ByeAck,
    ByeReason,
    Conn,
    Hello,
    Lane,
    LinkMessage,
    Packet,
    Reset,
    Welcome,
)

GREETING_PAUSE = 1.0
"""Seconds until HELLO or ATTACH goes out again; doubles. Either is lost only when a connection breaks."""


class UplinkState(StrEnum):
    """The states of the table."""

    IDLE = "idle"
    GREETING = "greeting"
    BOUND = "bound"
    STOPPED = "stopped"


def up(lane: Lane) -> Conn:
    """The connection of a lane to the parent."""
    return ("up", lane)


@dataclass(slots=True)
class Uplink:
    """See the module. `fqcn`, `instance`: who we are."""

    fqcn: str
    instance: int
    config: CellConfig
    token: int = 0
    """The fence token that a parent has issued to this start."""
    root: str = ""
    features: int = 0
    """What the parent can do for us, see `Feature`."""
    plane: str = ""
    """Where the parent publishes, in its own words; "": nowhere."""
    succeeds: bool = False
    """The parent has bound another start of this cell before."""
    held_since: float | None = None
    """Since when nobody hears another start of this cell: a parent that holds its own name has bound us."""
    state: UplinkState = UplinkState.IDLE
    link: Link | None = None
    refusal: str = ""
    """What the parent last refused us for; "" when it did not. Shown when a start-up does not get through."""
    _held_by: int = 0
    _connected: set[Lane] = field(default_factory=set)
    _retry_at: dict[str, float] = field(default_factory=dict)
    """When to do what again: "hello", "attach", "redial 0", "redial 1"."""
    _pauses: dict[str, float] = field(default_factory=dict)

    def connected(self, lane: Lane, now: float) -> list[Command]:
        """The transport has a working connection for `lane`."""
        self._connected.add(lane)
        self._forget(f"redial {int(lane)}")
        if self.state is UplinkState.STOPPED:
            return []
        return self._greet(now) if lane is Lane.CONTROL else self._attach(now)

    def disconnected(self, lane: Lane, now: float) -> list[Command]:
        """The connection of `lane` is lost; the transport tries to make it anew."""
        self._connected.discard(lane)
        if lane is Lane.BULK:
            if self.link is not None:
                self.link.bulk = None
                if self.link.has_left:
                    return self._left("the parent has stopped", now)
            return []
        if self.state is not UplinkState.STOPPED:
            self.state = UplinkState.IDLE
        self._forget("hello")
        if self.link is not None and self.link.has_left:
            return self._end("the parent has stopped", now)
        return self._suspect("connection lost", now)

    def refused(self, lane: Lane, now: float) -> list[Command]:
        """The parent does not accept our key."""
        self._again(f"redial {int(lane)}", now, self.config.reconnect_min, self.config.reconnect_max)
        if self.refusal:
            return []
        self.refusal = "the parent refused our key"
        return [Note(Level.WARNING, f"{self.fqcn}: {self.refusal}; is it in the parent's allow list?")]

    def receive(self, packet: Packet, message: LinkMessage, now: float) -> list[Command]:
        """A message between neighbours has come from the parent."""
        if self.state is UplinkState.STOPPED:
            return []
        match message:
            case Welcome():
                return self._welcome(packet.session, message, now)
            case Attached() if self.link is not None and packet.session == self.link.session:
                self._forget("attach")
                self.link.bulk = up(Lane.BULK)
                return [PeerChanged(self.link.fqcn, PeerState.UP, self.link.instance, "bulk lane attached")]
            case Beat() if self.link is not None and packet.session == self.link.session:
                self._hold(self.link, message, now)
            case Reset() if self.link is not None and packet.session == self.link.session:
                return [*self._suspect("the parent does not know our session", now), *self._greet(now)]
            case Bye():
                return self._bye(packet, message, now)
            case ByeAck() if self.link is not None and packet.session == self.link.session:
                self.state = UplinkState.STOPPED
                self._retry_at.clear()
                return self._end("this cell has stopped", now)
        return []

    def handle_timeout(self, now: float) -> list[Command]:
        """Repeat what had no answer; end a link that was suspected for too long."""
        commands: list[Command] = []
        for what in [what for what, at in self._retry_at.items() if at <= now]:
            del self._retry_at[what]
            if what == "hello":
                commands += self._greet(now)
            elif what == "attach":
                commands += self._attach(now)
            else:
                commands.append(Redial(Lane(int(what[-1]))))
        if self.link is not None and (state := self.link.check(now)):
            commands += (
                self._end(f"no connection for {self.config.dead_after:g} s", now)
                if state is PeerState.GONE
                else [PeerChanged(self.link.fqcn, state, self.link.instance, "silent")]
            )
        return commands + (self.link.beat(now) if self.link is not None else [])

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = list(self._retry_at.values())
        if self.link is not None and self.link.deadline is not None:
            times.append(self.link.deadline)
        return min(times, default=None)

    def _greet(self, now: float) -> list[Command]:
        if Lane.CONTROL not in self._connected:
            return []
        self.state = UplinkState.GREETING
        self._again("hello", now, GREETING_PAUSE, self.config.reconnect_max)
        hello = Hello(self.fqcn, self.instance, self.token)
        return [Send(up(Lane.CONTROL), Packet(Hello.KIND, encode_header(hello)))]

    def _attach(self, now: float) -> list[Command]:
        if self.state is not UplinkState.BOUND or self.link is None or Lane.BULK not in self._connected:
            return []
        self._again("attach", now, GREETING_PAUSE, self.config.reconnect_max)
        packet = Packet(Attach.KIND, encode_header(Attach()), lane=Lane.BULK, session=self.link.session)
        return [Send(up(Lane.BULK), packet)]

    def _welcome(self, session: int, welcome: Welcome, now: float) -> list[Command]:
        if self.state is not UplinkState.GREETING:
            if self.link is not None and session == self.link.session:
                self.root = welcome.root or self.root  # the parent has learned it, or repeats itself
                self.features, self.plane = welcome.features, welcome.plane
            return []
        if problem := self._mismatch(welcome):
            return self._refuse(problem, now)
        self._forget("hello")
        self.state, self.refusal = UplinkState.BOUND, ""
        self.token, self.root = welcome.token, welcome.root
        self.features, self.plane, self.succeeds = welcome.features, welcome.plane, bool(welcome.succeeds)
        commands: list[Command] = []
        if self.link is not None and self.link.instance != welcome.instance:
            commands += self._end("it has restarted", now, replaced=True)
        if self.link is None:
            c = self.config
            self.link = Link(welcome.fqcn, welcome.instance, welcome.fence, session, c.heartbeat, c.dead_after, now)
        self.link.bind(welcome.instance, welcome.fence, session, up(Lane.CONTROL), now)
        commands.append(PeerChanged(welcome.fqcn, PeerState.UP, welcome.instance))
        return commands + self._attach(now)

    def _hold(self, parent: Link, beat: Beat, now: float) -> None:
        """The parent beats only for whom it has bound."""
        if not beat.vouches or parent.instance == self._held_by:
            return
        if self.held_since is None or self.succeeds:
            self.held_since = now
        self._held_by = parent.instance

    def _mismatch(self, welcome: Welcome) -> str:
        if not VERSION_MIN <= welcome.version <= VERSION_MAX:
            return f"the parent speaks protocol version {welcome.version}, this cell {VERSION_MIN} to {VERSION_MAX}"
        if welcome.fqcn != tree_parent(self.fqcn, welcome.root):
            expected = tree_parent(self.fqcn, welcome.root)
            return f"the cell at the parent's address is {welcome.fqcn!r}, but {self.fqcn!r} belongs below {expected!r}"
        return ""

    def _bye(self, packet: Packet, bye: Bye, now: float) -> list[Command]:
        if packet.session and (self.link is None or packet.session != self.link.session):
            return []  # about a link that is no more
        match bye.reason:
            case ByeReason.REPLACED:
                self.state = UplinkState.STOPPED
                self._retry_at.clear()
                why = f"a newer start of {self.fqcn} holds the name"
                return [*self._end(why, now), Exit(EXIT_REPLACED, why)]
            case ByeReason.LEAVING:
                if self.link is None or self.link.leave(Lane(packet.lane)):
                    return self._left(bye.text or "the parent has stopped", now)
                return []
        return self._refuse(bye.text, now)

    def _left(self, reason: str, now: float) -> list[Command]:
        """The parent has said BYE on all its lanes, or what is left of them is lost."""
        session = self.link.session if self.link is not None else 0
        ack = Send(up(Lane.CONTROL), Packet(ByeAck.KIND, encode_header(ByeAck()), session=session))
        self.state = UplinkState.GREETING  # should the connection outlive the parent's stop, ask again later
        self._again("hello", now, GREETING_PAUSE, self.config.reconnect_max)
        return [ack, *self._end(reason, now)]

    def _refuse(self, problem: str, now: float) -> list[Command]:
        """We may not be bound. Try again, rarely: a list may change; the reason is said once."""
        self.state = UplinkState.GREETING
        self._retry_at["hello"] = now + self.config.reconnect_max
        news = problem != self.refusal
        self.refusal = problem
        note: list[Command] = [Note(Level.WARNING, f"{self.fqcn}: the parent refused us: {problem}")] if news else []
        return note + self._end(f"refused: {problem}", now)

    def _suspect(self, reason: str, now: float) -> list[Command]:
        self._forget("attach")
        if self.link is None or not self.link.break_off(now):
            return []
        return [PeerChanged(self.link.fqcn, PeerState.SUSPECTED, self.link.instance, reason)]

    def _end(self, reason: str, now: float, replaced: bool = False) -> list[Command]:
        if self.link is None:
            return []
        link, self.link = self.link, None
        link.end(now)
        self._forget("attach")
        return [PeerChanged(link.fqcn, PeerState.GONE, link.instance, reason, replaced)]

    def _again(self, what: str, now: float, first: float, most: float) -> None:
        pause = self._pauses.get(what, first)
        self._pauses[what] = min(pause * 2, most)
        self._retry_at[what] = now + pause

    def _forget(self, what: str) -> None:
        self._retry_at.pop(what, None)
        self._pauses.pop(what, None)
