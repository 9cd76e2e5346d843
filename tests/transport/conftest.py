from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from zmqfl.transport.sockets import Context, Socket


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A context that ends with the test, and all its sockets with it."""
    context: Context = zmq.Context()
    kept: list[Socket] = []  # a socket that is collected before it is closed warns
    make = zmq.Context.socket

    def keep(self: Context, *args: Any, **options: Any) -> Socket:
        kept.append(make(self, *args, **options))
        return kept[-1]

    monkeypatch.setattr(zmq.Context, "socket", keep)
    yield context
    context.destroy(linger=0)
