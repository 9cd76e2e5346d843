"""What a push is made of, on either side: a producer of chunks, a consumer of chunks, and what they are told.

    owner      Producer.produce  ->  chunk 0, 1, 2, ... None         one at a time, on a worker
               Producer.settle   <-  the replies of each round, in order
               Producer.close        once, however it ended
    target     factory(incoming) ->  a Consumer, or an error that refuses the push
               Consumer.consume  <-  chunk 0, 1, 2, ...               one at a time, on a worker
               Consumer.close    <-  once, however it ended

`zmqfl.streaming` makes these of FLARE's ObjectProducer and ObjectConsumer; files have their own in `file_streams`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Chunk, Outcome

__all__ = ["Chunk", "Consumer", "ConsumerFactory", "Incoming", "Producer", "PushReport", "TargetReport"]


class Producer(Protocol):
    """Makes the chunks of one push."""

    @property
    def looks_ahead(self) -> bool:
        """Whether a chunk may be made before the replies to the one before it are there."""

    @property
    def judges(self) -> bool:
        """Whether `settle` is to be called: one that does not look at replies saves a worker's turn per round."""

    @property
    def is_quick(self) -> bool:
        """Whether it only reads and computes (a worker for files and codecs), and runs no code of the application's."""

    def produce(self) -> Chunk | None:
        """The next chunk; None when there is none. What it raises fails the push."""

    def settle(self, replies: Mapping[str, Outcome]) -> Any:
        """Look at the reply of each target: None to go on, anything else ends the push with this result."""

    def close(self) -> None:
        """It is over."""


class Consumer(Protocol):
    """Takes the chunks of one push."""

    @property
    def is_quick(self) -> bool:
        """As of a producer."""

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        """(whether more is expected, the reply). An outcome that is not OK, or an error, fails the whole push."""

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        """It is over: with OK every target has everything. What is returned goes back to the owner."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A push that begins, as its target sees it."""

    origin: str
    channel: str
    topic: str
    context: dict[str, Any]
    """What the owner put into the context of the stream."""
    sealed: bool = False
    """Whether it came with `secure=True`: then the origin is proved."""


ConsumerFactory = Callable[[Incoming], Consumer]


@dataclass(frozen=True, slots=True)
class TargetReport:
    """How a push ended at one target."""

    code: CellReturnCode
    reason: str = ""
    reply: Any = None
    """What the consumer gave back at its end."""


@dataclass(frozen=True, slots=True)
class PushReport:
    """How a push ended: OK everywhere, or the target by whose fault it failed for all."""

    code: CellReturnCode
    reason: str
    culprit: str
    targets: Mapping[str, TargetReport]
    """Per target that has said how it ended there."""
    result: Any = None
    """What the producer's `settle` gave at last."""
    size: int = 0
    """Bytes that each target has consumed."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every target has everything."""
        return self.code is CellReturnCode.OK
