"""The cost of showing a piece of the bank again."""

from __future__ import annotations

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.level import EXEMPLAR, HEIGHT, LEFT, SHIFT, TOP, WIDTH, WRAPS_X, WRAPS_Y
from texgen.swatch.jit import compiled, inlined

FORGIVEN = 0.5
"""Discount on the cost of what two pieces share if one continues the other."""
PHASE = 4.0
"""Cost, in repeats, of a piece that lies in step with all others in sight, as in a tiled copy."""
TINT = 0.1
"""Cost of a piece whose mean is one deviation off the wanted mean, if the sum over the pieces so far is off by as much in the same direction."""
MOST_CARRIED = 16
"""Largest number of pieces near by of which continuations are tried."""
EXCESS = 4.0
"""Cost of a swatch that is used twice as often as its share says, in differences of two random pieces."""


@compiled
def repeats(sheet, rules, laid, count, canvas, top, left):
    """Cost of showing each pixel of the bank at a place of the canvas, beside its difference, as running sums (H + 1, W + 1); cost of each phase; and
    the corners (n, 2) that continue what lies near by, with their discounts (n,)."""
    (height, width), (rows, columns) = canvas, sheet.inside.shape
    block, tori = rules.block, sheet.tori
    steps = np.zeros((rows + 1, columns + 1), np.float64)
    phases = np.zeros((tori[0, HEIGHT], tori[0, WIDTH]), np.float32)
    carried, credit = np.empty((MOST_CARRIED, 2), np.int64), np.empty(MOST_CARRIED, np.float32)
    forgiven, weights = 0, np.float32(1)
    row = 0
    while laid.rows[row, 0] < count:
        first, last = laid.rows[row, 0], min(laid.rows[row + 1, 0], count)
        dy = (top - laid.rows[row, 1] + height // 2) % height - height // 2
        row += 1
        if abs(dy) >= rules.reach + block:  # the whole row is out of sight
            continue
        for other in range(first, last):
            dy = (top - laid.tiles[other, 0] + height // 2) % height - height // 2
            if abs(dy) >= rules.reach:
                continue
            dx = (left - laid.tiles[other, 1] + width // 2) % width - width // 2
            away = np.sqrt(dy * dy + dx * dx)
            if away >= rules.reach:
                continue
            sy, sx = laid.shown[other, 0], laid.shown[other, 1]
            weight = np.float32(1 - away / rules.reach)
            weights += weight
            for i in range(-1, 2):
                for j in range(-1, 2):
                    py, px = phase(tori, laid.tiles[other, 0] - sy + i, laid.tiles[other, 1] - sx + j)
                    phases[py, px] += weight
            steps[sy, sx] += weight
            steps[sy + block, sx] -= weight
            steps[sy, sx + block] -= weight
            steps[sy + block, sx + block] += weight
            if abs(dy) < block and abs(dx) < block and forgiven < MOST_CARRIED:
                cy, cx = around(tori[sheet.source[sy, sx]], sheet.corners, sy + dy, sx + dx)
                if cy >= 0:
                    part = (block - abs(dy)) * (block - abs(dx)) / (block * block)
                    carried[forgiven, 0], carried[forgiven, 1] = cy, cx
                    credit[forgiven] = FORGIVEN * rules.reuse * weight * part
                    forgiven += 1
    phases *= rules.reuse * PHASE / weights
    return dearness(sheet, rules, laid, count, steps), phases, carried[:forgiven], credit[:forgiven]


@compiled
def dearness(sheet, rules, laid, count, steps):
    """Cost of showing each pixel of the bank, as running sums (H + 1, W + 1): for being shown near by (`steps`, as differences), for its own use and that
    of its swatch beyond the mean, and for a colour that takes the canvas further away from the wanted mean."""
    (rows, columns), tori, block = sheet.inside.shape, sheet.tori, rules.block
    beside = np.zeros((rows, columns), np.float32)
    for y in range(rows):
        row = 0.0
        for x in range(columns):
            row += steps[y, x]
            steps[y, x] = row + (steps[y - 1, x] if y > 0 else 0.0)
            packed = sheet.inside[y, x]
            beside[packed >> 16, packed & MASK] += np.float32(steps[y, x])
    mean = max(np.float32(count * block * block / sheet.own), np.float32(1))
    beyond = np.zeros(len(sheet.wanted), np.float32)
    for e in range(len(beyond)):
        beyond[e] = EXCESS * max(laid.shown_of[e] / max(count * sheet.wanted[e], 1e-6) - 1, 0.0)
    tint = tint_of(sheet, laid, TINT / (block * block))
    near = np.zeros((rows + 1, columns + 1), np.float32)
    for y in range(rows):
        total = np.float32(0)
        for x in range(columns):
            packed = sheet.inside[y, x]
            cy, cx = packed >> 16, packed & MASK
            extra = laid.total[cy, cx] / (mean * max(sheet.shares[y, x], 1e-3)) - 1
            total += beyond[tori[sheet.source[y, x], EXEMPLAR]] + rules.reuse * beside[cy, cx]
            total += rules.balance * extra if extra > 0 else 0
            for c in range(len(tint)):
                total += tint[c] * sheet.tints[cy, cx, c]
            near[y + 1, x + 1] = near[y, x + 1] + total
    return near


@compiled
def tint_of(sheet, laid, weight):
    """Sum over the blocks so far of the difference to the wanted colour, times a weight, (C,)."""
    found = np.zeros(sheet.tints.shape[2], np.float32)
    for y in range(sheet.tints.shape[0] if len(found) else 0):
        for x in range(sheet.tints.shape[1]):
            if laid.total[y, x] > 0:
                for c in range(len(found)):
                    found[c] += weight * laid.total[y, x] * sheet.tints[y, x, c]
    return found


@inlined
def repeated(near, phases, tori, down, right, y, x, block):
    """Cost of what a block repeats, and of lying in step with the blocks around it."""
    again = near[y + block, x + block] - near[y, x + block] - near[y + block, x] + near[y, x]
    py, px = phase(tori, down, right)
    return again / (block * block) + phases[py, px]


@inlined
def phase(tori, down, right):
    """Place of the first source's corner in its own torus."""
    lap = down // tori[0, HEIGHT]
    return down - lap * tori[0, HEIGHT], (right + lap * tori[0, SHIFT]) % tori[0, WIDTH]


@inlined
def around(torus, corners, y, x):
    """The corner that shows the same as a block at (y, x) would, which is taken modulo a source that wraps; -1, -1 if there is none."""
    y, x = y - torus[TOP], x - torus[LEFT]
    if torus[WRAPS_Y]:
        lap = y // torus[HEIGHT]
        y, x = y - lap * torus[HEIGHT], x + lap * torus[SHIFT]
    if torus[WRAPS_X]:
        x = x % torus[WIDTH]
    if y < 0 or x < 0 or y >= torus[HEIGHT] or x >= torus[WIDTH]:
        return np.int32(-1), np.int32(-1)
    packed = corners[y + torus[TOP], x + torus[LEFT]]
    return packed >> 16, (packed & MASK if packed >= 0 else np.int32(-1))
