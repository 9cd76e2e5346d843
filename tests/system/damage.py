"""A cable that damages what it passes on: one bit in the middle of frames of a certain size. Without CURVE only."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.system.cable import Cable, Pair

GREETING = 64
"""Bytes that each side of a ZMTP connection sends before the first frame."""
_LONG, _COMMAND = 2, 4


class DamagingCable(Cable):
    """`damages(number)`: whether the frame with this number is hit; only frames of at least `least` bytes count, from 0
    on, in both directions and over all connections."""

    def __init__(self, target: str, least: int, damages: Callable[[int], bool]) -> None:
        self.damaged = 0
        """Frames that were hit."""
        self._least = least
        self._damages = damages
        self._seen = 0
        self._flows: dict[socket.socket, _Flow] = {}
        super().__init__(target)

    def _pass_on(self, source: socket.socket, pair: Pair) -> None:
        near, far = pair
        try:
            data = bytearray(source.recv(65536))
            if data:
                self._flows.setdefault(source, _Flow(self._is_hit)).look_at(data)
                (far if source is near else near).sendall(data)
                return
        except OSError:
            pass  # either end is gone: so is the other
        self._end(pair)

    def _is_hit(self, length: int) -> bool:
        if length < self._least:
            return False
        number, self._seen = self._seen, self._seen + 1
        hit = self._damages(number)
        self.damaged += hit
        return hit


class _Flow:
    """One direction of one connection, as frames."""

    def __init__(self, is_hit: Callable[[int], bool]) -> None:
        self._is_hit = is_hit
        self._head = bytearray()
        self._skip = GREETING
        """Bytes that are passed on as they are, until the next frame begins or the hit comes."""
        self._rest: int | None = None
        """Bytes of this frame from the hit on; None when it is not to be hit."""

    def look_at(self, data: bytearray) -> None:
        """Go through `data`, and flip what is to be flipped."""
        at = 0
        while at < len(data):
            step = min(self._skip, len(data) - at)
            self._skip -= step
            at += step
            if self._skip or at == len(data):
                return
            if self._rest is not None:
                data[at] ^= 1
                self._skip, self._rest = self._rest, None
            else:
                self._head.append(data[at])
                at += 1
                self._begin()

    def _begin(self) -> None:
        """A frame begins, once its flags and length are there: one byte and one, or eight."""
        flags = self._head[0]
        width = 8 if flags & _LONG else 1
        if len(self._head) < 1 + width:
            return
        length = int.from_bytes(self._head[1:], "big")
        self._head.clear()
        self._skip = length
        if not flags & _COMMAND and self._is_hit(length):
            self._skip = length // 2
            self._rest = length - self._skip
