"""How far a transfer is: bytes, rate, and when it will be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zmqfl.cell.handles import Progress


@dataclass(frozen=True, slots=True)
class TransferProgress(Progress):
    """`done` and `total` in bytes; `total` is 0 while it is not known."""

    seconds: float = 0.0
    """Since the transfer began."""

    @property
    def rate(self) -> float:
        """Bytes per second so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds until it is done at this rate; None while that cannot be said."""
        return max(0, self.total - self.done) / self.rate if self.total and self.rate else None


@dataclass(frozen=True, slots=True)
class PushProgress(TransferProgress):
    """Of a push: `done` is what the slowest receiver has."""

    receivers: Mapping[str, TransferProgress] = field(default_factory=dict)
