"""What a benchmark gives: figures, bars and lines about what was skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One measured thing: the median of its rounds, and the lowest and highest of them."""

    name: str
    unit: str
    rounds: list[float]
    ratio: float | None = None
    """To the figure that its table compares with; the median of the ratios round by round."""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.rounds)


@dataclass(frozen=True)
class Bar:
    """What was promised (design, section 4) and what was measured, in the same unit."""

    text: str
    wanted: float
    measured: float
    unit: str = ""
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the promise is kept."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


@dataclass(frozen=True)
class Table:
    """Figures that are compared with each other."""

    title: str
    figures: list[Figure]
    base: str = ""
    """The name of the figure with ratio 1."""


@dataclass(frozen=True)
class Result:
    """All of one benchmark."""

    name: str
    title: str
    how: str
    """How it was measured, in a sentence or two."""
    tables: list[Table]
    bars: list[Bar] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def ratio(of: Iterable[float], to: Iterable[float]) -> float:
    """The median of the ratios of rounds that were measured one right after the other."""
    return median(a / b for a, b in zip(of, to, strict=True))


def compare(title: str, unit: str, rounds: dict[str, list[float]], base: str) -> Table:
    """A table of rounds by name; `base` is what the others are compared with."""
    compared = rounds.get(base)
    figures = [
        Figure(name, unit, values, ratio(values, compared) if compared else None) for name, values in rounds.items()
    ]
    return Table(title, figures, base if compared else "")
