"""All pushes and pulls of a cell: which machine a request, an answer or a result of work is for.

    verb of a user          machine        its requests, on channels that begin with "zmqfl."
    push                    PushSender     push: open, round, last, end
    (comes in)              PushReceiver   push: alive, state
    offer                   PullSource     -
    pull                    PullReceiver   pull: open, get, have, done
    (passes by)             RelayCache     pull: get, have, grant

The machines know nothing of each other; an entry goes when its machine is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol import pull_source, push_sender
from zmqfl.protocol.commands import Answer, Call, Command, Outcome, StreamKey
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.protocol.pull_source import PullSource
from zmqfl.protocol.push_receiver import PushReceiver, StreamState, Verdict
from zmqfl.protocol.push_sender import PushSender
from zmqfl.protocol.relay_cache import RelayCache
from zmqfl.protocol.relay_file import RelayFile
from zmqfl.protocol.ways import Ways

INTERNAL = "zmqfl."
"""How the channels of the machines begin; no user can register for them."""
SEAL = "zmqfl.seal"
"""The one of them that the cell itself serves: `zmqfl.cell.sealing`."""
MOST_STREAMS = 1024
"""Pushes that may come in at once."""
MOST_ENDED = 4096
"""Streams remembered after their end, for those of their targets that ask."""


class Machine(Protocol):
    """What asks: see the four doors in docs/architecture.md."""

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A request of it has ended at one target."""

    def handle_timeout(self, now: float) -> list[Command]:
        """Its deadline has passed."""

    @property
    def deadline(self) -> float | None:
        """When that is."""


class Transfers:
    """See the module."""

    def __init__(self, fqcn: str, instance: int, config: CellConfig, ways: Ways | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self._ways = ways or Ways()
        self.source = PullSource(self._ways)
        self.relay = RelayCache(config, self.counters, self._ways)
        self.pushes: dict[int, PushSender] = {}
        self.pulls: dict[int, PullReceiver] = {}
        self.streams: dict[StreamKey, PushReceiver] = {}
        self._fqcn = fqcn
        self._instance = instance
        self._config = config
        self._ended: dict[StreamKey, Verdict] = {}

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def push(self, sender: PushSender, now: float) -> list[Command]:
        """Begin a push."""
        self.pushes[sender.id] = sender
        self.counters["pushes"] += 1
        return sender.start(now)

    def pull(self, receiver: PullReceiver, now: float) -> list[Command]:
        """Begin a pull."""
        self.pulls[receiver.id] = receiver
        self.counters["pulls"] += 1
        receiver.use_cache(self._ways.cache_for)
        return receiver.start(now)

    def close(self, reason: str, now: float) -> list[Command]:
        """The cell stops: whatever goes on ends now, here and, if it can still be told, at the other end."""
        commands: list[Command] = []
        for push in list(self.pushes.values()):
            commands += push.cancel(CellReturnCode.ABORT_RUN, reason, now)
        for pull in list(self.pulls.values()):
            commands += pull.cancel(CellReturnCode.ABORT_RUN, reason, now)
        for stream in list(self.streams.values()):
            commands += stream.stop(CellReturnCode.ABORT_RUN, reason, now)
        return commands + self.relay.close()

    # -- what comes in -------------------------------------------------------------------------------------------------

    def receive(self, call: Call, now: float) -> list[Command]:
        """A request on one of the internal channels."""
        if call.channel == pull_source.CHANNEL:
            is_for_others = call.headers.get("o", self._fqcn) != self._fqcn
            return (self.relay if is_for_others else self.source).receive(call, now)
        match call.topic:
            case push_sender.OPEN:
                return self._open_stream(call, now)
            case push_sender.ROUND | push_sender.LAST | push_sender.END:
                return self._to_stream(call, now)
            case push_sender.ALIVE:
                return [Answer(call, self._alive(call))]
            case push_sender.STATE:
                return [Answer(call, self._state(call))]
        return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"no topic {call.channel}:{call.topic}"))]

    def _open_stream(self, call: Call, now: float) -> list[Command]:
        key = _key_of(call)
        if key in self._ended:  # its END has overtaken it
            return [Answer(call, Outcome(CellReturnCode.ABORT_RUN, "this stream has ended"))]
        if key in self.streams or len(self.streams) >= MOST_STREAMS:
            return [Answer(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, f"{self._fqcn} has no room for a stream"))]
        stream = self.streams[key] = PushReceiver(key, call, self._fqcn, self._config.dead_after, now)
        self.counters["streams"] += 1
        return stream.start()

    def _to_stream(self, call: Call, now: float) -> list[Command]:
        key = _key_of(call)
        stream = self.streams.get(key)
        if stream is not None:
            take = {push_sender.ROUND: stream.round, push_sender.LAST: stream.last}.get(call.topic, stream.end)
            return take(call, now)
        if call.topic != push_sender.END:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, "no such stream: it has ended"))]
        said = self._ended.get(key)
        wants_commit = call.headers.get("rc") == CellReturnCode.OK
        if not wants_commit or said is Verdict.COMMITTED:
            self._remember(key, said or Verdict.ABORTED)
            return [Answer(call, Outcome(CellReturnCode.OK))]
        return [Answer(call, Outcome(CellReturnCode.INVALID_SESSION, f"{self._fqcn} knows of no such stream"))]

    def _alive(self, call: Call) -> Outcome:
        sender = self.pushes.get(_number(call.headers.get("t")))
        mine = call.headers.get("n") == self._instance
        if sender is not None and mine and sender.is_needed_by(call.origin):
            return Outcome(CellReturnCode.OK)
        return Outcome(CellReturnCode.INVALID_SESSION, f"{self._fqcn} does not push this any more")

    def _state(self, call: Call) -> Outcome:
        headers = call.headers
        key = (str(headers.get("from", "")), _number(headers.get("n")), _number(headers.get("t")))
        stream = self.streams.get(key)
        verdict = stream.verdict() if stream is not None else self._ended.get(key, Verdict.UNKNOWN)
        return Outcome(CellReturnCode.OK, headers={"s": str(verdict)})

    # -- what workers and requests report ------------------------------------------------------------------------------

    def to_push(self, id: int, act: Callable[[PushSender], list[Command]]) -> list[Command]:
        """Tell a push, if it is still known."""
        sender = self.pushes.get(id)
        return [] if sender is None else self._told(sender, act(sender))

    def to_pull(self, id: int, act: Callable[[PullReceiver], list[Command]]) -> list[Command]:
        """Tell a pull, if it is still known."""
        receiver = self.pulls.get(id)
        return [] if receiver is None else self._told(receiver, act(receiver))

    def to_stream(self, key: StreamKey, act: Callable[[PushReceiver], list[Command]]) -> list[Command]:
        """Tell a stream, if it is still known."""
        stream = self.streams.get(key)
        return [] if stream is None else self._told(stream, act(stream))

    def answered(
        self, machine: Machine | RelayFile, tag: Any, target: str, outcome: Outcome, now: float
    ) -> list[Command]:
        """A request of a machine has ended at one target."""
        if isinstance(machine, RelayFile):
            return self.relay.answered(machine, tag, outcome, now)
        return self._told(machine, machine.answered(tag, target, outcome, now))

    def _told(self, machine: Machine, commands: list[Command]) -> list[Command]:
        """Forget a machine that is over."""
        match machine:
            case PushSender() if machine.is_over:
                self.pushes.pop(machine.id, None)
            case PullReceiver() if machine.is_over:
                self.pulls.pop(machine.id, None)
            case PushReceiver() if machine.state is StreamState.ENDED:
                if self.streams.pop(machine.key, None) is not None and not machine.refused:
                    self._remember(machine.key, machine.verdict())
        return commands

    # -- chunks that go out --------------------------------------------------------------------------------------------

    def next_reads(self, is_free: Callable[[str], bool], now: float) -> list[Command]:
        """Chunks for whoever has room, of what is offered and of what passes by; call it until there is nothing."""
        return self.source.next_reads(is_free, now) + self.relay.next_reads(is_free, now)

    @property
    def waiting(self) -> bool:
        """Whether a chunk is to go out as soon as there is room."""
        return self.source.waiting or self.relay.waiting

    def moved(self, receiver: str, instance: int, now: float) -> None:
        """More of a chunk that travels as a flow has arrived at a receiver."""
        self.source.moved(receiver, instance, now)
        self.relay.moved(receiver, instance, now)

    # -- the rest ------------------------------------------------------------------------------------------------------

    def owner_lost(self, reaches: Callable[[str], bool], reason: str, now: float) -> list[Command]:
        """The cells that `reaches` names are gone: what they push here ends."""
        commands: list[Command] = []
        for key, stream in list(self.streams.items()):
            if reaches(key[0]):
                commands += stream.owner_lost(reason, now)
        return commands

    def handle_timeout(self, now: float) -> list[Command]:
        """Whatever is due."""
        commands: list[Command] = []
        for machine in list(self._machines()):
            if (deadline := machine.deadline) is not None and deadline <= now:
                commands += self._told(machine, machine.handle_timeout(now))
        if (deadline := self.source.deadline) is not None and deadline <= now:
            commands += self.source.handle_timeout(now)
        if (deadline := self.relay.deadline) is not None and deadline <= now:
            commands += self.relay.handle_timeout(now)
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = [machine.deadline for machine in self._machines()]
        times += [self.source.deadline, self.relay.deadline]
        return min((at for at in times if at is not None), default=None)

    def _machines(self) -> Iterator[Machine]:
        yield from self.pushes.values()
        yield from self.pulls.values()
        yield from self.streams.values()

    def _remember(self, key: StreamKey, verdict: Verdict) -> None:
        self._ended[key] = verdict
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]


def _key_of(call: Call) -> StreamKey:
    return call.origin, call.instance, _number(call.headers.get("t"))


def _number(value: object) -> int:
    return value if type(value) is int else -1
