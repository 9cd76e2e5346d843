"""Lines C01-C11 and C14 of the reference; C07 and C14 under its own rule, `sticky_sync="immediate"`."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from zmqfl.context.fl_context import FLContext, FLContextManager, StickySync
from zmqfl.context.keys import FLContextKey, ReservedKey
from zmqfl.errors import ArgumentError

BOTH: list[StickySync] = ["finalize", "immediate"]


def manager_of(sync: StickySync = "finalize", **stickers: Any) -> FLContextManager:
    return FLContextManager("engine", "site-1", "job-1", private_stickers=stickers, sticky_sync=sync)


def detail(value: Any, private: bool, sticky: bool) -> dict[str, Any]:
    return {"value": value, "private": private, "sticky": sticky}


# -- props -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [1, None, b"x", ("x",)])
def test_ctx_C01_a_key_that_is_no_str_is_a_ValueError(key: Any) -> None:
    fl_ctx = FLContext()
    with pytest.raises(ValueError, match="must be a str, not"):
        fl_ctx.set_prop(key, "x")
    assert fl_ctx.get_prop_keys() == []


@pytest.mark.parametrize("sync", BOTH)
def test_ctx_C02_attributes_never_change(sync: StickySync, caplog: pytest.LogCaptureFixture) -> None:
    fl_ctx = manager_of(sync).new_context()
    for private in (True, False):
        for sticky in (True, False):
            key = f"{private}-{sticky}"
            assert fl_ctx.set_prop(key, 1, private, sticky) is True
            assert fl_ctx.set_prop(key, 2, private, not sticky) is False
            assert fl_ctx.set_prop(key, 2, not private, sticky) is False
            assert fl_ctx.get_prop_detail(key) == detail(1, private, sticky)
            assert fl_ctx.set_prop(key, 3, private, sticky) is True
            assert fl_ctx.get_prop(key) == 3
    assert len(caplog.records) == 8
    assert "'True-True' was not set: it exists with attributes private, sticky, which never change" in caplog.text


def test_ctx_C03_default_attributes_are_private_and_sticky() -> None:
    fl_ctx = FLContext()
    fl_ctx.set_prop("k", 1)
    assert fl_ctx.get_prop_detail("k") == detail(1, private=True, sticky=True)


def test_ctx_C04_none_is_a_value() -> None:
    fl_ctx = FLContext()
    fl_ctx.set_prop("k", None)
    assert fl_ctx.get_prop("k", "default") is None
    assert fl_ctx.get_prop("other", "default") == "default"
    assert fl_ctx.get_prop("other") is None


def test_ctx_C05_reserved_names_stay() -> None:
    fl_ctx = manager_of().new_context()
    assert fl_ctx.set_prop("__mine", 1)
    for key in ("__mine", ReservedKey.ENGINE, ReservedKey.RUN_NUM):
        fl_ctx.remove_prop(key)
        assert fl_ctx.get_prop(key) is not None
    fl_ctx.remove_prop("nothing")
    fl_ctx.remove_prop(3)  # type: ignore[arg-type]
    fl_ctx.set_prop(ReservedKey.EVENT_DEPTH, 1)
    fl_ctx.remove_prop(ReservedKey.EVENT_DEPTH)
    assert fl_ctx.get_prop(ReservedKey.EVENT_DEPTH) is None


def test_ctx_C06_forced_removal() -> None:
    fl_ctx = FLContext()
    fl_ctx.set_prop("__mine", 1)
    fl_ctx.remove_prop("__mine", force_removal=True)
    assert fl_ctx.get_prop_keys() == []


def test_ctx_C07_immediate_sticky_is_seen_at_once() -> None:
    manager = manager_of("immediate")
    one, two = manager.new_context(), manager.new_context()
    one.set_prop("x", 1)
    assert two.get_prop("x") == 1
    two.set_prop("x", 2)
    assert one.get_prop("x") == 2
    one.remove_prop("x")
    assert one.get_prop("x") == 2  # it is in the manager
    assert manager.remove_sticker("x")
    assert manager.new_context().get_prop("x") is None


def test_ctx_C07_finalised_sticky_is_seen_by_later_contexts_only() -> None:
    manager = manager_of()
    early = manager.new_context()
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("x", 1)
        assert manager.new_context().get_prop("x") is None
    assert manager.new_context().get_prop("x") == 1
    assert early.get_prop("x") is None


@pytest.mark.parametrize("sync", BOTH)
def test_ctx_C08_a_non_sticky_prop_shadows_a_later_sticky_one(sync: StickySync) -> None:
    manager = manager_of(sync)
    two = manager.new_context()
    with manager.new_context() as one:
        one.set_prop("k", 2)
    assert two.set_prop("k", 1, sticky=False) is True
    assert two.get_prop("k") == 1
    three = manager.new_context()
    assert three.get_prop("k") == 2
    assert three.set_prop("k", 1, sticky=False) is False


@pytest.mark.parametrize("sync", BOTH)
def test_ctx_C09_set_public_props_keeps_private_and_sticky_ones(
    sync: StickySync, caplog: pytest.LogCaptureFixture
) -> None:
    fl_ctx = manager_of(sync).new_context()
    fl_ctx.set_prop("private", 1)
    fl_ctx.set_prop("sticky", 2, private=False)
    fl_ctx.set_prop("old", 3, private=False, sticky=False)
    fl_ctx.set_public_props({"new": 4, "private": 5})
    assert fl_ctx.get_all_public_props() == {
        "__run_num__": "job-1", "__identity_name__": "site-1", "sticky": 2, "new": 4,
    }  # fmt: skip
    assert fl_ctx.get_prop("private") == 1
    assert (fl_ctx.get_job_id(), fl_ctx.get_identity_name()) == ("job-1", "site-1")
    assert fl_ctx.get_prop_detail("new") == detail(4, private=False, sticky=False)
    assert "'private' was not set" in caplog.text


def test_ctx_C09_in_a_bare_context_only_the_new_ones_are_public() -> None:
    fl_ctx = FLContext()
    fl_ctx.set_prop("old", 1, private=False, sticky=False)
    fl_ctx.set_prop("private", 2, sticky=False)
    fl_ctx.set_public_props({"a": 3})
    assert fl_ctx.get_all_public_props() == {"a": 3}
    assert fl_ctx.get_prop("private") == 2


def test_ctx_C10_a_clone_is_independent() -> None:
    manager = manager_of()
    fl_ctx = manager.new_context()
    fl_ctx.model = "the model"
    fl_ctx.set_prop("a", 1)
    fl_ctx.set_custom_prop("shared", 1)
    twin = fl_ctx.clone()
    twin.set_prop("a", 2)
    twin.set_prop("b", 3)
    twin.set_custom_prop("shared", 2)
    assert (fl_ctx.get_prop("a"), twin.get_prop("a"), fl_ctx.get_prop("b")) == (1, 2, None)
    assert (twin.model, twin.logger, twin.get_engine()) == ("the model", fl_ctx.logger, "engine")
    assert fl_ctx.get_custom_prop("shared") == 2
    twin.sync_sticky()
    assert manager.new_context().get_prop("a") == 2


def test_ctx_C10_a_clone_writes_back_only_what_was_set_in_it() -> None:
    manager = manager_of()
    fl_ctx = manager.new_context()
    fl_ctx.set_prop("a", 1)
    with fl_ctx.clone() as twin:
        twin.set_prop("b", 2)
    later = manager.new_context()
    assert (later.get_prop("a"), later.get_prop("b")) == (None, 2)


@pytest.mark.parametrize("sync", BOTH)
def test_ctx_C11_details(sync: StickySync) -> None:
    manager = manager_of(sync, s=1)
    fl_ctx = manager.new_context()
    assert fl_ctx.get_prop_detail("none") is None
    assert fl_ctx.get_prop_detail("s") == detail(1, private=True, sticky=True)
    assert fl_ctx.get_prop_detail("__run_num__") == detail("job-1", private=False, sticky=True)
    assert fl_ctx.get_prop_detail("__identity_name__") == detail("site-1", private=False, sticky=False)
    assert fl_ctx.get_prop_detail("__engine__") == detail("engine", private=True, sticky=False)


@pytest.mark.parametrize("sync", BOTH)
def test_ctx_C14_threads(sync: StickySync) -> None:
    manager = manager_of(sync)
    live = manager.new_context()
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait(30)
        with manager.new_context() as fl_ctx:
            for i in range(1000):
                assert fl_ctx.set_prop("all", (number, i))
                assert fl_ctx.set_prop(f"own-{number}", i, private=False)
                fl_ctx.get_all_public_props()
                fl_ctx.get_prop("all")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    one, two = manager.new_context(), manager.new_context()
    assert one.get_prop("all") == two.get_prop("all")
    assert one.get_prop("all")[1] == 999
    assert [one.get_prop(f"own-{number}") for number in range(8)] == [999] * 8
    assert live.get_prop("all") == (one.get_prop("all") if sync == "immediate" else None)


# -- public and private ------------------------------------------------------------------------------------------------


def test_public_props_are_what_is_not_private() -> None:
    fl_ctx = FLContext()
    fl_ctx.set_prop("private", 1)
    fl_ctx.set_prop("public", 2, private=False)
    assert fl_ctx.get_all_public_props() == {"public": 2}
    assert (fl_ctx.public_key_exists("public"), fl_ctx.public_key_exists("private")) == (True, False)
    assert not fl_ctx.public_key_exists("none")
    assert fl_ctx.get_prop_keys() == ["private", "public"]


def test_immediate_public_props_are_fresh_in_an_older_context() -> None:
    manager = manager_of("immediate")
    old = manager.new_context()
    old.set_prop("mine", 1, private=False, sticky=False)
    other = manager.new_context()
    other.set_prop("theirs", 2, private=False)
    other.set_prop("mine", 3, private=False)
    assert old.public_key_exists("theirs")
    assert old.get_all_public_props() == {
        "__run_num__": "job-1", "__identity_name__": "site-1", "mine": 1, "theirs": 2,
    }  # fmt: skip


def test_after_removal_other_attributes_are_possible() -> None:
    fl_ctx = manager_of().new_context()
    fl_ctx.set_prop("k", 1, sticky=False)
    fl_ctx.remove_prop("k")
    assert fl_ctx.set_prop("k", 2, private=False, sticky=True)
    assert fl_ctx.get_prop_detail("k") == detail(2, private=False, sticky=True)


def test_put_writes_whatever_the_attributes_were_and_only_here() -> None:
    manager = manager_of()
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("k", 1)
        fl_ctx.put("k", 2, private=False, sticky=True)
        assert fl_ctx.get_prop_detail("k") == detail(2, private=False, sticky=True)
    assert manager.new_context().get_prop("k") is None


def test_custom_props() -> None:
    fl_ctx = FLContext()
    assert fl_ctx.get_custom_prop("a", 5) == 5
    fl_ctx.set_custom_prop("a", 1)
    assert (fl_ctx.get_custom_prop("a"), fl_ctx.get_custom_prop("b")) == (1, None)
    assert fl_ctx.get_prop_detail("__custom_props__") == detail({"a": 1}, private=True, sticky=False)


# -- finalising --------------------------------------------------------------------------------------------------------


def test_the_with_block_gives_the_context_and_lets_errors_pass() -> None:
    manager = manager_of()
    fl_ctx = manager.new_context()

    def work() -> None:
        with fl_ctx as same:
            assert same is fl_ctx
            same.set_prop("k", 1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    assert manager.new_context().get_prop("k") == 1


def test_a_long_lived_context_writes_back_when_it_is_told() -> None:
    manager = manager_of()
    fl_ctx = manager.new_context()
    fl_ctx.set_prop("k", 1)
    fl_ctx.sync_sticky()
    fl_ctx.set_prop("k", 2)
    assert manager.new_context().get_prop("k") == 1
    fl_ctx.sync_sticky()
    assert manager.new_context().get_prop("k") == 2


def test_only_what_was_set_here_is_written_back_and_the_last_wins() -> None:
    manager = manager_of(a=0, b=0)
    one, two, three = (manager.new_context() for _ in range(3))
    one.set_prop("a", 1)
    two.set_prop("a", 2)
    three.set_prop("b", 3)
    for fl_ctx in (two, one, three):
        fl_ctx.sync_sticky()
    later = manager.new_context()
    assert (later.get_prop("a"), later.get_prop("b")) == (1, 3)


def test_what_was_removed_is_not_written_back_and_stays_in_the_manager() -> None:
    manager = manager_of(old=1)
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("new", 2)
        fl_ctx.set_prop("old", 3)
        fl_ctx.remove_prop("new")
        fl_ctx.remove_prop("old")
        assert fl_ctx.get_prop("old") is None
    later = manager.new_context()
    assert (later.get_prop("old"), later.get_prop("new")) == (1, None)


def test_non_sticky_props_stay_behind() -> None:
    manager = manager_of()
    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("k", 1, sticky=False)
    assert manager.new_context().get_prop("k") is None


def test_finalised_conflict_of_visibility_keeps_the_managers(caplog: pytest.LogCaptureFixture) -> None:
    manager = manager_of()
    with manager.new_context() as one, manager.new_context() as two:
        assert one.set_prop("k", 1, private=True)
        assert one.set_prop("other", 1)
        assert two.set_prop("k", 2, private=False)  # the first to finalise
    assert manager.new_context().get_prop_detail("k") == detail(2, private=False, sticky=True)
    assert manager.new_context().get_prop("other") == 1
    assert one.get_prop("k") == 1
    assert "sticky prop 'k' was not written back" in caplog.text


def test_immediate_conflict_of_visibility_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    manager = manager_of("immediate")
    one, two = manager.new_context(), manager.new_context()
    one.set_prop("k", 1, private=True)
    assert two.set_prop("k", 2, private=False) is False
    assert two.get_prop_detail("k") == detail(1, private=True, sticky=True)
    assert "another visibility" in caplog.text


def test_a_bare_context_has_nowhere_to_write_to() -> None:
    with FLContext() as fl_ctx:
        fl_ctx.set_prop("k", 1)
    assert fl_ctx.get_prop("k") == 1


# -- the peer ----------------------------------------------------------------------------------------------------------


def test_peer_context_is_read_only(caplog: pytest.LogCaptureFixture) -> None:
    peer, fl_ctx = FLContext(), manager_of().new_context()
    peer.set_prop(FLContextKey.CLIENT_NAME, "site-2", private=False, sticky=False)
    fl_ctx.set_peer_context(peer)
    assert fl_ctx.get_peer_context() is fl_ctx.get_prop(FLContextKey.PEER_CONTEXT) is peer
    assert peer.is_frozen
    assert peer.set_prop("k", 1) is False
    peer.put("k", 1, private=True, sticky=True)
    peer.set_public_props({"k": 1})
    peer.set_custom_prop("k", 1)
    peer.remove_prop(FLContextKey.CLIENT_NAME, force_removal=True)
    peer.set_peer_context(None)
    assert peer.get_prop_keys() == [FLContextKey.CLIENT_NAME]
    assert len(caplog.records) == 6
    assert all("peer, which is read-only" in record.getMessage() for record in caplog.records)
    assert repr(peer) == "<FLContext ? job ?, 1 props, read-only>"


def test_peer_context_is_private_and_not_sticky() -> None:
    manager = manager_of()
    with manager.new_context() as fl_ctx:
        fl_ctx.set_peer_context(FLContext())
    assert FLContextKey.PEER_CONTEXT not in fl_ctx.get_all_public_props()
    assert manager.new_context().get_peer_context() is None
    fl_ctx.set_peer_context(None)
    assert fl_ctx.get_peer_context() is None
    with pytest.raises(ArgumentError, match="must be an FLContext, not dict"):
        fl_ctx.set_peer_context({})  # type: ignore[arg-type]


# -- manager -----------------------------------------------------------------------------------------------------------


def test_a_new_context_has_the_permanent_props_and_the_stickers() -> None:
    manager = FLContextManager("e", "site-1", "job-1", {"a": 1, "both": 1}, {"b": 2, "both": 2})
    fl_ctx = manager.new_context()
    assert fl_ctx.get_prop_keys() == [
        "__manager__", "__engine__", "__run_num__", "__identity_name__", "a", "both", "b",
    ]  # fmt: skip
    assert fl_ctx.get_prop("both") == 2
    assert fl_ctx.get_all_public_props() == {"__run_num__": "job-1", "__identity_name__": "site-1", "a": 1}
    assert repr(manager) == "<FLContextManager site-1 job job-1, 3 stickers>"
    assert repr(fl_ctx) == "<FLContext site-1 job job-1, 7 props>"
    assert manager.remove_sticker("none") is False


def test_without_a_name_there_is_no_name() -> None:
    fl_ctx = FLContextManager().new_context()
    assert ReservedKey.IDENTITY_NAME not in fl_ctx.get_prop_keys()
    assert fl_ctx.get_identity_name() == ""
    assert str(fl_ctx).startswith("__manager__: <class 'zmqfl.context.fl_context.FLContextManager'> __engine__: ")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"public_stickers": [1]}, "public_stickers must be a dict, not list"),
        ({"private_stickers": "a"}, "private_stickers must be a dict, not str"),
        ({"sticky_sync": "never"}, "one of finalize, immediate, not 'never'"),
    ],
)
def test_wrong_arguments_of_a_manager(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        FLContextManager(**wrong)


@pytest.mark.parametrize("sync", BOTH)
def test_values_may_look_at_their_context_when_they_go(sync: StickySync) -> None:
    manager = manager_of(sync)
    fl_ctx = manager.new_context()
    seen: list[list[str]] = []

    class Last:
        def __del__(self) -> None:
            fl_ctx.get_prop("sticky")
            seen.append(fl_ctx.get_prop_keys())

    for sticky in (True, False):
        key = "sticky" if sticky else "non-sticky"
        fl_ctx.set_prop(key, Last(), sticky=sticky)
        fl_ctx.set_prop(key, Last(), sticky=sticky)
        fl_ctx.put(key, Last(), private=True, sticky=sticky)
        fl_ctx.remove_prop(key)
        fl_ctx.sync_sticky()
    fl_ctx.set_prop("public", Last(), private=False, sticky=False)
    fl_ctx.set_public_props({})
    manager.remove_sticker("sticky")
    fl_ctx.remove_prop("sticky")
    assert len(seen) == 7


@pytest.mark.parametrize("sync", ["finalize", "immediate"])
def test_who_is_told_of_sticky_props_is_told_when_they_are_in_the_manager(sync: StickySync) -> None:
    told: list[tuple[list[str], list[str]]] = []
    manager = FLContextManager(sticky_sync=sync, synced=lambda keys: told.append((list(keys), list(stickers()))))

    def stickers() -> dict[str, Any]:
        return manager.stickers.snapshot()

    with manager.new_context() as fl_ctx:
        fl_ctx.set_prop("a", 1)
        fl_ctx.set_prop("here", 1, sticky=False)
        fl_ctx.set_prop("a", 2, private=False)
        assert told == ([(["a"], ["a"])] if sync == "immediate" else [])
    manager.remove_sticker("a")
    assert told == [(["a"], ["a"]), (["a"], [])]
