"""Messages for this cell: which machine each is for.

    REQUEST FIRE PROBE CANCEL    responder: what others ask of this cell
    REPLY PROBED                 requester: what this start of it has asked
    RETURN                       requester or flows, when it is from a cell on the way
    SEGMENT                      assembly: a part of something longer, which comes as one of these when it is whole
    SEGMENTED                    flows
    any other kind               RETURN, if it MUST be understood

What is for another start of this cell is dropped. All is counted under its reason.
"""

from __future__ import annotations

from dataclasses import replace

from zmqfl.protocol.commands import Command, Post
from zmqfl.protocol.machines import Machines
from zmqfl.protocol.routing import is_on_path
from zmqfl.wire.codec import check_lengths, decode_header, decode_origin
from zmqfl.wire.messages import (
    CLASSES,
    Cancel,
    Fire,
    Flag,
    Packet,
    Probe,
    Probed,
    Reply,
    Request,
    Return,
    ReturnReason,
    Segment,
    Segmented,
)


class Arrivals:
    """See the module. What it returns has not been obeyed yet."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def deliver(self, packet: Packet, now: float) -> list[Command]:
        """A message for this cell. Raises `DecodeError`."""
        if packet.kind not in CLASSES:
            return self._not_understood(packet)
        m = self._machines
        message = decode_header(packet.kind, packet.header)
        match message:
            case Request() | Fire() | Reply() | Segment():
                check_lengths(message.lengths, packet.bodies)
        match message:
            case Request():
                return m.responder.receive_request(message, packet.flags, packet.remaining, packet.bodies, now)
            case Reply() if message.to_instance == m.instance:
                return m.requester.receive_reply(message, packet.bodies, now)
            case Fire():
                return m.responder.receive_fire(message, packet.bodies, now)
            case Probe():
                return m.responder.receive_probe(message, now, packet.flags)
            case Probed() if message.to_instance == m.instance:
                return m.requester.receive_probed(message, now)
            case Cancel():
                m.assembly.receive_cancel(message)
                return m.responder.receive_cancel(message, now)
            case Return() if message.to_instance == m.instance:
                return self._returned(message, now)
            case Segment():
                return m.assembly.receive(message, packet.remaining, packet.bodies, now)
            case Segmented() if message.to_instance == m.instance:
                return m.flows.receive_segmented(message, now)
            case _:
                m.counters["other_instance"] += 1
                return []

    def come_back(self, back: Return, now: float) -> list[Command]:
        """What this cell has sent found no way."""
        if back.kind == Segment.KIND:
            return self._machines.flows.receive_return(back, now)
        return self._machines.requester.receive_return(back, now)

    def _returned(self, back: Return, now: float) -> list[Command]:
        """Only a cell on the way may say that it could not pass a message on."""
        m = self._machines
        on_path = [target for target in back.targets if is_on_path(back.origin, m.fqcn, target, m.neighbours.root)]
        if len(on_path) != len(back.targets):
            m.counters["forged_return"] += 1
        return self.come_back(replace(back, targets=on_path), now)

    def _not_understood(self, packet: Packet) -> list[Command]:
        m = self._machines
        m.counters["unknown_kind"] += 1
        if not packet.flags & Flag.MUST_UNDERSTAND:
            return []
        origin, _, instance, id = decode_origin(packet.header)
        text = f"{m.fqcn} does not know message kind {packet.kind}"
        reason = ReturnReason.NOT_UNDERSTOOD
        back = Return(*m.me(), id, instance, packet.kind, 0, reason, text, [m.fqcn])
        return [Post(back, (origin,))]
