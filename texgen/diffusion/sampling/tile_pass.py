"""One step over all tiles of a canvas: batches shared by processes, halved if memory runs out, checked for NaN."""

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
    """Latents of a canvas with its content, labels and control pictures; or a batch of their tiles.

    Attributes:
        latents: Latents, (B, C, h, w).
        content: Latents of the content, of the same shape.
        labels: Labels on the latent grid, (B, 1, h, w), on the CPU.
        control: Control pictures at pixel resolution, (B, 3 n, H, W) in [0, 1].
    """

    latents: Tensor
    content: Tensor | None = None
    labels: Tensor | None = None
    control: Tensor | None = None

    def tiles(self, tiles: Sequence[Tile], device: torch.device) -> Planes:
        """A batch of tiles of the canvas, on a device."""
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
"""Takes a batch of tiles; returns values (B, C, h, w), which are then fused, and losses summed over the tiles."""


@dataclass(frozen=True, kw_only=True)
class TilePass:
    """The tiles of every step, and how they are processed.

    Attributes:
        plans: Tiles of each step; latent pixels that none covers do not change.
        window: Weights of a tile's latent pixels in overlaps, (h, w).
        tile_batch: Tiles per batch; larger needs more memory.
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
        """Finish the current step: each process works on one batch at a time; results are summed in the order of the tiles.

        Returns:
            Mean losses per tile.

        Raises:
            TexgenError: The model gave NaN or Inf, even in float32.
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
    """The work of one step on any batch of tiles of the canvas."""

    denoiser: Denoiser
    canvas: Planes
    work: TileWork
    number: int
    deterministic: bool

    def within_memory(self, tiles: Sequence[Tile]) -> Work:
        """Do the work on tiles; if they do not fit in memory together, in halves."""
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
        """Do the work on a batch; if it gives NaN or Inf, again in float32."""
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
    """Whether values and losses are finite. A NaN loss can leave the values finite: the sign of NaN is 0, and so then is the gradient of L1."""
    values, losses = found
    return all(map(math.isfinite, losses)) and bool(torch.isfinite(values).all())
