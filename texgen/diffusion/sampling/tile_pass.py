"""One step over all tiles of a canvas, whatever is done to each: shared by processes, halved where memory is short, checked for NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from texgen.diffusion.denoising import Denoiser
from texgen.diffusion.memory import is_out_of_memory
from texgen.diffusion.sampling.determinism import deterministic
from texgen.diffusion.sampling.progress import Progress
from texgen.errors import TexgenError
from texgen.runs.torchrun import ALONE, Team, Work
from tiling import Tile, cut_batch


class Planes(NamedTuple):
    """A canvas and what lies on it, or a batch of tiles of them.

    Attributes:
        latents: (B, C, h, w).
        content: The latents whose structure is kept, alike.
        labels: (B, 1, h, w), on the CPU.
        control: Control pictures (B, 3 n, H, W) in [0, 1], in px.
    """

    latents: Tensor
    content: Tensor | None = None
    labels: Tensor | None = None
    control: Tensor | None = None

    def tiles(self, tiles: Sequence[Tile], device: torch.device) -> Planes:
        """Tiles of a canvas, on a device."""
        control = None
        if self.control is not None:
            factor = self.control.shape[-1] // self.latents.shape[-1]
            control = cut_batch(self.control, [tile.scaled(factor) for tile in tiles]).to(device)
        return Planes(
            cut_batch(self.latents, tiles).to(device),
            None if self.content is None else cut_batch(self.content, tiles).to(device),
            None if self.labels is None else cut_batch(self.labels, tiles),
            control,
        )


TileWork = Callable[[Planes], Work]
"""A batch of tiles in; values (B, C, h, w) to be fused out, and losses summed over the tiles."""


@dataclass(frozen=True, kw_only=True)
class TilePass:
    """How a canvas is walked at every step.

    Attributes:
        plans: Tiles of each step; a latent pixel that none covers stays as it is.
        window: (h, w), the weight of a tile's pixels where tiles overlap.
        tile_batch: Tiles worked on at once; larger needs more memory.
        team: Processes that share the batches; the result does not depend on their number.
        checkpoint: Called with the progress after every round of batches.
        deterministic: Whether a GPU sums in a fixed order.
    """

    plans: Sequence[Sequence[Tile]]
    window: Tensor
    tile_batch: int = 1
    team: Team = ALONE
    checkpoint: Callable[[Progress], None] = lambda _progress: None
    deterministic: bool = True

    def run(self, denoiser: Denoiser, progress: Progress, canvas: Planes, work: TileWork) -> tuple[float, ...]:
        """Do the rest of a step: one batch a process at a time, summed in the order of the tiles.

        Returns:
            Mean losses per tile.

        Raises:
            TexgenError: The model gave NaN or Inf, in float32, too.
        """
        tiles, step = self.plans[progress.index], _Step(denoiser, canvas, work, progress.index + 1, self.deterministic)
        batches = [tiles[start : start + self.tile_batch] for start in range(0, len(tiles), self.tile_batch)]
        while progress.batches < len(batches):
            shared = batches[progress.batches : progress.batches + self.team.size]
            pieces = [partial(step.within_memory, batch) for batch in shared]
            for batch, (values, losses) in zip(shared, self.team.divided(pieces), strict=True):
                progress.add(batch, values, losses, self.window)
            self.checkpoint(progress)
        return tuple(total / len(tiles) for total in progress.losses)


@dataclass(frozen=True)
class _Step:
    """One step of a canvas, on any batch of its tiles."""

    denoiser: Denoiser
    canvas: Planes
    work: TileWork
    number: int
    deterministic: bool

    def within_memory(self, tiles: Sequence[Tile]) -> Work:
        """The work on tiles; where they do not fit in memory together, in halves."""
        device = self.denoiser.device
        try:
            with deterministic(device, self.deterministic):
                values, losses = self._finite(tiles, self.canvas.tiles(tiles, device))
            return values.cpu(), losses
        except (RuntimeError, MemoryError) as error:
            if len(tiles) == 1 or not is_out_of_memory(error):
                raise
        middle = len(tiles) // 2
        halves = [self.within_memory(part) for part in (tiles[:middle], tiles[middle:])]
        losses = tuple(sum(pair) for pair in zip(*(half[1] for half in halves), strict=True))
        return torch.cat([half[0] for half in halves]), losses

    def _finite(self, tiles: Sequence[Tile], batch: Planes) -> Work:
        """The work on a batch; where it gives NaN or Inf, once more in float32."""
        found = self.work(batch)
        if not _is_finite(found) and self.denoiser.dtype != torch.float32:
            with self.denoiser.in_float32():
                found = self.work(batch)
        if not _is_finite(found):
            raise TexgenError(
                f"sampling: the model gave NaN or Inf at step {self.number} in tiles {list(tiles)}; try --dtype float32 or a smaller --lr."
            )
        return found


def _is_finite(found: Work) -> bool:
    """Of the losses, too: where they are NaN, so is the gradient, and its sign is 0: no step, which looks like success."""
    values, losses = found
    return all(map(math.isfinite, losses)) and bool(torch.isfinite(values).all())
