"""Search: every pixel of a field looks for the key of the bank that is nearest to its patch, by PatchMatch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.descriptors import describe, squared
from texgen.swatch.jit import compiled, inlined
from texgen.swatch.search.votes import torn_sums, unpacked, vote, whole


class Keys(NamedTuple):
    """The bank, as one iteration searches it.

    Attributes:
        pixels: Of the bank, (H, W, C).
        trust: Weight of each pixel of the bank in a vote, (H, W).
        keys: Descriptors, (H, W, D); D is a multiple of 8.
        penalty: Cost of a key beside its distance, (H, W); infinite where there is no key.
        similar: Packed coordinates of similar keys, (H, W, S).
        labels: Of the pixels of the bank, (H, W).
        basis, offset: Of the descriptors, (k k C, D) and (D,).
        window: Weight of each pixel of a patch in a vote, (k, k).
    """

    pixels: np.ndarray
    trust: np.ndarray
    keys: np.ndarray
    penalty: np.ndarray
    similar: np.ndarray
    labels: np.ndarray
    basis: np.ndarray
    offset: np.ndarray
    window: np.ndarray


class Turn(NamedTuple):
    """Settings of one iteration.

    Attributes:
        probes: Number of random keys tried per pixel.
        reach: Largest distance of a probe, in pixels of the bank; halved from probe to probe.
        seed: Of the probes.
        origin: (2,), origin of the random numbers on the canvas: rolling it with the canvas rolls the result.
        backward: Whether to visit pixels from the last to the first.
    """

    probes: int
    reach: float
    seed: np.uint64
    origin: np.ndarray
    backward: bool


@compiled
def improve(old, new, tiles, bank, control, turn, sums):
    """One iteration of the field on some tiles.

    In each tile, the picture is voted from the old field and its patches are described. Then each pixel takes the cheapest of these keys: its own, the
    continuations of its four neighbours' keys, keys similar to the neighbours', and random probes. A pixel sees the new keys of its own tile and the old
    keys of other tiles, so that the result depends on neither the order of the tiles nor the number of threads.

    Args:
        old, new: Fields (h, w), int32; `old` is read, wrapped; `new` is written inside the tiles.
        tiles: (n, 4): top, left, bottom, right.
        bank: `Keys`.
        control: `steering.Control` of the canvas.
        turn: `Turn`.
        sums: (n, 3), written: squared distances to the old keys and to the new keys, and the number of changed keys.
    """
    halo = bank.window.shape[0] // 2 * 2
    for t in range(tiles.shape[0]):
        top, left, bottom, right = tiles[t, 0], tiles[t, 1], tiles[t, 2], tiles[t, 3]
        height, width = bottom - top, right - left
        sums[t] = 0
        if control.known.size > 0 and control.known[top:bottom, left:right].all():
            new[top:bottom, left:right] = old[top:bottom, left:right]
            continue
        fy, fx = unpacked(old, top - halo, left - halo, height + 2 * halo, width + 2 * halo)
        torn = torn_sums(fy, fx)
        picture = pictured(fy, fx, torn, top, left, bank, control)
        settle(fy, fx, torn, picture, (top, left), old.shape, bank, control, turn, sums[t])
        for y in range(height):
            for x in range(width):
                new[top + y, left + x] = (fy[y + halo, x + halo] << 16) | fx[y + halo, x + halo]


@compiled
def pictured(fy, fx, torn, top, left, bank, control):
    """The picture of a tile with a border of half a patch: voted or given colours, then the channels of the guide."""
    pixels, trust, window = bank.pixels, bank.trust, bank.window
    r, guides = window.shape[0] // 2, control.guide.shape[2]
    colours = pixels.shape[2] - guides
    picture = np.empty((fy.shape[0] - 2 * r, fy.shape[1] - 2 * r, colours + guides), np.float32)
    mean = np.empty(colours + guides, np.float32)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            row, column = top - r + y, left - r + x
            if fy[y + r, x + r] < 0:
                for c in range(colours):
                    picture[y, x, c] = control.given[row % control.given.shape[0], column % control.given.shape[1], c]
            else:
                vote(fy, fx, torn, y, x, pixels, trust, window, mean)
                for c in range(colours):
                    picture[y, x, c] = mean[c]
            for c in range(guides):
                guide = control.guide[row % control.guide.shape[0], column % control.guide.shape[1], c]
                picture[y, x, colours + c] = guide
    return picture


@compiled
def settle(fy, fx, torn, picture, corner, canvas, bank, control, turn, sums):
    """Give every pixel of a tile its cheapest key.

    Args:
        fy, fx: Rows and columns of the keys of the tile and of the border that votes depend on; written inside the tile.
        torn: Their `votes.torn_sums`.
        picture: Of the tile, with a border of half a patch.
        corner, canvas: Top and left of the tile, height and width of the whole field.
        bank, control, turn: As in `improve`.
        sums: (3,), written, as in `improve`.
    """
    keys, penalty, similar, labels = bank.keys, bank.penalty, bank.similar, bank.labels
    wanted, origin, probes, halo = control.labels, turn.origin, turn.probes, bank.window.shape[0] // 2 * 2
    queries, numbers = queried(fy, torn, picture, bank, control.guide.size > 0)
    height, width, label, state = fy.shape[0] - 2 * halo, fy.shape[1] - 2 * halo, np.int64(-1), np.uint64(0)
    total_before, total_after, changed = 0.0, 0.0, 0
    for number in range(height * width):
        place = height * width - 1 - number if turn.backward else number
        y, x = place // width, place % width
        row, column = y + halo, x + halo
        was_y, was_x = np.int64(fy[row, column]), np.int64(fx[row, column])
        if was_y < 0:
            continue
        if wanted.size > 0:
            label = np.int64(wanted[corner[0] + y, corner[1] + x])
        own, before = penalty[was_y, was_x], np.float32(0)
        if label >= 0 and labels[was_y, was_x] != label:
            own = np.float32(np.inf)
        if numbers[place] >= 0:
            query = queries[numbers[place]]
            before = squared(query, keys, was_y, was_x, np.float32(np.inf))
        elif own == 0 and probes == 0:
            continue
        else:
            query = keys[was_y, was_x]
        best = carried_on(
            fy, fx, row, column, query, keys, penalty, labels, similar, label, (before + own, before, was_y, was_x)
        )
        if probes > 0:
            state = scrambled(
                turn.seed, (corner[0] + y - origin[0]) % canvas[0], (corner[1] + x - origin[1]) % canvas[1]
            )
            best = probed(fy, fx, row, column, query, keys, penalty, labels, label, (probes, turn.reach), state, best)
        fy[row, column], fx[row, column] = best[2], best[3]
        total_before += before
        total_after += best[1]
        changed += best[2] != was_y or best[3] != was_x
    sums[0], sums[1], sums[2] = total_before, total_after, changed


@compiled
def queried(fy, torn, picture, bank, guided):
    """Descriptors (n, D) of the patches of a tile, and for each pixel the number of its descriptor (h w,): -1 where the pixel is given or its patch equals that of its key exactly."""
    side, count = bank.window.shape[0], 0
    halo, height, width = side // 2 * 2, picture.shape[0] - side + 1, picture.shape[1] - side + 1
    numbers, corners = np.full(height * width, -1, np.int64), np.empty((height * width, 2), np.int64)
    for y in range(height):
        for x in range(width):
            if fy[y + halo, x + halo] >= 0 and (guided or not whole(torn, y, x, 2 * side - 1)):
                numbers[y * width + x], corners[count, 0], corners[count, 1] = count, y, x
                count += 1
    queries = np.empty((count, bank.keys.shape[2]), np.float32)
    describe(picture, corners[:count], side, bank.basis, bank.offset, queries)
    return queries, numbers


@inlined
def carried_on(fy, fx, y, x, query, keys, penalty, labels, similar, label, best):
    """The best so far, or a cheaper key: the continuation of the key of a neighbour of (y, x), or of a key similar to it."""
    for way in range(4):
        dy, dx = (-1 if way == 0 else (1 if way == 2 else 0)), (-1 if way == 1 else (1 if way == 3 else 0))
        ny, nx = fy[y + dy, x + dx], fx[y + dy, x + dx]
        if ny < 0:
            continue
        best = cheaper(fy, fx, y, x, query, keys, penalty, labels, label, ny - dy, nx - dx, best)
        for s in range(similar.shape[2]):
            packed = similar[ny, nx, s]
            best = cheaper(
                fy, fx, y, x, query, keys, penalty, labels, label, (packed >> 16) - dy, (packed & MASK) - dx, best
            )
    return best


@inlined
def probed(fy, fx, y, x, query, keys, penalty, labels, label, probes, state, best):
    """The best so far, or a cheaper key among random ones around it; `probes` holds their number and reach."""
    span = probes[1]
    for _ in range(probes[0]):
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        bits = np.int64(state >> np.uint64(33))
        cy = best[2] + np.int64(((bits & 0x7FFF) / 16383.5 - 1) * span)
        cx = best[3] + np.int64((((bits >> 15) & 0x7FFF) / 16383.5 - 1) * span)
        best = cheaper(fy, fx, y, x, query, keys, penalty, labels, label, cy, cx, best)
        span = max(span * 0.5, 1.0)
    return best


@inlined
def cheaper(fy, fx, y, x, query, keys, penalty, labels, label, cy, cx, best):
    """Cost, distance and place of the cheaper of the key at (cy, cx) and the best so far. Places outside the bank or of another label do not count, nor does
    the key of a neighbour of (y, x): the same key twice side by side makes rows of stripes at finer levels."""
    if (cy == best[2] and cx == best[3]) or cy < 0 or cx < 0 or cy >= keys.shape[0] or cx >= keys.shape[1]:
        return best
    if label >= 0 and labels[cy, cx] != label:
        return best
    if (fy[y - 1, x] == cy and fx[y - 1, x] == cx) or (fy[y + 1, x] == cy and fx[y + 1, x] == cx):
        return best
    if (fy[y, x - 1] == cy and fx[y, x - 1] == cx) or (fy[y, x + 1] == cy and fx[y, x + 1] == cx):
        return best
    extra = penalty[cy, cx]
    if extra < best[0]:
        distance = squared(query, keys, cy, cx, best[0] - extra)
        if distance + extra < best[0]:
            return distance + extra, distance, cy, cx
    return best


@inlined
def scrambled(seed, y, x):
    """Random state of a pixel, by the finaliser of SplitMix64."""
    z = np.uint64(seed) + np.uint64(y) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(x) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
