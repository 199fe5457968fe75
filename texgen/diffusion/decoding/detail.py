"""Detail transfer: the detail that the autoencoder loses on the exemplar is added to the canvas, latent pixel by latent pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.exemplar import PHASES, Exemplar
from texgen.materials.exemplar import NONE
from tiling import Size, Tile, Wrap, bordered, canvas_size, cut, cut_from

FEATHER_PX = 2
TRUST = 0.8
COHERENCE = 0.5
CHUNK = 2048
LARGEST = 2**24
RADIUS = 1
FLAT = 1e-6
NOWHERE = -1
"""Label of canvas latent pixels that take no detail; no exemplar latent pixel has it."""
GRAIN = 0.1
EXACT = 1e-6
"""Squared distance, relative to the variance, below which a match is exact and no nearer one is searched."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """The place where each canvas latent pixel takes its detail from, and how much of it.

    Attributes:
        coordinates: Exemplar number, y and x in exemplar pixels, (3, h, w), int64.
        weight: Amount of detail, (h, w) in [0, 1].
        images: The detail of each exemplar at each pixel phase, (3, H, W) each.
        replacing: Whether `images` are the exemplars themselves, which are blended with the picture by `weight`; otherwise they are
            the residuals that the autoencoder loses, which are added to it.
        factor: Image pixels per latent pixel.
        wrap: Axes of the canvas that wrap around.
    """

    coordinates: Tensor
    weight: Tensor
    images: tuple[Tensor, ...]
    replacing: bool
    factor: int
    wrap: Wrap

    def apply(self, image: Tensor, tile: Tile) -> Tensor:
        """Add detail to the decoded picture (1, 3, factor * height, factor * width) of a tile in latent pixels.

        Each latent pixel contributes its part of the exemplar and `FEATHER_PX` more on every side, cross-faded with its
        neighbours; where these come from neighbouring places, the detail is transferred unchanged.
        """
        grown = tile.grown(1, Size(*self.weight.shape), self.wrap)
        patches, weight = self._patches(cut(self.coordinates, grown).flatten(1)), cut(self.weight, grown).flatten()
        profile = _feathered(self.factor, FEATHER_PX)
        window = (profile[:, None] * profile).flatten()[:, None].expand(-1, weight.numel())
        total = self._folded(window[None], grown)
        held, wanted = grown.scaled(self.factor), tile.scaled(self.factor)
        carried = cut_from(self._folded(patches * weight * window, grown) / total, held, wanted)
        if not self.replacing:
            return image + carried
        kept = 1 - cut_from(self._folded((weight * window)[None], grown) / total, held, wanted)
        return image * kept + carried

    def _folded(self, patches: Tensor, grown: Tile) -> Tensor:
        """Sum of overlapping patches (C, side * side, n), (1, C, H, W); each covers a latent pixel and `FEATHER_PX` around it."""
        size, side = grown.size.scaled(self.factor), self.factor + 2 * FEATHER_PX
        return F.fold(patches.flatten(0, 1)[None], tuple(size), side, stride=self.factor, padding=FEATHER_PX)

    def _patches(self, places: Tensor) -> Tensor:
        """Patch of the exemplar's detail around each place (3, n), (3, side * side, n)."""
        side = self.factor + 2 * FEATHER_PX
        patches = torch.zeros(3, side * side, places.shape[1])
        reach = torch.arange(side) - FEATHER_PX
        step = self.factor // PHASES
        number = places[0] * PHASES**2 + (places[1] % self.factor // step) * PHASES + places[2] % self.factor // step
        for index, image in enumerate(self.images):
            mine = (number == index).nonzero()[:, 0]
            rows = (places[1, mine][:, None] + reach).clamp(0, image.shape[1] - 1)
            columns = (places[2, mine][:, None] + reach).clamp(0, image.shape[2] - 1)
            patches[:, :, mine] = image[:, rows[:, :, None], columns[:, None, :]].flatten(2).transpose(1, 2)
        return patches


def _feathered(factor: int, feather: int) -> Tensor:
    """Window of factor + 2 feather pixels: flat in the middle, with ramps that sum to 1 with those of the neighbours."""
    ramp = (torch.arange(2 * feather) + 0.5) / (2 * feather)
    return torch.cat([ramp, torch.ones(factor - 2 * feather), ramp.flip(0)])


def exemplar_residuals(model: DenoisingModel, exemplar: Exemplar) -> tuple[Tensor, ...]:
    """Residual of the autoencoder on each exemplar at each pixel phase, (3, H, W) each; zero where there is no latent pixel."""
    residuals = []
    for source in exemplar.sources:
        image = exemplar.images[source.exemplar]
        decoded = model.decode(source.latents).cpu()
        area = (
            ...,
            slice(source.top_px, source.top_px + decoded.shape[-2]),
            slice(source.left_px, source.left_px + decoded.shape[-1]),
        )
        residual = torch.zeros_like(image)
        residual[area] = image[area] - decoded
        residuals.append(residual[0])
    return tuple(residuals)


def _by_source(exemplar: Exemplar) -> tuple[Tensor, ...]:
    return tuple(exemplar.images[source.exemplar][0] for source in exemplar.sources)


def find_detail(
    model: DenoisingModel,
    exemplar: Exemplar,
    latents: Tensor,
    coordinates: Tensor | None,
    wrap: Wrap,
    replacing: bool = False,
    labels: Tensor | None = None,
) -> Detail:
    """Match every canvas latent pixel to an exemplar latent pixel, from which it takes its detail.

    The candidates of a latent pixel are its place in the start's map, the continuations of its neighbours' matches, and the nearest
    exemplar latent pixel of all. The last must be clearly nearer than the first (by the factor `COHERENCE`), since it breaks
    coherence. The distance is the squared difference over the latent pixel and its eight neighbours. The worse the match,
    the less detail is transferred; distances are relative to the swatch's own variance plus that of the grain that a network leaves
    even on the calmest swatch (`GRAIN`, a tenth of a latent's usual variance).

    Args:
        model: Decodes the exemplar.
        exemplar: Source of the detail.
        latents: The finished canvas (1, C, h, w).
        coordinates: The start's map (3, h, w), or None for a canvas that started from noise.
        wrap: Axes of the canvas that wrap around.
        replacing: Transfer the exemplar itself instead of the autoencoder's residual. This removes a weak network's grain,
            but also what the network changed in well matched latent pixels.
        labels: The exemplar label from which each latent pixel may take detail, (h, w), uint8; `NONE` takes none.
    """
    canvas = canvas_size(latents)
    table, places = _Table(exemplar), _Canvas(latents, wrap)
    wanted = None if labels is None else labels.flatten().short()
    if wanted is not None:
        wanted[wanted == NONE] = NOWHERE
    best = table.first(canvas.area) if coordinates is None else table.lookup(coordinates.flatten(1), exemplar.factor)
    cost = places.cost(table, best)
    for span, described in places:
        inexact = (cost[span] > EXACT * table.variance).nonzero()[:, 0]
        nearest, nearest_cost = table.nearest(described[inexact], None if wanted is None else wanted[span][inexact])
        better = nearest_cost < (COHERENCE if coordinates is not None else 1) * cost[span][inexact]
        best[span][inexact[better]], cost[span][inexact[better]] = nearest[better], nearest_cost[better]
    if wanted is not None:
        cost = cost.where(table.labels[best] == wanted, torch.inf)
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = table.moved(best.view(*canvas).roll(shift, (0, 1)).flatten(), shift)
        moved_cost = places.cost(table, moved)
        better = moved_cost < cost
        if wanted is not None:
            better &= table.labels[moved] == wanted
        best, cost = torch.where(better, moved, best), torch.where(better, moved_cost, cost)
    relative = cost / (table.variance + GRAIN * places.width)
    return Detail(
        coordinates=table.coordinates(best, exemplar.factor).view(3, *canvas),
        weight=torch.exp(-0.5 * (relative / TRUST) ** 2).view(*canvas),
        images=_by_source(exemplar) if replacing else exemplar_residuals(model, exemplar),
        replacing=replacing,
        factor=exemplar.factor,
        wrap=wrap,
    )


def _describe(bordered: Tensor) -> Tensor:
    """Descriptor of each latent pixel: the pixel with its eight neighbours, (n, C * 9)."""
    return F.unfold(bordered, 2 * RADIUS + 1)[0].T.contiguous()


class _Canvas:
    """The descriptors of a canvas, computed a few rows at a time, since all of them take nine times its memory."""

    def __init__(self, latents: Tensor, wrap: Wrap) -> None:
        self.size = canvas_size(latents)
        self.width = latents.shape[1] * (2 * RADIUS + 1) ** 2
        self._bordered = bordered(latents, RADIUS, wrap)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Spans of flattened latent pixels, and their descriptors (n, C * 9)."""
        rows = max(1, CHUNK // self.size.width)
        for top in range(0, self.size.height, rows):
            bottom = min(top + rows, self.size.height)
            read = self._bordered[..., top : bottom + 2 * RADIUS, :]
            yield slice(top * self.size.width, bottom * self.size.width), _describe(read)

    def cost(self, table: _Table, index: Tensor) -> Tensor:
        """Squared distance of each latent pixel to its matched exemplar latent pixel, (n,)."""
        return torch.cat([table.cost(described, index[span]) for span, described in self])


class _Table:
    """The descriptors of all exemplar latent pixels, of all sources, in one table."""

    def __init__(self, exemplar: Exemplar) -> None:
        self.sources = sources = exemplar.sources
        self.labels = torch.cat([exemplar.source_labels(source).flatten() for source in sources]).short()
        self.described = torch.cat([_describe(bordered(s.latents, RADIUS, Wrap())) for s in sources])
        self._energy = self.described.square().sum(1)
        self.sizes = [canvas_size(s.latents) for s in sources]
        areas = torch.tensor([0] + [size.area for size in self.sizes])
        self.offsets = areas.cumsum(0)
        self.variance = max(float(self.described.var(0).sum()), FLAT)
        self._widths = torch.tensor([size.width for size in self.sizes])
        self._heights = torch.tensor([size.height for size in self.sizes])

    def nearest(self, described: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Index of the nearest exemplar latent pixel (of the same label), and squared distance to it, (n,) each; infinite if there is none."""
        if labels is None:
            return self._nearest(described, slice(None))
        index, cost = self.first(len(described)), torch.full((len(described),), torch.inf)
        for label in labels.unique().tolist():  # type: ignore[no-untyped-call]
            mine, theirs = (labels == label).nonzero()[:, 0], (self.labels == label).nonzero()[:, 0]
            if len(theirs):
                found, cost[mine] = self._nearest(described[mine], theirs)
                index[mine] = theirs[found]
        return index, cost

    def _nearest(self, described: Tensor, among: Tensor | slice) -> tuple[Tensor, Tensor]:
        table, energy = self.described[among], self._energy[among]
        few = max(1, LARGEST // len(table))
        found = [torch.addmm(energy, p, table.T, alpha=-2).min(1) for p in torch.split(described, few)]
        index, cost = (torch.cat([f[i] for f in found]) for i in (1, 0))
        return index, (cost + described.square().sum(1)).clamp_min(0)

    def first(self, count: int) -> Tensor:
        """Index 0 for every latent pixel, before any match is known."""
        return torch.zeros(count, dtype=torch.long)

    def cost(self, described: Tensor, index: Tensor) -> Tensor:
        """Squared distance of described latent pixels to the exemplar latent pixels `index`, (n,)."""
        return (described - self.described[index]).square().sum(1)

    def split(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Source number, row and column of exemplar latent pixels, (n,) each."""
        number = torch.bucketize(index, self.offsets[1:], right=True)
        inside = index - self.offsets[number]
        return number, inside // self._widths[number], inside % self._widths[number]

    def moved(self, index: Tensor, shift: tuple[int, int]) -> Tensor:
        """The exemplar latent pixels at an offset of `shift` in the same source, clamped to its border."""
        number, row, column = self.split(index)
        row = torch.minimum((row + shift[0]).clamp_min(0), self._heights[number] - 1)
        column = torch.minimum((column + shift[1]).clamp_min(0), self._widths[number] - 1)
        return self.offsets[number] + row * self._widths[number] + column

    def coordinates(self, index: Tensor, factor: int) -> Tensor:
        """Exemplar number, y and x in exemplar pixels, (3, n)."""
        number, row, column = self.split(index)
        exemplar, top, left = torch.tensor([s[1:] for s in self.sources]).T
        return torch.stack([exemplar[number], top[number] + row * factor, left[number] + column * factor])

    def lookup(self, coordinates: Tensor, factor: int) -> Tensor:
        """The inverse of `coordinates`."""
        index = torch.zeros(coordinates.shape[1], dtype=torch.long)
        for number, source in enumerate(self.sources):
            row, column = coordinates[1] - source.top_px, coordinates[2] - source.left_px
            mine = (coordinates[0] == source.exemplar) & (row % factor == 0) & (column % factor == 0)
            value = self.offsets[number] + row // factor * self._widths[number] + column // factor
            index = torch.where(mine, value, index)
        return index
