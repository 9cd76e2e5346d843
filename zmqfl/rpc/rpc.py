"""RPC of one cell: it publishes objects, and gets proxies of those that others publish.

    class Calculator:
        def rpc_add(self, a, b):
            return a + b

    Rpc.of(site).publish(Calculator())
    ...
    calc = Rpc.of(server).proxy("site-1").result()
    print(calc.add(1, 2, tto=10))

Source: seed 002, the part on RPC; rules R24 to R30 of the reference.
"""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import Handle, RequestHandle, failure
from zmqfl.cell.message import Message
from zmqfl.cell.read_handle import ReadHandle
from zmqfl.errors import ArgumentError, CellReturnCode, RpcTimeout, ServiceUnavailable
from zmqfl.fqcn import parse
from zmqfl.rpc.access import Access
from zmqfl.rpc.callee import Callee
from zmqfl.rpc.caller import Caller, check_timeout
from zmqfl.rpc.method_statistics import MethodStatistics
from zmqfl.rpc.names import ASKS, TIMEOUT, TIMEOUT_PARAMETER, check_service
from zmqfl.rpc.proxy import Proxy
from zmqfl.rpc.publication import Publication
from zmqfl.rpc.signatures import MethodDescription, read_descriptions
from zmqfl.rpc.watching import Watching

_making: Final = threading.RLock()
"""Held while one is made, so that two threads that want that of a cell get the same."""


class Rpc:
    """See the module. One for each cell; it ends with it.

    `timeout`: seconds for a call that names none. `timeout_parameter`: the name by which a call does. `tracebacks`:
    callers get to know file names and lines where a method of this cell failed.
    Raises `ArgumentError` where the cell has one already: get it by `Rpc.of(cell)`.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        timeout: float = TIMEOUT,
        timeout_parameter: str = TIMEOUT_PARAMETER,
        tracebacks: bool = True,
    ) -> None:
        self.timeout = check_timeout(timeout, "timeout")
        self.timeout_parameter = _check_parameter(timeout_parameter)
        self._cell = cell
        with _making:
            if Rpc in cell.faces:
                raise ArgumentError(f"cell {cell.fqcn} has an Rpc already; get it by Rpc.of(cell)")
            self._callee = Callee(cell, Watching(cell), tracebacks)
            cell.faces[Rpc] = self

    @classmethod
    def of(cls, cell: Cell) -> Rpc:
        """The one of this cell; it is made where there is none yet."""
        with _making:
            found = cell.faces.get(Rpc)
            return found if isinstance(found, Rpc) else cls(cell)

    # -- callee --------------------------------------------------------------------------------------------------------

    def publish(self, target: object, name: str = "", *, access: Access = None, secure: bool = False) -> None:
        """Let others call the `rpc_` methods of an object; a second one of the same name replaces the first.

        `rpc_add` is called as `add`; an attribute `rpc_calc` that is an object, or a class, is a part with `rpc_`
        methods of its own. Both are looked up when they are called. A coroutine method runs on the loop that is running
        now. `access`: who may call what, see `zmqfl.rpc.access`; None: any cell that the network has admitted.
        `secure`: refuse calls that are not sealed: only a sealed one proves from end to end who calls.
        Inside a method `current_call()` tells who calls, and whether anybody still waits.
        Raises `ArgumentError` for an object that can have no such methods, for a name, or a rule.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        self._callee.publications[check_service(name)] = Publication(target, name, access, loop, secure)

    def withdraw(self, name: str = "") -> None:
        """Publish it no longer; what runs goes on. Nothing happens where nothing is published."""
        self._callee.publications.pop(name, None)

    # -- caller --------------------------------------------------------------------------------------------------------

    def proxy(
        self,
        target: str,
        name: str = "",
        *,
        timeout: float | None = None,
        timeout_parameter: str | None = None,
        secure: bool = False,
    ) -> Handle[Proxy]:
        """Ask a cell for what it publishes under `name`, and lets this cell call; the handle gives a `Proxy`.

        `timeout`, `timeout_parameter`: as of `Rpc`, for the calls by this proxy. `secure`: calls and replies are sealed
        from end to end, and the other cell has proof of who calls.
        Raises `FqcnError`, `ArgumentError`; the handle `AuthenticationError` when this cell may call nothing there,
        `InvalidRequest` or `ServiceUnavailable` when nothing is published, `RequestFailed` when the cell cannot be
        reached, `RpcTimeout`.
        """
        caller = self._caller(target, timeout, secure)
        parameter = _check_parameter(self.timeout_parameter if timeout_parameter is None else timeout_parameter)
        request = self._request(caller, "describe", check_service(name))
        return ReadHandle(request, partial(_make_proxy, caller, name, parameter))

    def describe(self, target: str, name: str = "") -> Handle[tuple[MethodDescription, ...]]:
        """What `proxy` would be made of: path, signature and docstring of each method. Raises as `proxy`."""
        caller = self._caller(target, None, False)
        return ReadHandle(self._request(caller, "describe", check_service(name)), partial(_descriptions, caller))

    def statistics(self, target: str = "", name: str = "") -> Handle[dict[str, MethodStatistics]]:
        """Of each method that a cell ("": this one) publishes and lets this one call: calls, errors, times."""
        caller = self._caller(target or self._cell.fqcn, None, False)
        return ReadHandle(self._request(caller, "statistics", check_service(name)), partial(_statistics, caller))

    def ping(self, target: str) -> Handle[float]:
        """Seconds to a cell's RPC and back, a worker there included. Raises as `proxy`."""
        caller = self._caller(target, None, False)
        began = time.perf_counter()
        request = self._request(caller, "ping", None)
        came: list[float] = []
        request.add_done_callback(lambda _: came.append(time.perf_counter()))

        def seconds(reply: Message) -> float:
            _answer(caller, reply)
            return came[0] - began

        return ReadHandle(request, seconds)

    def _caller(self, target: str, timeout: float | None, secure: bool) -> Caller:
        seconds = self.timeout if timeout is None else check_timeout(timeout, "timeout")
        return Caller(self._cell, parse(target, "target"), seconds, secure)

    def _request(self, caller: Caller, topic: str, payload: Any) -> RequestHandle:
        seconds = caller.timeout
        return self._cell.request(
            caller.target, ASKS, topic, payload, seconds, deadline=seconds, secure=caller.secure
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._callee.publications)) or "nothing"
        return f"<Rpc of {self._cell.fqcn} publishes {names}>"


def _answer(caller: Caller, reply: Message) -> Any:
    """The payload of the answer to a question."""
    if reply.ok:
        return reply.payload
    if reply.return_code is CellReturnCode.TIMEOUT:
        raise RpcTimeout(f"no answer within {caller.timeout:g} s", target=caller.target)
    if reply.return_code is CellReturnCode.PROCESS_EXCEPTION:
        text = f"it publishes nothing ({reply.error}); `Rpc.of(cell).publish` does"
        raise ServiceUnavailable(text, target=caller.target)
    raise failure(caller.target, reply.return_code, reply.error)


def _descriptions(caller: Caller, reply: Message) -> tuple[MethodDescription, ...]:
    return read_descriptions(_answer(caller, reply))


def _make_proxy(caller: Caller, name: str, parameter: str, reply: Message) -> Proxy:
    return Proxy(caller, name, _descriptions(caller, reply), parameter)


def _statistics(caller: Caller, reply: Message) -> dict[str, MethodStatistics]:
    return {path: MethodStatistics.from_dict(figures) for path, figures in _answer(caller, reply).items()}


def _check_parameter(name: object) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise ArgumentError(f"timeout_parameter {name!r} is no name of a parameter; use one such as 'tto'")
    return name
