"""How a client talks with a server that fails in all the ways a server can: here it is a cell of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl.cell.message import Message
from zmqfl.context.fl_context import FLContextManager
from zmqfl.context.keys import SpecialTaskName
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import AuthenticationError, InvalidRequest, ServiceUnavailable
from zmqfl.fl.run_messages import CHANNEL, CHECK, GET, LEAVE, PRESENCE, SUBMIT, SYNC, packed
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.task_exchange import TaskExchange

OK = packed(make_reply(ReturnCode.OK))
UNKNOWN = packed(make_reply(ReturnCode.TASK_UNKNOWN))


class Server:
    """Answers each topic by what was laid down for it, the last answer again and again; an exception is raised."""

    def __init__(self, federation: Federation) -> None:
        self.cell = federation.start("server")
        self.answers: dict[str, list[Any]] = {}
        self.seen: list[tuple[str, Any]] = []
        self.ending: Future[Any] = Future()
        self.cell.register_request_cb(CHANNEL, PRESENCE, lambda message: self.ending)
        for topic in SYNC, GET, CHECK, SUBMIT, LEAVE:
            self.cell.register_request_cb(CHANNEL, topic, self.answer)

    def answer(self, message: Message) -> Any:
        self.seen.append((message.topic, message.payload[0]))
        answers = self.answers.get(message.topic, [OK])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self.seen]


class Client:
    def __init__(self, federation: Federation, server: Server | None, **settings: Any) -> None:
        parent = server.cell if server is not None else "tcp://127.0.0.1:9"
        cell = federation.start("site-1", parent, None, connected=server is not None)
        self.signal = Signal()
        self.ended: list[Shareable] = []
        options = {"sync_timeout": LONG, "aux_timeout": LONG, **settings}
        self.exchange = TaskExchange(
            cell, "server", RunSettings(**options), self.signal, False, self.ended.append
        )  # fmt: skip
        self.fl_ctx = FLContextManager(None, "site-1", "job-1").new_context()


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()


@pytest.fixture
def server(federation: Federation) -> Server:
    return Server(federation)


@pytest.fixture
def client(federation: Federation, server: Server) -> Client:
    return Client(federation, server)


def result_of(content: Any = 1) -> Shareable:
    result = Shareable({"x": content})
    result.set_header(ReservedHeaderKey.TASK_NAME, "t")
    result.set_header(ReservedHeaderKey.TASK_ID, "7")
    return result


# -- begin -------------------------------------------------------------------------------------------------------------


def test_begin_is_asked_until_the_server_is_ready(server: Server, client: Client) -> None:
    def come_back() -> Any:
        client.exchange.server_is_ready()
        raise ServiceUnavailable("not yet")

    server.answers[SYNC] = [come_back, come_back, OK]
    assert client.exchange.begin()
    assert server.topics == [SYNC] * 3


def test_a_server_that_started_again_hears_of_a_client_at_work(server: Server, client: Client) -> None:
    assert client.exchange.begin()
    assert server.topics == [SYNC]
    client.exchange._server_is_lost(client.exchange._watch)  # type: ignore[arg-type]
    until(lambda: server.topics == [SYNC, SYNC] and client.exchange._watch)
    client.exchange.leave()
    assert client.exchange._watch is None


def test_begin_that_is_refused(server: Server, client: Client) -> None:
    server.answers[SYNC] = [AuthenticationError("who are you?")]
    assert not client.exchange.begin()
    assert (client.exchange.problem, server.topics) == ("who are you?", [SYNC])


def test_begin_after_the_end(server: Server, client: Client) -> None:
    end = Shareable()
    end.set_header(ReservedHeaderKey.TASK_NAME, SpecialTaskName.END_RUN)
    server.answers[SYNC] = [packed(end)]
    assert not client.exchange.begin()
    assert client.ended == [end]


def test_begin_with_nonsense(server: Server, client: Client) -> None:
    server.answers[SYNC] = ["nonsense"]
    assert not client.exchange.begin()
    assert "must be a list" in client.exchange.problem


def test_begin_without_a_server(federation: Federation) -> None:
    client = Client(federation, None, sync_timeout=0.1)
    assert not client.exchange.begin()
    assert client.exchange.problem


@pytest.mark.parametrize("verb", ["begin", "get", "submit"])
def test_the_signal_ends_each_wait(server: Server, client: Client, verb: str) -> None:
    came = threading.Event()

    def wait() -> None:
        came.set()

    for topic in SYNC, GET, CHECK:
        server.answers[topic] = [wait]
    done: list[Any] = []

    def call() -> None:
        args: Any = {"begin": (), "get": (client.fl_ctx,), "submit": (result_of(), client.fl_ctx)}[verb]
        done.append(getattr(client.exchange, verb)(*args))

    thread = threading.Thread(target=call)
    thread.start()
    assert came.wait(LONG)
    client.signal.trigger()
    thread.join(LONG)
    assert done in ([False], [None])


# -- get ---------------------------------------------------------------------------------------------------------------


def test_get(server: Server, client: Client) -> None:
    server.answers[GET] = [packed(Shareable({"x": 1}), {"a": 2})]
    found = client.exchange.get(client.fl_ctx)
    assert found is not None
    task, peer = found
    assert peer is not None
    assert (task["x"], peer.get_prop("a")) == (1, 2)


@pytest.mark.parametrize(
    ("answer", "code", "has_peer"),
    [
        ("nonsense", ReturnCode.BAD_TASK_DATA, False),
        ([{"__headers__": {}}, None], ReturnCode.OK, False),
        ([{"__headers__": {}}, "props"], ReturnCode.OK, True),
    ],
)
def test_get_with_nonsense(server: Server, client: Client, answer: Any, code: ReturnCode, has_peer: bool) -> None:
    server.answers[GET] = [answer]
    found = client.exchange.get(client.fl_ctx)
    assert found is not None
    assert (found[0].get_return_code(), found[1] is not None) == (code, has_peer)


def test_get_that_fails(server: Server, client: Client) -> None:
    server.answers[GET] = [ServiceUnavailable("no")]
    assert client.exchange.get(client.fl_ctx) is None


# -- submit ------------------------------------------------------------------------------------------------------------


def submitted(server: Server) -> list[Any]:
    return [content for topic, content in server.seen if topic == SUBMIT]


def test_submit(server: Server, client: Client) -> None:
    assert client.exchange.submit(result_of(np.arange(3)), client.fl_ctx)
    assert server.topics == [CHECK, SUBMIT]
    assert submitted(server)[0]["x"].tolist() == [0, 1, 2]


def test_submit_what_nobody_wants(server: Server, client: Client) -> None:
    server.answers[CHECK] = [UNKNOWN]
    assert not client.exchange.submit(result_of(), client.fl_ctx)
    assert server.topics == [CHECK]


@pytest.mark.parametrize(
    ("topic", "answers", "topics"),
    [
        (CHECK, [ServiceUnavailable(""), OK], [CHECK, SYNC, CHECK, SUBMIT]),
        (CHECK, ["nonsense", OK], [CHECK, SYNC, CHECK, SUBMIT]),
        (SUBMIT, [ServiceUnavailable(""), OK], [CHECK, SUBMIT, SYNC, CHECK, SUBMIT]),
    ],
)
def test_submit_goes_on_after_a_break(
    server: Server, client: Client, topic: str, answers: list[Any], topics: list[str]
) -> None:
    server.answers[topic] = answers
    assert client.exchange.submit(result_of(), client.fl_ctx)
    assert server.topics == topics


def test_submit_to_a_server_that_does_not_come_back(server: Server, client: Client) -> None:
    server.answers[SUBMIT] = [ServiceUnavailable("")]
    server.answers[SYNC] = [AuthenticationError("no")]
    assert not client.exchange.submit(result_of(), client.fl_ctx)


@pytest.mark.parametrize("content", [1, threading.Lock()])
def test_a_result_that_cannot_be_sent_becomes_an_error(server: Server, client: Client, content: Any) -> None:
    server.answers[SUBMIT] = [InvalidRequest("no"), OK] if content == 1 else [OK]
    assert client.exchange.submit(result_of(content), client.fl_ctx)
    headers = submitted(server)[-1]["__headers__"]
    assert headers["__rc__"] == ReturnCode.EXECUTION_RESULT_ERROR
    assert (headers["__task_id__"], headers["__task_name__"]) == ("7", "t")
    assert headers["__error__"]


def test_leave(server: Server, client: Client) -> None:
    client.signal.trigger()
    client.exchange.leave()
    assert server.topics == [LEAVE]


def test_a_closed_cell(server: Server, client: Client) -> None:
    client.exchange._cell.close()
    assert client.exchange.get(client.fl_ctx) is None
    assert not client.exchange.begin()
    assert client.exchange.problem == "the cell is closed"
