"""What the sockets of the plane ask their node: who may listen here, and what its parent has published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zmqfl.protocol.commands import Command
from zmqfl.protocol.machines import Machines
from zmqfl.protocol.plane.publication import Ticket
from zmqfl.protocol.plane.updates import PlaneTopic
from zmqfl.wire.messages import Buffer

Obey = Callable[[list[Command], float], list[Command]]


class Door:
    """See the module. `obey`: has the commands of the plane obeyed within the node."""

    def __init__(self, machines: Machines, obey: Obey) -> None:
        self._machines = machines
        self._obey = obey

    def admit(self, ticket: Ticket, user: str | None) -> tuple[str, ...]:
        """The prefixes of topics that the holder of a ticket may hear; none when it is no child, or not this one.

        `user`: the name that the key of its connection proves, None without keys: then the session of the link, which
        nobody else knows, is the proof.
        """
        acceptor = self._machines.acceptor
        link = acceptor.children.get(ticket.name)
        if link is None or link.session != ticket.session or acceptor.user_of(ticket.name) != user:
            return ()
        return self._machines.plane.hub.admit(ticket.name)

    def dismiss(self, name: str) -> None:
        """It listens no longer."""
        self._machines.plane.hub.dismiss(name)

    def heard(self, headers: Mapping[str, Any], bodies: tuple[Buffer, ...], now: float) -> list[Command]:
        """The parent has published an update."""
        plane = self._machines.plane
        return self._obey(plane.heard(plane.parent, PlaneTopic.UPDATE, headers, bodies, now), now)
