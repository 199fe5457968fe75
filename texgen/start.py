"""Where a canvas begins: noise, or a quilt of the exemplar; with the map back to the exemplar where there is one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from texgen.exemplar import Exemplar
from texgen.quilt import MIN_BLOCK, block_side, quilt
from tiling import Size, Wrap


class Start(NamedTuple):
    """Clean latents (1, C, h, w) to be noised, or None for pure noise, and the quilt's map (3, h, w), if any."""

    latents: Tensor | None
    coordinates: Tensor | None


def noise_start() -> Start:
    """Nothing but noise: the published start."""
    return Start(None, None)


def quilt_start(
    exemplar: Exemplar,
    canvas: Size,
    wrap: Wrap,
    generator: torch.Generator,
    layout: Tensor | None = None,
    layout_weight: float = 0.0,
) -> Start:
    """A canvas quilted from the exemplar's own latents, along the low frequencies of a layout (1, C, h, w) where given.

    Along a layout blocks have half the side: they follow it closer (correlations of 0.9 instead of 0.8).
    """
    block = None if layout is None else max(block_side(exemplar.sources) // 2, MIN_BLOCK)
    sewn = quilt(
        exemplar.sources,
        canvas,
        wrap,
        factor=exemplar.factor,
        generator=generator,
        block=block,
        layout=layout,
        layout_weight=layout_weight,
    )
    return Start(sewn.latents, sewn.coordinates)


def layout_start(layout: Tensor) -> Start:
    """The latents (1, C, h, w) of a layout themselves, to be noised (SDEdit)."""
    return Start(layout, None)
