"""Aux messages between real cells."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation, Gate, start_zero_copy, until
from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.context.aux_messages import CHANNEL, AuxMessages
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.errors import AbortRun, ArgumentError, ClosedError, EncodeError


class Site:
    """A cell with its manager and aux messages."""

    def __init__(self, cell: Cell, resolve: Callable[[str], str] | None = None) -> None:
        self.cell = cell
        self.manager = FLContextManager(None, cell.fqcn, "job-1")
        self.aux = AuxMessages(cell, self.manager.new_context, resolve)

    def ctx(self, **public: Any) -> FLContext:
        fl_ctx = self.manager.new_context()
        for key, value in public.items():
            fl_ctx.set_prop(key, value, private=False, sticky=False)
        return fl_ctx

    def ask(self, target: str, topic: str, request: Shareable | None = None, **options: Any) -> Shareable:
        options.setdefault("timeout", LONG)
        replies = self.aux.send_aux_request([target], topic, request or Shareable(), fl_ctx=self.ctx(), **options)
        assert list(replies) == [target]
        return replies[target]


@pytest.fixture(scope="session", autouse=True)
def _zero_copy() -> None:
    start_zero_copy()  # no test leaks what is there before it


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()


@pytest.fixture
def server(federation: Federation) -> Site:
    return Site(federation.start("server"))


@pytest.fixture
def site(federation: Federation, server: Site) -> Site:
    return Site(federation.start("site-1", server.cell, None))


def ended(reply: Shareable) -> tuple[str, str]:
    return reply.get_return_code(), reply.get_header(ReservedHeaderKey.ERROR, "")


# -- a request and its reply -------------------------------------------------------------------------------------------


def test_a_handler_gets_topic_request_and_context(server: Site, site: Site) -> None:
    seen: dict[str, Any] = {}

    def handler(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        seen.update(topic=topic, x=request["x"], header=request.get_header(ReservedHeaderKey.TOPIC))
        seen.update(round=request.get_peer_prop("round"), weights=peer.get_prop("weights").tolist())
        seen.update(peer=(peer.get_identity_name(), peer.get_job_id()), frozen=peer.set_prop("a", 1))
        seen.update(fqcn=fl_ctx.get_prop(FLContextKey.PEER_FQCN), own=fl_ctx.get_identity_name())
        fl_ctx.set_prop("answer", 42, private=False)
        return Shareable({"y": request["x"] + 1})

    server.aux.register_aux_message_handler("add", handler)
    request, fl_ctx = Shareable({"x": 1}), site.ctx(round=3, weights=np.arange(3))
    fl_ctx.set_prop("secret", 5)
    replies = site.aux.send_aux_request(["server"], "add", request, LONG, fl_ctx)
    assert seen == {
        "topic": "add", "x": 1, "header": "add", "round": 3, "weights": [0, 1, 2], "peer": ("site-1", "job-1"),
        "frozen": False, "fqcn": "site-1", "own": "server",
    }  # fmt: skip
    assert list(replies) == ["server"]
    assert (replies["server"]["y"], replies["server"].get_return_code()) == (2, ReturnCode.OK)
    assert replies["server"].get_peer_props() == {
        "__run_num__": "job-1", "__identity_name__": "server", "answer": 42,
    }  # fmt: skip
    assert request == {"x": 1, "__headers__": {}}
    assert server.manager.new_context().get_prop("answer") == 42  # the context was finalised


def test_both_directions(server: Site, site: Site) -> None:
    site.aux.register_aux_message_handler("who", lambda topic, request, fl_ctx: Shareable({"i": "site-1"}))
    assert server.ask("site-1", "who")["i"] == "site-1"


def test_a_str_is_one_target(server: Site, site: Site) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: make_reply("OK"))
    assert list(site.aux.send_aux_request("server", "t", Shareable(), LONG, site.ctx())) == ["server"]
    assert site.aux.send_aux_request([], "t", Shareable(), LONG, site.ctx()) == {}


@pytest.mark.parametrize("reply", [None, Shareable({"x": 1})])
def test_the_cookies_come_back(server: Site, site: Site, reply: Shareable | None) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: reply)
    request = Shareable()
    request.add_cookie("tx", 5)
    answer = site.ask("server", "t", request)
    assert (answer.get_cookie("tx"), answer.get_return_code()) == (5, ReturnCode.OK)
    if reply is not None:
        assert reply.get_cookie_jar() is None


def test_ctx_C13_a_public_prop_that_cannot_travel_is_no_obstacle(
    server: Site, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: Shareable(request.get_peer_props()))
    replies = site.aux.send_aux_request("server", "t", Shareable(), LONG, site.ctx(lock=threading.Lock(), good=1))
    assert replies["server"]["good"] == 1
    assert "lock" not in replies["server"]
    assert "public prop 'lock' stays behind" in caplog.text


def test_targets_have_the_names_that_the_caller_gave(server: Site, federation: Federation) -> None:
    names = {"hospital": "site-1", "clinic": "site-1", "boss": "server"}
    site = Site(federation.start("site-1", server.cell, None), resolve=lambda name: names.get(name, ""))
    for each in (server, site):
        each.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: Shareable({"n": request["n"]}))
    request, targets = Shareable({"n": 1}), ["boss", "nobody", "hospital", "clinic", "boss"]
    replies = site.aux.send_aux_request(targets, "t", request, LONG, site.ctx())
    assert list(replies) == ["boss", "nobody", "hospital", "clinic"]
    assert [replies[name]["n"] for name in names] == [1, 1, 1]
    assert ended(replies["nobody"]) == (ReturnCode.ERROR, "no target is called 'nobody'")
    many = site.aux.multicast_aux_requests("t", {"nobody": request, "boss": request}, LONG, site.ctx())
    assert [reply.get_return_code() for reply in many.values()] == [ReturnCode.ERROR, ReturnCode.OK]
    assert site.aux.fire_and_forget_aux_request(["nobody", "boss"], "none", request, site.ctx()) == {
        "nobody": "no target is called 'nobody'", "boss": "",
    }  # fmt: skip


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_no_handler_for_the_topic(server: Site, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zmqfl.context")
    assert ended(site.ask("server", "t")) == (ReturnCode.TOPIC_UNKNOWN, "no aux handler for topic 't' at server")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["site-1: aux t to server: TOPIC_UNKNOWN: no aux handler for topic 't' at server"]


def test_optional_is_quiet(server: Site, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert site.ask("server", "t", optional=True).get_return_code() == ReturnCode.TOPIC_UNKNOWN
    assert not caplog.records


def test_a_handler_that_fails(server: Site, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def fail(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        fl_ctx.set_prop("seen", 1)
        raise KeyError("mine")

    server.aux.register_aux_message_handler("fail", fail)
    server.aux.register_aux_message_handler("text", lambda topic, request, fl_ctx: "done")  # type: ignore[arg-type,return-value]
    server.aux.register_aux_message_handler("args", lambda request: request)
    assert ended(site.ask("server", "fail")) == (ReturnCode.HANDLER_EXCEPTION, "KeyError: 'mine'")
    assert server.manager.new_context().get_prop("seen") == 1
    code, error = ended(site.ask("server", "text"))
    assert (code, "returned str, not a Shareable" in error) == (ReturnCode.HANDLER_EXCEPTION, True)
    assert site.ask("server", "args").get_return_code() == ReturnCode.HANDLER_EXCEPTION
    assert "handler of aux topic fail failed" in caplog.text


def test_a_reply_that_cannot_travel(server: Site, site: Site) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: Shareable({"x": object()}))
    code, error = ended(site.ask("server", "t"))
    assert (code, "cannot travel" in error) == (ReturnCode.EXECUTION_EXCEPTION, True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (5, ReturnCode.BAD_REQUEST_DATA),
        ([{"no": "headers"}, {}], ReturnCode.BAD_REQUEST_DATA),
        ([{"__headers__": {}}, None], ReturnCode.MISSING_PEER_CONTEXT),
        ([{"__headers__": {}}, [1]], ReturnCode.BAD_PEER_CONTEXT),
        ([{"__headers__": {}}, {1: 1}], ReturnCode.BAD_PEER_CONTEXT),
    ],
)
def test_what_strangers_send(server: Site, site: Site, content: Any, code: ReturnCode) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: None)
    answer = site.cell.request("server", CHANNEL, "t", content, LONG).result(LONG).payload
    assert answer[0]["__headers__"]["__rc__"] == code


def test_each_target_gets_its_own_code(federation: Federation, server: Site, site: Site) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: None)
    replies = site.aux.send_aux_request(["server", "site-1", "site-9", "a..b"], "t", Shareable(), LONG, site.ctx())
    assert {name: str(reply.get_return_code()) for name, reply in replies.items()} == {
        "server": "OK", "site-1": "TOPIC_UNKNOWN", "site-9": "COMMUNICATION_ERROR", "a..b": "ERROR",
    }  # fmt: skip


def test_codes_of_cells(server: Site, site: Site) -> None:
    gate = Gate()
    server.aux.register_aux_message_handler("slow", lambda topic, request, fl_ctx: gate(Message()))
    assert site.ask("server", "slow", timeout=0.05).get_return_code() == ReturnCode.TIMEOUT
    gate.open()
    server.cell.filters.incoming_request.append(CHANNEL, "t", refuse)
    assert ended(site.ask("server", "t")) == (ReturnCode.ABORT_RUN, "over")


def refuse(_: Any) -> None:
    raise AbortRun("over")


def test_secure_is_passed_on(server: Site, site: Site) -> None:
    server.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: None)
    plain = site.aux.multicast_aux_requests("t", {"server": Shareable()}, LONG, site.ctx())
    assert plain["server"].get_return_code() == ReturnCode.OK
    calls: list[bool] = []
    for verb in ("request", "broadcast", "fire"):
        note_secure(site.cell, verb, calls)
    site.ask("server", "t", secure=True)
    site.aux.multicast_aux_requests("t", {"server": Shareable()}, LONG, site.ctx(), secure=True)
    site.aux.fire_and_forget_aux_request("server", "t", Shareable(), site.ctx(), secure=True)
    assert calls == [True, True, True]


def note_secure(cell: Cell, verb: str, calls: list[bool]) -> None:
    do = getattr(cell, verb)

    def noted(*args: Any, secure: bool = False, **kwargs: Any) -> Any:
        calls.append(secure)
        return do(*args, secure=secure, **kwargs)

    setattr(cell, verb, noted)


def test_a_cell_that_is_not_running(federation: Federation, server: Site) -> None:
    site = Site(federation.make("site-1", server.cell))
    request, fl_ctx = Shareable(), site.ctx()
    expected = (ReturnCode.COMMUNICATION_ERROR, "cell site-1 is not running")
    assert ended(site.ask("server", "t")) == expected
    replies = site.aux.multicast_aux_requests("t", {"server": request, "site-2": request}, LONG, fl_ctx)
    assert [ended(reply) for reply in replies.values()] == [expected, expected]
    assert site.aux.fire_and_forget_aux_request("server", "t", request, fl_ctx) == {"server": expected[1]}


@pytest.mark.parametrize("many", [False, True])
def test_a_cell_that_is_closed_meanwhile(server: Site, site: Site, many: bool) -> None:
    gate = Gate()
    server.aux.register_aux_message_handler("slow", lambda topic, request, fl_ctx: gate(Message()))
    results: list[Shareable] = []

    def ask() -> None:
        if many:
            results.extend(site.aux.multicast_aux_requests("slow", {"server": Shareable()}, LONG, site.ctx()).values())
        else:
            results.append(site.ask("server", "slow"))

    thread = threading.Thread(target=ask)
    thread.start()
    gate.wait_entered()
    site.cell.close(drain=0)
    thread.join(LONG)
    gate.open()
    assert [reply.get_return_code() for reply in results] == [ReturnCode.COMMUNICATION_ERROR]


# -- several, and none to wait for -------------------------------------------------------------------------------------


def test_multicast_asks_each_its_own_thing(server: Site, site: Site) -> None:
    for each in (server, site):
        each.aux.register_aux_message_handler("t", lambda topic, request, fl_ctx: Shareable({"n": request["n"] * 2}))
    requests = {"site-9": Shareable({"n": 0}), "server": Shareable({"n": 1}), "site-1": Shareable({"n": 2})}
    replies = site.aux.multicast_aux_requests("t", requests, LONG, site.ctx())
    assert list(replies) == list(requests)
    assert (replies["server"]["n"], replies["site-1"]["n"]) == (2, 4)
    assert replies["site-9"].get_return_code() == ReturnCode.COMMUNICATION_ERROR
    assert requests["server"] == {"n": 1, "__headers__": {}}


def test_a_multicast_with_one_bad_request_leaves_nothing_waiting(server: Site, site: Site) -> None:
    gate = Gate()
    server.aux.register_aux_message_handler("slow", lambda topic, request, fl_ctx: gate(Message()))
    requests = {"server": Shareable(), "site-1": Shareable({"x": object()})}
    with pytest.raises(EncodeError, match=r"\['x'\]"):
        site.aux.multicast_aux_requests("slow", requests, LONG, site.ctx())
    gate.open()
    until(lambda: not site.cell._asking._waiting)


def test_fire_and_forget(server: Site, site: Site) -> None:
    got: list[Any] = []
    came = threading.Semaphore(0)

    def take(topic: str, request: Shareable, fl_ctx: FLContext) -> None:
        got.append((request["n"], request.get_peer_prop("round")))
        came.release()

    site.aux.register_aux_message_handler("take", take)
    fl_ctx = server.ctx(round=1)
    result = server.aux.fire_and_forget_aux_request(["site-1", "site-9"], "take", Shareable({"n": 1}), fl_ctx)
    assert result == {"site-1": "", "site-9": "server has no route to site-9"}
    assert server.aux.send_aux_request("site-1", "take", Shareable({"n": 2}), 0, fl_ctx) == {}
    assert server.aux.multicast_aux_requests("take", {"site-1": Shareable({"n": 3})}, 0, fl_ctx) == {}
    for _ in range(3):
        assert came.acquire(timeout=LONG)
    assert sorted(got) == [(1, 1), (2, 1), (3, 1)]


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_wrong_arguments_of_register(server: Site) -> None:
    async def coroutine(topic: str, request: Shareable, fl_ctx: FLContext) -> None: ...

    register: Any = server.aux.register_aux_message_handler
    for topic, handler, kind in (
        (5, print, TypeError), ("", print, ValueError), ("t", None, ValueError), ("t", "x", TypeError),
        ("t", coroutine, TypeError),
    ):  # fmt: skip
        with pytest.raises(kind):
            register(topic, handler)
    register("t", print)
    with pytest.raises(ValueError, match="topic 't' has a handler"):
        register("t", repr)
    assert repr(server.aux) == "<AuxMessages of server, topics t>"


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": [5]}, {"topic": ""}, {"topic": 5}, {"request": {}}, {"request": None}, {"timeout": -1},
        {"timeout": None}, {"timeout": "5"}, {"fl_ctx": None},
    ],
)  # fmt: skip
def test_wrong_arguments_of_a_request(server: Site, wrong: dict[str, Any]) -> None:
    good = {"targets": ["site-1"], "topic": "t", "request": Shareable(), "timeout": 1, "fl_ctx": server.ctx()}
    with pytest.raises(ArgumentError):
        server.aux.send_aux_request(**{**good, **wrong})
    several = {**good, **wrong}
    targets, request = several.pop("targets"), several.pop("request")
    with pytest.raises(ArgumentError):
        server.aux.multicast_aux_requests(target_requests=dict.fromkeys(targets, request), **several)


def test_a_request_that_cannot_travel_is_the_callers_error(server: Site, site: Site) -> None:
    with pytest.raises(EncodeError, match=r"payload\[0\]\['x'\]"):
        site.ask("server", "t", Shareable({"x": object()}))


def test_closed_is_what_cells_say(federation: Federation, server: Site) -> None:
    with pytest.raises(ClosedError):
        federation.make("site-1", server.cell).request("server", CHANNEL, "t")
