"""A start: blocks of the swatch sewn along minimum-error cuts, at a coarse scale.

The cost of a block at a place of the canvas is the sum of

- the mean squared difference to what lies in the overlap already, relative to that of two random pixels;
- `reuse` times the share of it that blocks near by show, and `PHASE` times that if it lies in step with them;
- `BALANCE` times its use beyond the mean, and `EXCESS` times the use of its swatch beyond that swatch's share;
- if nothing steers the canvas, `TINT` times how far its colour takes the canvas away from the swatches' mean.

A block that continues its neighbour pays less for what the two share; one that almost continues it is not used.
"""

from __future__ import annotations

import math

import numpy as np

from texgen.swatch.bank.atlas import MASK, pack
from texgen.swatch.bank.level import Level
from texgen.swatch.starts.pieces import differences
from texgen.swatch.starts.sewing import Rules, Sheet, sew
from texgen.swatch.steering import Control
from tiling import Size, Wrap, plan_tiles

TOLERANCE = 0.1
REUSE = 0.4
"""Cost of repeating the piece next to it, in differences of two random pieces, for a swatch in which all places fit equally badly."""
BALANCE = 0.1
"""Cost of a piece that is used twice as often as the mean, in the same unit."""
MOST = 3000
"""Number of places, spread over the bank, that are compared at first."""
SOFTER = 0.25
"""Part of the cost of repeats that counts when pieces are sewn over seams."""
PROBES, BEST, GOLDEN = 6, 0.001, 0.618034
NEVER = np.zeros(1, np.bool_)
"""A `stop` that is never set."""
REACH = 2.0
"""Distance at which a repeat is still noticed, in sides of the swatch's part that is not itself a repeat."""


def quilted(
    level: Level,
    canvas: Size,
    block: int,
    overlap: int,
    reuse: float,
    mend: int,
    control: Control,
    seed: int,
    *,
    stop: np.ndarray = NEVER,
) -> np.ndarray:
    """A field (h, w), packed, sewn from blocks of the bank on a torus.

    Blocks are placed row by row; each is drawn from those whose cost is at most 1 + `TOLERANCE` times the least. Finally, blocks are sewn over the worst
    seams wherever that reduces them.

    Args:
        level: Scale of the bank.
        canvas: Size of the canvas at this scale.
        block: Side of a block in pixels of the scale; larger blocks keep larger features whole and copy more.
        overlap: Of neighbouring blocks, in pixels of the scale.
        reuse: Cost of repeating the piece next to it, in differences of two random pieces; larger values avoid visible repeats at the cost of seams
            and of features longer than a block.
        mend: How often the whole canvas is searched for the worst seams.
        control: Constraints on the canvas: each block pays the mean squared difference to the guide; where pixels are given the field stays -1.
        stop: (1,), bool; another thread sets it to True to end the work early, once the field is no longer wanted.
        seed: Of the random choices.

    References:
        Efros, Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001, https://doi.org/10.1145/383259.383296; sewing over the
        worst seams: Kwatra et al., "Graphcut Textures", SIGGRAPH 2003, https://doi.org/10.1145/1201775.882264, 3.1.
    """
    block = min(block, *canvas)
    corners = block_corners(level, block)
    overlap = max(1, min(overlap, block // 2))
    stride = Size(block - overlap, block - overlap)
    tiles = plan_tiles(canvas, Size(block, block), stride, Wrap(True, True))
    places = own_corners(corners)
    leap = min(4, max(1, math.ceil(math.sqrt(len(places) / MOST))))
    spread = 2 * float(level.pixels[level.own].var(0).sum()) + 1e-12
    field = np.full(canvas, -1, np.int32)
    if control.known.size:
        tiles = [t for t in tiles if not control.known[np.ix_(t.rows(canvas), t.columns(canvas))].all()]
    draws = np.random.default_rng(seed).random(len(tiles))
    reach = REACH * math.sqrt(level.own.sum() / len(np.unique(level.source[level.own])))
    sheet = Sheet(
        level.pixels, level.inside, level.shares, level.source, level.tori, level.wanted, corners, places,
        int(level.own.sum()), tints(level, control, spread), control, stop,
    )  # fmt: skip
    rules = Rules(block, overlap, leap, TOLERANCE, spread, reuse, BALANCE, reach)
    softer = rules._replace(reuse=reuse * SOFTER)
    if tiles:
        sew(sheet, rules, softer, np.array([t[:2] for t in tiles], np.int64), draws, mend, field)
    return field


def tints(level: Level, control: Control, spread: float) -> np.ndarray:
    """Difference of each pixel of the bank to the swatches' mean colour, (H, W, C), float32, in units of the root of `spread`; no channels if the canvas is steered."""
    free = not (control.known.size or control.labels.size or control.guide.shape[2])
    colours = level.pixels[..., : level.colours if free else 0]
    wanted = np.average(colours[level.own], axis=0, weights=level.shares[level.own])
    return ((colours - wanted) / spread**0.5).astype(np.float32)


def block_corners(level: Level, block: int) -> np.ndarray:
    """For each place the corner of a block of centres that shows the same as a block there would, (H, W), packed; -1 if there is none."""
    whole = whole_blocks(level.centres, block)
    found = np.full(level.size, -1, np.int32)
    y, x = np.nonzero(whole)
    shown = level.inside[y, x]
    found[shown >> 16, shown & MASK] = pack(y, x)
    own = whole & (level.inside == pack(*np.indices(level.size)))
    found[own] = level.inside[own]
    return np.where(level.centres, found[level.inside >> 16, level.inside & MASK], -1).astype(np.int32)


def own_corners(corners: np.ndarray) -> np.ndarray:
    """The corners that stand for themselves, (n, 2), int32."""
    return np.argwhere(corners == pack(*np.indices(corners.shape))).astype(np.int32)


def whole_blocks(centres: np.ndarray, block: int) -> np.ndarray:
    """Whether the block with its corner at each place consists of centres only, (H, W), bool."""
    sums = np.pad(centres.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    found = np.zeros(centres.shape, bool)
    if block <= min(centres.shape):
        inside = sums[block:, block:] - sums[:-block, block:] - sums[block:, :-block] + sums[:-block, :-block]
        found[: inside.shape[0], : inside.shape[1]] = inside == block * block
    return found


def misfit(level: Level, block: int, overlap: int) -> float:
    """How badly a block fits at the best other places, from 0 (the same) to 1 (no better than the mean place).

    About 0.3 for tiles and planks, in which some places continue each other nearly as well as their own neighbours do, and 0.6 to 0.8 for
    stones or rust, in which all places fit about equally badly.
    """
    places = own_corners(block_corners(level, block))
    shared = np.argwhere(np.indices((block, block)).min(0) < overlap).astype(np.int32)
    found = np.zeros(PROBES, np.float32)
    for number in range(PROBES):
        y, x = places[int(number * GOLDEN % 1 * len(places))]
        costs = differences(level.pixels, places, shared, level.pixels[y + shared[:, 0], x + shared[:, 1]], 1)
        others = np.sort(costs[np.abs(places - (y, x)).max(1) >= block // 2])
        if len(others):
            found[number] = others[int(BEST * len(others))] / max(others.mean(), 1e-12)
        else:
            found[number] = 1
    return float(np.median(found))
