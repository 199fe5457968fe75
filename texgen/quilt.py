"""Image quilting on exemplar latents: a canvas sewn from exemplar blocks along minimum-error cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from texgen.exemplar import Source
from texgen.reuse import Reuse
from texgen.search import Search
from tiling import Size, Tile, Wrap, cut, plan_tiles

MAX_BLOCK, MIN_BLOCK = 16, 4


class Quilt(NamedTuple):
    """A quilted canvas and where each of its cells came from.

    Attributes:
        latents: (1, C, h, w).
        coordinates: (3, h, w), int64: exemplar number, y and x in exemplar pixels of the cell's top left corner.
    """

    latents: Tensor
    coordinates: Tensor


@contextmanager
def _one_thread() -> Iterator[None]:
    """Blocks are too small to share: more threads gain little alone and lose much beside other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def block_side(sources: Sequence[Source]) -> int:
    """Side of a block in latent pixels: three eighths of the smallest exemplar side, 4 to 16."""
    shortest = min(min(source.latents.shape[-2:]) for source in sources)
    return max(MIN_BLOCK, min(MAX_BLOCK, shortest * 3 // 8))


@_one_thread()
def quilt(
    sources: Sequence[Source],
    canvas: Size,
    wrap: Wrap,
    *,
    factor: int,
    generator: torch.Generator,
    block: int | None = None,
    tolerance: float = 0.1,
    reuse: float = 0.2,
    layout: Tensor | None = None,
    layout_weight: float = 0.3,
) -> Quilt:
    """Sew a canvas from exemplar blocks.

    Blocks are placed in rows. Each is chosen at random among the exemplar positions whose cost is at most
    1 + `tolerance` times the least; the cost is the mean squared difference to what is already there over the overlap,
    relative to that of two random blocks, plus `reuse` times how much of the same exemplar area blocks up to two
    exemplar sides away already show, plus `layout_weight` times the difference to the layout. Inside the overlap a
    minimum-error path decides which side is kept. Time is linear in the canvas; on a wrapped axis the starts are
    spread so that the ring closes.

    Args:
        sources: Exemplar latents at several pixel phases.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        factor: Image pixels per latent pixel.
        generator: Of the choices.
        block: Side of a block in latent pixels; larger keeps larger features whole and repeats them more.
        tolerance: Larger gives more variety and worse seams.
        reuse: Larger avoids repeats within sight at the cost of seams and of features longer than a block: 0.1 keeps
            planks long, 0.3 leaves hardly a repeat to see at 2048 px and more.
        layout: Latents (1, C, h, w) of the canvas that blocks should agree with in their low frequencies.
        layout_weight: Larger follows the layout more closely at the cost of seams; 0 is the plain quilt.

    Raises:
        ValueError: The layout is not as large as the canvas.

    References:
        Efros, Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001,
        https://doi.org/10.1145/383259.383296; the layout is its section 3.
    """
    _check_layout(layout, sources, canvas)
    side = min(block or block_side(sources), *canvas)
    overlap = max(2, side * 5 // 16)
    stride = side - overlap
    channels = sources[0].latents.shape[1]
    result = Quilt(torch.zeros(1, channels, *canvas), torch.zeros(3, *canvas, dtype=torch.long))
    filled = torch.zeros(canvas, dtype=torch.bool)
    tiles = plan_tiles(canvas, Size(side, side), Size(stride, stride), wrap)
    search, shown = Search(sources, side), Reuse(tiles, canvas, wrap, sources, factor)
    for number, tile in enumerate(tiles):
        current, known = cut(result.latents, tile), cut(filled, tile)
        target = None if layout is None else cut(layout, tile)
        costs = search.costs(current, known, target, layout_weight) + reuse * shown.shares(number)
        which, top, left = _choose(costs, tolerance, generator)
        source = sources[which]
        patch = source.latents[..., top : top + side, left : left + side]
        alpha = _seam(current, patch, known)
        _place(result, filled, tile, patch, alpha, source, Size(top, left), factor)
        shown.add(number, source, Size(top, left))
    return result


def _check_layout(layout: Tensor | None, sources: Sequence[Source], canvas: Size) -> None:
    shape = (1, sources[0].latents.shape[1], *canvas)
    if layout is not None and tuple(layout.shape) != shape:
        raise ValueError(f"layout of shape {tuple(layout.shape)} must be {shape}: latents of the whole canvas.")


def _choose(costs: Tensor, tolerance: float, generator: torch.Generator) -> tuple[int, int, int]:
    """Source, row and column of a random one of the best positions."""
    allowed = (costs <= costs.min() * (1 + tolerance) + 1e-6).flatten().nonzero()[:, 0]
    pick = int(allowed[torch.randint(len(allowed), (1,), generator=generator)])
    _, rows, columns = costs.shape
    return pick // (rows * columns), pick // columns % rows, pick % columns


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
            path = np.array(_cut_path(np.rot90(array, turns)[:, :width].tolist()))[:, None]
            columns = np.arange(width)
            np.rot90(alpha, turns)[:, :width] *= np.where(columns == path, np.float32(0.5), columns > path)
    return torch.where(known, torch.from_numpy(alpha), torch.ones(()))


def _strip(mask: np.ndarray) -> int:
    """Columns from the left that are known at mid height, at most half of the block."""
    row = mask[mask.shape[0] // 2]
    known = int(np.argmin(row)) if not row.all() else len(row)
    return min(known, len(row) // 2)


def _cut_path(cost: list[list[float]]) -> list[int]:
    """Column of the minimum-error path in every row of a strip; on lists, which for so few cells beat arrays.

    Example:
        >>> _cut_path([[9, 1, 9], [1, 9, 9], [9, 1, 9]])
        [1, 0, 1]
    """
    totals = [cost[0]]
    for row in cost[1:]:
        above = totals[-1]
        totals.append([value + min(above[max(i - 1, 0) : i + 2]) for i, value in enumerate(row)])
    column = totals[-1].index(min(totals[-1]))
    path = [column]
    for row in totals[-2::-1]:
        low = max(column - 1, 0)
        column = row.index(min(row[low : column + 2]), low)
        path.append(column)
    return path[::-1]


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
