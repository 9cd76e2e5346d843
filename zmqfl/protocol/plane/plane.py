"""The plane of one cell: its own facts, what it hears, and what it tells its children.

    at a cell with a parent           at the root
    Publisher  --publish-->           RootHub: merge, number
                                      Hub --update--> its children
    Subscriber <--update--            (is its own subscriber: what it numbers it knows)
    Hub        --update--> children

The way up is requests to the root, repeated until they are answered; the way down is messages that may be lost, link by
link, with numbers by which a loss is seen. A message of the plane crosses each link once. Updates go by publication
(`publication`) to who listens to those, and by its link to who does not or cannot; all else goes by the links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.fqcn import FQCN, tree_parent
from zmqfl.protocol.commands import Answer, Ask, Call, Command, FactsChanged, Listen, Outcome
from zmqfl.protocol.plane.facts import Word
from zmqfl.protocol.plane.hub import Hub, RootHub, Rule, everything
from zmqfl.protocol.plane.publisher import TIMEOUT, Publisher
from zmqfl.protocol.plane.replica import Replica
from zmqfl.protocol.plane.subscriber import Subscriber
from zmqfl.protocol.plane.updates import CHANNEL, PlaneTopic, Update, decode_heads, decode_update
from zmqfl.wire.messages import Buffer

PAUSE = 2.0
"""Seconds after which the root is told again that a cell has gone."""


class Plane:
    """See the module. `epoch`: a number of this start, for the root; `beat`: seconds."""

    def __init__(self, fqcn: str, epoch: int, has_parent: bool, beat: float, rule: Rule = everything) -> None:
        self.fqcn = fqcn
        self.publisher = Publisher(fqcn)
        self.hub = Hub(fqcn, beat, rule)
        self.subscriber = Subscriber() if has_parent else None
        self.dropped = 0
        """Messages that could not be read, or came from others than the parent."""
        self.parent = ""
        """The parent by whose link the plane goes; "": none, or this is the root."""
        self._root = RootHub(epoch) if not has_parent else None
        self._root_name = fqcn
        self._bond: tuple[str, str, int, str, int] | None = None
        """What `bound` was told last; None since `unbound`."""
        self._listen: Listen | None = None
        """Where the parent publishes, until it has answered by this link: before it has bound us it would refuse us."""
        self._departed: dict[str, float] = {}
        """Children that are gone -> when the root is told."""
        self._telling: dict[str, int] = {}
        """Those of which the root is being told -> the number of that request."""
        self._asked = 0

    @property
    def replica(self) -> Replica:
        """What is known here."""
        return self._root.replica if self._root is not None else self._own_subscriber.replica

    @property
    def is_current(self) -> bool:
        """Whether what is known here is what the parent knows, as far as can be told."""
        return self._root is not None or self._own_subscriber.is_current

    @property
    def is_bound(self) -> bool:
        """Whether a parent has bound this cell; a root, whether it has said anything."""
        return self._bond is not None

    def has(self, machine: object) -> bool:
        """Whether it is one of the machines of this plane."""
        return machine is self or machine is self.publisher or (machine is self.subscriber and machine is not None)

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def set_all(self, words: Iterable[Word], now: float) -> list[Command]:
        """Say something to everybody, or withdraw it."""
        return self.publisher.set_all(words, now)

    def set_rule(self, rule: Rule, now: float) -> list[Command]:
        """Which topics each child may hear from now on. Who may hear more sees by the numbers what it lacks."""
        self.hub.rule = rule
        commands = self.hub.check_rules()
        self.hub.remind_of(self._position[1], now)
        return commands

    def bound(
        self, parent: str, root: str, token: int, now: float, published: str = "", session: int = 0
    ) -> list[Command]:
        """This cell has a parent anew, or hears so again; a root calls it for itself, with its own name and token.

        `published`: where the parent publishes, as its WELCOME says; `session`: of the link.
        """
        bond = parent, root, token, published, session
        if bond == self._bond:
            return []
        self._bond = bond
        self.parent, self._root_name = parent, root
        commands = self.publisher.bound(root, token, now)
        if self.subscriber is not None:
            self._listen = Listen(published, self.fqcn, session)
            commands += self.subscriber.bound(parent, now)
        return commands + self._tell_departed(now)

    def unbound(self) -> list[Command]:
        """The link to the parent is no more."""
        self.parent, self._bond, self._listen = "", None, None
        commands = self.publisher.unbound()
        if self.subscriber is not None:
            commands += [*self.subscriber.unbound(), Listen("", self.fqcn, 0)]
        return commands

    def child_bound(self, name: str) -> None:
        """A child is back before the root knew that it was gone."""
        self._departed.pop(name, None)
        self._telling.pop(name, None)

    def child_gone(self, name: str, now: float, replaced: bool = False) -> list[Command]:
        """A child is gone; `replaced`: another start takes its place, and says itself what is over."""
        self.hub.forget(name, now)
        if replaced:
            return []
        if self._root is not None:
            return self._told(self._root.departed(name), now)
        self._departed[name] = now
        return self._tell_departed(now)

    # -- doors ---------------------------------------------------------------------------------------------------------

    def receive(self, call: Call, now: float) -> list[Command]:
        """A request on the plane's channel."""
        if call.topic == PlaneTopic.SUBSCRIBE:
            if tree_parent(call.origin, self._root_name) != self.fqcn:
                text = f"{call.origin} is no child of {self.fqcn}"
                return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, text))]
            return self.hub.subscribe(call, self.replica, *self._position)
        if self._root is None:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"{self.fqcn} is not the root"))]
        match call.topic:
            case PlaneTopic.PUBLISH:
                outcome, updates = self._root.publish(call)
                return [Answer(call, outcome), *self._told(updates, now)]
            case PlaneTopic.CHECK:
                return [Answer(call, self._root.check(call))]
            case PlaneTopic.DEPARTED:
                name = str(call.headers.get("c", ""))
                if not FQCN.is_ancestor(call.origin, name):
                    text = f"{call.origin} cannot know that {name} is gone"
                    return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, text))]
                return [Answer(call, Outcome(CellReturnCode.OK)), *self._told(self._root.departed(name), now)]
        return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"no topic {call.channel}:{call.topic}"))]

    def heard(
        self, origin: str, topic: str, headers: Mapping[str, Any], bodies: tuple[Buffer, ...], now: float
    ) -> list[Command]:
        """A message of the plane has come down."""
        if self.subscriber is None or origin != self.parent:
            self.dropped += 1
            return []
        try:
            if topic == PlaneTopic.UPDATE:
                commands = self.subscriber.update(decode_update(headers, bodies), now)
            elif topic == PlaneTopic.HEADS:
                commands = self.subscriber.heads_are(*decode_heads(bodies), now)
            else:
                raise DecodeError(f"no topic {topic!r}")
        except DecodeError:
            self.dropped += 1
            return []
        return commands + self._pass_on(now)

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """The root has heard that a child is gone, or not."""
        name, number = tag
        if self._telling.get(name) != number:
            return []
        del self._telling[name]
        if outcome.code not in (CellReturnCode.OK, CellReturnCode.INVALID_REQUEST):
            self._departed.setdefault(name, now + PAUSE)
        return []

    def machine_answered(self, machine: Any, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A request of one of the machines of this plane has ended (see `has`)."""
        was_current = self.is_current
        epoch, _ = self._position
        commands: list[Command] = machine.answered(tag, target, outcome, now)
        if epoch not in (0, self._position[0]):
            commands += self.publisher.root_is_new(now)
        if machine is self.subscriber and self._listen is not None and outcome.code is CellReturnCode.OK:
            commands.append(self._listen)
            self._listen = None
        return commands + self._pass_on(now, self.is_current and not was_current)

    def handle_timeout(self, now: float) -> list[Command]:
        """Whatever is due."""
        commands = self.publisher.handle_timeout(now)
        if self.subscriber is not None:
            commands += self.subscriber.handle_timeout(now)
        commands += self.hub.handle_timeout(*self._position, now)
        return commands + self._tell_departed(now)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = [self.publisher.deadline, self.hub.deadline]
        if self.parent:
            times += self._departed.values()
        if self.subscriber is not None:
            times.append(self.subscriber.deadline)
        return min((at for at in times if at is not None), default=None)

    # -- within --------------------------------------------------------------------------------------------------------

    @property
    def _own_subscriber(self) -> Subscriber:
        assert self.subscriber is not None, "the root has none"
        return self.subscriber

    @property
    def _position(self) -> tuple[int, dict[str, int]]:
        """Epoch and numbers."""
        if self._root is not None:
            return self._root.epoch, self._root.heads
        return self._own_subscriber.epoch, self._own_subscriber.heads

    def _told(self, updates: list[Update], now: float) -> list[Command]:
        """What the root has numbered."""
        facts = tuple(fact for update in updates for fact in update.facts)
        return [*self.hub.tell(updates, now), *([FactsChanged(facts)] if facts else [])]

    def _pass_on(self, now: float, is_current_now: bool = False) -> list[Command]:
        """What the subscriber has heard, for the children and for who watches here, or waits for it to be current."""
        if self.subscriber is None:
            return []
        facts, updates, replaced = self.subscriber.take()
        commands = self.hub.tell(updates, now)
        if replaced:  # by a snapshot: the children see by the numbers that they miss something
            self.hub.remind_of(replaced, now)
        return [*commands, *([FactsChanged(tuple(facts))] if facts or is_current_now else [])]

    def _tell_departed(self, now: float) -> list[Command]:
        if self._root is not None or not self.parent:
            return []
        asks: list[Command] = []
        for name in [name for name, at in self._departed.items() if at <= now]:
            del self._departed[name]
            self._asked += 1
            self._telling[name] = self._asked
            tag, root, headers = (name, self._asked), (self._root_name,), {"c": name}
            asks.append(Ask(self, tag, root, CHANNEL, PlaneTopic.DEPARTED, headers, 0, (), TIMEOUT, repeatable=True))
        return asks

    def __repr__(self) -> str:
        return f"<Plane {self.fqcn} {len(self.replica)} facts, {len(self.hub.subscribers)} subscribers>"
