"""What a stream of objects is made of, for those who write one.

    owner      ObjectProducer.produce          makes chunk 0, 1, 2, ..., each a Shareable
               ObjectProducer.process_replies  looks at what all receivers said to it
    receiver   ConsumerFactory.get_consumer    makes the consumer of a stream that begins
               ObjectConsumer.consume          takes chunk 0, 1, 2, ...
               consumed_cb                     hears of each chunk, after its consumer
               ObjectConsumer.finalize         once, however it ended
               stream_done_cb                  once, after that
               ConsumerFactory.return_consumer once, last

A chunk goes to all receivers at once, and the next one is made when all have answered. If one of them fails, the whole
stream fails: those that were well see TASK_ABORTED. Source: seed 000; reference "flare" 2.1, 2.5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable

if TYPE_CHECKING:
    StreamContext = dict[str, Any]
else:
    StreamContext = dict
    """What owner and receivers know of one stream. What the owner puts in travels, so it must be able to."""

END_RESULT: Final = "ObjectStreamer.END_RESULT"
"""Header of a receiver's reply to the last chunk: what its `stream_done_cb` returned."""


class StreamContextKey:
    """What the system puts into a stream context."""

    CHANNEL = "__channel__"
    TOPIC = "__topic__"
    RC = "__RC__"
    """How it ended, a `ReturnCode`; there from `finalize` on."""
    END_STREAM = "__end_stream__"


class ObjectProducer(ABC):
    """Makes the chunks of one stream. Its methods are called by one thread at a time, a worker of the cell.

    `looks_ahead`: set it to True in a class that makes its chunks without waiting for the replies to earlier ones; the
    next chunk is then made while others are on their way.
    """

    looks_ahead: bool = False

    @abstractmethod
    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable | None, float]:
        """The next chunk, and the seconds that its receivers may take for it. (None, any) ends the stream well.

        What it raises ends the stream everywhere, and is raised again at the caller.
        """

    @abstractmethod
    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        """Look at the replies to the oldest chunk, by the names of the targets. None: go on.

        Anything else ends the stream and is its result: well if it is true, else as a failure for all. The replies to
        the last chunk have what `stream_done_cb` returned as header `END_RESULT`. It is not called for a chunk that a
        receiver failed to take: that ends the stream.
        """


class ObjectConsumer(ABC):
    """Takes the chunks of one stream. Its methods are called by one thread at a time, a worker of the cell."""

    @abstractmethod
    def consume(
        self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext
    ) -> tuple[bool, Shareable | None]:
        """Take a chunk: (whether more is expected, the reply). No reply stands for one that says OK.

        The owner's producer judges a reply that is not OK, unless no more is expected: then it fails the stream. So
        does what is raised.
        """

    @abstractmethod
    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        """The stream has ended as `StreamContextKey.RC` says: keep what came, or clean up.

        What it raises makes the code EXECUTION_EXCEPTION, also for the owner.
        """


class ConsumerFactory(ABC):
    """Makes the consumers of a topic."""

    @abstractmethod
    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        """A consumer for a stream that begins. What it raises refuses the stream."""

    def return_consumer(  # noqa: B027  a hook that factories rarely need
        self, consumer: ObjectConsumer, stream_ctx: StreamContext, fl_ctx: FLContext
    ) -> None:
        """The consumer is needed no more. Does nothing unless a subclass does; what it raises goes to the log."""


def stream_done_cb_signature(stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> Any:
    """What a `stream_done_cb` looks like: called once per stream, however it ended (see `StreamerBase.get_rc`).

    `kwargs`: those of the registration. What it returns goes to the owner, see `ObjectProducer.process_replies`; what
    it raises goes to the log. `fl_ctx` has the public props of the owner as its peer context.
    """


def consumed_cb_signature(
    reply: tuple[bool, Shareable | None], stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any
) -> None:
    """What a `consumed_cb` looks like: called after each chunk with what `consume` returned.

    `kwargs`: those of the registration. What it raises fails the stream for all.
    """


class StreamableEngine(ABC):
    """What streamers need of an engine, `fl_ctx.get_engine()`."""

    @abstractmethod
    def stream_objects(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext,
        targets: str | Iterable[str] | None,
        producer: ObjectProducer,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[ReturnCode, Any]:
        """Send what `producer` makes to all targets, and wait; see `ObjectStreamer.stream`."""

    @abstractmethod
    def register_stream_processing(
        self,
        channel: str,
        topic: str,
        factory: ConsumerFactory,
        stream_done_cb: Any = None,
        consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """Receive the streams of a topic; see `ObjectStreamer.register_stream_processing`."""

    @abstractmethod
    def shutdown_streamer(self) -> None:
        """Send and receive no streams any more."""
