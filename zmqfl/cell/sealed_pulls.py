"""Sealed pulls, the receiver's side: around an ordinary pull of the twin (see `sealed_offers`), which knows nothing.

    pull           OPEN to the owner, sealed
    its answer     the pull of the twin begins, into a sink that opens each chunk
    commit         waits: PROVE for the chunks, some after the others, also for those that a resume has found
    its answers    all as the owner has it: commit; else the pull fails, and nothing of it stays
    cancel         whichever request is out is given up

Its id, name and fingerprint never stand in clear. Source: design, decisions 12, 20 and 21.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Final

from zmqfl.blobs.chunk_seal import ChunkSeal
from zmqfl.blobs.sealed_sink import SealedSink
from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.pulling import PullHandle, Pulling, SinkFactory, Then
from zmqfl.cell.sealed_offers import CHANGED, OPEN, PROVE, WHY, most_proved
from zmqfl.errors import (
    AuthenticationError,
    CellReturnCode,
    ClosedError,
    DecodeError,
    RequestFailed,
    SourceChangedError,
    TransferError,
)
from zmqfl.protocol.pull_grid import MAX_CHUNK, MOST_CHUNKS
from zmqfl.wire.noise import KEY, TAG

Request = Callable[[str, Any], RequestHandle]
"""(topic, payload) -> a sealed request to the owner. Raises `ClosedError`."""
UNPROVED: Final = "is not what the owner has, though it could be opened: another receiver may have forged it"


class SealedPull:
    """One of them. `handle`: for the user; `keep`: leave what was written, should it fail. All threads may use it."""

    def __init__(
        self,
        request: Request,
        pulling: Pulling,
        handle: PullHandle,
        make_sink: SinkFactory,
        timeout: float,
        keep: bool,
    ) -> None:
        self._request = request
        self._pulling = pulling
        self._handle = handle
        self._make_sink = make_sink
        self._timeout = timeout
        self._keep = keep
        self._asked: RequestHandle | None = None
        self._is_given_up = False

    def begin(self) -> None:
        """Ask the owner. Raises `ClosedError`."""
        self._ask(OPEN, {"r": self._handle.rid}, self._opened, self._refused)

    def cancel(self, code: CellReturnCode, reason: str) -> None:
        """End it."""
        self._is_given_up = True
        if self._asked is not None:
            self._asked.cancel()
        self._pulling.cancel(self._handle, code, reason)

    # -- the beginning -------------------------------------------------------------------------------------------------

    def _refused(self, error: Exception) -> None:
        if isinstance(error, RequestFailed):
            error = TransferError(error.reason, code=error.code, culprit=self._handle.owner)
        self._handle._fail(error)

    def _opened(self, answer: Any) -> None:
        match answer:
            case {"t": str(twin), "k": bytes(key), "n": int(size), "c": int(chunk), "f": str(fingerprint),
                  "name": str(name)} if len(key) == KEY and _is_grid(size, chunk):  # fmt: skip
                seal = ChunkSeal(key, twin, size, chunk)
            case _:
                self._refused(RequestFailed("its answer cannot be", code=CellReturnCode.COMM_ERROR))
                return
        sealed = _Sealed(self, seal, fingerprint, name)
        self._handle.name, self._handle._seal_size = name, (seal.sealed_chunk, TAG)
        try:
            self._pulling.pull(self._handle, sealed.make_sink, self._timeout, self._keep, twin, sealed.prove)
        except ClosedError as error:
            self._handle._fail(error)
        if self._is_given_up:  # before there was a pull to be cancelled
            self._pulling.cancel(self._handle, CellReturnCode.ABORT_RUN, "cancelled")

    # -- requests ------------------------------------------------------------------------------------------------------

    def _ask(self, topic: str, payload: Any, then: Callable[[Any], None], failed: Callable[[Exception], None]) -> None:
        """Have `then` told the owner's answer, or `failed` why there is none."""

        def ended(request: RequestHandle) -> None:
            try:
                answer = self._answer_in(request)
            except (RequestFailed, SourceChangedError, ClosedError) as error:
                failed(error)
            else:
                then(answer)

        self._asked = request = self._request(topic, payload)
        request.add_done_callback(ended)
        if self._is_given_up:
            request.cancel()

    def _answer_in(self, request: RequestHandle) -> Any:
        try:
            reply: Message = request.reply(0)
            answer = reply.payload
        except CancelledError:
            raise RequestFailed("cancelled", code=CellReturnCode.ABORT_RUN) from None
        except DecodeError as error:
            raise RequestFailed(f"its answer cannot be read: {error}", code=CellReturnCode.COMM_ERROR) from None
        if reply.get_header(WHY) == CHANGED and reply.sealed:
            remedy = f"have {self._handle.owner} offer it again"
            raise SourceChangedError(reply.error, file=self._handle.rid, remedy=remedy)
        if not reply.ok:
            raise RequestFailed(reply.error or str(reply.return_code), code=reply.return_code)
        if not reply.sealed:
            raise AuthenticationError("its answer is not sealed")
        return answer


class _Sealed:
    """The sink and the proof of a pull that the owner has granted."""

    def __init__(self, pull: SealedPull, seal: ChunkSeal, fingerprint: str, name: str) -> None:
        self._pull = pull
        self._seal = seal
        self._fingerprint = fingerprint
        self._name = name
        self._sink: SealedSink[Any] | None = None

    def make_sink(self, theirs: str, size: int) -> SealedSink[Any]:
        """For the twin, whose name and size everybody could change. Raises `AuthenticationError`."""
        if size != self._seal.sealed_size:
            raise AuthenticationError(f"{size} bytes are offered where the owner has sealed {self._seal.sealed_size}")
        plain = self._pull._make_sink(self._name, self._seal.size)
        self._sink = SealedSink(plain, self._seal, self._fingerprint)
        return self._sink

    def prove(self, then: Then) -> None:
        """Everything is written: have `then` told None when the owner has confirmed it, else the error."""
        self._prove_from(0, then)

    def _prove_from(self, first: int, then: Then) -> None:
        assert self._sink is not None
        end = min(first + most_proved(self._seal.chunk), self._seal.count)

        def compared(answer: Any) -> None:
            match answer:
                case {"bad": []} if end == self._seal.count:
                    then(None)
                case {"bad": []}:
                    self._prove_from(end, then)
                case {"bad": [int(index), *_]}:
                    then(AuthenticationError(f"chunk {index} of {self._name} {UNPROVED}"))
                case _:
                    then(RequestFailed("its answer cannot be", code=CellReturnCode.COMM_ERROR))

        question = {"t": self._seal.twin, "i": first, "d": self._sink.proof(first, end)}
        try:
            self._pull._ask(PROVE, question, compared, then)
        except ClosedError as error:
            then(error)


def _is_grid(size: int, chunk: int) -> bool:
    return 0 < chunk <= MAX_CHUNK - TAG and 0 <= size <= chunk * MOST_CHUNKS
