"""Detail transfer: what the autoencoder loses on the exemplar is carried to the canvas, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.exemplar import PHASES, Exemplar, Source
from texgen.models import Backbone
from tiling import Size, Tile, Wrap, canvas_size, cut

FEATHER_PX = 2
TRUST = 0.5
COHERENCE = 0.5
CHUNK = 2048
RADIUS = 1
FLAT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Detail:
    """Where each canvas cell takes its detail from, and how much of it.

    Attributes:
        coordinates: (3, h, w), int64: exemplar number, y and x in exemplar pixels.
        weight: (h, w) in [0, 1].
        matched: Latents of the exemplar cells at `coordinates`, (1, C, h, w).
        residuals: Per exemplar and pixel phase, image - D(E(image)), each (3, H, W).
        factor: Image pixels per latent pixel.
        wrap: Axes of the canvas that close to a ring.
    """

    coordinates: Tensor
    weight: Tensor
    matched: Tensor
    residuals: tuple[Tensor, ...]
    factor: int
    wrap: Wrap

    def anchored(self, latents: Tensor) -> Tensor:
        """Latents (1, C, h, w) pulled to the exemplar cells they match, as far as they match them.

        A network's own grain and speckle go; where nothing in the exemplar fits, its picture stays.
        """
        return latents + self.weight * (self.matched.to(latents) - latents)

    def region(self, tile: Tile) -> Tensor:
        """Detail of a tile given in latent pixels, (1, 3, factor * height, factor * width), to be added to it.

        Each cell brings its own part of the exemplar's residual and `FEATHER_PX` more on every side, cross-faded with
        its neighbours: where neighbours come from neighbouring places the residual arrives unchanged.
        """
        canvas = Size(*self.weight.shape)
        grown = tile.grown(1, canvas, self.wrap)
        cells = cut(self.coordinates, grown).flatten(1)
        patches = self._patches(cells) * cut(self.weight, grown).flatten()
        profile = _feathered(self.factor, FEATHER_PX)
        window = (profile[:, None] * profile).flatten()[None, :, None]
        size = grown.size.scaled(self.factor)
        side = self.factor + 2 * FEATHER_PX
        fold = {"kernel_size": side, "stride": self.factor, "padding": FEATHER_PX}
        values = F.fold((patches * window).flatten(0, 1)[None], tuple(size), **fold)  # type: ignore[arg-type]
        total = F.fold(window.expand(1, -1, cells.shape[1]), tuple(size), **fold)  # type: ignore[arg-type]
        top, left = (tile.top - grown.top) * self.factor, (tile.left - grown.left) * self.factor
        inner = tile.size.scaled(self.factor)
        return (values / total)[..., top : top + inner.height, left : left + inner.width]

    def _patches(self, cells: Tensor) -> Tensor:
        """Residual around each cell, (3, side * side, n)."""
        side = self.factor + 2 * FEATHER_PX
        patches = torch.zeros(3, side * side, cells.shape[1])
        reach = torch.arange(side) - FEATHER_PX
        step = self.factor // PHASES
        number = cells[0] * PHASES**2 + (cells[1] % self.factor // step) * PHASES + cells[2] % self.factor // step
        for index, residual in enumerate(self.residuals):
            mine = (number == index).nonzero()[:, 0]
            rows = (cells[1, mine][:, None] + reach).clamp(0, residual.shape[1] - 1)
            columns = (cells[2, mine][:, None] + reach).clamp(0, residual.shape[2] - 1)
            patches[:, :, mine] = residual[:, rows[:, :, None], columns[:, None, :]].flatten(2).transpose(1, 2)
        return patches


def _feathered(factor: int, feather: int) -> Tensor:
    """Profile of factor + 2 feather pixels: flat in the middle, ramps that add up to 1 with the neighbour's."""
    ramp = (torch.arange(2 * feather) + 0.5) / (2 * feather)
    return torch.cat([ramp, torch.ones(factor - 2 * feather), ramp.flip(0)])


def exemplar_residuals(backbone: Backbone, exemplar: Exemplar) -> tuple[Tensor, ...]:
    """What the autoencoder loses on each exemplar at each pixel phase, (3, H, W) each; zero where no cell reaches."""
    residuals = []
    for source in exemplar.sources:
        image = exemplar.images[source.exemplar]
        decoded = backbone.decode(source.latents).cpu()
        area = (
            ...,
            slice(source.top_px, source.top_px + decoded.shape[-2]),
            slice(source.left_px, source.left_px + decoded.shape[-1]),
        )
        residual = torch.zeros_like(image)
        residual[area] = image[area] - decoded
        residuals.append(residual[0])
    return tuple(residuals)


def find_detail(
    backbone: Backbone, exemplar: Exemplar, latents: Tensor, coordinates: Tensor | None, wrap: Wrap
) -> Detail:
    """Match every canvas cell to an exemplar cell and take the detail from there.

    A cell's candidates are where the quilt took it from, where its neighbours' matches would put it, and the nearest
    exemplar cell of all; the last must be clearly nearer (by `COHERENCE`), since it breaks what continues. Nearness is
    the squared difference over the cell and its eight neighbours. The worse the match, the less detail.

    Args:
        backbone: Decodes the exemplar.
        exemplar: Where detail comes from.
        latents: The finished canvas (1, C, h, w).
        coordinates: The quilt's map (3, h, w), or None for a canvas that began as noise.
        wrap: Axes of the canvas that close to a ring.
    """
    canvas = canvas_size(latents)
    described = _describe(_bordered(latents.cpu(), wrap))
    table = _Table(exemplar.sources)
    nearest, nearest_cost = table.nearest(described)
    if coordinates is None:
        best, cost = nearest, nearest_cost
    else:
        best = table.lookup(coordinates.flatten(1), exemplar.factor)
        cost = table.cost(described, best)
        better = nearest_cost < COHERENCE * cost
        best, cost = torch.where(better, nearest, best), torch.where(better, nearest_cost, cost)
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = table.moved(best.view(*canvas).roll(shift, (0, 1)).flatten(), shift)
        moved_cost = table.cost(described, moved)
        better = moved_cost < cost
        best, cost = torch.where(better, moved, best), torch.where(better, moved_cost, cost)
    relative = cost / table.variance
    return Detail(
        coordinates=table.coordinates(best, exemplar.factor).view(3, *canvas),
        weight=torch.exp(-0.5 * (relative / TRUST) ** 2).view(*canvas),
        matched=table.latents(best).view(1, -1, *canvas),
        residuals=exemplar_residuals(backbone, exemplar),
        factor=exemplar.factor,
        wrap=wrap,
    )


def _bordered(latents: Tensor, wrap: Wrap) -> Tensor:
    """One cell more on every side: wrapped, or the border repeated."""
    latents = F.pad(latents, (RADIUS, RADIUS, 0, 0), mode="circular" if wrap.x else "replicate")
    return F.pad(latents, (0, 0, RADIUS, RADIUS), mode="circular" if wrap.y else "replicate")


def _describe(bordered: Tensor) -> Tensor:
    """Each cell with its neighbours, (n, C * 9)."""
    return F.unfold(bordered, 2 * RADIUS + 1)[0].T.contiguous()


class _Table:
    """All exemplar cells of all sources in one list of descriptors."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.described = torch.cat([_describe(_bordered(s.latents, Wrap())) for s in sources])
        self.sizes = [canvas_size(s.latents) for s in sources]
        areas = torch.tensor([0] + [size.area for size in self.sizes])
        self.offsets = areas.cumsum(0)
        self.variance = max(float(self.described.var(0).sum()), FLAT)
        self.cells = torch.cat([s.latents[0].flatten(1) for s in sources], 1)
        self._widths = torch.tensor([size.width for size in self.sizes])
        self._heights = torch.tensor([size.height for size in self.sizes])

    def nearest(self, described: Tensor) -> tuple[Tensor, Tensor]:
        """Index of and squared distance to the nearest exemplar cell, (n,) each."""
        energy = self.described.square().sum(1)
        found = [torch.min(energy - 2 * part @ self.described.T, 1) for part in torch.split(described, CHUNK)]
        index = torch.cat([f.indices for f in found])
        return index, torch.cat([f.values for f in found]).add(described.square().sum(1)).clamp_min(0)

    def cost(self, described: Tensor, index: Tensor) -> Tensor:
        """Squared distance of each cell to the exemplar cell it is matched with, (n,)."""
        parts = zip(torch.split(described, CHUNK), torch.split(index, CHUNK), strict=True)
        return torch.cat([(part - self.described[where]).square().sum(1) for part, where in parts])

    def split(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Source number, row and column of cells."""
        number = torch.bucketize(index, self.offsets[1:], right=True)
        inside = index - self.offsets[number]
        return number, inside // self._widths[number], inside % self._widths[number]

    def moved(self, index: Tensor, shift: tuple[int, int]) -> Tensor:
        """The cells `shift` further in the same source, or at its border."""
        number, row, column = self.split(index)
        row = torch.minimum((row + shift[0]).clamp_min(0), self._heights[number] - 1)
        column = torch.minimum((column + shift[1]).clamp_min(0), self._widths[number] - 1)
        return self.offsets[number] + row * self._widths[number] + column

    def coordinates(self, index: Tensor, factor: int) -> Tensor:
        """Exemplar number, y and x in exemplar pixels, (3, n)."""
        number, row, column = self.split(index)
        exemplar, top, left = torch.tensor([s[1:] for s in self.sources]).T
        return torch.stack([exemplar[number], top[number] + row * factor, left[number] + column * factor])

    def latents(self, index: Tensor) -> Tensor:
        """Latents of the cells, (C, n)."""
        return self.cells[:, index]

    def lookup(self, coordinates: Tensor, factor: int) -> Tensor:
        """The inverse of `coordinates`."""
        index = torch.zeros(coordinates.shape[1], dtype=torch.long)
        for number, source in enumerate(self.sources):
            row, column = coordinates[1] - source.top_px, coordinates[2] - source.left_px
            mine = (coordinates[0] == source.exemplar) & (row % factor == 0) & (column % factor == 0)
            value = self.offsets[number] + row // factor * self._widths[number] + column // factor
            index = torch.where(mine, value, index)
        return index
