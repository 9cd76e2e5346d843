"""zmqfl: the messaging layer under a federation.

The floors, each importing only from those below:

    cli         `zmqfl ...`, thin
    launch      Plan -> processes
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

The names below are the library; everything else may change.
"""

from zmqfl.cell.cell import Cell
from zmqfl.cell.flare_names import TargetMessage
from zmqfl.cell.handles import BroadcastHandle, Handle, RequestHandle
from zmqfl.cell.message import Message, MessageHeaderKey, make_reply, new_message
from zmqfl.cell.net_agent import NetAgent
from zmqfl.cell.peers import CellAgent
from zmqfl.cell.progress import PushProgress, TransferProgress
from zmqfl.cell.pulling import PullHandle
from zmqfl.cell.pushing import PushHandle
from zmqfl.cell.statistics import CellStatistics
from zmqfl.cell.streams import PushReport
from zmqfl.cell.transfer_verbs import Offer, Received
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
    CellReturnCode,
    RequestFailed,
    SinkError,
    SourceChangedError,
    SourceError,
    TransferError,
    UserError,
    ZmqflError,
)
from zmqfl.fqcn import FQCN, FqcnInfo
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import (
    ConsumerFactory,
    ObjectConsumer,
    ObjectProducer,
    StreamableEngine,
    StreamContext,
    StreamContextKey,
)
from zmqfl.streaming.file_downloader import FileDownloader, download_file
from zmqfl.streaming.file_streamer import FileStreamer
from zmqfl.streaming.object_streamer import ObjectStreamer
from zmqfl.streaming.streamer_base import StreamerBase
from zmqfl.transport.keys import Keys
from zmqfl.wire.payload import register_dataclass, register_enum

__version__ = "0.1.0"

__all__ = [
    "FQCN",
    "AppConstants",
    "BlobError",
    "BroadcastHandle",
    "Cell",
    "CellAgent",
    "CellConfig",
    "CellEngine",
    "CellReturnCode",
    "CellStatistics",
    "ConsumerFactory",
    "FLComponent",
    "FLContext",
    "FLContextKey",
    "FLContextManager",
    "FileDownloader",
    "FileStreamer",
    "FqcnInfo",
    "Handle",
    "Keys",
    "Message",
    "MessageHeaderKey",
    "NetAgent",
    "ObjectConsumer",
    "ObjectProducer",
    "ObjectStreamer",
    "Offer",
    "PullHandle",
    "PushHandle",
    "PushProgress",
    "PushReport",
    "Received",
    "RequestFailed",
    "RequestHandle",
    "ReturnCode",
    "Shareable",
    "Signal",
    "SinkError",
    "SourceChangedError",
    "SourceError",
    "StreamContext",
    "StreamContextKey",
    "StreamableEngine",
    "StreamerBase",
    "TargetMessage",
    "TransferError",
    "TransferProgress",
    "UserError",
    "Workspace",
    "ZmqflError",
    "download_file",
    "make_reply",
    "new_message",
    "register_dataclass",
    "register_enum",
]
