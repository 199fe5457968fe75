"""Latents to pixels, tile by tile, wrapped where the canvas wraps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from texgen.detail import Detail
from texgen.image import to_uint8
from texgen.models import Backbone
from tiling import Size, Tile, Wrap, canvas_size, cut, plan_cores

CORE = 64
WRAP_MARGIN = 16


def decode_tiles(
    backbone: Backbone, latents: Tensor, wrap: Wrap, detail: Detail | None = None
) -> Iterator[tuple[Tile, Tensor]]:
    """Decode a canvas in pieces.

    A local decoder (one with a `halo`) decodes tiles of 64 latents with that much context around, which gives exactly
    the whole decode. Any other decodes the canvas whole, with a wrapped margin on the axes that wrap.

    Args:
        backbone: Its autoencoder decodes.
        latents: (1, C, h, w).
        wrap: Axes that close to a ring.
        detail: Carried over to the pixels.

    Yields:
        A tile in image pixels and its values (1, 3, height, width), clamped to [0, 1].
    """
    canvas, factor = canvas_size(latents), backbone.factor
    local = backbone.halo is not None
    halo = backbone.halo if backbone.halo is not None else WRAP_MARGIN
    for core in plan_cores(canvas, Size(CORE, CORE) if local else canvas):
        read = core.grown(halo, canvas, wrap)
        image = backbone.decode(cut(latents, read)).cpu()
        top, left = (core.top - read.top) * factor, (core.left - read.left) * factor
        size = core.size.scaled(factor)
        image = image[..., top : top + size.height, left : left + size.width]
        if detail is not None:
            image = detail.apply(image, core)
        yield core.scaled(factor), image.clamp(0, 1)


def decode(backbone: Backbone, latents: Tensor, wrap: Wrap, detail: Detail | None = None) -> Tensor:
    """The whole canvas as one tensor (1, 3, H, W) in [0, 1]; memory grows with it."""
    size = canvas_size(latents).scaled(backbone.factor)
    image = torch.empty(1, 3, *size)
    for tile, values in decode_tiles(backbone, latents, wrap, detail):
        image[..., tile.top : tile.bottom, tile.left : tile.right] = values
    return image


def decode_uint8(
    backbone: Backbone, latents: Tensor, wrap: Wrap, size_px: Size, detail: Detail | None = None
) -> np.ndarray:
    """The canvas cropped to `size_px`, (height, width, 3), 8 bits; floats are held for one tile at a time."""
    image = np.empty((*canvas_size(latents).scaled(backbone.factor), 3), np.uint8)
    for tile, values in decode_tiles(backbone, latents, wrap, detail):
        image[tile.top : tile.bottom, tile.left : tile.right] = to_uint8(values)
    return np.ascontiguousarray(image[: size_px.height, : size_px.width])
