from __future__ import annotations

import logging
from typing import Any, ClassVar

import pytest

from zmqfl.context.event_type import EventType
from zmqfl.context.events import fire_event
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import EventScope, FLContextKey
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError


class Engine:
    """Dispatches events to its components."""

    def __init__(self, *components: FLComponent) -> None:
        self.components = components

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        fire_event(event_type, self.components, fl_ctx)

    def new_context(self) -> FLContext:
        return FLContextManager(self, "site-1", "7").new_context()


class Listener(FLComponent):
    def __init__(self) -> None:  # as many do: without super().__init__()
        self.heard: list[tuple[str, Any]] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        self.heard.append((event_type, fl_ctx.get_prop(FLContextKey.EVENT_DATA)))


def test_fire_event_goes_through_the_engine() -> None:
    listener = Listener()
    fl_ctx = Engine(listener).new_context()
    fl_ctx.set_prop(FLContextKey.EVENT_DATA, 5, sticky=False)
    FLComponent().fire_event("mine", fl_ctx)
    assert listener.heard == [("mine", 5)]


def test_without_an_engine_nobody_hears(caplog: pytest.LogCaptureFixture) -> None:
    FLComponent().fire_event("mine", FLContext())
    assert "event mine was not fired: the context has no engine" in caplog.text


@pytest.mark.parametrize(("event", "fl_ctx"), [(5, FLContext()), ("", FLContext()), ("e", {})])
def test_wrong_arguments_of_fire_event(event: Any, fl_ctx: Any) -> None:
    with pytest.raises(TypeError, match=r"an event must be a str|must be an FLContext"):
        FLComponent().fire_event(event, fl_ctx)


def test_registered_handlers() -> None:
    component = FLComponent()

    def handler(event_type: str, fl_ctx: FLContext) -> None: ...

    component.register_event_handler("a", handler, x=1)
    component.register_event_handler(["a", "b"], handler, x=2)
    component.register_event_handler("a", print)
    assert [(each.call, each.kwargs) for each in component.handlers_of("a")] == [(handler, {"x": 1}), (print, {})]
    assert [(each.call, each.kwargs) for each in component.handlers_of("b")] == [(handler, {"x": 2})]
    assert [each.call for each in component.handlers_of("c")] == [component.handle_event]


def test_wrong_arguments_of_register_event_handler() -> None:
    for events, handler, match in (("a", None, "must be callable"), ([5], print, "must be a str"), ("", print, "''")):
        with pytest.raises(ArgumentError, match=match):
            FLComponent().register_event_handler(events, handler)  # type: ignore[arg-type]


def test_log_lines_say_where_they_come_from(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zmqfl.component")
    fl_ctx, peer = Engine().new_context(), FLContextManager(None, "server", "7").new_context()
    FLComponent().log_debug(FLContext(), "bare")
    FLComponent().log_info(fl_ctx, "without a peer")
    fl_ctx.set_peer_context(peer)
    fl_ctx.set_prop(FLContextKey.TASK_NAME, "train", sticky=False)
    Listener().log_critical(fl_ctx, "with 100% of it")
    ours = [record for record in caplog.records if record.name.startswith("zmqfl.component.")]
    assert [(record.name, record.levelname, record.getMessage()) for record in ours] == [
        ("zmqfl.component.FLComponent", "DEBUG", "[] bare"),
        ("zmqfl.component.FLComponent", "INFO", "[site-1, job 7] without a peer"),
        ("zmqfl.component.Listener", "CRITICAL", "[site-1, job 7, peer server, task train] with 100% of it"),
    ]


def test_warnings_and_worse_are_events_too() -> None:
    listener = Listener()
    fl_ctx = Engine(listener).new_context()
    for log in ("debug", "info", "warning", "error", "critical", "exception"):
        getattr(listener, f"log_{log}")(fl_ctx, log)
    assert listener.heard == [
        ("_warning_log_available", "warning"), ("_error_log_available", "error"),
        ("_critical_log_available", "critical"),
    ]  # fmt: skip
    listener.heard.clear()
    for log in ("debug", "info", "warning", "error", "critical"):
        getattr(listener, f"log_{log}")(fl_ctx, log, fire_event=log in ("debug", "info"))
    assert listener.heard == [("_debug_log_available", "debug"), ("_info_log_available", "info")]


def test_log_exception_has_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    fl_ctx = Engine(listener).new_context()
    try:
        raise ValueError("mine")
    except ValueError:
        listener.log_exception(fl_ctx, "it failed", fire_event=True)
    assert "it failed\nTraceback" in caplog.text
    assert "ValueError: mine" in listener.heard[0][1]


def test_logging_about_the_log_is_no_event() -> None:
    class Loud(Listener):
        def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
            super().handle_event(event_type, fl_ctx)
            self.log_warning(fl_ctx, "heard it")

    loud = Loud()
    fl_ctx = Engine(loud).new_context()
    loud.log_error(fl_ctx, "first")
    loud.log_error(fl_ctx, "second")
    assert [data for _, data in loud.heard] == ["first", "second"]


def test_system_panic() -> None:
    listener = Listener()
    listener.system_panic("no disk", Engine(listener).new_context())
    assert listener.heard == [(EventType.FATAL_SYSTEM_ERROR, "no disk")]


def test_a_fed_event_is_heard_here_and_sent_by_the_engine() -> None:
    class Sender(Engine):
        sent: ClassVar[list[Any]] = []

        def send_fed_event(self, event_type: str, event_data: Shareable, targets: list[str] | None) -> None:
            self.sent.append((event_type, event_data, targets))

    listener, data = Listener(), Shareable({"x": 1})
    for engine in Engine(listener), Sender(listener):
        fl_ctx = engine.new_context()
        FLComponent().fire_fed_event("mine", data, fl_ctx, ["site-1"])
        assert fl_ctx.get_prop(FLContextKey.EVENT_SCOPE) == EventScope.LOCAL
    assert listener.heard == [("mine", data)] * 2
    assert Sender.sent == [("mine", data, ["site-1"])]


def test_nothing_to_persist_by_default() -> None:
    component = FLComponent()
    assert component.get_persist_state(FLContext()) == {}
    component.restore({}, FLContext())
    component.handle_event("a", FLContext())
    assert component.name == "FLComponent"
