"""Events that other sites hear, too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.fl.runs import Flow, Run, Trace
from tests.system.federation import LONG
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import EventScope, FLContextKey, ReservedTopic
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError
from zmqfl.fl.fed_events import FedEventHeader
from zmqfl.fl.task import Task

MakeRun = Callable[..., Run]


class Ears(Trace):
    """Remembers events called "mine...": name, scope, origin, direction, and x of their data."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type.startswith("mine"):
            data = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
            scope, origin = fl_ctx.get_prop(FLContextKey.EVENT_SCOPE), fl_ctx.get_prop(FLContextKey.EVENT_ORIGIN)
            with self.changed:
                self.log.append((event_type, scope, origin, data.get_header(FedEventHeader.DIRECTION), data["x"]))
                self.changed.notify_all()

    def wait(self, count: int) -> list[Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.log) >= count, LONG), self.log
        return self.log


def test_run_F10_from_the_server_to_all_and_from_a_client_to_the_server(run_of: MakeRun) -> None:
    run = run_of(2)
    ears = {name: Ears() for name in ("server", *run.names)}

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("hello", Shareable()), fl_ctx, min_responses=0)  # all have begun
        controller.fire_fed_event("mine.all", Shareable({"x": 1}), fl_ctx)
        controller.fire_fed_event("mine.one", Shareable({"x": 2}), fl_ctx, ["site-2"])
        assert fl_ctx.get_prop(FLContextKey.EVENT_SCOPE) == EventScope.LOCAL
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx, ["site-1"])

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        for number in range(20 if name == "t" else 0):
            ears["site-1"].fire_fed_event("mine.back", Shareable({"x": number}), fl_ctx)
        return Shareable()

    run.serve(flow, {"ears": ears["server"]})
    for name in run.names:
        run.client(name, work, {"ears": ears[name]})
    assert set(run.wait_all().values()) == {0}
    scope = EventScope.FEDERATION
    at_server = [("mine.all", scope, None, None, 1), ("mine.one", scope, None, None, 2)]
    back = [("mine.back", scope, "site-1", "in", number) for number in range(20)]
    assert ears["server"].log == [*at_server, *back]  # the end of the run waited for all of them
    assert ("mine.all", scope, "server", "in", 1) in ears["site-1"].log
    assert ears["site-2"].log == [("mine.all", scope, "server", "in", 1), ("mine.one", scope, "server", "in", 2)]


def test_run_F10_one_that_comes_twice_is_heard_once(run_of: MakeRun) -> None:
    run = run_of(1)
    ears = Ears()
    codes: list[Any] = []

    def flow(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        controller.broadcast_and_wait(Task("t", Shareable()), fl_ctx)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        event = Shareable({"x": 1})
        for id, kind in (
            ("1", "mine"),
            ("1", "mine"),
            ("2", "mine"),
            (3, "mine"),
            ("4", ""),
            ("5", "_fatal_system_error"),
        ):
            event.set_header(FedEventHeader.EVENT_ID, id)
            event.set_header(FedEventHeader.EVENT_TYPE, kind)
            replies = fl_ctx.get_engine().send_aux_request(None, ReservedTopic.FED_EVENT, event, LONG, fl_ctx)
            codes.append(replies["server"].get_return_code())
        return Shareable()

    run.serve(flow, {"ears": ears})
    run.client("site-1", work)
    assert set(run.wait_all().values()) == {0}
    assert len(ears.log) == 2
    assert codes == [ReturnCode.OK] * 3 + [ReturnCode.BAD_REQUEST_DATA] * 3


def test_events_of_the_last_moment_arrive(run_of: MakeRun) -> None:
    run = run_of(1)
    ears = Ears()

    def last(event: str, fl_ctx: FLContext) -> None:
        if event == EventType.END_RUN:
            component.fire_fed_event("mine.bye", Shareable({"x": 1}), fl_ctx)

    component = Trace(seen=last)
    run.serve(lambda *args: None, {"ears": ears})
    run.client("site-1", components={"last": component})
    assert set(run.wait_all().values()) == {0}
    assert [event[0] for event in ears.log] == ["mine.bye"]


@pytest.mark.parametrize("arguments", [("", Shareable()), ("e", {}), ("e", Shareable(), None, "site-1")])
def test_wrong_arguments(arguments: tuple[Any, ...]) -> None:
    event, data, *more = arguments
    with pytest.raises(ArgumentError):
        Trace().fire_fed_event(event, data, FLContext(), *more[1:])
    with pytest.raises(ArgumentError):
        Trace().fire_fed_event("e", Shareable(), None)  # type: ignore[arg-type]
