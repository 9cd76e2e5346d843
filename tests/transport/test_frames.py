"""Multipart messages, frame by frame."""

from __future__ import annotations

import pytest
import zmq

from zmqfl.transport.frames import COPIED, recv_frames, send_frames
from zmqfl.transport.sockets import Context, Socket
from zmqfl.wire.messages import Buffer

WITHIN = 10_000
"""Milliseconds that nothing here may take."""


@pytest.fixture(scope="module", autouse=True)
def _collector() -> None:
    """The thread that pyzmq starts with the first frame that it does not copy, and keeps: no leak of a test."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        right.bind("inproc://collector")
        left.connect("inproc://collector")
        left.send(bytes(COPIED + 1), copy=False)
        right.recv()


@pytest.fixture
def pair(context: Context) -> tuple[Socket, Socket]:
    """Two ends, with room for one message."""
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.sndhwm = right.rcvhwm = 1
    port = right.bind_to_random_port("tcp://127.0.0.1")
    left.connect(f"tcp://127.0.0.1:{port}")
    return left, right


@pytest.mark.parametrize(
    "frames",
    [[b"one"], [b"hop", b"header"], [b"", b"", b""], [b"hop", bytearray(b"x" * COPIED), memoryview(b"y" * 3 * COPIED)]],
    ids=["one", "two", "empty", "big"],
)
def test_what_is_sent_arrives(pair: tuple[Socket, Socket], frames: list[Buffer]) -> None:
    left, right = pair
    assert left.poll(WITHIN, zmq.POLLOUT)
    send_frames(left, frames)
    assert right.poll(WITHIN)
    assert [frame.bytes for frame in recv_frames(right)] == [bytes(frame) for frame in frames]
    with pytest.raises(zmq.Again):
        recv_frames(right)


def test_messages_are_not_mixed(pair: tuple[Socket, Socket]) -> None:
    left, right = pair
    assert left.poll(WITHIN, zmq.POLLOUT)
    messages: list[list[Buffer]] = [[b"a", b"b", b"c"], [b"d"], [b"e", b"f"]]
    for message in messages:
        assert left.poll(WITHIN, zmq.POLLOUT)
        send_frames(left, message)
    for message in messages:
        assert right.poll(WITHIN)
        assert [frame.bytes for frame in recv_frames(right)] == message


def test_what_would_block_is_sent_whole_or_not_at_all(context: Context) -> None:
    dealer, router = context.socket(zmq.DEALER), context.socket(zmq.ROUTER)
    dealer.immediate = True
    with pytest.raises(zmq.Again):
        send_frames(dealer, [b"first", b"second"])
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.connect(f"tcp://127.0.0.1:{port}")
    assert dealer.poll(WITHIN, zmq.POLLOUT)
    send_frames(dealer, [b"third"])
    assert router.poll(WITHIN)
    assert [frame.bytes for frame in recv_frames(router)][1:] == [b"third"]


def test_a_big_frame_is_not_copied(pair: tuple[Socket, Socket], monkeypatch: pytest.MonkeyPatch) -> None:
    left, _ = pair
    assert left.poll(WITHIN, zmq.POLLOUT)
    copied: list[tuple[int, bool]] = []
    send = zmq.Socket.send

    def watch(self: Socket, data: Buffer, flags: int, copy: bool) -> object:
        copied.append((len(data), copy))
        return send(self, data, flags, copy)

    monkeypatch.setattr(zmq.Socket, "send", watch)
    send_frames(left, [b"small", bytes(COPIED), bytes(COPIED + 1)])
    assert copied == [(5, True), (COPIED, True), (COPIED + 1, False)]
