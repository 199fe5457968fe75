"""Image quilting on exemplar latents: a canvas sewn from exemplar blocks along minimum-error cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.exemplar import Source
from tiling import Size, Tile, Wrap, cut, plan_tiles

MAX_BLOCK, MIN_BLOCK = 16, 4
REUSE_RADIUS = 4.0
FLAT = 1e-6


class Quilt(NamedTuple):
    """A quilted canvas and where each of its cells came from.

    Attributes:
        latents: (1, C, h, w).
        coordinates: (3, h, w), int64: exemplar number, y and x in exemplar pixels of the cell's top left corner.
    """

    latents: Tensor
    coordinates: Tensor


class _Placed:
    """Blocks placed so far, in rows from the top: canvas position, exemplar, and position in it in pixels."""

    def __init__(self, canvas: Size, wrap: Wrap) -> None:
        self.canvas = canvas
        self.wrap = wrap
        self.rows: dict[int, list[tuple[int, int, int, int]]] = {}

    def add(self, tile: Tile, source: Source, at_px: Size) -> None:
        self.rows.setdefault(tile.top, []).append((tile.left, source.exemplar, *at_px))

    def near(self, tile: Tile, radius: float) -> np.ndarray:
        """(n, 4): exemplar, y and x in pixels, and a weight falling from 1 to 0 at `radius`."""
        found = [np.zeros((0, 4))]
        for top, blocks in self.rows.items():
            vertical = _ring_distance(top - tile.top, self.canvas.height, self.wrap.y)
            if vertical < radius:
                left, exemplar, y, x = np.array(blocks).T
                distance = np.hypot(vertical, _ring_distance(left - tile.left, self.canvas.width, self.wrap.x))
                columns = np.stack([exemplar, y, x, 1 - distance / radius], 1)
                found.append(columns[distance < radius])
        return np.concatenate(found)


def _ring_distance(difference: Any, length: int, wrap: bool) -> Any:
    distance = np.abs(difference)
    return np.minimum(distance, length - distance) if wrap else distance


def block_side(sources: Sequence[Source]) -> int:
    """Side of a block in latent pixels: three eighths of the smallest exemplar side, 4 to 16."""
    shortest = min(min(source.latents.shape[-2:]) for source in sources)
    return max(MIN_BLOCK, min(MAX_BLOCK, shortest * 3 // 8))


def quilt(
    sources: Sequence[Source],
    canvas: Size,
    wrap: Wrap,
    *,
    factor: int,
    generator: torch.Generator,
    block: int | None = None,
    tolerance: float = 0.1,
    reuse: float = 0.1,
) -> Quilt:
    """Sew a canvas from exemplar blocks.

    Blocks are placed in rows. Each is chosen at random among the exemplar positions whose disagreement with what is
    already there is at most 1 + `tolerance` times the least; disagreement is the mean squared difference over the
    overlap, relative to that of two random blocks, plus `reuse` times how much of the same exemplar area blocks nearby
    already show. Inside the overlap a minimum-error path decides which side is kept. The cost is linear in the
    canvas; on a wrapped axis the starts are spread so that the ring closes.

    Args:
        sources: Exemplar latents at several pixel phases.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        factor: Image pixels per latent pixel.
        generator: Of the choices.
        block: Side of a block in latent pixels; larger keeps larger features whole and repeats them more.
        tolerance: Larger gives more variety and worse seams.
        reuse: Larger avoids repeats nearby at the cost of seams.

    References:
        Efros, Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001,
        https://doi.org/10.1145/383259.383296.
    """
    side = min(block or block_side(sources), *canvas)
    overlap = max(2, side * 5 // 16)
    stride = side - overlap
    channels = sources[0].latents.shape[1]
    result = Quilt(torch.zeros(1, channels, *canvas), torch.zeros(3, *canvas, dtype=torch.long))
    filled = torch.zeros(canvas, dtype=torch.bool)
    energies = [source.latents.square().sum(1, keepdim=True) for source in sources]
    spread = 2 * max(float(torch.cat([s.latents.flatten(2) for s in sources], 2).var(2).sum()), FLAT)
    placed = _Placed(canvas, wrap)
    for tile in plan_tiles(canvas, Size(side, side), Size(stride, stride), wrap):
        current, known = cut(result.latents, tile), cut(filled, tile)
        nearby = placed.near(tile, REUSE_RADIUS * side)
        costs = [
            _disagreement(source, energy, current, known, spread) + reuse * _reused(source, nearby, side, factor)
            for source, energy in zip(sources, energies, strict=True)
        ]
        number, top, left = _choose(costs, tolerance, generator)
        source = sources[number]
        patch = source.latents[..., top : top + side, left : left + side]
        alpha = _seam(current, patch, known)
        _place(result, filled, tile, patch, alpha, source, Size(top, left), factor)
        placed.add(tile, source, Size(source.top_px + top * factor, source.left_px + left * factor))
    return result


def _disagreement(source: Source, energy: Tensor, current: Tensor, known: Tensor, spread: float) -> Tensor:
    """Mean squared difference to `current` over the `known` cells at every exemplar position, over that of chance."""
    mask = known[None, None].float()
    count = float(mask.sum())
    if count == 0:
        return torch.zeros(energy.shape[-2] - known.shape[-2] + 1, energy.shape[-1] - known.shape[-1] + 1)
    masked = current * mask
    squares = F.conv2d(energy, mask) - 2 * F.conv2d(source.latents, masked) + masked.square().sum()
    return squares[0, 0].clamp_min(0) / (count * spread)


def _reused(source: Source, nearby: np.ndarray, side: int, factor: int) -> Tensor:
    """At every exemplar position, the share of it that blocks nearby already show, weighted by their nearness."""
    _, top, left, weight = torch.from_numpy(nearby[nearby[:, 0] == source.exemplar].T).float()
    rows, columns = (torch.arange(n - side + 1) * factor for n in source.latents.shape[-2:])
    extent = side * factor
    vertical = (1 - (rows + source.top_px - top[:, None]).abs() / extent).clamp_min(0)
    horizontal = (1 - (columns + source.left_px - left[:, None]).abs() / extent).clamp_min(0)
    return (vertical * weight[:, None]).T @ horizontal


def _choose(costs: Sequence[Tensor], tolerance: float, generator: torch.Generator) -> tuple[int, int, int]:
    flat = torch.cat([cost.flatten() for cost in costs])
    allowed = (flat <= flat.min() * (1 + tolerance) + 1e-6).nonzero()[:, 0]
    pick = int(allowed[torch.randint(len(allowed), (1,), generator=generator)])
    for number, cost in enumerate(costs):
        if pick < cost.numel():
            return number, pick // cost.shape[1], pick % cost.shape[1]
        pick -= cost.numel()
    raise AssertionError("the pick lies among the costs")


def _seam(current: Tensor, patch: Tensor, known: Tensor) -> Tensor:
    """Weight of the new block (side, side): 0 beyond a cut towards a neighbour, 1 inside, one half on the cut."""
    side = known.shape[0]
    difference = (current - patch).square().sum(1)[0] * known
    alpha = np.ones((side, side), np.float32)
    array, mask = difference.numpy(), known.numpy()
    for turns in range(4):  # each side in turn becomes the left one
        turned_mask = np.rot90(mask, turns)
        width = _strip(turned_mask)
        if width:
            strip = np.ascontiguousarray(np.rot90(array, turns)[:, :width])
            np.rot90(alpha, turns)[:, :width] *= _cut_path(strip)
    return torch.where(known, torch.from_numpy(alpha), torch.ones(()))


def _strip(mask: np.ndarray) -> int:
    """Columns from the left that are known at mid height, at most half of the block."""
    row = mask[mask.shape[0] // 2]
    known = int(np.argmin(row)) if not row.all() else len(row)
    return min(known, len(row) // 2)


def _cut_path(cost: np.ndarray) -> np.ndarray:
    """Minimum-error path down a strip (rows, columns): 0 left of it, one half on it, 1 right of it."""
    rows, columns = cost.shape
    total = cost.copy()
    for row in range(1, rows):
        before = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] += np.minimum(np.minimum(before[:-2], before[1:-1]), before[2:])
    alpha = np.zeros((rows, columns), np.float32)
    column = int(total[-1].argmin())
    for row in range(rows - 1, -1, -1):
        if row < rows - 1:
            low = max(column - 1, 0)
            column = low + int(total[row, low : column + 2].argmin())
        alpha[row, column] = 0.5
        alpha[row, column + 1 :] = 1
    return alpha


def _place(
    result: Quilt, filled: Tensor, tile: Tile, patch: Tensor, alpha: Tensor, source: Source, at: Size, factor: int
) -> None:
    canvas = Size(*filled.shape)
    rows, columns = torch.from_numpy(tile.rows(canvas))[:, None], torch.from_numpy(tile.columns(canvas))
    result.latents[..., rows, columns] = patch * alpha + result.latents[..., rows, columns] * (1 - alpha)
    side = alpha.shape[0]
    y = source.top_px + (at.height + torch.arange(side))[:, None].expand(side, side) * factor
    x = source.left_px + (at.width + torch.arange(side)).expand(side, side) * factor
    fresh = torch.stack([torch.full_like(y, source.exemplar), y, x])
    result.coordinates[:, rows, columns] = torch.where(alpha > 0.49, fresh, result.coordinates[:, rows, columns])
    filled[rows, columns] = True
