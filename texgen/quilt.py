"""Image quilting on exemplar latents: a canvas sewn from exemplar blocks along minimum-error cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.exemplar import Source
from texgen.reuse import Reuse
from texgen.search import Search, unusable_shares
from tiling import Size, Tile, Wrap, bordered, cut, plan_tiles

MAX_BLOCK, MIN_BLOCK = 16, 4
ENOUGH = 64
"""Places to choose a block from."""
STEERED = 0.5
"""How freely repeats are avoided along a layout, around given cells and by shares: seams give way to those as it is."""
BALANCE = 1.0
"""Cost of an exemplar that is shown by its whole share too often, in differences of two random blocks."""


class Given(NamedTuple):
    """Cells of a canvas that are there before the first block and stay.

    Attributes:
        latents: (1, C, h, w).
        cells: (h, w), bool.
        coordinates: (3, h, w), where they show the exemplar itself, as a quilt's: what they show is not shown again beside them.
    """

    latents: Tensor
    cells: Tensor
    coordinates: Tensor | None = None


class Quilt(NamedTuple):
    """A quilted canvas and where each of its cells came from.

    Attributes:
        latents: (1, C, h, w).
        coordinates: (3, h, w), int64: exemplar number, y and x in exemplar pixels of the cell's top left corner.
        cells: (h, w), bool: those that are sewn, or were there before.
    """

    latents: Tensor
    coordinates: Tensor
    cells: Tensor


@contextmanager
def _one_thread() -> Iterator[None]:
    """Blocks are too small to share: more threads gain little alone and lose much beside other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def block_side(sources: Sequence[Source], usable: Sequence[Tensor] | None = None) -> int:
    """Side of a block in latent pixels: three eighths of the smallest exemplar side, 4 to 16.

    Where only some cells are `usable` (h, w): the largest side down to 4 at which there are `ENOUGH` blocks of nothing else.
    """
    shortest = min(min(source.latents.shape[-2:]) for source in sources)
    largest = max(MIN_BLOCK, min(MAX_BLOCK, shortest * 3 // 8))
    if usable is None:
        return largest
    enough = (
        side
        for side in range(largest, MIN_BLOCK, -1)
        if sum(int((unusable_shares(cells, side) == 0).sum()) for cells in usable) >= ENOUGH
    )
    return next(enough, MIN_BLOCK)


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
    reuse: float = 0.4,
    layout: Tensor | None = None,
    layout_weight: float = 0.3,
    usable: Sequence[Tensor] | None = None,
    wanted: Tensor | None = None,
    given: Given | None = None,
    begun: Quilt | None = None,
    shares: Sequence[float] | None = None,
) -> Quilt:
    """Sew a canvas from exemplar blocks.

    Blocks are placed in rows. Each is chosen at random among the exemplar positions whose cost is at most
    1 + `tolerance` times the least; the cost is the mean squared difference to what is already there over the overlap,
    relative to that of two random blocks, plus `reuse` times the square of the exemplar's own misfit (`Search.misfit`; `STEERED`
    where more than seams decides) times how much of the same exemplar area blocks up to two exemplar sides away already
    show, plus `layout_weight` times the difference to the layout. Inside the overlap a minimum-error path decides which side
    is kept. Time is linear in the canvas; on a wrapped axis the starts are spread so that the ring closes.

    Args:
        sources: Exemplar latents at several pixel phases.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        factor: Image pixels per latent pixel.
        generator: Of the choices.
        block: Side of a block in latent pixels; larger keeps larger features whole and repeats them more.
        tolerance: Larger gives more variety and worse seams.
        reuse: Larger avoids repeats within sight at the cost of seams and of features longer than a block. What that costs
            depends on the exemplar: in stones or sand every seam is about as good as another, in tiles and planks few places fit,
            and a broken course is worse than a repeat.
        layout: Latents (1, C, h, w) of the canvas that blocks should agree with in their low frequencies.
        layout_weight: Larger follows the layout more closely at the cost of seams; 0 is the plain quilt.
        usable: Cells of each source that may be shown, bool (h, w); all by default.
        wanted: Cells of the canvas to be covered, bool (h, w); all by default. The others stay 0.
        given: Cells that stay as they are: blocks are laid from them outwards, and fit them.
        begun: A quilt that this one goes on with; its cells may be covered.
        shares: Of each exemplar on the canvas, summing to 1: one that is shown more often than that costs more.

    Raises:
        ValueError: The layout is not as large as the canvas.

    References:
        Efros, Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001,
        https://doi.org/10.1145/383259.383296; the layout is its section 3.
    """
    _check_layout(layout, sources, canvas)
    side = min(block or block_side(sources, usable), *canvas)
    stride = side - _overlap(side)
    channels = sources[0].latents.shape[1]
    if begun is None:
        begun = Quilt(
            torch.zeros(1, channels, *canvas),
            torch.zeros(3, *canvas, dtype=torch.long),
            torch.zeros(canvas, dtype=torch.bool),
        )
    result = Quilt(*(tensor.clone() for tensor in begun))
    if given is not None:
        result.latents[..., given.cells] = given.latents[..., given.cells]
        result.cells.logical_or_(given.cells)
    tiles = plan_tiles(canvas, Size(side, side), Size(stride, stride), wrap)
    search, shown = Search(sources, side, usable), Reuse(tiles, canvas, wrap, sources, factor)
    steered = given is not None or shares is not None or (layout is not None and layout_weight > 0)
    if reuse:
        reuse *= STEERED if steered else search.misfit(_overlap(side)) ** 2
    if given is not None and given.coordinates is not None:
        for number, tile in enumerate(tiles):
            if bool(cut(given.cells, tile).all()):
                shown.mark(number, *cut(given.coordinates, tile)[:, 0, 0].tolist())
    for number in _order(tiles, wanted, None if given is None else given.cells, wrap):
        tile = tiles[number]
        current, known = cut(result.latents, tile), cut(result.cells, tile)
        target = None if layout is None else cut(layout, tile)
        costs = search.costs(current, known, target, layout_weight) + reuse * shown.shares(number)
        if shares is not None:
            costs = costs + BALANCE * shown.excess(shares)
        which, top, left = _choose(costs, tolerance, generator)
        source = sources[which]
        patch = source.latents[..., top : top + side, left : left + side]
        alpha = _seam(current, patch, known)
        if given is not None:
            alpha = alpha * ~cut(given.cells, tile)
        _place(result, tile, patch, alpha, source, Size(top, left), factor)
        shown.add(number, source, Size(top, left))
    return result


def _overlap(side: int) -> int:
    """Overlap of neighbouring blocks, in latent pixels like their side."""
    return max(2, side * 5 // 16)


def quilt_around(sources: Sequence[Source], canvas: Size, wrap: Wrap, given: Given, **options: Any) -> Quilt:
    """Sew what lies around given cells, or in a hole in them, in blocks that grow with the distance.

    At the rim no cut can be placed: one side of it is fixed. There small blocks fit best (of 4 cells the gradient across
    the rim of a hole in stones is 1.2 times that elsewhere, of 16 cells 2.1 times); further off, larger ones keep large features
    whole.

    Args:
        sources: As `quilt`.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        given: Cells that stay.
        options: Those of `quilt`; `block` is the largest side.
    """
    if not bool(given.cells.any()):
        return quilt(sources, canvas, wrap, **options)
    largest = options.pop("block", None) or block_side(sources, options.get("usable"))
    away = _distances(given.cells, wrap)
    side, inner, sewn = MIN_BLOCK, 0.0, None
    while sewn is None or bool((away > inner).any()):
        side = min(side, largest)
        outer = inner + side if side < largest else torch.inf
        ring = (away > inner) & (away <= outer)
        last = quilt(sources, canvas, wrap, block=side, wanted=ring, given=given, begun=sewn, **options)
        before = given.cells if sewn is None else sewn.cells
        sewn, inner, side = last._replace(cells=before | ring), outer, 2 * side
    return sewn


def _order(tiles: Sequence[Tile], wanted: Tensor | None, given: Tensor | None, wrap: Wrap) -> list[int]:
    """Numbers of the tiles that are needed: row by row, or those nearest to the given cells first."""
    order = [n for n, tile in enumerate(tiles) if wanted is None or bool(cut(wanted, tile).any())]
    if given is None:
        return order
    away = _distances(given, wrap)
    side, (height, width) = tiles[0].size.height, given.shape
    at = {n: float(away[(tiles[n].top + side // 2) % height, (tiles[n].left + side // 2) % width]) for n in order}
    order = [n for n in order if not bool(cut(given, tiles[n]).all())]
    return sorted(order, key=lambda n: at[n])


def _distances(given: Tensor, wrap: Wrap) -> Tensor:
    """Steps from each cell (h, w) to the nearest given one, the larger of rows and columns."""
    reached, away = given[None, None].float(), torch.zeros(given.shape)
    while not bool(reached.all()) and bool(reached.any()):
        away += 1 - reached[0, 0]
        reached = F.max_pool2d(bordered(reached, 1, wrap), 3, 1)
    return away


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


def _place(result: Quilt, tile: Tile, patch: Tensor, alpha: Tensor, source: Source, at: Size, factor: int) -> None:
    canvas = Size(*result.cells.shape)
    rows, columns = torch.from_numpy(tile.rows(canvas))[:, None], torch.from_numpy(tile.columns(canvas))
    result.latents[..., rows, columns] = patch * alpha + result.latents[..., rows, columns] * (1 - alpha)
    side = alpha.shape[0]
    y = source.top_px + (at.height + torch.arange(side))[:, None].expand(side, side) * factor
    x = source.left_px + (at.width + torch.arange(side)).expand(side, side) * factor
    fresh = torch.stack([torch.full_like(y, source.exemplar), y, x])
    result.coordinates[:, rows, columns] = torch.where(alpha > 0.49, fresh, result.coordinates[:, rows, columns])
    result.cells[rows, columns] = True
