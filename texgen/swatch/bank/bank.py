"""All swatches of a job on one sheet, at every scale, with the descriptors of their patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import minimum_filter

from texgen.materials.exemplar import NONE
from texgen.materials.guides import Guide, strengths_at
from texgen.swatch.bank.atlas import MASK, Atlas, pack
from texgen.swatch.bank.descriptors import components, described, similar_keys
from texgen.swatch.bank.level import HEIGHT, WIDTH, WRAPS_X, WRAPS_Y, Level, nearest_centres
from texgen.swatch.bank.pyramid import halved, level_count, with_edges
from texgen.swatch.bank.sources import Material, Source, sources_of
from tiling import Size


class Bank:
    """Pyramids of all sources side by side on one sheet, see `Atlas`. The descriptors of a level are computed on first use.

    Args:
        sources: Swatches of one channel count.
        levels: Number of scales.
        patch: Largest side of a patch.
        guides: Their maps of the swatches are channels of the sources.
    """

    def __init__(self, sources: Sequence[Source], levels: int, patch: int, guides: Sequence[Guide] = ()) -> None:
        self.sources, self.levels, self.guides = sources, levels, guides
        self.atlas = Atlas(tuple(source.part for source in sources), levels, patch)
        self.places, self.sheet = self.atlas.places, self.atlas.size
        self._described: dict[tuple[int | None, ...], Level] = {}
        self.pyramids: list[list[np.ndarray]] = []
        for source, place in zip(sources, self.places, strict=True):
            pyramid = [with_edges(source.pixels[place.y, place.x])]
            if source.guides is not None:
                pyramid = [np.concatenate([pyramid[0], source.guides[place.y, place.x]], -1)]
            while len(pyramid) < levels:
                pyramid.append(halved(pyramid[-1]))
            self.pyramids.append(pyramid)

    def level(self, number: int, *, patch: int, dims: int, alike: int, label: int | None = None) -> Level:
        """A scale with its descriptors: principal components of its windowed patches, of all labels or of one. Cached."""
        asked = (number, patch, dims, alike, label)
        if asked not in self._described:
            self._described[asked] = self._describe(*asked)
        return self._described[asked]

    def lacks(self, wanted: Iterable[int]) -> list[int]:
        """Labels that do not have a single whole patch at the coarsest scale."""
        labels = self._labels(self.levels - 1)
        _, own = self._centres(self.levels - 1, self.atlas.patch, labels)
        return sorted(set(wanted) - set(labels[own].tolist()))

    def _centres(self, number: int, patch: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where patches of a scale may be centred so that every pixel in them has a label, (H, W), bool; and which of these places are outside the margins."""
        centres, own = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
        r = patch // 2
        for place in self.places:
            here, (top, left) = place.at(number)
            height, width = own[here].shape
            edge_y, edge_x = (r + 1 if wraps else m for wraps, m in zip(place.repeat.wrap, (top, left), strict=True))
            centres[here][edge_y : height - edge_y, edge_x : width - edge_x] = True
            own[here][top : height - top, left : width - left] = True
        visible = labels != NONE
        if not visible.all():
            centres &= minimum_filter(visible, patch)
        return centres, own & centres

    def _labels(self, number: int) -> np.ndarray:
        """Labels of the sheet at a scale: that of the middle of each pixel, `NONE` if any part of the pixel must not be shown."""
        found = np.zeros(self.sheet, np.uint8)
        for source, place in zip(self.sources, self.places, strict=True):
            height, width = place.y.shape
            labels = np.uint8(0) if source.labels is None else source.labels[place.y, place.x]
            found[:height, place.left : place.left + width] = labels
        step = 1 << number
        blocks = found.reshape(self.sheet.height // step, step, self.sheet.width // step, step)
        return np.where((blocks == NONE).any((1, 3)), np.uint8(NONE), blocks[:, step // 2, :, step // 2])

    def _describe(self, number: int, patch: int, dims: int, alike: int, label: int | None) -> Level:
        shape = (self.sheet[0] >> number, self.sheet[1] >> number)
        pixels = np.zeros((*shape, self.pyramids[0][0].shape[2]), np.float32)
        labels = self._labels(number)
        centres, own = self._centres(number, patch, labels)
        shown: np.ndarray = self.atlas.shown.reshape(shape[0], 1 << number, shape[1], 1 << number).min((1, 3))
        shares, source = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        inside = pack(*np.indices(shape, np.int32))
        tori = np.zeros((len(self.sources), 8), np.int64)
        wanted = np.zeros(1 + max(s.exemplar for s in self.sources), np.float32)
        for index, (each, place, pyramid) in enumerate(zip(self.sources, self.places, self.pyramids, strict=True)):
            here, (top, left) = place.at(number)
            height, width = source[here].shape
            pixels[here], source[here] = pyramid[number], index
            shares[here] = each.share / max((height - 2 * top) * (width - 2 * left), 1)
            steps = (slice(None, height << number, 1 << number), slice(None, width << number, 1 << number))
            found = place.packed(place.y[steps], place.x[steps])
            inside[here] = pack((found >> 16) >> number, (found & MASK) >> number)
            tori[index] = (
                each.exemplar, top, left + (place.left >> number), height - 2 * top, width - 2 * left, place.repeat.shift >> number,
                *place.repeat.wrap,
            )  # fmt: skip
        strengths = strengths_at(self.guides, number)
        pixels[..., pixels.shape[2] - len(strengths) :] *= strengths
        shown &= labels != NONE
        if label is not None:
            centres &= labels == label
            own &= centres
        used = np.unique(source[own])
        for index in used:
            wanted[self.sources[index].exemplar] += self.sources[index].share
        wanted /= wanted.sum()
        sides = [
            (p.repeat.height * p.repeat.wrap.y, p.repeat.width * p.repeat.wrap.x, p.repeat.shift) for p in self.places
        ]
        aligned = not (np.array(sides) % (1 << number)).any()
        shares *= own.sum() / shares[own].sum()
        basis, offset = components(pixels, own, patch, dims)
        keys = described(pixels, own if aligned else centres, patch, basis, offset)
        if aligned:
            keys = keys[inside >> 16, inside & MASK]
        spread = 2 * float(keys[own].var(0).sum()) + 1e-12
        similar = np.zeros((*shape, alike), np.int32)
        if alike:
            similar[own] = similar_keys(keys, own, alike)
            similar = similar[inside >> 16, inside & MASK]
        return Level(
            number, pixels, self.sources[0].pixels.shape[2], labels, patch, centres, shown, nearest_centres(centres), inside, own, shares, source, tori, wanted, keys, similar,
            basis, offset, spread,
            min(int((t[HEIGHT] * t[WIDTH]) ** 0.5) if t[WRAPS_Y] and t[WRAPS_X] else min(t[HEIGHT], t[WIDTH]) for t in tori[used].tolist()),
        )  # fmt: skip


_last: tuple[tuple[Any, ...], Bank] | None = None


def bank_of(material: Material, canvas: Size, patch: int, wanted: Iterable[int] = (0,)) -> Bank:
    """The bank for a canvas. The last one is cached, for more textures of the same material.

    Args:
        material: Contents of the bank.
        canvas: In pixels; together with the swatches it decides how many scales there are.
        patch: Largest side of a patch.
        wanted: Labels of the canvas; scales at which one of them has no whole patch are left out.
    """
    global _last
    key = (material.digest(), min(canvas), patch, tuple(sorted(set(wanted))))
    if _last is None or _last[0] != key:
        _last = (key, _bank_of(material, canvas, patch, set(wanted)))
    return _last[1]


def _bank_of(material: Material, canvas: Size, patch: int, wanted: set[int]) -> Bank:
    sources = sources_of(material)
    levels = level_count(min(min(source.pixels.shape[:2]) for source in sources), min(canvas))
    bank = Bank(sources, levels, patch, material.guides)
    while levels > 1 and material.labels is not None and bank.lacks(wanted):
        levels -= 1
        bank = Bank(sources, levels, patch, material.guides)
    return bank
