"""The caller's half of a request: it ends exactly once per target, and is never run twice by our doing.

Each target of a request is in one of these states; `out` are the copies that may have arrived.

    state    event                                  next     effect
    -        request                                out      REQUEST
    out      RETURN of the last copy, may heal      clean    wait for the route
    out      RETURN unreachable, no other copy      ended    comm_error (here: target_unreachable)
    out      a beat has passed                      out      PROBE
    clean    a beat has passed, or the link is up   out      REQUEST again, PATIENT: no copy is out, so no DUP
    out      PROBED queued, running                 out      the callee's clock counts, ours follows
    out      PROBED never, callee older than this   out      REQUEST again, DUP, to that very instance
    out      PROBED never, callee perhaps older     out      asked again, within `dead_after` of the first copy
    out      PROBED never or forgotten, otherwise   ended    comm_error: outcome unknown
    out      RETURN unreachable, last copy or PROBE ended    comm_error: outcome unknown
    any      RETURN of an earlier copy or PROBE     -         the later one will tell
    any      REPLY                                  ended    its code
    out      its flow, or that of the reply, moves  out      the time-out begins anew; nothing is sent again meanwhile
    out      its flow was refused, no other copy    ended    msg_too_big or service_unavailable: it did not run
    out      its flow was lost, or refused          out      a beat, then PROBE
    any      target gone                            ended    comm_error, target_unreachable when clean
    any      time-out                               ended    timeout; CANCEL
    any      cancel                                 ended    CANCEL

A request that may run twice (REPEATABLE) never ends as "outcome unknown": it is sent again, to whoever holds the name.

A copy is sent again only when the callee itself has said that it never saw one, so a lost message costs a PROBE
and not a second execution. Payloads that have not been heard of are sent again later the bigger they are: on a
slow link they may still be on their way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Command, Finish, FlowFate, Outcome, Post
from zmqfl.wire.messages import (
    MAX_PROBED,
    NO_DEADLINE,
    Buffer,
    Cancel,
    Fate,
    Flag,
    Probe,
    Probed,
    Reply,
    Request,
    Return,
    ReturnReason,
)

GRACE = 0.5
"""Seconds that the callee's own time-out reply gets to arrive before we end the request ourselves."""
SLOWEST = 32 * 1024
"""Bytes per second: a payload that may still be under way at this rate is not sent again."""
MANY_ENDED = 256
"""Ids from the oldest open one to the newest: beyond it `still_open` is worth its bytes."""
MOST_OPEN = 512
"""Ids in `still_open`; with more in flight to one callee `done_below` alone must do."""

_REFUSALS: Final = {
    FlowFate.REFUSED: CellReturnCode.SERVICE_UNAVAILABLE,
    FlowFate.TOO_BIG: CellReturnCode.MSG_TOO_BIG,
}


@dataclass(slots=True)
class _Target:
    """One target of one request."""

    first_sent: float
    expires: float
    look_at: float
    """When to probe or to send again."""
    attempts: int = 0
    probed: int = 0
    """Number of the last PROBE that asked for it."""
    probed_at: float = 0.0
    out: set[int] = field(default_factory=set)
    silent_until: float = 0.0
    """Not sent again before, unless the route is known to have broken."""
    broke: bool = False
    news: bool = False
    """The route broke since the last PROBE."""

    elder: int = 0
    """The start of the callee that is known to be older than the first copy."""

    def is_newer_than(self, instance: int, uptime: float, now: float) -> bool:
        """Whether this start of the callee is older. Once known it stays so: a later answer may be too slow for it."""
        if uptime > now - self.first_sent:
            self.elder = instance
        return self.elder == instance

    def break_off(self) -> None:
        """The route is known to have broken: what was on its way may be lost."""
        self.broke = self.news = True


@dataclass(slots=True)
class _Open:
    """One request."""

    id: int
    channel: str
    topic: str
    codec: int
    headers: dict[str, Any]
    bodies: tuple[Buffer, ...]
    timeout: float
    deadline: float | None
    traceparent: str
    size: int
    """Bytes that count against the send budget: those of a flow are the caller's, and not queued."""
    length: int
    targets: dict[str, _Target]
    repeatable: bool = False

    @property
    def flags(self) -> Flag:
        """Those of each copy."""
        return Flag.MUST_UNDERSTAND | (Flag.REPEATABLE if self.repeatable else Flag.NONE)


class Requester:
    """See the module. `me` gives (origin, fence, instance) as they are now; `is_flowing(id, target)`: whether the
    request is still on its way as a flow."""

    def __init__(
        self,
        config: CellConfig,
        me: Callable[[], tuple[str, int, int]],
        is_flowing: Callable[[int, str], bool] = lambda id, target: False,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.retained = 0
        """Bytes of payload kept for sending again."""
        self._config = config
        self._me = me
        self._is_flowing = is_flowing
        self._open: dict[int, _Open] = {}
        self._waiting: dict[str, dict[int, None]] = {}
        """Per target the ids that are open, oldest first."""
        self._next: float | None = None
        self._probes = 0

    def request(
        self,
        id: int,
        targets: Iterable[str],
        channel: str,
        topic: str,
        codec: int,
        headers: dict[str, Any],
        bodies: tuple[Buffer, ...],
        timeout: float,
        deadline: float | None,
        traceparent: str,
        now: float,
        repeatable: bool = False,
    ) -> list[Command]:
        """Send one request to each target. `timeout`: seconds for the handler; `deadline`: seconds from now for all."""
        length = sum(len(body) for body in bodies)
        size = length if length <= self._config.segment else 0
        names = tuple(dict.fromkeys(targets))
        if not names:
            return []
        if self.retained + size > self._config.send_budget:
            full = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "the send budget of this cell is full; wait for replies")
            return [Finish(id, name, full) for name in names]
        end = None if deadline is None else now + deadline
        expires = _earlier(now + timeout + GRACE, end)
        look_at = self._next_look(now, expires)
        state = {name: _Target(now, expires, look_at, silent_until=now + self._patience(length)) for name in names}
        self._open[id] = _Open(
            id, channel, topic, codec, headers, bodies, timeout, end, traceparent, size, length, state, repeatable
        )  # fmt: skip
        self.retained += size
        for name in names:
            self._waiting.setdefault(name, {})[id] = None
        self._wake(min(expires, look_at))
        return [self._copy(self._open[id], names, Flag.NONE, 0, now)]

    def cancel(self, id: int) -> list[Command]:
        """Nobody waits for this request any more: no Finish will come."""
        if (request := self._open.get(id)) is None:
            return []
        commands: list[Command] = []
        for name in list(request.targets):
            commands.append(self._cancelled(id, name))
            self._drop(request, name)
        return commands

    def receive_reply(self, reply: Reply, bodies: tuple[Buffer, ...], now: float) -> list[Command]:
        """The callee has ended the request."""
        request = self._open.get(reply.id)
        if request is None or reply.origin not in request.targets:
            self.counters["late_replies"] += 1
            return []
        try:
            code = CellReturnCode(reply.code)
        except ValueError:
            code = CellReturnCode.COMM_ERROR
        return self._end(request, reply.origin, Outcome(code, reply.error, reply.codec, reply.headers, bodies))

    def receive_probed(self, probed: Probed, now: float) -> list[Command]:
        """What the callee knows about requests that we wait for."""
        commands: list[Command] = []
        for fate in probed.fates:
            if len(fate) == 3 and (request := self._open.get(fate[0])) and probed.origin in request.targets:
                commands += self._learn(request, probed, fate[1], fate[2] / 1000, now)
        return commands

    def receive_return(self, back: Return, now: float) -> list[Command]:
        """A cell on the way could not pass a REQUEST or PROBE on."""
        commands: list[Command] = []
        for name in back.targets:
            if back.kind == Request.KIND:
                commands += self._returned(back.id, name, back, now)
            elif back.kind == Probe.KIND:
                for id in list(self._waiting.get(name, ())):
                    commands += self._returned(id, name, back, now)
        return commands

    def flow_moved(self, id: int, name: str, now: float) -> None:
        """More of the request has arrived at the target, or more of its reply here: no time-out runs meanwhile."""
        request = self._open.get(id)
        if request is not None and (target := request.targets.get(name)) is not None:
            target.expires = _earlier(now + request.timeout + GRACE, request.deadline)
            target.look_at = max(target.look_at, self._next_look(now, target.expires))

    def flow_ended(self, id: int, name: str, fate: FlowFate, text: str, now: float) -> list[Command]:
        """The flow that carried the request has ended at a target. LOST: a PROBE will tell what that means."""
        request = self._open.get(id)
        if request is None or (target := request.targets.get(name)) is None:
            return []
        if fate in _REFUSALS and len(target.out) <= 1:
            return self._end(request, name, Outcome(_REFUSALS[fate], text))
        if fate is FlowFate.LOST:
            target.break_off()
        target.look_at = self._next_look(now, target.expires)
        self._wake(target.look_at)
        return []

    def is_open(self, id: int) -> bool:
        """Whether request `id` has not ended at every target."""
        return id in self._open

    def is_waiting(self, id: int, name: str) -> bool:
        """Whether request `id` has not ended at a target."""
        return id in self._open and name in self._open[id].targets

    def link_up(self, reaches: Callable[[str], bool], now: float) -> list[Command]:
        """The link to the targets that `reaches` names is up: send what was held, probe what was out."""
        for name in [name for name in self._waiting if reaches(name)]:
            for id in self._waiting[name]:
                target = self._open[id].targets[name]
                target.break_off()
                target.look_at = now
        self._next = now
        return self.handle_timeout(now)

    def peer_gone(self, reaches: Callable[[str], bool], reason: str, now: float) -> list[Command]:
        """The targets that `reaches` names are gone, or the only way to them: whatever waits for them ends."""
        commands: list[Command] = []
        for name in [name for name in self._waiting if reaches(name)]:
            for id in list(self._waiting[name]):
                commands += self._lost(self._open[id], name, reason)
        return commands

    def handle_timeout(self, now: float) -> list[Command]:
        """End what is over; probe or send again what was not heard of for a beat."""
        commands: list[Command] = []
        probes: dict[str, list[int]] = {}
        soon = now + self._config.heartbeat / 2  # what is due soon shares the PROBE, and is not searched for again
        for request in list(self._open.values()):
            for name, target in list(request.targets.items()):
                if target.expires <= now:
                    commands.append(self._cancelled(request.id, name))
                    commands += self._end(request, name, _timeout(request, target, now))
                elif target.look_at <= soon:
                    target.look_at = self._next_look(now, target.expires)
                    if self._is_flowing(request.id, name):
                        continue
                    if target.out:
                        probes.setdefault(name, []).append(request.id)
                    else:
                        commands.append(self._copy(request, (name,), Flag.PATIENT, 0, now))
        for name, ids in probes.items():
            commands += [self._probe(name, ids[i : i + MAX_PROBED], now) for i in range(0, len(ids), MAX_PROBED)]
        self._next = min(
            (min(t.expires, t.look_at) for request in self._open.values() for t in request.targets.values()),
            default=None,
        )
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        return self._next

    @property
    def open(self) -> int:
        """Requests that have not ended at every target."""
        return len(self._open)

    def _copy(self, request: _Open, names: tuple[str, ...], flags: Flag, to_instance: int, now: float) -> Command:
        """One more copy of a request. A second one to one target is counted as sent again."""
        attempt = 1 + max(request.targets[name].attempts for name in names)
        for name in names:
            target = request.targets[name]
            if not target.out:
                target.first_sent = now
            target.attempts = attempt
            target.news = False
            target.out.add(attempt)
            self.counters["resent"] += attempt > 1
        done_below, still_open = self._done(request.id, names)
        message = Request(
            *self._me(), request.id, to_instance, attempt, done_below, still_open, _ms(request.timeout),
            request.channel, request.topic, request.codec, [len(body) for body in request.bodies],
            request.headers, request.traceparent,
        )  # fmt: skip
        remaining = NO_DEADLINE if request.deadline is None else _ms(request.deadline - now)
        return Post(message, names, request.bodies, request.flags | flags, remaining)

    def _probe(self, name: str, ids: list[int], now: float) -> Command:
        self._probes += 1
        self.counters["probes"] += 1
        flags = Flag.PATIENT
        for id in ids:
            target = self._open[id].targets[name]
            target.probed, target.probed_at = self._probes, now
            if target.news:
                target.news, flags = False, flags | Flag.DUP
        return Post(Probe(*self._me(), self._probes, ids), (name,), flags=flags)

    def _done(self, id: int, names: tuple[str, ...]) -> tuple[int, list[int]]:
        """What the callee may forget: all below the first number, except the ids in the list."""
        waiting = [self._waiting[name] for name in names]
        oldest = min(next(iter(ids)) for ids in waiting)
        if id - oldest < MANY_ENDED or max(map(len, waiting)) > MOST_OPEN:
            return oldest, []
        # One long request must not make the callees keep the replies of a thousand short ones that followed it.
        still_open = sorted({other for ids in waiting for other in ids if other < id})
        return (id, still_open) if len(still_open) <= MOST_OPEN else (oldest, [])

    def _learn(self, request: _Open, probed: Probed, fate: int, since: float, now: float) -> list[Command]:
        name = probed.origin
        target = request.targets[name]
        match fate:
            case Fate.NEVER | Fate.FORGOTTEN if self._is_flowing(request.id, name):
                return []
            case Fate.NEVER | Fate.FORGOTTEN if request.repeatable:
                return self._again(request, name, probed.instance, now)
            case Fate.QUEUED:
                target.expires = _earlier(now + request.timeout + GRACE, request.deadline)
            case Fate.RUNNING:
                target.expires = _earlier(now + max(0.0, request.timeout - since) + GRACE, request.deadline)
            case Fate.NEVER if target.is_newer_than(probed.instance, probed.uptime / 1000, now):
                return self._again(request, name, probed.instance, now)
            case Fate.NEVER if self._may_be_older(target, probed, now):
                return []
            case Fate.NEVER | Fate.FORGOTTEN:
                text = "outcome unknown: the callee has restarted or has forgotten the request"
                return self._end(request, name, Outcome(CellReturnCode.COMM_ERROR, text))
        return []

    def _may_be_older(self, target: _Target, probed: Probed, now: float) -> bool:
        """A callee that had just started when the first copy went out: its answer took too long to be sure."""
        if now >= target.first_sent + self._config.dead_after:
            return False
        return probed.id != target.probed or probed.uptime / 1000 > target.probed_at - target.first_sent

    def _again(self, request: _Open, name: str, instance: int, now: float) -> list[Command]:
        """The callee lives since before the request and never saw it."""
        target = request.targets[name]
        if not target.broke and now < target.silent_until:
            return []
        target.broke = False
        target.silent_until = now + self._patience(request.length) * 2 ** min(target.attempts, 6)
        return [self._copy(request, (name,), Flag.DUP | Flag.PATIENT, instance, now)]

    def _returned(self, id: int, name: str, back: Return, now: float) -> list[Command]:
        request = self._open.get(id)
        if request is None or name not in request.targets:
            return []
        target = request.targets[name]
        if back.kind == Request.KIND:
            target.out.discard(back.attempt)
        is_last = (back.attempt == target.attempts) if back.kind == Request.KIND else (back.id == target.probed)
        target.break_off()
        if not is_last or back.reason in (ReturnReason.SUSPECTED, ReturnReason.BUSY):
            return []  # `look_at` comes within a beat
        if target.out:
            return self._lost(request, name, f"{back.origin} cannot reach it: {back.text}")
        mine = back.origin == self._me()[0]
        code = CellReturnCode.TARGET_UNREACHABLE if mine else CellReturnCode.COMM_ERROR
        text = back.text if mine else f"{back.origin} cannot forward: {back.text}"
        return self._end(request, name, Outcome(code, text))

    def _lost(self, request: _Open, name: str, reason: str) -> list[Command]:
        if not request.targets[name].out:
            return self._end(request, name, Outcome(CellReturnCode.TARGET_UNREACHABLE, reason))
        return self._end(request, name, Outcome(CellReturnCode.COMM_ERROR, f"outcome unknown: {reason}"))

    def _cancelled(self, id: int, name: str) -> Command:
        return Post(Cancel(*self._me(), id), (name,))

    def _end(self, request: _Open, name: str, outcome: Outcome) -> list[Command]:
        self._drop(request, name)
        return [Finish(request.id, name, outcome)]

    def _drop(self, request: _Open, name: str) -> None:
        del request.targets[name]
        waiting = self._waiting[name]
        del waiting[request.id]
        if not waiting:
            del self._waiting[name]
        if not request.targets:
            del self._open[request.id]
            self.retained -= request.size

    def _next_look(self, now: float, expires: float) -> float:
        """A beat from now; sooner where the time-out is near, which may not have begun to run at the callee."""
        return min(now + self._config.heartbeat, max(now + GRACE / 2, expires - GRACE))

    def _patience(self, size: int) -> float:
        return 2 * self._config.heartbeat + size / SLOWEST

    def _wake(self, at: float) -> None:
        self._next = at if self._next is None else min(self._next, at)


def _timeout(request: _Open, target: _Target, now: float) -> Outcome:
    if request.deadline is not None and now >= request.deadline:
        return Outcome(CellReturnCode.TIMEOUT, "the deadline has passed")
    return Outcome(CellReturnCode.TIMEOUT, f"no reply within {request.timeout:g} s")


def _earlier(a: float, b: float | None) -> float:
    return a if b is None else min(a, b)


def _ms(seconds: float) -> int:
    return max(1, round(min(NO_DEADLINE - 1, seconds * 1000)))
