"""Swatches at several scales, with a channel that says how far the next edge is."""

from __future__ import annotations

import numpy as np

COARSEST = 20
"""A swatch is halved while its shorter side stays at least this long."""
FLAT = 1e-6
FAR = 24
"""Pixels beyond which all distances to an edge are alike."""


def level_count(shortest: int, canvas: int) -> int:
    """Scales at which a swatch of this shorter side is used, for a canvas of that shorter side."""
    count = 1
    while shortest >> count >= COARSEST and canvas >> count >= 8:
        count += 1
    return count


def halved(image: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) at half the size, odd sides cut; low-passed by (1, 3, 3, 1) / 8 on both axes."""
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        a, b, c, d = (padded.take(range(first, first + image.shape[axis], 2), axis) for first in range(4))
        image = (a + 3 * b + 3 * c + d) * np.float32(0.125)
    return image


def with_edges(pixels: np.ndarray) -> np.ndarray:
    """Colours and, as the last channel, the distance to edges, as strong as the colours."""
    distance = edge_distance(pixels)
    scale = pixels.std() / (distance.std() + 1e-6)
    return np.concatenate([pixels, ((distance - distance.mean()) * scale)[..., None]], -1).astype(np.float32)


def edge_distance(image: np.ndarray) -> np.ndarray:
    """Distance in pixels to the nearest edge (H, W), at most `FAR`; edges are gradients above Otsu's threshold.

    References:
        Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979, https://doi.org/10.1109/TSMC.1979.4310076; as a guide to
        synthesis: Kaspar et al., "Self Tuning Texture Optimization", 2015, https://doi.org/10.1111/cgf.12565.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    grey = gaussian_filter(image.mean(-1), 1, mode="nearest")
    down, across = np.gradient(grey)
    strength = np.hypot(down, across)
    if strength.max() < FLAT:
        return np.full(grey.shape, FAR, np.float32)
    return np.minimum(distance_transform_edt(strength <= otsu(strength)), FAR).astype(np.float32)


def otsu(values: np.ndarray, bins: int = 256) -> float:
    """The threshold that parts values into two classes of the largest variance between them."""
    counts, borders = np.histogram(values, bins)
    middles = (borders[1:] + borders[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(borders[1:][np.nanargmax(between[:-1])])
