"""Names of the events of a run, in the order in which they come. Source: reference "flare" 6.1, 6.2.

An application fires events of its own under any other name.
"""

from __future__ import annotations

from typing import Final


class EventType:
    """The values are what handlers are given."""

    ABOUT_TO_START_RUN = "_about_to_start_run"
    START_RUN = "_start_run"
    START_WORKFLOW = "_start_workflow"
    SWAP_IN = "_swap_in"
    SWAP_OUT = "_swap_out"

    BEFORE_PULL_TASK = "_before_pull_task"
    BEFORE_PROCESS_TASK_REQUEST = "_before_process_task_request"
    AFTER_PROCESS_TASK_REQUEST = "_after_process_task_request"
    AFTER_PULL_TASK = "_after_pull_task"
    BEFORE_TASK_DATA_FILTER = "_before_task_data_filter"
    AFTER_TASK_DATA_FILTER = "_after_task_data_filter"
    BEFORE_TASK_EXECUTION = "_before_task_execution"
    AFTER_TASK_EXECUTION = "_after_task_execution"
    BEFORE_TASK_RESULT_FILTER = "_before_task_result_filter"
    AFTER_TASK_RESULT_FILTER = "_after_task_result_filter"
    BEFORE_SEND_TASK_RESULT = "_before_send_task_result"
    BEFORE_PROCESS_SUBMISSION = "_before_process_submission"
    AFTER_PROCESS_SUBMISSION = "_after_process_submission"
    AFTER_SEND_TASK_RESULT = "_after_send_task_result"

    END_WORKFLOW = "_end_workflow"
    ABORT_TASK = "_abort_task"
    ABOUT_TO_END_RUN = "_about_to_end_run"
    CHECK_END_RUN_READINESS = "_check_end_run_readiness"
    END_RUN = "_end_run"
    FATAL_SYSTEM_ERROR = "_fatal_system_error"
    """Ends the run; its data is the reason."""

    DEBUG_LOG_AVAILABLE = "_debug_log_available"
    INFO_LOG_AVAILABLE = "_info_log_available"
    WARNING_LOG_AVAILABLE = "_warning_log_available"
    ERROR_LOG_AVAILABLE = "_error_log_available"
    EXCEPTION_LOG_AVAILABLE = "_exception_log_available"
    CRITICAL_LOG_AVAILABLE = "_critical_log_available"


LOG_EVENTS: Final = frozenset(
    {
        EventType.DEBUG_LOG_AVAILABLE,
        EventType.INFO_LOG_AVAILABLE,
        EventType.WARNING_LOG_AVAILABLE,
        EventType.ERROR_LOG_AVAILABLE,
        EventType.EXCEPTION_LOG_AVAILABLE,
        EventType.CRITICAL_LOG_AVAILABLE,
    }
)
"""What components fire when they log; its data is the text."""
