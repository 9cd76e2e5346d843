"""zmqfl: the messaging layer under a federation.

The floors, each importing only from those below:

    cli         `zmqfl ...`, thin
    launch      Plan -> processes
    cell        what a user holds: Cell, handles, messages, filters
    transport   the reactor, sockets, keys, who may connect
    protocol    machines without I/O: link, request, routing, node
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
from zmqfl.cell.statistics import CellStatistics
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, RequestFailed, UserError, ZmqflError
from zmqfl.fqcn import FQCN, FqcnInfo
from zmqfl.transport.keys import Keys
from zmqfl.wire.payload import register_dataclass, register_enum

__version__ = "0.1.0"

__all__ = [
    "FQCN",
    "BroadcastHandle",
    "Cell",
    "CellAgent",
    "CellConfig",
    "CellReturnCode",
    "CellStatistics",
    "FqcnInfo",
    "Handle",
    "Keys",
    "Message",
    "MessageHeaderKey",
    "NetAgent",
    "RequestFailed",
    "RequestHandle",
    "TargetMessage",
    "UserError",
    "ZmqflError",
    "make_reply",
    "new_message",
    "register_dataclass",
    "register_enum",
]
