"""A large payload is freed when its last user lets go of it, and not when the collector of cycles comes by."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl import CellEngine, ContainerStreamer

SIZE = 4 * 1024 * 1024


@pytest.fixture(autouse=True)
def _without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_what_was_asked_and_answered_is_freed_at_once(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    seen: list[weakref.ref[Any]] = []

    def echo(message: Any) -> Any:
        seen.append(weakref.ref(message.payload))
        return message.payload

    site.register_request_cb("test", "echo", echo)
    handle = server.request(site.fqcn, "test", "echo", np.ones(SIZE // 8), LONG)
    reply = handle.result(LONG)
    seen.append(weakref.ref(reply.payload))
    del reply, handle
    until(lambda: all(each() is None for each in seen), "a payload is kept")


def test_what_was_pulled_is_freed_at_once(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    with server.offer_object({"w": np.ones(SIZE // 8)}) as offer:
        handle = site.pull_object(offer.rid, "server")
        seen = weakref.ref(handle.result(LONG)["w"])
        del handle
        until(lambda: seen() is None, "an object is kept")


def test_a_container_that_was_streamed_is_freed_with_its_context(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    seen: list[weakref.ref[Any]] = []

    def done(stream_ctx: Any, fl_ctx: Any) -> None:
        seen.append(weakref.ref(ContainerStreamer.get_result(stream_ctx)["w"]))

    ContainerStreamer.register_stream_processing(CellEngine(site).new_context(), "models", "best", done)
    fl_ctx = CellEngine(server).new_context()
    container = {"w": np.ones(SIZE // 8)}
    assert ContainerStreamer.stream_container("models", "best", {}, [site.fqcn], container, fl_ctx)[1]
    until(lambda: seen and seen[0]() is None, "a container is kept")
