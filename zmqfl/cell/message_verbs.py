"""The verbs of a cell that ask and answer: request, broadcast, fire; handlers and replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from zmqfl.cell.handles import BroadcastHandle, Handle, RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.registry import check_name, check_seconds
from zmqfl.config import CellConfig

if TYPE_CHECKING:
    from zmqfl.cell.asking import Asking
    from zmqfl.cell.serving import Serving


class MessageVerbs:
    """Mixed into `Cell`."""

    if TYPE_CHECKING:
        fqcn: str
        config: CellConfig
        _asking: Asking
        _serving: Serving

        def _check(self) -> None: ...
        def _is_on_reactor(self) -> bool: ...

    def request(
        self,
        target: str,
        channel: str,
        topic: str,
        payload: Any = None,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
        secure: bool = False,
        copy: bool = False,
        pass_through: bool = False,
    ) -> RequestHandle:
        """Ask one cell. The handle gives its reply, a Message, or raises `RequestFailed` with the return code.

        `payload`: a value, or a Message with headers of yours. `timeout`: seconds that the handler may take, from its
        start (None or 0: `config.request_timeout`); `deadline`: seconds for everything. It runs at most once.
        Arrays and bytes that together are above `reference_threshold` stay in the caller's memory until the callee has
        pulled them: one that is changed meanwhile fails the request, unless `copy` makes a snapshot.
        `pass_through`: those of the reply are not pulled, see `register_pass_through_cb`.
        Raises `EncodeError` for a payload that cannot travel, `ArgumentError`, `ClosedError`, `ForkedError`.
        """
        self._check()
        handle = RequestHandle(
            str(target), on_cancel=lambda: self._asking.cancel(handle), on_reactor=self._is_on_reactor
        )
        self._ask(handle, (target,), channel, topic, payload, timeout, deadline, secure, copy, pass_through)
        return handle

    def broadcast(
        self,
        targets: str | Iterable[str],
        channel: str,
        topic: str,
        payload: Any = None,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
        secure: bool = False,
        copy: bool = False,
        pass_through: bool = False,
    ) -> BroadcastHandle:
        """Ask several cells; serialised once, each link is crossed once. The handle gives a Message per target.

        All else is as of `request`.
        """
        self._check()
        names = (targets,) if isinstance(targets, str) else tuple(dict.fromkeys(targets))
        handle = BroadcastHandle(names, on_cancel=lambda: self._asking.cancel(handle), on_reactor=self._is_on_reactor)
        self._ask(handle, names, channel, topic, payload, timeout, deadline, secure, copy, pass_through)
        return handle

    def fire(
        self,
        targets: str | Iterable[str],
        channel: str,
        topic: str,
        payload: Any = None,
        *,
        secure: bool = False,
        copy: bool = False,
    ) -> Handle[dict[str, str]]:
        """Send without a reply: it may be lost. The handle gives, per target, "" or why it did not leave."""
        self._check()
        names = (targets,) if isinstance(targets, str) else tuple(dict.fromkeys(targets))
        handle: Handle[dict[str, str]] = Handle(on_cancel=_nothing, on_reactor=self._is_on_reactor)
        channel, topic = check_name(channel, "channel"), check_name(topic, "topic")
        self._asking.fire(handle, names, channel, topic, payload, secure, copy)
        return handle

    def register_request_cb(self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Serve requests and fires by `cb(message, *args, **kwargs)`; "*" stands for every topic, and every channel.

        `cb` returns a value, a Message, a future, or None and replies later by `send_reply`; or it is a coroutine
        function, run on the loop that is running now. The most specific registration serves; a second one for the
        same channel and topic replaces the first.
        """
        self._serving.register(channel, topic, cb, args, kwargs)

    def register_pass_through_cb(
        self, channel: str, topic: str, cb: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """As `register_request_cb`, for a handler that sends large payloads on: nothing large passes through here.

        In what it gets, a `LargeObjectRef` stands for each array and each bytes that stayed with the sender. It may
        send them on to cells below this one, in any payload: those pull from the sender. It should reply when they have
        what they need, as the sender then lets go of it.
        """
        self._serving.register(channel, topic, cb, args, kwargs, passes_through=True)

    def send_reply(
        self, reply: Any, to_cell: str, for_req_ids: Iterable[int], secure: bool = False, optional: bool = False
    ) -> str:
        """Reply to requests whose handler returned None; "" or an error text naming the requests that do not wait.

        `for_req_ids`: what `message.req_id` was. The reply to a sealed request is always sealed; `secure`: it must be.
        """
        late: list[str] = []
        for id in for_req_ids:
            call = self._serving.deferred(to_cell, id)
            if call is None:
                late.append(str(id))
            elif secure and not self._serving.is_sealed(call):
                return f"request {id} of {to_cell} did not come with secure=True, so its reply cannot be sealed"
            else:
                self._serving.finish(call, reply)
        return f"no request {', '.join(late)} of {to_cell} waits for a reply at {self.fqcn}" if late else ""

    def when_cancelled(self, message: Message, cb: Callable[[], object]) -> None:
        """Have `cb()` called, once, when nobody waits any more for the reply to `message`, the request of a handler.

        That is: its caller has cancelled it, or has started anew, or its time-out is over; at once where it is already.
        Never after the reply. It runs in any thread, often the reactor: it must be quick and must not wait.
        """
        self._serving.when_revoked(message.origin, message.req_id, cb)

    # -- within ------------------------------------------------------------------------------------------------------

    def _ask(
        self,
        handle: RequestHandle | BroadcastHandle,
        targets: tuple[str, ...],
        channel: str,
        topic: str,
        payload: Any,
        timeout: float | None,
        deadline: float | None,
        secure: bool,
        copy: bool,
        pass_through: bool,
    ) -> None:
        self._asking.ask(
            handle,
            targets,
            check_name(channel, "channel"),
            check_name(topic, "topic"),
            payload,
            check_seconds(timeout, "timeout") or self.config.request_timeout,
            check_seconds(deadline, "deadline"),
            secure,
            copy,
            pass_through,
        )


def _nothing(*_: object) -> None:
    """For handles whose work cannot be given up."""
