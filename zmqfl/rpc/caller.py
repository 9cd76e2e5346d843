"""The caller's side: from arguments that fit to a value, a stream of items, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import Handle, failure
from zmqfl.cell.message import Message
from zmqfl.cell.read_handle import ReadHandle
from zmqfl.errors import ArgumentError, CellReturnCode, ClosedError, DecodeError, RpcTimeout
from zmqfl.rpc.names import ASKS, CALLS, STREAM
from zmqfl.rpc.remote_errors import rebuild
from zmqfl.rpc.remote_stream import Batch, RemoteStream


class Caller:
    """Calls methods of one cell. `timeout`: seconds for a call, unless it says otherwise. `secure`: seal the calls."""

    def __init__(self, cell: Cell, target: str, timeout: float, secure: bool) -> None:
        self.cell = cell
        self.target = target
        self.timeout = timeout
        self.secure = secure

    def call(self, topic: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], timeout: float) -> Handle[Any]:
        """Have it run; the handle gives what it returns, a `RemoteStream` for a generator, or raises."""
        payload = [list(args), dict(kwargs), self.cell.instance]
        request = self.cell.request(
            self.target, CALLS, topic, payload, timeout, deadline=timeout, secure=self.secure
        )  # fmt: skip
        return ReadHandle(request, partial(self._read, topic, timeout))

    def fire(self, topic: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Handle[dict[str, str]]:
        """Have it run without a reply; see `Cell.fire`."""
        payload = [list(args), dict(kwargs), self.cell.instance]
        return self.cell.fire(self.target, CALLS, topic, payload, secure=self.secure)

    def ask(self, topic: str, payload: Any, timeout: float) -> ReadHandle[Any]:
        """A question of the RPC floor itself; the handle gives the payload of the reply."""
        request = self.cell.request(self.target, ASKS, topic, payload, timeout, deadline=timeout, secure=self.secure)
        return ReadHandle(request, partial(self._value, f"{topic!r}", timeout))

    def _read(self, topic: str, timeout: float, reply: Message) -> Any:
        value = self._value(topic, timeout, reply)
        if not isinstance(id := reply.get_header(STREAM), str):
            return value
        ask, target = partial(self._more, topic, timeout, id), self.target
        return RemoteStream(topic, ask, partial(_close, self.cell, target, id, self.secure))

    def _value(self, topic: str, timeout: float, reply: Message) -> Any:
        if reply.ok:
            return reply.payload
        code, reason = reply.return_code, reply.error
        if code is CellReturnCode.TIMEOUT:
            raise RpcTimeout(f"{topic} took longer than {timeout:g} s ({reason})", target=self.target, code=code)
        told = reply.payload
        if told is None and code is not CellReturnCode.PROCESS_EXCEPTION:
            raise failure(self.target, code, reason)
        raise rebuild(told, self.target, reason)

    def _more(self, topic: str, timeout: float, id: str, credit: int) -> Handle[Batch]:
        request = self.cell.request(
            self.target, ASKS, "more", [id, credit], timeout, deadline=timeout, secure=self.secure
        )  # fmt: skip
        return ReadHandle(request, partial(self._batch, topic, timeout))

    def _batch(self, topic: str, timeout: float, reply: Message) -> Batch:
        match self._value(topic, timeout, reply):
            case [list(items), bool(is_ended)] if items or is_ended:
                return items, is_ended
        raise DecodeError(f"{self.target} sent no items of {topic}")


def _close(cell: Cell, target: str, id: str, secure: bool) -> None:
    with suppress(ClosedError):  # then the callee learns that this cell is gone
        cell.fire(target, ASKS, "close", id, secure=secure)


def check_timeout(value: object, argument: str) -> float:
    """`value`, when it can be the seconds of a call. Raises `ArgumentError`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise ArgumentError(f"{argument} must be a number of seconds above 0, not {value!r}")
