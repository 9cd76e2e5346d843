"""FLARE's blocking names, each a line over the verbs of `Cell`.

They never raise for what happens elsewhere: it is in the return code of the reply. Source: reference "flare" 5.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmqfl.cell.filters import bound
from zmqfl.cell.message import Message

if TYPE_CHECKING:
    from zmqfl.cell.filters import Filters
    from zmqfl.cell.handles import BroadcastHandle, Handle, RequestHandle


@dataclass(frozen=True, slots=True)
class TargetMessage:
    """A message for one target, for `broadcast_multi_requests`."""

    target: str
    channel: str
    topic: str
    message: Message


class FlareNames:
    """Mixed into `Cell`. `secure` and `optional` are those of FLARE: the latter only lowers log levels."""

    if TYPE_CHECKING:
        filters: Filters

        # The verbs of `Cell`, for the type checker.
        def request(self, target: str, channel: str, topic: str, payload: Any = None, timeout: float | None = None,
                    *, deadline: float | None = None, secure: bool = False) -> RequestHandle: ...  # fmt: skip
        def broadcast(self, targets: str | Iterable[str], channel: str, topic: str, payload: Any = None,
                      timeout: float | None = None, *, deadline: float | None = None,
                      secure: bool = False) -> BroadcastHandle: ...  # fmt: skip
        def fire(self, targets: str | Iterable[str], channel: str, topic: str, payload: Any = None,
                 *, secure: bool = False) -> Handle[dict[str, str]]: ...  # fmt: skip

    def send_request(
        self,
        channel: str,
        topic: str,
        target: str,
        request: Any,
        timeout: float | None = None,
        secure: bool = False,
        optional: bool = False,
    ) -> Message:
        """Ask one cell and wait for the reply, whatever its return code."""
        return self.request(target, channel, topic, request, timeout, secure=secure).reply()

    def broadcast_request(
        self,
        channel: str,
        topic: str,
        targets: str | Iterable[str],
        request: Any,
        timeout: float | None = None,
        secure: bool = False,
        optional: bool = False,
    ) -> dict[str, Message]:
        """Ask several cells and wait until each has ended; one Message per target."""
        return self.broadcast(targets, channel, topic, request, timeout, secure=secure).result()

    def broadcast_multi_requests(
        self,
        target_requests: Mapping[str, TargetMessage],
        timeout: float | None = None,
        secure: bool = False,
        optional: bool = False,
    ) -> dict[str, Message]:
        """Ask each cell its own question, all at once; one Message per target."""
        handles = {
            name: self.request(each.target, each.channel, each.topic, each.message, timeout, secure=secure)
            for name, each in target_requests.items()
        }
        return {name: handle.reply() for name, handle in handles.items()}

    def fire_and_forget(
        self,
        channel: str,
        topic: str,
        targets: str | Iterable[str],
        message: Any,
        secure: bool = False,
        optional: bool = False,
    ) -> dict[str, str]:
        """Send without waiting for anybody; per target "" or why it could not leave this cell."""
        return self.fire(targets, channel, topic, message, secure=secure).result()

    queue_message = fire_and_forget
    """FLARE collects such messages for half a second; here there is nothing to gain by it."""

    def fire_multi_requests_and_forget(
        self, target_requests: Mapping[str, TargetMessage], optional: bool = False
    ) -> dict[str, str]:
        """Send each cell its own message without waiting for anybody."""
        return {
            name: self.fire(each.target, each.channel, each.topic, each.message).result()[each.target]
            for name, each in target_requests.items()
        }

    def add_incoming_filter(self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """See every request, fire and reply that comes in."""
        self.filters.incoming.append(channel, topic, bound(cb, args, kwargs))

    def add_incoming_request_filter(
        self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """See every request and fire before its handler; a returned Message is the reply."""
        self.filters.incoming_request.append(channel, topic, bound(cb, args, kwargs))

    def add_outgoing_request_filter(
        self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """See every request and fire before it leaves; a returned Message ends the request with its return code."""
        self.filters.outgoing_request.append(channel, topic, bound(cb, args, kwargs))

    def add_outgoing_reply_filter(
        self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """See every reply before it leaves; a returned Message takes its place."""
        self.filters.outgoing_reply.append(channel, topic, bound(cb, args, kwargs))

    def add_incoming_reply_filter(
        self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """See every reply before who waits for it; a returned Message takes its place."""
        self.filters.incoming_reply.append(channel, topic, bound(cb, args, kwargs))
