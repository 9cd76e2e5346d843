"""What peers say, and what they cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl import Message
from zmqfl.errors import InvalidRequest
from zmqfl.streaming.download_messages import MAX_REASON, ChunkQuestion, Done, chunk_question_of, done_of
from zmqfl.streaming.downloadable import DownloadStatus


def test_there_and_back() -> None:
    question = ChunkQuestion("R", "d", {"place": 3})
    assert chunk_question_of(Message(payload=question.payload())) == question
    done = Done("R", "d", DownloadStatus.FAILED, "n", "disk full")
    assert done_of(Message(payload=done.payload())) == done


def test_a_reason_is_cut() -> None:
    assert len(Done("R", "d", DownloadStatus.FAILED, "", "x" * 5000).payload()["reason"]) == MAX_REASON
    fields = {**Done("R", "d", DownloadStatus.FAILED).payload(), "reason": "x" * 5000}
    assert len(done_of(Message(payload=fields)).reason) == MAX_REASON


@pytest.mark.parametrize(
    "change", [{"ref_id": 3}, {"ref_id": None}, {"download": b"d"}, {"state": None}, {"state": []}]
)
def test_questions_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        chunk_question_of(Message(payload={**ChunkQuestion("R", "d", {}).payload(), **change}))


@pytest.mark.parametrize(
    "change", [{"ref_id": 3}, {"status": "well"}, {"status": None}, {"nonce": 3}, {"reason": None}]
)
def test_ends_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        done_of(Message(payload={**Done("R", "d", DownloadStatus.SUCCESS).payload(), **change}))


@pytest.mark.parametrize("payload", [None, 3, [], "x"])
def test_no_dict(payload: Any) -> None:
    for parse in chunk_question_of, done_of:
        with pytest.raises(InvalidRequest, match="takes a dict"):
            parse(Message(payload=payload))
