from __future__ import annotations

from zmqfl.context.event_type import LOG_EVENTS, EventType


def test_values_are_the_names_in_lower_case() -> None:
    names = {name: value for name, value in vars(EventType).items() if name.isupper()}
    assert len(names) > 30
    for name, value in names.items():
        assert value == f"_{name.lower()}"


def test_log_events() -> None:
    assert {event.removesuffix("_log_available") for event in LOG_EVENTS} == {
        "_debug", "_info", "_warning", "_error", "_exception", "_critical",
    }  # fmt: skip
