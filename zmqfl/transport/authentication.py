"""Who may connect: the answers to libzmq's questions (ZAP, RFC 27), given by the thread that owns the sockets.

    domain      mechanism  who is let in                                        User-Id of their messages
    curve       CURVE      keys on the allow list                               the name of the key
    same-user   NULL       over ipc: processes of the same user (uid)           ""
    loopback    NULL       over tcp: processes of the same machine              ""
    trusted     NULL       everybody: the user has said that only friends can   ""

A domain without a policy lets nobody in. libzmq lets *everybody* in where nobody answers, with any key, unless the
socket enforces its domain: `enforce` sets both, and `ZapAnswerer.self_test` proves it at each start.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import zmq
from zmq.utils import z85

from zmqfl.errors import LocalProtocolError
from zmqfl.transport.endpoint import Endpoint, is_loopback
from zmqfl.transport.keys import Keys
from zmqfl.transport.monitor import DEALER_EVENTS, Monitor

CURVE: Final = "curve"
SAME_USER: Final = "same-user"
LOOPBACK: Final = "loopback"
TRUSTED: Final = "trusted"

ADDRESS: Final = "inproc://zeromq.zap.01"
MAX_ANSWERED: Final = 256
"""Requests answered in one `handle`: a flood of connections must not stop what else the thread has to do."""
SELF_TEST: Final = 2.0
"""Seconds that the self-test waits for its refusal, which takes a few milliseconds unless the machine is overloaded."""
_VERSION: Final = b"1.0"


@dataclass(frozen=True, slots=True)
class ZapRequest:
    """One question. `address`: the peer's IP address, or `localhost:uid:gid:pid` over ipc."""

    domain: str
    address: str
    mechanism: str
    credentials: tuple[bytes, ...]


class Policy(Protocol):
    """Decides for one domain."""

    def user_of(self, request: ZapRequest) -> str | None:
        """The User-Id that all messages of the connection will carry; None: it is refused. Never raises."""


class CurvePolicy:
    """Lets in the keys of an allow list: name (FQCN) -> public key, Z85."""

    def __init__(self, allowed: Mapping[str, bytes]) -> None:
        self.replace(allowed)

    def replace(self, allowed: Mapping[str, bytes]) -> None:
        """Use this list from now on. Connections that are open stay: check the User-Id of each message."""
        self._names = {key: name for name, key in allowed.items()}

    def user_of(self, request: ZapRequest) -> str | None:
        """The name that this key proves."""
        if request.mechanism != "CURVE" or len(request.credentials) != 1 or len(request.credentials[0]) != 32:
            return None
        return self._names.get(z85.encode(request.credentials[0]))


class SameUserPolicy:
    """Lets in processes of the same user, on an ipc listener: the kernel tells libzmq their uid."""

    def user_of(self, request: ZapRequest) -> str | None:
        """ "" for a process of our user."""
        host, _, peer = request.address.partition(":")
        uid = peer.partition(":")[0]
        return "" if request.mechanism == "NULL" and host == "localhost" and uid == str(os.getuid()) else None


class LoopbackPolicy:
    """Lets in processes of the same machine, on a tcp listener without security."""

    def user_of(self, request: ZapRequest) -> str | None:
        """ "" for a loopback address."""
        return "" if request.mechanism == "NULL" and is_loopback(request.address) else None


class TrustedPolicy:
    """Lets in everybody who reaches a listener without security: the user has said that only friends can."""

    def user_of(self, request: ZapRequest) -> str | None:
        """ "" for everybody who does not claim more."""
        return "" if request.mechanism == "NULL" else None


class ZapAnswerer:
    """Answers all ZAP questions of one context. Made before its first listener, closed after its last socket.

    `accepted` and `refused` count per domain, `malformed` what was no question.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.malformed = 0
        self._context = context
        self._policies: dict[str, Policy] = {}
        self.socket = context.socket(zmq.ROUTER)
        """To be polled for input."""
        self.socket.linger = 0
        self.socket.bind(ADDRESS)

    def add_domain(self, domain: str, policy: Policy) -> None:
        """Ask `policy` about the connections of all listeners of this domain."""
        self._policies[domain] = policy

    def handle(self) -> int:
        """Answer what waits, at most `MAX_ANSWERED`; returns how many. Never blocks."""
        for number in range(MAX_ANSWERED):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return number
            self._answer(frames)
        return MAX_ANSWERED

    def _answer(self, frames: list[bytes]) -> None:
        match frames:
            case [asker, b"", b"1.0", id, domain, address, _, mechanism, *credentials]:
                request = ZapRequest(_text(domain), _text(address), _text(mechanism), tuple(credentials))
                user = self._judge(request)
            case _:  # without an answer libzmq lets nobody in
                self.malformed += 1
                return
        verdict = [b"400", b"refused", b""] if user is None else [b"200", b"OK", user.encode()]
        self.socket.send_multipart([asker, b"", _VERSION, id, *verdict, b""])

    def _judge(self, request: ZapRequest) -> str | None:
        policy = self._policies.get(request.domain)
        user = policy.user_of(request) if policy is not None else None
        (self.refused if user is None else self.accepted)[request.domain] += 1
        return user

    def self_test(self, domain: str = CURVE) -> None:
        """Prove that a random key is refused at a real CURVE socket of this domain; takes a few milliseconds.

        Call it before the thread that polls `socket` has started, or from it. Raises `LocalProtocolError`.
        """
        public, secret = zmq.curve_keypair()
        server, client = self._context.socket(zmq.ROUTER), self._context.socket(zmq.DEALER)
        monitor = Monitor(client, DEALER_EVENTS)
        try:
            enforce(server, domain, Keys("self-test", public, secret))
            client.curve_serverkey = public
            client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
            url = f"ipc://@zmqfl-self-test-{secrets.token_hex(16)}"  # without a file, and without a network
            server.bind(url)
            client.connect(url)
            self._await_refusal(monitor, domain)
        finally:
            monitor.close()
            client.close(linger=0)
            server.close(linger=0)

    def _await_refusal(self, monitor: Monitor, domain: str) -> None:
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(monitor.socket, zmq.POLLIN)
        deadline = time.monotonic() + SELF_TEST
        while (left := deadline - time.monotonic()) > 0:
            poller.poll(math.ceil(left * 1000))
            self.handle()
            for event in monitor.drain():
                if event.event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    return
                if event.event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    raise LocalProtocolError(f"domain {domain!r} lets in a random key; nothing may listen like this")
        raise LocalProtocolError(f"domain {domain!r} did not refuse a random key within {SELF_TEST} s")

    def close(self) -> None:
        """Stop answering: whoever still connects is refused when its handshake times out."""
        self.socket.close(linger=0)

    def __repr__(self) -> str:
        counts = (f"{domain} {self.accepted[domain]}/{self.refused[domain]}" for domain in self._policies)
        return f"<ZapAnswerer accepted/refused: {', '.join(counts) or 'no domains'}>"


def domain_of(endpoint: Endpoint, keys: Keys | None, trusted_network: bool = False) -> str:
    """The domain of a listener there: the strictest that its peers can meet."""
    if keys is not None:
        return CURVE
    if endpoint.is_ipc:
        return SAME_USER
    return TRUSTED if trusted_network else LOOPBACK


def enforce(socket: zmq.Socket[bytes], domain: str, keys: Keys | None) -> None:
    """Make a socket ask before it lets anybody in, and refuse where nobody answers. Before `bind`."""
    socket.zap_domain = domain.encode()
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    if keys is not None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret


def _text(part: bytes) -> str:
    return part.decode(errors="replace")
