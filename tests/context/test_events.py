from __future__ import annotations

from typing import Any

import pytest

from zmqfl.context.events import MAX_DEPTH, fire_event
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import EventScope, FLContextKey, ReservedKey

PROPS = (FLContextKey.EVENT_ID, FLContextKey.EVENT_DATA, FLContextKey.EVENT_ORIGIN, FLContextKey.EVENT_SCOPE)
Heard = list[tuple[Any, ...]]


class First(FLComponent):
    """Notes what it hears, and what the context says then."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        self.heard.append((self.name, event_type, *(fl_ctx.get_prop(key) for key in PROPS)))


class Second(First):
    pass


class Failing(FLComponent):
    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        raise ValueError(event_type)


class Spoiling(FLComponent):
    """Fires an event of its own, with data of its own, while it handles one."""

    def __init__(self, others: list[FLComponent]) -> None:
        self.others = others

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        for key in PROPS:
            fl_ctx.set_prop(key, "mine", sticky=False)
        fire_event("inner", self.others, fl_ctx)


def test_one_after_another_in_the_order_of_the_components() -> None:
    heard: Heard = []
    fl_ctx = FLContext()
    fire_event("e", [Second(heard), First(heard)], fl_ctx)
    assert heard == [
        ("Second", "e", "e", None, None, EventScope.LOCAL),
        ("First", "e", "e", None, None, EventScope.LOCAL),
    ]
    assert fl_ctx.get_prop(ReservedKey.EVENT_DEPTH) == 0
    assert all(fl_ctx.get_prop_detail(key) is not None for key in PROPS)


def test_run_F03_a_nested_event_does_not_spoil_the_next_handler() -> None:
    heard: Heard = []
    fl_ctx = FLContext()
    for key, value in zip(PROPS[1:], ["data", "site-2", EventScope.FEDERATION], strict=True):
        fl_ctx.set_prop(key, value, sticky=False)
    fire_event("outer", [Spoiling([Second(heard)]), First(heard)], fl_ctx)
    assert heard == [
        ("Second", "inner", "inner", "mine", "mine", "mine"),
        ("First", "outer", "outer", "data", "site-2", EventScope.FEDERATION),
    ]


def test_attributes_that_a_user_gave_the_props_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    heard: Heard = []
    fl_ctx = FLContext()
    fl_ctx.set_prop(FLContextKey.EVENT_DATA, 5, private=False, sticky=True)
    fire_event("e", [First(heard)], fl_ctx)
    assert heard[0][3] == 5
    assert not caplog.records


def test_run_F02_an_exception_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    heard: Heard = []
    fl_ctx = FLContext()
    fire_event("e", [Failing(), First(heard)], fl_ctx)
    fire_event("f", [First(heard), Failing()], fl_ctx)
    assert [each[1] for each in heard] == ["e", "f"]
    errors = fl_ctx.get_prop(FLContextKey.EXCEPTIONS)
    assert list(errors) == ["Failing"]
    assert isinstance(errors["Failing"], ValueError)
    assert "Failing failed at event e" in caplog.text
    assert "Failing failed at event f" in caplog.text


def test_run_F03_depth_is_limited() -> None:
    depths: list[int] = []

    class Endless(FLComponent):
        def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
            depths.append(fl_ctx.get_prop(ReservedKey.EVENT_DEPTH))
            fire_event("again", [self], fl_ctx)

    fl_ctx = FLContext()
    fire_event("e", [Endless()], fl_ctx)
    assert depths == list(range(1, MAX_DEPTH + 1))
    error = fl_ctx.get_prop(FLContextKey.EXCEPTIONS)["Endless"]
    assert isinstance(error, RuntimeError)
    assert "nested deeper than 20" in str(error)
    assert fl_ctx.get_prop(ReservedKey.EVENT_DEPTH) == 0


def test_too_deep_is_a_RuntimeError() -> None:
    fl_ctx = FLContext()
    fl_ctx.put(ReservedKey.EVENT_DEPTH, MAX_DEPTH, private=True, sticky=False)
    with pytest.raises(RuntimeError, match="event e would be nested deeper"):
        fire_event("e", [], fl_ctx)
    assert fl_ctx.get_prop(ReservedKey.EVENT_DEPTH) == MAX_DEPTH


def test_what_is_no_component_is_a_TypeError_before_anybody_hears() -> None:
    heard: Heard = []
    with pytest.raises(TypeError, match="str is no FLComponent"):
        fire_event("e", [First(heard), "x"], FLContext())  # type: ignore[list-item]
    assert heard == []


def test_registered_handlers_take_the_place_of_handle_event() -> None:
    heard: Heard = []
    calls: list[tuple[str, dict[str, Any]]] = []

    def handler(event_type: str, fl_ctx: FLContext, **kwargs: Any) -> None:
        calls.append((event_type, kwargs))
        fl_ctx.put(FLContextKey.EVENT_ID, "spoilt", private=True, sticky=False)

    component = First(heard)
    component.register_event_handler(["a", "b"], handler, x=1)
    component.register_event_handler("a", component.handle_event)
    for event in ("a", "b", "c"):
        fire_event(event, [component], FLContext())
    assert calls == [("a", {"x": 1}), ("b", {"x": 1})]
    assert [each[1:3] for each in heard] == [("a", "a"), ("c", "c")]


def test_components_may_come_and_go_meanwhile() -> None:
    heard: Heard = []
    components: list[FLComponent] = []

    class Adding(FLComponent):
        def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
            components.append(First(heard))

    components.append(Adding())
    fire_event("e", components, FLContext())
    assert heard == []
