from __future__ import annotations

import pytest

from zmqfl.context.return_code import ReturnCode, return_code_of
from zmqfl.errors import CellReturnCode
from zmqfl.wire import payload


def test_values_are_the_names() -> None:
    lower = {"abort_run", "invalid_request", "invalid_session", "unauthenticated"}
    for code in ReturnCode:
        assert code == code.name or code.value in lower
    assert {code.value for code in ReturnCode} >= lower
    assert len(ReturnCode) == 25 + len(lower)


def test_a_member_is_its_text_and_travels() -> None:
    assert ReturnCode.OK == "OK"
    assert ReturnCode("TASK_ABORTED") is ReturnCode.TASK_ABORTED
    assert payload.decode(payload.encode({"rc": ReturnCode.TIMEOUT})) == {"rc": ReturnCode.TIMEOUT}


@pytest.mark.parametrize(
    ("cell", "run"),
    [
        ("ok", "OK"), ("timeout", "TIMEOUT"), ("comm_error", "COMMUNICATION_ERROR"),
        ("process_exception", "EXECUTION_EXCEPTION"), ("service_unavailable", "SERVICE_UNAVAILABLE"),
        ("abort_run", "abort_run"), ("invalid_request", "invalid_request"), ("invalid_session", "invalid_session"),
        ("authentication_error", "unauthenticated"),
        ("invalid_target", "ERROR"), ("target_unreachable", "ERROR"), ("msg_too_big", "ERROR"),
        ("filter_error", "ERROR"), ("unauthenticated", "ERROR"),
    ],
)  # fmt: skip
def test_code_of_a_request(cell: str, run: str) -> None:
    assert return_code_of(CellReturnCode(cell)) == run


def test_each_code_of_cells_means_something() -> None:
    for code in CellReturnCode:
        assert isinstance(return_code_of(code), ReturnCode)
