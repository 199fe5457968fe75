"""Descriptors of patches: their principal components, by which they are compared; and which keys are similar."""

from __future__ import annotations

import numpy as np

from texgen.swatch.cpu_cores import in_parts
from texgen.swatch.jit import compiled, in_order, inlined

SAMPLES = 8000
"""Number of patches from which the principal components are computed."""
PAIRS = 20_000_000
"""Largest number of pairs of keys that are compared per level to find similar ones."""
APART = 2
WINDOW = 0.9
"""Standard deviation of the window of a descriptor, in half patches."""


def components(pixels: np.ndarray, centres: np.ndarray, patch: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the windowed patches, (k k C, D), and the negated descriptor of their mean, (D,)."""
    places = np.argwhere(centres)
    picked = places[np.random.default_rng(0).permutation(len(places))[:SAMPLES]] - patch // 2
    reach = np.arange(patch)
    patches = pixels[picked[:, 0, None, None] + reach[:, None], picked[:, 1, None, None] + reach]
    profile = np.exp(-0.5 * (np.linspace(-1, 1, patch) / WINDOW) ** 2)
    weight = np.sqrt(np.outer(profile, profile))[..., None].astype(np.float32)
    flat = (patches * weight).reshape(len(picked), -1).astype(np.float64)
    mean = flat.mean(0)
    _, vectors = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    chosen = vectors[:, ::-1][:, :dims]
    chosen = np.pad(chosen, ((0, 0), (0, dims - chosen.shape[1])))
    basis = chosen * np.broadcast_to(weight, patches.shape[1:]).reshape(-1, 1)
    return np.ascontiguousarray(basis, np.float32), (-(mean @ chosen)).astype(np.float32)


def described(pixels: np.ndarray, centres: np.ndarray, patch: int, basis: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Descriptors of the patches at all centres, (H, W, D); 0 elsewhere."""
    corners, keys = np.argwhere(centres) - patch // 2, np.zeros((*pixels.shape[:2], basis.shape[1]), np.float32)
    found = np.empty((len(corners), basis.shape[1]), np.float32)
    in_parts(
        len(corners),
        lambda first, last: describe(pixels, corners[first:last], patch, basis, offset, found[first:last]),
    )
    keys[centres] = found
    return keys


def similar_keys(keys: np.ndarray, centres: np.ndarray, alike: int) -> np.ndarray:
    """For every centre the `alike` most similar ones, packed, (n, alike), among as many centres as `PAIRS` allows."""
    places = np.argwhere(centres).astype(np.int32)
    few = min(len(places), max(64, PAIRS // len(places)))
    others = places[np.sort(np.random.default_rng(0).permutation(len(places))[:few])]
    found = np.zeros((len(places), alike), np.int32)
    in_parts(
        len(places),
        lambda first, last: most_similar(keys, places[first:last], others, APART, found[first:last]),
    )
    return found


@in_order
def describe(picture, corners, side, basis, offset, found):
    """Write the descriptors of the patches of a picture at some corners (n, 2) into `found` (n, D)."""
    (_, width, channels), (elements, dims), count = picture.shape, basis.shape, len(corners)
    flat, starts, there = picture.reshape(-1), np.empty(count + 3, np.uint64), np.empty(elements, np.uint64)
    for p in range(count + 3 if count else 0):
        starts[p] = (corners[min(p, count - 1), 0] * width + corners[min(p, count - 1), 1]) * channels
    for e in range(elements):
        there[e] = e // (side * channels) * width * channels + e % (side * channels)
    one, two, three, four = (
        np.empty(dims, np.float32),
        np.empty(dims, np.float32),
        np.empty(dims, np.float32),
        np.empty(dims, np.float32),
    )
    for p in range(0, count, 4):  # four at once: every addition of a sum has to wait for the one before it
        one[:], two[:], three[:], four[:] = offset, offset, offset, offset
        a, b, c, d = starts[p], starts[p + 1], starts[p + 2], starts[p + 3]
        for e in range(0, elements, 2):
            f = min(e + 1, elements - 1)
            here, next, both = there[e], there[f], np.float32(f > e)
            a0, b0, c0, d0 = flat[a + here], flat[b + here], flat[c + here], flat[d + here]
            a1, b1, c1, d1 = flat[a + next] * both, flat[b + next] * both, flat[c + next] * both, flat[d + next] * both
            for i in range(dims):
                first, second = basis[e, i], basis[f, i]
                one[i] = one[i] + a0 * first + a1 * second
                two[i] = two[i] + b0 * first + b1 * second
                three[i] = three[i] + c0 * first + c1 * second
                four[i] = four[i] + d0 * first + d1 * second
        for q in range(p, min(p + 4, count)):
            for i in range(dims):
                found[q, i] = one[i] if q == p else (two[i] if q == p + 1 else (three[i] if q == p + 2 else four[i]))


@inlined
def squared(query, keys, y, x, most):
    """Squared distance of a descriptor to a key; the sum stops once it exceeds `most`."""
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
def most_similar(keys, places, others, apart, found):
    """For every place (n, 2) the `found.shape[1]` others (m, 2), packed, with the nearest keys; they are more than `apart` px away."""
    dims, wanted, count = keys.shape[2], found.shape[1], len(others)
    query, least = np.empty(dims, np.float32), np.empty(wanted, np.float32)
    begun, begins = np.empty(count, np.float32), np.empty((8, count), np.float32)
    for m in range(count):
        for d in range(8):
            begins[d, m] = keys[others[m, 0], others[m, 1], d]
    for n in range(places.shape[0]):
        y, x = places[n, 0], places[n, 1]
        for d in range(dims):
            query[d] = keys[y, x, d]
        for s in range(wanted):
            least[s] = np.inf
            found[n, s] = (y << 16) | x
        begun[:] = 0
        for d in range(8):  # of all others at once: most of them are ruled out by this part
            for m in range(count):
                begun[m] += (query[d] - begins[d, m]) ** 2
        for m in range(count):
            oy, ox = others[m, 0], others[m, 1]
            if begun[m] >= least[wanted - 1] or (abs(oy - y) <= apart and abs(ox - x) <= apart):
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
