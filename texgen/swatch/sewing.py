"""The inner loops of the quilt: which piece fits, and where it is cut. Coordinates are packed as in `kernels`."""

from __future__ import annotations

import numpy as np

from texgen.swatch.compiled import compiled

FORGIVEN = 0.5
"""Part of the cost of what two pieces share that is not paid where one carries on the other."""
PHASE = 4.0
"""Cost, in repeats, of a piece that lies in step with all others in sight, as in a tiled copy."""
EXCESS = 4.0
"""Cost of a swatch that is shown by its whole share too often, in differences of two random pieces."""
TOP, LEFT, HEIGHT, WIDTH, SHIFT, WRAPS_Y, WRAPS_X = 1, 2, 3, 4, 5, 6, 7
"""Columns of `Level.tori`."""
SHORTLIST, STEP = 32, 7
"""Places that are compared in full, and of which pixels the first comparison takes one."""


@compiled
def sew(
    pixels,
    places,
    tiles,
    across,
    block,
    overlap,
    leap,
    draws,
    tolerance,
    spread,
    reuse,
    balance,
    reach,
    shares,
    source,
    tori,
    wanted,
    inside,
    corners,
    area_of_bank,
    field,
):
    """Place blocks on `tiles` one after the other; `field` is -1 where nothing lies yet."""
    height, width = field.shape
    rows, columns, channels = pixels.shape
    area = block * block
    known = np.empty((area, 2), np.int32)
    values = np.empty((area, channels), np.float32)
    span = leap // 2 * 2 + 1
    costs = np.empty(span * span * SHORTLIST + 16, np.float32)
    chosen_at = np.empty((span * span * SHORTLIST + 16, 2), np.int32)
    rough, roughly = np.empty(len(places), np.float32), np.empty(len(places), np.int64)
    seen = np.zeros((rows, columns), np.int32)
    shown = np.zeros((len(tiles), 2), np.int32)
    total = np.zeros((rows, columns), np.float32)
    carried = np.zeros((16, 2), np.int64)
    credit = np.zeros(16, np.float32)
    count = 0
    beyond, shown_of = np.zeros(len(wanted), np.float32), np.zeros(len(wanted), np.float32)
    dy = 0
    for number in range(len(tiles)):
        top, left = tiles[number, 0], tiles[number, 1]
        n = 0
        for i in range(block):
            for j in range(block):
                packed = field[(top + i) % height, (left + j) % width]
                if packed >= 0:
                    known[n, 0], known[n, 1] = i, j
                    for c in range(channels):
                        values[n, c] = pixels[packed >> 16, packed & 0xFFFF, c]
                    n += 1
        near = np.zeros((rows + 1, columns + 1), np.float32)
        beside = np.zeros((rows, columns), np.float32)
        forgiven = 0
        phases = np.zeros((tori[0, HEIGHT], tori[0, WIDTH]), np.float32)
        all_weights = np.float32(1)
        for other in range(number):
            if other % across == 0:
                dy = (top - tiles[other, 0] + height // 2) % height - height // 2
            if abs(dy) >= reach:
                continue
            dx = (left - tiles[other, 1] + width // 2) % width - width // 2
            away = np.sqrt(dy * dy + dx * dx)
            if away >= reach:
                continue
            sy, sx = shown[other, 0], shown[other, 1]
            weight = np.float32(1 - away / reach)
            all_weights += weight
            for i in range(-1, 2):
                for j in range(-1, 2):
                    py, px = phase(tori, tiles[other, 0] - sy + i, tiles[other, 1] - sx + j)
                    phases[py, px] += weight
            for i in range(block):
                for j in range(block):
                    packed = inside[sy + i, sx + j]
                    beside[packed >> 16, packed & 0xFFFF] += weight
            if abs(dy) < block and abs(dx) < block and forgiven < 16:
                carried[forgiven, 0], carried[forgiven, 1] = around(
                    tori[source[sy, sx]], inside, corners, sy + dy, sx + dx
                )
                credit[forgiven] = FORGIVEN * reuse * weight * (block - abs(dy)) * (block - abs(dx)) / area
                forgiven += 1
        mean = np.float32(count * area / area_of_bank)
        for e in range(len(wanted)):
            beyond[e] = EXCESS * max(shown_of[e] / max(count * wanted[e], 1e-6) - 1, 0.0)
        for y in range(rows):
            row = beyond[0] * 0
            for x in range(columns):
                packed = inside[y, x]
                cy, cx = packed >> 16, packed & 0xFFFF
                extra = total[cy, cx] / (max(mean, 1.0) * max(shares[y, x], 1e-3)) - 1
                row += beyond[tori[source[y, x], 0]] + reuse * beside[cy, cx] + (balance * extra if extra > 0 else 0)
                near[y + 1, x + 1] = near[y, x + 1] + row
        scale = np.float32(1 / (max(n, 1) * spread))
        phases *= reuse * PHASE / all_weights
        tried = 0
        for p in range(len(places)):
            y, x = places[p, 0], places[p, 1]
            if y % leap or x % leap:
                continue
            cost = repeated(near, phases, tori, top - y, left - x, y, x, block)
            rough[tried] = cost + STEP * scale * difference_at(pixels, y, x, known, values, n, STEP)
            roughly[tried] = p
            tried += 1
        order = np.argsort(rough[:tried])
        least = np.float32(np.inf)
        found = 0
        for rank in range(min(SHORTLIST, tried)):
            p = roughly[order[rank]]
            for step in range(span * span):
                y, x = places[p, 0] + step // span - span // 2, places[p, 1] + step % span - span // 2
                if y < 0 or x < 0 or y >= rows or x >= columns or corners[y, x] < 0:
                    continue
                y, x = corners[y, x] >> 16, corners[y, x] & 0xFFFF
                if seen[y, x] == number + 1:
                    continue
                seen[y, x] = number + 1
                cost = repeated(near, phases, tori, top - y, left - x, y, x, block)
                for k in range(forgiven):
                    if carried[k, 0] == y and carried[k, 1] == x:
                        cost -= credit[k]
                cost += scale * difference_at(pixels, y, x, known, values, n, 1)
                costs[found], chosen_at[found, 0], chosen_at[found, 1] = cost, y, x
                found += 1
                least = min(least, cost)
        for k in range(forgiven):
            y, x = carried[k, 0], carried[k, 1]
            if y < 0 or seen[y, x] == number + 1:
                continue
            cost = repeated(near, phases, tori, top - y, left - x, y, x, block)
            cost -= credit[k]
            cost += scale * difference_at(pixels, y, x, known, values, n, 1)
            costs[found], chosen_at[found, 0], chosen_at[found, 1] = cost, y, x
            found += 1
            least = min(least, cost)
        most = least + tolerance * abs(least) + 1e-6
        allowed = 0
        for p in range(found):
            allowed += costs[p] <= most
        pick = int(draws[number] * allowed)
        chosen = 0
        for p in range(found):
            if costs[p] <= most:
                if pick == 0:
                    chosen = p
                    break
                pick -= 1
        sy, sx = chosen_at[chosen, 0], chosen_at[chosen, 1]
        shown[number, 0], shown[number, 1] = sy, sx
        count += 1
        shown_of[tori[source[sy, sx], 0]] += 1
        fresh = np.ones((block, block), np.bool_)
        if n > 0:
            cut(pixels, field, top, left, sy, sx, block, overlap, fresh)
        for i in range(block):
            for j in range(block):
                packed = inside[sy + i, sx + j]
                total[packed >> 16, packed & 0xFFFF] += 1
                y, x = (top + i) % height, (left + j) % width
                if fresh[i, j] or field[y, x] < 0:
                    field[y, x] = ((sy + i) << 16) | (sx + j)


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
def around(torus, inside, corners, y, x):
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
        for c in range(pixels.shape[2]):
            difference = values[k, c] - pixels[y + known[k, 0], x + known[k, 1], c]
            total += difference * difference
    return total


@compiled
def cut(pixels, field, top, left, sy, sx, block, overlap, fresh):
    """Take out of `fresh` what lies beyond the minimum-error path towards each neighbour that is there already."""
    height, width = field.shape
    channels = pixels.shape[2]
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
