"""How well a block of the canvas fits at every position of the exemplar."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.exemplar import Source
from tiling import Size, canvas_size

FLAT = 1e-6
BOXES = 4
MASKS = 64
"""Masks whose energies are kept; a grid of blocks meets about ten, the rim of a hole a new one at every block."""
FAST = 8
PROBES, BEST = 12, 0.001
"""Blocks that tell how badly the exemplars fit themselves, and the share of places that are called the best."""
GOLDEN = 0.618034
UNUSABLE = 100.0
"""Cost of a block of cells that may not be shown, in differences of two random blocks."""


class Search:
    """Costs of all positions of all sources at once, by one Fourier transform of a block.

    The squared difference of a block b, compared where a mask m is 1, to the exemplar x at position s is
    sum m x(s)^2 - 2 sum m b x(s) + sum m b^2. The first term depends on the mask alone and is kept for every mask met;
    the second is a correlation, a product with the exemplar's spectrum, which is computed once.

    A layout is rough: only its low frequencies count. It is compared by the means of `BOXES` x `BOXES` boxes of the
    block, a low pass that stays inside the block: it needs no border and joins the same correlation at no cost.

    Args:
        sources: Exemplar latents at several pixel phases.
        side: Of a block in latent pixels, at most the smallest source's.
        usable: Cells of each source that may be shown, bool (h, w); all by default. A block with others costs more than any
            without, the more the more of them it shows.
    """

    def __init__(self, sources: Sequence[Source], side: int, usable: Sequence[Tensor] | None = None) -> None:
        self.side = side
        self._sources = sources
        sizes = [canvas_size(source.latents) for source in sources]
        whole = Size(max(size.height for size in sizes), max(size.width for size in sizes))
        pooled = torch.cat([source.latents.flatten(2) for source in sources], 2)
        self._mean = pooled.mean(2)[..., None, None]  # taken away: calm latents far from 0 would drown in rounding
        self._chance = 2 * max(float(pooled.var(2).sum()), FLAT)
        centred = torch.cat([_padded(source.latents - self._mean, whole) for source in sources])
        self._fast = Size(*(-(-length // FAST) * FAST for length in whole))
        self._spectrum = torch.fft.rfft2(centred, s=self._fast)
        self._energy = centred.square().sum(1, keepdim=True)
        self._masked_energies: dict[bytes, Tensor] = {}
        self._positions = Size(whole.height - side + 1, whole.width - side + 1)
        self._outside = torch.zeros(len(sources), *self._positions)
        for outside, size in zip(self._outside, sizes, strict=True):
            outside[size.height - side + 1 :] = torch.inf
            outside[:, size.width - side + 1 :] = torch.inf
        for outside, cells in zip(self._outside, usable or (), strict=usable is not None):
            share = unusable_shares(cells, side)
            outside[: share.shape[0], : share.shape[1]] += UNUSABLE * share
        self._box = max(1, side // BOXES)
        self._box_energy, self._box_chance = self._boxed(centred, sizes)

    def _boxed(self, centred: Tensor, sizes: Sequence[Size]) -> tuple[Tensor, float]:
        """Squared box means summed over the block at every position, and what two random boxes differ by."""
        means = F.avg_pool2d(centred, self._box, 1)
        ones = torch.ones(1, 1, self.side // self._box, self.side // self._box)
        energy = F.conv2d(means.square().sum(1, keepdim=True), ones, dilation=self._box)[:, 0]
        lost = self._box - 1
        parts = [m[:, : s.height - lost, : s.width - lost].flatten(1) for m, s in zip(means, sizes, strict=True)]
        chance = 2 * max(float(torch.cat(parts, 1).var(1).sum()), FLAT)
        return energy[:, : self._positions.height, : self._positions.width], chance

    def costs(self, current: Tensor, known: Tensor, layout: Tensor | None = None, layout_weight: float = 0.0) -> Tensor:
        """How much a block differs from every position, in units of the difference of two random blocks.

        Args:
            current: The block (1, C, side, side) as it is on the canvas.
            known: Cells of it that count, bool (side, side).
            layout: The block (1, C, side, side) of the layout, if any.
            layout_weight: Of the difference to the layout.

        Returns:
            (sources, rows, columns): mean squared difference over the known cells, plus `layout_weight` times that of
            the box means to the layout's; infinite where a block does not fit in the source.
        """
        wanted = (current - self._mean) * known
        scale = 1 / (max(int(known.sum()), 1) * self._chance)
        kernel, total = scale * wanted, scale * (self._masked_energy(known) + wanted.square().sum())
        if layout is not None:
            means = F.avg_pool2d(layout - self._mean, self._box)
            scale = layout_weight / (means[0, 0].numel() * self._box_chance)
            kernel = kernel + scale * self._unpooled(means)
            total = total + scale * (self._box_energy + means.square().sum())
        return (total - 2 * self._correlation(kernel)).clamp_min(0) + self._outside

    def misfit(self, overlap: int) -> float:
        """How badly a block fits at the best other places, 0 (they are the same) to 1 (no better than the average place).

        With the blocks of `block_side` it is 0.3 for tiles and planks, where some places carry each other on nearly as well as
        their own neighbours, and 0.6 to 0.8 for stones or metal, where all are about equally wrong; small blocks fit better. The
        median over `PROBES` blocks, compared in an overlap along two sides with the places of the same exemplar; those within
        half a block do not count.

        Args:
            overlap: In latent pixels.
        """
        known = torch.zeros(self.side, self.side, dtype=torch.bool)
        known[:overlap], known[:, :overlap] = True, True
        allowed = self._outside <= self._outside.min()
        places, found = allowed.nonzero(), []
        for number in range(PROBES):
            which, top, left = places[int(number * GOLDEN % 1 * len(places))].tolist()
            source = self._sources[which]
            costs = self.costs(source.latents[..., top : top + self.side, left : left + self.side], known)
            others = (costs - self._outside)[allowed & self._elsewhere(source.exemplar, top, left)]
            if len(others):
                best = float(others.kthvalue(1 + int(BEST * len(others))).values)
                found.append(best / max(float(others.mean()), FLAT))
        return statistics.median(found) if found else 1.0

    def _elsewhere(self, exemplar: int, top: int, left: int) -> Tensor:
        """Positions (sources, rows, columns) of an exemplar half a block or more from one of them."""
        rows, columns = ((torch.arange(n) - at).abs() for n, at in zip(self._positions, (top, left), strict=True))
        same = torch.tensor([source.exemplar == exemplar for source in self._sources])
        return same[:, None, None] & ((rows[:, None] >= self.side // 2) | (columns >= self.side // 2))

    def _masked_energy(self, known: Tensor) -> Tensor:
        key = known.numpy().tobytes()
        if key not in self._masked_energies:
            if len(self._masked_energies) >= MASKS:
                self._masked_energies.clear()
            self._masked_energies[key] = F.conv2d(self._energy, known[None, None].float())[:, 0]
        return self._masked_energies[key]

    def _unpooled(self, means: Tensor) -> Tensor:
        """The transpose of taking box means: (1, C, n, n) to (1, C, side, side)."""
        spread = means.repeat_interleave(self._box, 2).repeat_interleave(self._box, 3) / self._box**2
        return _padded(spread, Size(self.side, self.side))

    def _correlation(self, kernel: Tensor) -> Tensor:
        """Sum of kernel (1, C, side, side) times exemplar; only positions that do not fit would wrap."""
        spectrum = torch.fft.rfft2(kernel, s=self._fast).conj()
        summed = torch.fft.irfft2((self._spectrum * spectrum).sum(1), s=self._fast)
        return summed[:, : self._positions.height, : self._positions.width]


def unusable_shares(usable: Tensor, side: int) -> Tensor:
    """The share of each block of `side` cells, by its top left cell, that is not usable (h, w)."""
    return F.avg_pool2d((~usable)[None].float(), side, 1)[0]


def _padded(values: Tensor, size: Size) -> Tensor:
    height, width = values.shape[-2:]
    return F.pad(values, (0, size.width - width, 0, size.height - height))
