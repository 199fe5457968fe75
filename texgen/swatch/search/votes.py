"""Vote: a pixel becomes the mean of what the patches around it show. Fields hold packed coordinates, see `atlas.pack`, and -1 where pixels are given."""

from __future__ import annotations

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.jit import compiled, inlined

DEVIATION = 0.5
"""Standard deviation of the weights of a patch in a vote, in half patches."""


def vote_window(side: int) -> np.ndarray:
    """Weight of each pixel of a patch in a vote, (side, side)."""
    profile = np.exp(-0.5 * (np.linspace(-1, 1, side) / DEVIATION) ** 2) if side > 1 else np.ones(1)
    return np.outer(profile, profile).astype(np.float32)


@compiled
def voted(field, top, bottom, pixels, trust, window, out, blended):
    """Vote rows `top` to `bottom` of a field: write the weighted means into `out` (bottom - top, w, C), and into `blended` (bottom - top, w) whether a pixel
    mixes several pieces. Given pixels keep their values."""
    width, r = field.shape[1], window.shape[0] // 2
    fy, fx = unpacked(field, top - r, -r, bottom - top + 2 * r, width + 2 * r)
    torn, mean = torn_sums(fy, fx), np.empty(pixels.shape[2], np.float32)
    for y in range(bottom - top):
        for x in range(width):
            given = fy[y + r, x + r] < 0
            blended[y, x] = not given and vote(fy, fx, torn, y, x, pixels, trust, window, mean)
            for c in range(0 if given else len(mean)):
                out[y, x, c] = mean[c]


@compiled
def unpacked(field, top, left, height, width):
    """Rows and columns of the bank, (height, width) each, that a part of a field on a torus points to; rows are negative where pixels are given."""
    fy, fx = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    for y in range(height):
        row = (top + y) % field.shape[0]
        for x in range(width):
            packed = field[row, (left + x) % field.shape[1]]
            fy[y, x], fx[y, x] = packed >> 16, packed & MASK
    return fy, fx


@compiled
def torn_sums(fy, fx):
    """Running sums (h + 1, w + 1) of the places where a field does not continue its upper or left neighbour."""
    h, w = fy.shape
    sums = np.zeros((h + 1, w + 1), np.int32)
    for y in range(h):
        row = 0
        for x in range(w):
            up = y > 0 and (fy[y, x] != fy[y - 1, x] + 1 or fx[y, x] != fx[y - 1, x])
            across = x > 0 and (fy[y, x] != fy[y, x - 1] or fx[y, x] != fx[y, x - 1] + 1)
            row += 1 if up or across else 0
            sums[y + 1, x + 1] = sums[y, x + 1] + row
    return sums


@inlined
def whole(torn, y, x, side):
    """Whether the square of `side` at (y, x) shows a single piece of the bank."""
    return torn[y + side, x + side] - torn[y, x + side] - torn[y + side, x] + torn[y, x] == 0


@inlined
def vote(fy, fx, torn, y, x, pixels, trust, window, mean):
    """Write the weighted mean of what the patches around a pixel show at it into `mean`; return whether they differ. (y, x) is the corner of the pixel's neighbourhood in the field."""
    side, channels = window.shape[0], pixels.shape[2]
    r = side // 2
    if whole(torn, y, x, side):
        for c in range(channels):
            mean[c] = pixels[fy[y + r, x + r], fx[y + r, x + r], c]
        return False
    total = np.float32(0)
    for c in range(channels):
        mean[c] = 0
    for i in range(side):
        for j in range(side):
            if fy[y + i, x + j] < 0:
                continue
            sy, sx = fy[y + i, x + j] + r - i, fx[y + i, x + j] + r - j
            a = window[i, j] * trust[sy, sx]
            total += a
            for c in range(channels):
                mean[c] += a * pixels[sy, sx, c]
    for c in range(channels):
        mean[c] /= total
    return True
