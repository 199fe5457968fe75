"""Where a synthesis stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

MEDIAN = 0.7
"""Of the distances to the keys, relative to their mean."""


class State(NamedTuple):
    """Where a synthesis stands.

    Attributes:
        done, total: Pixels searched so far and in all, the levels' own.
        level: 0 is full size.
        iteration: At this level, from 0.
        stage: `compile` once, where the kernels were not compiled on this machine before; `start` each second in which a candidate is begun; else `search`.
    """

    done: int
    total: int
    level: int
    iteration: int
    stage: str = "search"

    @property
    def unit(self) -> str:
        """What is counted."""
        return "px"

    def event(self) -> dict[str, Any]:
        """What `texgen.runs.log.tell` is told."""
        return {**self._asdict(), "unit": self.unit}


@dataclass
class Point:
    """How far a level is improved.

    Attributes:
        median: Distance of a patch to its key, about; the unit of the usage penalty.
        iteration, band: The next ones.
        energies: Mean squared distance to the keys before and after each iteration, relative to that of two random keys.
        sums: Of the iteration in work, see `search.improve`.
    """

    median: float
    iteration: int = 0
    band: int = 0
    energies: list[tuple[float, float]] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def iterated(self, area: int, spread: float) -> None:
        """Go on to the next iteration."""
        self.energies.append((self.sums[0] / area / spread, self.sums[1] / area / spread))
        self.median = MEDIAN * self.sums[1] / area
        self.iteration, self.band, self.sums = self.iteration + 1, 0, [0.0, 0.0, 0.0]
