"""A peer that is no cell: it speaks frames by itself, and says what it likes."""

from __future__ import annotations

from itertools import count
from types import TracebackType
from typing import Any, Self

import zmq

from tests.system.federation import LONG
from zmqfl.transport.monitor import DEALER_EVENTS, Monitor
from zmqfl.wire import payload
from zmqfl.wire.codec import decode_header, decode_packet, encode_header, encode_packet
from zmqfl.wire.messages import Beat, Fire, Hello, LinkMessage, Message, Packet, Reset, Welcome

Keypair = tuple[bytes, bytes]


class Stranger:
    """One connection. `keys`: its own pair; `server`: the public key of who listens there. None: without security."""

    def __init__(self, url: str, keys: Keypair | None = None, server: bytes | None = None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.immediate = True
        if keys is not None:
            self.socket.curve_publickey, self.socket.curve_secretkey = keys
            self.socket.curve_serverkey = server or keys[0]
        self.monitor = Monitor(self.socket, DEALER_EVENTS)
        self.session = 0
        self.fence = 0
        self.root = ""
        self.sequence = count(1)
        self.ids = count(1)
        self.socket.connect(url)

    def wait_refused(self) -> None:
        """Until the other side has not let it in."""
        refused = (
            zmq.EVENT_HANDSHAKE_FAILED_AUTH,
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_DISCONNECTED,
        )
        self.wait(*refused, but_not=zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def wait(self, *events: int, but_not: int = 0) -> None:
        """Until one of these events has happened to the connection."""
        while True:
            assert self.monitor.socket.poll(round(LONG * 1000)), f"none of {events} happens"
            found = {int(each.event) for each in self.monitor.drain()}
            assert but_not not in found
            if found & {*events}:
                return

    def send_frames(self, *frames: Any) -> None:
        assert self.socket.poll(round(LONG * 1000), zmq.POLLOUT), "no connection"
        self.socket.send_multipart(frames)

    def send(self, packet: Packet) -> None:
        self.send_frames(*encode_packet(packet))

    def receive(self) -> tuple[Packet, Message]:
        """The next message but beats."""
        while True:
            assert self.socket.poll(round(LONG * 1000)), "nothing comes"
            packet = decode_packet(self.socket.recv_multipart())
            message = decode_header(packet.kind, packet.header)
            if not isinstance(message, Beat):
                return packet, message

    def hello(self, fqcn: str, instance: int = 1, token: int = 0, session: int = 0, **fields: Any) -> Message:
        """Say HELLO; the answer."""
        header = encode_header(Hello(fqcn, instance, token, **fields))
        self.send(Packet(Hello.KIND, header, session=session))
        packet, answer = self.receive()
        while isinstance(answer, Reset):  # for what was said before
            packet, answer = self.receive()
        if isinstance(answer, Welcome):
            self.session, self.fence, self.root = packet.session, answer.token, answer.root
        return answer

    def bind(self, fqcn: str, instance: int = 1) -> Self:
        """Be bound as a child of that name."""
        answer = self.hello(fqcn, instance)
        assert isinstance(answer, Welcome), answer
        self.beat()
        return self

    def beat(self) -> None:
        """Whatever comes first with the session of a WELCOME binds."""
        self.link(Beat(1))

    def link(self, message: LinkMessage, lane: int = 0) -> None:
        self.send(Packet(message.KIND, encode_header(message), lane=lane, session=self.session))

    def fire(self, origin: str, target: str, value: Any, **changes: Any) -> None:
        """A FIRE to test:take."""
        bodies = tuple(payload.encode(value))
        message = Fire(
            origin, changes.pop("fence", self.fence), changes.pop("instance", 1), next(self.ids), "test", "take", 1,
            changes.pop("lengths", [len(body) for body in bodies]),
        )  # fmt: skip
        number = next(self.sequence)
        fields = {"targets": (target,), "hops": 8, "session": self.session, "route": (origin,), "sequence": number}
        self.send(Packet(Fire.KIND, encode_header(message), bodies, **{**fields, **changes}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.monitor.close()
        self.socket.close()
        self.context.term()


class FalseParent:
    """A ROUTER that a child takes for its parent."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind("tcp://127.0.0.1:*")
        self.url = self.socket.get_string(zmq.LAST_ENDPOINT)
        self.child = b""
        self.session = 77
        self.fence = 1000
        self.sequence = count(1)

    def accept(self, fqcn: str = "server", root: str = "server", **fields: Any) -> None:
        """Answer the HELLO of a child."""
        while True:
            assert self.socket.poll(round(LONG * 1000)), "no child comes"
            self.child, *frames = self.socket.recv_multipart()
            if isinstance(decode_header(frames[0][3], frames[1]), Hello):
                break
        welcome = Welcome(fqcn, 5, self.fence, 2000, fields.pop("version", 1), root, 1 << 20)
        self.send(Packet(Welcome.KIND, encode_header(welcome), session=self.session))

    def send(self, packet: Packet) -> None:
        self.socket.send_multipart([self.child, *encode_packet(packet)])

    def fire(self, origin: str, target: str, value: Any, **changes: Any) -> None:
        bodies = tuple(payload.encode(value))
        message = Fire(origin, self.fence, 1, next(self.sequence), "test", "take", 1, [len(body) for body in bodies])
        fields = {"targets": (target,), "hops": 8, "session": self.session, "route": (origin,), "sequence": message.id}
        self.send(Packet(Fire.KIND, encode_header(message), bodies, **{**fields, **changes}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.socket.close()
        self.context.term()
