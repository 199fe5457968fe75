"""Lit surfaces of known shape, with colours independent of it, to measure estimates of shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from texgen.materials.estimate import Surface, occlusion_of
from tiling import Wrap

SIDE = 512
SUN, SUN_SHARE = np.array([-0.5, -0.6, 1.0]), 0.3
"""Where the sun stands (right, down, out), and its part of the light; the rest comes from an even sky."""


class Scene(NamedTuple):
    """A surface that wraps on both axes.

    Attributes:
        name: What it looks like.
        colour: (H, W, 3), uint8, encoded.
        slopes: Of its height, down and across, (2, H, W).
    """

    name: str
    colour: np.ndarray
    slopes: np.ndarray


def slopes_of(height: np.ndarray) -> np.ndarray:
    """Central differences of a height that wraps, down and across, (2, H, W)."""
    return np.stack([(np.roll(height, -1, axis) - np.roll(height, 1, axis)) / 2 for axis in (0, 1)])


def clouds(seed: int, power: float) -> np.ndarray:
    """Noise whose spectrum falls as frequency to the power -`power`, of mean 0 and deviation 1."""
    frequency = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequency[:, None], frequency)
    radius[0, 0] = 1
    waves = np.fft.fft2(np.random.default_rng(seed).standard_normal((SIDE, SIDE))) / radius ** (power / 2)
    values = np.fft.ifft2(waves).real
    return (values - values.mean()) / values.std()


def lit(name: str, height: np.ndarray, albedo: np.ndarray) -> Scene:
    """A surface under sun and sky, with a little noise, at 8 bits."""
    slopes = slopes_of(height)
    normal = np.stack([-slopes[1], -slopes[0], np.ones_like(height)]) / np.sqrt(1 + (slopes**2).sum(0))
    relief = float(np.ptp(height))
    surface = Surface(((height - height.min()) / relief).astype(np.float32), relief, 10)
    sun = np.tensordot(SUN / SUN[2], normal, 1).clip(0)
    light = (1 - SUN_SHARE) * occlusion_of(surface, Wrap(True, True)) + SUN_SHARE * sun
    encoded = (albedo.clip(0.02, 0.9) * light[..., None]).clip(0, 1) ** (1 / 2.2)
    noisy = encoded + np.random.default_rng(0).standard_normal(encoded.shape) * 0.01
    return Scene(name, np.rint(noisy.clip(0, 1) * 255).astype(np.uint8), slopes)


def scenes() -> Iterator[Scene]:
    """Cobbles and planks of many colours, and rough ground that is green in places."""
    random = np.random.default_rng(5)
    places, grid = random.random((60, 2)) * SIDE, np.indices((SIDE, SIDE)).reshape(2, -1).T
    for _ in range(6):  # cells of about one size: each place moves to the middle of its own (Lloyd)
        own = cKDTree(places, boxsize=SIDE).query(grid)[1]
        away = (grid - places[own] + SIDE / 2) % SIDE - SIDE / 2
        count = np.bincount(own, minlength=60)[:, None]
        places = (places + np.stack([np.bincount(own, each, 60) for each in away.T], 1) / count) % SIDE
    two, own = cKDTree(places, boxsize=SIDE).query(grid, k=2)
    edge, own = (two[:, 1] - two[:, 0]).reshape(SIDE, SIDE), own[:, 0].reshape(SIDE, SIDE)
    stone = np.array([0.35, 0.3, 0.27]) * random.uniform(0.55, 1.45, (60, 1)) * random.normal(1, 0.25, (60, 3))
    inside = np.clip(edge / 3, 0, 1)[..., None]
    colour = stone[own] * (1 + 0.15 * clouds(3, 2)[..., None]) * inside + np.array([0.32, 0.3, 0.26]) * (1 - inside)
    yield lit("cobbles", 14 * np.sqrt(1 - (1 - edge.clip(max=14) / 14) ** 2) + 1.2 * clouds(2, 3), colour)
    across = np.arange(SIDE)
    joint = np.minimum(across % 64, 63 - across % 64)
    grain = gaussian_filter(clouds(4, 2), (12, 0.7), mode="wrap")
    grain /= grain.std()
    plank = np.array([0.4, 0.25, 0.14]) * random.uniform(0.6, 1.4, (8, 1))
    profile = np.minimum(joint, 6) / 3 - 6 * np.exp(-((joint / 1.6) ** 2))
    yield lit("planks", profile + 0.35 * grain, plank[across // 64] * (1 + 0.15 * grain[..., None]))
    moss = 1 / (1 + np.exp(-4 * clouds(7, 3)))[..., None]
    colour = np.array([0.3, 0.25, 0.2]) * (1 - moss) + np.array([0.15, 0.25, 0.08]) * moss
    yield lit("ground", 8 * clouds(6, 3.2), colour * (1 + 0.1 * clouds(8, 1.5)[..., None]))
