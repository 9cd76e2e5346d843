"""Getters of what the system puts into each context. Source: seed 003, reference "flare" 1.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zmqfl.context.keys import ReservedKey
from zmqfl.context.signal import Signal


class PermanentProps:
    """Mixed into `FLContext`; each is a line over its props."""

    if TYPE_CHECKING:
        # FLContext documents them.
        def get_prop(self, key: str, default: Any = None) -> Any: ...  # noqa: D102
        def set_prop(self, key: str, value: Any, private: bool = True, sticky: bool = True) -> bool: ...  # noqa: D102

    def get_engine(self, default: Any = None) -> Any:
        """The services of this process."""
        return self.get_prop(ReservedKey.ENGINE, default)

    def get_workspace(self) -> Any:
        """The engine's `Workspace`. Raises `RuntimeError` where there is no engine."""
        if (engine := self.get_engine()) is None:
            raise RuntimeError("this context has no engine, so no workspace; get contexts by engine.new_context()")
        return engine.get_workspace()

    def get_process_type(self, default: Any = None) -> Any:
        """One of `zmqfl.context.keys.ProcessType`."""
        return self.get_prop(ReservedKey.PROCESS_TYPE, default)

    def get_job_id(self, default: Any = None) -> Any:
        """The id of the run; any text."""
        return self.get_prop(ReservedKey.RUN_NUM, default)

    def get_identity_name(self, default: Any = "") -> Any:
        """The name of this site."""
        return self.get_prop(ReservedKey.IDENTITY_NAME, default)

    def set_job_is_unsafe(self, value: bool = True) -> None:
        """Say that the job brought code of its own that must not run here."""
        self.set_prop(ReservedKey.JOB_IS_UNSAFE, value, private=True, sticky=True)

    def is_job_unsafe(self) -> bool:
        """What `set_job_is_unsafe` said; False before."""
        return bool(self.get_prop(ReservedKey.JOB_IS_UNSAFE, False))

    def get_run_abort_signal(self) -> Signal | None:
        """The signal that ends the run before its time."""
        signal: Signal | None = self.get_prop(ReservedKey.RUN_ABORT_SIGNAL)
        return signal
