"""Bending: where pieces meet, their contents shift by a few pixels, and less with the distance, so that a step in a line becomes a bend."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import numpy as np

from texgen.files.mapped_arrays import release
from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.level import Level
from texgen.swatch.jit import compiled, inlined
from texgen.swatch.search.votes import unpacked
from texgen.swatch.steering import Control
from tiling import Size, plan_cores

TILE = 512
"""Side of the tiles that are aligned at a time."""
STEPS, AROUND = (2, 1), 3
"""Successive step sizes of the search for the best move of one piece against another, and distance from their seam within which they are compared, in pixels."""
FADE = 32.0
"""Distance from a seam, in pixels, over which a move falls to about a third."""
NEAREST = 0.75
"""Added to a move before it is rounded down: the two halves of an odd one, about -1.5 and 1.5, become -1 and 2."""
HALO = 64
SWEEPS = 80
BETTER = 0.5
"""Two pieces are moved against each other if at most this part of their difference remains."""
FAR = 0.001
"""Cost of a move by one pixel, in mean squared differences of two random pixels."""
HELD = 0.5
"""Weight of the tie between two pieces that fit as they are; that between pixels of one piece is 1."""


class Sheet(NamedTuple):
    """What the field points into: `pixels` without guides, `centres` and `labels` of `level.Level`; and `far`, the cost of a move by one pixel."""

    pixels: np.ndarray
    centres: np.ndarray
    labels: np.ndarray
    far: np.float32


def sheet_of(level: Level, control: Control) -> Sheet:
    """The sheet at a scale."""
    pixels = np.ascontiguousarray(level.pixels[..., : level.pixels.shape[2] - control.guide.shape[2]])
    spread = 2 * float(pixels[level.own].var(0).sum())
    return Sheet(pixels, level.centres, level.labels, np.float32(FAR * spread))


def aligned(
    pool: ThreadPoolExecutor, old: np.ndarray, new: np.ndarray, level: Level, control: Control
) -> Iterator[None]:
    """Write the aligned field one row of tiles at a time, with all threads of a pool."""
    sheet, size = sheet_of(level, control), Size(*old.shape)
    for _, row in groupby(plan_cores(size, Size(TILE, TILE)), lambda tile: tile.top):
        tiles = [*row]
        free = [tile for tile in tiles if control.free(tile)]
        if len(free) < len(tiles):
            rows = slice(tiles[0].top, tiles[0].bottom)
            new[rows] = old[rows]
        list(pool.map(lambda tile: align(old, new, tile, sheet, control), np.array(free, np.int64)))
        release(old, new, control.given, control.known)
        yield


@compiled
def align(old, new, tile, sheet, control):
    """Align the pieces of a field on a tile.

    The moves u minimise the sum of (u_p - u_q)^2 over neighbours p, q of one piece, of w (u_q - u_p - d)^2 over neighbours of two pieces, and of
    (u / `FADE`)^2. Here d is the move of q's piece that makes the two most similar around the seam, and w is 0 where no move helps. Given pixels stay.

    Args:
        old, new: Fields (h, w), int32, packed; `old` is read, wrapped; `new` is written inside the tile.
        tile: (4,): top, left, bottom, right.
        sheet: See `Sheet`.
        control: `steering.Control` of the canvas.

    References:
        Wu, Yu, "Feature Matching and Deformation for Texture Synthesis", SIGGRAPH 2004, https://doi.org/10.1145/1015706.1015730.
    """
    top, left, bottom, right = tile[0], tile[1], tile[2], tile[3]
    fy, fx = unpacked(old, top - HALO, left - HALO, bottom - top + 2 * HALO, right - left + 2 * HALO)
    ties, pull, moving = tied(fy, fx, top - HALO, left - HALO, sheet, control)
    if not moving:
        new[top:bottom, left:right] = old[top:bottom, left:right]
        return
    down, across = relaxed(ties, pull[0]), relaxed(ties, pull[1])
    for y in range(HALO, fy.shape[0] - HALO):
        for x in range(HALO, fy.shape[1] - HALO):
            was_y, was_x = fy[y, x], fx[y, x]
            sy = was_y + np.int32(np.floor(down[y, x] + NEAREST))
            sx = was_x + np.int32(np.floor(across[y, x] + NEAREST))
            if was_y < 0 or not may_show(sheet, was_y, was_x, sy, sx):
                sy, sx = was_y, was_x
            new[top + y - HALO, left + x - HALO] = (sy << 16) | (sx & MASK)


@inlined
def may_show(sheet, was_y, was_x, y, x):
    """Whether a pixel of the canvas may show the place (y, x) of the sheet instead of its own."""
    if y < 0 or x < 0 or y >= sheet.centres.shape[0] or x >= sheet.centres.shape[1] or not sheet.centres[y, x]:
        return False
    return sheet.labels[y, x] == sheet.labels[was_y, was_x]


@compiled
def tied(fy, fx, top, left, sheet, control):
    """Weights of each pixel's ties to its right and its lower neighbour, and the reciprocal of all its weights, (3, h, w); the sums of the weighted moves,
    down and to the right, (2, h, w); and whether anything moves at all."""
    height, width = fy.shape
    ties, pull = np.zeros((3, height, width), np.float32), np.zeros((2, height, width), np.float32)
    window = np.empty((2, (2 * AROUND + 2) ** 2 * sheet.pixels.shape[2]), np.float32)
    moving = False
    for y in range(height):
        for x in range(width):
            for way in range(2):
                dy, dx = way, 1 - way
                y2, x2 = y + dy, x + dx
                if y2 >= height or x2 >= width or (fy[y, x] < 0 and fy[y2, x2] < 0):
                    continue
                tie, by, bx = np.float32(1), 0, 0
                if fy[y2, x2] != fy[y, x] + dy or fx[y2, x2] != fx[y, x] + dx:
                    sign = -1 if fy[y2, x2] < 0 else 1  # which of the two is moved
                    sy, sx = (fy[y, x], fx[y, x]) if sign < 0 else (fy[y2, x2] - dy, fx[y2, x2] - dx)
                    seen(fy, fx, y, x, dy, dx, sign < 0, top, left, sheet, control, window)
                    tie, by, bx = best_move(sheet, window, sy, sx, dy, dx)
                    by, bx = sign * by, sign * bx
                if tie == 0:
                    continue
                moving = moving or by != 0 or bx != 0
                ties[way, y, x] = tie
                ties[2, y, x] += tie
                ties[2, y2, x2] += tie
                pull[0, y, x] -= tie * by
                pull[0, y2, x2] += tie * by
                pull[1, y, x] -= tie * bx
                pull[1, y2, x2] += tie * bx
    for y in range(height):
        for x in range(width):
            ties[2, y, x] = 1 / (ties[2, y, x] + 1 / (FADE * FADE)) if fy[y, x] >= 0 else 0
    return ties, pull, moving


@compiled
def seen(fy, fx, y, x, dy, dx, given, top, left, sheet, control, window):
    """Write into `window` (2, n) what the side of a seam that stays shows around it, and where that is known: given pixels if `given` is set or (y, x) is given, else the
    piece at (y, x)."""
    pixels, n = sheet.pixels, 0
    for i in range(-AROUND, AROUND + 1 + dy):
        for j in range(-AROUND, AROUND + 1 + dx):
            if given or fy[y, x] < 0:
                row, column = (top + y + i) % control.known.shape[0], (left + x + j) % control.known.shape[1]
                source, known = control.given, control.known[row, column]
            else:
                row, column, source = fy[y, x] + i, fx[y, x] + j, pixels
                known = row >= 0 and column >= 0 and row < pixels.shape[0] and column < pixels.shape[1]
            for c in range(pixels.shape[2]):
                window[0, n] = source[row, column, c] if known else 0
                window[1, n] = known
                n += 1


@compiled
def best_move(sheet, window, sy, sx, dy, dx):
    """Weight of the tie of a piece to what lies beyond its seam, and the move (y, x) that makes it fit best; (sy, sx) is the place at which it would continue there."""
    wide, height, width = AROUND + sum(STEPS), sheet.pixels.shape[0], sheet.pixels.shape[1]
    if sy < wide or sx < wide or sy + wide + dy >= height or sx + wide + dx >= width:
        return np.float32(0), 0, 0
    count = (2 * AROUND + 1 + dy) * (2 * AROUND + 1 + dx)
    far = sheet.far * window[1, : count * sheet.pixels.shape[2]].mean() * count
    flat = sheet.pixels.reshape(-1)
    unmoved = moved_by(flat, sheet.pixels.shape, window, sy, sx, dy, dx)
    if unmoved <= far:
        return np.float32(HELD), 0, 0
    least, best_y, best_x = unmoved, 0, 0
    for step in STEPS:
        from_y, from_x = best_y, best_x
        for way in range(9):
            by, bx = from_y + step * (way // 3 - 1), from_x + step * (way % 3 - 1)
            cost = far * (by * by + bx * bx) + moved_by(flat, sheet.pixels.shape, window, sy + by, sx + bx, dy, dx)
            if cost < least:
                least, best_y, best_x = cost, by, bx
    if best_y == 0 and best_x == 0:
        return np.float32(HELD), 0, 0
    return np.float32(1) if least < BETTER * unmoved else np.float32(0), best_y, best_x


@inlined
def moved_by(flat, shape, window, sy, sx, dy, dx):
    """Sum of squared differences between the sheet around (sy, sx) and what is seen."""
    columns, channels = shape[1], shape[2]
    total, n, wide = np.float32(0), 0, (2 * AROUND + 1 + dx) * channels
    for i in range(-AROUND, AROUND + 1 + dy):
        first = ((sy + i) * columns + sx - AROUND) * channels
        for k in range(wide):
            difference = window[0, n + k] - flat[first + k]
            total += window[1, n + k] * difference * difference
        n += wide
    return total


@compiled
def relaxed(ties, pull):
    """One coordinate of the moves (h, w), by Chebyshev iteration, whose result does not depend on the order of the pixels.

    References:
        Golub, Varga, "Chebyshev Semi-iterative Methods", Numerische Mathematik 3, 1961, https://doi.org/10.1007/BF01386013.
    """
    height, width = pull.shape
    now, before = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    radius, weight = np.float32((4 / (4 + 1 / (FADE * FADE))) ** 2), np.float32(1)
    for sweep in range(SWEEPS):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                total = pull[y, x] + ties[0, y, x] * now[y, x + 1] + ties[0, y, x - 1] * now[y, x - 1]
                total += ties[1, y, x] * now[y + 1, x] + ties[1, y - 1, x] * now[y - 1, x]
                before[y, x] += weight * (total * ties[2, y, x] - before[y, x])
        now, before = before, now
        weight = 1 / (1 - radius / 2) if sweep == 0 else 1 / (1 - radius * weight / 4)
    return now
