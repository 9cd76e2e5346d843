"""Between the plain message and the sealed one: nothing that is forged, moved or made up gets through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from tests.cell.sealed import Heard, Wire
from zmqfl.cell.message import SEAL
from zmqfl.cell.sealed_calls import FIRE, REQUEST, Opened, ReplySeal, SealedCalls
from zmqfl.cell.sealing import Session
from zmqfl.errors import AuthenticationError, CellReturnCode, InvalidSession, RequestFailed
from zmqfl.protocol.commands import Call, Outcome
from zmqfl.wire.codecs import SEALED
from zmqfl.wire.messages import Buffer
from zmqfl.wire.seal import Facts, Seals

OK = CellReturnCode.OK


class Pair:
    """site-1 and server."""

    def __init__(self) -> None:
        self.wire = Wire()
        for name, instance in (("server", 20), ("site-1", 10), ("site-2", 30)):
            self.wire.start(name, instance)
        self.site, self.server, self.other = map(self.calls, ("site-1", "server", "site-2"))

    def calls(self, name: str) -> SealedCalls:
        return SealedCalls(cast(Any, self.wire.nodes[name]), self.wire.cells[name])

    def session(self, *targets: str) -> dict[str, Session]:
        heard = Heard()
        self.site.sealing.sessions(targets, False, 5.0, heard)
        return heard.found

    def send(
        self, id: int = 1, targets: tuple[str, ...] = ("server",), purpose: str = REQUEST, bodies: Any = (b"payload",)
    ) -> tuple[Call, dict[str, ReplySeal]]:
        """What arrives, and how the caller opens the replies."""
        sealed = self.site.seal(purpose, "test", "take", 1, {"a": 1}, bodies, targets)
        headers, replies = self.site.address(sealed, self.session(*targets), id)
        expects = purpose == REQUEST
        return Call("site-1", 10, id, "test", "take", SEALED, headers, sealed.parcel.bodies, 5.0, expects), replies


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_a_request_and_its_reply(pair: Pair) -> None:
    call, replies = pair.send()
    opened = pair.server.open_call(call)
    assert opened == Opened({"a": 1}, 1, (b"payload",), replies["server"].key)
    plain = Outcome(CellReturnCode.INVALID_REQUEST, "why", 1, {"b": 2}, (b"reply",))
    sealed = pair.server.seal_outcome(call, opened.reply_key, plain)
    assert (sealed.code, sealed.error, sealed.codec) == (plain.code, "", SEALED)
    assert pair.site.open_outcome(replies["server"], "test", "take", sealed) == (plain, True)


def test_one_parcel_for_all_targets_and_a_reply_key_for_each(pair: Pair) -> None:
    call, replies = pair.send(targets=("server", "site-2"))
    keys = [calls.open_call(call).reply_key for calls in (pair.server, pair.other)]
    assert keys == [replies["server"].key, replies["site-2"].key]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 2}, {"instance": 11}, {"origin": "site-2"}, {"channel": "tes"}, {"topic": "taken"},
        {"bodies": ()}, {"bodies": (b"other",)}, {"expects_reply": False},
    ],
    ids=str,
)  # fmt: skip
def test_a_call_that_is_not_what_was_sealed(pair: Pair, changes: dict[str, Any]) -> None:
    call, _ = pair.send()
    for name, value in changes.items():
        setattr(call, name, value)
    with pytest.raises((AuthenticationError, InvalidSession)):
        pair.server.open_call(call)


@pytest.mark.parametrize("headers", [{}, {SEAL: 1}, {SEAL: {"h": b"", "w": {}}}], ids=str)
def test_a_call_without_a_seal(pair: Pair, headers: dict[str, Any]) -> None:
    call, _ = pair.send()
    call.headers = headers
    with pytest.raises(AuthenticationError):
        pair.server.open_call(call)


def test_a_fire_is_no_request(pair: Pair) -> None:
    call, _ = pair.send(purpose=FIRE)
    call.expects_reply = True
    with pytest.raises(AuthenticationError):
        pair.server.open_call(call)


def test_another_target_cannot_forge_a_request(pair: Pair) -> None:
    """It knows the content key, and the relay gives it the wrap of the server."""
    call, _ = pair.send(targets=("server", "site-2"))
    wire_key = pair.wire.cells["site-2"].callee
    head = call.headers[SEAL]["h"]
    from zmqfl.wire.seal import digest_of, read_header

    _, wrap = read_header(call.headers[SEAL], "site-2")
    content_key, _ = wire_key.open("site-1", 10, wrap, 1, digest_of(head, call.bodies))
    forged = Seals(content_key, Facts(REQUEST, "site-1", 10, "test", "take")).seal(0, [1, {}], (b"forged",))
    call.headers, call.bodies = {SEAL: {**call.headers[SEAL], "h": forged.head}}, forged.bodies
    with pytest.raises(AuthenticationError, match="not sealed by who"):
        pair.server.open_call(call)


def test_the_reply_to_another_request_or_of_another_target_is_refused(pair: Pair) -> None:
    (one, first), (two, second) = pair.send(1, ("server", "site-2")), pair.send(2)
    outcomes = []
    for calls, call in ((pair.server, one), (pair.other, one), (pair.server, two)):
        outcomes.append(calls.seal_outcome(call, calls.open_call(call).reply_key, Outcome(OK, "", 1, {}, (b"reply",))))
    ways = [first["server"], first["site-2"], second["server"]]
    for number, way in enumerate(ways):
        for which, outcome in enumerate(outcomes):
            got, is_proved = pair.site.open_outcome(way, "test", "take", outcome)
            assert is_proved is (number == which)
            assert got.code is (OK if number == which else CellReturnCode.COMM_ERROR)


def sealed_reply(pair: Pair) -> tuple[ReplySeal, Outcome]:
    call, replies = pair.send()
    key = pair.server.open_call(call).reply_key
    return replies["server"], pair.server.seal_outcome(call, key, Outcome(OK, "", 1, {}, (b"reply",)))


@pytest.mark.parametrize(
    "changes",
    [
        {"code": CellReturnCode.TIMEOUT}, {"codec": 1}, {"headers": {}}, {"headers": {SEAL: "x"}}, {"bodies": ()},
        {"bodies": (b"reply",)},
    ],
    ids=str,
)  # fmt: skip
def test_a_reply_that_is_not_what_was_sealed(pair: Pair, changes: dict[str, Any]) -> None:
    reply, outcome = sealed_reply(pair)
    got, is_proved = pair.site.open_outcome(reply, "test", "take", replace(outcome, **changes))
    assert got.code is CellReturnCode.COMM_ERROR
    assert not got.bodies
    assert not is_proved
    assert pair.site.open_outcome(reply, "test", "take", outcome)[0].code is OK


def test_a_reply_on_another_channel(pair: Pair) -> None:
    reply, outcome = sealed_reply(pair)
    assert not pair.site.open_outcome(reply, "test", "took", outcome)[1]


def test_what_the_network_says_is_never_ok(pair: Pair) -> None:
    reply, _ = sealed_reply(pair)
    said = Outcome(CellReturnCode.TIMEOUT, "no reply", 1, {"x": 1}, (b"x",))
    assert pair.site.open_outcome(reply, "test", "take", said) == (Outcome(CellReturnCode.TIMEOUT, "no reply"), False)
    got, _ = pair.site.open_outcome(reply, "test", "take", Outcome(OK, "", 1, {}, (b"made up",)))
    assert (got.code, got.bodies) == (CellReturnCode.COMM_ERROR, ())
    assert "its reply is not sealed" in got.error


def test_a_head_of_another_shape_is_refused(pair: Pair) -> None:
    reply, outcome = sealed_reply(pair)
    seals = Seals(reply.key, Facts("reply", "server", 20, "test", "take"))
    for head in ([], ["ok", "", 1], ["fine", "", 1, {}], [1, "", 1, {}]):
        made = replace(outcome, headers={SEAL: seals.seal(0, head).head}, bodies=())
        assert not pair.site.open_outcome(reply, "test", "take", made)[1]
    call, _ = pair.send()
    opened = pair.server.open_call(call)
    assert opened.codec == 1


def test_who_has_forgotten_is_asked_again_and_others_are_not(pair: Pair) -> None:
    call, replies = pair.send()
    pair.wire.start("server", 21)
    restarted = pair.calls("server")
    with pytest.raises(InvalidSession) as caught:
        restarted.open_call(call)
    outcome = restarted.forgotten(call, caught.value)
    assert outcome.headers == {"why": "seal_session"}
    reply = replies["server"]
    assert not pair.site.is_forgotten(reply, replace(outcome, headers={}))
    assert not pair.site.is_forgotten(reply, Outcome(CellReturnCode.TIMEOUT, headers={"why": "seal_session"}))
    assert pair.session("server")["server"] is reply.session
    assert pair.site.is_forgotten(reply, outcome)
    assert pair.session("server")["server"].instance == 21


def test_whoever_fires_with_a_forgotten_session_is_told(pair: Pair) -> None:
    call, replies = pair.send(purpose=FIRE)
    pair.server.forgotten(call, InvalidSession("why"))
    assert pair.session("server")["server"] is not replies["server"].session


def test_what_is_too_big_for_so_many_targets_is_refused(pair: Pair) -> None:
    names = tuple(f"site-{number}" for number in range(3000))
    with pytest.raises(RequestFailed, match="sealed for 3000 targets") as caught:
        pair.site.seal(REQUEST, "test", "take", 1, {}, cast("tuple[Buffer, ...]", (b"x",)), names)
    assert caught.value.code is CellReturnCode.MSG_TOO_BIG
