"""Which piece of the bank fits a place of the canvas."""

from __future__ import annotations

import numpy as np

from texgen.swatch.atlas import MASK
from texgen.swatch.compiled import compiled
from texgen.swatch.reuse import repeated, repeats

GUIDED = 2.0
"""Cost of a piece that differs from the guide, in differences of two random pieces."""
SHORTLIST, STEP = 32, 7
"""Places that are compared in full, and of which pixels the first comparison takes one."""
AWRY = 6
"""A piece that would carry on another one but for so many pixels is not laid: it makes steps, and stripes on the finer levels."""


@compiled
def best_piece(sheet, rules, laid, count, field, top, left, ring, draw):
    """Corner in the bank of one of the cheapest blocks at (top, left); what lies there is compared within `ring` pixels of its border."""
    pixels, block, corners = sheet.pixels, rules.block, sheet.corners
    height, width = field.shape
    rows, columns, _ = pixels.shape
    known, values = met(sheet, field, top, left, block, ring)
    near, phases, carried, credit = repeats(sheet, rules, laid, count, height, width, top, left)
    n, forgiven = len(known), len(carried)
    scale = np.float32(1 / (max(n, 1) * rules.spread))
    order = by_rough_cost(sheet, rules, near, phases, known, values, scale, top, left)
    span = rules.leap // 2 * 2 + 1
    costs = np.empty(span * span * SHORTLIST + forgiven, np.float32)
    found_at = np.empty((span * span * SHORTLIST + forgiven, 2), np.int64)
    least, spare = np.float32(np.inf), np.float32(np.inf)
    spare_y, spare_x = np.int64(sheet.places[0, 0]), np.int64(sheet.places[0, 1])
    seen = np.zeros((rows, columns), np.bool_)
    found = 0
    shortlisted = min(SHORTLIST, len(order)) * span * span
    for number in range(shortlisted + forgiven):
        if number < shortlisted:
            p, step = order[number // (span * span)], number % (span * span)
            y, x = sheet.places[p, 0] + step // span - span // 2, sheet.places[p, 1] + step % span - span // 2
            if y < 0 or x < 0 or y >= rows or x >= columns or corners[y, x] < 0:
                continue
            y, x = corners[y, x] >> 16, corners[y, x] & MASK
        else:
            y, x = carried[number - shortlisted, 0], carried[number - shortlisted, 1]
        if seen[y, x]:
            continue
        seen[y, x] = True
        cost = repeated(near, phases, sheet.tori, top - y, left - x, y, x, block)
        awry = False
        for k in range(forgiven):
            if carried[k, 0] == y and carried[k, 1] == x:
                cost -= credit[k]
            elif max(abs(carried[k, 0] - y), abs(carried[k, 1] - x)) <= AWRY:
                awry = True
        cost += scale * difference_at(pixels, y, x, known, values, n, 1) + unguided(sheet, rules, y, x, top, left, 2)
        if awry:
            if cost < spare:
                spare, spare_y, spare_x = cost, y, x
            continue
        costs[found], found_at[found, 0], found_at[found, 1] = cost, y, x
        found += 1
        least = min(least, cost)
    if found == 0:  # of a small swatch every place may nearly carry on one
        return spare_y, spare_x
    pick = drawn(costs, found, least + rules.tolerance * abs(least) + 1e-6, draw)
    return found_at[pick, 0], found_at[pick, 1]


@compiled
def met(sheet, field, top, left, block, ring):
    """Where in a block at (top, left) something lies already (n, 2), within `ring` pixels of its border or given; and its colours (n, C)."""
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


@compiled
def is_known(sheet, y, x):
    """Whether a pixel of the canvas is given."""
    return sheet.control.known.shape[0] > 0 and sheet.control.known[y, x]


@compiled
def by_rough_cost(sheet, rules, near, phases, known, values, scale, top, left):
    """Places of the bank, every `leap`-th of them, from the cheapest on, by every `STEP`-th of the known pixels."""
    rough, roughly = np.empty(len(sheet.places), np.float32), np.empty(len(sheet.places), np.int64)
    tried = 0
    for p in range(len(sheet.places)):
        y, x = sheet.places[p, 0], sheet.places[p, 1]
        if y % rules.leap or x % rules.leap:
            continue
        cost = repeated(near, phases, sheet.tori, top - y, left - x, y, x, rules.block)
        cost += unguided(sheet, rules, y, x, top, left, STEP)
        rough[tried] = cost + STEP * scale * difference_at(sheet.pixels, y, x, known, values, len(known), STEP)
        roughly[tried] = p
        tried += 1
    return roughly[np.argsort(rough[:tried])]


@compiled
def drawn(costs, count, most, draw):
    """Number of one of the costs that are at most `most`, by a draw in [0, 1)."""
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


@compiled
def difference_at(pixels, y, x, known, values, n, step):
    """Squared difference of the first `n` known pixels, every `step`-th, to a block of the bank."""
    total = np.float32(0)
    for k in range(0, n, step):
        for c in range(values.shape[1]):
            difference = values[k, c] - pixels[y + known[k, 0], x + known[k, 1], c]
            total += difference * difference
    return total


@compiled
def unguided(sheet, rules, y, x, top, left, step):
    """How far a block is from what the canvas wants of its last channels: mean squared difference, in those of two random pixels."""
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


@compiled
def overlaps(pixels, places, top, left, block, overlap, costs):
    """Squared differences of a block to all others over an overlap at its top and left."""
    for p in range(len(places)):
        y, x = places[p, 0], places[p, 1]
        total = np.float32(0)
        for i in range(block):
            for j in range(block if i < overlap else overlap):
                for c in range(pixels.shape[2]):
                    difference = pixels[top + i, left + j, c] - pixels[y + i, x + j, c]
                    total += difference * difference
        costs[p] = total
