"""From pixels to latents, tile by tile, in memory that does not grow with the canvas."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from texgen.diffusion.denoising import DenoisingModel
from tiling import Size, Tile, Wrap, canvas_size, cut, cut_from, plan_cores

MARGIN = 8
"""Latent pixels by which a canvas that is encoded whole is continued across borders that wrap."""
CORE = 64
WHOLE = 128 * 128
"""Area in latent pixels up to which an encoder that is not local encodes a canvas whole."""
Paint = Callable[[Tile], Tensor]
"""Gives the pixels (1, 3, H, W) in [0, 1] of a tile in latent pixels; the tile may cross a border that wraps."""


def encoded(model: DenoisingModel, paint: Paint, canvas: Size, wrap: Wrap) -> Tensor:
    """The latents (1, C, h, w) of a canvas whose pixels `paint` gives tile by tile."""
    whole = not model.decodes_locally and canvas.area <= WHOLE
    halo = MARGIN if whole else model.encoder_halo
    encode = model.encode if whole else model.tile_encoder(paint, canvas, wrap)
    latents = torch.empty(1, model.latent_channels, *canvas)
    for core in plan_cores(canvas, canvas if whole else Size(CORE, CORE)):
        read = core.grown(halo, canvas, wrap)
        values = encode(paint(read), core).cpu()
        latents[..., core.top : core.bottom, core.left : core.right] = cut_from(values, read, core)
    return latents


def encoded_image(model: DenoisingModel, image: Tensor) -> Tensor:
    """The latents (1, C, h, w) of an image (1, 3, H, W) in [0, 1], sides multiples of the model's factor."""
    factor, (height, width) = model.factor, canvas_size(image)
    canvas = Size(height // factor, width // factor)
    return encoded(model, lambda tile: cut(image, tile.scaled(factor)), canvas, Wrap())


def fingerprint(*tensors: Tensor) -> list[str]:
    """Hash and shape of each tensor; the hash covers every bit."""
    return [f"{hashlib.sha256(each.contiguous().numpy().data).hexdigest()} {tuple(each.shape)}" for each in tensors]
