"""What the reactor has done for transfers: each command to the one that knows its producer, consumer, source or sink.

All of it is called on the reactor's thread, and only hands work to workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqfl.cell.consuming import Consuming
from zmqfl.cell.filters import Filters
from zmqfl.cell.offering import Offering
from zmqfl.cell.pulling import Pulling
from zmqfl.cell.pushing import Pushing, Submit
from zmqfl.cell.workers import Workers
from zmqfl.config import CellConfig
from zmqfl.protocol.commands import (
    Abandon,
    CloseStream,
    Commit,
    Consume,
    Expired,
    OpenStream,
    Prepare,
    Produce,
    PullEnded,
    PushEnded,
    Read,
    Served,
    Settle,
    Work,
    Write,
)
from zmqfl.protocol.node import Node

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls


class TransferEdges:
    """The four sides of the transfers of one cell."""

    def __init__(
        self,
        node: Node,
        config: CellConfig,
        files: Workers,
        calls: Workers,
        filters: Filters,
        submit: Submit,
        clock: Callable[[], float],
        seals: SealedCalls | None = None,
    ) -> None:
        self.pushing = Pushing(node, files, calls, submit, seals)
        self.consuming = Consuming(node, files, calls, filters, submit, clock, seals)
        self.offering = Offering(node, files, calls, filters, submit, clock)
        self.pulling = Pulling(node, files, submit, config.heartbeat)

    def work(self, command: Work) -> None:
        """Have a command done."""
        match command:
            case Consume():
                self.consuming.consume(command)
            case Produce():
                self.pushing.produce(command)
            case Settle():
                self.pushing.settle(command)
            case Read():
                self.offering.read(command)
            case Write():
                self.pulling.write(command)
            case OpenStream():
                self.consuming.open(command)
            case CloseStream():
                self.consuming.end(command)
            case PushEnded():
                self.pushing.ended(command)
            case Prepare():
                self.pulling.prepare(command)
            case Commit():
                self.pulling.commit(command)
            case Abandon():
                self.pulling.abandon(command)
            case PullEnded():
                self.pulling.ended(command)
            case Served():
                self.offering.served(command)
            case Expired():
                self.offering.expired(command)

    def close(self) -> None:
        """The reactor has ended: what still waits fails, what is open is closed."""
        for side in (self.pushing, self.consuming, self.offering, self.pulling):
            side.close()
