"""The inner loops of the quilt: which piece fits, where it is cut, and which seams are sewn anew. Coordinates are packed as `atlas.pack` does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from texgen.swatch.compiled import compiled

FORGIVEN = 0.5
"""Part of the cost of what two pieces share that is not paid where one carries on the other."""
PHASE = 4.0
"""Cost, in repeats, of a piece that lies in step with all others in sight, as in a tiled copy."""
EXCESS = 4.0
"""Cost of a swatch that is shown by its whole share too often, in differences of two random pieces."""
GUIDED = 2.0
"""Cost of a piece that differs from the guide, in differences of two random pieces."""
SHORTLIST, STEP = 32, 7
"""Places that are compared in full, and of which pixels the first comparison takes one."""
MOST_CARRIED = 16
TOP, LEFT, HEIGHT, WIDTH, SHIFT, WRAPS_Y, WRAPS_X = 1, 2, 3, 4, 5, 6, 7
"""Columns of `Level.tori`."""
AWRY = 6
"""A piece that would carry on another one but for so many pixels is not laid: it makes steps, and stripes on the finer levels."""
BETTER = 0.95
"""Part of the seams' cost that may be left where a piece is sewn over them."""


class Sheet(NamedTuple):
    """What is sewn from: arrays of `bank.Level`; `places` (n, 2) and `corners` of `quilt.block_corners`; `own` is the number of centres. And what the last
    channels of the canvas should be, (h, w, G), how strong they are, (G,), what the others are where they are given, (h, w, C - G), and where that is, (h, w); (0, 0) where it is
    nowhere."""

    pixels: np.ndarray
    inside: np.ndarray
    shares: np.ndarray
    source: np.ndarray
    tori: np.ndarray
    wanted: np.ndarray
    corners: np.ndarray
    places: np.ndarray
    own: int
    guide: np.ndarray
    strengths: np.ndarray
    given: np.ndarray
    known: np.ndarray


class Rules(NamedTuple):
    """How: see `quilt.quilted`; of `leap` times `leap` places one is compared at first, repeats count within `reach` pixels."""

    block: int
    overlap: int
    leap: int
    tolerance: float
    spread: float
    reuse: float
    balance: float
    reach: float


class Laid(NamedTuple):
    """What lies already: corners on the canvas and in the bank (n, 2), the use of each of the bank's pixels (H, W) and of each swatch; and `rows`
    (m, 2): number of the first piece of each row of pieces, and where about the row lies."""

    tiles: np.ndarray
    shown: np.ndarray
    total: np.ndarray
    shown_of: np.ndarray
    rows: np.ndarray


@compiled
def sew(sheet, rules, softer, tiles, draws, passes, field):
    """Place blocks on `tiles` one after the other, then sew over the worst seams; `field` is -1 where nothing lies yet."""
    rows, columns = sheet.inside.shape
    side = rules.block - rules.overlap
    down, across = -(-field.shape[0] // side), -(-field.shape[1] // side)
    most = len(tiles) + passes * down * across
    bands = len(tiles) + passes * down + 2
    laid = Laid(
        np.zeros((most + 1, 2), np.int64), np.zeros((most + 1, 2), np.int64), np.zeros((rows, columns), np.float32),
        np.zeros(len(sheet.wanted), np.float32), np.full((bands, 2), most + 1, np.int64),
    )  # fmt: skip
    row = 0
    for number in range(len(tiles)):
        top, left = tiles[number, 0], tiles[number, 1]
        if number == 0 or tiles[number - 1, 0] != top:
            laid.rows[row] = number, top
            row += 1
        sy, sx = best_piece(sheet, rules, laid, number, field, top, left, rules.block, draws[number])
        lay(sheet, rules, field, top, left, sy, sx, rules.overlap)
        note(sheet, rules, laid, number, top, left, sy, sx)
    mend(sheet, softer, laid, len(tiles), row, passes, field)


@compiled
def mend(sheet, rules, laid, count, row, passes, field):
    """In every part of the canvas where the seams are worse than in half of them, sew a piece over the worst place, if it fits better."""
    height, width = field.shape
    side, ring = rules.block - rules.overlap, max(2, rules.block // 4)
    down, across = -(-height // side), -(-width // side)
    kept = np.empty((rules.block, rules.block), np.int32)
    worst = np.empty(down * across, np.float32)
    for _ in range(passes):
        for cell in range(down * across):
            worst[cell] = worst_window(sheet, field, cell // across * side, cell % across * side, side, rules.block)[0]
        limit = np.median(worst)
        for cell in range(down * across):
            if cell % across == 0:
                laid.rows[row] = count, cell // across * side - rules.block // 2
                row += 1
            if worst[cell] <= limit:
                continue
            cost, y, x = worst_window(sheet, field, cell // across * side, cell % across * side, side, rules.block)
            if cost <= limit:
                continue
            top, left = y - rules.block // 2, x - rules.block // 2
            before = seams(sheet, field, top - 1, left - 1, rules.block + 1)
            for i in range(rules.block):
                for j in range(rules.block):
                    kept[i, j] = field[(top + i) % height, (left + j) % width]
            sy, sx = best_piece(sheet, rules, laid, count, field, top, left, ring, 0.0)
            lay(sheet, rules, field, top, left, sy, sx, ring)
            if seams(sheet, field, top - 1, left - 1, rules.block + 1) < BETTER * before:
                note(sheet, rules, laid, count, top, left, sy, sx)
                count += 1
            else:
                for i in range(rules.block):
                    for j in range(rules.block):
                        field[(top + i) % height, (left + j) % width] = kept[i, j]


@compiled
def worst_window(sheet, field, top, left, side, window):
    """Cost of the seams in the worst of the windows of half a block whose middle lies in a cell, and this middle."""
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
def seams(sheet, field, top, left, side):
    """Cost of the seams in a square."""
    total = np.float32(0)
    for i in range(side):
        for j in range(side):
            total += seam(sheet, field, top + i, left + j)
    return total


@compiled
def is_known(sheet, y, x):
    """Whether a pixel of the canvas is given."""
    return sheet.known.shape[0] > 0 and sheet.known[y, x]


@compiled
def seam(sheet, field, y, x):
    """What two pieces differ by, at both pixels, where a pixel's right or lower neighbour shows another piece; beside what is given, twice at its pixel.

    References:
        Kwatra et al., "Graphcut Textures: Image and Video Synthesis Using Graph Cuts", SIGGRAPH 2003,
        https://doi.org/10.1145/1201775.882264, equation 1.
    """
    pixels = sheet.pixels
    height, width = field.shape
    y, x = y % height, x % width
    ay, ax = field[y, x] >> 16, field[y, x] & 0xFFFF
    total = np.float32(0)
    for way in range(2):
        dy, dx = way, 1 - way
        y2, x2 = (y + dy) % height, (x + dx) % width
        by, bx = field[y2, x2] >> 16, field[y2, x2] & 0xFFFF
        if ay < 0 or by < 0:
            for c in range(sheet.given.shape[2] if ay >= 0 or by >= 0 else 0):
                if ay < 0:
                    there = sheet.given[y, x, c] - pixels[by - dy, bx - dx, c]
                else:
                    there = sheet.given[y2, x2, c] - pixels[ay + dy, ax + dx, c]
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
def best_piece(sheet, rules, laid, count, field, top, left, ring, draw):
    """Corner in the bank of one of the cheapest blocks at (top, left); what lies there is compared within `ring` pixels of its border."""
    pixels, block, corners = sheet.pixels, rules.block, sheet.corners
    height, width = field.shape
    rows, columns, _ = pixels.shape
    known, values = met(sheet, field, top, left, block, ring)
    n = len(known)
    carried = np.zeros((MOST_CARRIED, 2), np.int64)
    credit = np.zeros(MOST_CARRIED, np.float32)
    near, phases, forgiven = repeats(sheet, rules, laid, count, height, width, top, left, carried, credit)
    scale = np.float32(1 / (max(n, 1) * rules.spread))
    order = by_rough_cost(sheet, rules, near, phases, known, values, scale, top, left)
    span = rules.leap // 2 * 2 + 1
    costs = np.empty(span * span * SHORTLIST + MOST_CARRIED, np.float32)
    found_at = np.empty((span * span * SHORTLIST + MOST_CARRIED, 2), np.int64)
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
            y, x = corners[y, x] >> 16, corners[y, x] & 0xFFFF
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
    channels = sheet.pixels.shape[2] - sheet.guide.shape[2]
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
                    values[n, c] = sheet.given[y, x, c]
                n += 1
            elif packed >= 0 and min(min(i, j), block - 1 - max(i, j)) < ring:
                known[n, 0], known[n, 1] = i, j
                for c in range(channels):
                    values[n, c] = sheet.pixels[packed >> 16, packed & 0xFFFF, c]
                n += 1
    return known[:n], values[:n]


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
def repeats(sheet, rules, laid, count, height, width, top, left, carried, credit):
    """What showing each of the bank's pixels at a place costs beside its difference, as running sums (H + 1, W + 1), what each phase costs, and the
    number of corners that carry on what lies near by, written to `carried`, with what they are forgiven in `credit`."""
    rows, columns = sheet.inside.shape
    block, tori = rules.block, sheet.tori
    steps = np.zeros((rows + 1, columns + 1), np.float64)
    phases = np.zeros((tori[0, HEIGHT], tori[0, WIDTH]), np.float32)
    forgiven, weights = 0, np.float32(1)
    row = 0
    while laid.rows[row, 0] < count:
        first, last = laid.rows[row, 0], min(laid.rows[row + 1, 0], count)
        dy = (top - laid.rows[row, 1] + height // 2) % height - height // 2
        row += 1
        if abs(dy) >= rules.reach + block:  # all of the row is out of sight
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
    return dearness(sheet, rules, laid, count, steps), phases, forgiven


@compiled
def dearness(sheet, rules, laid, count, steps):
    """What showing each of the bank's pixels costs, as running sums (H + 1, W + 1): for being near by (`steps`, as differences), for its own use and
    for that of its swatch beyond the mean."""
    (rows, columns), tori, block = sheet.inside.shape, sheet.tori, rules.block
    beside = np.zeros((rows, columns), np.float32)
    for y in range(rows):
        row = 0.0
        for x in range(columns):
            row += steps[y, x]
            steps[y, x] = row + (steps[y - 1, x] if y > 0 else 0.0)
            packed = sheet.inside[y, x]
            beside[packed >> 16, packed & 0xFFFF] += np.float32(steps[y, x])
    mean = max(np.float32(count * block * block / sheet.own), np.float32(1))
    beyond = np.zeros(len(sheet.wanted), np.float32)
    for e in range(len(beyond)):
        beyond[e] = EXCESS * max(laid.shown_of[e] / max(count * sheet.wanted[e], 1e-6) - 1, 0.0)
    near = np.zeros((rows + 1, columns + 1), np.float32)
    for y in range(rows):
        total = np.float32(0)
        for x in range(columns):
            packed = sheet.inside[y, x]
            cy, cx = packed >> 16, packed & 0xFFFF
            extra = laid.total[cy, cx] / (mean * max(sheet.shares[y, x], 1e-3)) - 1
            total += beyond[tori[sheet.source[y, x], 0]] + rules.reuse * beside[cy, cx]
            total += rules.balance * extra if extra > 0 else 0
            near[y + 1, x + 1] = near[y, x + 1] + total
    return near


@compiled
def lay(sheet, rules, field, top, left, sy, sx, overlap):
    """Put a block on the canvas up to the paths along which it is cut."""
    height, width = field.shape
    fresh = np.ones((rules.block, rules.block), np.bool_)
    cut(sheet, field, top, left, sy, sx, rules.block, overlap, fresh)
    for i in range(rules.block):
        for j in range(rules.block):
            y, x = (top + i) % height, (left + j) % width
            if (fresh[i, j] or field[y, x] < 0) and not is_known(sheet, y, x):
                field[y, x] = ((sy + i) << 16) | (sx + j)


@compiled
def note(sheet, rules, laid, count, top, left, sy, sx):
    """Remember a block."""
    laid.tiles[count, 0], laid.tiles[count, 1] = top, left
    laid.shown[count, 0], laid.shown[count, 1] = sy, sx
    laid.shown_of[sheet.tori[sheet.source[sy, sx], 0]] += 1
    for i in range(rules.block):
        for j in range(rules.block):
            packed = sheet.inside[sy + i, sx + j]
            laid.total[packed >> 16, packed & 0xFFFF] += 1


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


@compiled
def phase(tori, down, right):
    """Where the first source's corner lies, in its own torus."""
    lap = down // tori[0, HEIGHT]
    return down - lap * tori[0, HEIGHT], (right + lap * tori[0, SHIFT]) % tori[0, WIDTH]


@compiled
def around(torus, corners, y, x):
    """The corner that shows what a block at (y, x) would show, carried on around a source where it wraps; -1, -1 if there is none."""
    y, x = y - torus[TOP], x - torus[LEFT]
    if torus[WRAPS_Y]:
        lap = y // torus[HEIGHT]
        y, x = y - lap * torus[HEIGHT], x + lap * torus[SHIFT]
    if torus[WRAPS_X]:
        x = x % torus[WIDTH]
    if y < 0 or x < 0 or y >= torus[HEIGHT] or x >= torus[WIDTH]:
        return np.int32(-1), np.int32(-1)
    packed = corners[y + torus[TOP], x + torus[LEFT]]
    return packed >> 16, (packed & 0xFFFF if packed >= 0 else np.int32(-1))


@compiled
def repeated(near, phases, tori, down, right, y, x, block):
    """Cost of what a block shows again, and of showing the bank in step with what lies around."""
    again = near[y + block, x + block] - near[y, x + block] - near[y + block, x] + near[y, x]
    py, px = phase(tori, down, right)
    return again / (block * block) + phases[py, px]


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
    guides, first = sheet.guide.shape[2], sheet.pixels.shape[2] - sheet.guide.shape[2]
    if guides == 0:
        return np.float32(0)
    height, width = sheet.guide.shape[0], sheet.guide.shape[1]
    total, count = np.float32(0), 0
    for i in range(0, rules.block, step):
        for j in range(0, rules.block, step):
            count += 1
            for c in range(guides):
                if sheet.strengths[c] == 0:
                    continue
                wanted = sheet.guide[(top + i) % height, (left + j) % width, c]
                difference = (sheet.pixels[y + i, x + j, first + c] - wanted) / sheet.strengths[c]
                total += difference * difference
    return GUIDED * total / (count * rules.spread)


@compiled
def cut(sheet, field, top, left, sy, sx, block, overlap, fresh):
    """Take out of `fresh` what lies beyond the minimum-error path towards each neighbour that is there already."""
    pixels = sheet.pixels
    height, width = field.shape
    channels = pixels.shape[2] - sheet.guide.shape[2]
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
                        difference = pixels[packed >> 16, packed & 0xFFFF, c] - pixels[sy + y, sx + x, c]
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


@compiled
def middle(way, along, depth, block):
    """Row and column of a place in the strip at one side of a block: left, right, top, bottom."""
    if way == 0:
        return along, depth
    if way == 1:
        return along, block - 1 - depth
    if way == 2:
        return depth, along
    return block - 1 - depth, along
