"""What a site does with files for others: it offers those below its exported folders, and what its user shares.

    topic     payload                      who may                          reply
    export    PATH                         every admitted cell              {rid, name, size}, for the asking cell only
    share     {path, to, timeout, proof}   who proves to be the site's user {rid, name, size}; with `announce`, the name
                                           (see `user_proof`)               of a group, that is told of it
    unshare   {rid, proof}                 the same                         ""

A shared file may lie anywhere, so a name is not enough to ask for it: a server must not read the files of a hospital.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zmqfl.blobs.paths import resolve_below
from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.user_proof import check_proof
from zmqfl.errors import (
    ArgumentError,
    FqcnError,
    InvalidRequest,
    ServiceUnavailable,
    SourceError,
)

if TYPE_CHECKING:
    from zmqfl.cell.cell import Cell
    from zmqfl.cell.transfer_verbs import Offer

EXPORT, SHARE, UNSHARE = "export", "share", "unshare"
"""The topics."""
EXPORT_TIMEOUT: Final = 300.0
"""Seconds without activity after which an export ends. Who resumes first reads all that it has."""
MOST_EXPORTS: Final = 16
"""Files that one cell may have exported to it at once: each is an open file here."""


class FileService:
    """See the module. `exports`: folders; `run_dir`: the run folder, or None where nobody can share."""

    def __init__(self, cell: Cell, exports: Iterable[Path], run_dir: Path | None) -> None:
        self._cell = cell
        self._exports = tuple(exports)
        self._run_dir = run_dir
        self._exported: dict[str, tuple[str, Offer]] = {}
        """Reference id -> the receiver, the offer."""
        self._shared: dict[str, Offer] = {}

    def serve(self) -> None:
        """Answer from now on."""
        for topic, answer in ((EXPORT, self._export), (SHARE, self._share), (UNSHARE, self._unshare)):
            self._cell.register_request_cb(CHANNEL, topic, answer)

    # -- exports -------------------------------------------------------------------------------------------------------

    def _export(self, message: Message) -> dict[str, Any]:
        path, receiver = message.payload, message.origin
        if not isinstance(path, str):
            raise InvalidRequest("export takes a path")
        if sum(name == receiver for name, _ in list(self._exported.values())) >= MOST_EXPORTS:
            text = f"{receiver} has {MOST_EXPORTS} files exported to it already; pull these, or wait until they expire"
            raise ServiceUnavailable(text)
        try:
            file = resolve_below(self._exports, path)
            offer = self._cell.offer(
                file, to=[receiver], timeout=EXPORT_TIMEOUT, on_served=self._served, on_expired=self._expired
            )
        except SourceError as error:
            raise InvalidRequest(error.line()) from None
        self._exported[offer.rid] = receiver, offer
        return _described(offer)

    def _served(self, rid: str, receiver: str, status: str, name: str) -> None:
        """It was for this one pull."""
        if (export := self._exported.pop(rid, None)) is not None:
            export[1].withdraw()

    def _expired(self, transaction: str, names: list[str]) -> None:
        for rid, (_, offer) in list(self._exported.items()):
            if offer.transaction.id == transaction:
                self._exported.pop(rid, None)

    # -- shares --------------------------------------------------------------------------------------------------------

    def _share(self, message: Message) -> dict[str, Any]:
        match message.payload:
            case {"path": str() as path, "to": list() | None as to, "timeout": float() as timeout, "proof": proof}:
                pass
            case _:
                raise InvalidRequest("share takes {path, to: [FQCN, ...] or null, timeout: seconds, proof}")
        announce = message.payload.get("announce", "")
        check_proof(self._cell.fqcn, self._run_dir, proof)
        try:
            offer = self._cell.offer(path, to=to, timeout=timeout, announce=announce, on_expired=self._share_expired)
        except SourceError as error:
            raise InvalidRequest(error.line()) from None
        except (ArgumentError, FqcnError) as error:
            raise InvalidRequest(str(error)) from None
        self._shared[offer.rid] = offer
        return _described(offer)

    def _unshare(self, message: Message) -> str:
        match message.payload:
            case {"rid": str() as rid, "proof": proof}:
                pass
            case _:
                raise InvalidRequest("unshare takes {rid, proof}")
        check_proof(self._cell.fqcn, self._run_dir, proof)
        if (offer := self._shared.pop(rid, None)) is None:
            raise InvalidRequest(f"{self._cell.fqcn} does not share that, or no longer")
        offer.withdraw()
        return ""

    def _share_expired(self, transaction: str, names: list[str]) -> None:
        for rid, offer in list(self._shared.items()):
            if offer.transaction.id == transaction:
                self._shared.pop(rid, None)


def _described(offer: Offer) -> dict[str, Any]:
    return {"rid": offer.rid, "name": offer.name, "size": offer.size}
