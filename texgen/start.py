"""Where a canvas begins: noise, or a quilt of the exemplar; with the map back to the exemplar where there is one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from texgen.exemplar import Exemplar
from texgen.quilt import quilt
from tiling import Size, Wrap


class Start(NamedTuple):
    """Clean latents (1, C, h, w) to be noised, or None for pure noise, and the quilt's map (3, h, w), if any."""

    latents: Tensor | None
    coordinates: Tensor | None


def noise_start() -> Start:
    """Nothing but noise: the published start."""
    return Start(None, None)


def quilt_start(exemplar: Exemplar, canvas: Size, wrap: Wrap, generator: torch.Generator) -> Start:
    """A canvas quilted from the exemplar's own latents."""
    sewn = quilt(exemplar.sources, canvas, wrap, factor=exemplar.factor, generator=generator)
    return Start(sewn.latents, sewn.coordinates)
