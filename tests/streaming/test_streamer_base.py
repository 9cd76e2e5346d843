"""The getters that all streamers have."""

from __future__ import annotations

from zmqfl.context.return_code import ReturnCode
from zmqfl.streaming.contracts import StreamContext, StreamContextKey
from zmqfl.streaming.streamer_base import StreamerBase


def test_the_getters() -> None:
    stream_ctx: StreamContext = {
        StreamContextKey.CHANNEL: "models",
        StreamContextKey.TOPIC: "best",
        StreamContextKey.RC: ReturnCode.OK,
    }
    assert StreamerBase.get_channel(stream_ctx) == "models"
    assert StreamerBase.get_topic(stream_ctx) == "best"
    assert StreamerBase.get_rc(stream_ctx) == "OK"


def test_what_is_not_known_yet() -> None:
    assert StreamerBase.get_channel({}) is StreamerBase.get_topic({}) is StreamerBase.get_rc({}) is None
