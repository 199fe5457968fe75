"""Where a canvas begins: noise, or a quilt of the exemplar; with the map back to the exemplar where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from texgen.collage import assembled, collage, encoded, scattered
from texgen.exemplar import Exemplar
from texgen.models import Backbone
from texgen.quilt import MIN_BLOCK, Given, block_side, quilt, quilt_around
from texgen.regional import NONE
from tiling import Size, Wrap


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
