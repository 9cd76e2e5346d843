"""Filters: functions that see messages before handlers and callers do.

Each is called with (message, *args, **kwargs). It changes the message in place and returns None, or returns a Message,
which then is the reply (of a request) or takes the reply's place; no further filter or handler sees the request.
Those for `*:*` always run, and run first. Source: reference "flare" 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from zmqfl.cell.message import Message
from zmqfl.cell.registry import Registry
from zmqfl.errors import CellReturnCode, RequestFailed

Filter = Callable[[Message], Message | None]


class Filters:
    """The filters of a cell, by direction."""

    def __init__(self) -> None:
        self.incoming: Registry[Filter] = Registry()
        """See each request, fire and reply that comes in, before those for one kind."""
        self.incoming_request: Registry[Filter] = Registry()
        self.outgoing_request: Registry[Filter] = Registry()
        self.outgoing_reply: Registry[Filter] = Registry()
        self.incoming_reply: Registry[Filter] = Registry()

    def on_request(self, message: Message, channel: str, topic: str) -> Message | None:
        """Filter what came in; a Message is the reply."""
        chain = [*self.incoming.matching(channel, topic), *self.incoming_request.matching(channel, topic)]
        return run(chain, message)

    def on_reply(self, message: Message, channel: str, topic: str) -> Message:
        """Filter a reply that came in."""
        return run(self.reply_chain(channel, topic), message) or message

    def reply_chain(self, channel: str, topic: str) -> list[Filter]:
        """What `on_reply` would run: without any, a reply needs no worker."""
        return [*self.incoming.matching(channel, topic), *self.incoming_reply.matching(channel, topic)]


def bound(cb: Callable[..., Message | None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Filter:
    """A filter with the arguments that it was registered with."""
    return partial(_call, cb, args, kwargs) if args or kwargs else cb


def run(chain: list[Filter], message: Message) -> Message | None:
    """The first Message that a filter returns, or None.

    What a filter raises becomes a `RequestFailed`: with its own code for those of `zmqfl.errors`, else filter_error.
    """
    for each in chain:
        try:
            answer = each(message)
        except RequestFailed:
            raise
        except Exception as error:
            text = f"filter {_name(each)}: {type(error).__name__}: {error}"
            raise RequestFailed(text, code=CellReturnCode.FILTER_ERROR) from error
        if answer is not None:
            return answer
    return None


def _call(cb: Callable[..., Message | None], args: tuple[Any, ...], kwargs: dict[str, Any], message: Message) -> Any:
    return cb(message, *args, **kwargs)


def _name(each: Any) -> str:
    return str(getattr(each, "__qualname__", each))
