"""The progress of a synthesis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

MEDIAN = 0.7
"""Median of the distances to the keys, relative to their mean."""


class State(NamedTuple):
    """A state of a synthesis.

    Attributes:
        done, total: Pixels searched so far and in all, counted at the size of each level.
        level: 0 is full size.
        iteration: At this level, from 0.
        stage: `compile` once, if the kernels have not been compiled on this machine; `start` once a second while a candidate is started; otherwise `search`.
    """

    done: int
    total: int
    level: int
    iteration: int
    stage: str = "search"

    @property
    def unit(self) -> str:
        """Unit of `done` and `total`."""
        return "px"

    def event(self) -> dict[str, Any]:
        """The state as an event for `texgen.runs.log.tell`."""
        return {**self._asdict(), "unit": self.unit}


@dataclass
class Point:
    """A point in the improvement of a level.

    Attributes:
        median: Approximate distance of a patch to its key; the unit of the usage penalty.
        iteration, band: Those to do next.
        energies: Mean squared distance to the keys before and after each iteration, relative to that of two random keys.
        sums: Of the current iteration so far, see `search.improve`.
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
