"""What all streamers have: the getters of what the system puts into a stream context."""

from __future__ import annotations

from typing import Any

from zmqfl.streaming.contracts import StreamContext, StreamContextKey


class StreamerBase:
    """Getters for the callbacks of the receiving side. Source: reference "flare" 3.1."""

    @staticmethod
    def get_channel(stream_ctx: StreamContext) -> Any:
        """The channel that the stream came on."""
        return stream_ctx.get(StreamContextKey.CHANNEL)

    @staticmethod
    def get_topic(stream_ctx: StreamContext) -> Any:
        """The topic that the stream came under."""
        return stream_ctx.get(StreamContextKey.TOPIC)

    @staticmethod
    def get_rc(stream_ctx: StreamContext) -> Any:
        """How the stream ended, a `ReturnCode`; None while it goes on."""
        return stream_ctx.get(StreamContextKey.RC)
