"""Where a canvas begins: noise, the swatch model's texture, or a quilt of the exemplar; with the map back to the exemplar where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from texgen.collage import assembled, collage, encoded, scattered
from texgen.exemplar import Exemplar
from texgen.image import NONE
from texgen.models import Backbone
from texgen.pixels import rounded
from texgen.quilt import MIN_BLOCK, Given, block_side, quilt, quilt_around
from tiling import Size, Tile, Wrap

BAND = 128
"""Rows of the swatch model's texture that are shown at once."""


class Start(NamedTuple):
    """Where a canvas begins.

    Attributes:
        latents: Clean (1, C, h, w) to be noised, or None for pure noise.
        coordinates: The quilt's map (3, h, w), if any.
        layers: The quilt's map of each label, (labels, 3, h, w), where there are labels.
    """

    latents: Tensor | None
    coordinates: Tensor | None
    layers: Tensor | None = None


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
    given: Given | None = None,
    shares: Sequence[float] | None = None,
) -> Start:
    """A canvas quilted from the exemplar's own latents, along the low frequencies of a layout (1, C, h, w) where given.

    Along a layout blocks have half the side: they follow it closer (correlations of 0.9 instead of 0.8).

    Args:
        exemplar: What is sewn; of a swatch with a hole only what lies outside.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        generator: Of the choices.
        layout: Of the canvas.
        layout_weight: Of the difference to it.
        given: Cells that are there already.
        shares: Of each exemplar on the canvas.
    """
    usable = None
    if exemplar.maps is not None:
        usable = [exemplar.source_labels(source) != NONE for source in exemplar.sources]
    block = None if layout is None else max(block_side(exemplar.sources) // 2, MIN_BLOCK)
    options: dict[str, Any] = {
        "factor": exemplar.factor,
        "generator": generator,
        "layout": layout,
        "layout_weight": layout_weight,
    }
    options |= {"usable": usable, "shares": shares, "block": block}
    if given is None:
        sewn = quilt(exemplar.sources, canvas, wrap, **options)
    else:
        sewn = quilt_around(exemplar.sources, canvas, wrap, given, **options)
    return Start(sewn.latents, sewn.coordinates)


def swatch_start(
    backbone: Backbone,
    exemplar: Exemplar,
    canvas: Size,
    wrap: Wrap,
    seed: int,
    folder: Path,
    shares: Sequence[float] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Start:
    """The finished texture of the swatch model, encoded.

    Its coordinates are those of the top left pixel of each latent pixel.

    Args:
        backbone: Whose encoder is used.
        exemplar: The swatches.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        seed: Of the texture.
        folder: Where fields and pixels are kept meanwhile.
        shares: Of each exemplar on the canvas.
        interrupted: Asked again and again whether to give up.

    Raises:
        KeyboardInterrupt: It is to.
    """
    from texgen.swatch.bank import Material, bank_of
    from texgen.swatch.settings import PRESETS
    from texgen.swatch.synthesis import Synthesis, torus_of

    size, settings, factor = canvas.scaled(exemplar.factor), PRESETS["standard"], exemplar.factor
    swatches = [image[0].permute(1, 2, 0).contiguous().numpy() for image in exemplar.images]
    parts = [1 / len(swatches)] * len(swatches) if shares is None else shares
    torus = torus_of(size, wrap)
    with TemporaryDirectory(dir=folder) as place:
        bank = bank_of(Material(swatches=swatches, shares=parts), torus, settings.patch)
        synthesis = Synthesis(bank, torus, settings, seed, Path(place))
        for _ in synthesis.run():
            if interrupted():
                raise KeyboardInterrupt
        pixels = np.memmap(Path(place) / "pixels", np.uint8, "w+", shape=(*size, 3))
        field = synthesis.field(size)
        rendering = field.rendering(swatches)
        for top in range(0, size.height, BAND):
            rows, _ = rendering.rows(top, min(top + BAND, size.height))
            pixels[top : top + BAND] = rounded(rows, pixels.dtype)

        def paint(tile: Tile) -> Tensor:
            area = tile.scaled(factor)
            rows, columns = (np.arange(*ends) % n for ends, n in zip((area[::2], area[1::2]), size, strict=True))
            return torch.from_numpy(pixels[rows][:, columns]).permute(2, 0, 1)[None] / 255

        latents = encoded(backbone, paint, canvas, wrap)
        coordinates = field.coordinates(factor).astype(np.int64)
    for number, swatch in enumerate(swatches):
        for axis in (0, 1):
            last = swatch.shape[axis] - factor
            coordinates[axis + 1] = np.where(
                coordinates[0] == number, coordinates[axis + 1].clip(0, last), coordinates[axis + 1]
            )
    return Start(latents, torch.from_numpy(coordinates))


def layout_start(layout: Tensor) -> Start:
    """The latents (1, C, h, w) of a layout themselves, to be noised (SDEdit)."""
    return Start(layout, None)


def collage_start(
    backbone: Backbone, exemplar: Exemplar, target: Tensor, canvas: Size, wrap: Wrap, generator: torch.Generator
) -> Start:
    """Each label quilted from its own parts of the exemplars, put together to the pixel along a target (H, W) and encoded."""
    layers = collage(exemplar, target, canvas, wrap, generator)
    whole = assembled(exemplar, layers, target, wrap)
    return Start(encoded(backbone, whole, canvas, wrap), whole.coordinates(), layers)


def scatter_start(backbone: Backbone, exemplar: Exemplar, target: Tensor, canvas: Size, wrap: Wrap, seed: int) -> Start:
    """Random pixels of the same label along a target (H, W), encoded: the published start of controlled synthesis."""
    return Start(encoded(backbone, scattered(exemplar, target, seed), canvas, wrap), None)
