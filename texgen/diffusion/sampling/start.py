"""Starts of a canvas: noise, the swatch model's texture, a layout or random pixels; with the map back to the exemplar, if any."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.encoding import Paint, encoded
from texgen.diffusion.exemplar import Exemplar
from texgen.files.encoding import Encoding
from texgen.job import Job
from texgen.model import Workplace, followed
from texgen.runs.torchrun import Team
from tiling import Size, Tile, cut


class Start(NamedTuple):
    """Start of a canvas.

    Attributes:
        latents: Clean latents (1, C, h, w), to be noised; None for pure noise.
        coordinates: Exemplar number, and y and x in exemplar pixels of each latent pixel's top left corner, (3, h, w), int64, or None.
    """

    latents: Tensor | None = None
    coordinates: Tensor | None = None


def swatch_start(model: DenoisingModel, job: Job, canvas: Size, seed: int, place: Workplace) -> Start:
    """The swatch model's result for the same job, encoded.

    Args:
        model: The model that encodes.
        job: The job with all its constraints.
        canvas: Size in latent pixels; if it is larger than the texture, the texture's border is repeated.
        seed: Seed of the texture.
        place: Workplace of the swatch model; an interrupted run in it is resumed.

    Raises:
        InputError: As the swatch model.
        KeyboardInterrupt: The user asked to stop.
    """
    from texgen.swatch.knobs import Knobs
    from texgen.swatch.model import SwatchModel

    wanted = replace(job, seed=seed, maps=(), encoding=Encoding(), with_map=False)
    texture = followed(SwatchModel("standard", Knobs()).begin(wanted, Team()), place)
    factor, size = model.factor, job.canvas.size
    wraps = job.canvas.wrap

    def paint(tile: Tile) -> Tensor:
        area = tile.scaled(factor)
        rows, columns = (
            np.arange(*ends) % side if wrap else np.arange(*ends).clip(0, side - 1)
            for ends, side, wrap in zip((area[::2], area[1::2]), size, wraps, strict=True)
        )
        band = texture.pixels[int(rows.min()) : int(rows.max()) + 1]
        return torch.from_numpy(band[rows - rows.min()][:, columns]).permute(2, 0, 1)[None] / 255

    latents = encoded(model, paint, canvas, wraps)
    assert texture.field is not None
    found = texture.field.coordinates(factor).astype(np.int64)
    for number, exemplar in enumerate(job.exemplars):  # so that every latent pixel lies within its exemplar
        for axis in (0, 1):
            last = exemplar.pixels.shape[axis] - factor
            found[axis + 1] = np.where(found[0] == number, found[axis + 1].clip(0, last), found[axis + 1])
    around = [(0, 0), *((0, whole - have) for whole, have in zip(canvas, found.shape[1:], strict=True))]
    return Start(latents, torch.from_numpy(np.pad(found, around, mode="edge").clip(0)))


def scattered(exemplar: Exemplar, target: Tensor, seed: int) -> Paint:
    """The published start of controlled synthesis: each pixel is drawn at random from the exemplar pixels with its label in `target` (H, W).

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, controlled synthesis; the start is that of
        Zhou, Chen, Xiao, Huang, "Neural Texture Synthesis with Guided Correspondence", CVPR 2023.
    """
    assert exemplar.maps is not None
    pooled = [
        torch.cat(
            [image[0][:, labels == label] for image, labels in zip(exemplar.images, exemplar.maps, strict=True)], 1
        )
        for label in range(exemplar.label_count)
    ]
    random = torch.randint(2**31, target.shape, dtype=torch.int32, generator=torch.Generator().manual_seed(seed))

    def pixels(tile: Tile) -> Tensor:
        area = tile.scaled(exemplar.factor)
        labels, drawn = cut(target, area), cut(random, area)
        result = torch.zeros(1, 3, *area.size)
        for label, colours in enumerate(pooled):
            mine = labels == label
            if bool(mine.any()):
                result[0, :, mine] = colours[:, drawn[mine] % colours.shape[1]]
        return result

    return pixels
