"""Retrieve a container that another site has given a name, entry by entry.

    ContainerRetriever.add_container("model", model_dict)        # at the site that has it
    models = ContainerRetriever()                                # the same component at both sites
    engine.add_component("models", models)
    engine.fire_event(EventType.START_RUN, fl_ctx)
    rc, container = models.retrieve_container("site-1", fl_ctx, 10.0, "model")

Source: seed 001; reference "flare" 3.6.
"""

from __future__ import annotations

from typing import Any, Final

from zmqfl.cell.container_streams import ContainerProducer
from zmqfl.cell.packing import packer_for
from zmqfl.cell.transfer_verbs import CHUNK
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.streaming.cell_streams import CellStreamEngine
from zmqfl.streaming.container_objects import ContainerObjectProducer
from zmqfl.streaming.container_streamer import ENTRY_TIMEOUT, ContainerStreamer
from zmqfl.streaming.contracts import StreamContext
from zmqfl.streaming.file_streamer import checked_timeout
from zmqfl.streaming.object_retriever import ObjectRetriever
from zmqfl.streaming.retriever_shelf import OnShelf, Shelf

NAME: Final = "name"


class ContainerRetriever(ObjectRetriever):
    """See the module. What it gives has been added to it, or to its class.

    `stream_msg_optional`: a failure is no warning in the log. `stream_msg_secure`: seal requests and containers.
    `entry_timeout`: seconds that a chunk of an entry may be without progress, 60 unless given. Raises `ArgumentError`.
    """

    shelf = Shelf()
    add_container = OnShelf(Shelf.add)
    remove_container = OnShelf(Shelf.remove)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.shelf = Shelf()

    def __init__(
        self,
        topic: str | None = None,
        stream_msg_optional: bool = False,
        stream_msg_secure: bool = False,
        entry_timeout: float | None = None,
    ) -> None:
        super().__init__(topic)
        self.shelf = Shelf()
        self.stream_msg_optional = stream_msg_optional
        self.stream_msg_secure = self.is_secure = stream_msg_secure
        self.entry_timeout = None if entry_timeout is None else checked_timeout(entry_timeout, "entry_timeout")

    def retrieve_container(
        self, from_site: str, fl_ctx: FLContext, timeout: float, name: str
    ) -> tuple[ReturnCode, Any]:
        """Ask a site for a container, and wait. Returns (code, the container; None unless OK).

        `name`: what that site has called it. A name that it does not know is BAD_REQUEST_DATA. Other arguments, codes
        and errors: see `retrieve`.
        """
        return self.retrieve(from_site, fl_ctx, timeout, **{NAME: name})

    def register_stream_processing(
        self, channel: str, topic: str, fl_ctx: FLContext, stream_done_cb: Any, **kwargs: Any
    ) -> None:
        """See `ContainerStreamer.register_stream_processing`."""
        ContainerStreamer.register_stream_processing(fl_ctx, channel, topic, stream_done_cb, **kwargs)

    def validate_request(self, request: Shareable, fl_ctx: FLContext) -> tuple[str, Any]:
        """(OK, the container of the name), or (BAD_REQUEST_DATA, why)."""
        name = request.get(NAME)
        if not isinstance(name, str) or not name:
            return ReturnCode.BAD_REQUEST_DATA, f"{NAME} must be the name of a container"
        shelves = [self.shelf, *(kind.shelf for kind in type(self).__mro__ if issubclass(kind, ContainerRetriever))]
        found = next((found for shelf in shelves if (found := shelf.find(name)) is not None), None)
        if found is None:
            return ReturnCode.BAD_REQUEST_DATA, f"no container is called {name!r} there; `add_container` makes it known"
        return ReturnCode.OK, found

    def do_stream(
        self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
    ) -> Any:
        """Stream the container as it is at this moment, as `ContainerStreamer.stream_container` does.

        Raises `EncodeError` naming the entry that cannot travel, `SourceChangedError` when it is changed meanwhile.
        """
        timeout = self.entry_timeout or ENTRY_TIMEOUT
        chunks = ContainerProducer(validated_data, CHUNK, timeout, packer_for("auto", 1))
        chunks.fix()  # else a model that is trained meanwhile would arrive as a mix of two
        facts: StreamContext = {**stream_ctx, **chunks.facts}
        optional, secure = self.stream_msg_optional, self.stream_msg_secure
        engine = fl_ctx.get_engine()
        if not isinstance(engine, CellStreamEngine):
            objects = ContainerObjectProducer(chunks, timeout)
            return engine.stream_objects(
                self.channel, self.topic, facts, [target], objects, fl_ctx, optional, secure
            )  # fmt: skip
        code = engine.push_stream(
            self.channel, self.topic, facts, [target], chunks, fl_ctx,
            timeout=timeout, optional=optional, secure=secure,
        )  # fmt: skip
        if code is ReturnCode.ERROR and chunks.error is not None:
            raise chunks.error
        return code

    def get_result(self, stream_ctx: StreamContext) -> tuple[str, Any]:
        """(code, container)."""
        return ContainerStreamer.get_rc(stream_ctx), ContainerStreamer.get_result(stream_ctx)
