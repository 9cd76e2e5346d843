"""Requests of a node's own machines: which machine each one is of, and who is still to be heard of.

request    event                            next      effect
-          ask                              open      REQUEST to each target
open       ended at a target                open      the machine is told; forgotten after the last target
open       unask                            muted     CANCEL; forgotten unless ends are under way already
muted      ended at a target                muted     nobody is told; forgotten after the last target
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zmqfl.protocol.commands import Ask, Command, Finish, Unask
from zmqfl.protocol.requester import Requester


@dataclass(slots=True)
class _Asked:
    """One request, and the targets of which no Finish has come."""

    ask: Ask
    targets: set[str]
    muted: bool = False
    """The machine waits no longer."""


class Asks:
    """See the module."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester
        self._asked: dict[int, _Asked] = {}

    def ask(self, id: int, ask: Ask, now: float) -> list[Command]:
        """Send a request of a machine under the number `id`."""
        self._asked[id] = _Asked(ask, set(ask.targets))
        return self._requester.request(
            id, ask.targets, ask.channel, ask.topic, ask.codec, ask.headers, ask.bodies, ask.timeout, None, "",
            now, ask.repeatable,
        )  # fmt: skip

    def unask(self, unask: Unask) -> list[Command]:
        """A machine waits no longer for any of its requests."""
        commands: list[Command] = []
        for id, asked in [item for item in self._asked.items() if item[1].ask.owner is unask.owner]:
            asked.muted = True
            asked.targets -= {name for name in asked.targets if self._requester.is_waiting(id, name)}
            if not asked.targets:  # else it has just ended at these, and their Finish is yet to come
                del self._asked[id]
            commands += self._requester.cancel(id)
        return commands

    def finish(self, finish: Finish) -> Ask | None:
        """A request has ended at one target: whose it is; None when nobody waits any more."""
        asked = self._asked[finish.id]
        asked.targets.discard(finish.target)
        if not asked.targets:
            del self._asked[finish.id]
        return None if asked.muted else asked.ask

    def owner_of(self, id: int) -> Any:
        """The machine that has asked; None when it is no request of one."""
        asked = self._asked.get(id)
        return None if asked is None else asked.ask.owner

    def __contains__(self, id: object) -> bool:
        return id in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def __repr__(self) -> str:
        return f"<Asks {len(self)} open>"
