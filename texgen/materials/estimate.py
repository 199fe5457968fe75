"""Height, normals, roughness and occlusion of a surface, estimated from its colour or from those maps that are known.

Nothing here is measured. A picture does not tell paint from shape: dark is taken for deep.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from texgen.files.encoding import display
from texgen.files.mapped_arrays import Band, bands
from texgen.files.pixels import as_float
from texgen.materials.fourier import filtered
from tiling import Wrap

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
LIFT = 0.2
"""Added to the luminance before the logarithm, so that black is not infinitely deep."""
DARK_SKEW = -0.35
"""Skewness of brightness at a scale below which its dark parts are taken for crevices."""
COARSEST, FALLBACK, FINEST = 1 / 16, 1 / 64, 2.0
"""Size of bumps: the largest, and the one used if no scale has crevices, as shares of the shorter side; and the smallest, in px."""
FALLING = 0.85
"""Power of its wavelength to which fine detail rises: less than 1 keeps grain, more than 1 smooths."""
ENDS = (0.2, 99.8)
"""Percentiles that become 0 and 1 in the height map."""
LEAST_SPAN = 0.02
"""Smallest range of relative brightness that is stretched to the whole height, so that noise of a plain colour stays flat."""
DEPTH = 3.5
"""Relief divided by the size of bumps, for brightness that varies by a factor of e."""
STEEPNESS = 0.4
"""Root mean square of the slopes assumed for a height map of unknown relief."""
DIRECTIONS, REACH = 8, 4
"""Number of directions in which occlusion is looked for, and how far, in sizes of bumps; never beyond an eighth of the shorter side."""
GRAIN = (1.0, 2.5)
"""Deviations of two Gaussians in pixels: grain is detail finer than the first, and its strength is averaged over the second."""
ROWS = 128


@dataclass(frozen=True)
class Surface:
    """A height map with its scale.

    Attributes:
        height: Height map, (H, W), float32, in [0, 1]; 1 is high.
        relief: Difference in height between 0 and 1, in px.
        bump_size: Radius of the largest bumps, in px.
    """

    height: np.ndarray
    relief: float
    bump_size: float


def brightness(colour: np.ndarray) -> np.ndarray:
    """Logarithm of the luminance of a colour map, lifted by `LIFT`: (H, W), float32.

    Args:
        colour: Colours as in `Material.maps`, (H, W, C): sRGB-encoded integers or linear floats. Alpha is ignored.
    """
    found = np.empty(colour.shape[:2], np.float32)
    weights = LUMINANCE if colour.shape[2] >= 3 else np.array([1], np.float32)
    for band in bands(len(colour), ROWS, 0):
        rows = as_float(colour[band.rows, :, : len(weights)])
        if colour.dtype.kind == "f":
            rows = display(rows.clip(0, 1))
        found[band.rows] = np.log(rows @ weights + np.float32(LIFT))
    return found


def bump_size(brightness: np.ndarray, wrap: Wrap) -> float:
    """Radius in px of the largest bumps of a surface.

    Crevices and shadows are narrow and dark, so the brightness of a scale that shows shape is skewed towards the dark; that of paint and stains is not.
    Brightness is split into bands one octave wide. From fine to coarse, bands skewed below `DARK_SKEW` are taken for shape; the size at which
    these end is interpolated.

    Args:
        brightness: (H, W), float32.
        wrap: Axes that wrap around.
    """
    from scipy.ndimage import gaussian_filter

    side, modes = min(brightness.shape), _modes(wrap)
    scale, skews = 2.0, []
    while scale <= 2 * max(side * COARSEST, FINEST) and min(brightness.shape) >= 8:
        fine = gaussian_filter(brightness, 1.0, mode=modes, truncate=3.0)
        coarse = gaussian_filter(fine, 3**0.5, mode=modes, truncate=3.0)
        fine -= coarse
        deviation = float(np.sqrt(np.square(fine).mean(dtype=np.float64)))
        cubes = float((fine * fine * fine).mean(dtype=np.float64))
        skews.append((scale, cubes / max(deviation, 1e-4) ** 3))
        brightness, scale = coarse[::2, ::2], 2 * scale
    for (size, skew), (_, following) in pairwise([(FINEST, 0.0), *skews]):
        if skew <= DARK_SKEW < following:
            found = size * 2 ** ((DARK_SKEW - skew) / (following - skew))
            break
    else:
        found = side * (COARSEST if skews and skews[-1][1] <= DARK_SKEW else FALLBACK)
    return float(np.clip(found, FINEST, max(side * COARSEST, FINEST)))


def height_of(brightness: np.ndarray, wrap: Wrap, size: float) -> Surface:
    """Estimate the height from brightness: dark is deep, and the deeper the wider it is, up to the size of bumps; wider structures fade out.

    Waves of frequency w are multiplied by u / (1 + u)^(1 + a/2), where u = (s w)^2, s is the size of bumps and a = `FALLING`. For waves far shorter
    than the bumps this is (s w)^-a, between brightness as height (a = 0) and brightness as slope (a = 1, as under light from one side); for far
    longer ones it is (s w)^2.

    Args:
        brightness: Brightness, see `brightness`, (H, W), float32; overwritten.
        wrap: Axes that wrap around.
        size: Size of bumps, in px.
    """
    square = np.float32(size * size)
    brightness -= np.float32(brightness.mean(dtype=np.float64))  # so that a plain colour is 0 and stays 0

    def gain(squares: np.ndarray) -> np.ndarray:
        u = squares * square
        return u * (1 + u) ** np.float32(-1 - FALLING / 2)

    height, span = _stretched(filtered(brightness, wrap, gain), LEAST_SPAN)
    return Surface(height, DEPTH * size * span, size)


def height_from_normal(normal: np.ndarray, wrap: Wrap) -> tuple[np.ndarray, float]:
    """The height map (H, W), in [0, 1], whose slopes are nearest to those of a normal map, and its relief in px (Frankot and Chellappa, 1988).

    Args:
        normal: Normals, (H, W, 3), float32, in [-1, 1]; y points upwards.
        wrap: Axes that wrap around.
    """
    upwards = np.maximum(normal[..., 2], np.float32(0.1))
    divergence = np.zeros(normal.shape[:2], np.float32)
    for axis, slope in ((1, -normal[..., 0] / upwards), (0, normal[..., 1] / upwards)):
        between = (slope + np.roll(slope, -1, axis)) / 2  # at the edge that a pixel shares with the next one
        if not wrap[axis]:
            between[(slice(None),) * axis + (-1,)] = 0
        divergence += between - np.roll(between, 1, axis)
    height = filtered(divergence, wrap, lambda squares: np.where(squares > 0, -1 / np.maximum(squares, 1e-12), 0))
    found, span = _stretched(height, 1e-3, (0, 100))
    return found, span


def _stretched(values: np.ndarray, least: float, ends: tuple[float, float] = ENDS) -> tuple[np.ndarray, float]:
    """Values stretched in place from two percentiles to [0, 1] and clipped; and their range before, which is at least `least`."""
    low, high = (float(each) for each in np.percentile(values, ends))
    span = max(high - low, least)
    values -= np.float32((low + high) / 2)
    values /= np.float32(span)
    values += np.float32(0.5)
    return values.clip(0, 1, out=values), span


def slopes(height: np.ndarray, wrap: Wrap) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of a height (H, W) per pixel, downwards and to the right, as central differences."""
    around = _padded(height, 1, wrap)
    return (around[2:, 1:-1] - around[:-2, 1:-1]) / 2, (around[1:-1, 2:] - around[1:-1, :-2]) / 2


def relief_of(height: np.ndarray, wrap: Wrap) -> float:
    """The relief in px that gives a height of unknown scale slopes of `STEEPNESS`, in the root mean square; 0 if it is flat."""
    down, across = slopes(height, wrap)
    mean = float(np.sqrt((down * down + across * across).mean(dtype=np.float64)))
    return STEEPNESS / mean if mean > 1e-6 else 0.0


def normal_of(surface: Surface, wrap: Wrap) -> np.ndarray:
    """Normals (-dh/dx, -dh/dy, 1), normalised, of a height h in px, with y upwards: (H, W, 3), uint16; 0 stands for -1, the largest for 1."""
    height, width = surface.height.shape
    found = np.empty((height, width, 3), np.uint16)
    around = _padded(surface.height, 1, wrap)
    half, most = np.float32(surface.relief / 2), np.float32(65535 / 2)
    for band in bands(height, ROWS, 0):
        rows = around[band.rows.start : band.rows.stop + 2]
        across = (rows[1:-1, :-2] - rows[1:-1, 2:]) * half
        up = (rows[2:, 1:-1] - rows[:-2, 1:-1]) * half  # rows go down, y goes up
        length = np.sqrt(across * across + up * up + 1)
        for channel, component in enumerate((across, up, np.float32(1))):
            found[band.rows, :, channel] = np.rint((component / length + 1) * most)
    return found


def occlusion_of(surface: Surface, wrap: Wrap, strength: float = 1.0) -> np.ndarray:
    """The share of a uniform sky that each place sees: (H, W), float32; 1 sees all of it.

    This is the mean of 1 / (1 + t^2) over `DIRECTIONS` directions d, to the power `strength`. t is the steepest rise (h(p + r d) - h(p)) / r, at least 0,
    over the distances r = 1, 2, 4, ... px up to `REACH` sizes of bumps or an eighth of the shorter side. 1 / (1 + t^2) is cos^2 of the horizon's angle, the
    cosine-weighted sky above it. Far heights are averaged within about a quarter of their distance.

    Args:
        surface: Surface of height h, in px.
        wrap: Axes that wrap around.
        strength: Exponent; 0 gives 1 everywhere.
    """
    height, width = surface.height.shape
    found = np.ones((height, width), np.float32)
    if not strength or not surface.relief:
        return found
    distances = [1]
    while 2 * distances[-1] <= min(REACH * surface.bump_size, min(height, width) / 8):
        distances.append(2 * distances[-1])
    levels = _levels(surface, wrap, distances)
    angles = 2 * np.pi * (np.arange(DIRECTIONS)[:, None] + np.arange(len(distances)) / len(distances)) / DIRECTIONS
    steps = np.rint(np.stack([np.sin(angles), np.cos(angles)], -1) * np.array(distances)[:, None]).astype(int)

    def look(band: Band) -> None:
        here = surface.height[band.rows] * np.float32(surface.relief)
        seen = np.zeros_like(here)
        for direction in steps:
            steepest = np.zeros_like(here)
            for level, distance, (down, across) in zip(levels, distances, direction, strict=True):
                top, left = band.rows.start + distance + down, distance + across
                rise = level[top : top + len(here), left : left + width] - here
                rise *= np.float32(1 / np.hypot(down, across))
                np.maximum(steepest, rise, out=steepest)
            steepest *= steepest
            seen += 1 / (1 + steepest)
        found[band.rows] = (seen / DIRECTIONS) ** np.float32(strength)

    with ThreadPoolExecutor() as pool:
        list(pool.map(look, bands(height, ROWS // 2, 0)))
    return found


def _levels(surface: Surface, wrap: Wrap, distances: list[int]) -> list[np.ndarray]:
    """The height in px, averaged as it is seen from each distance, with a margin of that distance."""
    from scipy.ndimage import uniform_filter

    level = surface.height * np.float32(surface.relief)
    found = []
    for distance in distances:
        if distance >= 4:
            level = uniform_filter(level, distance // 4 * 2 - 1, mode=_modes(wrap))
        found.append(_padded(level, distance, wrap))
    return found


def roughness_of(brightness: np.ndarray, height: np.ndarray, wrap: Wrap, mean: float, contrast: float) -> np.ndarray:
    """Estimate the roughness, (H, W), float32: above its mean where the grain is strong and in deep places.

    Args:
        brightness: Brightness, see `brightness`, (H, W), float32; overwritten.
        height: Height map, (H, W), float32, in [0, 1].
        wrap: Axes that wrap around.
        mean: Mean of the roughness.
        contrast: Strength of its variation; 0 gives the mean everywhere.
    """
    from scipy.ndimage import gaussian_filter

    if not contrast:
        return np.full(height.shape, mean, np.float32)
    modes = _modes(wrap)
    grain = brightness
    grain -= gaussian_filter(grain, GRAIN[0], mode=modes, truncate=3.0)
    grain *= grain
    grain = gaussian_filter(grain, GRAIN[1], mode=modes, truncate=3.0)
    grain = np.log(np.maximum(grain, 0, out=grain) + np.float32(1e-4), out=grain)
    grain -= grain.mean(dtype=np.float64)
    grain.clip(-2, 2, out=grain)
    grain *= np.float32(0.05 * contrast)
    grain += np.float32(0.4 * contrast) * (height.mean(dtype=np.float64) - height)
    grain += np.float32(mean - grain.mean(dtype=np.float64))
    return grain.clip(0, 1, out=grain)


def _modes(wrap: Wrap) -> tuple[str, str]:
    """Border modes of both axes for scipy.ndimage."""
    down, across = ("grid-wrap" if ring else "reflect" for ring in wrap)
    return down, across


def _padded(values: np.ndarray, margin: int, wrap: Wrap) -> np.ndarray:
    down, across = ("wrap" if ring else "symmetric" for ring in wrap)
    return np.pad(np.pad(values, ((margin, margin), (0, 0)), down), ((0, 0), (margin, margin)), across)  # type: ignore[call-overload]
