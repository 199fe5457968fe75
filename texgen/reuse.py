"""Which parts of the exemplar the blocks of a quilt show already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from texgen.exemplar import PHASES, Source
from tiling import Size, Tile, Wrap, canvas_size

REACH = 2


class Reuse:
    """Blocks placed so far on the grid of a plan, and what showing a part of the exemplar again would repeat.

    The reach is `REACH` exemplar sides: blocks that carry each other on cover the exemplar once and then begin anew,
    so that the nearest repeats of a place are about one exemplar side apart.

    Args:
        tiles: The plan: a grid, row by row.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        sources: Exemplar latents at several pixel phases.
        factor: Image pixels per latent pixel.
    """

    def __init__(self, tiles: Sequence[Tile], canvas: Size, wrap: Wrap, sources: Sequence[Source], factor: int) -> None:
        tops, lefts = (np.array(sorted({tile[axis] for tile in tiles})) for axis in (0, 1))
        self._side = tiles[0].size.height
        self._factor = factor
        self._radius = REACH * max(max(source.latents.shape[-2:]) for source in sources)
        self._down = _ways(tops, canvas.height, wrap.y, self._radius)
        self._right = _ways(lefts, canvas.width, wrap.x, self._radius)
        self._shown = np.zeros((len(tops), len(lefts), 3), np.int64)
        self._done = np.zeros((len(tops), len(lefts)), bool)
        self._phases = {
            (source.exemplar, source.top_px % factor, source.left_px % factor): (number, source)
            for number, source in enumerate(sources)
        }
        sizes = [canvas_size(source.latents) for source in sources]
        exemplars, tops_px, lefts_px = torch.tensor([source[1:] for source in sources]).T[..., None]
        self._exemplars = exemplars
        self._rows = tops_px.float() + torch.arange(max(size.height for size in sizes) - self._side + 1) * factor
        self._columns = lefts_px.float() + torch.arange(max(size.width for size in sizes) - self._side + 1) * factor

    def add(self, number: int, source: Source, at: Size) -> None:
        """Note that tile `number` of the plan shows the block at row and column `at` of a source."""
        self.mark(number, source.exemplar, source.top_px + at[0] * self._factor, source.left_px + at[1] * self._factor)

    def mark(self, number: int, exemplar: int, top: int, left: int) -> None:
        """Note that tile `number` of the plan shows an exemplar from (top, left) in its pixels on, to the nearest phase."""
        place, phase = divmod(number, self._done.shape[1]), max(1, self._factor // PHASES)
        self._shown[place] = (exemplar, top // phase * phase, left // phase * phase)
        self._done[place] = True

    def shares(self, number: int) -> Tensor:
        """At every position, the share of it that blocks near tile `number` show, (sources, rows, columns).

        A block weighs 1 at no distance, 0 at the reach. What a block shows where it overlaps one that it carries on is
        the same on the canvas too, no repeat, and does not count.
        """
        shown, weight, carried_on = self._near(number)
        exemplar, top, left = torch.from_numpy(shown.T).float()
        extent = self._side * self._factor
        vertical = (1 - (self._rows[..., None] - top).abs() / extent).clamp_min(0)
        horizontal = (1 - (self._columns[..., None] - left).abs() / extent).clamp_min(0)
        mine = torch.from_numpy(weight).float() * (self._exemplars == exemplar)
        shares = (vertical * mine[:, None]) @ horizontal.mT
        self._forgive(shares, shown, weight, carried_on)
        return shares

    def excess(self, wanted: Sequence[float]) -> Tensor:
        """How much more often than wanted a position's exemplar is shown so far, as a part of its share, (sources, 1, 1).

        Args:
            wanted: The share of each exemplar, summing to 1.
        """
        shown = np.bincount(self._shown[self._done][:, 0], minlength=len(wanted)) / max(int(self._done.sum()), 1)
        excess = torch.from_numpy((shown / np.maximum(wanted, 1e-6) - 1).clip(0)).float()
        return excess[self._exemplars[:, 0].long()][:, None, None]

    def _near(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the n blocks in reach: (n, 3) exemplar, y and x; (n,) weight; (n, 2) y and x that would carry it on."""
        row, column = divmod(number, self._done.shape[1])
        (rows, down), (columns, right) = self._down[row], self._right[column]
        weight = 1 - np.hypot(down[:, None], right) / self._radius
        kept = (weight > 0) & self._done[np.ix_(rows, columns)]
        shown = self._shown[np.ix_(rows, columns)]
        carried_on = shown[..., 1:] + self._factor * np.stack(np.meshgrid(down, right, indexing="ij"), -1)
        return shown[kept], weight[kept], carried_on[kept]

    def _forgive(self, shares: Tensor, shown: np.ndarray, weight: np.ndarray, carried_on: np.ndarray) -> None:
        """Take the overlap with the blocks that are carried on out of `shares`."""
        overlap = (1 - np.abs(carried_on - shown[:, 1:]) / (self._side * self._factor)).clip(0).prod(1)
        for index in overlap.nonzero()[0]:
            (y, x), factor = carried_on[index].tolist(), self._factor
            number, source = self._phases[int(shown[index, 0]), y % factor, x % factor]
            row, column = (y - source.top_px) // factor, (x - source.left_px) // factor
            if 0 <= row < shares.shape[1] and 0 <= column < shares.shape[2]:
                shares[number, row, column] -= float(weight[index] * overlap[index])


def _ways(starts: np.ndarray, length: int, wrap: bool, radius: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every start, which starts lie within the radius, and how far it is from each of them to the start."""
    found = []
    for start in starts:
        way = start - starts
        way = (way + length // 2) % length - length // 2 if wrap else way
        near = (np.abs(way) < radius).nonzero()[0]
        found.append((near, way[near]))
    return found
