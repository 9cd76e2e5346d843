from __future__ import annotations

import pytest

from zmqfl.context import keys
from zmqfl.context.keys import NON_SERIALIZABLE_KEYS, AppConstants, FLContextKey, ProcessType, ReservedKey, is_reserved


def names_of(cls: type) -> dict[str, str]:
    return {name: value for name, value in vars(cls).items() if name.isupper()}


def test_names_of_seed_003() -> None:
    names = "APP_ROOT ARGS WORKSPACE_ROOT WORKSPACE_OBJECT SECURE_MODE PEER_CONTEXT CLIENT_NAME TASK_NAME TASK_ID"
    for name in [*names.split(), "TASK_DATA", "TASK_RESULT"]:
        assert is_reserved(getattr(FLContextKey, name))
    assert AppConstants.CURRENT_ROUND == "current_round"
    assert AppConstants.NUM_STEPS_CURRENT_ROUND == "NUM_STEPS_CURRENT_ROUND"


def test_values_seen_in_a_run() -> None:
    seen = {
        "__app_root__", "__args__", "__client_config__", "__client_hierarchy__", "__client_name__",
        "__current_job_id__", "__event_data__", "__event_id__", "__event_origin__", "__event_scope__",
        "__filter_dir__", "__fqsn__", "__is_leaf__", "__job_meta__", "__peer_ctx__", "__process_type__",
        "__runner__", "__secure_mode__", "__simulate_mode__", "__ssid__", "__task_data__", "__task_id__",
        "__task_name__", "__workspace_object__", "__workspace_root__", "__workflow__",
    }  # fmt: skip
    assert seen <= set(names_of(FLContextKey).values())
    assert {"__engine__", "__identity_name__", "__manager__", "__run_abort_signal__", "__run_num__"} <= set(
        names_of(ReservedKey).values()
    )


@pytest.mark.parametrize("cls", [ReservedKey, FLContextKey])
def test_all_are_reserved_but_the_depth_of_events(cls: type) -> None:
    for name, value in names_of(cls).items():
        assert type(value) is str  # an enum could not travel as the key of a dict
        assert is_reserved(value) == (name != "EVENT_DEPTH"), name
        assert value == "###event_depth" or value.endswith("__")


def test_no_value_stands_for_two_things() -> None:
    for cls in (ReservedKey, FLContextKey):
        values = list(names_of(cls).values())
        assert len(values) == len(set(values))


def test_what_never_travels() -> None:
    assert {"__engine__", "__manager__", "__peer_ctx__", "__workspace_object__"} <= NON_SERIALIZABLE_KEYS
    promised = {
        ReservedKey.RUN_NUM, ReservedKey.IDENTITY_NAME, FLContextKey.CLIENT_NAME,
        FLContextKey.TASK_ID, FLContextKey.TASK_NAME, AppConstants.CURRENT_ROUND,
    }  # fmt: skip
    assert not promised & NON_SERIALIZABLE_KEYS


def test_small_vocabularies() -> None:
    assert list(names_of(ProcessType).values()) == ["SP", "SJ", "CP", "CJ"]
    assert names_of(keys.EventScope) == {"FEDERATION": "federation", "LOCAL": "local"}
    assert keys.SpecialTaskName.TRY_AGAIN == "__try_again__"
    assert keys.SpecialTaskName.END_RUN == keys.ReservedTopic.END_RUN == "__end_run__"
    assert keys.ReservedTopic.FED_EVENT == "fed.event"
    assert keys.TaskConstant.WAIT_TIME == "__wait_time__"
