"""The check lines R24 to R30 on real cells."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.bench.memory import anonymous
from tests.cell.sealed import CardedFederation
from tests.rpc.process import RpcProcess
from tests.rpc.published import Calculator, Held
from tests.system.federation import LONG, QUICK, Federation, until
from zmqfl import Cell
from zmqfl.errors import (
    ArgumentError,
    AuthenticationError,
    ClosedError,
    FqcnError,
    InvalidRequest,
    NoSuchMethod,
    RemoteError,
    RequestFailed,
    RpcTimeout,
    ServiceUnavailable,
    SignatureError,
    WouldDeadlockError,
)
from zmqfl.rpc.names import ASKS, CALLS
from zmqfl.rpc.proxy import Proxy
from zmqfl.rpc.rpc import Rpc
from zmqfl.rpc.running import current_call


@pytest.fixture
def calculator(site: Cell) -> Calculator:
    calculator = Calculator()
    Rpc.of(site).publish(calculator)
    return calculator


@pytest.fixture
def held(site: Cell) -> Held:
    held = Held()
    Rpc.of(site).publish(held)
    return held


@pytest.fixture
def proxy(server: Cell, site: Cell) -> Proxy:
    """Of what the test has published."""
    return Rpc.of(server).proxy("site-1").result(LONG)


PATIENT = replace(QUICK, dead_after=600.0)
"""Nobody is gone because time passes."""


# ------------------------------------------------------------------------------------------------- R24: what is there


def test_chan_R24_methods_and_parts_are_listed_with_signature_and_doc(calculator: Calculator, server: Cell) -> None:
    found = {each.path: each for each in Rpc.of(server).describe("site-1").result(LONG)}
    assert list(found) == [
        "acount", "add", "anything", "count", "divide", "keyword", "later", "made.name", "my_echo", "none",
        "trig.half", "who",
    ]  # fmt: skip
    assert str(found["add"]) == "add(a: int, b: int = 3) -> int"
    assert found["add"].doc == "Add two numbers.\n\n`b`: 3 unless it is given."
    assert found["trig.half"].doc == "Half of it."
    assert [each.path for each in found.values() if each.is_stream] == ["acount", "count"]


def test_chan_R24_a_proxy_reads_like_the_object(calculator: Calculator, proxy: Proxy) -> None:
    assert proxy.my_echo("HALLO") == ("MY ECHO", "HALLO")
    assert proxy.trig.half(3) == 1.5
    assert proxy.made.name() == "rpc_made"
    assert proxy.add.__doc__.startswith("Add two numbers.")
    assert list(inspect.signature(proxy.add).parameters) == ["a", "b"]
    assert {"add", "trig"} <= set(dir(proxy))
    assert proxy.who() == ("who", "server")


def test_chan_R24_what_is_set_after_publishing_is_found(
    calculator: Calculator, server: Cell, proxy: Proxy, site: Cell
) -> None:
    calculator.rpc_new = lambda x: x * 10  # type: ignore[attr-defined]
    assert Rpc.of(server).proxy("site-1").result(LONG).new(4) == 40
    del calculator.rpc_trig
    with pytest.raises(NoSuchMethod, match=r"no method 'trig\.half' is published"):
        proxy.trig.half(3)


@pytest.mark.parametrize(
    "path",
    ["secret", "called", "version", "trig", "__init__", "_class__", "rpc_add", "made.__class__", "add.__call__", ""],
)
def test_chan_R24_nothing_else_is_reached(calculator: Calculator, server: Cell, site: Cell, path: str) -> None:
    if not path:
        path = "."
    reply = server.request("site-1", CALLS, path, [[], {}, server.instance]).reply(LONG)
    assert str(reply.return_code) == "invalid_request"
    assert reply.payload[0] == "NoSuchMethod"


def test_chan_R24_the_nearest_name_is_suggested(calculator: Calculator, proxy: Proxy) -> None:
    assert not hasattr(proxy, "ad")
    with pytest.raises(NoSuchMethod, match="did you mean 'add'"):
        proxy.ad  # noqa: B018
    with pytest.raises(NoSuchMethod, match=r"trig\.cos is not published, or not to this cell; there is: half"):
        proxy.trig.cos  # noqa: B018


def test_chan_R24_services_by_name(server: Cell, site: Cell) -> None:
    rpc = Rpc(site)
    rpc.publish(Calculator(), "calc.v1")
    rpc.publish(Held(), "held")
    assert Rpc.of(server).proxy("site-1", "calc.v1").result(LONG).add(1, 2) == 3
    with pytest.raises(InvalidRequest, match="site-1 publishes nothing under the name 'calc'"):
        Rpc.of(server).proxy("site-1", "calc").result(LONG)
    rpc.withdraw("calc.v1")
    with pytest.raises(InvalidRequest, match=r"nothing under the name 'calc\.v1'"):
        Rpc.of(server).proxy("site-1", "calc.v1").result(LONG)
    assert repr(rpc) == "<Rpc of site-1 publishes 'held'>"


def test_a_cell_has_one_rpc(server: Cell) -> None:
    rpc = Rpc(server, timeout=3)
    assert Rpc.of(server) is rpc
    with pytest.raises(ArgumentError, match=r"cell server has an Rpc already; get it by Rpc\.of\(cell\)"):
        Rpc(server)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda rpc: rpc.publish(Calculator(), "a/b"), ArgumentError, "name 'a/b' is none for a service"),
        (lambda rpc: rpc.publish(3), ArgumentError, "int has no method whose name begins with 'rpc_'"),
        (lambda rpc: rpc.publish(Calculator(), access=3), ArgumentError, "access must be a function"),
        (lambda rpc: rpc.proxy("a..b"), FqcnError, "'a..b' is not a cell name"),
        (lambda rpc: rpc.proxy("a", timeout=0), ArgumentError, "timeout must be a number of seconds above 0, not 0"),
        (lambda rpc: rpc.proxy("a", timeout_parameter="-"), ArgumentError, "timeout_parameter '-' is no name"),
    ],
)
def test_mistakes_are_told_at_once(server: Cell, make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make(Rpc.of(server))


# ----------------------------------------------------------------------------------------------- R25: the arguments


@pytest.mark.parametrize(
    ("call", "parameter", "text"),
    [
        (lambda proxy: proxy.add(), "a", "add: missing a required argument: 'a'; it is add"),
        (lambda proxy: proxy.add(1, c=2), "c", "add: got an unexpected keyword argument 'c'"),
        (lambda proxy: proxy.add(1, a=2), "a", "add: multiple values for argument 'a'"),
        (lambda proxy: proxy.add(1, 2, 3), "", "add: too many positional arguments"),
        (lambda proxy: proxy.keyword("x"), "", "keyword: too many positional arguments"),
        (lambda proxy: proxy.add.submit(), "a", "add: missing"),
        (lambda proxy: proxy.add.fire(), "a", "add: missing"),
    ],
)
def test_chan_R25_what_does_not_fit_is_not_sent(
    calculator: Calculator, server: Cell, site: Cell, proxy: Proxy, call: Any, parameter: str, text: str
) -> None:
    before = server._node._machines._last_id
    with pytest.raises(SignatureError, match=text) as caught:
        call(proxy)
    assert isinstance(caught.value, TypeError)
    assert caught.value.parameter == parameter
    assert server._node._machines._last_id == before
    assert not calculator.called


def test_chan_R25_the_callee_checks_again(calculator: Calculator, proxy: Proxy) -> None:
    def add(a: int) -> int:
        raise AssertionError("it must not run")

    calculator.rpc_add = add  # type: ignore[assignment,method-assign]
    with pytest.raises(SignatureError, match="too many positional arguments") as caught:
        proxy.add(1, 2)
    assert caught.value.method == "add"


def test_chan_R25_defaults_are_those_of_the_callee(calculator: Calculator, proxy: Proxy) -> None:
    assert proxy.add(1) == 4
    assert proxy.add(b=1, a=1) == 2
    assert proxy.anything(1, "x", k=(2,), tto=LONG) == ((1, "x"), {"k": (2,)})


@pytest.mark.parametrize("payload", [None, [], [[], {}], [[], {1: 2}, 3], [[], {}, "x"], {"args": []}])
def test_chan_R25_what_is_no_call_is_refused(calculator: Calculator, server: Cell, site: Cell, payload: Any) -> None:
    reply = server.request("site-1", CALLS, "add", payload).reply(LONG)
    assert str(reply.return_code) == "invalid_request"
    assert not calculator.called


# ------------------------------------------------------------------------------------------------- R26: the time-out


def test_chan_R26_tto_ends_the_call_and_cancels_the_method(held: Held, proxy: Proxy, site: Cell) -> None:
    with pytest.raises(RpcTimeout, match=r"hold took longer than 0\.05 s") as caught:
        proxy.hold(tto=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.target == "site-1"
    assert held.wait_over() == "its caller waits no longer"


def test_chan_R26_what_comes_late_is_dropped_and_counted(held: Held, proxy: Proxy, server: Cell, site: Cell) -> None:
    with pytest.raises(RpcTimeout):
        proxy.gate(tto=0.05)
    held.let_go.set()
    assert held.wait_over() == "let go"
    until(lambda: rpc_statistics(site)["gate"].running == 0)
    assert rpc_statistics(site)["gate"].calls == 1
    assert rpc_statistics(server, "site-1")["gate"].errors == 0


def rpc_statistics(cell: Cell, target: str = "") -> Any:
    return Rpc.of(cell).statistics(target).result(LONG)


def test_chan_R26_the_default_and_the_name_are_settings(server: Cell, site: Cell) -> None:
    held = Held()
    Rpc(site).publish(held)
    proxy = Rpc(server, timeout=0.05, timeout_parameter="patience").proxy("site-1", timeout=LONG).result(LONG)
    with pytest.raises(SignatureError, match="unexpected keyword argument 'tto'"):
        proxy.hold(tto=1)
    with pytest.raises(RpcTimeout):
        proxy.hold(patience=0.05)
    held.wait_over()
    short = Rpc.of(server).proxy("site-1", timeout=0.05, timeout_parameter="tto").result(LONG)
    with pytest.raises(RpcTimeout):
        short.hold()
    assert short.hold.submit(tto=LONG).cancel()
    held.wait_over()


def test_chan_R26_a_method_that_declares_the_name_gets_it(calculator: Calculator, proxy: Proxy, server: Cell) -> None:
    assert proxy.keyword(name="x", tto=7.0) == ("x", 7.0)
    other = Rpc.of(server).proxy("site-1", timeout_parameter="within").result(LONG)
    assert other.keyword(name="x", within=LONG) == ("x", 1.0)


@pytest.mark.parametrize("tto", [0, -1, "10", float("inf"), float("nan"), True])
def test_chan_R26_a_wrong_tto_is_named(calculator: Calculator, proxy: Proxy, tto: Any) -> None:
    with pytest.raises(ArgumentError, match="tto must be a number of seconds above 0"):
        proxy.add(1, tto=tto)
    assert not calculator.called


def test_chan_F09_tto_under_load(held: Held, proxy: Proxy, server: Cell, site: Cell) -> None:
    handles = [proxy.hold.submit(tto=0.2 + number / 100) for number in range(60)]
    for handle in handles:
        with pytest.raises(RpcTimeout):
            handle.result(LONG)
    until(lambda: rpc_statistics(site)["hold"].running == 0)  # one that had no time left has not begun
    assert rpc_statistics(site)["hold"].calls == len(held.ended)
    assert set(held.ended) == {"its caller waits no longer"}
    assert not server._asking._waiting
    assert not site._serving._cancels.keys() & site._serving._deferred.keys()


def leak_nothing(proxy: Proxy, server: Cell, site: Cell, calls: int, before: int = 0) -> None:
    for number in range(0, calls, 50):
        handles = [proxy.trig.half.submit(number + each) for each in range(50)]
        assert [handle.result(LONG) for handle in handles] == [(number + each) / 2 for each in range(50)]
    assert server.statistics().counters.get("bugs", 0) == 0
    callee, caller = Rpc.of(site)._callee, server._asking
    until(lambda: not caller._waiting)
    assert not site._serving._deferred
    assert not site._serving._cancels
    assert not callee._watching._machine._callers
    assert not callee._watching._questions
    assert not callee.generators
    assert len(site._node.responder._callers) <= 2
    assert sum(len(each.entries) for each in site._node.responder._callers.values()) <= 52  # the last
    assert rpc_statistics(site)["trig.half"].calls == before + calls


def test_chan_R26_many_calls_leak_nothing(calculator: Calculator, proxy: Proxy, server: Cell, site: Cell) -> None:
    leak_nothing(proxy, server, site, 5000)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_chan_R26_a_hundred_thousand_calls_leak_nothing(
    calculator: Calculator, proxy: Proxy, server: Cell, site: Cell
) -> None:
    leak_nothing(proxy, server, site, 20_000)
    before = anonymous(os.getpid())
    leak_nothing(proxy, server, site, 80_000, before=20_000)
    assert anonymous(os.getpid()) - before < 8


# ---------------------------------------------------------------------------------------- R27: values and exceptions


@pytest.mark.parametrize(
    "value", [None, (), (1, (2, None)), {"a": {1, 2}}, "ü", b"\0", 2**100, 1.5, [None, True], {(1, 2): frozenset()}]
)
def test_chan_R27_values_come_back_equal(calculator: Calculator, proxy: Proxy, value: Any) -> None:
    assert proxy.my_echo(value) == ("MY ECHO", value)
    assert proxy.none() is None


BIG = pytest.param(16 << 20, id="16 MiB")
HUGE = pytest.param(100 << 20, id="100 MiB", marks=pytest.mark.soak)


@pytest.mark.parametrize("size", [10, BIG, HUGE])
def test_chan_R27_arrays_there_and_back(calculator: Calculator, proxy: Proxy, size: int) -> None:
    array = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    _, back = proxy.my_echo(array, tto=LONG)
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable


def test_chan_R27_a_builtin_exception_comes_back_as_itself(calculator: Calculator, proxy: Proxy) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        proxy.divide(1, 0)
    remote = caught.value.__cause__
    assert isinstance(remote, RemoteError)
    assert (remote.type_name, remote.message, remote.target) == ("ZeroDivisionError", "division by zero", "site-1")
    assert "published.py:" in remote.remote_traceback
    assert "in rpc_divide" in remote.remote_traceback
    assert "/" not in remote.remote_traceback
    assert caught.value.__notes__[0].startswith("raised by site-1:\n")
    assert proxy.add(1) == 4  # the callee lives


class OwnError(Exception):
    pass


def test_chan_R27_any_other_is_a_remote_error(calculator: Calculator, proxy: Proxy) -> None:
    def fail(a: Any, b: float) -> float:
        raise {"own": OwnError("mine"), "exit": SystemExit(3), "stop": StopIteration(1)}[a]

    calculator.rpc_divide = fail  # type: ignore[method-assign]
    for name, type_name in {"own": "OwnError", "exit": "builtins.SystemExit", "stop": "builtins.StopIteration"}.items():
        with pytest.raises(RemoteError) as caught:
            proxy.divide(name, 0)
        assert caught.value.type_name.endswith(type_name)


def test_chan_R27_errors_of_zmqfl_keep_their_code(calculator: Calculator, proxy: Proxy) -> None:
    def busy(a: float, b: float) -> float:
        raise ServiceUnavailable("later")

    calculator.rpc_divide = busy  # type: ignore[method-assign]
    with pytest.raises(ServiceUnavailable, match="site-1: service_unavailable: later"):
        proxy.divide(1, 2)


def test_chan_R27_a_value_that_cannot_travel(calculator: Calculator, proxy: Proxy) -> None:
    calculator.rpc_divide = lambda a, b: object()  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(RemoteError, match="the reply cannot travel") as caught:
        proxy.divide(1, 2)
    assert caught.value.type_name == ""
    with pytest.raises(TypeError, match="object"):
        proxy.my_echo(object())


def test_tracebacks_can_be_kept_at_home(server: Cell, site: Cell) -> None:
    Rpc(site, tracebacks=False).publish(Calculator())
    with pytest.raises(ZeroDivisionError) as caught:
        Rpc.of(server).proxy("site-1").result(LONG).divide(1, 0)
    assert isinstance(caught.value.__cause__, RemoteError)
    assert caught.value.__cause__.remote_traceback == ""


# --------------------------------------------------------------------------------------------- R28: who waits for what


def test_chan_R28_from_a_thread_and_from_a_coroutine(calculator: Calculator, proxy: Proxy, server: Cell) -> None:
    async def main() -> list[Any]:
        again = await Rpc.of(server).proxy("site-1")
        together = await asyncio.gather(*(again.add.submit(number) for number in range(20)))
        with pytest.raises(WouldDeadlockError, match=r"`await add\.submit\(\.\.\.\)`"):
            again.add(1)
        return [*together, await again.later.exec_rpc("x")]

    assert asyncio.run(main()) == [*range(3, 23), ("server", "x")]
    handle = proxy.add.submit(2, 2)
    assert handle.result(LONG) == 4
    assert handle.result() == 4
    assert handle.exception() is None


def test_chan_R28_coroutines_run_on_the_loop_that_published_them(server: Cell, site: Cell) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Looped:
            async def rpc_is_mine(self) -> bool:
                return asyncio.get_running_loop() is loop

            async def rpc_items(self) -> Any:
                yield asyncio.get_running_loop() is loop

        Rpc.of(site).publish(Looped())
        proxy = await Rpc.of(server).proxy("site-1")
        assert await proxy.is_mine.submit()
        assert [item async for item in await proxy.items.submit()] == [True]

    asyncio.run(main())


def test_chan_R28_a_call_inside_a_call_and_back(server: Cell, site: Cell) -> None:
    """More deep than there are threads that run at once."""

    class Down:
        def __init__(self, cell: Cell, other: str) -> None:
            self.rpc = Rpc.of(cell)
            self.other = other

        def rpc_down(self, depth: int) -> int:
            return 0 if depth == 0 else 1 + int(self.rpc.proxy(self.other).result(LONG).down(depth - 1, tto=LONG))

    Rpc.of(server).publish(Down(server, "site-1"))
    Rpc.of(site).publish(Down(site, "server"))
    assert Rpc.of(server).proxy("site-1").result(LONG).down(40, tto=LONG) == 40
    assert Rpc.of(server).proxy("server").result(LONG).down(3) == 3  # itself, too


def test_chan_R28_the_time_out_of_an_inner_call_is_no_time_out_of_the_outer_one(server: Cell, site: Cell) -> None:
    held = Held()
    Rpc.of(server).publish(held)

    class Between:
        def rpc_ask(self) -> str:
            return str(Rpc.of(site).proxy("server").result(LONG).hold(tto=0.05))

        def rpc_items(self) -> Iterator[str]:
            yield self.rpc_ask()

    Rpc.of(site).publish(Between())
    proxy = Rpc.of(server).proxy("site-1").result(LONG)
    for call in (proxy.ask, lambda: next(proxy.items())):
        with pytest.raises(RemoteError, match="server: timeout: hold took longer than") as caught:
            call()
        assert not isinstance(caught.value, TimeoutError)
        assert caught.value.type_name == "zmqfl.errors.RpcTimeout"


def test_chan_R28_slow_methods_do_not_hold_up_others(federation: Federation, server: Cell) -> None:
    site = federation.start("site-1", server, None, config=replace(QUICK, calls_max=4))
    held = Held()
    Rpc.of(site).publish(held)
    proxy = Rpc.of(server).proxy("site-1").result(LONG)
    handles = [proxy.hold.submit(tto=LONG) for _ in range(8)]
    for _ in handles:
        held.wait_begun()
    assert Rpc.of(server).ping("site-1").result(LONG) > 0
    for handle in handles:
        handle.cancel()
    for _ in handles:
        held.wait_over()


# ------------------------------------------------------------------------------------------ R29: cancel and generators


@pytest.mark.parametrize(("method", "how"), [("hold", "its caller waits no longer"), ("ahold", "cancelled")])
def test_chan_R29_cancelling_the_handle_cancels_the_method(held: Held, proxy: Proxy, method: str, how: str) -> None:
    handle = getattr(proxy, method).submit(tto=LONG)
    held.wait_begun()
    assert handle.cancel()
    assert held.wait_over() == how


@pytest.mark.parametrize("method", ["hold", "ahold"])
def test_chan_R29_cancelling_the_await_cancels_the_method(held: Held, proxy: Proxy, method: str, site: Cell) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(getattr(proxy, method).submit(tto=LONG))
        await asyncio.to_thread(held.wait_begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(held.wait_over)

    asyncio.run(main())
    until(lambda: rpc_statistics(site)[method].running == 0)
    assert rpc_statistics(site)[method].cancelled == (method == "ahold")  # a thread chooses how it ends


@contextmanager
def process(federation: Federation, fqcn: str, server: Cell, **settings: Any) -> Iterator[RpcProcess]:
    one = RpcProcess(fqcn, server.config, parent=server.url, **settings)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.parametrize("method", ["hold", "ahold"])
def test_chan_R29_the_callers_death_cancels(federation: Federation, method: str) -> None:
    """The callee and the caller are brothers: what it knows of the caller it has from the network."""
    server = federation.start("server", config=PATIENT)
    site = federation.start("site-2", server, None, config=PATIENT)
    held = Held()
    Rpc.of(site).publish(held)
    with process(federation, "site-1", server, call=["site-2", method]) as caller:
        held.wait_begun()
        until(lambda: Rpc.of(site)._callee._watching._questions)
        caller.popen.kill()
        server.child_exited("site-1")
        assert held.wait_over()
    until(lambda: not Rpc.of(site)._callee._watching._questions)


def test_chan_R29_the_callers_death_behind_a_relay_cancels(federation: Federation) -> None:
    server = federation.start("server", config=PATIENT)
    relay = federation.start("relay", server, config=PATIENT)
    site = federation.start("site-2", server, None, config=PATIENT)
    held = Held()
    Rpc.of(site).publish(held)
    with process(federation, "relay.site-1", relay, call=["site-2", "hold"]) as caller:
        held.wait_begun()
        until(lambda: Rpc.of(site)._callee._watching._questions)
        caller.popen.kill()
        relay.child_exited("relay.site-1")
        assert held.wait_over()


def test_chan_R29_a_cell_that_closes_closes_its_generators(held: Held, proxy: Proxy, site: Cell) -> None:
    items = proxy.items()
    assert next(items) == 0
    site.close()
    assert held.wait_over().startswith("closed at ")
    items.close()


def test_chan_R29_a_caller_that_closes_cancels(federation: Federation, server: Cell, site: Cell) -> None:
    held = Held()
    Rpc.of(server).publish(held)
    handle = Rpc.of(site).proxy("server").result(LONG).hold.submit(tto=LONG)
    held.wait_begun()
    until(lambda: Rpc.of(server)._callee._watching._questions)
    site.close()  # in no time: the question of the callee does not hold it up
    assert held.wait_over()
    with pytest.raises(ClosedError):
        handle.result(LONG)


def test_chan_R29_a_callee_that_closes_cancels_what_runs(held: Held, proxy: Proxy, site: Cell) -> None:
    handle = proxy.hold.submit(tto=LONG)
    held.wait_begun()
    site.close()
    assert held.wait_over() == "the cell closes"
    assert handle.result(LONG) == "held"  # it chose to return, and there was time for that


def test_chan_R29_generators_stream(calculator: Calculator, proxy: Proxy, site: Cell) -> None:
    assert list(proxy.count(1000)) == list(range(1000))
    assert list(proxy.acount(100)) == list(range(100))
    assert list(proxy.count(0)) == []

    async def main() -> list[int]:
        return [item async for item in await proxy.count.submit(1000)]

    assert asyncio.run(main()) == list(range(1000))
    assert not Rpc.of(site)._callee.generators
    assert rpc_statistics(site)["count"].running == 0


def test_chan_R29_a_generator_runs_only_as_far_as_it_is_asked(held: Held, proxy: Proxy, site: Cell) -> None:
    with proxy.items() as items:
        assert not held.begun.acquire(blocking=False)  # nothing has run yet
        assert [next(items) for _ in range(100)] == list(range(100))
    assert int(held.wait_over().removeprefix("closed at ")) < 100 + 2 * 64
    with pytest.raises(StopIteration):
        next(items)
    until(lambda: not Rpc.of(site)._callee.generators)


def test_chan_R29_an_early_end_of_a_loop_closes_the_generator(held: Held, proxy: Proxy, site: Cell) -> None:
    for item in proxy.items():
        if item == 3:
            break
    assert held.wait_over().startswith("closed at ")
    until(lambda: not Rpc.of(site)._callee.generators)


def test_chan_R29_a_slow_generator_gives_each_item_at_once(held: Held, proxy: Proxy) -> None:
    items = proxy.slow_items()
    assert next(items) == 0
    held.wait_begun()  # the next is being made
    held.let_go.set()
    assert list(items) == [1]
    assert held.wait_over() == "closed"


def test_chan_R29_a_cancelled_await_for_an_item_closes_the_generator(held: Held, proxy: Proxy, site: Cell) -> None:
    async def main() -> None:
        items = await proxy.aitems.submit()
        assert await anext(items) == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.05)
        await asyncio.to_thread(held.wait_over)
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    asyncio.run(main())
    until(lambda: not Rpc.of(site)._callee.generators)


def test_chan_R29_the_time_out_of_an_item(held: Held, proxy: Proxy) -> None:
    items = proxy.slow_items(tto=0.2)
    assert next(items) == 0
    with pytest.raises(RpcTimeout, match=r"slow_items took longer than 0\.2 s"):
        next(items)
    assert held.wait_over() == "closed"


def test_chan_R29_an_exception_comes_after_the_items_before_it(calculator: Calculator, proxy: Proxy) -> None:
    def broken(n: int) -> Iterator[int]:
        yield from range(n)
        raise KeyError("w")

    calculator.rpc_count = broken  # type: ignore[method-assign]
    seen: list[int] = []
    items = proxy.count(100)
    with pytest.raises(KeyError, match="w"):
        seen.extend(iter(lambda: next(items), None))
    assert seen == list(range(100))


def test_chan_R29_a_generator_is_its_callers_alone(
    federation: Federation, held: Held, proxy: Proxy, server: Cell, site: Cell
) -> None:
    other = federation.start("site-2", server, None)
    items = proxy.items()
    next(items)
    (id,) = Rpc.of(site)._callee.generators._open
    reply = other.request("site-1", ASKS, "more", [id, 1]).reply(LONG)
    assert str(reply.return_code) == "invalid_request"
    other.fire("site-1", ASKS, "close", id).result(LONG)
    assert other.request("site-1", ASKS, "ping").result(LONG).payload is None
    assert next(items) == 1
    items.close()
    held.wait_over()


def test_chan_R29_the_death_of_the_reader_closes_the_generator(federation: Federation) -> None:
    server = federation.start("server", config=PATIENT)
    site = federation.start("site-2", server, None, config=PATIENT)
    held = Held()
    Rpc.of(site).publish(held)
    with process(federation, "site-1", server, call=["site-2", "items"]) as caller:
        until(lambda: Rpc.of(site)._callee._watching._questions)
        assert len(Rpc.of(site)._callee.generators) == 1
        caller.popen.kill()
        server.child_exited("site-1")
        until(lambda: not Rpc.of(site)._callee.generators)


# --------------------------------------------------------------------------------- R30: who is gone, who may do what


def test_chan_R30_a_callee_that_is_killed_in_a_call_fails_its_callers_at_once(
    federation: Federation,
) -> None:
    """Long before the time-out of the calls and before `dead_after`, which are longer than the test may take."""
    server = federation.start("server", config=PATIENT)
    site = federation.start("site-1", server, None, config=PATIENT)
    with process(federation, "site-2", server) as callee:
        near, far = (Rpc.of(cell).proxy("site-2").result(LONG) for cell in (server, site))
        handles = [proxy.hold.submit(tto=1000) for proxy in (near, far)]
        died = near.die.submit(tto=1000)
        callee.wait()
        server.child_exited("site-2")
        for handle in (*handles, died):
            with pytest.raises(RequestFailed, match=r"comm_error|target_unreachable"):
                handle.result(LONG)


def test_chan_R30_no_such_cell_and_no_rpc_there(federation: Federation, server: Cell, site: Cell) -> None:
    with pytest.raises(RequestFailed, match="target_unreachable"):
        Rpc.of(server).proxy("site-9").result(LONG)
    for ask in (Rpc.of(server).proxy, Rpc.of(server).ping, Rpc.of(server).statistics):
        with pytest.raises(ServiceUnavailable, match="site-1: service_unavailable: it publishes nothing"):
            ask("site-1").result(LONG)


def test_chan_R30_who_may_call_what(federation: Federation, server: Cell, site: Cell) -> None:
    other = federation.start("site-2", server, None)
    calculator = Calculator()
    Rpc.of(site).publish(calculator, access={"trig.*": ["site-*", "server"], "add": "server"})
    mine = Rpc.of(server).proxy("site-1").result(LONG)
    theirs = Rpc.of(other).proxy("site-1").result(LONG)
    assert [each.path for each in mine] == ["add", "trig.half"]
    assert [each.path for each in theirs] == ["trig.half"]
    assert theirs.trig.half(1) == 0.5
    with pytest.raises(NoSuchMethod, match="add is not published, or not to this cell"):
        theirs.add(1)
    for topic in ("add", "nothing"):  # the same answer: whether it exists is not told
        reply = other.request("site-1", CALLS, topic, [[1], {}, other.instance]).reply(LONG)
        assert reply.error == f"site-2 may not call {topic} of site-1"
        assert str(reply.return_code) == "authentication_error"
    assert not calculator.called
    mine.add(1)
    assert list(rpc_statistics(other, "site-1")) == ["trig.half"]


def test_chan_R30_a_rule_is_asked_with_method_and_caller(server: Cell, site: Cell, caplog: Any) -> None:
    asked = []

    def rule(method: str, caller: str) -> bool:
        asked.append((method, caller))
        if method == "none":
            raise OSError("no directory")
        return method == "add"

    Rpc.of(site).publish(Calculator(), access=rule)
    proxy = Rpc.of(server).proxy("site-1").result(LONG)
    assert [each.path for each in proxy] == ["add"]
    assert proxy.add(1) == 4
    assert asked[-1] == ("add", "server")
    assert "the access rule failed for none of server" in caplog.text


def test_chan_R30_who_may_call_nothing_gets_no_proxy(server: Cell, site: Cell) -> None:
    Rpc.of(site).publish(Calculator(), access={})
    with pytest.raises(AuthenticationError, match="server may call nothing of site-1"):
        Rpc.of(server).proxy("site-1").result(LONG)


@pytest.fixture
def carded() -> Iterator[Federation]:
    federation = CardedFederation()
    yield federation
    federation.close()


def test_chan_R30_sealed_calls_prove_who_calls(carded: Federation) -> None:
    for name in ("server", "site-1"):
        carded.keys_of(name)
    server = carded.start("server")
    site = carded.start("site-1", server, None)

    class Secret:
        def rpc_who(self) -> tuple[str, bool]:
            return current_call().caller, current_call().sealed

        def rpc_count(self, n: int) -> Iterator[int]:
            yield from range(n)

    Rpc(site).publish(Secret(), secure=True)
    with pytest.raises(AuthenticationError, match="site-1 takes sealed calls only; get the proxy with secure=True"):
        Rpc.of(server).proxy("site-1").result(LONG)
    proxy = Rpc.of(server).proxy("site-1", secure=True).result(LONG)
    assert proxy.who() == ("server", True)
    assert list(proxy.count(200)) == list(range(200))
    open_one = proxy.count(1000)
    assert next(open_one) == 0
    (id,) = Rpc.of(site)._callee.generators._open
    for topic, payload in ((CALLS, "who"), (ASKS, "more")):
        what = [[], {}, server.instance] if topic == CALLS else [id, 1]
        reply = server.request("site-1", topic, payload, what).reply(LONG)
        assert str(reply.return_code) == "authentication_error"
    open_one.close()
    until(lambda: not Rpc.of(site)._callee.generators)


# ------------------------------------------------------------------------------------------------------------- others


def test_two_threads_get_the_same_rpc(server: Cell) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({id(rpc) for rpc in pool.map(lambda _: Rpc.of(server), range(64))}) == 1


def test_fire_runs_without_a_reply(calculator: Calculator, proxy: Proxy, site: Cell, caplog: Any) -> None:
    assert proxy.add.fire(1, 2).result(LONG) == {"site-1": ""}
    proxy.divide.fire(1, 0)
    proxy.count.fire(3)
    until(lambda: rpc_statistics(site).keys() >= {"add", "divide", "count"})
    until(lambda: not sum(each.running for each in rpc_statistics(site).values()))
    assert calculator.called == [(1, 2)]
    assert rpc_statistics(site)["divide"].last_error == "ZeroDivisionError: division by zero"
    assert "divide of server failed" in caplog.text
    assert not Rpc.of(site)._callee.generators


def test_statistics_count_calls_and_errors(calculator: Calculator, proxy: Proxy, server: Cell) -> None:
    for _ in range(3):
        proxy.add(1)
    with pytest.raises(ZeroDivisionError):
        proxy.divide(1, 0)
    found = rpc_statistics(server, "site-1")
    assert (found["add"].calls, found["add"].running, found["add"].errors) == (3, 0, 0)
    assert found["add"].seconds >= found["add"].longest > 0
    assert found["divide"].errors == 1
    assert found["divide"].last_error == "ZeroDivisionError: division by zero"


def test_seed_002_methods_of_a_subclass_of_a_thread(server: Cell, site: Cell) -> None:
    """Seed 002 publishes the client, which is a thread, itself."""

    class MyClient(threading.Thread):
        def rpc_my_echo(self, data: Any) -> tuple[str, Any]:
            return "MY ECHO", data, current_call().caller  # type: ignore[return-value]

    Rpc.of(site).publish(MyClient())
    proxy = Rpc.of(server).proxy("site-1").result(LONG)
    assert proxy.my_echo("HALLO", tto=10) == ("MY ECHO", "HALLO", "server")
