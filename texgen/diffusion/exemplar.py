"""Swatches encoded for synthesis: latents at several pixel phases, and crops for attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.encoding import encoded_image, fingerprint
from texgen.diffusion.guidance.regional import latent_labels
from texgen.materials.exemplar import NONE
from tiling import Size, Tile, canvas_size, cut, spread_tiles, tile_size

PHASES = 2
MAX_CROPS = 4
FLAT = 1e-6
DRAWS = 32


class Source(NamedTuple):
    """Latents of exemplar number `exemplar`, encoded from its pixel (top_px, left_px) on."""

    latents: Tensor
    exemplar: int
    top_px: int
    left_px: int


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """One or more swatches, encoded.

    Attributes:
        images: The prepared swatches, each (1, 3, H, W) in [0, 1].
        sources: Their latents at `PHASES` x `PHASES` pixel phases each, or at the first phase only. Phases make it possible to take
            blocks from between the autoencoder's latent pixels.
        crops: Latents at phase 0 for keys and values: the whole swatch, or native tiles spread over it (up to `MAX_CROPS`, plus one
            for each label that these miss).
        numbers: Number of the exemplar of each crop.
        factor: Image pixels per latent pixel.
        maps: Label of every pixel, (H, W) each, uint8, `NONE` for pixels that must not be shown or read; None without labels.
        label_count: Number of labels; a swatch need not show all of them.
        crop_labels: Labels of the crops' latent pixels, (h, w) each; empty without labels.
    """

    images: tuple[Tensor, ...]
    sources: tuple[Source, ...]
    crops: tuple[Tensor, ...]
    numbers: tuple[int, ...]
    factor: int
    maps: tuple[Tensor, ...] | None = None
    label_count: int = 1
    crop_labels: tuple[Tensor, ...] = ()

    @property
    def wholes(self) -> list[Source]:
        """The sources at the first phase, one per exemplar."""
        return [source for source in self.sources if source.top_px == source.left_px == 0]

    def source_labels(self, source: Source) -> Tensor:
        """The label of every latent pixel of a source, (h, w), uint8; `NONE` for latent pixels that show two."""
        if self.maps is None:
            return torch.zeros(tuple(canvas_size(source.latents)), dtype=torch.uint8)
        return self._labels[source[1:]]

    @cached_property
    def _labels(self) -> dict[tuple[int, int, int], Tensor]:
        """Labels of the sources' latent pixels, by exemplar and phase."""
        found = {}
        for source in self.sources:
            whole = (self.maps or ())[source.exemplar]
            found[source[1:]] = latent_labels(whole[source.top_px :, source.left_px :], self.factor, self.label_count)
        return found

    def window(self, source: Source, size: Size, generator: torch.Generator) -> Tile:
        """A random tile of a source without latent pixels labelled `NONE`, if `DRAWS` draws find one; else any random tile.

        Args:
            source: One of the sources.
            size: Size of the tile in latent pixels.
            generator: CPU generator.
        """
        shown = None if self.maps is None else self.source_labels(source)
        for _ in range(DRAWS):
            top, left = (
                int(torch.randint(length - side + 1, (), generator=generator))
                for length, side in zip(canvas_size(source.latents), size, strict=True)
            )
            tile = Tile(top, left, top + size.height, left + size.width)
            if shown is None or not bool((cut(shown, tile) == NONE).any()):
                break
        return tile


def encode_exemplar(
    model: DenoisingModel,
    images: Sequence[Tensor],
    maps: Sequence[Tensor] | None = None,
    label_count: int = 1,
    phases: int = PHASES,
) -> Exemplar:
    """Encode prepared swatches without resizing them; reuses the latents of the model's last run if its swatches were the same.

    Args:
        model: The model with the autoencoder.
        images: The swatches, (1, 3, H, W) in [0, 1] each.
        maps: Labels of their pixels, (H, W) each.
        label_count: Number of labels.
        phases: Pixel phases along each axis; 1 suffices if only crops are read.
    """
    sources = model.once("swatch", [*fingerprint(*images), phases], partial(_sources, model, images, phases))
    exemplar = Exemplar(
        images=tuple(images), sources=sources, crops=(), numbers=(), factor=model.factor,
        maps=None if maps is None else tuple(maps), label_count=label_count,
    )  # fmt: skip
    return _with_crops(exemplar, model.native_tile)


def _sources(model: DenoisingModel, images: Sequence[Tensor], phases: int) -> tuple[Source, ...]:
    """Latents of every swatch at all phases."""
    factor = model.factor
    starts = range(0, factor, factor // phases)
    return tuple(
        Source(encoded_image(model, _whole_latents(image[..., top:, left:], factor)), number, top, left)
        for number, image in enumerate(images)
        for top in starts
        for left in starts
    )


def _with_crops(exemplar: Exemplar, native: Size) -> Exemplar:
    """The exemplar with crops of every swatch, so that every label of a swatch is in at least one crop."""
    crops, numbers, labels = [], [], []
    for number, source in enumerate(exemplar.wholes):
        size, shown = canvas_size(source.latents), exemplar.source_labels(source)
        tile = tile_size(native, size)
        tiles = spread_tiles(size, tile, MAX_CROPS)
        for label in shown.unique().tolist():  # type: ignore[no-untyped-call]
            if label == NONE or not any(bool((cut(shown, t) == label).any()) for t in tiles):
                tiles.append(_around(shown == label, tile))
        for place in dict.fromkeys(tiles):
            crops.append(cut(source.latents, place))
            labels.append(cut(shown, place))
            numbers.append(number)
    return replace(
        exemplar, crops=tuple(crops), numbers=tuple(numbers), crop_labels=() if exemplar.maps is None else tuple(labels)
    )


def _around(shown: Tensor, size: Size) -> Tile:
    """A tile at the middle of the True latent pixels (h, w), within the whole; it contains at least one of them."""
    places = shown.nonzero()
    middle = places[(places - places.float().mean(0)).abs().sum(1).argmin()]
    top, left = (
        min(max(int(m) - side // 2, 0), length - side)
        for m, side, length in zip(middle, size, shown.shape, strict=True)
    )
    return Tile(top, left, top + size.height, left + size.width)


def _whole_latents(image: Tensor, factor: int) -> Tensor:
    height, width = (side - side % factor for side in image.shape[-2:])
    return image[..., :height, :width]
