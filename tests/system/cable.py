"""A TCP connection that can be cut and mended: a proxy in front of a cell that listens."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

Pair = tuple[socket.socket, socket.socket]


class Cable:
    """Dial `url` to get to the cell that listens at `target`. One thread passes on the bytes."""

    def __init__(self, target: str) -> None:
        self._target = _address(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._pairs: list[Pair] = []
        self._is_cut = self._is_frozen = self._ended = False
        self._thread = threading.Thread(target=self._run, name="cable")
        self._thread.start()

    def cut(self) -> None:
        """End all connections, and let none through."""
        with self._lock:
            self._is_cut = True
            self._hang_up()

    def mend(self) -> None:
        """Let new connections through, and thaw the old ones."""
        with self._lock:
            self._is_cut = self._is_frozen = False
        self._waker.send(b"x")

    def freeze(self) -> None:
        """Pass on nothing, and end nothing: neither side hears of it."""
        with self._lock:
            self._is_frozen = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ended = True
        self._waker.send(b"x")
        self._thread.join()
        self._hang_up()
        for each in (self._listener, self._wake, self._waker):
            each.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(timeout=0.01 if self._is_frozen else None):
                with self._lock:
                    if key.fileobj is self._wake:
                        self._wake.recv(4096)
                    elif key.fileobj is self._listener:
                        self._accept()
                    elif not self._is_frozen and key.data in self._pairs:
                        self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self._is_cut:
            near.close()
            return
        try:
            far = socket.create_connection(self._target)
        except ConnectionError:
            near.close()
            return
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(each, selectors.EVENT_READ, (near, far))
        self._pairs.append((near, far))

    def _pass_on(self, source: socket.socket, pair: Pair) -> None:
        near, far = pair
        try:
            data = source.recv(65536)
            if data:
                (far if source is near else near).sendall(data)
                return
        except OSError:
            pass  # either end is gone: so is the other
        self._end(pair)

    def _hang_up(self) -> None:
        for pair in list(self._pairs):
            self._end(pair)

    def _end(self, pair: Pair) -> None:
        self._pairs.remove(pair)
        for each in pair:
            self._selector.unregister(each)
            each.close()


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return host, int(port)
