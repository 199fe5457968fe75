"""The state of a loop between two batches of tiles, and the report after a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tiling import Accumulator, Tile, canvas_size


@dataclass(frozen=True, kw_only=True)
class Step:
    """Report after a step.

    Attributes:
        index: Number of the step, from 0.
        total: Number of steps.
        timestep: Timestep of the canvas after the step.
        latents: The canvas (1, C, h, w), float32.
        tiles: Number of tiles in this step.
        iterations: AD iterations run on each of them.
        losses: Mean loss per tile at the first and last iteration; empty without AD.
    """

    index: int
    total: int
    timestep: float
    latents: Tensor
    tiles: int
    iterations: int
    losses: tuple[float, ...]

    @property
    def done(self) -> int:
        """Number of steps done."""
        return self.index + 1

    @property
    def unit(self) -> str:
        """The unit of `done`."""
        return "step"

    def event(self) -> dict[str, Any]:
        """The step as an event of `texgen.runs.log.tell`."""
        counted = {"stage": "sample", "done": self.done, "total": self.total, "unit": self.unit}
        return {**counted, "timestep": self.timestep, "tiles": self.tiles}


@dataclass(kw_only=True)
class Progress:
    """The state of a loop, from which it can continue to the same bytes.

    Attributes:
        latents: The canvas (1, C, h, w) at the start of the current step, float32.
        index: Number of the current step, from 0.
        batches: Finished batches of tiles of this step.
        fused: Weighted sums of their tiles; None before the first batch.
        losses: Loss at the first and last AD iteration, summed over tiles.
        adam: State of the optimiser of Algorithm 1, by name.
    """

    latents: Tensor
    index: int = 0
    batches: int = 0
    fused: Accumulator | None = None
    losses: tuple[float, ...] = ()
    adam: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def add(self, batch: Sequence[Tile], values: Tensor, losses: Sequence[float], window: Tensor) -> None:
        """Add a batch of tiles (B, C, h, w) with their losses."""
        if self.fused is None:
            self.fused = Accumulator(self.latents.shape[1], canvas_size(self.latents))
        for tile, value in zip(batch, values, strict=True):
            self.fused.add(tile, value[None], window)
        self.losses = tuple(a + b for a, b in zip(self.losses or (0.0,) * len(losses), losses, strict=True))
        self.batches += 1

    def mean(self, elsewhere: Tensor) -> Tensor:
        """The weighted mean of the tiles, (1, C, h, w), and `elsewhere` where no tile was."""
        return elsewhere if self.fused is None else self.fused.mean(elsewhere)

    def advance(self, latents: Tensor) -> None:
        """Start the next step with these latents."""
        self.index, self.latents, self.batches, self.fused, self.losses = self.index + 1, latents, 0, None, ()
