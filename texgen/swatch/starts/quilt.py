"""A start: pieces of the swatch sewn along minimum-error cuts, at a coarse scale."""

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
"""Cost of showing a piece again that stands beside, in differences of two random pieces, where all places fit equally badly."""
BALANCE = 0.1
"""Cost of a piece that is shown twice as often as the mean, in the same unit."""
MOST = 3000
"""Places compared at first, spread over the bank."""
SOFTER = 0.25
"""Part of the cost of repeats that counts where pieces are sewn over seams."""
PROBES, BEST, GOLDEN = 6, 0.001, 0.618034
NEVER = np.zeros(1, np.bool_)
"""For those who do not stop."""
REACH = 2.0
"""Swatch sides, of what is not shown twice, within which a repeat is seen."""


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

    Blocks are placed in rows; each is a random one of the bank's whose cost is at most 1 + `TOLERANCE` times the least. The cost is the mean squared
    difference to what is there already over the overlap, relative to that of two random pixels, plus `reuse` times the share of the same piece
    that blocks near by show and `PHASE` times that for lying in step with them, plus `BALANCE` times its use beyond the mean, plus `EXCESS` times the use of its
    swatch beyond that swatch's share; where nothing steers the canvas, plus `TINT` times how far its colour leads away from the swatches' mean. A piece that carries on its neighbour pays less for what the two share; one that nearly does is not laid.
    Then blocks are sewn over the worst seams where they make less of them.

    Args:
        level: Of the bank.
        canvas: At this level.
        block: Side of a block in pixels of the level; larger keeps larger features whole and copies more.
        overlap: Of neighbouring blocks.
        reuse: Cost of showing a piece again that stands beside, in differences of two random pieces; larger avoids repeats within
            sight at the cost of seams and of features longer than a block.
        mend: How often all of the canvas is gone over for the worst seams.
        control: What steers the canvas: each block pays the mean squared difference to the guide; where pixels are given the field stays -1.
        stop: (1,), bool; becomes True where the field is not wanted any more, of which the rest is left out then.
        seed: Of the choices.

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
    """How far each pixel of the bank lies from the wanted mean, (H, W, C), float32, in roots of `spread`; no channels where a canvas is steered."""
    free = not (control.known.size or control.labels.size or control.guide.shape[2])
    colours = level.pixels[..., : level.colours if free else 0]
    wanted = np.average(colours[level.own], axis=0, weights=level.shares[level.own])
    return ((colours - wanted) / spread**0.5).astype(np.float32)


def block_corners(level: Level, block: int) -> np.ndarray:
    """The corner (H, W), packed, of a block that shows what a block here would show and that holds nothing but centres; -1 where there is none."""
    whole = whole_blocks(level.centres, block)
    found = np.full(level.size, -1, np.int32)
    y, x = np.nonzero(whole)
    shown = level.inside[y, x]
    found[shown >> 16, shown & MASK] = pack(y, x)
    own = whole & (level.inside == pack(*np.indices(level.size)))
    found[own] = level.inside[own]
    return np.where(level.centres, found[level.inside >> 16, level.inside & MASK], -1).astype(np.int32)


def own_corners(corners: np.ndarray) -> np.ndarray:
    """Places (n, 2), int32, of the corners that stand for themselves."""
    return np.argwhere(corners == pack(*np.indices(corners.shape))).astype(np.int32)


def whole_blocks(centres: np.ndarray, block: int) -> np.ndarray:
    """Corners (H, W) of the blocks that hold nothing but centres."""
    sums = np.pad(centres.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    found = np.zeros(centres.shape, bool)
    if block <= min(centres.shape):
        inside = sums[block:, block:] - sums[:-block, block:] - sums[block:, :-block] + sums[:-block, :-block]
        found[: inside.shape[0], : inside.shape[1]] = inside == block * block
    return found


def misfit(level: Level, block: int, overlap: int) -> float:
    """How badly a block fits at the best other places, 0 (they are the same) to 1 (no better than the mean place).

    About 0.3 for tiles and planks, where some places carry each other on nearly as well as their own neighbours, and 0.6 to 0.8 for
    stones or rust, where all are about equally wrong.
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
