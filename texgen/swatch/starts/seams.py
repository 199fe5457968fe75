"""Seams between the pieces of a quilt: their cost, the worst places, and minimum-error cuts."""

from __future__ import annotations

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.jit import compiled, inlined


@inlined
def seam(sheet, field, y, x):
    """Difference of two pieces, at both pixels, where the right or lower neighbour of a pixel shows another piece; next to given pixels, twice that at the given pixel.

    References:
        Kwatra et al., "Graphcut Textures: Image and Video Synthesis Using Graph Cuts", SIGGRAPH 2003,
        https://doi.org/10.1145/1201775.882264, equation 1.
    """
    pixels = sheet.pixels
    height, width = field.shape
    y, x = y % height, x % width
    ay, ax = field[y, x] >> 16, field[y, x] & MASK
    total = np.float32(0)
    for way in range(2):
        dy, dx = way, 1 - way
        y2, x2 = (y + dy) % height, (x + dx) % width
        by, bx = field[y2, x2] >> 16, field[y2, x2] & MASK
        if ay < 0 or by < 0:
            for c in range(sheet.control.given.shape[2] if ay >= 0 or by >= 0 else 0):
                if ay < 0:
                    there = sheet.control.given[y, x, c] - pixels[by - dy, bx - dx, c]
                else:
                    there = sheet.control.given[y2, x2, c] - pixels[ay + dy, ax + dx, c]
                total += 2 * there * there
            continue
        if by == ay + dy and bx == ax + dx:
            continue
        for c in range(pixels.shape[2]):
            here = pixels[ay, ax, c] - pixels[by - dy, bx - dx, c]
            there = pixels[ay + dy, ax + dx, c] - pixels[by, bx, c]
            total += here * here + there * there
    return total


@compiled
def seams(sheet, field, top, left, side):
    """Total cost of the seams in a square."""
    total = np.float32(0)
    for i in range(side):
        for j in range(side):
            total += seam(sheet, field, top + i, left + j)
    return total


@compiled
def worst_window(sheet, field, top, left, side, window):
    """Cost of the seams in the worst window of half a block whose middle lies in the square of `side` at (top, left), and that middle."""
    half = window // 4
    reach = side + 2 * half
    sums = np.zeros((reach + 1, reach + 1), np.float32)
    for i in range(reach):
        row = np.float32(0)
        for j in range(reach):
            row += seam(sheet, field, top - half + i, left - half + j)
            sums[i + 1, j + 1] = sums[i, j + 1] + row
    worst, y, x = np.float32(-1), 0, 0
    for i in range(side):
        for j in range(side):
            cost = sums[i + 2 * half, j + 2 * half] - sums[i, j + 2 * half] - sums[i + 2 * half, j] + sums[i, j]
            if cost > worst:
                worst, y, x = cost, i, j
    return worst, top + y, left + x


@compiled
def cut(sheet, field, top, left, sy, sx, block, overlap, fresh):
    """Clear in `fresh` what lies beyond the minimum-error path towards each neighbour that exists already."""
    pixels = sheet.pixels
    height, width = field.shape
    channels = pixels.shape[2] - sheet.control.guide.shape[2]
    for way in range(4):
        my, mx = middle(way, block // 2, 0, block)
        if field[(top + my) % height, (left + mx) % width] < 0:
            continue
        error = np.zeros((block, overlap), np.float32)
        for i in range(block):
            for j in range(overlap):
                y, x = middle(way, i, j, block)
                packed = field[(top + y) % height, (left + x) % width]
                if packed >= 0:
                    for c in range(channels):
                        difference = pixels[packed >> 16, packed & MASK, c] - pixels[sy + y, sx + x, c]
                        error[i, j] += difference * difference
        for i in range(1, block):
            for j in range(overlap):
                least = error[i - 1, j]
                if j > 0:
                    least = min(least, error[i - 1, j - 1])
                if j + 1 < overlap:
                    least = min(least, error[i - 1, j + 1])
                error[i, j] += least
        j = np.argmin(error[block - 1])
        for i in range(block - 1, -1, -1):
            if i < block - 1:
                best = j
                for k in range(max(j - 1, 0), min(j + 2, overlap)):
                    if error[i, k] < error[i, best]:
                        best = k
                j = best
            for k in range(j):
                y, x = middle(way, i, k, block)
                fresh[y, x] = False


@inlined
def middle(way, along, depth, block):
    """Row and column of a place in the strip along one side of a block: left, right, top or bottom."""
    if way == 0:
        return along, depth
    if way == 1:
        return along, block - 1 - depth
    if way == 2:
        return depth, along
    return block - 1 - depth, along
