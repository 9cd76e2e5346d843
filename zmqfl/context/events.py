"""How an event gets to the components of a process. Source: reference "flare" 6.2."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from zmqfl.context.fl_component import FLComponent, RegisteredHandler
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import EventScope, FLContextKey, ReservedKey
from zmqfl.errors import ArgumentError

log = logging.getLogger("zmqfl.context")

MAX_DEPTH = 20
"""Events that may be fired by the handler of an event, and so on."""


def fire_event(event: str, handlers: Iterable[FLComponent], fl_ctx: FLContext) -> None:
    """Call each component's handlers of `event`, or its `handle_event`, one after another in this thread.

    Each finds the same id, data, origin and scope of the event in the context, whatever the one before fired itself.
    What one raises goes to the log and to `FLContextKey.EXCEPTIONS`, a dict by the name of the component; the others
    are called nevertheless. Raises `ArgumentError` (a TypeError) for a handler that is no FLComponent, and
    `RuntimeError` when events are nested deeper than `MAX_DEPTH`.
    """
    components = list(handlers)
    for component in components:
        if not isinstance(component, FLComponent):
            raise ArgumentError(f"{type(component).__name__} is no FLComponent, so it cannot hear event {event}")
    depth = fl_ctx.get_prop(ReservedKey.EVENT_DEPTH, 0) + 1
    if depth > MAX_DEPTH:
        raise RuntimeError(f"event {event} would be nested deeper than {MAX_DEPTH}: do its handlers fire each other?")
    props = _props_of(event, fl_ctx)
    _put(fl_ctx, {ReservedKey.EVENT_DEPTH: depth})
    try:
        for component in components:
            for handler in component.handlers_of(event):
                _put(fl_ctx, props)
                _call(component, handler, event, fl_ctx)
    finally:
        _put(fl_ctx, {ReservedKey.EVENT_DEPTH: depth - 1})


def _props_of(event: str, fl_ctx: FLContext) -> dict[str, Any]:
    return {
        FLContextKey.EVENT_ID: event,
        FLContextKey.EVENT_DATA: fl_ctx.get_prop(FLContextKey.EVENT_DATA),
        FLContextKey.EVENT_ORIGIN: fl_ctx.get_prop(FLContextKey.EVENT_ORIGIN),
        FLContextKey.EVENT_SCOPE: fl_ctx.get_prop(FLContextKey.EVENT_SCOPE, EventScope.LOCAL),
    }


def _put(fl_ctx: FLContext, props: dict[str, Any]) -> None:
    for key, value in props.items():
        fl_ctx.put(key, value, private=True, sticky=False)


def _call(component: FLComponent, handler: RegisteredHandler, event: str, fl_ctx: FLContext) -> None:
    try:
        handler.call(event, fl_ctx, **handler.kwargs)
    except Exception as error:  # one component must not stop the others
        log.exception("%s failed at event %s", component.name, event)
        failed = fl_ctx.get_prop(FLContextKey.EXCEPTIONS) or {}
        _put(fl_ctx, {FLContextKey.EXCEPTIONS: {**failed, component.name: error}})
