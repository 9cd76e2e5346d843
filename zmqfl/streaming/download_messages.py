"""What owner and receiver of a downloaded object say to each other: requests of their cells on one channel.

    topic           question                                   reply
    chunk           ref_id, download, state                    status ok: state (the next one), data
                                                               status eof: nonce
                                                               status error: reason
    done            ref_id, download, status, nonce, reason    None
    source_failure  source, ref_ids (or None), reason          none

`download`: text by which a receiver tells its downloads apart. `state`: {} at the begin, then what the last reply had.
`nonce`: proves that the end was served: only with it `done` may say "success", and only that makes it delivered.
A reference that is not, or no more, offered is `invalid_request`; so is a malformed question. Each may be asked again.
Source: reference "flare" 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from zmqfl.cell.message import Message
from zmqfl.errors import InvalidRequest
from zmqfl.streaming.downloadable import DownloadStatus

CHANNEL: Final = "download_service"
CHUNK, DONE, SOURCE_FAILURE = "chunk", "done", "source_failure"
"""Topics."""
MAX_REASON: Final = 1000
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class ChunkQuestion:
    """A receiver asks for the chunk that belongs to a state."""

    ref_id: str
    download: str
    state: dict[str, Any]

    def payload(self) -> dict[str, Any]:
        """As it travels."""
        return {"ref_id": self.ref_id, "download": self.download, "state": self.state}


@dataclass(frozen=True, slots=True)
class Done:
    """A receiver tells how it ended."""

    ref_id: str
    download: str
    status: DownloadStatus
    nonce: str = ""
    reason: str = ""

    def payload(self) -> dict[str, Any]:
        """As it travels."""
        return {
            "ref_id": self.ref_id,
            "download": self.download,
            "status": str(self.status),
            "nonce": self.nonce,
            "reason": self.reason[:MAX_REASON],
        }


def chunk_question_of(message: Message) -> ChunkQuestion:
    """What a peer asks for. Raises `InvalidRequest`."""
    fields = _fields(message)
    state = fields.get("state")
    if not isinstance(state, dict):
        raise InvalidRequest("the state of a download is a dict")
    return ChunkQuestion(_text(fields, "ref_id"), _text(fields, "download"), state)


def done_of(message: Message) -> Done:
    """What a peer tells. Raises `InvalidRequest`."""
    fields = _fields(message)
    try:
        status = DownloadStatus(_text(fields, "status"))
    except ValueError:
        raise InvalidRequest("the status of a download is success or failed") from None
    nonce, reason = _text(fields, "nonce"), _text(fields, "reason")[:MAX_REASON]
    return Done(_text(fields, "ref_id"), _text(fields, "download"), status, nonce, reason)


def _fields(message: Message) -> dict[Any, Any]:
    if not isinstance(message.payload, dict):
        raise InvalidRequest(f"{CHANNEL}:{message.topic} takes a dict")
    return message.payload


def _text(fields: dict[Any, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a str")
    return value
