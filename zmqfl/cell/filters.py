"""Filters: functions that see messages before handlers and callers do.

Each is called with (message, *args, **kwargs). It changes the message in place and returns None, or returns a Message,
which then is the reply (of a request) or takes the reply's place; no further filter or handler sees the request.
Those for `*:*` always run, and run first.

A large payload stays with its sender until it is pulled (`zmqfl.cell.references`). A filter of incoming messages that
is marked with `looks_at_headers` runs before that: its message has a `LargeObjectRef` for a payload.
Source: reference "flare" 5.7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from zmqfl.cell.message import Message
from zmqfl.cell.registry import Registry
from zmqfl.errors import CellReturnCode, RequestFailed

Filter = Callable[[Message], Message | None]
CB = TypeVar("CB", bound=Callable[..., Any])


class Filters:
    """The filters of a cell, by direction."""

    def __init__(self) -> None:
        self.incoming: Registry[Filter] = Registry()
        """See each request, fire and reply that comes in, before those for one kind."""
        self.incoming_request: Registry[Filter] = Registry()
        self.outgoing_request: Registry[Filter] = Registry()
        self.outgoing_reply: Registry[Filter] = Registry()
        self.incoming_reply: Registry[Filter] = Registry()

    def on_request(self, message: Message, channel: str, topic: str, headers_seen: bool = False) -> Message | None:
        """Filter what came in; a Message is the reply. `headers_seen`: those of
        `early_chain` have seen it."""
        chain = self._request_chain(channel, topic)
        return run([each for each in chain if not _is_early(each)] if headers_seen else chain, message)

    def early_chain(self, channel: str, topic: str) -> list[Filter]:
        """Those for requests that do not look at the payload: they see one before its payload is pulled."""
        return [each for each in self._request_chain(channel, topic) if _is_early(each)]

    def _request_chain(self, channel: str, topic: str) -> list[Filter]:
        return [*self.incoming.matching(channel, topic), *self.incoming_request.matching(channel, topic)]

    def on_reply(self, message: Message, channel: str, topic: str) -> Message:
        """Filter a reply that came in."""
        return run(self.reply_chain(channel, topic), message) or message

    def reply_chain(self, channel: str, topic: str) -> list[Filter]:
        """What `on_reply` would run: without any, a reply needs no worker."""
        return [*self.incoming.matching(channel, topic), *self.incoming_reply.matching(channel, topic)]


def looks_at_headers(cb: CB) -> CB:
    """Mark a filter that does not need the payload: it decides before a large one is pulled."""
    cb.looks_at_headers = True  # type: ignore[attr-defined]
    return cb


def _is_early(each: Filter) -> bool:
    return bool(getattr(each, "looks_at_headers", False))


def bound(cb: Callable[..., Message | None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Filter:
    """A filter with the arguments that it was registered with."""
    if not args and not kwargs:
        return cb
    made = partial(_call, cb, args, kwargs)
    return looks_at_headers(made) if _is_early(cb) else made


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
