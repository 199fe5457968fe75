"""Where a loop stands: between two batches of tiles, and after a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tiling import Accumulator, Tile, canvas_size


@dataclass(frozen=True, kw_only=True)
class Step:
    """The state after a step.

    Attributes:
        index: From 0.
        total: Number of steps.
        timestep: The timestep the canvas is at now.
        latents: The canvas (1, C, h, w), float32.
        tiles: Tiles worked on in this step.
        iterations: AD iterations run on each of them.
        losses: Mean loss per tile before the first and at the last iteration; empty where there was none.
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
        """Steps done."""
        return self.index + 1

    @property
    def unit(self) -> str:
        """What is counted."""
        return "step"

    def event(self) -> dict[str, Any]:
        """What `texgen.runs.log.tell` is told."""
        counted = {"stage": "sample", "done": self.done, "total": self.total, "unit": self.unit}
        return {**counted, "timestep": self.timestep, "tiles": self.tiles}


@dataclass(kw_only=True)
class Progress:
    """All that a loop needs to continue to the same bytes.

    Attributes:
        latents: The canvas (1, C, h, w) that the step began with, float32.
        index: The step in work, from 0.
        batches: Batches of tiles of this step that are done.
        fused: Their sums; None where there are none.
        losses: Sum over tiles of the loss before the first and at the last AD iteration.
        adam: State of the optimizer that lives for the whole run (Algorithm 1), by name.
    """

    latents: Tensor
    index: int = 0
    batches: int = 0
    fused: Accumulator | None = None
    losses: tuple[float, ...] = ()
    adam: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def add(self, batch: Sequence[Tile], values: Tensor, losses: Sequence[float], window: Tensor) -> None:
        """Take in a batch of tiles (B, C, h, w)."""
        if self.fused is None:
            self.fused = Accumulator(self.latents.shape[1], canvas_size(self.latents))
        for tile, value in zip(batch, values, strict=True):
            self.fused.add(tile, value[None], window)
        self.losses = tuple(a + b for a, b in zip(self.losses or (0.0,) * len(losses), losses, strict=True))
        self.batches += 1

    def mean(self, elsewhere: Tensor) -> Tensor:
        """The fused tiles (1, C, h, w), and `elsewhere` where there were none."""
        return elsewhere if self.fused is None else self.fused.mean(elsewhere)

    def advance(self, latents: Tensor) -> None:
        """Begin the next step with these latents."""
        self.index, self.latents, self.batches, self.fused, self.losses = self.index + 1, latents, 0, None, ()
