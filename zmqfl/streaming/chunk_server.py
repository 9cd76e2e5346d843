"""Serves the chunks of what is offered, and takes word of how receivers ended. On workers, several at once.

question                          what is offered   reply
chunk                             an object         what it produces for the state; at its end, a nonce
chunk                             a file            invalid_request: it is pulled in another way
chunk, the last one once more     no more           the same end again: its reply came late, no harm is done
chunk, any other                  no more           invalid_request: it is gone
done, success, the nonce is right any               the receiver has it
done, failed                      any               the receiver has not
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from zmqfl.cell.message import Message
from zmqfl.errors import CellReturnCode, InvalidRequest, RequestFailed, told
from zmqfl.streaming.download_messages import ChunkQuestion, Done, chunk_question_of, done_of
from zmqfl.streaming.downloadable import DownloadStatus, ProduceRC, size_of
from zmqfl.streaming.object_transaction import Offered, Terminal
from zmqfl.streaming.offers import Offers

log = logging.getLogger("zmqfl.streaming")


class ChunkServer:
    """See the module. `fqcn`: whose chunks."""

    def __init__(self, fqcn: str, offers: Offers) -> None:
        self._fqcn = fqcn
        self._offers = offers

    def serve_chunk(self, message: Message) -> dict[str, Any]:
        """A receiver asks for a chunk. Raises `RequestFailed` for what cannot be served."""
        question = chunk_question_of(message)
        offered = self._offers.begin(question.ref_id, message.origin)
        if offered is None:
            return self._late(question, message.origin)
        return self._produce(offered, question, message.origin)

    def serve_done(self, message: Message) -> dict[str, Any]:
        """A receiver tells how it ended. Raises `InvalidRequest`."""
        done, receiver = done_of(message), message.origin
        offered = self._offers.find(done.ref_id)
        known = offered or self._offers.ended(done.ref_id)
        if known is None:
            raise self._gone(done.ref_id)
        if done.status is DownloadStatus.SUCCESS and not _proves(known.terminals.get(receiver), done):
            raise InvalidRequest(f"the end of {done.ref_id} was not served to {receiver}")
        if offered is not None and not offered.is_file:
            if done.status is DownloadStatus.FAILED:
                log.info("%s: %s could not download %s: %s", self._fqcn, receiver, done.ref_id, done.reason)
            self._end(offered, receiver, done.status)
        return {}

    # -- within --------------------------------------------------------------------------------------------------------

    def _produce(self, offered: Offered, question: ChunkQuestion, receiver: str) -> dict[str, Any]:
        transaction = offered.transaction
        try:
            reply = self._reply(offered, question, receiver)
        except BaseException as error:
            self._end(offered, receiver, DownloadStatus.FAILED)
            text = f"{question.ref_id} cannot be produced: {told(error)}"
            log.warning("%s: %s", self._fqcn, text, exc_info=error)
            raise RequestFailed(text, code=CellReturnCode.PROCESS_EXCEPTION) from error
        finally:
            self._offers.change(transaction, transaction.produced)
        if reply["status"] == ProduceRC.ERROR:
            self._end(offered, receiver, DownloadStatus.FAILED)
        return reply

    def _reply(self, offered: Offered, question: ChunkQuestion, receiver: str) -> dict[str, Any]:
        answer: Any = offered.obj.produce(dict(question.state), receiver)  # of the application's code
        produced, data, after = answer
        match ProduceRC(produced):
            case ProduceRC.ERROR:
                return {"status": "error", "reason": f"{self._fqcn} cannot produce {question.ref_id}"}
            case ProduceRC.EOF:
                return {"status": "eof", "nonce": self._terminal(offered, question, receiver).nonce}
        if not isinstance(after, dict) or after == question.state:
            return {"status": "error", "reason": f"{question.ref_id} makes no progress at {question.state}"}
        transaction = offered.transaction
        self._offers.change(transaction, lambda now: transaction.served(receiver, size_of(data), now))
        return {"status": "ok", "state": after, "data": data}

    def _terminal(self, offered: Offered, question: ChunkQuestion, receiver: str) -> Terminal:
        def act(now: float) -> Terminal:
            known = offered.terminals.get(receiver)
            if known is None or known.download != question.download:
                known = offered.terminals[receiver] = Terminal(question.download, secrets.token_hex(8), question.state)
            offered.transaction.ledger.touch(now, receiver)
            return known

        return self._offers.change(offered.transaction, act)

    def _end(self, offered: Offered, receiver: str, status: DownloadStatus) -> None:
        transaction = offered.transaction

        def act(now: float) -> None:
            transaction.apply(transaction.ledger.end(offered.ref_id, receiver, status, now), now)

        self._offers.change(transaction, act)

    def _late(self, question: ChunkQuestion, receiver: str) -> dict[str, Any]:
        offered = self._offers.find(question.ref_id)
        if offered is not None and offered.is_file:
            raise InvalidRequest(f"{question.ref_id} is a file; fetch it by `download_file`")
        ended = self._offers.ended(question.ref_id)
        terminal = None if ended is None else ended.terminals.get(receiver)
        if terminal is None or (terminal.download, terminal.state) != (question.download, question.state):
            raise self._gone(question.ref_id)
        return {"status": "eof", "nonce": terminal.nonce}

    def _gone(self, ref_id: str) -> InvalidRequest:
        if (ended := self._offers.ended(ref_id)) is not None:
            return InvalidRequest(
                f"{ref_id} is gone: its transaction has ended ({ended.status}); have it offered again"
            )
        return InvalidRequest(f"no such reference at {self._fqcn}: never offered, or ended by now")


def _proves(terminal: Terminal | None, done: Done) -> bool:
    return terminal is not None and (terminal.download, terminal.nonce) == (done.download, done.nonce)
