"""A canvas of several materials: each quilted from its own parts of the exemplars, put together along a label map to the pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.detail import Detail
from texgen.exemplar import Exemplar
from texgen.image import NONE
from texgen.models import Backbone
from texgen.quilt import quilt
from tiling import Size, Tile, Wrap, bordered, cut, cut_from, plan_cores

MARGIN = 8
"""Cells around a tile that are encoded with it: all that the bundled encoder looks at; Stable Diffusion's looks at whole tiles."""
CORE = 64
Paint = Callable[[Tile], Tensor]
"""Pixels (1, 3, H, W) of a tile in latent pixels, which may pass the border of an axis that wraps."""


@dataclass(frozen=True)
class Collage:
    """Materials side by side.

    Attributes:
        layers: Of each label, where each cell of the canvas came from; cells far from its region are arbitrary.
        target: The label of every pixel of the canvas, (H, W), uint8.
        wrap: Axes that close to a ring.
    """

    layers: tuple[Detail, ...]
    target: Tensor
    wrap: Wrap

    def __call__(self, tile: Tile) -> Tensor:
        """Pixels (1, 3, height, width) of a tile in latent pixels."""
        factor = self.layers[0].factor
        labels, total = self._labels(tile.scaled(factor)), torch.zeros(1, 3, *tile.size.scaled(factor))
        for label, layer in enumerate(self.layers):
            share = F.avg_pool2d((labels == label)[None, None].float(), 3, 1)  # borders as smooth as a camera's
            if bool((share > 0).any()):
                total += share * layer.apply(total, tile)
        return total

    def _labels(self, area: Tile) -> Tensor:
        """Labels of an area in px with one pixel more on every side, repeated at a border that does not wrap."""
        grown = area.grown(1, Size(*self.target.shape), self.wrap)
        around = (
            grown.left - area.left + 1,
            area.right + 1 - grown.right,
            grown.top - area.top + 1,
            area.bottom + 1 - grown.bottom,
        )
        return F.pad(cut(self.target, grown)[None, None].float(), around, mode="replicate")[0, 0].byte()

    def coordinates(self) -> Tensor:
        """(3, h, w): exemplar number, y and x in exemplar pixels each cell's own label came from."""
        cells = middle_labels(self.target, self.layers[0].factor)
        result = self.layers[0].coordinates.clone()
        for label, layer in enumerate(self.layers):
            result = torch.where(cells == label, layer.coordinates, result)
        return result


def collage(exemplar: Exemplar, target: Tensor, canvas: Size, wrap: Wrap, generator: torch.Generator) -> Tensor:
    """Where each cell of each label's quilt came from, (labels, 3, h, w).

    Args:
        exemplar: With maps.
        target: Labels (H, W) of the canvas' pixels, uint8.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        generator: Of the choices.
    """
    layers = []
    for label in range(exemplar.label_count):
        if not bool((target == label).any()):
            layers.append(torch.zeros(3, *canvas, dtype=torch.long))
            continue
        cells = [exemplar.source_labels(source) == label for source in exemplar.sources]
        shown = [(source, mine) for source, mine in zip(exemplar.sources, cells, strict=True) if bool(mine.any())]
        sewn = quilt(
            [source for source, _ in shown], canvas, wrap, factor=exemplar.factor, generator=generator,
            usable=[mine for _, mine in shown], wanted=_touched(target == label, exemplar.factor, wrap),
        )  # fmt: skip
        layers.append(sewn.coordinates)
    return torch.stack(layers)


def assembled(exemplar: Exemplar, coordinates: Tensor, target: Tensor, wrap: Wrap) -> Collage:
    """The collage of `collage`'s coordinates."""
    phased = tuple(exemplar.images[source.exemplar][0] for source in exemplar.sources)
    ones = torch.ones(coordinates.shape[-2:])
    layers = (
        Detail(coordinates=where, weight=ones, images=phased, replacing=True, factor=exemplar.factor, wrap=wrap)
        for where in coordinates
    )
    return Collage(tuple(layers), target, wrap)


def scattered(exemplar: Exemplar, target: Tensor, seed: int) -> Paint:
    """A canvas whose pixels are drawn at random from the exemplar pixels of the same label, the published start.

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


def encoded(backbone: Backbone, paint: Paint, canvas: Size, wrap: Wrap) -> Tensor:
    """The latents (1, C, h, w) of pixels that are made tile by tile, in bounded memory."""
    latents = torch.empty(1, backbone.latent_channels, *canvas)
    for core in plan_cores(canvas, Size(CORE, CORE)):
        read = core.grown(MARGIN, canvas, wrap)
        values = backbone.encode(paint(read)).cpu()
        latents[..., core.top : core.bottom, core.left : core.right] = cut_from(values, read, core)
    return latents


def middle_labels(target: Tensor, factor: int) -> Tensor:
    """The label in the middle of every cell, (h, w), uint8."""
    return target[factor // 2 :: factor, factor // 2 :: factor].contiguous()


def clear_labels(target: Tensor, factor: int) -> Tensor:
    """The label of every cell that shows one alone, (h, w), uint8; `NONE` for the others."""
    cells = middle_labels(target, factor)
    one = target.unfold(0, factor, factor).unfold(1, factor, factor).flatten(2)
    return torch.where((one == cells[..., None]).all(2), cells, torch.tensor(NONE, dtype=torch.uint8))


def _touched(pixels: Tensor, factor: int, wrap: Wrap) -> Tensor:
    """Cells (h, w) that show one of the pixels (H, W), or have a neighbour that does."""
    cells = F.max_pool2d(pixels[None, None].float(), factor)
    return F.max_pool2d(bordered(cells, 1, wrap), 3, 1)[0, 0] > 0
