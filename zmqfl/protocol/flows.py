"""All flows that a cell sends: which messages need one, whose turn it is, and what became of them.

A message travels as a flow when it is longer than a segment, or so long that its target, as far as is known, would need
more than half a second for it. Flows take turns, a segment each, wherever the lane has room (`next_segment`): no flow
waits for another's target, and what is not sent yet takes no memory of the queues. Source: design, decision 7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from zmqfl.config import KIB, CellConfig
from zmqfl.protocol.commands import Command, FlowEnded, FlowFate, FlowMoved, GiveBack, Post
from zmqfl.protocol.flow_sender import FlowSender
from zmqfl.protocol.pace import SILENCE, Pace
from zmqfl.wire.messages import Fire, Reply, Request, Return, ReturnReason, RoutedMessage, Segmented

SHORT = 256 * KIB
"""Bytes that are never cut: the slowest link that counts needs eight seconds for them."""
MOST_PACES = 4096
"""Targets whose pace is remembered."""

MessageKey = tuple[int, int, int, str]
"""(kind, id, instance that it answers or 0, target)."""


class Flows:
    """See the module. `me` gives (origin, fence, instance) as they are now."""

    def __init__(self, config: CellConfig, me: Callable[[], tuple[str, int, int]]) -> None:
        self.counters: Counter[str] = Counter()
        self._config = config
        self._me = me
        self._flows: dict[int, FlowSender] = {}
        """In the order of their turns."""
        self._of_message: dict[MessageKey, int] = {}
        self._paces: dict[str, Pace] = {}
        self._to: Counter[str] = Counter()
        """Flows per target."""
        self._last_id = 0
        self._next: float | None = None

    def carries(self, post: Post, now: float) -> bool:
        """Whether this message has to travel as a flow."""
        size = sum(map(len, post.bodies))
        if size <= min(SHORT, self._config.segment) or not isinstance(post.message, Request | Reply | Fire):
            return False
        if size > self._config.segment:
            return True
        return not all(self._pace(name).is_quick(size, now) for name in post.targets)

    def open(self, post: Post, now: float) -> None:
        """Begin to send; a target to which this very message is under way is left out."""
        targets = tuple(name for name in post.targets if _key(post.message, name) not in self._of_message)
        if not targets:
            return
        self._last_id += 1
        limit = SILENCE * self._config.bulk_heartbeat_timeout
        flow = FlowSender(
            self._last_id, replace(post, targets=targets), self._pace, self._config.heartbeat, limit, now
        )  # fmt: skip
        self._flows[flow.id] = flow
        self._to.update(targets)
        for name in targets:
            self._of_message[_key(post.message, name)] = flow.id

    def next_segment(self, is_free: Callable[[str], bool], now: float) -> Post | None:
        """The segment that goes out next; None when nothing can. Call it again until it is None."""
        of_budget = max(self._config.send_budget // max(1, len(self._of_message)), self._config.segment)

        def share(name: str) -> int:
            return min(of_budget, self._pace(name).window // self._to[name])

        for id, flow in list(self._flows.items()):
            if (post := flow.next_segment(self._me(), is_free, share, now)) is not None:
                del self._flows[id]  # its next turn is after all others
                self._flows[id] = flow
                self._wake(flow.deadline)
                return post
        return None

    def receive_segmented(self, ack: Segmented, now: float) -> list[Command]:
        """A target tells how far it is."""
        flow = self._flows.get(ack.id)
        if flow is None or ack.origin not in flow.ways:
            return []
        moved, fate = flow.receive_segmented(ack, now)
        commands: list[Command] = [FlowMoved(flow.message, ack.origin)] if moved else []
        return commands + self._settle(flow, ack.origin, fate, ack.text)

    def receive_return(self, back: Return, now: float) -> list[Command]:
        """A cell on the way could not pass a SEGMENT on; if so for good, a request that it carries comes back, too."""
        flow = self._flows.get(back.id)
        if flow is None:
            return []
        commands: list[Command] = []
        text = f"{back.origin} cannot reach it: {back.text}"
        for name in [name for name in back.targets if name in flow.ways]:
            if back.reason in (ReturnReason.SUSPECTED, ReturnReason.BUSY):
                self.counters["flows_held"] += 1
                offset = back.attempt if back.reason == ReturnReason.BUSY else None
                commands += self._settle(flow, name, flow.hold(name, offset, now), text)
                self._wake(flow.deadline)
                continue
            may_be_whole = flow.may_be_whole(name, back.attempt)
            commands += self._settle(flow, name, FlowFate.LOST, text)
            if isinstance(flow.message, Request) and not may_be_whole:
                commands.append(GiveBack(_of_request(back, flow.message, name)))
        return commands

    def link_up(self, reaches: Callable[[str], bool], now: float) -> list[Command]:
        """The link to the targets that `reaches` names is up: what was under way there may be lost."""
        commands: list[Command] = []
        for flow, name in self._those(reaches):
            commands += self._settle(flow, name, flow.resume(name, now), "the link broke")
        return commands

    def peer_gone(self, reaches: Callable[[str], bool], reason: str) -> list[Command]:
        """The targets that `reaches` names are gone, or the only way to them."""
        commands: list[Command] = []
        for flow, name in self._those(reaches):
            commands += self._settle(flow, name, FlowFate.LOST, reason)
        return commands

    def stop(self, kind: int, id: int, names: Iterable[str]) -> list[Command]:
        """Nobody waits for this message of the cell's own any more."""
        commands: list[Command] = []
        for name in names:
            flow = self._flows.get(self._of_message.get((kind, id, 0, name), 0))
            if flow is not None:
                commands += self._settle(flow, name, FlowFate.LOST, "nobody waits for it")
        return commands

    def is_open(self, kind: int, id: int, name: str, answers: int = 0) -> bool:
        """Whether this cell's request `id`, or its reply to that of instance `answers`, is on its way to a target."""
        return (kind, id, answers, name) in self._of_message

    def handle_timeout(self, now: float) -> list[Command]:
        """Step back where nothing was heard, give up where nothing was for long."""
        commands: list[Command] = []
        for flow in list(self._flows.values()):
            for name in flow.handle_timeout(now):
                commands += self._settle(flow, name, FlowFate.LOST, f"{name} takes nothing")
        deadlines = (flow.deadline for flow in self._flows.values())
        self._next = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        return self._next

    @property
    def sending(self) -> int:
        """Flows that have not ended at every target."""
        return len(self._flows)

    def _pace(self, name: str) -> Pace:
        pace = self._paces.get(name)
        if pace is None:
            if len(self._paces) >= MOST_PACES:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[name] = Pace(self._config.segment, self._config.flow_window)
        return pace

    def _settle(self, flow: FlowSender, name: str, fate: FlowFate | None, text: str) -> list[Command]:
        """What follows when a flow has ended at one target; nothing when it has not."""
        if fate is None:
            return []
        self.counters[f"flows_{fate}"] += 1
        del flow.ways[name]
        if not flow.ways:
            del self._flows[flow.id]
        del self._of_message[_key(flow.message, name)]
        self._to[name] -= 1
        if not self._to[name]:
            del self._to[name]
        return [FlowEnded(flow.message, name, fate, text)]

    def _those(self, reaches: Callable[[str], bool]) -> Iterator[tuple[FlowSender, str]]:
        for flow in list(self._flows.values()):
            for name in [name for name in flow.ways if reaches(name)]:
                yield flow, name

    def _wake(self, at: float | None) -> None:
        if at is not None:
            self._next = at if self._next is None else min(self._next, at)


def _of_request(back: Return, request: Request, name: str) -> Return:
    """The RETURN of the request itself."""
    return replace(
        back, kind=Request.KIND, id=request.id, to_instance=request.instance, attempt=request.attempt, targets=[name]
    )  # fmt: skip


def _key(message: RoutedMessage, name: str) -> MessageKey:
    answers = message.to_instance if isinstance(message, Reply) else 0
    return message.KIND, message.id, answers, name
