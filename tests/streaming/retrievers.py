"""Retrievers for tests: `Countdown` is the smallest one, made of the producer and consumer of `sites`.

`start` adds a retriever to a site and begins its run. `in_thread` asks in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tests.streaming.sites import Collector, Numbers
from tests.system.federation import LONG
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, StreamableEngine, StreamContext
from zmqfl.streaming.object_retriever import ObjectRetriever
from zmqfl.streaming.streamer_base import StreamerBase

R = TypeVar("R", bound=ObjectRetriever)
T = TypeVar("T")


class Lists(ConsumerFactory):
    """Makes consumers that put what they get into the context of the stream."""

    def __init__(self, taken: Callable[[int], object] | None) -> None:
        self.taken = taken
        self.returned = 0

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        return Collector(stream_ctx.setdefault("numbers", []), self.taken, endless=False)

    def return_consumer(self, consumer: ObjectConsumer, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        assert isinstance(consumer, Collector)
        self.returned += 1


class Countdown(ObjectRetriever):
    """Retrieves a list of `count` numbers. `before` is called with each at the site that makes it, `taken` with each
    where it comes."""

    def __init__(
        self,
        topic: str | None = None,
        before: Callable[[int], object] | None = None,
        taken: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(topic)
        self.before = before
        self.factory = Lists(taken)
        self.validated: list[Any] = []
        self.targets: list[str] = []
        self.ended: list[Any] = []

    def register_stream_processing(
        self, channel: str, topic: str, fl_ctx: FLContext, stream_done_cb: Any, **kwargs: Any
    ) -> None:
        fl_ctx.get_engine().register_stream_processing(channel, topic, self.factory, stream_done_cb, **kwargs)

    def validate_request(self, request: Shareable, fl_ctx: FLContext) -> tuple[str, Any]:
        self.validated.append({key: request[key] for key in request if key == "count"})
        count = request.get("count")
        if count == "raise":
            raise KeyError("no such count")
        if type(count) is not int:
            return ReturnCode.BAD_REQUEST_DATA, "count must be an int"
        return ReturnCode.OK, count

    def do_stream(
        self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
    ) -> Any:
        self.targets.append(target)
        numbers = Numbers(validated_data, before=self.before)
        try:
            answer = fl_ctx.get_engine().stream_objects(self.channel, self.topic, stream_ctx, [target], numbers, fl_ctx)
        except Exception as error:
            self.ended.append(error)
            raise
        self.ended.append(answer[0])
        return answer

    def get_result(self, stream_ctx: StreamContext) -> tuple[str, Any]:
        numbers = [each for each in stream_ctx.get("numbers", []) if isinstance(each, int)]
        return StreamerBase.get_rc(stream_ctx), numbers


class Plain(StreamableEngine):
    """An engine that knows no streams of cells, over one that does."""

    def __init__(self, engine: CellEngine) -> None:
        self.engine = engine
        engine._contexts.engine = self

    def stream_objects(self, *args: Any, **kwargs: Any) -> tuple[ReturnCode, Any]:
        return self.engine.stream_objects(*args, **kwargs)

    def register_stream_processing(self, *args: Any, **kwargs: Any) -> None:
        self.engine.register_stream_processing(*args, **kwargs)

    def shutdown_streamer(self) -> None:
        self.engine.shutdown_streamer()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def start(engine: Any, retriever: R, name: str = "") -> R:
    """Add a retriever to a site, and begin its run."""
    engine.add_component(name or f"{type(retriever).__name__}:{retriever.topic}", retriever)
    with engine.new_context() as fl_ctx:
        engine.fire_event(EventType.START_RUN, fl_ctx)
    return retriever


def pair(one: Any, other: Any, **options: Any) -> tuple[Countdown, Countdown]:
    """A `Countdown` at each of two sites; the options are the second one's."""
    return start(one, Countdown()), start(other, Countdown(**options))


class Asking:
    """Something that is asked for in a thread of its own."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._answer: list[Any] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._ask())
        except Exception as error:  # noqa: BLE001  for `end`
            self._answer.append(error)

    def end(self) -> Any:
        """What it has given, or raised."""
        self._thread.join(LONG)
        assert self._answer, "it hangs"
        return self._answer[0]
