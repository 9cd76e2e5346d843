"""What server and clients of a run say to each other: requests of one channel.

    topic       who asks   what                                        answered
    sync        client     may I begin?                                when the server has started the run
    get_task    client     what is to be done?                         when there is something, or after `poll`
    check_task  client     is the result of this task still wanted?    at once: OK or TASK_UNKNOWN
    submit      client     a result                                    when it has been taken, before callbacks see it
    leave       client     I have ended my run                         at once
    presence    both       are you there?                              when the run has ended there: until then the
                                                                       network watches over the other side
    ready       server     the run has started (a fire)
    end_run     server     the run has ended (a fire)

A message is a list of a Shareable and of the public props of its sender, as those of aux messages are.
"""

from __future__ import annotations

from typing import Any, Final

from zmqfl.cell.message import Message
from zmqfl.context.aux_payload import unpack
from zmqfl.context.fl_context import FLContext
from zmqfl.context.peer_context import peer_context_of
from zmqfl.context.shareable import Shareable
from zmqfl.errors import DecodeError, InvalidRequest

CHANNEL: Final = "zmqfl_run"
SYNC: Final = "sync"
GET: Final = "get_task"
CHECK: Final = "check_task"
SUBMIT: Final = "submit"
LEAVE: Final = "leave"
PRESENCE: Final = "presence"
READY: Final = "ready"
END: Final = "end_run"

FOREVER: Final = 30 * 86400.0
"""Seconds of a question that is answered at the end of a run."""


def read(message: Message) -> tuple[Shareable, FLContext]:
    """The Shareable of a message, and the peer context. Raises `InvalidRequest`."""
    try:
        shareable, props = unpack(message.payload)
        return shareable, peer_context_of(props)
    except DecodeError as error:
        raise InvalidRequest(str(error)) from None


def packed(shareable: Shareable, props: dict[str, Any] | None = None) -> list[Any]:
    """The payload of a message."""
    return [shareable.to_payload(), props or {}]
