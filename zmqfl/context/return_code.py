"""How work ended, in the words of the runs; `zmqfl.errors.CellReturnCode` says it of the requests below them."""

from __future__ import annotations

from enum import StrEnum

from zmqfl.errors import CellReturnCode
from zmqfl.wire.registry import register_enum


class ReturnCode(StrEnum):
    """Each member equals its text, so what a peer sent compares with it. Source: reference "flare" 6.11, 2.7."""

    OK = "OK"
    BAD_PEER_CONTEXT = "BAD_PEER_CONTEXT"
    BAD_REQUEST_DATA = "BAD_REQUEST_DATA"
    BAD_TASK_DATA = "BAD_TASK_DATA"
    COMMUNICATION_ERROR = "COMMUNICATION_ERROR"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    EXECUTION_EXCEPTION = "EXECUTION_EXCEPTION"
    EXECUTION_RESULT_ERROR = "EXECUTION_RESULT_ERROR"
    HANDLER_EXCEPTION = "HANDLER_EXCEPTION"
    MISSING_PEER_CONTEXT = "MISSING_PEER_CONTEXT"
    RUN_MISMATCH = "RUN_MISMATCH"
    TASK_ABORTED = "TASK_ABORTED"
    TASK_DATA_FILTER_ERROR = "TASK_DATA_FILTER_ERROR"
    TASK_RESULT_FILTER_ERROR = "TASK_RESULT_FILTER_ERROR"
    TASK_UNKNOWN = "TASK_UNKNOWN"
    TASK_UNSUPPORTED = "TASK_UNSUPPORTED"
    TOPIC_UNKNOWN = "TOPIC_UNKNOWN"
    MODEL_UNRECOGNIZED = "MODEL_UNRECOGNIZED"
    VALIDATE_TYPE_UNKNOWN = "VALIDATE_TYPE_UNKNOWN"
    EMPTY_RESULT = "EMPTY_RESULT"
    UNSAFE_JOB = "UNSAFE_JOB"
    EARLY_TERMINATION = "EARLY_TERMINATION"
    SERVER_NOT_READY = "SERVER_NOT_READY"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"

    # Codes of cells that callers of aux requests see as they are.
    ABORT_RUN = "abort_run"
    INVALID_REQUEST = "invalid_request"
    INVALID_SESSION = "invalid_session"
    UNAUTHENTICATED = "unauthenticated"


# A member may be a value in a payload, or a header; the name on the wire leaves room for a user's own ReturnCode.
register_enum(ReturnCode, name="zmqfl.ReturnCode")

_OF_CELL = {
    CellReturnCode.OK: ReturnCode.OK,
    CellReturnCode.TIMEOUT: ReturnCode.TIMEOUT,
    CellReturnCode.COMM_ERROR: ReturnCode.COMMUNICATION_ERROR,
    CellReturnCode.PROCESS_EXCEPTION: ReturnCode.EXECUTION_EXCEPTION,
    CellReturnCode.SERVICE_UNAVAILABLE: ReturnCode.SERVICE_UNAVAILABLE,
    CellReturnCode.ABORT_RUN: ReturnCode.ABORT_RUN,
    CellReturnCode.INVALID_REQUEST: ReturnCode.INVALID_REQUEST,
    CellReturnCode.INVALID_SESSION: ReturnCode.INVALID_SESSION,
    CellReturnCode.AUTHENTICATION_ERROR: ReturnCode.UNAUTHENTICATED,
}


def return_code_of(code: CellReturnCode) -> ReturnCode:
    """What the end of a request means to a run; ERROR for the codes that are of no use to it.

    Source: reference "flare" 2.7. FLARE passes `service_unavailable` on in lower case, where it equals no code of runs;
    here it is SERVICE_UNAVAILABLE.
    """
    return _OF_CELL.get(code, ReturnCode.ERROR)
