"""Names of props, topics and headers that the system itself uses, with FLARE's names and values.

Names that begin with two underscores are reserved: they cannot be removed from a context. They are plain str, so that
they can be keys of what travels. Source: seed 003, reference "flare" 1.8-1.10, 2.7, 6.2-6.6.
"""

from __future__ import annotations

from typing import Final

RESERVED_PREFIX: Final = "__"
"""How reserved names begin."""


class ReservedKey:
    """Props that the system puts into each context."""

    MANAGER = "__manager__"
    ENGINE = "__engine__"
    RUN_NUM = "__run_num__"
    IDENTITY_NAME = "__identity_name__"
    PEER_CTX = "__peer_ctx__"
    PROCESS_TYPE = "__process_type__"
    RUN_ABORT_SIGNAL = "__run_abort_signal__"
    JOB_IS_UNSAFE = "__job_is_unsafe__"
    CUSTOM_PROPS = "__custom_props__"
    EXCEPTIONS = "__exceptions__"
    EVENT_DEPTH = "###event_depth"
    """Not reserved, because it must be removable."""


class FLContextKey:
    """Props that applications read."""

    APP_ROOT = "__app_root__"
    ARGS = "__args__"
    CLIENT_CONFIG = "__client_config__"
    CLIENT_HIERARCHY = "__client_hierarchy__"
    CLIENT_NAME = "__client_name__"
    CURRENT_JOB_ID = "__current_job_id__"
    CURRENT_RUN = "__current_run__"
    EVENT_DATA = "__event_data__"
    EVENT_ID = "__event_id__"
    EVENT_ORIGIN = "__event_origin__"
    EVENT_SCOPE = "__event_scope__"
    EXCEPTIONS = ReservedKey.EXCEPTIONS
    FILTER_DIRECTION = "__filter_dir__"
    FQSN = "__fqsn__"
    IS_CLIENT_TASK_RESEND = "__is_client_task_resend__"
    IS_LEAF = "__is_leaf__"
    JOB_META = "__job_meta__"
    NOT_READY_TO_END_RUN = "__not_ready_to_end_run__"
    """A handler of CHECK_END_RUN_READINESS sets it to True, private and non-sticky, when it needs more time."""
    PEER_CONTEXT = ReservedKey.PEER_CTX
    PEER_FQCN = "__peer_fqcn__"
    """Name of the cell that a message came from, as the network proved it; what a peer says of itself is only said."""
    PROCESS_TYPE = ReservedKey.PROCESS_TYPE
    RUNNER = "__runner__"
    SECURE_MODE = "__secure_mode__"
    SIMULATE_MODE = "__simulate_mode__"
    SSID = "__ssid__"
    TASK_DATA = "__task_data__"
    TASK_ID = "__task_id__"
    TASK_NAME = "__task_name__"
    TASK_RESULT = "__task_result__"
    WORKFLOW = "__workflow__"
    WORKSPACE_OBJECT = "__workspace_object__"
    WORKSPACE_ROOT = "__workspace_root__"


class AppConstants:
    """Props that controllers set."""

    CURRENT_ROUND = "current_round"
    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"


NON_SERIALIZABLE_KEYS: Final = frozenset(
    {
        ReservedKey.MANAGER,
        ReservedKey.ENGINE,
        ReservedKey.PEER_CTX,
        ReservedKey.RUN_ABORT_SIGNAL,
        ReservedKey.CUSTOM_PROPS,
        ReservedKey.EXCEPTIONS,
        ReservedKey.EVENT_DEPTH,
        FLContextKey.RUNNER,
        FLContextKey.WORKSPACE_OBJECT,
        FLContextKey.CLIENT_CONFIG,
        FLContextKey.PEER_FQCN,
        FLContextKey.EVENT_DATA,
        FLContextKey.TASK_DATA,
        FLContextKey.TASK_RESULT,
    }
)
"""Props that never leave the process, even when somebody made them public: they hold living objects, what only the
system may say, or what travels beside them anyway."""


class ProcessType:
    """What a process of a federation is."""

    SERVER_PARENT = "SP"
    SERVER_JOB = "SJ"
    CLIENT_PARENT = "CP"
    CLIENT_JOB = "CJ"


class EventScope:
    """Where an event was fired."""

    FEDERATION = "federation"
    LOCAL = "local"


class ReservedTopic:
    """Aux topics of the system."""

    END_RUN = "__end_run__"
    FED_EVENT = "fed.event"


class SpecialTaskName:
    """Answers to "which task is next?" that are no tasks."""

    END_RUN = "__end_run__"
    TRY_AGAIN = "__try_again__"


class TaskConstant:
    """Headers of tasks beside those of `zmqfl.context.shareable.ReservedHeaderKey`."""

    WAIT_TIME = "__wait_time__"
    """Seconds to wait before asking again."""


def is_reserved(key: str) -> bool:
    """Whether `key` is a name that cannot be removed from a context."""
    return key.startswith(RESERVED_PREFIX)
