"""zmqfl: the messaging layer under a federation.

The floors, each importing only from those below:

    cli         `zmqfl ...`, thin
    fl          runs: tasks, controllers, executors, filters, runners
    launch      Plan -> processes
    channels    the names of stream_service: StreamServer, StreamClient_Thread
    rpc         methods of one cell, called from another: Rpc
    streaming   FLARE's streaming: FileStreamer, FileDownloader, ObjectStreamer, CellEngine
    context     FLARE's context: FLContext, Signal, Shareable, components and events
    cell        what a user holds: Cell, handles, messages, filters
    transport   the reactor, sockets, keys, who may connect
    blobs       files and bytes: sources and sinks
    protocol    machines without I/O: link, request, flow, push, pull, routing, node
    wire        messages, codec, payloads
    topology    the topology file
    config      settings of a cell
    fqcn        names of cells
    errors      one tree

The names below are the library; everything else may change. Each is imported where it is first asked for: a process
pays for the floors that it uses, not for all of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zmqfl.cell.announcements import Announcement, Announcements
    from zmqfl.cell.auto_pull import AutoPull
    from zmqfl.cell.cell import Cell
    from zmqfl.cell.channel_items import ChannelItem
    from zmqfl.cell.channel_reader import ChannelReader
    from zmqfl.cell.channel_verbs import Channel
    from zmqfl.cell.channel_writer import ChannelWriter
    from zmqfl.cell.filters import looks_at_headers
    from zmqfl.cell.flare_names import TargetMessage
    from zmqfl.cell.handles import BroadcastHandle, Handle, RequestHandle
    from zmqfl.cell.item_buffer import ItemBuffer
    from zmqfl.cell.message import Message, MessageHeaderKey, make_reply, new_message
    from zmqfl.cell.net_agent import NetAgent
    from zmqfl.cell.noticeboard import Watch
    from zmqfl.cell.object_verbs import ReceivedObject
    from zmqfl.cell.peers import CellAgent
    from zmqfl.cell.progress import PushProgress, TransferProgress
    from zmqfl.cell.props import Prop, Props
    from zmqfl.cell.pulling import PullHandle
    from zmqfl.cell.pushing import PushHandle
    from zmqfl.cell.statistics import CellStatistics
    from zmqfl.cell.streams import PushReport
    from zmqfl.cell.transfer_verbs import Offer, Received
    from zmqfl.channels.stream_client import StreamClient_Thread
    from zmqfl.channels.stream_server import StreamServer
    from zmqfl.config import CellConfig
    from zmqfl.context.fl_component import FLComponent
    from zmqfl.context.fl_context import FLContext, FLContextManager
    from zmqfl.context.keys import AppConstants, FLContextKey
    from zmqfl.context.return_code import ReturnCode
    from zmqfl.context.shareable import Shareable
    from zmqfl.context.signal import Signal
    from zmqfl.context.workspace import Workspace
    from zmqfl.errors import (
        BlobError,
        BufferFullError,
        CellReturnCode,
        ChannelDeniedError,
        ChannelEndedError,
        ChannelError,
        ChannelExistsError,
        ChannelUnknownError,
        NoSuchMethod,
        RemoteError,
        RequestFailed,
        RpcTimeout,
        SignatureError,
        SinkError,
        SourceChangedError,
        SourceError,
        TransferError,
        UserError,
        ZmqflError,
    )
    from zmqfl.fl.client import Client
    from zmqfl.fl.client_runner import ClientRunner
    from zmqfl.fl.controller import Controller
    from zmqfl.fl.dxo import DXO, DataKind, MetaKey
    from zmqfl.fl.executor import Executor
    from zmqfl.fl.filter import Filter
    from zmqfl.fl.run_settings import RunSettings
    from zmqfl.fl.server_runner import ServerRunner
    from zmqfl.fl.task import ClientTask, SendOrder, Task, TaskCompletionStatus
    from zmqfl.fl.task_filters import TaskFilters
    from zmqfl.fqcn import FQCN, FqcnInfo
    from zmqfl.protocol.channels.buffer import BufferTerms, Policy
    from zmqfl.rpc.proxy import Proxy
    from zmqfl.rpc.remote_stream import RemoteStream
    from zmqfl.rpc.rpc import Rpc
    from zmqfl.rpc.running import RunningCall, current_call
    from zmqfl.streaming.array_downloader import add_arrays, download_arrays
    from zmqfl.streaming.cacheable import CacheableObject, ItemConsumer
    from zmqfl.streaming.cell_engine import CellEngine
    from zmqfl.streaming.chunk_asking import request_download_chunk
    from zmqfl.streaming.container_retriever import ContainerRetriever
    from zmqfl.streaming.container_streamer import ContainerStreamer
    from zmqfl.streaming.contracts import (
        ConsumerFactory,
        ObjectConsumer,
        ObjectProducer,
        StreamableEngine,
        StreamContext,
        StreamContextKey,
    )
    from zmqfl.streaming.downloadable import Consumer, Downloadable, DownloadStatus, ProduceRC, TransactionDoneStatus
    from zmqfl.streaming.downloading import download_object
    from zmqfl.streaming.file_downloader import FileDownloader, download_file
    from zmqfl.streaming.file_retriever import FileRetriever
    from zmqfl.streaming.file_streamer import FileStreamer
    from zmqfl.streaming.object_downloader import ObjectDownloader
    from zmqfl.streaming.object_retriever import ObjectRetriever
    from zmqfl.streaming.object_streamer import ObjectStreamer
    from zmqfl.streaming.offered_file import add_file
    from zmqfl.streaming.source_failure import notify_source_failure
    from zmqfl.streaming.streamer_base import StreamerBase
    from zmqfl.streaming.transfer_outcome import TransferOutcome, TransferReason, TransferState, TransferWaiter
    from zmqfl.streaming.transfer_progress import TransferProgressTracker
    from zmqfl.transport.keys import Keys
    from zmqfl.wire.payload import register_dataclass, register_enum
    from zmqfl.wire.references import LargeObjectRef

__version__ = "0.1.0"

__all__ = [
    "DXO",
    "FQCN",
    "Announcement",
    "Announcements",
    "AppConstants",
    "AutoPull",
    "BlobError",
    "BroadcastHandle",
    "BufferFullError",
    "BufferTerms",
    "CacheableObject",
    "Cell",
    "CellAgent",
    "CellConfig",
    "CellEngine",
    "CellReturnCode",
    "CellStatistics",
    "Channel",
    "ChannelDeniedError",
    "ChannelEndedError",
    "ChannelError",
    "ChannelExistsError",
    "ChannelItem",
    "ChannelReader",
    "ChannelUnknownError",
    "ChannelWriter",
    "Client",
    "ClientRunner",
    "ClientTask",
    "Consumer",
    "ConsumerFactory",
    "ContainerRetriever",
    "ContainerStreamer",
    "Controller",
    "DataKind",
    "DownloadStatus",
    "Downloadable",
    "Executor",
    "FLComponent",
    "FLContext",
    "FLContextKey",
    "FLContextManager",
    "FileDownloader",
    "FileRetriever",
    "FileStreamer",
    "Filter",
    "FqcnInfo",
    "Handle",
    "ItemBuffer",
    "ItemConsumer",
    "Keys",
    "LargeObjectRef",
    "Message",
    "MessageHeaderKey",
    "MetaKey",
    "NetAgent",
    "NoSuchMethod",
    "ObjectConsumer",
    "ObjectDownloader",
    "ObjectProducer",
    "ObjectRetriever",
    "ObjectStreamer",
    "Offer",
    "Policy",
    "ProduceRC",
    "Prop",
    "Props",
    "Proxy",
    "PullHandle",
    "PushHandle",
    "PushProgress",
    "PushReport",
    "Received",
    "ReceivedObject",
    "RemoteError",
    "RemoteStream",
    "RequestFailed",
    "RequestHandle",
    "ReturnCode",
    "Rpc",
    "RpcTimeout",
    "RunSettings",
    "RunningCall",
    "SendOrder",
    "ServerRunner",
    "Shareable",
    "Signal",
    "SignatureError",
    "SinkError",
    "SourceChangedError",
    "SourceError",
    "StreamClient_Thread",
    "StreamContext",
    "StreamContextKey",
    "StreamServer",
    "StreamableEngine",
    "StreamerBase",
    "TargetMessage",
    "Task",
    "TaskCompletionStatus",
    "TaskFilters",
    "TransactionDoneStatus",
    "TransferError",
    "TransferOutcome",
    "TransferProgress",
    "TransferProgressTracker",
    "TransferReason",
    "TransferState",
    "TransferWaiter",
    "UserError",
    "Watch",
    "Workspace",
    "ZmqflError",
    "add_arrays",
    "add_file",
    "current_call",
    "download_arrays",
    "download_file",
    "download_object",
    "looks_at_headers",
    "make_reply",
    "new_message",
    "notify_source_failure",
    "register_dataclass",
    "register_enum",
    "request_download_chunk",
]

_HOMES: Final = {
    "cell.announcements": "Announcement Announcements",
    "cell.auto_pull": "AutoPull",
    "cell.cell": "Cell",
    "cell.channel_items": "ChannelItem",
    "cell.channel_reader": "ChannelReader",
    "cell.channel_verbs": "Channel",
    "cell.channel_writer": "ChannelWriter",
    "cell.filters": "looks_at_headers",
    "cell.flare_names": "TargetMessage",
    "cell.handles": "BroadcastHandle Handle RequestHandle",
    "cell.item_buffer": "ItemBuffer",
    "cell.message": "Message MessageHeaderKey make_reply new_message",
    "cell.net_agent": "NetAgent",
    "cell.noticeboard": "Watch",
    "cell.object_verbs": "ReceivedObject",
    "cell.peers": "CellAgent",
    "cell.progress": "PushProgress TransferProgress",
    "cell.props": "Prop Props",
    "cell.pulling": "PullHandle",
    "cell.pushing": "PushHandle",
    "cell.statistics": "CellStatistics",
    "cell.streams": "PushReport",
    "cell.transfer_verbs": "Offer Received",
    "channels.stream_client": "StreamClient_Thread",
    "channels.stream_server": "StreamServer",
    "config": "CellConfig",
    "context.fl_component": "FLComponent",
    "context.fl_context": "FLContext FLContextManager",
    "context.keys": "AppConstants FLContextKey",
    "context.return_code": "ReturnCode",
    "context.shareable": "Shareable",
    "context.signal": "Signal",
    "context.workspace": "Workspace",
    "errors": "BlobError BufferFullError CellReturnCode ChannelDeniedError ChannelEndedError ChannelError "
    "ChannelExistsError ChannelUnknownError NoSuchMethod RemoteError RequestFailed RpcTimeout SignatureError "
    "SinkError SourceChangedError SourceError TransferError UserError ZmqflError",
    "fl.client": "Client",
    "fl.client_runner": "ClientRunner",
    "fl.controller": "Controller",
    "fl.dxo": "DXO DataKind MetaKey",
    "fl.executor": "Executor",
    "fl.filter": "Filter",
    "fl.run_settings": "RunSettings",
    "fl.server_runner": "ServerRunner",
    "fl.task": "ClientTask SendOrder Task TaskCompletionStatus",
    "fl.task_filters": "TaskFilters",
    "fqcn": "FQCN FqcnInfo",
    "protocol.channels.buffer": "BufferTerms Policy",
    "rpc.proxy": "Proxy",
    "rpc.remote_stream": "RemoteStream",
    "rpc.rpc": "Rpc",
    "rpc.running": "RunningCall current_call",
    "streaming.array_downloader": "add_arrays download_arrays",
    "streaming.cacheable": "CacheableObject ItemConsumer",
    "streaming.cell_engine": "CellEngine",
    "streaming.chunk_asking": "request_download_chunk",
    "streaming.container_retriever": "ContainerRetriever",
    "streaming.container_streamer": "ContainerStreamer",
    "streaming.contracts": "ConsumerFactory ObjectConsumer ObjectProducer StreamableEngine StreamContext "
    "StreamContextKey",
    "streaming.downloadable": "Consumer Downloadable DownloadStatus ProduceRC TransactionDoneStatus",
    "streaming.downloading": "download_object",
    "streaming.file_downloader": "FileDownloader download_file",
    "streaming.file_retriever": "FileRetriever",
    "streaming.file_streamer": "FileStreamer",
    "streaming.object_downloader": "ObjectDownloader",
    "streaming.object_retriever": "ObjectRetriever",
    "streaming.object_streamer": "ObjectStreamer",
    "streaming.offered_file": "add_file",
    "streaming.source_failure": "notify_source_failure",
    "streaming.streamer_base": "StreamerBase",
    "streaming.transfer_outcome": "TransferOutcome TransferReason TransferState TransferWaiter",
    "streaming.transfer_progress": "TransferProgressTracker",
    "transport.keys": "Keys",
    "wire.payload": "register_dataclass register_enum",
    "wire.references": "LargeObjectRef",
}
"""Module -> its names here: the imports above, for run time. tests/test_init.py holds that they are the same."""


if not TYPE_CHECKING:  # a type checker must go on to refuse names that are not there

    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names.split():
                value = globals()[name] = getattr(import_module(f"zmqfl.{module}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
