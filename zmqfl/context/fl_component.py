"""What takes part in a run: it hears events, fires events, and logs with the place it is at.

    class Hello(FLComponent):
        def handle_event(self, event_type, fl_ctx):
            if event_type == EventType.START_RUN:
                self.log_info(fl_ctx, "hello")

Source: reference "flare" 1.10, 6.1, 6.2. A subclass need not call `super().__init__()`.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from zmqfl.context.event_type import LOG_EVENTS, EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import EventScope, FLContextKey, ReservedKey
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError

EventHandler = Callable[..., object]


@dataclass(frozen=True, slots=True)
class RegisteredHandler:
    """A handler of one event, with the arguments that it was registered with."""

    call: EventHandler
    kwargs: dict[str, Any]


class FLComponent:
    """See the module."""

    _name: str
    logger: logging.Logger
    _event_handlers: dict[str, list[RegisteredHandler]]
    made_with: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments of its constructor, by which a job describes it to other processes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Set up what the methods need: here and not in `__init__`, which subclasses forget to call."""
        component = super().__new__(cls)
        component._name = cls.__name__
        component.logger = logging.getLogger(f"zmqfl.component.{cls.__name__}")
        component._event_handlers = {}
        component.made_with = args, kwargs
        return component

    @property
    def name(self) -> str:
        """The name of its class, under which its exceptions are kept."""
        return self._name

    # -- events ------------------------------------------------------------------------------------------------------

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Hear an event, for which no handler is registered here. Does nothing unless a subclass does."""

    def register_event_handler(self, event_types: str | Iterable[str], handler: EventHandler, **kwargs: Any) -> None:
        """Have `handler(event_type, fl_ctx, **kwargs)` called for these events, in the place of `handle_event`.

        Several handlers are called in the order of their coming; one that is registered again is ignored.
        Raises `ArgumentError`.
        """
        names = [event_types] if isinstance(event_types, str) else list(event_types)
        if not callable(handler):
            raise ArgumentError(f"an event handler must be callable, not {type(handler).__name__}")
        for name in names:
            handlers = self._event_handlers.setdefault(_checked_event(name), [])
            if all(each.call != handler for each in handlers):
                handlers.append(RegisteredHandler(handler, kwargs))

    def handlers_of(self, event_type: str) -> list[RegisteredHandler]:
        """The handlers of an event; without any it goes to `handle_event`."""
        return list(self._event_handlers.get(event_type, ())) or [RegisteredHandler(self.handle_event, {})]

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Have all components of this process hear an event, in this thread; without an engine nobody does.

        Its data is what the context holds as `FLContextKey.EVENT_DATA`. Raises `ArgumentError`.
        """
        _checked_event(event_type)
        if not isinstance(fl_ctx, FLContext):
            raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
        if (engine := fl_ctx.get_engine()) is None:
            self.logger.error("event %s was not fired: the context has no engine", event_type)
        else:
            engine.fire_event(event_type, fl_ctx)

    def fire_fed_event(
        self, event_type: str, event_data: Shareable, fl_ctx: FLContext, targets: Iterable[str] | None = None
    ) -> None:
        """Have the components of this process hear an event, and then those of other sites.

        From a server it goes to `targets`, names of clients (None: all of them), from a client to the server. Its data
        is `FLContextKey.EVENT_DATA`, its scope `EventScope.FEDERATION`. Raises `ArgumentError` (a TypeError).
        """
        _checked_event(event_type)
        if not isinstance(event_data, Shareable):
            raise ArgumentError(f"event_data must be a Shareable, not {type(event_data).__name__}")
        if not isinstance(fl_ctx, FLContext):
            raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
        names = None if targets is None else list(targets)
        if isinstance(targets, str) or not all(isinstance(name, str) for name in names or ()):
            raise ArgumentError(f"targets must be a list of names of clients, not {targets!r}")
        fl_ctx.put(FLContextKey.EVENT_SCOPE, EventScope.FEDERATION, private=True, sticky=False)
        fl_ctx.put(FLContextKey.EVENT_DATA, event_data, private=True, sticky=False)
        try:
            self.fire_event(event_type, fl_ctx)
        finally:
            fl_ctx.put(FLContextKey.EVENT_SCOPE, EventScope.LOCAL, private=True, sticky=False)
        if (send := getattr(fl_ctx.get_engine(), "send_fed_event", None)) is not None:
            send(event_type, event_data, names)

    def system_panic(self, reason: str, fl_ctx: FLContext) -> None:
        """End the whole run."""
        fl_ctx.put(FLContextKey.EVENT_DATA, reason, private=True, sticky=False)
        self.fire_event(EventType.FATAL_SYSTEM_ERROR, fl_ctx)

    # -- state over restarts -----------------------------------------------------------------------------------------

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """What must survive a restart of the server; empty unless a subclass says so."""
        return {}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Take up what `get_persist_state` gave before the restart."""

    # -- log ---------------------------------------------------------------------------------------------------------

    def log_debug(self, fl_ctx: FLContext, msg: str, fire_event: bool = False) -> None:
        """Log, and with `fire_event` have the components of this process hear of it; so the other five."""
        self._log(fl_ctx, logging.DEBUG, EventType.DEBUG_LOG_AVAILABLE, msg, fire_event)

    def log_info(self, fl_ctx: FLContext, msg: str, fire_event: bool = False) -> None:
        """Log at level INFO."""
        self._log(fl_ctx, logging.INFO, EventType.INFO_LOG_AVAILABLE, msg, fire_event)

    def log_warning(self, fl_ctx: FLContext, msg: str, fire_event: bool = True) -> None:
        """Log at level WARNING."""
        self._log(fl_ctx, logging.WARNING, EventType.WARNING_LOG_AVAILABLE, msg, fire_event)

    def log_error(self, fl_ctx: FLContext, msg: str, fire_event: bool = True) -> None:
        """Log at level ERROR."""
        self._log(fl_ctx, logging.ERROR, EventType.ERROR_LOG_AVAILABLE, msg, fire_event)

    def log_critical(self, fl_ctx: FLContext, msg: str, fire_event: bool = True) -> None:
        """Log at level CRITICAL."""
        self._log(fl_ctx, logging.CRITICAL, EventType.CRITICAL_LOG_AVAILABLE, msg, fire_event)

    def log_exception(self, fl_ctx: FLContext, msg: str, fire_event: bool = False) -> None:
        """Log at level ERROR, with the exception that is being handled."""
        text = f"{msg}\n{traceback.format_exc().rstrip()}"
        self._log(fl_ctx, logging.ERROR, EventType.EXCEPTION_LOG_AVAILABLE, text, fire_event)

    def _log(self, fl_ctx: FLContext, level: int, event_type: str, msg: str, fire_event: bool) -> None:
        self.logger.log(level, "%s %s", _place(fl_ctx), msg)
        if fire_event and not _is_logging(fl_ctx) and (engine := fl_ctx.get_engine()) is not None:
            fl_ctx.put(FLContextKey.EVENT_DATA, msg, private=True, sticky=False)
            engine.fire_event(event_type, fl_ctx)


def _checked_event(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"an event must be a str that is not empty, not {name!r}")
    return name


def _is_logging(fl_ctx: FLContext) -> bool:
    """Whether an event of the log is being handled: to log there would come back for ever."""
    return bool(fl_ctx.get_prop(ReservedKey.EVENT_DEPTH)) and fl_ctx.get_prop(FLContextKey.EVENT_ID) in LOG_EVENTS


def _place(fl_ctx: FLContext) -> str:
    """Where the log line comes from, e.g. `[site-1, job 7, peer server, task train]`."""
    peer = fl_ctx.get_peer_context()
    parts = {
        "": fl_ctx.get_identity_name(),
        "job ": fl_ctx.get_job_id(),
        "peer ": peer.get_identity_name() if peer is not None else "",
        "task ": fl_ctx.get_prop(FLContextKey.TASK_NAME),
    }
    return f"[{', '.join(f'{label}{value}' for label, value in parts.items() if value)}]"
