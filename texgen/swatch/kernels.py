"""The inner loops: vote, describe, search. A coordinate of the bank is packed in 32 bits, `y << 16 | x`; it is -1 where pixels are given."""

from __future__ import annotations

import numpy as np

from texgen.swatch.compiled import compiled

MASK = 0xFFFF


@compiled
def improve(
    old,
    new,
    tiles,
    pixels,
    trust,
    keys,
    penalty,
    similar,
    labels,
    wanted,
    guide,
    given,
    known,
    basis,
    offset,
    window,
    probes,
    reach,
    seed,
    origin,
    backward,
    sums,
):
    """One iteration of the field on some tiles.

    In every tile: the picture is voted from the old field, its patches are described, and each pixel takes the cheapest key among its own, those
    its four neighbours carry on, keys similar to these, and random probes. Pixels of one tile see each other's new keys, pixels of
    other tiles are seen as they were: the result depends on neither the order of the tiles nor the number of threads.

    Args:
        old, new: Fields (h, w), int32; `old` is read, wrapped, `new` is written inside of the tiles.
        tiles: (n, 4), top, left, bottom, right.
        pixels: Of the bank (H, W, C).
        trust: Weight of each pixel of the bank in a vote (H, W).
        keys: Descriptors (H, W, D), D a multiple of 8.
        penalty: What choosing a key costs beside its distance (H, W); infinite where there is none.
        similar: Packed coordinates of keys that look alike (H, W, S).
        labels: Of the bank's pixels (H, W).
        wanted: The label that the key of each pixel must have, (h, w); (0, 0) where any may be taken.
        guide: What the last channels of the picture are, (h, w, G), instead of what is voted.
        given: The other channels of the picture, (h, w, C - G), where they are given instead of voted.
        known: Where that is, (h, w); (0, 0) where it is nowhere.
        basis, offset: Of the descriptors, (k k C, D) and (D,).
        window: Weight of each pixel of a patch in a vote (k, k).
        probes: Random keys tried a pixel.
        reach: Largest distance of a probe in pixels of the bank; halved from probe to probe.
        seed: Of the probes.
        origin: (2,), where the random numbers begin: rolled with the canvas, they give the rolled result.
        backward: Visit pixels from the last to the first.
        sums: (n, 3), written: distances to the old keys, to the new keys, both squared, and the number of changed keys.
    """
    height, width = old.shape
    channels, voted_channels = pixels.shape[2], pixels.shape[2] - guide.shape[2]
    guided, labelled, partly = guide.shape[2] > 0, wanted.shape[0] > 0, known.shape[0] > 0
    dims, side, alike = keys.shape[2], window.shape[0], similar.shape[2]
    r = side // 2
    halo = 2 * r
    query = np.empty(dims, np.float32)
    mean = np.empty(channels, np.float32)
    for t in range(tiles.shape[0]):
        top, left, bottom, right = tiles[t, 0], tiles[t, 1], tiles[t, 2], tiles[t, 3]
        th, tw = bottom - top, right - left
        fy = np.empty((th + 2 * halo, tw + 2 * halo), np.int32)
        fx = np.empty((th + 2 * halo, tw + 2 * halo), np.int32)
        for y in range(th + 2 * halo):
            yy = (top - halo + y) % height
            for x in range(tw + 2 * halo):
                packed = old[yy, (left - halo + x) % width]
                fy[y, x] = packed >> 16
                fx[y, x] = packed & MASK
        before, after, changed = 0.0, 0.0, 0
        if partly and all_known(known, top, left, bottom, right):
            for y in range(th):
                for x in range(tw):
                    new[top + y, left + x] = old[top + y, left + x]
            sums[t, 0], sums[t, 1], sums[t, 2] = before, after, changed
            continue
        torn = torn_sums(fy, fx)
        picture = np.empty((th + 2 * r, tw + 2 * r, channels), np.float32)
        for y in range(th + 2 * r):
            for x in range(tw + 2 * r):
                if fy[y + r, x + r] < 0:
                    for c in range(voted_channels):
                        picture[y, x, c] = given[(top - r + y) % height, (left - r + x) % width, c]
                elif whole(torn, y, x, side):
                    for c in range(channels):
                        picture[y, x, c] = pixels[fy[y + r, x + r], fx[y + r, x + r], c]
                else:
                    vote(fy, fx, y, x, pixels, trust, window, mean)
                    for c in range(channels):
                        picture[y, x, c] = mean[c]
                for c in range(guide.shape[2]):
                    picture[y, x, voted_channels + c] = guide[(top - r + y) % height, (left - r + x) % width, c]
        for number in range(th * tw):
            place = th * tw - 1 - number if backward else number
            y, x = place // tw, place % tw
            by, bx = fy[y + halo, x + halo], fx[y + halo, x + halo]
            if by < 0:
                continue
            want = np.int64(wanted[top + y, left + x]) if labelled else np.int64(-1)
            own = penalty[by, bx]
            if want >= 0 and labels[by, bx] != want:
                own = np.float32(np.inf)
            if not guided and whole(torn, y, x, 2 * side - 1):  # the patch is the key's, to the last bit
                if own == 0 and probes == 0:
                    continue
                for i in range(dims):
                    query[i] = keys[by, bx, i]
                distance = np.float32(0)
            else:
                describe(picture, y, x, side, basis, offset, query)
                distance = squared(query, keys, by, bx, np.float32(np.inf))
            best, was, was_y, was_x = distance + own, distance, by, bx
            for way in range(4):
                ay = -1 if way == 0 else (1 if way == 2 else 0)
                ax = -1 if way == 1 else (1 if way == 3 else 0)
                ny, nx = fy[y + halo + ay, x + halo + ax], fx[y + halo + ay, x + halo + ax]
                if ny < 0:
                    continue
                for s in range(1 + alike):
                    if s == 0:
                        cy, cx = ny - ay, nx - ax
                    else:
                        packed = similar[ny, nx, s - 1]
                        cy, cx = (packed >> 16) - ay, (packed & MASK) - ax
                    if not beside(fy, fx, y + halo, x + halo, cy, cx):
                        best, distance, by, bx = nearer(
                            query, keys, penalty, labels, want, cy, cx, best, distance, by, bx
                        )
            if probes > 0:
                state = scrambled(seed, (top + y - origin[0]) % height, (left + x - origin[1]) % width)
                span = reach
                for _ in range(probes):
                    state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                    bits = np.int64(state >> np.uint64(33))
                    cy = by + np.int64(((bits & 0x7FFF) / 16383.5 - 1) * span)
                    cx = bx + np.int64((((bits >> 15) & 0x7FFF) / 16383.5 - 1) * span)
                    span = max(span * 0.5, 1.0)
                    if not beside(fy, fx, y + halo, x + halo, cy, cx):
                        best, distance, by, bx = nearer(
                            query, keys, penalty, labels, want, cy, cx, best, distance, by, bx
                        )
            fy[y + halo, x + halo], fx[y + halo, x + halo] = by, bx
            before += was
            after += distance
            if by != was_y or bx != was_x:
                changed += 1
        for y in range(th):
            for x in range(tw):
                new[top + y, left + x] = (fy[y + halo, x + halo] << 16) | fx[y + halo, x + halo]
        sums[t, 0], sums[t, 1], sums[t, 2] = before, after, changed


@compiled
def all_known(known, top, left, bottom, right):
    """Whether all pixels of a tile are given."""
    for y in range(top, bottom):
        for x in range(left, right):
            if not known[y, x]:
                return False
    return True


@compiled
def beside(fy, fx, y, x, cy, cx):
    """Whether a neighbour has this key: the same key twice beside itself makes rows of stripes on the finer levels."""
    return (
        (fy[y - 1, x] == cy and fx[y - 1, x] == cx)
        or (fy[y + 1, x] == cy and fx[y + 1, x] == cx)
        or (fy[y, x - 1] == cy and fx[y, x - 1] == cx)
        or (fy[y, x + 1] == cy and fx[y, x + 1] == cx)
    )


@compiled
def nearer(query, keys, penalty, labels, want, cy, cx, best, distance, by, bx):
    """Cost, distance and place of the cheaper of a key and the best one so far; places outside of the bank and of other labels are no keys."""
    if (cy == by and cx == bx) or cy < 0 or cx < 0 or cy >= keys.shape[0] or cx >= keys.shape[1]:
        return best, distance, by, bx
    if want >= 0 and labels[cy, cx] != want:
        return best, distance, by, bx
    extra = penalty[cy, cx]
    if extra < best:
        d = squared(query, keys, cy, cx, best - extra)
        if d + extra < best:
            return d + extra, d, cy, cx
    return best, distance, by, bx


@compiled
def torn_sums(fy, fx):
    """Running sums (h + 1, w + 1) of the places where a field does not carry on its upper or left neighbour."""
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


@compiled
def whole(sums, y, x, side):
    """Whether the square of `side` from (y, x) on shows one piece of the bank."""
    return sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x] == 0


@compiled
def copied_share(field, side):
    """Share of the squares of `side` inside of a field that show about one piece of the bank: nine points of it, to a pixel."""
    found = 0
    rows, columns, step = field.shape[0] - side + 1, field.shape[1] - side + 1, max((side - 1) // 2, 0)
    for y in range(rows):
        for x in range(columns):
            packed = field[y + step, x + step]
            cy, cx = (packed >> 16) - step, (packed & MASK) - step
            same = True
            for point in range(9):
                i, j = point // 3 * step, point % 3 * step
                packed = field[y + i, x + j]
                same = same and abs((packed >> 16) - i - cy) <= 1 and abs((packed & MASK) - j - cx) <= 1
            found += same
    return found / (rows * columns)


@compiled
def vote(fy, fx, y, x, pixels, trust, window, mean):
    """Weighted mean of what the patches around a pixel show at it; (y, x) is the corner of its neighbourhood in the field."""
    side, channels = window.shape[0], pixels.shape[2]
    total = np.float32(0)
    for c in range(channels):
        mean[c] = 0
    for i in range(side):
        for j in range(side):
            if fy[y + i, x + j] < 0:
                continue
            sy, sx = fy[y + i, x + j] + side // 2 - i, fx[y + i, x + j] + side // 2 - j
            a = window[i, j] * trust[sy, sx]
            total += a
            for c in range(channels):
                mean[c] += a * pixels[sy, sx, c]
    for c in range(channels):
        mean[c] /= total


@compiled
def describe(picture, y, x, side, basis, offset, query):
    """Descriptor of the patch whose corner is (y, x)."""
    channels, dims = picture.shape[2], basis.shape[1]
    for d in range(dims):
        query[d] = offset[d]
    element = 0
    for i in range(side):
        for j in range(side):
            for c in range(channels):
                value = picture[y + i, x + j, c]
                for d in range(dims):
                    query[d] += value * basis[element, d]
                element += 1


@compiled
def describe_all(pixels, centres, side, basis, offset, top, bottom, keys):
    """Descriptors of all patches with a centre in rows `top` to `bottom` where `centres` is True, into `keys` (H, W, D)."""
    r = side // 2
    for y in range(top, bottom):
        for x in range(pixels.shape[1]):
            if centres[y, x]:
                describe(pixels, y - r, x - r, side, basis, offset, keys[y, x])


@compiled
def squared(query, keys, y, x, most):
    """Squared distance of a descriptor to a key; stops where it passes `most`."""
    total = np.float32(0)
    for first in range(0, query.shape[0], 8):
        part = np.float32(0)
        for i in range(8):
            difference = query[first + i] - keys[y, x, first + i]
            part += difference * difference
        total += part
        if total >= most:
            break
    return total


@compiled
def scrambled(seed, y, x):
    """A random state for each pixel, by the finaliser of SplitMix64."""
    z = np.uint64(seed) + np.uint64(y) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(x) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def refined(coarse, fine, top, bottom, nearest):
    """Rows `top` to `bottom` of the field one level finer: twice the coordinate plus the parity, moved to the nearest key."""
    h, w = coarse.shape
    for y in range(top, bottom):
        cy = min(y // 2, h - 1)
        for x in range(fine.shape[1]):
            cx = min(x // 2, w - 1)
            packed = coarse[cy, cx]
            if packed < 0:
                fine[y, x] = -1
                continue
            sy = min(2 * (packed >> 16) + y - 2 * cy, nearest.shape[0] - 1)
            sx = min(2 * (packed & MASK) + x - 2 * cx, nearest.shape[1] - 1)
            fine[y, x] = nearest[sy, sx]


@compiled
def counted(field, top, bottom, counts):
    """Add to `counts` (H, W) how often rows `top` to `bottom` show each key."""
    for y in range(top, bottom):
        for x in range(field.shape[1]):
            packed = field[y, x]
            if packed >= 0:
                counts[packed >> 16, packed & MASK] += 1


@compiled
def most_similar(keys, places, others, apart, found):
    """For every place (n, 2) the `found.shape[1]` others (m, 2) with the nearest keys, more than `apart` px away, packed."""
    dims, wanted = keys.shape[2], found.shape[1]
    query = np.empty(dims, np.float32)
    least = np.empty(wanted, np.float32)
    for n in range(places.shape[0]):
        y, x = places[n, 0], places[n, 1]
        for d in range(dims):
            query[d] = keys[y, x, d]
        for s in range(wanted):
            least[s] = np.inf
            found[n, s] = (y << 16) | x
        for m in range(others.shape[0]):
            oy, ox = others[m, 0], others[m, 1]
            if abs(oy - y) <= apart and abs(ox - x) <= apart:
                continue
            d = squared(query, keys, oy, ox, least[wanted - 1])
            if d < least[wanted - 1]:
                s = wanted - 1
                while s > 0 and least[s - 1] > d:
                    least[s] = least[s - 1]
                    found[n, s] = found[n, s - 1]
                    s -= 1
                least[s] = d
                found[n, s] = (oy << 16) | ox


@compiled
def voted(field, top, bottom, pixels, trust, window, out, blended):
    """The weighted mean of what the patches of a field show, rows `top` to `bottom`, into `out` (bottom - top, w, C); and into `blended`
    (bottom - top, w) whether it is one of several. Pixels that are given are left as they are."""
    height, width = field.shape
    side = window.shape[0]
    r = side // 2
    fy = np.empty((bottom - top + 2 * r, width + 2 * r), np.int32)
    fx = np.empty((bottom - top + 2 * r, width + 2 * r), np.int32)
    for y in range(fy.shape[0]):
        yy = (top - r + y) % height
        for x in range(fy.shape[1]):
            packed = field[yy, (x - r) % width]
            fy[y, x], fx[y, x] = packed >> 16, packed & MASK
    torn = torn_sums(fy, fx)
    mean = np.empty(pixels.shape[2], np.float32)
    for y in range(bottom - top):
        for x in range(width):
            if fy[y + r, x + r] < 0:
                blended[y, x] = False
                continue
            blended[y, x] = not whole(torn, y, x, side)
            if not blended[y, x]:
                for c in range(pixels.shape[2]):
                    out[y, x, c] = pixels[fy[y + r, x + r], fx[y + r, x + r], c]
            else:
                vote(fy, fx, y, x, pixels, trust, window, mean)
                for c in range(pixels.shape[2]):
                    out[y, x, c] = mean[c]
