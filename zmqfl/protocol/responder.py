"""The callee's half of a request: it runs at most once, and its reply is kept until the caller has it.

One entry per (origin, instance, id); an instance is one start of the caller.

    entry    event                              next      effect
    none     REQUEST                            waiting   invoke the handler
    none     REQUEST, DUP, to this instance     waiting   invoke: we told the caller that we never saw it
    none     REQUEST, DUP, otherwise            none      comm_error: outcome unknown; never executed
    none     REQUEST, too many entries or bytes refused   service_unavailable, unexecuted
    none     REQUEST that the caller has ended  none      dropped
    waiting  REQUEST again                      waiting   nothing: it runs
    waiting  handler has ended                  done      REPLY
    waiting  time-out, from the handler's start done      REPLY timeout; what the handler still returns is dropped
    waiting  CANCEL                             done      nothing is sent; the handler is told
    done     REQUEST again, PROBE               done      REPLY again, unless the last one may still be on its way
    done     `done_below` has passed it         none
    done     time-out + dead_after are over     none      `forgotten_below` remembers that it existed
    waiting  REPEATABLE, handler has ended      none      REPLY; asked again it runs again
    done     its flow has delivered the REPLY   done      the payload is dropped: the caller has it
    done     its flow: the caller takes no such done      REPLY msg_too_big instead
    any      REQUEST of a newer start of it     none      nobody waits; the handler is told

A reply that is longer than `SHORT` goes again only after a patience that grows with its size and doubles, or at once
when a link broke (PROBE with DUP): on a slow link each beat would otherwise add one more copy to the queue, and only
copies would arrive. When a caller's 1,024 entries or 8 MiB are full, new requests are refused; none is evicted.
Source: design, decision 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf

from zmqfl.config import KIB, CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.bond import TO_BROKER, TO_CLIENT
from zmqfl.protocol.commands import Call, Command, FlowFate, Invoke, Outcome, Post, Revoke
from zmqfl.protocol.plane.updates import CHANNEL as PLANE
from zmqfl.protocol.pull_source import CHANNEL as PULLS
from zmqfl.wire.messages import MAX_PROBED, NO_DEADLINE, Buffer, Cancel, Fate, Fire, Flag, Probe, Probed, Reply, Request

APART = {PLANE: "plane_", TO_BROKER: "channel_", TO_CLIENT: "channel_"}
"""How the counters of what no application asks begin."""
MOST_CALLERS = 4096
"""Starts of callers remembered; beyond it the one unheard for longest is dropped, if nothing of it runs."""
MOST_REFUSED = 4096
"""Refusals remembered per caller; a request beyond them is dropped, and sent again after a PROBE."""
SHORT = 4 * KIB
"""Bytes of a reply that is said again whenever it is asked for."""
SLOWEST = 32 * KIB
"""Bytes per second at which a reply may still be on its way."""
MAX_ERROR = 4096
"""Characters of an error text that travel."""


@dataclass(slots=True)
class _Entry:
    """One request."""

    call: Call
    due: float
    """When the handler's time is over, if it has begun by now; `dead_after` later nobody asks any more."""
    outcome: Outcome | None = None
    counted: bool = True
    """Against the caller's 1,024; refusals are not."""
    silent: bool = False
    """Cancelled: no reply."""
    repeatable: bool = False
    replies: int = 0
    under_way: float = -inf
    """Until when the last reply may be on its way."""


@dataclass(slots=True)
class _Caller:
    """What is remembered of one start of one caller."""

    entries: dict[int, _Entry] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0
    done_below: int = 0
    still_open: frozenset[int] = frozenset()
    forgotten_below: int = 0

    def is_ended(self, id: int) -> bool:
        """Whether the caller has said that it does not wait for `id`."""
        return id < self.done_below and id not in self.still_open


class Responder:
    """See the module. `me` gives (origin, fence, instance) as they are now; `held_since` since when no other start
    of this cell could have run a request, None while that is not known. `is_flowing(id, instance, origin)`: whether the
    reply to that is on its way as a flow."""

    def __init__(
        self,
        config: CellConfig,
        me: Callable[[], tuple[str, int, int]],
        held_since: Callable[[], float | None],
        is_flowing: Callable[[int, int, str], bool] = lambda id, instance, origin: False,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config
        self._me = me
        self._held_since = held_since
        self._is_flowing = is_flowing
        self._callers: dict[tuple[str, int], _Caller] = {}
        self._calls: dict[Call, _Entry] = {}
        self._dropped_callers = False
        self.closed = False
        """The cell stops: what comes now is refused unexecuted."""
        self._next: float | None = None

    def receive_request(
        self, request: Request, flags: int, remaining: int, bodies: tuple[Buffer, ...], now: float
    ) -> list[Command]:
        """A REQUEST for this cell."""
        former = [] if (request.origin, request.instance) in self._callers else self._forget_starts(request.origin)
        return former + self._receive_request(request, flags, remaining, bodies, now)

    def _receive_request(
        self, request: Request, flags: int, remaining: int, bodies: tuple[Buffer, ...], now: float
    ) -> list[Command]:
        caller = self._caller(request.origin, request.instance, request.id)
        self._advance(caller, request.done_below, request.still_open)
        if caller.is_ended(request.id):
            self.counters["ended_requests"] += 1
            return []
        if (entry := caller.entries.get(request.id)) is not None:
            self.counters["duplicates"] += 1
            return self._reply_again(entry, now)
        call = Call(
            request.origin, request.instance, request.id, request.channel, request.topic, request.codec,
            request.headers, bodies, request.timeout / 1000, True, request.traceparent,
        )  # fmt: skip
        if refusal := self._refusal(caller, request, flags, remaining):
            return self._refuse(caller, call, refusal, now)
        caller.entries[call.id] = self._calls[call] = _Entry(
            call, now + call.timeout, repeatable=bool(flags & Flag.REPEATABLE)
        )  # fmt: skip
        caller.count += 1
        self._wake(now + call.timeout)
        self.counters[APART.get(call.channel, "") + "requests"] += 1
        return [Invoke(call)]

    def receive_fire(self, fire: Fire, bodies: tuple[Buffer, ...], now: float) -> list[Command]:
        """A FIRE for this cell: nothing is remembered, nothing is answered."""
        if self.closed:
            return []
        self.counters[APART.get(fire.channel, "") + "fires"] += 1
        call = Call(
            fire.origin, fire.instance, fire.id, fire.channel, fire.topic, fire.codec,
            fire.headers, bodies, self._config.request_timeout, False, fire.traceparent,
        )  # fmt: skip
        return [Invoke(call)]

    def receive_cancel(self, cancel: Cancel, now: float) -> list[Command]:
        """The caller waits no longer."""
        caller = self._callers.get((cancel.origin, cancel.instance))
        entry = caller.entries.get(cancel.id) if caller else None
        if entry is None or entry.outcome is not None:
            return []
        entry.silent = entry.call.revoked = True
        self._settle(entry, Outcome(CellReturnCode.TIMEOUT, "cancelled by the caller"), now)
        return [Revoke(entry.call)]

    def receive_probe(self, probe: Probe, now: float, flags: int = 0) -> list[Command]:
        """The caller asks what became of its requests; DUP: since a link broke, so that replies may be lost."""
        caller = self._callers.get((probe.origin, probe.instance))
        commands: list[Command] = []
        fates: list[list[int]] = []
        for id in dict.fromkeys(probe.ids[:MAX_PROBED]):
            entry = caller.entries.get(id) if caller else None
            fate, since = self._fate(caller, id, entry, now)
            if entry is None and self._is_flowing(id, probe.instance, probe.origin):
                fate = Fate.DONE  # it may run again, so nothing is remembered; but its reply is on its way
            fates.append([id, fate, round(since * 1000)])
            if entry is not None:
                entry.under_way = -inf if flags & Flag.DUP else entry.under_way
                commands += self._reply_again(entry, now)
        origin, fence, instance = self._me()
        held_since = self._held_since()
        uptime = 0 if held_since is None else max(0, int((now - held_since) * 1000))
        probed = Probed(origin, fence, instance, probe.id, probe.instance, uptime, fates)
        return [*commands, Post(probed, (probe.origin,))]

    def reply(self, call: Call, outcome: Outcome, now: float) -> list[Command]:
        """The handler of `call` has ended. Dropped when the call has ended before."""
        entry = self._calls.get(call)
        if entry is None:
            if call.expects_reply:
                self.counters["late_results"] += 1
            return []
        self._settle(entry, outcome, now)
        commands = self._reply_again(entry, now)
        if entry.repeatable:
            self._remove(self._callers[call.origin, call.instance], call.id)
        return commands

    def flow_ended(self, reply: Reply, target: str, fate: FlowFate, text: str) -> list[Command]:
        """A reply that travelled as a flow has arrived, or never will; otherwise the caller asks for it again."""
        caller = self._callers.get((target, reply.to_instance))
        entry = caller.entries.get(reply.id) if caller else None
        if caller is None or entry is None or (former := entry.outcome) is None:
            return []
        if fate is FlowFate.DELIVERED:
            entry.outcome = Outcome(former.code, former.error)
        elif fate is FlowFate.TOO_BIG:
            entry.outcome = Outcome(CellReturnCode.MSG_TOO_BIG, text)
        if entry.counted:
            caller.bytes += _size(entry.outcome) - _size(former)
        entry.under_way = -inf
        return self._reply(entry) if fate is FlowFate.TOO_BIG else []

    def link_up(self, reaches: Callable[[str], bool]) -> None:
        """The link to the callers that `reaches` names is up: replies that were on their way may be lost."""
        for (origin, _), caller in self._callers.items():
            if reaches(origin):
                for entry in caller.entries.values():
                    entry.under_way = -inf

    def is_waiting(self, call: Call) -> bool:
        """Whether a reply for `call` still has a taker."""
        return call in self._calls

    def handle_timeout(self, now: float) -> list[Command]:
        """End handlers whose time is over; forget what no caller can ask for any more."""
        commands: list[Command] = []
        for entry in list(self._calls.values()):
            started = entry.call.started
            if entry.due <= now:
                entry.due = _due(entry.call, now)
            if started is not None and entry.due <= now:
                entry.call.revoked = True
                text = f"the handler took longer than {entry.call.timeout:g} s"
                self._settle(entry, Outcome(CellReturnCode.TIMEOUT, text), now)
                commands += [Revoke(entry.call), *self._reply_again(entry, now)]
        for caller in self._callers.values():
            for id in [id for id, entry in caller.entries.items() if self._is_over(entry, now)]:
                caller.forgotten_below = max(caller.forgotten_below, id + 1)
                self._remove(caller, id)
        dues = [entry.due for entry in self._calls.values()]
        if any(caller.entries for caller in self._callers.values()):
            dues.append(now + self._config.dead_after / 2)
        self._next = min(dues, default=None)
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        return self._next

    @property
    def running(self) -> int:
        """Requests that wait for their handler to end; those between a broker and its clients have none."""
        return sum(APART.get(call.channel) != "channel_" for call in self._calls)

    def _caller(self, origin: str, instance: int, id: int) -> _Caller:
        key = (origin, instance)
        caller = self._callers.pop(key, None)
        if caller is None:
            caller = _Caller(forgotten_below=id if self._dropped_callers else 0)
            self._make_room()
        self._callers[key] = caller  # at the end: the order is that of last use
        return caller

    def _forget_starts(self, origin: str) -> list[Command]:
        """A start of `origin` that was not heard before: its fence token says that those heard before are replaced."""
        commands: list[Command] = []
        for key in [key for key in self._callers if key[0] == origin]:
            for entry in self._callers.pop(key).entries.values():
                if self._calls.pop(entry.call, None) is not None:
                    entry.call.revoked = True
                    commands.append(Revoke(entry.call))
        return commands

    def _make_room(self) -> None:
        if len(self._callers) < MOST_CALLERS:
            return
        idle = (key for key, caller in self._callers.items() if all(e.outcome for e in caller.entries.values()))
        if (key := next(idle, None)) is not None:
            del self._callers[key]
            self._dropped_callers = True

    def _advance(self, caller: _Caller, done_below: int, still_open: list[int]) -> None:
        if done_below <= caller.done_below:
            return
        caller.done_below, caller.still_open = done_below, frozenset(still_open)
        # Oldest first, and no further than needed: this runs for each request. A running one is kept.
        for id in [id for id in takewhile(lambda id: id < done_below, caller.entries) if caller.is_ended(id)]:
            if caller.entries[id].outcome is not None:
                self._remove(caller, id)

    def _refusal(self, caller: _Caller, request: Request, flags: int, remaining: int) -> Outcome | None:
        if flags & Flag.REPEATABLE:
            pass
        elif flags & Flag.DUP and (request.to_instance != self._me()[2] or request.id < caller.forgotten_below):
            return Outcome(CellReturnCode.COMM_ERROR, "outcome unknown: a copy may have run before this start")
        if self.closed and request.channel != PULLS:  # a reply may have left its payload here, to be pulled yet
            return Outcome(CellReturnCode.SERVICE_UNAVAILABLE, f"{self._me()[0]} is stopping")
        if remaining == 0:
            return Outcome(CellReturnCode.TIMEOUT, "the deadline had passed when the request arrived")
        if caller.count >= self._config.reply_entries or caller.bytes >= self._config.reply_bytes:
            text = (
                f"{caller.count} requests or {caller.bytes} bytes of replies of this caller wait for its confirmation"
            )
            return Outcome(CellReturnCode.SERVICE_UNAVAILABLE, text)
        return None

    def _refuse(self, caller: _Caller, call: Call, refusal: Outcome, now: float) -> list[Command]:
        """Answer without running; remembered, so that a late copy does not run after all."""
        self.counters["refused"] += 1
        if len(caller.entries) - caller.count >= MOST_REFUSED:
            return []
        entry = _Entry(call, now + call.timeout, refusal, counted=False)
        caller.entries[call.id] = entry
        self._wake(now + self._config.dead_after / 2)
        return self._reply_again(entry, now)

    def _fate(self, caller: _Caller | None, id: int, entry: _Entry | None, now: float) -> tuple[Fate, float]:
        if entry is None:
            forgotten = self._dropped_callers if caller is None else id < caller.forgotten_below or caller.is_ended(id)
            return (Fate.FORGOTTEN if forgotten else Fate.NEVER), 0.0
        if entry.outcome is not None:
            return Fate.DONE, 0.0
        if entry.call.started is None:
            return Fate.QUEUED, 0.0
        return Fate.RUNNING, max(0.0, now - entry.call.started)

    def _settle(self, entry: _Entry, outcome: Outcome, now: float) -> None:
        """From waiting to done. The payload of the request is not needed any more."""
        entry.outcome = outcome
        entry.due = _due(entry.call, now)
        caller = self._callers[entry.call.origin, entry.call.instance]
        caller.bytes += _size(outcome)
        del self._calls[entry.call]
        entry.call.bodies = ()

    def _reply_again(self, entry: _Entry, now: float) -> list[Command]:
        if entry.outcome is None or now < entry.under_way:
            return []
        if (size := _size(entry.outcome)) > SHORT:
            patience = 2 * self._config.heartbeat + size / SLOWEST
            entry.under_way = now + patience * 2 ** min(entry.replies, 6)
            entry.replies += 1
        return self._reply(entry)

    def _reply(self, entry: _Entry) -> list[Command]:
        if (outcome := entry.outcome) is None or entry.silent:
            return []
        call = entry.call
        origin, fence, instance = self._me()
        reply = Reply(
            origin, fence, instance, call.id, call.instance, outcome.code, outcome.error[:MAX_ERROR],
            outcome.codec, [len(body) for body in outcome.bodies], outcome.headers,
        )  # fmt: skip
        return [Post(reply, (call.origin,), outcome.bodies, remaining=NO_DEADLINE)]

    def _is_over(self, entry: _Entry, now: float) -> bool:
        return entry.outcome is not None and now >= entry.due + self._config.dead_after

    def _remove(self, caller: _Caller, id: int) -> None:
        entry = caller.entries.pop(id)
        if entry.counted:
            caller.count -= 1
            caller.bytes -= _size(entry.outcome)

    def _wake(self, at: float) -> None:
        self._next = at if self._next is None else min(self._next, at)


def _due(call: Call, now: float) -> float:
    return (now if call.started is None else call.started) + call.timeout


def _size(outcome: Outcome | None) -> int:
    return 0 if outcome is None else sum(len(body) for body in outcome.bodies) + len(outcome.error)
