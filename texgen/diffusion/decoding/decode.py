"""From latents to pixels, tile by tile, across borders that wrap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from texgen.diffusion.decoding.detail import Detail
from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.kept_pixels import Kept
from texgen.files.encoding import Encoding
from texgen.files.pixels import PixelFile
from texgen.materials.holes import MARGIN
from tiling import Size, Tile, Wrap, canvas_size, cut, cut_from, plan_cores

CORE = 64


class CanvasDecoder:
    """Decodes any part of a canvas, in tiles without seams.

    A local decoder decodes tiles of 64 x 64 latents with its halo around them, which gives exactly the same as decoding the whole canvas.
    Any other decoder is first made local: its global statistics are measured on the canvas and held fixed
    (`texgen.diffusion.models.vae.tiled`).

    Args:
        model: The model with the autoencoder.
        latents: The canvas (1, C, h, w).
        wrap: Axes that wrap around.
        detail: Detail to transfer to the pixels.
        kept: Given pixels, if any.
    """

    def __init__(
        self,
        model: DenoisingModel,
        latents: Tensor,
        wrap: Wrap,
        detail: Detail | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.model, self.latents, self.wrap = model, latents, wrap
        self.detail, self.kept = detail, kept
        self.canvas = canvas_size(latents)
        self._decode = model.tile_decoder(latents, wrap)

    @property
    def bands(self) -> list[list[Tile]]:
        """The tiles of the canvas in latent pixels, by row; decoding proceeds band by band."""
        return [list(row) for _, row in groupby(plan_cores(self.canvas, Size(CORE, CORE)), lambda tile: tile.top)]

    def tile(self, core: Tile) -> Tensor:
        """The pixels (1, 3, height, width) of a tile in latent pixels, clamped to [0, 1]."""
        if self.kept is None:
            return self._made(core).clamp(0, 1)
        factor, canvas = self.model.factor, self.canvas.scaled(self.model.factor)
        grown = core.grown(-(-MARGIN // factor), self.canvas, self.wrap)
        area = grown.scaled(factor)
        met = self.kept.whole(area, canvas)
        if met is None:
            met = self.kept.apply(self._made(grown), area, canvas)
        return cut_from(met, area, core.scaled(factor)).clamp(0, 1)

    def _made(self, core: Tile) -> Tensor:
        read, factor = core.grown(self.model.halo, self.canvas, self.wrap), self.model.factor
        image = self._decode(cut(self.latents, read), core).cpu()
        image = cut_from(image, read.scaled(factor), core.scaled(factor))
        return image if self.detail is None else self.detail.apply(image, core)

    def write(self, band: Sequence[Tile], pixels: PixelFile, encoding: Encoding) -> None:
        """Decode a band into `pixels`, cropping what lies beyond their bottom or right border."""
        height, width, _ = pixels.shape
        top = band[0].top * self.model.factor
        seen = torch.cat([self.tile(core)[0] for core in band], 2).permute(1, 2, 0).contiguous().numpy()
        pixels.write(top, encoding.stored(seen[: height - top, :width], top))
