"""All swatches of a job on one sheet, scale by scale, with the descriptors of their patches."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import minimum_filter

from texgen.materials.exemplar import NONE
from texgen.materials.guides import Guide, strengths_at
from texgen.materials.maps import Map, turned
from texgen.swatch import kernels
from texgen.swatch.atlas import MASK, Atlas, Part, pack
from texgen.swatch.pyramid import halved, level_count, with_edges
from texgen.swatch.repeat import Repeat, repeat_of
from texgen.swatch.settings import SYMMETRIES
from texgen.swatch.threads import in_parts
from tiling import Size, spread_tiles

SAMPLES = 8000
"""Patches that the principal components are found from."""
PAIRS = 20_000_000
"""Pairs of keys compared to find similar ones, at most, a level."""
APART = 2
MOST_PIXELS, WINDOW_SIDE = 1_200_000, 512
"""Of all swatches that are searched, and side of the windows that larger ones are cut to."""
WINDOW = 0.9
"""Standard deviation of a descriptor's window in half patches."""


class Source(NamedTuple):
    """A swatch as it is searched.

    Attributes:
        pixels: (H, W, C), float32.
        share: Of the canvas, the shares of all sources summing to 1.
        repeat: The part of it that is searched, and which of its axes wrap; all of it and none by default.
        exemplar: Number of the swatch it was taken from.
        top, left: Where it lies in that swatch.
        turn: How it was turned then, see `turned`.
        labels: Of the pixels, (H, W), uint8; `NONE` for what is not to be shown; None where all have label 0.
        guides: (H, W, G), float32: what a canvas' guides are compared with.
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
        """Where it is from, and how it lies on the sheet."""
        size = self.pixels.shape[:2]
        height, width = size[:: -1 if self.turn % 2 else 1]
        return Part(self.exemplar, self.top, self.left, height, width, self.turn, self.repeat or Repeat(*size))


@dataclass(frozen=True)
class Level:
    """One scale of the bank.

    Attributes:
        number: 0 is full size, each level half of the one before.
        pixels: (H, W, C + 1 + G), float32: colours, the distance to edges, scaled to the colours' deviation, and guides.
        colours: Number of the channels before the distance to edges: colours, and maps that patches are compared by.
        labels: (H, W), uint8; `NONE` where a pixel is not to be shown.
        patch: Side of a patch.
        centres: (H, W), bool: where a patch may be centred.
        shown: (H, W), bool: pixels that may vote; not those of a mirrored margin.
        nearest: (H, W), int32: the nearest centre of each place, packed.
        inside: (H, W), int32: the place within a source of what each place shows, packed; another one in the margins only.
        own: (H, W), bool: centres that are not in a margin.
        shares: (H, W), float32: how often a key should be used, mean 1 over those.
        source: (H, W), int32: number of the source at each place.
        tori: (sources, 8), int64: exemplar, top, left, height, width and shift of each, and whether its axes wrap, see `Repeat`.
        wanted: (exemplars,), float32: their shares of the canvas, summing to 1.
        keys: (H, W, D), float32, where there are centres.
        similar: (H, W, S), int32, packed.
        basis, offset: Of the descriptors, (k k C, D) and (D,).
        spread: Mean squared distance of two random keys.
        side: Of the smallest source: the shorter one, or the root of the area if the source tiles by itself both ways.
    """

    number: int
    pixels: np.ndarray
    colours: int
    labels: np.ndarray
    patch: int
    centres: np.ndarray
    shown: np.ndarray
    nearest: np.ndarray
    inside: np.ndarray
    own: np.ndarray
    shares: np.ndarray
    source: np.ndarray
    tori: np.ndarray
    wanted: np.ndarray
    keys: np.ndarray
    similar: np.ndarray
    basis: np.ndarray
    offset: np.ndarray
    spread: float
    side: int

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def of_label(self, label: int) -> Level:
        """With the centres of a label alone."""
        mine = self.labels == label
        centres = self.centres & mine
        return replace(self, centres=centres, own=self.own & mine, nearest=nearest_centres(centres))


class Bank:
    """Pyramids of all sources beside each other on one sheet, see `Atlas`; levels are described when they are asked for.

    Args:
        sources: Swatches of one channel count.
        levels: Number of scales.
        patch: Largest side of a patch.
        guides: Whose swatches' maps the sources hold.
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
        """Descriptors of a scale: principal components of its windowed patches, of all or of one label. They are kept."""
        asked = (number, patch, dims, alike, label)
        if asked not in self._described:
            self._described[asked] = self._describe(*asked)
        return self._described[asked]

    def lacks(self, wanted: Iterable[int]) -> list[int]:
        """Labels of which not one patch is whole at the coarsest scale."""
        labels = self._labels(self.levels - 1)
        shown = np.unique(labels[minimum_filter(labels != NONE, self.atlas.patch)])
        return sorted(set(wanted) - set(shown.tolist()))

    def _labels(self, number: int) -> np.ndarray:
        """Of the sheet at a scale: that of the middle of each pixel, `NONE` where a part of it is not to be shown."""
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
        centres, own = np.zeros(shape, bool), np.zeros(shape, bool)
        shown: np.ndarray = self.atlas.shown.reshape(shape[0], 1 << number, shape[1], 1 << number).min((1, 3))
        shares, source = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        inside = pack(*np.indices(shape, np.int32))
        tori = np.zeros((len(self.sources), 8), np.int64)
        wanted = np.zeros(1 + max(s.exemplar for s in self.sources), np.float32)
        r = patch // 2
        for index, (each, place, pyramid) in enumerate(zip(self.sources, self.places, self.pyramids, strict=True)):
            height, width = pyramid[number].shape[:2]
            here = (slice(0, height), slice(place.left >> number, (place.left >> number) + width))
            top, left = place.margin.height >> number, place.margin.width >> number
            inner = (slice(top, height - top), slice(left, width - left))
            pixels[here], source[here] = pyramid[number], index
            edge_y, edge_x = (r + 1 if wraps else m for wraps, m in zip(place.repeat.wrap, (top, left), strict=True))
            centres[here][edge_y : height - edge_y, edge_x : width - edge_x] = True
            own[here][inner] = True
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
        labels = self._labels(number)
        visible = labels != NONE
        shown &= visible
        if not visible.all():
            centres &= minimum_filter(visible, patch)
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
            min(int((t[3] * t[4]) ** 0.5) if t[6] and t[7] else min(t[3], t[4]) for t in tori[used].tolist()),
        )  # fmt: skip


_last: tuple[tuple[Any, ...], Bank] | None = None


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a bank is made of.

    Attributes:
        swatches: (H, W, C), float32, each.
        shares: Of each on the canvas, summing to 1.
        labels: Of the pixels of each, (H, W), uint8, see `Source`; None where all have label 0.
        symmetry: A key of `SYMMETRIES`.
        maps: That are more channels of the swatches, each as strong as the colours.
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
        """Of the colours, all channels together."""
        return spread_of(self.swatches)

    def digest(self) -> str:
        """The same for the same material."""
        found = hashlib.sha256()
        images = [image for each in self.maps for image in each.images]
        images += [image for guide in self.guides for image in guide.swatch.images]
        for array in [*self.swatches, *(self.labels or ()), *images]:
            found.update(b"-" if array is None else np.ascontiguousarray(array).data)
        names = [each.name for each in self.maps], [guide.strengths for guide in self.guides]
        shapes = [swatch.shape for swatch in self.swatches]
        found.update(repr((shapes, list(self.shares), self.symmetry, names)).encode())
        return found.hexdigest()


def spread_of(swatches: Sequence[np.ndarray]) -> float:
    """Standard deviation of colours, all channels together."""
    return float(np.concatenate([swatch.reshape(-1, swatch.shape[2]) for swatch in swatches]).var(0).sum()) ** 0.5


def bank_of(material: Material, canvas: Size, patch: int, wanted: Iterable[int] = (0,)) -> Bank:
    """The bank that a canvas is made from. The last one is kept, for more textures of the same material.

    Args:
        material: What it holds.
        canvas: In pixels; with the swatches it says how many scales there are.
        patch: Largest side of a patch.
        wanted: Labels of the canvas: scales at which one is too small to be seen are left out.
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


def sources_of(material: Material) -> list[Source]:
    """What is searched: each swatch whole, or windows spread over it where it is large, and these turned and mirrored where asked."""
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


def components(pixels: np.ndarray, centres: np.ndarray, patch: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the windowed patches, (k k C, D), and minus their mean's descriptor, (D,)."""
    places = np.argwhere(centres)
    picked = places[np.random.default_rng(0).permutation(len(places))[:SAMPLES]] - patch // 2
    reach = np.arange(patch)
    patches = pixels[picked[:, 0, None, None] + reach[:, None], picked[:, 1, None, None] + reach]
    profile = np.exp(-0.5 * (np.linspace(-1, 1, patch) / WINDOW) ** 2)
    weight = np.sqrt(np.outer(profile, profile))[..., None].astype(np.float32)
    flat = (patches * weight).reshape(len(picked), -1).astype(np.float64)
    mean = flat.mean(0)
    _, vectors = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    chosen = vectors[:, ::-1][:, :dims]
    chosen = np.pad(chosen, ((0, 0), (0, dims - chosen.shape[1])))
    basis = chosen * np.broadcast_to(weight, patches.shape[1:]).reshape(-1, 1)
    return np.ascontiguousarray(basis, np.float32), (-(mean @ chosen)).astype(np.float32)


def described(pixels: np.ndarray, centres: np.ndarray, patch: int, basis: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Descriptors (H, W, D) of all patches, 0 where there is none."""
    keys = np.zeros((*pixels.shape[:2], basis.shape[1]), np.float32)
    in_parts(
        len(pixels), lambda top, bottom: kernels.describe_all(pixels, centres, patch, basis, offset, top, bottom, keys)
    )
    return keys


def similar_keys(keys: np.ndarray, centres: np.ndarray, alike: int) -> np.ndarray:
    """For every centre the `alike` most similar ones among as many as can be afforded, packed, (n, alike)."""
    places = np.argwhere(centres).astype(np.int32)
    few = min(len(places), max(64, PAIRS // len(places)))
    others = places[np.sort(np.random.default_rng(0).permutation(len(places))[:few])]
    found = np.zeros((len(places), alike), np.int32)
    in_parts(
        len(places),
        lambda first, last: kernels.most_similar(keys, places[first:last], others, APART, found[first:last]),
    )
    return found


def nearest_centres(centres: np.ndarray) -> np.ndarray:
    """The nearest centre of each place, packed."""
    from scipy.ndimage import distance_transform_edt

    return pack(*distance_transform_edt(~centres, return_distances=False, return_indices=True))
