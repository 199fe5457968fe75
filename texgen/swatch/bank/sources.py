"""The material of a texture, and the parts of it that are searched."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from texgen.files.mapped_arrays import LARGE, release
from texgen.materials.exemplar import NONE
from texgen.materials.guides import Guide
from texgen.materials.maps import Map, turned
from texgen.swatch.bank.atlas import Part
from texgen.swatch.bank.repeat import Repeat, repeat_of
from texgen.swatch.presets import SYMMETRIES
from tiling import Size, spread_tiles

MOST_PIXELS, WINDOW_SIDE = 1_200_000, 512
"""Pixels that are searched, of all swatches together, and side of the windows that are cut from larger swatches."""
MEASURED_PIXELS = 1 << 22
"""Pixels of a swatch, at most, from which the deviation of its colours is measured."""


class Source(NamedTuple):
    """A swatch as it is searched.

    Attributes:
        pixels: (H, W, C), float32.
        share: Of the canvas; the shares of all sources sum to 1.
        repeat: The part of it that is searched, and which of its axes wrap; by default, all of it and none.
        exemplar: Number of the swatch that it was cut from.
        top, left: Its place in that swatch.
        turn: How it was turned after that, see `turned`.
        labels: Of the pixels, (H, W), uint8; `NONE` for pixels that must not be shown; None if all have label 0.
        guides: (H, W, G), float32, compared with the guides of the canvas.
    """

    pixels: np.ndarray
    share: float = 1.0
    repeat: Repeat | None = None
    exemplar: int = 0
    top: int = 0
    left: int = 0
    turn: int = 0
    labels: np.ndarray | None = None
    guides: np.ndarray | None = None

    @property
    def part(self) -> Part:
        """Its place in the exemplar and on the sheet."""
        size = self.pixels.shape[:2]
        height, width = size[:: -1 if self.turn % 2 else 1]
        return Part(self.exemplar, self.top, self.left, height, width, self.turn, self.repeat or Repeat(*size))


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a bank is made of.

    Attributes:
        swatches: Pictures (H, W, C), float32.
        shares: Of the swatches on the canvas, summing to 1.
        labels: Of the pixels of each swatch, (H, W), uint8, see `Source`; None if all have label 0.
        symmetry: A key of `SYMMETRIES`.
        maps: Companion maps that are searched as further channels, each with the same weight as the colours.
        guides: Scaled, see `Guide.scaled`.
    """

    swatches: Sequence[np.ndarray]
    shares: Sequence[float]
    labels: Sequence[np.ndarray | None] | None = None
    symmetry: str = "none"
    maps: Sequence[Map] = ()
    guides: Sequence[Guide] = ()

    @property
    def deviation(self) -> float:
        """Standard deviation of the colours, all channels together."""
        return spread_of(self.swatches)

    def digest(self) -> str:
        """A hash of the material."""
        found = hashlib.sha256()
        images = [image for each in self.maps for image in each.images]
        images += [image for guide in self.guides for image in guide.swatch.images]
        for array in [*self.swatches, *(self.labels or ()), *images]:
            if array is None:
                found.update(b"-")
                continue
            for rows in np.array_split(array, -(-array.nbytes // LARGE)):
                found.update(np.ascontiguousarray(rows).data)
                release(array)
        names = [each.name for each in self.maps], [guide.strengths for guide in self.guides]
        shapes = [swatch.shape for swatch in self.swatches]
        found.update(repr((shapes, list(self.shares), self.symmetry, names)).encode())
        return found.hexdigest()


def spread_of(swatches: Sequence[np.ndarray]) -> float:
    """Standard deviation of colours, all channels together; large swatches are sampled."""
    steps = [math.ceil((swatch.shape[0] * swatch.shape[1] / MEASURED_PIXELS) ** 0.5) for swatch in swatches]
    seen = [s[::step, ::step].reshape(-1, s.shape[2]) for s, step in zip(swatches, steps, strict=True)]
    return float(np.concatenate(seen).var(0).sum()) ** 0.5


def sources_of(material: Material) -> list[Source]:
    """The parts that are searched: each swatch, or windows spread over a large one, with their turned and mirrored copies if the symmetry asks for them."""
    found = []
    most = MOST_PIXELS // len(material.swatches)
    maps = [(each, each.normaliser(material.deviation)) for each in material.maps]
    for number, (swatch, share) in enumerate(zip(material.swatches, material.shares, strict=True)):
        labels = None if material.labels is None else material.labels[number]
        uniform = labels is None or (labels[0, 0] != NONE and bool((labels == labels[0, 0]).all()))
        size = Size(*swatch.shape[:2])
        whole = size.area <= most
        window = size if whole else Size(min(size.height, WINDOW_SIDE), min(size.width, WINDOW_SIDE))
        tiles = spread_tiles(size, window, 1 if whole else max(1, most // window.area))
        turns = SYMMETRIES[material.symmetry]
        for tile, turn in itertools.product(tiles, turns):
            part = slice(tile.top, tile.bottom), slice(tile.left, tile.right)
            channels = [turned(swatch[part], turn)]
            channels += [normalised(each.turned(each.images[number][part], turn)) for each, normalised in maps]
            pixels = np.ascontiguousarray(np.concatenate(channels, -1))
            guides = [each.swatch.turned(each.swatch.images[number][part], turn) for each in material.guides]
            found.append(
                Source(
                    pixels,
                    share / len(tiles) / len(turns),
                    repeat_of(pixels) if whole and uniform else None,
                    number,
                    tile.top,
                    tile.left,
                    turn,
                    None if labels is None else turned(labels[part], turn),
                    np.concatenate(guides, -1) if guides else None,
                )
            )
    return found
