"""Many threads, one cell."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.system.federation import LONG, Federation, counter
from zmqfl import Cell, Message

THREADS = 8


def serve(server: Cell) -> list[Any]:
    seen: list[Any] = []

    def echo(message: Message) -> Any:
        seen.append(message.payload)
        return message.payload

    server.register_request_cb("test", "echo", echo)
    return seen


def many_threads(federation: Federation, number: int) -> None:
    server = federation.start("server")
    seen = serve(server)
    sites = [federation.start(f"site-{n}", server, None) for n in range(2)]
    crossed: list[Any] = []

    def ask(thread: int) -> None:
        site = sites[thread % 2]
        for n in range(number):
            reply = site.request("server", "test", "echo", (thread, n), LONG).reply(LONG)
            if not reply.ok or reply.payload != (thread, n):
                crossed.append((thread, n, reply))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert crossed == []
    assert len(seen) == len(set(seen)) == THREADS * number
    assert counter(server, "requests") == THREADS * number
    for site in sites:
        assert site.statistics().open_requests == 0
        assert site.statistics().counters.get("resent", 0) == 0


def test_cell_N06_each_reply_belongs_to_its_request(federation: Federation) -> None:
    many_threads(federation, 500)


@pytest.mark.soak
def test_cell_N06_each_reply_belongs_to_its_request_ten_thousand_times(federation: Federation) -> None:
    many_threads(federation, 10_000)


def test_many_in_flight_from_one_coroutine(federation: Federation) -> None:
    server = federation.start("server")
    seen = serve(server)
    site = federation.start("site-1", server, None)

    async def ask() -> list[Any]:
        return [reply.payload for reply in await asyncio.gather(*(one(n) for n in range(900)))]

    async def one(n: int) -> Message:
        return await site.request("server", "test", "echo", n)

    assert asyncio.run(ask()) == list(range(900))
    assert sorted(seen) == list(range(900))


def test_mixed_sizes_keep_their_bytes(federation: Federation) -> None:
    server = federation.start("server")
    serve(server)
    site = federation.start("site-1", server, None)
    bodies = [bytes([n]) * size for n in range(7) for size in (10, 70_000, 900_000)]  # within 8 MiB
    handles = [site.request("server", "test", "echo", body) for body in bodies]
    assert all(handle.result(LONG).payload == body for handle, body in zip(handles, bodies, strict=True))


def test_more_requests_than_a_callee_remembers_are_refused_and_not_lost(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    server.register_request_cb("test", "later", lambda message: None)
    handles = [site.request("server", "test", "later", n) for n in range(1100)]
    refused = [handle.reply(LONG) for handle in handles[1024:]]
    assert {str(reply.return_code) for reply in refused} == {"service_unavailable"}
    answer = server.send_reply("late", "site-1", range(1, 1101))
    assert answer.startswith("no request ")
    assert [handle.result(LONG).payload for handle in handles[:1024]] == ["late"] * 1024
    assert site.request("server", "_net_manager", "echo", 1).result(LONG).payload == 1
