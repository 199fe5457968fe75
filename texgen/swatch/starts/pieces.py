"""The choice of the piece of the bank that fits a place of the canvas."""

from __future__ import annotations

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.jit import compiled, in_order, inlined
from texgen.swatch.starts.reuse_cost import repeated, repeats

GUIDED = 2.0
"""Cost of a piece that differs from the guide, in differences of two random pieces."""
SHORTLIST, STEP = 32, 7
"""Number of places that are compared in full; the first comparison looks at every `STEP`-th pixel."""
AWRY = 6
"""A piece that misses the continuation of another one by at most so many pixels is not used: it makes steps, and stripes at finer levels."""


@compiled
def best_piece(sheet, rules, laid, count, field, top, left, ring, draw):
    """Corner in the bank of one of the cheapest blocks for (top, left); what lies there is compared within `ring` pixels of the border of the block."""
    known, values = met(sheet, field, top, left, rules.block, ring)
    near, phases, carried, credit = repeats(sheet, rules, laid, count, field.shape, top, left)
    scale = np.float32(1 / (max(len(known), 1) * rules.spread))
    shortlist = by_rough_cost(sheet, rules, near, phases, known, values, scale, top, left)[:SHORTLIST]
    tried = around_places(sheet, shortlist, rules.leap // 2, carried)
    apart = differences(sheet.pixels, tried, known, values, 1)
    costs, number = np.empty(len(tried), np.float32), np.empty(len(tried), np.int64)
    found, least, spare = 0, np.float32(np.inf), np.float32(np.inf)
    spare_y, spare_x = np.int64(sheet.places[0, 0]), np.int64(sheet.places[0, 1])
    for p in range(len(tried)):
        y, x = tried[p, 0], tried[p, 1]
        cost = repeated(near, phases, sheet.tori, top - y, left - x, y, x, rules.block)
        awry = False
        for k in range(len(carried)):
            if carried[k, 0] == y and carried[k, 1] == x:
                cost -= credit[k]
            elif max(abs(carried[k, 0] - y), abs(carried[k, 1] - x)) <= AWRY:
                awry = True
        cost += scale * apart[p] + unguided(sheet, rules, y, x, top, left, 2)
        if awry:
            if cost < spare:
                spare, spare_y, spare_x = cost, y, x
            continue
        costs[found], number[found] = cost, p
        found += 1
        least = min(least, cost)
    if found == 0:  # every place of a small swatch may be a near miss
        return spare_y, spare_x
    pick = number[drawn(costs, found, least + rules.tolerance * abs(least) + 1e-6, draw)]
    return tried[pick, 0], tried[pick, 1]


@compiled
def around_places(sheet, shortlist, reach, carried):
    """Corners (n, 2), without duplicates: those up to `reach` pixels from the places whose numbers are in `shortlist`, and those in `carried`."""
    rows, columns = sheet.corners.shape
    span = 2 * reach + 1
    around = len(shortlist) * span * span
    found, count = np.empty((around + len(carried), 2), np.int64), 0
    seen = np.zeros((rows, columns), np.bool_)
    for number in range(len(found)):
        if number < around:
            p, step = shortlist[number // (span * span)], number % (span * span)
            y, x = sheet.places[p, 0] + step // span - reach, sheet.places[p, 1] + step % span - reach
            if y < 0 or x < 0 or y >= rows or x >= columns or sheet.corners[y, x] < 0:
                continue
            y, x = sheet.corners[y, x] >> 16, sheet.corners[y, x] & MASK
        else:
            y, x = carried[number - around, 0], carried[number - around, 1]
        if not seen[y, x]:
            seen[y, x] = True
            found[count, 0], found[count, 1] = y, x
            count += 1
    return found[:count]


@compiled
def met(sheet, field, top, left, block, ring):
    """Pixels (n, 2) of a block at (top, left) that are given, or that lie within `ring` pixels of its border and exist already; and their colours (n, C)."""
    height, width = field.shape
    channels = sheet.pixels.shape[2] - sheet.control.guide.shape[2]
    known = np.empty((block * block, 2), np.int32)
    values = np.empty((block * block, channels), np.float32)
    n = 0
    for i in range(block):
        for j in range(block):
            y, x = (top + i) % height, (left + j) % width
            packed = field[y, x]
            if is_known(sheet, y, x):
                known[n, 0], known[n, 1] = i, j
                for c in range(channels):
                    values[n, c] = sheet.control.given[y, x, c]
                n += 1
            elif packed >= 0 and min(min(i, j), block - 1 - max(i, j)) < ring:
                known[n, 0], known[n, 1] = i, j
                for c in range(channels):
                    values[n, c] = sheet.pixels[packed >> 16, packed & MASK, c]
                n += 1
    return known[:n], values[:n]


@inlined
def is_known(sheet, y, x):
    """Whether a pixel of the canvas is given."""
    return sheet.control.known.shape[0] > 0 and sheet.control.known[y, x]


@compiled
def by_rough_cost(sheet, rules, near, phases, known, values, scale, top, left):
    """Numbers of every `leap`-th place of the bank, the cheapest first, judged by every `STEP`-th of the known pixels."""
    numbers = np.nonzero((sheet.places[:, 0] % rules.leap == 0) & (sheet.places[:, 1] % rules.leap == 0))[0]
    apart = differences(sheet.pixels, sheet.places[numbers], known, values, STEP)
    rough = np.empty(len(numbers), np.float32)
    for p in range(len(numbers)):
        y, x = sheet.places[numbers[p], 0], sheet.places[numbers[p], 1]
        cost = repeated(near, phases, sheet.tori, top - y, left - x, y, x, rules.block)
        rough[p] = cost + unguided(sheet, rules, y, x, top, left, STEP) + STEP * scale * apart[p]
    return numbers[np.argsort(rough)]


@inlined
def drawn(costs, count, most, draw):
    """Index of one of the costs that are at most `most`, chosen by a random number in [0, 1)."""
    allowed = 0
    for p in range(count):
        allowed += costs[p] <= most
    pick = int(draw * allowed)
    for p in range(count):
        if costs[p] <= most:
            if pick == 0:
                return p
            pick -= 1
    return 0


@in_order
def differences(pixels, corners, known, values, step):
    """Squared differences (n,) of every `step`-th known pixel to the blocks of the bank at some corners (n, 2)."""
    columns, channels, count = pixels.shape[1], pixels.shape[2], len(corners)
    found, flat, starts = np.empty(count + 3, np.float32), pixels.reshape(-1), np.empty(count + 3, np.uint64)
    for p in range(count + 3 if count else 0):
        corner = corners[min(p, count - 1)]
        starts[p] = (corner[0] * columns + corner[1]) * channels
    for p in range(0, count, 4):  # four at once: every addition of a sum has to wait for the one before it
        one, two, three, four = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(0, len(known), step):
            there = np.uint64((known[k, 0] * columns + known[k, 1]) * channels)
            for c in range(values.shape[1]):
                value, at = values[k, c], there + np.uint64(c)
                one += (value - flat[starts[p] + at]) ** 2
                two += (value - flat[starts[p + 1] + at]) ** 2
                three += (value - flat[starts[p + 2] + at]) ** 2
                four += (value - flat[starts[p + 3] + at]) ** 2
        found[p], found[p + 1], found[p + 2], found[p + 3] = one, two, three, four
    return found[:count]


@inlined
def unguided(sheet, rules, y, x, top, left, step):
    """Mean squared difference of a block to the guide of the canvas, relative to that of two random pixels."""
    guides, first = sheet.control.guide.shape[2], sheet.pixels.shape[2] - sheet.control.guide.shape[2]
    if guides == 0:
        return np.float32(0)
    height, width = sheet.control.guide.shape[0], sheet.control.guide.shape[1]
    total, count = np.float32(0), 0
    for i in range(0, rules.block, step):
        for j in range(0, rules.block, step):
            count += 1
            for c in range(guides):
                if sheet.control.strengths[c] == 0:
                    continue
                wanted = sheet.control.guide[(top + i) % height, (left + j) % width, c]
                difference = (sheet.pixels[y + i, x + j, first + c] - wanted) / sheet.control.strengths[c]
                total += difference * difference
    return GUIDED * total / (count * rules.spread)
