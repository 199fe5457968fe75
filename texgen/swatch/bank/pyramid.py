"""Swatches at several scales, with a channel that holds the distance to the nearest edge."""

from __future__ import annotations

import numpy as np

from texgen.files.mapped_arrays import bands, release

COARSEST = 20
"""Shortest side, in pixels, of a swatch at its coarsest scale."""
FLAT = 1e-6
FAR = 24
"""Distances to an edge are cut off at so many pixels."""
BAND_PIXELS, BLUR = 1 << 21, 1.0
"""Pixels, about, in which edges are found at once, and deviation of the blur that comes before."""


def level_count(shortest: int, canvas: int) -> int:
    """Number of scales for a swatch and a canvas of these shorter sides."""
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


def halved_rows(image: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """Rows `top` to `bottom` of `halved`, computed from the rows that they depend on."""
    first, last = max(2 * top - 2, 0), min(2 * bottom + 2, len(image))
    return halved(image[first:last])[top - first // 2 :][: bottom - top]


def with_edges(pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Colours and, as the last channel, the distance to edges, scaled to the deviation of the colours.

    Args:
        pixels: (H, W, C), float32.
        out: Where to write the result, (H, W, C + 1), float32; a new array by default. Both may be mapped files: only a band is in memory at once.
    """
    height, width, channels = pixels.shape
    found = np.empty((height, width, channels + 1), np.float32) if out is None else out
    rows = max(2 * FAR, BAND_PIXELS // width)
    edges = edges_of(pixels, rows)
    spread, distances = _Moments(), _Moments()
    for band in bands(height, rows, FAR):
        here = found[band.rows]
        here[..., :channels] = pixels[band.rows]
        here[..., channels] = edge_distance(edges[band.around])[band.inner]
        spread.add(here[..., :channels])
        distances.add(here[..., channels])
        release(pixels, found)
    scale = spread.deviation / (distances.deviation + np.float32(1e-6))
    for band in bands(height, rows, 0):
        found[band.rows][..., channels] = (found[band.rows][..., channels] - distances.mean) * scale
        release(found)
    return found


class _Moments:
    """Mean and standard deviation of values that arrive in parts; for a single part they equal numpy's exactly."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, np.float32, np.float32]] = []

    def add(self, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values)
        self.parts.append((values.size, values.mean(), values.std()))

    @property
    def mean(self) -> np.float32:
        counts, means, _ = (np.array(column) for column in zip(*self.parts, strict=True))
        return means[0] if len(means) == 1 else np.float32(np.average(means, weights=counts))

    @property
    def deviation(self) -> np.float32:
        counts, means, deviations = (np.array(column) for column in zip(*self.parts, strict=True))
        if len(means) == 1:
            return deviations[0]
        within, between = (
            np.average(v.astype(np.float64) ** 2, weights=counts) for v in (deviations, means - self.mean)
        )
        return np.float32((within + between) ** 0.5)


def edges_of(image: np.ndarray, rows: int = 4096) -> np.ndarray:
    """Where gradients exceed Otsu's threshold, (H, W), bool, computed `rows` rows at a time.

    References:
        Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979, https://doi.org/10.1109/TSMC.1979.4310076; as a guide to
        synthesis: Kaspar et al., "Self Tuning Texture Optimization", 2015, https://doi.org/10.1111/cgf.12565.
    """
    from scipy.ndimage import gaussian_filter

    strength = np.empty(image.shape[:2], np.float32)
    for band in bands(len(image), rows, int(4 * BLUR) + 2):
        grey = gaussian_filter(image[band.around].mean(-1), BLUR, mode="nearest")
        strength[band.rows] = np.hypot(*np.gradient(grey))[band.inner]
        release(image)
    if strength.max() < FLAT:
        return np.zeros(strength.shape, bool)
    return strength > otsu(strength)


def edge_distance(edges: np.ndarray) -> np.ndarray:
    """Distance in pixels to the nearest edge, (H, W), at most `FAR`."""
    from scipy.ndimage import distance_transform_edt

    if not edges.any():
        return np.full(edges.shape, FAR, np.float32)
    return np.minimum(distance_transform_edt(~edges), FAR).astype(np.float32)


def otsu(values: np.ndarray, bins: int = 256) -> float:
    """The threshold that splits values into two classes with the largest variance between them."""
    counts, borders = np.histogram(values, bins)
    middles = (borders[1:] + borders[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(borders[1:][np.nanargmax(between[:-1])])
