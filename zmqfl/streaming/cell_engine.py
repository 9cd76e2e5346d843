"""An engine for programs that use cells and no runtime: contexts, streams, aux messages, components.

    with Cell("site-1", parent=url) as cell:
        engine = CellEngine(cell)
        with engine.new_context() as fl_ctx:
            FileStreamer.stream_file("models", "best", {}, ["server"], "model.pt", fl_ctx)
        engine.shutdown_streamer()

Targets are names of cells; "server" is the root, whatever it is called. None is the root too; at the root itself it
is all of its children. Source: reference "flare" 2.8, 6.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.registry import check_name
from zmqfl.cell.streams import Producer
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT
from zmqfl.context.aux_messages import AuxHandler, AuxMessages
from zmqfl.context.events import fire_event
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext, FLContextManager, StickySync
from zmqfl.context.keys import ReservedKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.errors import ArgumentError
from zmqfl.fqcn import FQCN
from zmqfl.streaming.cell_streams import CellStreamEngine, StreamFactory
from zmqfl.streaming.contracts import ConsumerFactory, ObjectProducer, StreamContext
from zmqfl.streaming.object_streamer import MAX_SESSIONS, ObjectStreamer
from zmqfl.streaming.published_props import PublishedProps

Targets = str | Iterable[str] | None

_ROOT_NAMES = ("server", "server_parent")


class CellEngine(CellStreamEngine):
    """See the module.

    `identity_name`: of this site in its contexts; the name of the cell unless given. `workspace`: where its files are.
    `sticky_sync`: see `zmqfl.context.fl_context`. `publish_props`: its public sticky props are props of its cell,
    which all cells read by `cell.props` (see `zmqfl.streaming.published_props`). `abort_signal`, in each context, ends
    what this engine does.
    """

    def __init__(
        self,
        cell: Cell,
        identity_name: str | None = None,
        job_id: str = "",
        workspace: Workspace | None = None,
        sticky_sync: StickySync = "finalize",
        max_concurrent_streaming_sessions: int = MAX_SESSIONS,
        publish_props: bool = False,
    ) -> None:
        self.abort_signal = Signal()
        self._cell = cell
        self._workspace = workspace
        self._components: dict[str, Any] = {}
        self._contexts = FLContextManager(self, identity_name or cell.fqcn, job_id, sticky_sync=sticky_sync)
        if publish_props:
            self._contexts.synced = PublishedProps(cell.props, self._contexts.stickers).sync
        self._streamer = ObjectStreamer(cell, self.new_context, self.cell_of, max_concurrent_streaming_sessions)
        self._aux = AuxMessages(cell, self.new_context, self.cell_of)

    # -- the site ----------------------------------------------------------------------------------------------------

    def new_context(self) -> FLContext:
        """A context of this site."""
        fl_ctx = self._contexts.new_context()
        fl_ctx.put(ReservedKey.RUN_ABORT_SIGNAL, self.abort_signal, private=True, sticky=False)
        return fl_ctx

    def get_cell(self) -> Cell:
        """The cell that it works with."""
        return self._cell

    def get_workspace(self) -> Workspace | None:
        """Where the files of the site are; None when it was given none."""
        return self._workspace

    def get_clients(self) -> list[str]:
        """The cells directly below this one that are connected."""
        links = self._cell.statistics().links
        return [link.fqcn for link in links if link.fqcn != self._cell.parent and link.lanes]

    def validate_targets(self, target_names: Iterable[str]) -> tuple[list[str], list[str]]:
        """(names that may be targets, names that cannot): whether a cell is there shows when it is asked."""
        valid: list[str] = []
        invalid: list[str] = []
        for name in target_names:
            (invalid if FQCN.validate(self.cell_of(name)) else valid).append(name)
        return valid, invalid

    def cell_of(self, target: str) -> str:
        """The name of the cell of a target; "" for the root while it is not known."""
        return self._cell.root if target.lower() in _ROOT_NAMES else target

    # -- components --------------------------------------------------------------------------------------------------

    def add_component(self, component_id: str, component: Any) -> None:
        """Keep a component; one that is an FLComponent hears events. Raises `ArgumentError` for an id that is taken."""
        check_name(component_id, "component_id")
        if component_id in self._components:
            raise ArgumentError(f"component {component_id!r} is there already; choose another id")
        self._components[component_id] = component

    def get_component(self, component_id: str) -> Any:
        """A component; None when there is none of this id."""
        return self._components.get(component_id)

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Have the components hear an event, in the order of their coming."""
        listeners = [component for component in self._components.values() if isinstance(component, FLComponent)]
        fire_event(event_type, listeners, fl_ctx)

    # -- streams -----------------------------------------------------------------------------------------------------

    def stream_objects(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: Targets,
        producer: ObjectProducer,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> tuple[ReturnCode, Any]:
        """See `ObjectStreamer.stream`."""
        names = self._names_of(targets)
        return self._streamer.stream(channel, topic, stream_ctx, names, producer, fl_ctx, secure, optional)

    def push_stream(
        self,
        channel: str,
        topic: str,
        stream_ctx: StreamContext | None,
        targets: Targets,
        producer: Producer,
        fl_ctx: FLContext,
        *,
        timeout: float = CHUNK_TIMEOUT,
        total: int = 0,
        optional: bool = False,
        secure: bool = False,
    ) -> ReturnCode:
        """See `ObjectStreamer.push_stream`."""
        names = self._names_of(targets)
        return self._streamer.push_stream(
            channel, topic, stream_ctx, names, producer, fl_ctx,
            timeout=timeout, total=total, optional=optional, secure=secure,
        )  # fmt: skip

    def register_stream_processing(
        self,
        channel: str,
        topic: str,
        factory: ConsumerFactory,
        stream_done_cb: Any = None,
        consumed_cb: Any = None,
        **cb_kwargs: Any,
    ) -> None:
        """See `ObjectStreamer.register_stream_processing`."""
        self._streamer.register_stream_processing(channel, topic, factory, stream_done_cb, consumed_cb, **cb_kwargs)

    def consume_streams(self, channel: str, topic: str, factory: StreamFactory) -> None:
        """See `ObjectStreamer.consume_streams`."""
        self._streamer.consume_streams(channel, topic, factory)

    def shutdown_streamer(self) -> None:
        """See `ObjectStreamer.shutdown`."""
        self._streamer.shutdown()

    @property
    def streamer(self) -> ObjectStreamer:
        """For `stream_no_wait`."""
        return self._streamer

    # -- aux messages ------------------------------------------------------------------------------------------------

    def register_aux_message_handler(self, topic: str, message_handle_func: AuxHandler) -> None:
        """See `AuxMessages.register_aux_message_handler`."""
        self._aux.register_aux_message_handler(topic, message_handle_func)

    def send_aux_request(
        self,
        targets: Targets,
        topic: str,
        request: Shareable,
        timeout: float,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, Shareable]:
        """See `AuxMessages.send_aux_request`."""
        return self._aux.send_aux_request(self._names_of(targets), topic, request, timeout, fl_ctx, optional, secure)

    def multicast_aux_requests(
        self,
        topic: str,
        target_requests: Mapping[str, Shareable],
        timeout: float,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, Shareable]:
        """See `AuxMessages.multicast_aux_requests`."""
        return self._aux.multicast_aux_requests(topic, target_requests, timeout, fl_ctx, optional, secure)

    def fire_and_forget_aux_request(
        self,
        targets: Targets,
        topic: str,
        request: Shareable,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, str]:
        """See `AuxMessages.fire_and_forget_aux_request`."""
        return self._aux.fire_and_forget_aux_request(
            self._names_of(targets), topic, request, fl_ctx, optional, secure
        )  # fmt: skip

    # -- within ------------------------------------------------------------------------------------------------------

    def _names_of(self, targets: Targets) -> str | list[str]:
        if targets is not None:
            return targets if isinstance(targets, str) else list(targets)
        if self._cell.root == self._cell.fqcn:
            return self.get_clients()
        return FQCN.ROOT_SERVER

    def __repr__(self) -> str:
        return f"<CellEngine of {self._cell.fqcn}, components {', '.join(self._components) or 'none'}>"
