"""Descriptors: what patches are compared by, their principal components; and which keys are similar."""

from __future__ import annotations

import numpy as np

from texgen.swatch.compiled import compiled, inlined
from texgen.swatch.threads import in_parts

SAMPLES = 8000
"""Patches that the principal components are found from."""
PAIRS = 20_000_000
"""Pairs of keys compared to find similar ones, at most, a level."""
APART = 2
WINDOW = 0.9
"""Standard deviation of a descriptor's window in half patches."""


def components(pixels: np.ndarray, centres: np.ndarray, patch: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the windowed patches, (k k C, D), and minus their mean's descriptor, (D,)."""
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
    """Descriptors (H, W, D) of all patches, 0 where there is none."""
    keys = np.zeros((*pixels.shape[:2], basis.shape[1]), np.float32)
    in_parts(len(pixels), lambda top, bottom: describe_all(pixels, centres, patch, basis, offset, top, bottom, keys))
    return keys


def similar_keys(keys: np.ndarray, centres: np.ndarray, alike: int) -> np.ndarray:
    """For every centre the `alike` most similar ones among as many as can be afforded, packed, (n, alike)."""
    places = np.argwhere(centres).astype(np.int32)
    few = min(len(places), max(64, PAIRS // len(places)))
    others = places[np.sort(np.random.default_rng(0).permutation(len(places))[:few])]
    found = np.zeros((len(places), alike), np.int32)
    in_parts(
        len(places),
        lambda first, last: most_similar(keys, places[first:last], others, APART, found[first:last]),
    )
    return found


@inlined
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


@inlined
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
def most_similar(keys, places, others, apart, found):
    """For every place (n, 2) the `found.shape[1]` others (m, 2) with the nearest keys, more than `apart` px away, packed."""
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
        for d in range(8):  # of all others at once: for most of them no more is needed
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
