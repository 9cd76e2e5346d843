"""Word that a source has failed: whose is heard, and what it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streaming.sites import Sites
from tests.system.federation import LONG
from zmqfl import Message, MessageHeaderKey
from zmqfl.context.signal import Signal
from zmqfl.errors import AuthenticationError, InvalidRequest
from zmqfl.streaming.download_service import DownloadService
from zmqfl.streaming.source_failure import RunningDownloads, notify_source_failure, take_source_failure

WORD = {"source": "site-1.job", "ref_ids": None, "reason": "it died"}


def word(origin: str, **change: Any) -> Message:
    return Message({MessageHeaderKey.ORIGIN: origin}, {**WORD, **change})


def running() -> tuple[RunningDownloads, dict[str, Signal]]:
    it = RunningDownloads()
    signals = {ref_id: Signal() for ref_id in ("a", "b", "of another")}
    for ref_id, signal in signals.items():
        it.begin("site-2" if ref_id == "of another" else "site-1.job", ref_id, signal)
    return it, signals


@pytest.mark.parametrize("origin", ["site-1.job", "site-1", "server"])
def test_who_is_heard(origin: str) -> None:
    it, signals = running()
    assert take_source_failure(word(origin), it, "server") == 2
    assert [signal.triggered for signal in signals.values()] == [True, True, False]
    assert signals["a"].value == f"{origin} tells that site-1.job has failed: it died"


@pytest.mark.parametrize("origin", ["site-2", "site-1.job.x", "site", "", "site-1.jo"])
def test_who_is_not_heard(origin: str) -> None:
    it, signals = running()
    with pytest.raises(AuthenticationError, match="has no say"):
        take_source_failure(word(origin), it, "server")
    assert not any(signal.triggered for signal in signals.values())


def test_only_some_references() -> None:
    it, signals = running()
    assert take_source_failure(word("site-1", ref_ids=["b", "of another"], reason=""), it, "server") == 1
    assert signals["b"].value.endswith("no reason given")
    it.end(signals["b"])
    it.end(signals["b"])
    assert len(it) == 2


@pytest.mark.parametrize("change", [{"source": 3}, {"reason": None}, {"ref_ids": "a"}, {"ref_ids": [3]}])
def test_words_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        take_source_failure(word("server", **change), running()[0], "server")
    with pytest.raises(InvalidRequest):
        take_source_failure(Message(payload=3), running()[0], "server")


def test_a_parent_tells_for_its_child(sites: Sites) -> None:
    server, relay, _, receiver = sites.federation.tree()
    stop, heard = Signal(), Signal()
    stop.add_callback(lambda signal: heard.trigger(signal.value))
    DownloadService.of(receiver).running.begin("relay.site-1", "R", stop)
    notify_source_failure(relay, "relay.site-1", [])
    notify_source_failure(receiver, "relay.site-1", ["server"])  # no say, and nobody there
    notify_source_failure(relay, "relay.site-1", ["site-2", "server"], "killed")
    assert heard.wait(LONG)
    assert heard.value == "relay tells that relay.site-1 has failed: killed"
    assert server.fqcn == "server"
