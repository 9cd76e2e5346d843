"""The site that is asked, on its own; with real cells around it: `test_object_retriever`."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.streaming.retrievers import Countdown, start
from tests.streaming.sites import Sites
from tests.system.federation import until
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.streaming.retrieval_service import FAILED, GIVE_UP, KIND, RetrievalService
from zmqfl.streaming.retrievals import ID_KEY

BAD = ReturnCode.BAD_REQUEST_DATA


class Held(Countdown):
    """Streams nothing, until its abort signal is triggered."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.signals: list[Any] = []
        self.left = threading.Semaphore(0)

    def do_stream(self, target: str, request: Shareable, fl_ctx: FLContext, *_: Any) -> Any:
        if self.error is not None:
            raise self.error
        signal = fl_ctx.get_run_abort_signal()
        assert signal is not None
        self.signals.append(signal)
        signal.wait()
        self.left.release()
        return ReturnCode.TASK_ABORTED


class Site:
    """A service at the server, asked by "site-1", which hears what it is told."""

    def __init__(self, sites: Sites, retriever: Countdown) -> None:
        self.engine, other = sites.star(1)
        self.retriever = retriever
        self.told: list[Any] = []
        other.register_aux_message_handler("topic", self.hear)
        self.service = RetrievalService(retriever, "topic")

    def hear(self, topic: str, request: Shareable, fl_ctx: FLContext) -> None:
        kind, reason = (request.get_header(key) for key in (KIND, ReservedHeaderKey.ERROR))
        self.told.append((kind, request[ID_KEY], request.get_return_code(), reason))

    def context(self, origin: str = "site-1") -> FLContext:
        fl_ctx: FLContext = self.engine.new_context()
        fl_ctx.put(FLContextKey.PEER_FQCN, origin, private=True, sticky=False)
        return fl_ctx

    def ask(self, content: dict[str, Any], origin: str = "site-1") -> tuple[str, Any]:
        reply = self.service.answer(Shareable(content), self.context(origin))
        return reply.get_return_code(), reply.get_header(ReservedHeaderKey.ERROR)

    def give_up(self, id: str, origin: str = "site-1") -> None:
        notice = Shareable({ID_KEY: id})
        notice.set_header(KIND, GIVE_UP)
        self.service.give_up(notice, self.context(origin))


def test_what_is_refused_at_once(sites: Sites) -> None:
    site = Site(sites, Held())
    no_id = BAD, f"the request has no {ID_KEY!r}, a str that is not empty"
    assert site.ask({}) == site.ask({ID_KEY: 3}) == site.ask({ID_KEY: ""}) == no_id
    assert site.ask({ID_KEY: "a"}, "") == (BAD, "the request does not say who asks")
    assert site.ask({ID_KEY: "a", "count": "x"}) == (BAD, "count must be an int")
    assert site.ask({ID_KEY: "a", "count": "raise"})[0] == ReturnCode.EXECUTION_EXCEPTION
    assert repr(site.service) == "<RetrievalService topic, 0 streams>"
    assert site.told == []


def test_only_who_asked_gives_up(sites: Sites) -> None:
    retriever = Held()
    site = Site(sites, retriever)
    asked = {ID_KEY: "a", "count": 1}
    assert site.ask(asked) == (ReturnCode.OK, None)
    assert site.ask(asked) == (BAD, "a was asked for before")
    assert site.ask(asked, "site-2") == (ReturnCode.OK, None)  # another cell's own
    until(lambda: len(retriever.signals) == 2)
    site.give_up("a", "site-3")
    site.give_up("b")
    assert [signal.triggered for signal in retriever.signals] == [False, False]
    site.give_up("a")
    site.give_up("a", "site-2")
    for _ in range(2):
        retriever.left.acquire()
    until(lambda: not site.service._wishes)
    assert site.told == []  # who has given up is told nothing


def test_the_run_is_aborted(sites: Sites) -> None:
    retriever = Held()
    site = Site(sites, retriever)
    site.ask({ID_KEY: "a", "count": 1})
    until(lambda: retriever.signals)
    site.engine.abort_signal.trigger()
    until(lambda: site.told)
    aborted = FAILED, "a", ReturnCode.TASK_ABORTED, "the run was aborted there"
    assert site.told == [aborted]
    site.ask({ID_KEY: "a", "count": 1})
    until(lambda: len(site.told) == 2)
    assert len(retriever.signals) == 1  # it was not even begun


def test_a_failure_is_told(sites: Sites) -> None:
    site = Site(sites, Held(OSError("no disk")))
    site.ask({ID_KEY: "a", "count": 1})
    until(lambda: site.told)
    assert site.told == [(FAILED, "a", ReturnCode.EXECUTION_EXCEPTION, "OSError: no disk")]


def test_no_worker_is_to_be_had(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(sites, Held())
    monkeypatch.setattr(site.service._workers, "submit", lambda *_: False)
    expected = "256 streams are under way; ask again later"
    assert site.ask({ID_KEY: "a", "count": 1}) == (ReturnCode.SERVICE_UNAVAILABLE, expected)
    assert site.service._wishes == {}


def test_all_workers_wait_before_it_is_its_turn(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(sites, Held())
    refused: list[Any] = []

    def accept(job: Any, size: int, on_refused: Any) -> bool:
        refused.append(on_refused)
        return True

    monkeypatch.setattr(site.service._workers, "submit", accept)
    assert site.ask({ID_KEY: "a", "count": 1}) == (ReturnCode.OK, None)
    refused[0]()
    assert [told[:3] for told in site.told] == [(FAILED, "a", ReturnCode.SERVICE_UNAVAILABLE)]
    assert site.service._wishes == {}


def test_threads_end_when_there_is_nothing_to_do(sites: Sites) -> None:
    server, client = sites.star(1)
    mine, theirs = start(server, Countdown()), start(client, Countdown())
    for _ in range(3):
        mine.retrieve("site-1", server.new_context(), 30.0, count=1)
    until(lambda: theirs._service._workers.statistics().threads == 0)
    until(lambda: mine._asking.statistics().threads == 0)
