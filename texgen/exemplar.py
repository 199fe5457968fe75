"""What is made of a swatch before synthesis: latents at several pixel phases, crops for attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from texgen.models import Backbone
from tiling import Size, canvas_size, cut, spread_tiles, tile_size

PHASES = 2
MAX_CROPS = 4
MAX_GAIN = 16.0
FLAT = 1e-6


class Source(NamedTuple):
    """Exemplar latents whose top left pixel is (top_px, left_px) of exemplar number `exemplar`."""

    latents: Tensor
    exemplar: int
    top_px: int
    left_px: int


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """One or more swatches, encoded.

    Attributes:
        images: The prepared swatches, each (1, 3, H, W) in [0, 1].
        sources: Their latents at `PHASES` x `PHASES` pixel phases each, so that blocks can be placed between the
            autoencoder's cells.
        crops: Latents at phase 0 for keys and values: the whole swatch, or up to four native tiles that cover it.
        factor: Image pixels per latent pixel.
    """

    images: tuple[Tensor, ...]
    sources: tuple[Source, ...]
    crops: tuple[Tensor, ...]
    factor: int

    def raised(self, level: Contrast) -> Exemplar:
        """The same with all latents raised to `level`."""
        return replace(
            self,
            sources=tuple(s._replace(latents=level.raised(s.latents)) for s in self.sources),
            crops=tuple(level.raised(c) for c in self.crops),
        )


class Contrast(NamedTuple):
    """Calm swatches have latents far below the noise they are sampled with; raised, they are like any other.

    Attributes:
        mean: Of the exemplar's latents, (1, C, 1, 1).
        gain: What brings them to unit mean square around it; 1 to `MAX_GAIN`, never less.
    """

    mean: Tensor
    gain: float

    def raised(self, latents: Tensor) -> Tensor:
        """mean + gain (latents - mean)."""
        return self.mean + self.gain * (latents - self.mean)

    def lowered(self, latents: Tensor) -> Tensor:
        """The inverse of `raised`."""
        return self.mean + (latents - self.mean) / self.gain


def contrast(sources: Sequence[Source]) -> Contrast:
    """The contrast of an exemplar."""
    pooled = torch.cat([source.latents.flatten(2) for source in sources], 2)
    mean = pooled.mean(2, keepdim=True)
    power = float((pooled - mean).square().mean())
    return Contrast(mean[..., None], min(max(power, FLAT) ** -0.5, MAX_GAIN) if power < 1 else 1.0)


def encode_exemplar(backbone: Backbone, images: Sequence[Tensor]) -> Exemplar:
    """Encode prepared swatches at their own scale, 1:1."""
    factor = backbone.factor
    sources: list[Source] = []
    crops: list[Tensor] = []
    for number, image in enumerate(images):
        for top in range(0, factor, factor // PHASES):
            for left in range(0, factor, factor // PHASES):
                latents = backbone.encode(_whole_cells(image[..., top:, left:], factor)).cpu()
                sources.append(Source(latents, number, top, left))
        crops += native_crops(sources[-PHASES * PHASES].latents, backbone.native_tile)
    return Exemplar(images=tuple(images), sources=tuple(sources), crops=tuple(crops), factor=factor)


def native_crops(latents: Tensor, native: Size) -> list[Tensor]:
    """The whole exemplar where it fits a native tile; else at most four native tiles, spread over it."""
    size = canvas_size(latents)
    return [cut(latents, tile) for tile in spread_tiles(size, tile_size(native, size), MAX_CROPS)]


def _whole_cells(image: Tensor, factor: int) -> Tensor:
    height, width = (side - side % factor for side in image.shape[-2:])
    return image[..., :height, :width]
