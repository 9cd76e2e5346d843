from __future__ import annotations

import asyncio
import copy
import inspect
from typing import Any

import pytest

from zmqfl.cell.handles import Handle
from zmqfl.errors import ArgumentError, NoSuchMethod, SignatureError, WouldDeadlockError
from zmqfl.rpc.caller import Caller
from zmqfl.rpc.proxy import Namespace, Proxy
from zmqfl.rpc.signatures import describe


def add(a: int, b: int = 3) -> int:
    """Add two numbers."""
    return a + b


def patient(tto: float) -> float:
    return tto


class Played(Caller):
    """Says what it was asked to send."""

    def __init__(self) -> None:
        self.target = "site-1"
        self.timeout = 20.0
        self.sent: list[Any] = []
        self.cancelled = 0
        self.answer: Any = "value"

    def call(self, topic: str, args: tuple[Any, ...], kwargs: Any, timeout: float) -> Handle[Any]:
        self.sent.append((topic, args, dict(kwargs), timeout))
        handle: Handle[Any] = Handle(on_cancel=self._cancel, on_reactor=lambda: False)
        if isinstance(self.answer, BaseException):
            handle._fail(self.answer)
        elif self.answer is not None:
            handle._finish(self.answer)
        return handle

    def fire(self, topic: str, args: tuple[Any, ...], kwargs: Any) -> Handle[dict[str, str]]:
        return self.call(topic, args, kwargs, 0.0)

    def _cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def caller() -> Played:
    return Played()


@pytest.fixture
def proxy(caller: Played) -> Proxy:
    paths = {"add": add, "calc.add": add, "calc.trig.half": lambda x: x / 2, "patient": patient}
    return Proxy(caller, "v1", tuple(describe(path, method) for path, method in paths.items()), "tto")


def test_a_call_says_what_it_means(caller: Played, proxy: Proxy) -> None:
    assert proxy.add(1, b=2) == "value"
    assert proxy.calc.trig.half(3, tto=7) == "value"
    proxy.add.fire(1)
    assert caller.sent == [
        ("v1/add", (1,), {"b": 2}, 20.0), ("v1/calc.trig.half", (3,), {}, 7.0), ("v1/add", (1,), {}, 0.0)
    ]  # fmt: skip


def test_chan_R26_the_time_out_is_taken_out_unless_the_method_declares_it(caller: Played, proxy: Proxy) -> None:
    proxy.add(1, tto=None)
    proxy.patient(tto=3.0)
    assert caller.sent == [("v1/add", (1,), {}, 20.0), ("v1/patient", (), {"tto": 3.0}, 20.0)]
    with pytest.raises(ArgumentError, match="tto must be a number of seconds above 0, not '3'"):
        proxy.add(1, tto="3")


def test_chan_R25_what_does_not_fit_is_not_sent(caller: Played, proxy: Proxy) -> None:
    for call in (proxy.add, proxy.add.submit, proxy.add.fire):
        with pytest.raises(SignatureError, match="missing a required argument: 'a'"):
            call(b=1)
    assert not caller.sent


def test_inside_a_loop_nothing_is_sent_either(caller: Played, proxy: Proxy) -> None:
    async def main() -> Any:
        with pytest.raises(WouldDeadlockError, match=r"calling calc\.add here would stop the event loop"):
            proxy.calc.add(1)
        assert not caller.sent
        return await proxy.calc.add.submit(1)

    assert asyncio.run(main()) == "value"


def test_an_interrupted_wait_cancels(caller: Played, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    caller.answer = None

    def interrupted(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Handle, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        proxy.add(1)
    assert caller.cancelled == 1


def test_what_it_looks_like(proxy: Proxy) -> None:
    assert repr(proxy) == "<Proxy site-1: add, patient, calc>"
    assert repr(proxy.calc) == "<Namespace calc: add, trig>"
    assert repr(proxy.add) == "<Method add(a: int, b: int = 3) -> int of site-1>"
    assert proxy.add.__name__ == "add"
    assert proxy.add.__doc__ == "Add two numbers."
    assert str(inspect.signature(proxy.add)) == "(a, b=...)"
    assert [each.path for each in proxy] == ["add", "calc.add", "calc.trig.half", "patient"]
    assert {"add", "calc", "patient"} <= set(dir(proxy))
    assert isinstance(copy.copy(proxy.calc), Namespace)


@pytest.mark.parametrize(
    ("name", "text"),
    [("ad", "did you mean 'add'"), ("zzz", "there is: add, patient, calc"), ("__len__", "^__len__$")],
)
def test_what_is_not_there(proxy: Proxy, name: str, text: str) -> None:
    with pytest.raises(AttributeError, match=text):
        getattr(proxy, name)
    assert getattr(proxy, name, None) is None


def test_of_nothing() -> None:
    empty = Proxy(Played(), "", (), "tto")
    with pytest.raises(NoSuchMethod, match="there is: nothing"):
        empty.add  # noqa: B018
