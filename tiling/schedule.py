"""Which tiles are worked on at each step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from tiling.geometry import Size, Tile, Wrap
from tiling.plan import plan_tiles

ScheduleKind = Literal["fixed", "rolled"]


def fixed_schedule(canvas: Size, tile: Size, stride: Size, wrap: Wrap, steps: int) -> Iterator[list[Tile]]:
    """The same overlapping grid at every step: plain MultiDiffusion."""
    for _ in range(steps):
        yield plan_tiles(canvas, tile, stride, wrap)


def rolled_schedule(canvas: Size, tile: Size, wrap: Wrap, steps: int, seed: int) -> Iterator[list[Tile]]:
    """A grid without overlap, shifted by a new random offset at every step, so that no seam stays in place.

    If a side of the canvas is not a multiple of the tile's, tiles overlap as little as evenly spread starts allow. On
    an axis that does not wrap, the tiles at the border are pushed inside.

    Args:
        canvas: Size of the canvas.
        tile: Size of every tile.
        wrap: Axes that wrap around.
        steps: Number of steps, each with a plan of its own.
        seed: Seed of the offsets; the same seed gives the same plans.

    References:
        "SpotDiffusion: A Fast Approach For Seamless Panorama Generation Over Time", 2024,
        https://arxiv.org/abs/2407.15507; noise rolling in ControlMat, 2023, https://arxiv.org/abs/2309.01700.
    """
    random = np.random.default_rng(seed)
    for _ in range(steps):
        offset = Size(int(random.integers(canvas.height)), int(random.integers(canvas.width)))
        yield plan_tiles(canvas, tile, tile, wrap, offset)
