"""Around any producer and consumer: what goes through is the same, and what was changed does not get through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.cell.sealed import Heard, Numbers, Taker, Wire
from zmqfl.cell.message import SEAL
from zmqfl.cell.sealed_streams import (
    END,
    HEAD,
    HIDDEN,
    SealedConsumer,
    SealedProducer,
    StreamKeys,
    open_context,
    plain_context,
    refusal,
    seal_context,
)
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.errors import AuthenticationError, CellReturnCode, InvalidRequest, InvalidSession, RequestFailed
from zmqfl.protocol.commands import Outcome, PushEnded
from zmqfl.wire.codecs import SEALED

OK = CellReturnCode.OK
CONTEXT = {"name": "secret.bin", "size": 3}


class Push:
    """An owner and its targets, without the machines: `run` is lockstep."""

    def __init__(self, producer: Numbers, **takers: Taker) -> None:
        self.wire = Wire()
        self.owner = self.wire.start("owner", 10)
        self.takers = takers
        for number, name in enumerate(takers):
            self.wire.start(name, 20 + number)
        heard = Heard()
        self.owner.sessions(takers, False, 5.0, heard)
        plain = plain_context("ch", "to", CONTEXT)
        self.context, self.keys = seal_context(plain, ("owner", 10), heard.found, self.owner.wraps)
        self.inner = producer
        self.producer = SealedProducer(producer, self.keys)
        self.consumers = {name: SealedConsumer(taker, self.open(name)[1]) for name, taker in takers.items()}
        self.rounds: list[dict[str, Outcome]] = []
        self.chunks: list[Chunk] = []

    def open(self, name: str, context: dict[str, Any] | None = None, instance: int = 10) -> Any:
        callee = self.wire.cells[name].callee
        incoming = Incoming("owner", "ch", "to", self.context)
        me = name, self.wire.nodes[name].instance
        return open_context(context or self.context, incoming, instance, me, callee.open)

    def run(self) -> Any:
        """Rounds until all have enough; then the ends. Returns what the last `settle` gave, or the first error."""
        while (chunk := self.producer.produce()) is not None:
            self.chunks.append(chunk)
            replies = {name: consumer.consume(chunk) for name, consumer in self.consumers.items()}
            bad = [(name, outcome) for name, (_, outcome) in replies.items() if outcome.code is not OK]
            if bad:
                return bad[0]
            self.rounds.append({name: outcome for name, (_, outcome) in replies.items()})
            if not any(more for more, _ in replies.values()):
                break
            if (result := self.producer.settle(self.rounds[-1])) is not None:
                return result
        ends = {name: consumer.close(OK, "", "") for name, consumer in self.consumers.items()}
        merged = {name: with_end(self.rounds[-1][name], end) for name, end in ends.items()}
        result = self.producer.settle(merged)
        self.proved = self.producer.prove(PushEnded(1, OK, "", "", result, ends))
        return result


def with_end(reply: Outcome, end: Outcome) -> Outcome:
    headers = {**reply.headers, "end": [end.codec, len(end.bodies)]}
    return Outcome(reply.code, reply.error, reply.codec, headers, (*reply.bodies, *end.bodies))


# ---------------------------------------------------------------------------------------------------------- all is well


@pytest.mark.parametrize("last", [False, True])
def test_chunks_replies_and_ends_come_out_as_they_went_in(last: bool) -> None:
    push = Push(Numbers(3, last=last), a=Taker(), b=Taker())
    assert push.run() is None
    for taker in push.takers.values():
        assert [(chunk.codec, chunk.headers["n"], chunk.bodies) for chunk in taker.taken] == [
            (2, 1, (b"chunk 1",)), (2, 2, (b"chunk 2",)), (2, 3, (b"chunk 3",)),
        ]  # fmt: skip
        assert taker.ends == [(OK, "", "")]
    assert [reply["a"].bodies[0] for reply in push.inner.settled] == [b"took 1", b"took 2", b"took 3"]
    assert push.inner.settled[0]["b"] == Outcome(OK, "", 1, {"took": 1}, (b"took 1",))
    assert push.proved.code is OK
    assert push.proved.targets == dict.fromkeys("ab", Outcome(OK, "", 1, {}, (b"bye",)))
    assert [chunk.timeout for chunk in push.chunks] == [7.0, 7.0, 7.0, None]
    assert {chunk.codec for chunk in push.chunks} == {SEALED}
    assert push.producer.size == 21


def test_nothing_is_left_in_clear() -> None:
    push = Push(Numbers(2, last=True), a=Taker())
    push.run()
    seen = repr([push.context, push.chunks, push.rounds])
    for text in ("secret.bin", "size", "chunk 1", "took", "last", "bye"):
        assert text not in seen


def test_the_last_replies_are_shown_with_the_ends() -> None:
    """As without a seal: when all want no more, the last replies come with what the ends have given."""
    push = Push(Numbers(9, {2: "content"}), a=Taker(2), b=Taker(2))
    assert push.run() == "content"
    assert push.inner.made == 2
    last = push.inner.settled[-1]["a"]
    assert last.headers == {"took": 2, "end": [1, 1]}
    assert last.bodies == (b"took 2", b"bye")


def test_who_wants_no_more_gets_no_more_while_others_do() -> None:
    push = Push(Numbers(4), a=Taker(1), b=Taker(3))
    push.run()
    assert [len(push.takers[name].taken) for name in "ab"] == [1, 3]
    assert [sorted(replies) for replies in push.inner.settled] == [["a", "b"], ["b"], ["b"]]
    assert push.proved.code is OK


def test_a_result_ends_the_push_with_an_end() -> None:
    push = Push(Numbers(9, {2: "enough"}), a=Taker())
    assert push.run() == "enough"
    assert (push.inner.made, push.takers["a"].ends) == (2, [(OK, "", "")])
    assert push.proved.code is OK


@pytest.mark.parametrize("verdict", [False, "", 0])
def test_a_producer_that_is_not_content_ends_it_at_once(verdict: Any) -> None:
    push = Push(Numbers(9, {1: verdict}), a=Taker())
    assert push.run() == verdict
    assert not any(END in chunk.headers for chunk in push.chunks)


def test_it_says_what_it_wraps() -> None:
    push = Push(Numbers(0), a=Taker())
    assert (push.producer.looks_ahead, push.producer.judges, push.producer.is_quick) == (False, True, False)
    assert push.consumers["a"].is_quick is False
    push.producer.close()
    assert push.inner.closed == 1
    assert push.producer.produce() is not None
    assert push.producer.produce() is None


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (None, "invalid_request", "not this one"),
        (InvalidRequest("bad chunk"), "invalid_request", "bad chunk"),
        (ValueError("bad value"), "process_exception", "ValueError: bad value"),
    ],
    ids=str,
)
def test_why_a_consumer_fails_is_for_the_owner(error: BaseException | None, code: str, reason: str) -> None:
    push = Push(Numbers(3), a=Taker(fails=2, error=error))
    name, outcome = push.run()
    assert (str(outcome.code), outcome.error, outcome.codec) == (code, HIDDEN, SEALED)
    ended = PushEnded(1, outcome.code, outcome.error, name, None, {name: outcome})
    assert push.producer.prove(ended).reason == reason


def test_why_a_producer_fails_is_for_the_owner() -> None:
    class Failing(Numbers):
        def produce(self) -> Chunk | None:
            raise ValueError("no source")

    push = Push(Failing(1), a=Taker())
    with pytest.raises(ValueError, match="no source"):
        push.producer.produce()
    ended = PushEnded(1, CellReturnCode.PROCESS_EXCEPTION, push.producer.public_error, "", None, {})
    assert push.producer.prove(ended).reason == "ValueError: no source"


def test_what_a_consumer_raises_at_its_end() -> None:
    push = Push(Numbers(1), a=Taker(), b=Taker())
    push.takers["a"].ending = ValueError("late")
    push.run()
    assert (push.proved.code, push.proved.culprit) == (CellReturnCode.COMM_ERROR, "a")
    assert push.proved.targets["a"].error == "ValueError: late"


# --------------------------------------------------------------------------------------------------- whoever is between


def taken(push: Push, chunk: Chunk) -> tuple[bool, Outcome]:
    return push.consumers["a"].consume(chunk)


def flip(data: Any) -> bytes:
    return bytes([data[0] ^ 1]) + bytes(data[1:])


def test_push_N09_changed_chunks_are_refused() -> None:
    push = Push(Numbers(3), a=Taker())
    one, two = push.producer.produce(), push.producer.produce()
    assert one is not None
    assert two is not None
    for chunk in (
        two,
        replace(one, codec=2),
        replace(one, headers={}),
        replace(one, headers={HEAD: "x"}),
        replace(one, headers={HEAD: flip(one.headers[HEAD])}),
        replace(one, bodies=(flip(one.bodies[0]),)),
        replace(one, bodies=()),
        replace(one, bodies=two.bodies),
    ):
        with pytest.raises(AuthenticationError):
            taken(push, chunk)
    assert push.takers["a"].taken == []
    assert taken(push, one)[1].code is OK
    with pytest.raises(AuthenticationError):
        taken(push, one)
    assert taken(push, two)[1].code is OK


def ending(push: Push, rounds: int) -> Chunk:
    """Rounds, and then END."""
    for _ in range(rounds):
        chunk = push.producer.produce()
        assert chunk is not None
        for consumer in push.consumers.values():
            consumer.consume(chunk)
    end = push.producer.produce()
    assert end is not None
    return end


@pytest.mark.parametrize(
    "change",
    [
        lambda ends: {}, lambda ends: {"a": ends["b"]}, lambda ends: {"a": flip(ends["a"])}, lambda ends: [],
        lambda ends: {"a": "x"},
    ],
)  # fmt: skip
def test_push_N09_a_changed_end_is_refused(change: Any) -> None:
    push = Push(Numbers(2), a=Taker(), b=Taker())
    end = ending(push, 2)
    with pytest.raises(AuthenticationError):
        taken(push, replace(end, headers={END: change(end.headers[END])}))
    assert taken(push, end) == (False, Outcome(OK))


def test_push_N09_what_another_target_forges_is_found_out_at_the_end() -> None:
    push = Push(Numbers(2), a=Taker(), b=Taker())
    forged = push.consumers["b"]._keys.to_targets("chunk").seal(0, [2, {}], (b"forged",))
    one = push.producer.produce()
    assert one is not None
    assert taken(push, replace(one, headers={HEAD: forged.head}, bodies=forged.bodies))[1].code is OK
    two = push.producer.produce()
    assert two is not None
    taken(push, two)
    end = push.producer.produce()
    assert end is not None
    with pytest.raises(AuthenticationError, match="what came is not what owner has sealed for a"):
        taken(push, end)
    outcome = push.consumers["a"].close(OK, "", "")
    assert push.takers["a"].ends[0][0] is CellReturnCode.AUTHENTICATION_ERROR
    assert outcome.code is CellReturnCode.AUTHENTICATION_ERROR


def test_push_N09_another_target_cannot_forge_an_end() -> None:
    push = Push(Numbers(1), a=Taker(), b=Taker())
    ending(push, 1)
    mine: StreamKeys = push.consumers["b"]._keys
    made = mine.to_targets("end").seal(0, [1, push.consumers["a"]._root.value()]).head
    with pytest.raises(AuthenticationError):
        taken(push, Chunk({END: {"a": made}}, SEALED, ()))


def test_push_N09_an_end_that_was_not_sealed_is_none() -> None:
    push = Push(Numbers(2), a=Taker())
    chunk = push.producer.produce()
    assert chunk is not None
    taken(push, chunk)
    outcome = push.consumers["a"].close(OK, "", "")
    assert push.takers["a"].ends == [
        (CellReturnCode.AUTHENTICATION_ERROR, "the end of the stream was not sealed by owner", "owner")
    ]
    assert outcome.code is CellReturnCode.AUTHENTICATION_ERROR
    push.consumers["a"].close(CellReturnCode.ABORT_RUN, "given up", "b")
    assert push.takers["a"].ends[1] == (CellReturnCode.ABORT_RUN, "given up", "b")


def test_push_N09_replies_are_of_this_round_and_this_target() -> None:
    push = Push(Numbers(9), a=Taker(), b=Taker())
    rounds = []
    for _ in range(2):
        chunk = push.producer.produce()
        assert chunk is not None
        rounds.append({name: consumer.consume(chunk)[1] for name, consumer in push.consumers.items()})
    one, two = rounds
    for replies in (
        {**one, "a": two["a"]},
        {**one, "a": one["b"]},
        {**one, "a": Outcome(OK, "", 1, {}, (b"took 1",))},
        {**one, "a": replace(one["a"], bodies=(flip(one["a"].bodies[0]), *one["a"].bodies[1:]))},
        {**one, "a": replace(one["a"], bodies=one["a"].bodies[:1])},
    ):
        with pytest.raises(AuthenticationError, match="what a says of chunk 0 was refused"):
            push.producer.settle(replies)
        push.producer._settled = 0


def test_push_N09_a_success_must_be_proved_by_each_target() -> None:
    push = Push(Numbers(1), a=Taker(), b=Taker())
    taken(push, ending(push, 1))
    end = push.consumers["a"].close(OK, "", "")
    for targets in ({"a": end}, {"a": end, "b": end}, {"a": end, "b": Outcome(OK)}):
        ended = push.producer.prove(PushEnded(1, OK, "", "", None, targets))
        assert (ended.code, ended.culprit) == (CellReturnCode.COMM_ERROR, "b")
        assert ended.reason == "b has not proved that it has everything"
        assert ended.targets == {"a": Outcome(OK, "", 1, {}, (b"bye",))}
    assert push.producer.prove(PushEnded(1, OK, "", "", None, {})).culprit == "a"


# -------------------------------------------------------------------------------------------------------------- context


def test_the_context_comes_out_once_and_for_its_targets() -> None:
    push = Push(Numbers(0), a=Taker(), b=Taker())
    with pytest.raises(AuthenticationError, match="it came before"):
        push.open("a")
    push.wire.start("c", 30)
    with pytest.raises(AuthenticationError, match="not sealed for c"):
        push.open("c")
    with pytest.raises(InvalidSession):
        push.open("a", instance=11)
    assert seal_context(plain_context("ch", "to", CONTEXT), ("owner", 10), sessions(push), push.owner.wraps)[
        0
    ].keys() == {SEAL}


def sessions(push: Push, *names: str) -> Any:
    heard = Heard()
    push.owner.sessions(names or push.takers, False, 5.0, heard)
    return heard.found


@pytest.mark.parametrize(
    "changes", [{"t": b"0" * 16}, {"t": 1}, {"b": []}, {"b": ["x"]}, {"h": b"x" * 40}, {"w": {}}], ids=str
)
def test_push_N09_a_changed_context_is_refused(changes: dict[str, Any]) -> None:
    push = Push(Numbers(0), a=Taker())
    context, _ = seal_context(plain_context("ch", "to", CONTEXT), ("owner", 10), sessions(push), push.owner.wraps)
    with pytest.raises(AuthenticationError, match="of owner was refused"):
        push.open("a", {SEAL: {**context[SEAL], **changes}})


def test_too_many_targets_are_refused() -> None:
    push = Push(Numbers(0), a=Taker())
    (session,) = sessions(push).values()
    many = {f"site-{number}": session for number in range(3000)}
    with pytest.raises(RequestFailed, match="sealed for 3000 targets"):
        seal_context(plain_context("ch", "to", CONTEXT), ("owner", 10), many, push.owner.wraps)


def test_a_refusal_hides_why() -> None:
    push = Push(Numbers(0), a=Taker())
    outcome = refusal(push.consumers["a"]._keys, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "full"))
    assert (outcome.code, outcome.error) == (CellReturnCode.SERVICE_UNAVAILABLE, HIDDEN)
    ended = push.producer.prove(PushEnded(1, outcome.code, outcome.error, "a", None, {"a": outcome}))
    assert ended.reason == "full"
