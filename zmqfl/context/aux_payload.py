"""The payload of aux messages: a list of a Shareable and of the sender's public props."""

from __future__ import annotations

from typing import Any

from zmqfl.cell.message import Message
from zmqfl.context.fl_context import FLContext
from zmqfl.context.peer_context import peer_context_of, public_props_of
from zmqfl.context.return_code import ReturnCode, return_code_of
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply, shareable_of
from zmqfl.errors import ArgumentError, DecodeError


def pack_request(request: object, fl_ctx: object) -> list[Any]:
    """The payload of a request; neither of the two is changed. Raises `ArgumentError` for other types."""
    if not isinstance(request, Shareable):
        raise ArgumentError(f"an aux request must be a Shareable, not {type(request).__name__}")
    if not isinstance(fl_ctx, FLContext):
        raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
    return [request.to_payload(), public_props_of(fl_ctx)]


def unpack(content: Any) -> tuple[Shareable, Any]:
    """The Shareable, and the props as they came: they may be anything. Raises `DecodeError`."""
    if type(content) is not list or len(content) != 2:
        raise DecodeError("an aux message must be a list of a Shareable and public props")
    return shareable_of(content[0]), content[1]


def unpack_reply(message: Message) -> Shareable:
    """The reply in a message, with the public props of its sender; or what the code of its cell means to a run."""
    if not message.ok:
        return failed(return_code_of(message.return_code), message.error)
    try:
        reply, props = unpack(message.payload)
        reply.set_peer_props(peer_context_of(props).get_all_public_props())
    except DecodeError as error:
        return failed(ReturnCode.ERROR, f"the reply of {message.origin} cannot be read: {error}")
    return reply


def failed(rc: ReturnCode, reason: object) -> Shareable:
    """A reply that says what went wrong, in the header `ReservedHeaderKey.ERROR`."""
    return make_reply(rc, {ReservedHeaderKey.ERROR: str(reason)})
