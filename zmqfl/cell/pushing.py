"""Pushes of a cell, the owner's side: from the verb to the handle, and the producer in between."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zmqfl.cell.handles import Handle
from zmqfl.cell.identity import no_card
from zmqfl.cell.progress import PushProgress, TransferProgress
from zmqfl.cell.streams import Producer, PushReport, TargetReport
from zmqfl.cell.workers import Workers
from zmqfl.errors import BlobError, CellReturnCode, ClosedError, PayloadError, RequestFailed, TransferError, told
from zmqfl.protocol.commands import Chunk, Command, Outcome, Produce, PushEnded, Settle
from zmqfl.protocol.node import Node
from zmqfl.protocol.push_sender import PushSender
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls
    from zmqfl.cell.sealed_streams import PlainContext, SealedProducer
    from zmqfl.cell.sealing import Failed, Found

log = logging.getLogger("zmqfl.cell")

Submit = Callable[[Callable[[float], list[Command]]], None]
"""Runs an action on the reactor. Raises `ClosedError`."""
Tell = Callable[[PushSender, float], list[Command]]


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
        self._is_starting = False
        """A sealed one that has no sessions yet, or needs others."""

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
        most = self._total or max(self._acknowledged.values(), default=0)  # sealed bytes are some more
        each = {
            name: TransferProgress(min(done, most), self._total, seconds) for name, done in self._acknowledged.items()
        }
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
    sealed: SealedProducer | None = None
    """The same as `producer`, where it seals."""
    again: Callable[[list[str]], None] | None = None
    """Begins it once more, when these targets have forgotten their sessions."""


class Pushing:
    """See the module. `files`, `calls`: workers for what only reads, and for code of the application's."""

    def __init__(
        self, node: Node, files: Workers, calls: Workers, submit: Submit, seals: SealedCalls | None = None
    ) -> None:
        self._node = node
        self._seals = seals
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
        self._begin(handle, channel, topic, _Push(producer, handle), context, window, timeout)

    def push_sealed(
        self,
        handle: PushHandle,
        channel: str,
        topic: str,
        producer: Producer,
        context: Mapping[str, Any],
        window: int,
        timeout: float,
    ) -> None:
        """The same, sealed for the targets, as soon as there is a session with each. Raises as `push` does."""
        from zmqfl.cell.sealed_streams import plain_context

        if self._seals is None:
            self._give_up(handle, producer, CellReturnCode.COMM_ERROR, no_card(self._node.fqcn), self._node.fqcn)
            return
        handle._is_starting = True
        self._start_sealed(handle, producer, plain_context(channel, topic, context), window, timeout, False)

    def _start_sealed(
        self,
        handle: PushHandle,
        producer: Producer,
        plain: PlainContext,
        window: int,
        timeout: float,
        is_second: bool,
    ) -> None:
        from zmqfl.cell.sealed_streams import SealedProducer, seal_context

        assert self._seals is not None
        sealing = self._seals.sealing

        def then(found: Found, failed: Failed) -> None:
            if handle.done():
                producer.close()
                return
            for name, error in failed.items():
                self._give_up(handle, producer, error.code, error.reason, name)
                return

            def again(names: list[str]) -> None:
                for name in names:
                    sealing.drop(found[name])
                self._start_sealed(handle, producer, plain, window, timeout, True)

            try:
                context, keys = seal_context(plain, (self._node.fqcn, self._node.instance), found, sealing.wraps)
                sealed = SealedProducer(producer, keys)
                push = _Push(sealed, handle, sealed, None if is_second else again)
                self._begin(handle, plain.channel, plain.topic, push, context, window, timeout)
            except RequestFailed as error:
                self._give_up(handle, producer, error.code, error.reason, self._node.fqcn)
            except ClosedError as error:
                producer.close()
                handle._fail(error)

        try:
            # With several targets it must not come to a second start: the others would hear of two pushes.
            sealing.sessions(handle.targets, False, timeout, then, is_new=len(handle.targets) > 1)
        except RequestFailed as error:
            self._give_up(handle, producer, error.code, error.reason, self._node.fqcn)

    def _begin(
        self,
        handle: PushHandle,
        channel: str,
        topic: str,
        push: _Push,
        context: Mapping[str, Any],
        window: int,
        timeout: float,
    ) -> None:
        bodies, producer = tuple(payload.encode(dict(context))), push.producer

        def act(now: float) -> list[Command]:
            handle._is_starting = False
            if handle.done():
                producer.close()
                return []
            sender = PushSender(
                self._node.next_id(), handle.targets, channel, topic, (PAYLOAD_CODEC, bodies),
                window=window, looks_ahead=producer.looks_ahead, judges=producer.judges, chunk_timeout=timeout,
            )  # fmt: skip
            self._pushes[sender.id] = push
            handle._acknowledged = sender.acknowledged
            return self._node.transfer(lambda transfers: transfers.push(sender, now), now)

        self._submit(act)

    def cancel(self, handle: PushHandle, code: CellReturnCode, reason: str) -> None:
        """End a push everywhere."""

        def act(now: float) -> list[Command]:
            for id, push in self._pushes.items():
                if push.handle is handle:
                    return self._tell(id, lambda sender: sender.cancel(code, reason, now), now)
            if handle._is_starting:  # its producer is closed when the sessions are there
                handle._finish(PushReport(code, reason, "", {}))
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
                error = told(failure) if push.sealed is None else push.sealed.public_error
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
                error = told(failure) if push.sealed is None else push.sealed.public_error
                push.handle._cause = failure
            self._report(command.id, lambda sender, now: sender.settled(result, error, now))

        self._run(push.producer, job, command.id, lambda sender, now: sender.settled(None, "no free worker", now))

    def ended(self, command: PushEnded) -> None:
        """Close the producer, then end the handle."""
        push = self._pushes.pop(command.id)
        handle = push.handle
        if push.again is not None and (names := _forgetful(command)) and not handle.done():
            handle._is_starting = True
            push.again(names)
            return
        handle._seconds = time.monotonic() - handle.begin
        handle._acknowledged = dict(handle._acknowledged)

        def job() -> None:
            try:
                push.producer.close()
            finally:
                ended = command if push.sealed is None else push.sealed.prove(command)
                report = _report(ended, handle, self._node.fqcn)
                handle._finish(
                    report if push.sealed is None else replace(report, size=min(report.size, push.sealed.size))
                )

        if not self._files.submit(job, 0, job):
            job()

    def close(self) -> None:
        """Nothing will be told any more."""
        pushes, self._pushes = self._pushes, {}
        for push in pushes.values():
            push.producer.close()
            push.handle._fail(ClosedError(f"cell {self._node.fqcn} was closed"))

    def _give_up(self, handle: PushHandle, producer: Producer, code: CellReturnCode, reason: str, culprit: str) -> None:
        """It ends before it has begun."""
        producer.close()
        handle._finish(PushReport(code, reason, culprit, {}))

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


def _forgetful(command: PushEnded) -> list[str]:
    """The targets that have refused a sealed push because they do not know its session (any more)."""
    return [name for name, outcome in command.targets.items() if outcome.headers.get("why") == "seal_session"]


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
