"""A relay that reads what it passes on, keeps it, and changes what it likes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from tests.system.federation import LONG
from zmqfl import Cell
from zmqfl.protocol.commands import Command
from zmqfl.protocol.transfers import SEAL
from zmqfl.wire.codec import decode_header, encode_header
from zmqfl.wire.messages import Fire, Message, Packet, Reply, Request

Touch = Callable[[Packet, Message], Packet | None]


class Spy:
    """In a relay of this process. `touch(packet, message)` gives what is passed on instead; None: nothing."""

    def __init__(self, relay: Cell) -> None:
        self.packets: list[Packet] = []
        """All that were passed on, as they came."""
        self.touch: Touch = lambda packet, message: packet
        self._relay = relay
        self._forward = relay._node.transit.forward
        relay._node.transit.forward = self._spy  # type: ignore[method-assign]

    def _spy(self, packet: Packet, targets: tuple[str, ...], now: float) -> list[Command]:
        self.packets.append(packet)
        changed = self.touch(packet, decode_header(packet.kind, packet.header))
        return [] if changed is None else self._forward(changed, targets, now)

    def send(self, packet: Packet) -> None:
        """Pass a packet on, as if it had come just now; returns when it is on its way."""
        done = threading.Event()

        def act(now: float) -> list[Command]:
            commands = self._forward(packet, packet.targets, now)
            done.set()
            return commands

        self._relay._reactor.submit(act)
        assert done.wait(LONG)

    def of(self, kind: type[Message], channel: str = "") -> list[tuple[Packet, Any]]:
        """The packets of this kind, decoded; without those of handshakes."""
        found = [
            (packet, decode_header(packet.kind, packet.header)) for packet in self.packets if packet.kind == kind.KIND
        ]
        return [(packet, message) for packet, message in found if is_of(message, channel)]

    def holds(self, text: bytes) -> bool:
        """Whether these bytes are in any frame that was passed on."""
        return any(
            text in packet.header or any(text in bytes(body) for body in packet.bodies) for packet in self.packets
        )


def is_of(message: Message, channel: str = "") -> bool:
    """Whether it is a message of a user's (or of this channel), and no handshake."""
    match message:
        case Request() | Fire():
            return message.channel == channel if channel else message.channel != SEAL
        case Reply():
            return "m" not in message.headers and "card" not in message.headers
    return False


def changed(packet: Packet, message: Message, **values: Any) -> Packet:
    """The packet with other values in its header."""
    known = {field.name for field in fields(message)}
    assert known >= set(values), values
    return replace(packet, header=encode_header(replace(message, **values)))
