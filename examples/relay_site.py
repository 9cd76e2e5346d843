"""What every cell of relay_storm.py does: answer, and on request ask all others for a while, and count."""

import time
from collections import Counter, deque
from functools import partial
from typing import Any

from zmqfl import Cell, Message

CHANNEL = "storm"
SIZES = (100, 64 * 1024)
"""Bytes of the small and the big requests, in turn."""
WHILE_A_RELAY_RESTARTS = 20.0
"""Seconds that a request may take."""

runs: Counter[str] = Counter()
"""How often each request was executed here, by the name that its sender gave it."""


def serve(cell: Cell) -> None:
    cell.register_request_cb(CHANNEL, "work", work)
    cell.register_request_cb(CHANNEL, "load", load, cell)
    cell.register_request_cb(CHANNEL, "most runs", lambda message: max(runs.values(), default=0))


def work(message: Message) -> bytes:
    name, body = message.payload
    runs[name] += 1
    return bytes(body)


def count_end(ends: Counter[int], number: int, handle: object) -> None:
    ends[number] += 1


def load(message: Message, cell: Cell) -> dict[str, Any]:
    """Ask the targets in turn for some seconds, `at_once` requests under way; then say how each of them ended."""
    targets, seconds, at_once = message.payload
    waiting: deque[tuple[float, Any]] = deque()
    times: list[float] = []
    ends: Counter[int] = Counter()  # by request: calls of its done callback
    codes: Counter[str] = Counter()
    failures: list[str] = []
    resent = cell.statistics().counters.get("resent", 0)
    until, sent = time.monotonic() + seconds, 0
    while waiting or time.monotonic() < until:
        if len(waiting) < at_once and time.monotonic() < until:
            target, size = targets[sent % len(targets)], SIZES[sent // len(targets) % 2]
            content = (f"{cell.fqcn} {message.req_id} {sent}", bytes(size))
            handle = cell.request(target, CHANNEL, "work", content, WHILE_A_RELAY_RESTARTS)
            handle.add_done_callback(partial(count_end, ends, sent))
            waiting.append((time.monotonic(), handle))
            sent += 1
            continue
        begin, handle = waiting.popleft()
        reply = handle.reply()
        codes[str(reply.return_code)] += 1
        if reply.ok:
            times.append(time.monotonic() - begin)
        else:
            failures.append(f"{handle.target}: {reply.return_code}: {reply.error}")
    return {
        "sent": sent,
        "ended_once": sum(count == 1 for count in ends.values()),
        "codes": dict(codes),
        "failures": failures[:20],
        "times": times,
        "resent": cell.statistics().counters.get("resent", 0) - resent,
    }
