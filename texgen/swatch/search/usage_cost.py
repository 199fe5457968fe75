"""How often each part of the bank is used, and what using it again costs: the log prior of the keys."""

from __future__ import annotations

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.level import Level
from texgen.swatch.jit import compiled

CAP = 4.0
"""Use beyond this many times the mean costs no more: in flat regions all keys are alike, and any of them will do."""
BINS = 24


@compiled
def counted(field: np.ndarray, top: int, bottom: int, counts: np.ndarray) -> None:
    """Add to `counts` (H, W) how often rows `top` to `bottom` of a field use each key."""
    for y in range(top, bottom):
        for x in range(field.shape[1]):
            packed = field[y, x]
            if packed >= 0:
                counts[packed >> 16, packed & MASK] += 1


def usage(level: Level, counts: np.ndarray) -> np.ndarray:
    """How often the patches around each pixel of the bank are used, relative to what is wanted, (H, W), float32.

    Args:
        level: Scale of the bank.
        counts: How often the field uses each key, (H, W).
    """
    from scipy.ndimage import uniform_filter

    place = level.inside >> 16, level.inside & MASK
    folded = np.zeros_like(counts)
    np.add.at(folded, place, counts)
    mean = folded[place].astype(np.float32) * (level.own.sum() / max(int(counts.sum()), 1))
    wanted = uniform_filter(level.shares, level.patch, mode="constant")
    shown = uniform_filter(mean, level.patch, mode="constant")
    return shown / np.maximum(wanted, 1e-6)


def penalties(level: Level, used: np.ndarray, weight: float) -> np.ndarray:
    """Cost of each key beside its distance, (H, W): `weight` times its use, infinite where there is no key."""
    return np.where(level.centres, weight * np.minimum(used, CAP), np.inf).astype(np.float32)


def trust(level: Level, used: np.ndarray, strength: float) -> np.ndarray:
    """Weights of the pixels of the bank in votes, (H, W): lower for colours that the canvas shows more often than the bank does."""
    if not strength:
        return level.shown.astype(np.float32)
    shown = level.pixels[level.own]
    use = used[level.own]
    excess = np.zeros(level.size, np.float32)
    for channel in range(level.colours):
        low, high = shown[:, channel].min() - 1e-3, shown[:, channel].max() + 1e-3
        bins = ((level.pixels[..., channel] - low) / (high - low) * BINS).astype(np.int64).clip(0, BINS - 1)
        inside = bins[level.own]
        own = np.bincount(inside, minlength=BINS) / len(inside)
        now = np.bincount(inside, use, minlength=BINS) / max(use.sum(), 1e-6)
        excess += np.maximum(now / (own + 1e-4) - 1, 0).astype(np.float32)[bins]
    return (level.shown / (1 + strength * excess)).astype(np.float32)
