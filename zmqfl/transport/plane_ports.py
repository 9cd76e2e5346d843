"""The sockets of the broadcast plane: an outlet beside each listener, and the inlet beside the link to the parent.

self.plane = PlanePorts(...)                     with the other sockets
plane.told(0)                                    what a WELCOME at listener 0 says
plane.publish / listen / reopen                  obey the commands of these names
plane.read(ready, door, now)                     in each pass: who listens, what was heard
plane.handle_timeout(now), plane.deadline        an outlet that could not be opened again at once
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import zmq

from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.protocol.commands import Command, Listen, Publish
from zmqfl.protocol.plane.publication import Ticket, encode_publication
from zmqfl.transport.authentication import (
    CurvePolicy,
    LoopbackPolicy,
    Policy,
    SameUserPolicy,
    TrustedPolicy,
    ZapAnswerer,
)
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.inlet import Inlet
from zmqfl.transport.keys import Keys
from zmqfl.transport.outlet import Admission, Doorkeeper, Outlet, place_beside
from zmqfl.transport.sockets import Context
from zmqfl.wire.messages import Buffer

log = logging.getLogger("zmqfl.transport")


class PlaneDoor(Admission, Protocol):
    """What the node does for the plane."""

    def heard(self, headers: Mapping[str, Any], bodies: tuple[Buffer, ...], now: float) -> list[Command]:
        """The parent has published an update."""


class PlanePorts:
    """See the module. `poller`: watches all that is open."""

    def __init__(self, poller: zmq.Poller) -> None:
        self.outlets: dict[int, Outlet] = {}
        """By the index of the listener."""
        self.inlet: Inlet | None = None
        self._poller = poller

    def open(
        self,
        context: Context,
        zap: ZapAnswerer,
        curve: CurvePolicy,
        config: CellConfig,
        listeners: Iterable[Endpoint],
        parent: Endpoint | None,
        keys: Keys | None,
        trusted_network: bool,
        port: int = 0,
    ) -> None:
        """Open the outlets. `port`: of the first one over tcp, 0: any that is free; the others take any.

        Raises `UserError`; call `close` then too.
        """
        for index, endpoint in enumerate(listeners):
            if (beside := place_beside(endpoint, 0 if endpoint.is_ipc else port)) is None:
                log.warning("nothing is published beside %s, the path is too long: the links tell all", endpoint)
                continue
            own = None if endpoint.is_ipc else keys
            port = port if endpoint.is_ipc else 0
            doorkeeper = Doorkeeper(_policy(endpoint, own, curve, trusted_network))
            domain = f"plane-{index}"
            zap.add_domain(domain, doorkeeper)
            self.outlets[index] = Outlet(
                context, beside, domain, doorkeeper, config, own, trusted_network, self._poller
            )
        if parent is not None:
            self.inlet = Inlet(context, parent, config, None if parent.is_ipc else keys, self._poller)

    def told(self, index: int) -> str:
        """What a WELCOME at listener `index` says; "": nothing is published there."""
        return self.outlets[index].told if index in self.outlets else ""

    def publish(self, command: Publish) -> None:
        """Publish an update."""
        frames = encode_publication(command.topic, command.headers, command.bodies)
        for outlet in self.outlets.values():
            outlet.publish(frames)

    def listen(self, command: Listen) -> None:
        """Listen at the parent, or no longer. What cannot be dialled is as if the parent did not publish."""
        if self.inlet is None:
            return
        try:
            self.inlet.listen(command.plane, Ticket(command.fqcn, command.session))
        except (UserError, zmq.ZMQError) as error:
            log.warning("%s: cannot listen to what its parent publishes: %s", command.fqcn, error)

    def reopen(self, door: Admission, now: float) -> None:
        """Cut everybody who listens."""
        for outlet in self.outlets.values():
            outlet.reopen(door, now)

    def set_allowed(self, names: Iterable[str], door: Admission, now: float) -> None:
        """Only these names prove a key from now on."""
        allowed = frozenset(names)
        for outlet in self.outlets.values():
            outlet.revoke(allowed, door, now)

    def read(self, ready: set[object], door: PlaneDoor, now: float) -> Iterator[list[Command]]:
        """Who listens from now on and who no longer; yields what to obey after each publication that was heard."""
        for outlet in self.outlets.values():
            if outlet.socket in ready:
                outlet.read(door, now)
        if self.inlet is not None and self.inlet.socket in ready:
            for headers, bodies in self.inlet.read():
                yield door.heard(headers, bodies, now)

    def handle_timeout(self, now: float) -> None:
        """Open again what is closed."""
        for outlet in self.outlets.values():
            outlet.handle_timeout(now)

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return min((outlet.deadline for outlet in self.outlets.values() if outlet.deadline is not None), default=None)

    def close(self, linger: float) -> None:
        """Give what is queued in libzmq `linger` seconds."""
        for outlet in self.outlets.values():
            outlet.close(linger)
        if self.inlet is not None:
            self.inlet.close()


def _policy(endpoint: Endpoint, keys: Keys | None, curve: CurvePolicy, trusted_network: bool) -> Policy:
    """Who may connect: as for the listener (`authentication.domain_of`)."""
    if keys is not None:
        return curve
    if endpoint.is_ipc:
        return SameUserPolicy()
    return TrustedPolicy() if trusted_network else LoopbackPolicy()
