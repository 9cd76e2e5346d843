"""Pushes of a cell, the owner's side: from the verb to the handle, and the producer in between."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zmqfl.cell.handles import Handle
from zmqfl.cell.progress import PushProgress, TransferProgress
from zmqfl.cell.streams import Producer, PushReport, TargetReport
from zmqfl.cell.workers import Workers
from zmqfl.errors import BlobError, CellReturnCode, ClosedError, PayloadError, TransferError, told
from zmqfl.protocol.commands import Chunk, Command, Outcome, Produce, PushEnded, Settle
from zmqfl.protocol.node import Node
from zmqfl.protocol.push_sender import PushSender
from zmqfl.wire import payload

log = logging.getLogger("zmqfl.cell")

Submit = Callable[[Callable[[float], list[Command]]], None]
"""Runs an action on the reactor. Raises `ClosedError`."""
Tell = Callable[[PushSender, float], list[Command]]
PAYLOAD_CODEC = 1


class PushHandle(Handle[PushReport]):
    """A push under way. `result` and `await` give its report, and raise `TransferError` when it did not end well."""

    def __init__(
        self,
        targets: tuple[str, ...],
        total: int,
        *,
        on_cancel: Callable[[], None],
        on_reactor: Callable[[], bool],
    ) -> None:
        super().__init__(on_cancel=on_cancel, on_reactor=on_reactor)
        self.targets = targets
        self.begin = time.monotonic()
        self._total = total
        self._acknowledged: Mapping[str, int] = dict.fromkeys(targets, 0)
        self._seconds: float | None = None
        self._cause: BaseException | None = None
        """What the producer raised, if it did."""

    def report(self, timeout: float | None = None) -> PushReport:
        """Wait like `result`, and return the report however it ended."""
        self._wait(timeout)
        return self._give(super()._failure())

    def abort(self) -> None:
        """Give it up as `cancel` does, but let the handle end by itself, with a report, when the targets know of it.

        It may be too late for that: then the handle ends well.
        """
        self._on_cancel()

    @property
    def progress(self) -> PushProgress:
        """How far it is at each receiver."""
        seconds = self._seconds if self._seconds is not None else time.monotonic() - self.begin
        each = {name: TransferProgress(done, self._total, seconds) for name, done in self._acknowledged.items()}
        slowest = min((one.done for one in each.values()), default=0)
        return PushProgress(slowest, self._total, seconds, each)

    def _failure(self) -> BaseException | None:
        if (error := super()._failure()) is not None or self._value is None or self._value.ok:
            return error
        reason = str(self._cause) if isinstance(self._cause, BlobError) else self._value.reason
        failure = TransferError(reason, code=self._value.code, culprit=self._value.culprit)
        failure.__cause__ = self._cause
        return failure

    def _about(self) -> str:
        return f" to {', '.join(self.targets[:3])}{' ...' if len(self.targets) > 3 else ''}"


@dataclass(slots=True)
class _Push:
    """What the machine does not know of a push."""

    producer: Producer
    handle: PushHandle


class Pushing:
    """See the module. `files`, `calls`: workers for what only reads, and for code of the application's."""

    def __init__(self, node: Node, files: Workers, calls: Workers, submit: Submit) -> None:
        self._node = node
        self._files = files
        self._calls = calls
        self._submit = submit
        self._pushes: dict[int, _Push] = {}

    # -- any thread ----------------------------------------------------------------------------------------------------

    def push(
        self,
        handle: PushHandle,
        channel: str,
        topic: str,
        producer: Producer,
        context: Mapping[str, Any],
        window: int,
        timeout: float,
    ) -> None:
        """Begin. Raises `EncodeError` for a context that cannot travel; the producer is the caller's until then."""
        bodies = tuple(payload.encode(dict(context)))

        def act(now: float) -> list[Command]:
            if handle.done():
                producer.close()
                return []
            sender = PushSender(
                self._node.next_id(), handle.targets, channel, topic, (PAYLOAD_CODEC, bodies),
                window=window, looks_ahead=producer.looks_ahead, judges=producer.judges, chunk_timeout=timeout,
            )  # fmt: skip
            self._pushes[sender.id] = _Push(producer, handle)
            handle._acknowledged = sender.acknowledged
            return self._node.transfer(lambda transfers: transfers.push(sender, now), now)

        self._submit(act)

    def cancel(self, handle: PushHandle, code: CellReturnCode, reason: str) -> None:
        """End a push everywhere."""

        def act(now: float) -> list[Command]:
            for id, push in self._pushes.items():
                if push.handle is handle:
                    return self._tell(id, lambda sender: sender.cancel(code, reason, now), now)
            return []

        try:
            self._submit(act)
        except ClosedError:
            return  # closing has ended it as well

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def produce(self, command: Produce) -> None:
        """Have the next chunk made."""
        push = self._pushes[command.id]

        def job() -> None:
            chunk: Chunk | None = None
            error = ""
            try:
                chunk = push.producer.produce()
            except BaseException as failure:  # noqa: BLE001  whatever it is, the targets must learn that it is over
                error = told(failure)
                push.handle._cause = failure
            self._report(command.id, lambda sender, now: sender.produced(chunk, error, now))

        self._run(push.producer, job, command.id, lambda sender, now: sender.produced(None, "no free worker", now))

    def settle(self, command: Settle) -> None:
        """Show the producer what came back."""
        push = self._pushes[command.id]

        def job() -> None:
            result, error = None, ""
            try:
                result = push.producer.settle(command.replies)
            except BaseException as failure:  # noqa: BLE001  as above
                error = told(failure)
                push.handle._cause = failure
            self._report(command.id, lambda sender, now: sender.settled(result, error, now))

        self._run(push.producer, job, command.id, lambda sender, now: sender.settled(None, "no free worker", now))

    def ended(self, command: PushEnded) -> None:
        """Close the producer, then end the handle."""
        push = self._pushes.pop(command.id)
        handle = push.handle
        handle._seconds = time.monotonic() - handle.begin
        handle._acknowledged = dict(handle._acknowledged)

        def job() -> None:
            try:
                push.producer.close()
            finally:
                handle._finish(_report(command, handle, self._node.fqcn))

        if not self._files.submit(job, 0, job):
            job()

    def close(self) -> None:
        """Nothing will be told any more."""
        pushes, self._pushes = self._pushes, {}
        for push in pushes.values():
            push.producer.close()
            push.handle._fail(ClosedError(f"cell {self._node.fqcn} was closed"))

    def _run(
        self,
        producer: Producer,
        job: Callable[[], None],
        id: int,
        refused: Tell,
    ) -> None:
        workers = self._files if producer.is_quick else self._calls

        def refuse() -> None:
            self._report(id, refused)

        if not workers.submit(job, 0, refuse):
            refuse()

    def _report(self, id: int, tell: Callable[[PushSender, float], list[Command]]) -> None:
        try:
            self._submit(lambda now: self._tell(id, lambda sender: tell(sender, now), now))
        except ClosedError:
            return  # the handle has been told

    def _tell(self, id: int, act: Callable[[PushSender], list[Command]], now: float) -> list[Command]:
        return self._node.transfer(lambda transfers: transfers.to_push(id, act), now)


def _report(command: PushEnded, handle: PushHandle, me: str) -> PushReport:
    return PushReport(
        command.code, command.reason, command.culprit or ("" if handle._cause is None else me),
        {name: _target_report(name, outcome) for name, outcome in command.targets.items()},
        command.result, min(handle._acknowledged.values(), default=0), handle._seconds or 0.0,
    )  # fmt: skip


def _target_report(target: str, outcome: Outcome) -> TargetReport:
    reply = None
    if outcome.codec == PAYLOAD_CODEC and outcome.bodies:
        try:
            reply = payload.decode(outcome.bodies)
        except PayloadError as error:  # it has the file all the same
            log.warning("what %s says at the end of a push cannot be read: %s", target, error)
    return TargetReport(outcome.code, outcome.error, reply)
