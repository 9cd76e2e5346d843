"""The table of `zmqfl.protocol.plane.hub`."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Answer, Call, Command, Publish, Reopen, Tell
from zmqfl.protocol.plane import hub as module
from zmqfl.protocol.plane.facts import (
    CELL_FACTS,
    MAX_BODY,
    MOST_BYTES,
    MOST_FACTS,
    Fact,
    bound_topic,
    encode_facts,
    props_topic,
    rids_topic,
    withdrawal_of,
)
from zmqfl.protocol.plane.hub import EMPTY_TOPICS, LEAVE, REMINDERS, Hub, RootHub
from zmqfl.protocol.plane.replica import Replica
from zmqfl.protocol.plane.updates import (
    CHANNEL,
    PlaneTopic,
    Snapshot,
    Update,
    decode_heads,
    decode_snapshot,
    decode_update,
    encode_question,
)
from zmqfl.wire import payload

OK, INVALID, BUSY = CellReturnCode.OK, CellReturnCode.INVALID_REQUEST, CellReturnCode.SERVICE_UNAVAILABLE
ONE, TEN = props_topic("site-1"), props_topic("site-10")
AT = 100.0
BEAT = 2.0
numbers = count(1)


def fact(number: int, body: bytes | None = b"x", key: str = "round", origin: str = "site-1", topic: str = "") -> Fact:
    return Fact(origin, 1, number, 0, topic or props_topic(origin), key, body)


def update(number: int, topic: str = ONE) -> Update:
    return Update(5, topic, number, number - 1, (fact(number, origin=topic.split("/")[1]),))


def call(topic: str, origin: str, bodies: tuple[Any, ...] = (), **headers: Any) -> Call:
    return Call(origin, 1, next(numbers), CHANNEL, topic, 0, headers, bodies, 10.0, True)


def subscribe(
    hub: Hub, child: str, prefixes: tuple[str, ...] = ("",), epoch: int = 5, heads: dict[str, int] | None = None
) -> None:
    request = call(PlaneTopic.SUBSCRIBE, child, encode_question(prefixes, epoch, heads or {}))
    (answer,) = hub.subscribe(request, Replica(), 5, {})
    assert isinstance(answer, Answer)
    assert answer.outcome.code is OK


def heads_told(commands: list[Command]) -> dict[tuple[str, ...], dict[str, int]]:
    told: dict[tuple[str, ...], dict[str, int]] = {}
    for command in commands:
        assert isinstance(command, Tell)
        assert command.topic == PlaneTopic.HEADS
        told.setdefault(command.targets, {}).update(decode_heads(command.bodies)[1])
    return told


# -- who hears what ----------------------------------------------------------------------------------------------------


def test_each_child_is_told_what_it_may_hear_of() -> None:
    rules = {"site-1": (ONE, "rids/"), "site-10": (TEN,), "site-2": (), "site-3": ("",)}
    hub = Hub("server", BEAT, rules.__getitem__)
    for child in rules:
        subscribe(hub, child)
    told = hub.tell([update(1, ONE), update(2, TEN)], AT)
    assert [command.targets for command in told if isinstance(command, Tell)] == [
        ("site-1", "site-3"),
        ("site-10", "site-3"),
    ]
    first = told[0]
    assert isinstance(first, Tell)
    assert first.topic == PlaneTopic.UPDATE
    assert decode_update(first.headers, first.bodies) == update(1, ONE)
    assert repr(hub) == "<Hub server of 4 subscribers>"


@pytest.mark.parametrize(
    ("wanted", "allowed", "granted"),
    [
        (("",), ("",), ("",)),
        ((), ("",), ()),
        (("",), (), ()),
        ((ONE,), ("props/",), (ONE,)),
        (("props/",), (ONE,), (ONE,)),
        ((TEN,), (ONE,), ()),
        (("props/site-1",), (ONE,), (ONE,)),  # no delimiter: what it would hear beside is not granted
        (("", ONE), (ONE, TEN), (ONE, TEN)),
        (("rids/",), ("props/",), ()),
    ],
)
def test_what_is_granted_is_what_is_wanted_and_allowed(
    wanted: tuple[str, ...], allowed: tuple[str, ...], granted: tuple[str, ...]
) -> None:
    hub = Hub("server", BEAT, lambda child: allowed)
    subscribe(hub, "site-1", wanted)
    assert hub.subscribers == {"site-1": granted}


def test_a_child_that_is_gone_is_told_nothing() -> None:
    hub = Hub("server", BEAT)
    subscribe(hub, "site-1")
    hub.forget("site-1", AT)
    hub.forget("site-1", AT)
    assert hub.tell([update(1)], AT) == []


# -- what is for one cell ----------------------------------------------------------------------------------------------

LEAF = bound_topic("relay.site-1")


def bound(number: int) -> Update:
    return update_of(number, LEAF)


def update_of(number: int, topic: str) -> Update:
    return Update(5, topic, number, number - 1, (fact(number, origin="site-3", topic=topic),))


def test_what_is_for_one_cell_only_the_child_on_the_way_is_told() -> None:
    hub = Hub("server", BEAT)
    for child in ("relay", "relay-2", "relay.site-10", "site-1"):
        subscribe(hub, child)
    (tell,) = hub.tell([bound(1)], AT)
    assert isinstance(tell, Tell)
    assert (tell.targets, tell.headers["t"]) == (("relay",), LEAF)
    assert heads_told(hub.handle_timeout(5, {LEAF: 1}, AT + BEAT)) == {("relay",): {LEAF: 1}}


def test_what_is_for_one_cell_is_never_published_though_it_listens() -> None:
    hub = Hub("server", BEAT)
    for child in ("relay", "site-2"):
        subscribe(hub, child)
        hub.admit(child)
    tell, publish = hub.tell([bound(1), update(2)], AT)
    assert isinstance(tell, Tell)
    assert isinstance(publish, Publish)
    assert (tell.targets, publish.topic) == (("relay",), ONE)


def test_what_is_for_this_cell_itself_or_for_nobody_here_is_told_to_nobody() -> None:
    hub = Hub("relay", BEAT)
    subscribe(hub, "relay.site-10")
    assert hub.tell([bound(1), update_of(2, bound_topic("relay"))], AT) == []


@pytest.mark.parametrize(
    ("child", "topics"), [("relay", {ONE: 1, LEAF: 2}), ("site-3", {ONE: 1}), ("relay-2", {ONE: 1})]
)
def test_a_snapshot_does_not_even_name_what_is_for_another(child: str, topics: dict[str, int]) -> None:
    replica = Replica()
    replica.apply(fact(1))
    replica.apply(fact(2, origin="site-3", topic=LEAF))
    request = call(PlaneTopic.SUBSCRIBE, child, encode_question(("",), 0, {}))
    (answer,) = Hub("server", BEAT).subscribe(request, replica, 5, {ONE: 1, LEAF: 2})
    assert isinstance(answer, Answer)
    found = decode_snapshot(answer.outcome.bodies)
    assert (found.heads, set(found.topics)) == (topics, set(topics))
    assert {each.topic for each in found.facts} == set(topics)


def test_a_rule_that_does_not_grant_it_keeps_it_from_the_way() -> None:
    hub = Hub("server", BEAT, lambda child: ("props/", "rids/"))
    subscribe(hub, "relay")
    assert hub.tell([bound(1)], AT) == []


# -- the snapshot ------------------------------------------------------------------------------------------------------


def snapshot(hub: Hub, epoch: int, heads: dict[str, int], replica: Replica, now_epoch: int = 5) -> Snapshot:
    request = call(PlaneTopic.SUBSCRIBE, "site-3", encode_question(("",), epoch, heads))
    (answer,) = hub.subscribe(request, replica, now_epoch, {ONE: 1, TEN: 2})
    assert isinstance(answer, Answer)
    return decode_snapshot(answer.outcome.bodies)


@pytest.mark.parametrize(
    ("epoch", "heads", "topics"),
    [
        (0, {}, (ONE, TEN)),
        (4, {ONE: 1, TEN: 2}, (ONE, TEN)),
        (5, {}, (ONE, TEN)),
        (5, {ONE: 1}, (TEN,)),
        (5, {ONE: 1, TEN: 1}, (TEN,)),
        (5, {ONE: 1, TEN: 3}, (TEN,)),
        (5, {ONE: 1, TEN: 2}, ()),
    ],
)
def test_a_snapshot_holds_what_the_child_does_not(epoch: int, heads: dict[str, int], topics: tuple[str, ...]) -> None:
    replica = Replica()
    facts = {ONE: fact(1), TEN: fact(2, origin="site-10")}
    for each in facts.values():
        replica.apply(each)
    found = snapshot(Hub("server", BEAT), epoch, heads, replica)
    assert found == Snapshot(5, {ONE: 1, TEN: 2}, topics, tuple(facts[topic] for topic in topics))


def test_a_snapshot_holds_nothing_that_is_not_granted() -> None:
    replica = Replica()
    replica.apply(fact(1))
    replica.apply(fact(2, origin="site-10"))
    found = snapshot(Hub("server", BEAT, lambda child: (TEN,)), 0, {}, replica)
    assert found == Snapshot(5, {TEN: 2}, (TEN,), (fact(2, origin="site-10"),))


def test_before_it_is_ready_a_child_asks_again_but_is_told_from_now_on() -> None:
    hub = Hub("relay", BEAT)
    request = call(PlaneTopic.SUBSCRIBE, "relay.site-1", encode_question(("",), 0, {}))
    (answer,) = hub.subscribe(request, Replica(), 0, {})
    assert isinstance(answer, Answer)
    assert (answer.outcome.code, answer.outcome.error) == (BUSY, "relay does not know the plane itself yet")
    assert len(hub.tell([update(1)], AT)) == 1


def test_a_question_that_cannot_be_read() -> None:
    hub = Hub("server", BEAT)
    (answer,) = hub.subscribe(call(PlaneTopic.SUBSCRIBE, "site-1", (b"\xc1",)), Replica(), 5, {})
    assert isinstance(answer, Answer)
    assert answer.outcome.code is INVALID
    assert hub.subscribers == {}


# -- reminders ---------------------------------------------------------------------------------------------------------


def test_heads_are_told_some_beats_long() -> None:
    hub = Hub("server", BEAT)
    subscribe(hub, "site-1")
    assert hub.deadline is None
    hub.tell([update(1)], AT)
    for beat in range(1, REMINDERS + 1):
        assert hub.handle_timeout(5, {ONE: 1}, AT + beat * BEAT - 0.1) == []
        assert heads_told(hub.handle_timeout(5, {ONE: 1}, AT + beat * BEAT)) == {("site-1",): {ONE: 1}}
    assert hub.handle_timeout(5, {ONE: 1}, AT + 100) == []


def test_heads_of_what_was_told_a_moment_ago_wait_for_the_next_beat() -> None:
    """It may still be on its way where it was published."""
    hub = Hub("server", BEAT)
    subscribe(hub, "site-1")
    hub.tell([update(1)], AT)
    hub.tell([update(2, TEN)], AT + BEAT - 0.1)
    assert heads_told(hub.handle_timeout(5, {ONE: 1, TEN: 2}, AT + BEAT)) == {("site-1",): {ONE: 1}}
    assert heads_told(hub.handle_timeout(5, {ONE: 1, TEN: 2}, AT + 2 * BEAT)) == {("site-1",): {ONE: 1, TEN: 2}}


def test_heads_are_told_to_those_who_may_hear_of_them() -> None:
    rules = {"site-1": (ONE,), "site-10": (TEN,), "site-2": (), "site-3": ("",)}
    hub = Hub("server", BEAT, rules.__getitem__)
    for child in rules:
        subscribe(hub, child)
    hub.remind_of([ONE, TEN], AT)
    assert hub.deadline == AT
    assert heads_told(hub.handle_timeout(5, {ONE: 1, TEN: 2}, AT)) == {
        ("site-1", "site-3"): {ONE: 1},
        ("site-10", "site-3"): {TEN: 2},
    }


def test_a_topic_that_is_forgotten_is_told_as_0() -> None:
    hub = Hub("relay", BEAT)
    subscribe(hub, "relay.site-1")
    hub.remind_of([ONE], AT)
    assert heads_told(hub.handle_timeout(5, {}, AT)) == {("relay.site-1",): {ONE: 0}}


def test_heads_of_many_topics_are_several_messages() -> None:
    hub = Hub("server", BEAT)
    subscribe(hub, "site-1")
    topics = {rids_topic(f"{number:0>200}"): number + 1 for number in range(1000)}
    hub.remind_of(topics, AT)
    commands = hub.handle_timeout(5, topics, AT)
    assert heads_told(commands) == {("site-1",): topics}
    assert len(commands) > 4
    assert all(sum(map(len, command.bodies)) <= MOST_BYTES for command in commands if isinstance(command, Tell))


# -- those who listen --------------------------------------------------------------------------------------------------


def test_listeners_hear_by_one_publication_and_the_others_by_their_links() -> None:
    hub = Hub("server", BEAT)
    for child in ("site-1", "site-2", "site-3"):
        subscribe(hub, child)
    assert hub.admit("site-1") == hub.admit("site-3") == ("",)
    publish, tell = hub.tell([update(1)], AT)
    assert isinstance(publish, Publish)
    assert isinstance(tell, Tell)
    assert (publish.topic, tell.targets) == (ONE, ("site-2",))
    assert decode_update(publish.headers, publish.bodies) == update(1)
    hub.dismiss("site-1")
    hub.dismiss("site-3")
    (tell,) = hub.tell([update(2)], AT)
    assert isinstance(tell, Tell)
    assert tell.targets == ("site-1", "site-2", "site-3")


def test_a_listener_alone_needs_no_message_by_its_link_but_for_heads() -> None:
    hub = Hub("server", BEAT)
    subscribe(hub, "site-1")
    hub.admit("site-1")
    (publish,) = hub.tell([update(1)], AT)
    assert isinstance(publish, Publish)
    assert heads_told(hub.handle_timeout(5, {ONE: 1}, AT + BEAT)) == {("site-1",): {ONE: 1}}


def test_a_listener_hears_what_was_granted_when_it_came_and_the_rest_by_its_link() -> None:
    rules: dict[str, tuple[str, ...]] = {"site-1": (ONE,)}
    hub = Hub("server", BEAT, rules.__getitem__)
    subscribe(hub, "site-1")
    assert hub.admit("site-1") == (ONE,)
    rules["site-1"] = (ONE, TEN)
    assert hub.check_rules() == []
    publish, tell = hub.tell([update(1, ONE), update(2, TEN)], AT)
    assert isinstance(publish, Publish)
    assert isinstance(tell, Tell)
    assert (publish.topic, tell.headers["t"]) == (ONE, TEN)


def test_a_listener_that_has_not_subscribed_is_told_nothing() -> None:
    hub = Hub("server", BEAT)
    hub.admit("site-1")
    assert hub.tell([update(1)], AT) == []


def test_to_whom_nothing_is_granted_nothing_is_published() -> None:
    hub = Hub("server", BEAT, lambda child: ())
    assert hub.admit("site-1") == ()
    assert hub.listeners == {}


def test_a_rule_that_grants_a_listener_less_cuts() -> None:
    rules: dict[str, tuple[str, ...]] = {"site-1": ("",), "site-2": ("",)}
    hub = Hub("server", BEAT, rules.__getitem__)
    for child in rules:
        subscribe(hub, child)
    hub.admit("site-1")
    assert hub.check_rules() == []
    rules["site-2"] = ()
    assert hub.check_rules() == []  # it does not listen: it is told less, and that is all
    assert hub.subscribers == {"site-1": ("",), "site-2": ()}
    rules["site-1"] = ("rids/",)
    assert hub.check_rules() == [Reopen()]
    assert hub.tell([update(1)], AT) == []
    rules["site-1"] = ()
    assert hub.check_rules() == [Reopen()]


def test_who_is_no_child_any_more_and_listens_still_is_cut() -> None:
    hub = Hub("server", BEAT)
    subscribe(hub, "site-1")
    hub.admit("site-1")
    hub.forget("site-1", AT)
    assert hub.deadline == AT + LEAVE
    assert hub.handle_timeout(5, {}, AT + LEAVE - 0.1) == []
    assert hub.handle_timeout(5, {}, AT + LEAVE) == [Reopen()]
    assert hub.handle_timeout(5, {}, AT + LEAVE) == []


@pytest.mark.parametrize("back", [True, False])
def test_who_leaves_or_comes_back_in_time_is_not_cut(back: bool) -> None:
    hub = Hub("server", BEAT)
    hub.admit("site-1")
    hub.forget("site-1", AT)
    if back:
        hub.admit("site-1")
    else:
        hub.dismiss("site-1")
    assert hub.deadline is None
    assert hub.handle_timeout(5, {}, AT + 2 * LEAVE) == []


# -- the root ----------------------------------------------------------------------------------------------------------


def publish(root: RootHub, origin: str, *facts: Fact, token: object = 1) -> tuple[CellReturnCode, list[Update]]:
    request = call(PlaneTopic.PUBLISH, origin, tuple(payload.encode(encode_facts(facts))), k=token)
    outcome, updates = root.publish(request)
    return outcome.code, updates


def test_what_is_new_gets_a_number_and_says_which_was_before() -> None:
    root = RootHub(5)
    models = fact(2, topic=rids_topic("models"))
    code, updates = publish(root, "site-1", fact(1), models)
    assert (code, updates) == (OK, [Update(5, ONE, 1, 0, (fact(1),)), Update(5, rids_topic("models"), 2, 0, (models,))])
    assert publish(root, "site-1", fact(1)) == (OK, [])
    assert publish(root, "site-1", fact(3, b"y"))[1] == [Update(5, ONE, 3, 1, (fact(3, b"y"),))]
    assert root.heads == {ONE: 3, rids_topic("models"): 2}


@pytest.mark.parametrize("token", [None, "1", True, -1, 1 << 63, 1.0])
def test_a_publish_without_a_token(token: object) -> None:
    assert publish(RootHub(5), "site-1", fact(1), token=token) == (INVALID, [])


@pytest.mark.parametrize("bodies", [(), (b"\xc1",), tuple(payload.encode([1])), (bytes(3 * MOST_BYTES),)])
def test_a_publish_that_cannot_be_read(bodies: tuple[bytes, ...]) -> None:
    outcome, updates = RootHub(5).publish(call(PlaneTopic.PUBLISH, "site-1", bodies, k=1))
    assert (outcome.code, updates) == (INVALID, [])


@pytest.mark.parametrize("foreign", [fact(1, origin="site-10"), Fact("site-1", 2, 1, 0, ONE, "round", b"x")])
def test_what_is_anothers_is_refused_and_the_rest_is_taken(foreign: Fact) -> None:
    root = RootHub(5)
    code, updates = publish(root, "site-1", foreign, fact(2))
    assert (code, [each.facts for each in updates]) == (INVALID, [(fact(2),)])


def test_more_facts_than_a_cell_may_say_are_refused() -> None:
    root = RootHub(5)
    outcome, _ = root.take("site-1", 1, [fact(n, key=f"{n}") for n in range(1, CELL_FACTS + 2)])
    assert (outcome.code, len(root.replica)) == (INVALID, CELL_FACTS)
    assert publish(root, "site-1", fact(9000, b"other", "7"))[0] is OK
    assert publish(root, "site-1", fact(9001, None, "7"))[0] is OK
    assert publish(root, "site-1", fact(9002, b"more", "more"))[0] is OK
    assert publish(root, "site-10", fact(1, origin="site-10"))[0] is OK


def test_more_topics_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOPICS", 2)
    root = RootHub(5)
    for number in (1, 2):
        assert publish(root, "site-1", fact(number, topic=rids_topic(f"{number}")))[0] is OK
    assert publish(root, "site-1", fact(3, topic=rids_topic("3")))[0] is INVALID
    assert publish(root, "site-1", fact(4, b"y", topic=rids_topic("2")))[0] is OK


def test_a_topic_that_is_empty_for_long_is_forgotten_and_begins_anew() -> None:
    root = RootHub(5)
    for number in range(1, 2 * EMPTY_TOPICS, 2):
        topic = rids_topic(f"{number}")
        publish(root, "site-1", fact(number, topic=topic))
        publish(root, "site-1", fact(number + 1, None, topic=topic))
    assert len(root.heads) == EMPTY_TOPICS
    publish(root, "site-1", fact(2 * EMPTY_TOPICS + 1))
    publish(root, "site-1", fact(2 * EMPTY_TOPICS + 2, None))
    assert len(root.heads) == EMPTY_TOPICS
    assert rids_topic("1") not in root.heads
    _, (again,) = publish(root, "site-1", fact(2 * EMPTY_TOPICS + 3, topic=rids_topic("1")))
    assert (again.number, again.after) == (2 * EMPTY_TOPICS + 3, 0)
    assert len(root.heads) == EMPTY_TOPICS + 1


def test_a_newer_start_ends_what_the_older_one_said() -> None:
    root = RootHub(5)
    publish(root, "site-1", fact(1))
    assert publish(root, "site-1", token=2) == (OK, [Update(5, ONE, 2, 1, (withdrawal_of(fact(1)),))])
    assert publish(root, "site-1", fact(9)) == (OK, [])  # of the older start


def test_check() -> None:
    root = RootHub(5)
    publish(root, "site-1", fact(1), fact(2, key="phase"))
    for digest, same in (([1, 2, 3], 1), ([1, 2, 4], 0), ([2, 2, 3], 0), (None, 0), ("x", 0)):
        assert root.check(call(PlaneTopic.CHECK, "site-1", n=digest)).headers == {"same": same}
    assert root.check(call(PlaneTopic.CHECK, "site-2", n=[1, 2, 3])).headers == {"same": 0}


def test_with_a_relay_all_that_is_below_it_is_over() -> None:
    root = RootHub(5)
    for origin in ("relay", "relay.site-1", "relay-2", "relay-2.site-1"):
        publish(root, origin, fact(1, origin=origin))
    over = root.departed("relay")
    assert [each.topic for each in over] == [props_topic("relay"), props_topic("relay.site-1")]
    assert {each.origin for each in root.replica.facts()} == {"relay-2", "relay-2.site-1"}
    assert root.departed("relay") == []


def test_a_cell_with_many_facts_departs_in_messages_that_fit() -> None:
    root = RootHub(5)
    for first in range(0, CELL_FACTS, MOST_FACTS):
        publish(root, "site-1", *[fact(n + 1, key=f"rid-{n:0>32}") for n in range(first, first + MOST_FACTS)])
    head = root.heads[ONE]
    updates = root.departed("site-1")
    assert sum(len(each.facts) for each in updates) == CELL_FACTS
    hub = Hub("server", BEAT)
    subscribe(hub, "site-2")
    for command, each in zip(hub.tell(updates, AT), updates, strict=True):
        assert isinstance(command, Tell)
        assert sum(map(len, command.bodies)) <= MOST_BYTES
        assert each.after == head
        head = each.number
    assert root.heads[ONE] == head


def test_large_facts_are_one_to_a_message() -> None:
    root = RootHub(5)
    outcome, updates = root.take("site-1", 1, [fact(n, bytes(MAX_BODY), f"{n}") for n in (1, 2, 3)])
    assert (outcome.code, [len(each.facts) for each in updates]) == (OK, [1, 1, 1])
