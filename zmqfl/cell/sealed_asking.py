"""Sealed requests and fires at their caller: first a session with each target, and another where one was forgotten.

    verb      sessions     none to be had                           this target fails
                           all answered                             addressed and sent, on the reactor
    outcome   forgotten    anybody on the way can say so            a new session, by which the target is asked
              forgotten    the target proves it                     sent again; not a third time
              forgotten    the target knows it                      comm_error: outcome unknown
              otherwise    opened: here if short, else on a worker  the reply, or what was wrong with it

A request is addressed on the reactor, for its wraps are bound to its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmqfl.cell.pushing import Submit
from zmqfl.config import KIB, CellConfig
from zmqfl.errors import CellReturnCode, ClosedError, RequestFailed
from zmqfl.protocol.commands import Command, Outcome
from zmqfl.protocol.node import Node

if TYPE_CHECKING:
    from zmqfl.cell.asking import Outgoing
    from zmqfl.cell.sealed_calls import ReplySeal, SealedCalls
    from zmqfl.cell.sealing import Failed, Found, Session

SHORT_REPLY = 64 * KIB
"""Bytes of a reply that is opened on the reactor: about 0.1 ms."""

_DOUBT = "outcome unknown: somebody on the way says that {0} has forgotten the session, and {0} knows it"


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a sealed request may take. `until`: when all must have ended."""

    timeout: float
    until: float | None
    former: Session | None = None
    """The session that was forgotten; the target must prove it before the request goes out again."""


@dataclass(slots=True)
class RequestSeal:
    """What a sealed request needs when it ends."""

    terms: Terms
    replies: dict[str, ReplySeal]


class SealedAsking:
    """See the module. `clock`: the node's."""

    def __init__(
        self, node: Node, config: CellConfig, seals: SealedCalls, submit: Submit, clock: Callable[[], float]
    ) -> None:
        self.seals = seals
        self._node = node
        self._config = config
        self._submit = submit
        self._clock = clock

    def terms(self, timeout: float, deadline: float | None) -> Terms:
        """Those of a request that begins now."""
        return Terms(timeout, None if deadline is None else self._clock() + deadline)

    def send(
        self,
        out: Outgoing,
        targets: Iterable[str],
        terms: Terms,
        failed: Callable[[Iterable[str], RequestFailed], None],
        closed: Callable[[ClosedError], None],
        post: Callable[[int, RequestSeal, dict[str, Any], float | None, float], list[Command]],
    ) -> None:
        """Have `post(id, seal, headers, seconds left, now)` called on the reactor, for the targets that have a session.

        Raises `ClosedError`.
        """
        left = None if terms.until is None else max(0.0, terms.until - self._clock())
        sealed = out.sealed
        assert sealed is not None

        def then(found: Found, missing: Failed) -> None:
            for name, error in missing.items():
                failed([name], error)
            if terms.former is not None:
                for name in [name for name, session in found.items() if not session.replaces(terms.former)]:
                    del found[name]
                    failed([name], RequestFailed(_DOUBT.format(name), code=CellReturnCode.COMM_ERROR))
            if not found:
                return

            def act(now: float) -> list[Command]:
                id = self._node.next_id()
                headers, replies = self.seals.address(sealed, found, id)
                rest = None if terms.until is None else max(0.001, terms.until - now)
                return post(id, RequestSeal(terms, replies), headers, rest, now)

            try:
                self._submit(act)
            except ClosedError as error:
                closed(error)

        try:
            wait = terms.timeout if left is None else min(terms.timeout, left)
            self.seals.sealing.sessions(targets, self._is_long(out), wait, then, former=terms.former)
        except RequestFailed as error:
            failed(targets, error)

    def fire(
        self, out: Outgoing, targets: list[str], done: Callable[[dict[str, str]], None],
        closed: Callable[[ClosedError], None],
    ) -> None:  # fmt: skip
        """Send without a reply; `done` is told, per target, "" or why it did not leave. Raises `ClosedError`."""
        sealed = out.sealed
        assert sealed is not None

        def then(found: Found, missing: Failed) -> None:
            errors = {name: f"{error.code}: {error.reason}" for name, error in missing.items()}
            if not found:
                done(errors)
                return

            def act(now: float) -> list[Command]:
                id = self._node.next_id()
                headers, _ = self.seals.address(sealed, found, id)
                sent = self._node.fire(id, found, out.channel, out.topic, out.codec, headers, out.bodies, now)
                done({**errors, **sent[1]})
                return sent[0]

            try:
                self._submit(act)
            except ClosedError as error:
                closed(error)

        try:
            self.seals.sealing.sessions(targets, self._is_long(out), self._config.request_timeout, then)
        except RequestFailed as error:
            done(dict.fromkeys(targets, f"{error.code}: {error.reason}"))

    def open(
        self,
        seal: RequestSeal,
        target: str,
        out: Outgoing,
        outcome: Outcome,
        again: Callable[[Terms], None],
        then: Callable[[Outcome, bool], None],
    ) -> None:
        """Have `then(outcome, whether it is proved)` called, or `again` where nothing was executed."""
        reply, terms = seal.replies[target], seal.terms
        if self.seals.is_forgotten(reply, outcome) and terms.former is None:
            again(Terms(terms.timeout, terms.until, reply.session))
        elif sum(map(len, outcome.bodies)) > SHORT_REPLY:
            self.seals.sealing.run(lambda: then(*self.seals.open_outcome(reply, out.channel, out.topic, outcome)))
        else:
            then(*self.seals.open_outcome(reply, out.channel, out.topic, outcome))

    def _is_long(self, out: Outgoing) -> bool:
        return sum(map(len, out.bodies)) > self._config.control_limit
