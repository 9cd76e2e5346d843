from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from zmqfl.context.signal import Signal


def test_trigger_and_reset() -> None:
    signal = Signal()
    assert (signal.triggered, signal.value, signal.trigger_time) == (False, None, None)
    assert repr(signal) == "<Signal quiet value None>"
    before = time.time()
    signal.trigger("no more clients")
    assert (signal.triggered, signal.value) == (True, "no more clients")
    assert signal.trigger_time is not None
    assert signal.trigger_time >= before
    assert repr(signal) == "<Signal triggered value 'no more clients'>"
    signal.reset("again")
    assert repr(signal) == "<Signal quiet value 'again'>"
    assert vars(signal)["_trigger_time"] is None


def test_an_ancestor_triggers_it_and_not_the_other_way_round() -> None:
    top = Signal()
    middle = Signal(top)
    low = Signal(parent=middle)
    middle.trigger(1)
    assert (top.triggered, middle.triggered, low.triggered) == (False, True, True)
    assert low.value is None
    middle.reset()
    top.trigger(2)
    assert low.triggered


def test_callbacks_are_called_once_in_order() -> None:
    signal, seen = Signal(), list[tuple[str, Signal]]()
    signal.add_callback(lambda s: seen.append(("a", s)))
    signal.add_callback(lambda s: seen.append(("b", s)))
    assert seen == []
    signal.trigger(1)
    signal.trigger(2)
    assert seen == [("a", signal), ("b", signal)]
    signal.add_callback(lambda s: seen.append(("c", s)))
    assert seen[2:] == [("c", signal)]


def test_callbacks_are_called_by_whichever_of_the_line_triggers_first() -> None:
    top = Signal()
    low, seen = Signal(Signal(top)), list[Signal]()
    low.add_callback(seen.append)
    top.trigger(1)
    low.trigger(2)
    assert seen == [low]
    low.add_callback(seen.append)
    assert seen == [low, low]
    assert not top._waiting
    assert not low._waiting


def test_a_callback_may_be_taken_back() -> None:
    top = Signal()
    low, seen = Signal(top), list[Signal]()
    low.add_callback(seen.append)
    low.remove_callback(seen.append)
    low.remove_callback(print)
    assert not top._waiting
    low.trigger(1)
    assert seen == []


def test_reset_keeps_those_that_wait() -> None:
    signal, seen = Signal(), list[Signal]()
    signal.add_callback(seen.append)
    signal.reset()
    signal.trigger(1)
    assert seen == [signal]


def test_a_failing_callback_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    signal, seen = Signal(), list[Signal]()

    def fail(_: Signal) -> None:
        raise ValueError("mine")

    signal.add_callback(fail)
    signal.add_callback(seen.append)
    signal.trigger(1)
    assert seen == [signal]
    assert "mine" in caplog.text


def test_a_callback_may_use_the_signal() -> None:
    signal, seen = Signal(), list[bool]()

    def reset(it: Signal) -> None:
        it.reset()
        it.add_callback(lambda s: seen.append(s.triggered))

    signal.add_callback(reset)
    signal.trigger(1)
    assert seen == []
    signal.trigger(2)
    assert seen == [True]


def test_wait() -> None:
    signal = Signal(Signal())
    assert signal.wait(0) is False
    assert not signal._waiting
    waiting = threading.Event()
    results: list[bool] = []

    class Told(Signal):
        def add_callback(self, fn: Callable[[Signal], object]) -> None:
            super().add_callback(fn)
            waiting.set()

    signal = Signal(Told())
    thread = threading.Thread(target=lambda: results.append(signal.wait()))
    thread.start()
    waiting.wait(30)
    assert signal.parent is not None
    signal.parent.trigger(1)
    thread.join(30)
    assert results == [True]
    assert signal.wait() is True
    assert not signal.parent._waiting


def test_triggered_while_a_callback_is_added() -> None:
    class Parent(Signal):
        def add_callback(self, fn: Callable[[Signal], object]) -> None:
            low.trigger(1)  # another thread, between the two
            super().add_callback(fn)

    top = Parent()
    low, seen = Signal(top), list[Signal]()
    low.add_callback(seen.append)
    assert seen == [low]
    assert not top._waiting
    assert not low._waiting


def test_each_callback_is_called_once_whoever_triggers() -> None:
    top = Signal()
    signals = [Signal(top) for _ in range(4)]
    seen: list[Signal] = []
    start = threading.Barrier(5)

    def trigger(signal: Signal) -> None:
        start.wait(30)
        signal.trigger(1)

    for signal in signals:
        for _ in range(50):
            signal.add_callback(seen.append)
    threads = [threading.Thread(target=trigger, args=(signal,)) for signal in [top, *signals]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(id, seen)) == sorted(id(signal) for signal in signals for _ in range(50))
    assert not top._waiting


def test_the_old_value_may_look_at_the_signal_when_it_goes() -> None:
    signal, seen = Signal(), list[bool]()

    class Last:
        def __del__(self) -> None:
            signal.add_callback(lambda s: None)
            seen.append(signal.triggered)

    signal.trigger(Last())
    signal.trigger(None)
    signal.trigger(Last())
    signal.reset()
    assert seen == [True, False]
