"""Pixels to latents, in bounded memory however large the canvas is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from texgen.diffusion.denoising import DenoisingModel
from tiling import Size, Tile, Wrap, canvas_size, cut, cut_from, plan_cores

MARGIN = 8
"""Latent pixels that a canvas encoded whole is continued by, where it wraps."""
CORE = 64
WHOLE = 128 * 128
"""Area in latent pixels up to which a canvas is encoded whole by an encoder that looks at all of it."""
Paint = Callable[[Tile], Tensor]
"""Pixels (1, 3, H, W) of a tile in latent pixels, which may pass the border of an axis that wraps."""


def encoded(model: DenoisingModel, paint: Paint, canvas: Size, wrap: Wrap) -> Tensor:
    """The latents (1, C, h, w) of pixels that are made tile by tile."""
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
    """Hash of each tensor's numbers, to the last bit, and its shape."""
    return [f"{hashlib.sha256(each.contiguous().numpy().data).hexdigest()} {tuple(each.shape)}" for each in tensors]
