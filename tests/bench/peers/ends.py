"""The two ends of a request/reply benchmark, the same for every peer. Standard library only.

A server prints where it listens, as JSON, and lives until its standard input ends. A client prints `"ready"`, then
reads one round per line, `[payload bytes, requests in flight, seconds]`, and prints `[requests, seconds]`. The reply
to a request is its payload.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

Round = Callable[[bytes, float], int]
"""Sends requests with this payload until this moment; returns how many were answered."""


def serve(address: object) -> None:
    """Say that the server listens, and wait for the end."""
    print(json.dumps(address), flush=True)
    sys.stdin.read()


def play(rounds: Callable[[int], Round]) -> None:
    """Play the rounds that come in. `rounds(in_flight)` gives how to."""
    print('"ready"', flush=True)
    for line in sys.stdin:
        size, in_flight, seconds = json.loads(line)
        start = perf_counter()
        count = rounds(in_flight)(bytes(size), start + seconds)
        print(json.dumps([count, perf_counter() - start]), flush=True)


def in_turn(call: Callable[[bytes], bytes]) -> Round:
    """One request after the other."""

    def play_round(payload: bytes, until: float) -> int:
        count = 0
        while perf_counter() < until:
            if len(call(payload)) != len(payload):
                raise ValueError("this is not the reply")
            count += 1
        return count

    return play_round


def in_window(submit: Callable[[bytes], Any], wait: Callable[[Any], bytes], width: int) -> Round:
    """`width` requests in flight, from one thread: the oldest is waited for, then a new one goes out."""

    def play_round(payload: bytes, until: float) -> int:
        waiting = deque(submit(payload) for _ in range(width))
        count = 0
        while waiting:
            if len(wait(waiting.popleft())) != len(payload):
                raise ValueError("this is not the reply")
            count += 1
            if perf_counter() < until:
                waiting.append(submit(payload))
        return count

    return play_round


def in_threads(make_call: Callable[[], Callable[[bytes], bytes]], width: int) -> Round:
    """`width` threads, each with one request in flight: for those who cannot have several in one thread."""

    def work(payload: bytes, until: float) -> int:
        return in_turn(make_call())(payload, until)

    def play_round(payload: bytes, until: float) -> int:
        with ThreadPoolExecutor(width) as pool:
            return sum(pool.map(work, [payload] * width, [until] * width))

    return play_round
