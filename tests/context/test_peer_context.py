from __future__ import annotations

import threading
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import FLContextKey
from zmqfl.context.peer_context import peer_context_of, public_props_of
from zmqfl.errors import DecodeError
from zmqfl.wire import payload


class Name(StrEnum):
    ROUND = "round"


def test_what_travels_is_public_and_arrives_equal() -> None:
    fl_ctx = FLContextManager("engine", "site-1", "job-1", {"a": (1, 2)}, {"b": 2}).new_context()
    fl_ctx.set_prop("weights", np.arange(3), private=False)
    fl_ctx.set_prop(Name.ROUND, 4, private=False)
    props = payload.decode(payload.encode([public_props_of(fl_ctx)]))[0]
    peer = peer_context_of(props)
    assert peer.get_prop_keys() == ["__run_num__", "__identity_name__", "a", "weights", "round"]
    assert (peer.get_job_id(), peer.get_identity_name()) == ("job-1", "site-1")
    assert peer.get_prop("a") == (1, 2)
    assert peer.get_prop("weights").tolist() == [0, 1, 2]
    assert peer.get_prop_detail("round") == {"value": 4, "private": False, "sticky": False}
    assert peer.set_prop("round", 5, private=False, sticky=False) is False


def test_ctx_C13_a_prop_that_cannot_travel_stays_behind_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    fl_ctx = FLContext()
    deep: list[Any] = []
    for _ in range(98):
        deep = [deep]
    fl_ctx.set_prop("lock", threading.Lock(), private=False)
    fl_ctx.set_prop("deep", deep, private=False)
    fl_ctx.set_prop("huge", 1 << (1 << 24), private=False)
    fl_ctx.set_prop("good", [1, {"x": None}], private=False)
    props = public_props_of(fl_ctx)
    assert props == {"good": [1, {"x": None}]}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    for name in ("lock", "deep", "huge"):
        assert f"public prop '{name}' stays behind" in caplog.text


def test_what_passes_alone_passes_in_a_message() -> None:
    fl_ctx = FLContext()
    deep: list[Any] = []
    for _ in range(96):
        deep = [deep]
    fl_ctx.set_prop("deep", deep, private=False)
    fl_ctx.set_prop("\ud800", "\ud800", private=False)
    assert payload.decode(payload.encode([{}, public_props_of(fl_ctx)]))[1] == {"deep": deep, "\ud800": "\ud800"}


def test_living_objects_never_travel_and_never_come_in() -> None:
    fl_ctx = FLContext()
    for key in (FLContextKey.PEER_CONTEXT, FLContextKey.WORKSPACE_OBJECT, "__engine__", FLContextKey.PEER_FQCN):
        fl_ctx.put(key, "text", private=False, sticky=False)
    assert public_props_of(fl_ctx) == {}
    assert peer_context_of(fl_ctx.get_all_public_props()).get_prop_keys() == []


@pytest.mark.parametrize("props", [None, [], "x", {1: 2}, {b"x": 1}, [("a", 1)]])
def test_props_that_are_no_dict_of_names(props: object) -> None:
    with pytest.raises(DecodeError, match="must be a dict with str keys"):
        peer_context_of(props)
